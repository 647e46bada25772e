"""One replica as users are shown it: what the runtime saw, and where it stands in the ring.

Law: pure values. The loop's side provides them, the API lists them, the lab rules count them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ringmaster_operator import naming, observed
from ringmaster_operator.store import stored

ACTIVE = "active"
DRAINING = "draining"
PARTLY = "partly"  # active for some balancers, or some of their workers


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """`state` is the state in the membership last decided; empty: not in it.

    `held` is the state that the balancers have confirmed; None: there is none to ask.
    """

    replica: observed.Replica
    state: str = ""
    held: str | None = None

    @property
    def name(self) -> str:
        """What `/rep` shows."""
        return self.replica.display_name

    @property
    def ring(self) -> str:
        """Where it stands, as far as clients can tell."""
        return self.state if self.held is None else self.held

    def document(self, namespace: str) -> dict[str, Any]:
        """As the API lists it; times are RFC 3339, a missing one is left out."""
        seen = self.replica
        status: dict[str, Any] = {
            "displayName": seen.display_name,
            "memberId": seen.member_id,
            "ordinal": seen.ordinal,
            "attempt": seen.attempt,
            "reason": seen.reason.value,
            "revision": seen.revision,
            "phase": seen.phase.value,
            "ready": seen.ready,
            "ring": self.ring,
            "restarts": seen.restarts,
            "address": seen.address,
            "readySince": _time(seen.ready_since),
            "unreadySince": _time(seen.unready_since),
            "message": seen.message,
        }
        return {
            "apiVersion": naming.API_VERSION,
            "kind": "Replica",
            "metadata": {
                "name": seen.name,
                "namespace": namespace,
                "uid": seen.uid,
                "creationTimestamp": stored.timestamp(seen.created_at),
            },
            "status": {field: value for field, value in status.items() if value is not None},
        }


def acknowledged(
    seen: Sequence[ReplicaView], balancers: Sequence[observed.BalancerView]
) -> list[ReplicaView]:
    """The same, with what every live balancer has confirmed; a decision is not yet a fact."""
    if not balancers:
        return list(seen)
    live = [view for view in balancers if view.live]
    return [replace(each, held=_held(each.name, live)) for each in seen]


def _held(name: str, live: Sequence[observed.BalancerView]) -> str:
    states = {view.members[name].state if name in view.members else "" for view in live}
    if len(states) == 1:
        (state,) = states
        return PARTLY if state == "unconfirmed" else state
    return PARTLY if states & {ACTIVE, "unconfirmed"} else DRAINING if states else ""


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else stored.timestamp(seconds)
