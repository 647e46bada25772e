"""What to do about one ServerSet, decided from values alone.

Law: pure: the same arguments give the same plan, nothing is called and nothing waited for. A plan
rests on one whole observation; its memory is saved before its stages run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ringmaster_operator import memory, observed, spec
from ringmaster_operator.plan import (
    actions,
    backdating,
    births,
    leaving,
    places,
    revisions,
    rollout,
    roster,
    world,
)
from ringmaster_operator.plan.draft import BACKOFF_MAX_SECONDS, Draft

# Hints of a runtime may be lost: while something is under way, look again after this long.
PATIENCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Stages of actions, and what is to be remembered.

    The actions of a stage run at once. `marks` take effect with the next push. `requeue_after` is
    in seconds, None: not before something changes. `finished`: a deleted ServerSet has nothing
    left.
    """

    marks: tuple[actions.Action, ...]
    stages: tuple[tuple[actions.Action, ...], ...]
    waits: tuple[actions.Wait, ...]
    notes: tuple[actions.Note, ...]
    memory: memory.Memory
    target: str
    used_names: tuple[str, ...]
    gone_victims: tuple[str, ...]
    requeue_after: float | None
    finished: bool

    def __str__(self) -> str:
        """One line an action, in the order in which they happen."""
        staged = [action for stage in self.stages for action in stage]
        return "\n".join(map(str, (*self.marks, *staged, *self.waits)))


def plan(
    server_set: spec.ServerSet, seen: observed.Observed, before: memory.Memory, now: float
) -> Plan:
    """Decide what to do next."""
    before = backdating.remembered(before, now, backoff=BACKOFF_MAX_SECONDS)
    draft = Draft(world.look(server_set, seen, before, now), before)
    places.recognise(draft)
    revisions.choose(draft)
    places.resize(draft)
    places.heal(draft)
    rollout.advance(draft)
    departures = leaving.decide(draft)
    creates = births.decide(draft)
    told = places.tell_unready(draft)
    unseen = draft.unseen()
    return Plan(
        marks=departures.marks,
        stages=(
            *_chunks(departures.removals),
            *births.stages(creates),
        ),
        waits=tuple(draft.waits),
        notes=tuple(draft.notes),
        memory=replace(_remember(draft, departures.drains), told=told),
        target=draft.target,
        used_names=_used_names(draft),
        gone_victims=_gone_victims(draft, departures.marks),
        requeue_after=_requeue_after(draft),
        finished=draft.world.deleting and not draft.world.replicas and not unseen,
    )


def _chunks(removals: tuple[actions.Remove, ...]) -> list[tuple[actions.Action, ...]]:
    size = births.MOST_AT_ONCE
    return [tuple(removals[i : i + size]) for i in range(0, len(removals), size)]


def _remember(draft: Draft, drains: dict[str, memory.Drain]) -> memory.Memory:
    return replace(
        draft.before,
        places=draft.places,
        successors=draft.successors,
        drains=drains,
        proven=tuple(sorted(draft.world.proven)),
        stand_ins=draft.world.stand_ins,
        members=roster.members(draft),
        revisions=draft.revisions,
        current=draft.current,
        rolled_back=draft.rolled_back,
        progress=draft.progress,
        failure=draft.before.failure if births.due(draft) else ("", ""),
    )


def _used_names(draft: Draft) -> tuple[str, ...]:
    """Names asked for that a living replica has."""
    names = {
        n.lower() for r in draft.world.replicas if world.alive(r) for n in (r.name, r.display_name)
    }
    return tuple(name for name in draft.world.spec.names if name.lower() in names)


def _gone_victims(draft: Draft, marks: Sequence[actions.Action]) -> tuple[str, ...]:
    """Victims that no replica answers to any more, that are wanted again, or that were spared."""
    here = {n for r in draft.world.replicas for n in (r.name, r.display_name)}
    kept = [mark.replica for mark in marks if isinstance(mark, actions.CancelDrain)]
    done = {n for r in kept for n in (r.name, r.display_name)} | set(draft.spared)
    return tuple(v for v in draft.world.spec.scale_down.victims if v not in here or v in done)


def _requeue_after(draft: Draft) -> float | None:
    """Until the next moment at which another plan may come out."""
    now = draft.world.now
    moments = list(draft.wakes)
    for replica in draft.world.replicas:
        moments += [
            moment
            for moment in (draft.world.available_at(replica), draft.world.sick_at(replica))
            if moment is not None and moment > now
        ]
    if births.unsettled(draft):
        moments.append(now + PATIENCE_SECONDS)
    if draft.target != draft.current and draft.progress.target == draft.target:
        moments.append(draft.progress.at + draft.world.spec.progress_deadline_seconds)
    later = [moment for moment in moments if moment > now]
    return min(later) - now if later else None
