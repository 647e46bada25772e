"""How a replica goes: out of the ring, then drained, then removed.

Law: pure. Nothing is removed that a live balancer still holds as active. A drain ends when nothing
is in flight or `drainSeconds` after every live balancer has let go; without a live balancer at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ringmaster_operator import memory, observed
from ringmaster_operator.plan import actions, revisions
from ringmaster_operator.plan.draft import Draft
from ringmaster_operator.plan.world import alive

# How often to ask the balancers whether a draining replica has finished.
POLL_SECONDS = 0.2
# Kubernetes' default for terminationGracePeriodSeconds.
GRACE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Departures:
    """What follows for the plan; `drains` is for the memory."""

    marks: tuple[actions.Action, ...]
    removals: tuple[actions.Remove, ...]
    drains: dict[str, memory.Drain]


def decide(draft: Draft) -> Departures:
    """Drain, keep or remove, for every replica that was marked to leave, or is dead."""
    marks: list[actions.Action] = []
    removals: list[actions.Remove] = []
    drains: dict[str, memory.Drain] = {}
    for replica in draft.world.replicas:
        cause = _cause(draft, replica)
        before = draft.before.drains.get(replica.uid)
        if replica.phase is observed.Phase.TERMINATING:
            if before is not None:
                drains[replica.uid] = before
        elif cause is None:
            if before is not None:
                marks.append(actions.CancelDrain(replica, "is wanted again"))
        else:
            drain = _drain(draft, replica, before)
            drains[replica.uid] = drain
            if before is None and drain.released_at is None:
                marks.append(actions.Drain(replica, cause))
            if _done(draft, replica, drain):
                removals.append(actions.Remove(replica, _grace(draft, replica), cause))
    return Departures(tuple(marks), tuple(removals), drains)


def _cause(draft: Draft, replica: observed.Replica) -> str | None:
    if replica.phase is observed.Phase.FAILED:
        return replica.message or "failed"
    return draft.leaving.get(replica.uid)


def _drain(draft: Draft, replica: observed.Replica, before: memory.Drain | None) -> memory.Drain:
    """The drain so far; it is released from the moment no live balancer holds it as active."""
    drain = before or memory.Drain(since=draft.world.now)
    if draft.world.held_active(replica):
        return replace(drain, released_at=None)
    return drain if drain.released_at is not None else replace(drain, released_at=draft.world.now)


def _done(draft: Draft, replica: observed.Replica, drain: memory.Drain) -> bool:
    now = draft.world.now
    if drain.released_at is None:
        draft.wait(replica.name, now + POLL_SECONDS, "a balancer holds it as active")
        return False
    ends = drain.released_at + draft.world.spec.drain_seconds
    if not alive(replica) or now >= ends or not draft.world.busy(replica):
        return True
    draft.wait(replica.name, min(ends, now + POLL_SECONDS), "has requests in flight")
    return False


def _grace(draft: Draft, replica: observed.Replica) -> float:
    if not alive(replica):
        return 0.0
    known = revisions.template(draft, replica.revision)
    template = known.template if known else draft.world.spec.template
    return float(template.get("spec", {}).get("terminationGracePeriodSeconds", GRACE_SECONDS))
