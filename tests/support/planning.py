"""Short ways to say what a planner sees."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import simulation
from ringmaster_operator import memory, naming, observed, plan, spec

NOW = 1_763_863_200.0
UID = "set-web"
V1, V2, V3 = (naming.template_hash(simulation.template(image)) for image in ("v1", "v2", "v3"))

_uids = itertools.count(1)


def server_set(replicas: int = 3, *, image: str = "v1", **fields: Any) -> spec.ServerSet:
    document = simulation.document(replicas, image=image, **fields)
    document["metadata"] |= {"uid": UID, "namespace": "default", "generation": 1}
    return spec.parse(document)


def replica(ordinal: int, *, attempt: int = 1, **values: Any) -> observed.Replica:
    """A replica that has been ready for a minute, unless it is said otherwise."""
    return observed.Replica(
        **{
            "name": f"r{ordinal}-{attempt}",
            "uid": f"u{next(_uids)}",
            "owner_uid": UID,
            "member_id": f"web-{ordinal}",
            "ordinal": ordinal,
            "attempt": attempt,
            "reason": observed.Reason.SCALE_UP,
            "revision": V1,
            "display_name": values.get("name", f"r{ordinal}-{attempt}"),
            "phase": observed.Phase.RUNNING,
            "created_at": NOW - 90,
            "ready": True,
            "ready_since": NOW - 60,
            "address": f"127.0.0.1:{9000 + ordinal}",
            **values,
        }
    )


def unready(ordinal: int, *, seconds: float = 1.0, **values: Any) -> observed.Replica:
    more = {"ready": False, "ready_since": None, "unready_since": NOW - seconds, **values}
    return replica(ordinal, **more)


def failed(ordinal: int, *, message: str = "exited with code 1", **values: Any) -> observed.Replica:
    phase = observed.Phase.FAILED
    return unready(ordinal, phase=phase, message=message, **values)


def balancer(states: dict[str, str] | None = None, *, in_flight: int = 0) -> observed.BalancerView:
    members = {
        name: observed.HeldMember(replica=name, state=state, healthy=True, in_flight=in_flight)
        for name, state in (states or {}).items()
    }
    return observed.BalancerView(url="http://b:5001", live=True, members=members)


def decide(
    wanted: spec.ServerSet,
    replicas: Iterable[observed.Replica] = (),
    *,
    before: memory.Memory | None = None,
    balancers: Iterable[observed.BalancerView] = (),
    now: float = NOW,
) -> plan.Plan:
    seen = observed.Observed(at=now, replicas=tuple(replicas), balancers=tuple(balancers))
    return plan.plan(wanted, seen, before or memory.Memory(), now)


def at_rest(
    wanted: spec.ServerSet, replicas: Iterable[observed.Replica], *, now: float = NOW
) -> memory.Memory:
    """The memory of an operator that has nothing left to do for these replicas."""
    replicas = tuple(replicas)
    states = {r.display_name: "active" for r in replicas}
    value = decide(wanted, replicas, now=now - 1).memory
    again = decide(wanted, replicas, before=value, balancers=[balancer(states)], now=now - 1)
    assert not again.stages
    return again.memory


def lines(made: plan.Plan) -> list[str]:
    return str(made).splitlines()
