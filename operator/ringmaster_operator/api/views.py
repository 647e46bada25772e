"""One replica as users are shown it: what the runtime saw, and where it stands in the ring.

Law: pure values. The loop's side provides them, the API lists them, the lab rules count them.
"""

from __future__ import annotations

import datetime as dt
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
            "deletionCost": seen.deletion_cost,
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


def parse(document: dict[str, Any]) -> ReplicaView:
    """What `document` said; a field that is missing has its default."""
    metadata, status = document.get("metadata") or {}, document.get("status") or {}
    replica = observed.Replica(
        name=str(metadata.get("name", "")),
        uid=str(metadata.get("uid", "")),
        owner_uid="",
        member_id=str(status.get("memberId", "")),
        ordinal=int(status.get("ordinal", 0)),
        attempt=int(status.get("attempt", 1)),
        reason=observed.Reason(status.get("reason", observed.Reason.SCALE_UP.value)),
        revision=str(status.get("revision", "")),
        display_name=str(status.get("displayName", "")),
        phase=observed.Phase(status.get("phase", observed.Phase.STARTING.value)),
        created_at=_seconds(metadata.get("creationTimestamp")) or 0.0,
        ready=bool(status.get("ready")),
        ready_since=_seconds(status.get("readySince")),
        unready_since=_seconds(status.get("unreadySince")),
        address=status.get("address"),
        restarts=int(status.get("restarts", 0)),
        deletion_cost=int(status.get("deletionCost", 0)),
        message=str(status.get("message", "")),
    )
    return ReplicaView(replica, str(status.get("ring", "")))


def _time(seconds: float | None) -> str | None:
    """With microseconds: who became ready a moment later goes first on a scale-down."""
    if seconds is None:
        return None
    return dt.datetime.fromtimestamp(seconds, tz=dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _seconds(text: str | None) -> float | None:
    return None if text is None else stored.seconds(text)
