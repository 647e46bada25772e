"""Which template the replicas shall run: history, progress of a rollout, rollback.

Law: pure. The spec's template is the target, unless its rollout was given up; what was given up
is not tried again until the spec names another template, and a rollback is never rolled back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ringmaster_operator import memory, naming
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


def _record(draft: Draft, asked: str) -> None:
    """Append the template, or make a known one the newest, as a Deployment numbers revisions."""
    known = template(draft, asked)
    newest = max((r.number for r in draft.revisions), default=0)
    if known is None or known.number < newest:
        for ordinal in draft.places:  # somebody corrected something: no backoff of earlier ones
            draft.change(ordinal, not_before=0.0)
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
