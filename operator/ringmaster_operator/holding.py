"""Whether a change of the ring may be made, and what stands instead of it until then.

Law: pure; what balancers say comes in as judgements. Only the table is ever held: which ids share
the keys, and how. Whatever concerns a replica, its address or its state goes on under the ring that
is in force, so that nobody who is held back is left with a dead member. A ring that a balancer
would refuse is never pushed over one that serves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ringmaster_operator import memory, naming, observed, spec
from ringmaster_operator.spec import sections

Ids = Callable[[spec.ServerSet], tuple[str, ...]]
Ask = Callable[[dict[str, Any]], Sequence[observed.Judgement]]

WEIGHT = 100
_SECONDS, _TRIAL_SECONDS = 10.0, 0.5
# What decides where a key goes; the rest of `spec.ring` may change freely.
_LAYOUT = ("scheme", "slots", "hash", "virtual_nodes", "probing", "key")


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a change waits. `reason` is a CamelCase word for the condition."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What to act on now: the ServerSet as it is, or with its ring or its replicas of before."""

    server_set: spec.ServerSet
    hold: Hold | None = None


def decide(server_set: spec.ServerSet, before: memory.Memory, *, ids: Ids, ask: Ask) -> Decision:
    """Ask about a change that needs it. `ids` are those that a ServerSet would have in the ring.

    The first ring is nobody's loss, and a deletion is never held.
    """
    old = members(before)
    if server_set.metadata.deletion_timestamp or before.ring is None or not old:
        return Decision(server_set)
    in_force = sections.Ring.model_validate(before.ring)
    limit = allowed_percent(server_set)
    changes_ring = _layout(in_force) != _layout(server_set.spec.ring)
    changes_ids = limit is not None and set(ids(server_set)) != set(old)
    if not changes_ring and not changes_ids:
        return Decision(server_set)
    hold = _judged(server_set, ids=ids, ask=ask, limit=limit)
    if hold is None:
        return Decision(server_set)
    ring, replicas = server_set.spec.ring, server_set.spec.replicas
    if limit is None:
        return Decision(_with(server_set, ring=in_force, replicas=replicas), hold)
    if changes_ring and changes_ids:
        for part in (
            _with(server_set, ring=in_force, replicas=replicas),
            _with(server_set, ring=ring, replicas=len(old)),
        ):
            if _judged(part, ids=ids, ask=ask, limit=limit) is None:
                return Decision(part, hold)
    return Decision(_with(server_set, ring=in_force, replicas=len(old)), hold)


def again_in(hold: Hold) -> float:
    """Seconds until it is worth asking again."""
    return _TRIAL_SECONDS if hold.reason == "HashOnTrial" else _SECONDS


def members(value: memory.Memory) -> tuple[str, ...]:
    """The ids over which the table of a membership is built."""
    return tuple(dict.fromkeys(each.id for each in value.members if each.state != "draining"))


def settings(server_set: spec.ServerSet) -> dict[str, Any]:
    """`spec.ring` as it travels and is remembered."""
    return server_set.spec.ring.model_dump(mode="json", by_alias=True, exclude_none=True)


def _judged(server_set: spec.ServerSet, *, ids: Ids, ask: Ask, limit: float | None) -> Hold | None:
    change = {
        "ring": settings(server_set),
        "members": [{"id": each, "weight": WEIGHT} for each in ids(server_set)],
    }
    judgements = ask(change)
    live = [judgement for judgement in judgements if judgement.live]
    if judgements and not live:
        return Hold("BalancerUnreachable", "no balancer answers that could judge the change")
    for judgement in live:
        if judgement.refused:
            return Hold(judgement.refused, judgement.message)
    most = max(live, key=lambda judgement: judgement.moved, default=None)
    if most is None or limit is None or most.moved * 100 <= limit:
        return None
    return Hold("MoveHeld", _words(most, limit=limit, generation=server_set.metadata.generation))


def _words(judgement: observed.Judgement, *, limit: float, generation: int) -> str:
    how = "" if judgement.exact else "about "
    traffic = ""
    if judgement.requests:
        share = judgement.requests_moved / judgement.requests
        traffic = f" and {share:.0%} of the last five minutes' requests"
    return (
        f"the change would move {how}{judgement.moved * 100:.1f} % of the keys{traffic}, more "
        f"than maxMovedPercent {limit:g}: raise it, or annotate the ServerSet with "
        f"{naming.ANNOTATION_ALLOW_MOVE}={generation}"
    )


def allowed_percent(server_set: spec.ServerSet) -> float | None:
    """What may move; None: anything, for there is no limit or this change is allowed."""
    allowed = server_set.metadata.annotations.get(naming.ANNOTATION_ALLOW_MOVE, "").lower()
    if allowed in ("true", str(server_set.metadata.generation)):
        return None
    return server_set.spec.ring.max_moved_percent


def _layout(ring: sections.Ring) -> tuple[object, ...]:
    return tuple(getattr(ring, field) for field in _LAYOUT)


def _with(server_set: spec.ServerSet, *, ring: sections.Ring, replicas: int) -> spec.ServerSet:
    """The ServerSet with another ring's layout and another count."""
    layout = {field: getattr(ring, field) for field in _LAYOUT}
    fresh = server_set.spec.ring.model_copy(update=layout)
    changed = server_set.spec.model_copy(update={"ring": fresh, "replicas": replicas})
    return server_set.model_copy(update={"spec": changed})
