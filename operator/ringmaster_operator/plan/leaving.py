"""How a replica goes: out of the ring, then drained, then removed.

Law: pure. Nothing is removed that a live balancer still holds as active, or may hold: one that
lives but does not say what it holds is waited for. A drain ends when nothing is in flight or
`drainSeconds` after every live balancer has let go; without a live balancer at once. Only of a
ServerSet that is deleted as a whole nobody waits for a silent balancer longer than a minute: its
owner wants all of it gone, and a balancer that does not know our token would keep it for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ringmaster_operator import memory, observed
from ringmaster_operator.plan import actions, revisions
from ringmaster_operator.plan.draft import Draft
from ringmaster_operator.plan.world import alive

# How often to ask the balancers whether a draining replica has finished.
POLL_SECONDS = 0.2
# How often to ask a balancer that does not say what it holds, and how long a deletion waits for it.
SILENT_POLL_SECONDS = 1.0
SILENT_SECONDS = 60.0
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
    given_up = _given_up(draft, drain)
    if draft.world.said_active(replica) or (draft.world.silent and not given_up):
        return replace(drain, released_at=None)
    if given_up and drain.released_at is None:
        draft.note("Warning", "BalancerSilent", f"{replica.name} goes though {draft.world.silent}")
    return drain if drain.released_at is not None else replace(drain, released_at=draft.world.now)


def _given_up(draft: Draft, drain: memory.Drain) -> bool:
    """Whether what a silent balancer may hold no longer matters."""
    world = draft.world
    return bool(world.silent) and world.deleting and world.now >= drain.since + SILENT_SECONDS


def _done(draft: Draft, replica: observed.Replica, drain: memory.Drain) -> bool:
    now = draft.world.now
    if drain.released_at is None:
        if draft.world.said_active(replica):
            draft.wait(replica.name, now + POLL_SECONDS, "a balancer holds it as active")
        else:
            silent = f"a balancer does not say what it holds ({draft.world.silent})"
            draft.wait(replica.name, now + SILENT_POLL_SECONDS, silent)
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
