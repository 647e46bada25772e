"""Which template the replicas shall run: history, progress of a rollout, rollback.

Law: pure. The spec's template is the target, unless its rollout was given up; what was given up
is not tried again until the spec names another template, and a rollback is never rolled back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from ringmaster_operator import memory, naming, observed
from ringmaster_operator.plan.draft import Draft
from ringmaster_operator.plan.world import alive


def choose(draft: Draft) -> None:
    """Record the spec's template, note progress, set `draft.target`."""
    asked = naming.template_hash(draft.world.spec.template)
    if draft.rolled_back != asked:
        draft.rolled_back = ""
    draft.target = draft.current if draft.rolled_back else asked
    _record(draft, asked)
    _prove(draft)
    _measure(draft)
    if _give_up(draft):
        draft.rolled_back, draft.target = asked, draft.current
        draft.note(
            "Warning", "RolledBack", f"{asked} made no progress; {draft.current} runs instead"
        )
    _forget(draft, asked)


def stalled(
    progress: memory.Progress, *, target: str, current: str, deadline: float, now: float
) -> bool:
    """Whether the rollout of `target` has made no progress for `deadline` seconds."""
    return target != current and progress.target == target and now >= progress.at + deadline


def template(draft: Draft, revision: str) -> memory.Revision | None:
    """The remembered revision of that hash."""
    return next((known for known in draft.revisions if known.hash == revision), None)


def held(draft: Draft, ordinal: int) -> bool:
    """Whether a place stays with a proven revision until one of the target is available there.

    As the old ReplicaSet of a Deployment keeps its number, whatever becomes of its replicas, until
    the rollout takes one away (`vacate`, and then a replica for the reason ROLLOUT).
    """
    spec, place = draft.world.spec, draft.places[ordinal]
    known = template(draft, place.revision)
    return (
        place.revision not in {draft.target, draft.rolled_back}
        and known is not None
        and known.proven
        and not (place.due and place.reason is observed.Reason.ROLLOUT)
        and (spec.strategy.type != "Recreate" or spec.paused)
    )


def of_new(draft: Draft, ordinal: int) -> str:
    """The revision of a new replica that is to hold a place.

    That of the place while it is held and the target does not do well; a paused rollout reaches
    nobody; else the target.
    """
    own = draft.places[ordinal].revision
    if draft.world.spec.paused:
        fallback = own or draft.current
        return fallback if template(draft, fallback) else draft.target
    return own if held(draft, ordinal) and not _thrives(draft) else draft.target


def _thrives(draft: Draft) -> bool:
    """Whether the target serves somewhere, and none of its replicas starts, hangs or failed."""
    all_of_it = [r for r in draft.world.replicas if r.revision == draft.target]
    return (
        any(map(draft.world.available, all_of_it))
        and all(
            draft.world.available(r) or r.phase is observed.Phase.TERMINATING for r in all_of_it
        )
        and not any(place.failures for place in draft.successors.values())
    )


def shares(draft: Draft, count: int) -> list[str]:
    """The revisions for so many new places: in the proportion that a rollout has reached.

    As a Deployment scales its ReplicaSets to replicas + maxSurge (docs: "Proportional scaling"), so
    that a template which never gets ready is given its share and not all of the new places. The
    target's share includes the successors that there is room for. Empty: the target.
    """
    wanted = draft.wanted()
    held_by = Counter(draft.places[o].revision for o in wanted if held(draft, o))
    if not held_by:
        return [""] * count
    started = sum(p.seen or p.tried_at > 0 for o, p in draft.successors.items() if o in wanted)
    total = len(wanted) + started
    held_now = held_by.total()
    grown = (2 * held_now * draft.world.ceiling + total - 1) // (2 * total)  # rounded, a half down
    old = min(count, max(0, grown - held_now))
    return [held_by.most_common(1)[0][0]] * old + [""] * (count - old)


def _record(draft: Draft, asked: str) -> None:
    """Append the template, or make a known one the newest, as a Deployment numbers revisions."""
    known = template(draft, asked)
    newest = max((r.number for r in draft.revisions), default=0)
    if known is None or known.number < newest:
        for ordinal in draft.places:  # somebody corrected something: no backoff of earlier ones
            draft.change(ordinal, not_before=0.0)
        for ordinal in draft.successors:
            draft.change(ordinal, beside=True, not_before=0.0, failures=0)
    if known is None:
        known = memory.Revision(hash=asked, number=newest + 1, template=draft.world.spec.template)
        draft.revisions = (*draft.revisions, known)
    elif known.number < newest:
        others = (r for r in draft.revisions if r.hash != asked)
        draft.revisions = (*others, replace(known, number=newest + 1))


def _prove(draft: Draft) -> None:
    """A revision is proven by its first available replica."""
    good = {r.revision for r in draft.world.replicas if draft.world.available(r)}
    if any(r.hash in good and not r.proven for r in draft.revisions):
        draft.revisions = tuple(
            replace(r, proven=r.proven or r.hash in good) for r in draft.revisions
        )


def _measure(draft: Draft) -> None:
    """Note the best the rollout has reached; a complete one makes its target current."""
    held = draft.world.spec.paused or draft.world.deleting
    if draft.target == draft.current or held:
        draft.progress = memory.Progress()  # the deadline starts anew on resume, or next time
        return
    if _complete(draft):
        draft.current = draft.target
        draft.progress = memory.Progress()
        draft.note("Normal", "RolloutComplete", f"all replicas run {draft.target}")
        return
    reached = _reached(draft)
    best = draft.progress
    if best.target != draft.target:
        draft.progress = reached
    elif (
        reached.updated > best.updated
        or reached.available > best.available
        or reached.old < best.old
    ):
        draft.progress = memory.Progress(
            target=draft.target,
            updated=max(best.updated, reached.updated),
            available=max(best.available, reached.available),
            old=min(best.old, reached.old),
            at=draft.world.now,
        )


def _reached(draft: Draft) -> memory.Progress:
    living = [r for r in draft.world.replicas if alive(r)]
    updated = [r for r in living if r.revision == draft.target]
    return memory.Progress(
        target=draft.target,
        updated=len(updated),
        available=sum(draft.world.available(r) for r in updated),
        old=len(living) - len(updated),
        at=draft.world.now,
    )


def _complete(draft: Draft) -> bool:
    """Every place has an available replica of the target and nothing else."""
    wanted = draft.wanted()
    return len(wanted) == draft.world.wanted and all(
        len(group) == 1 and group[0].revision == draft.target and draft.world.available(group[0])
        for group in map(draft.world.group, wanted)
    )


def _give_up(draft: Draft) -> bool:
    spec = draft.world.spec
    return (
        spec.strategy.on_failure == "Rollback"
        and not draft.rolled_back
        and bool(draft.current)
        and template(draft, draft.current) is not None
        and stalled(
            draft.progress,
            target=draft.target,
            current=draft.current,
            deadline=spec.progress_deadline_seconds,
            now=draft.world.now,
        )
    )


def _forget(draft: Draft, asked: str) -> None:
    """Keep what is in use and the newest `revisionHistoryLimit` others."""
    used = {asked, draft.target, draft.current, *(r.revision for r in draft.world.replicas)}
    used |= {place.revision for place in draft.places.values() if place.wanted}
    idle = [r for r in draft.revisions if r.hash not in used]
    limit = draft.world.spec.revision_history_limit
    kept = {r.hash for r in _newest(idle, limit)} | used
    draft.revisions = tuple(r for r in draft.revisions if r.hash in kept)


def _newest(revisions: Iterable[memory.Revision], limit: int) -> list[memory.Revision]:
    return sorted(revisions, key=lambda r: r.number, reverse=True)[:limit]
