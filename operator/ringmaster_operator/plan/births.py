"""Which replicas are created now, and in which stages.

Law: pure. At most `ceiling` replicas on wanted places, those that may exist unseen included. Slow
start as a ReplicaSet's: stages of 1, 2, 4, 8, then 8 at once; a stage begins when the calls of the
one before have succeeded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ringmaster_operator import naming, observed
from ringmaster_operator.plan import actions, revisions
from ringmaster_operator.plan.draft import UNSEEN_SECONDS, Draft

MOST_AT_ONCE = 8


def stages(items: Sequence[actions.Action]) -> Iterator[tuple[actions.Action, ...]]:
    """Cut into stages of 1, 2, 4, 8, 8 and so on."""
    size, start = 1, 0
    while start < len(items):
        yield tuple(items[start : start + size])
        start, size = start + size, min(2 * size, MOST_AT_ONCE)


def decide(draft: Draft) -> list[actions.Create]:
    """The creates that are due and for which there is room, empty places first."""
    if _recreating(draft):
        draft.wait("the new replicas", None, "the old ones are not all gone")
        return []
    creates = []
    existing = _existing(draft)
    due = [o for o in draft.wanted() if draft.places[o].due]
    for ordinal in sorted(due, key=lambda o: (bool(draft.world.group(o)), o)):
        counted = draft.phantom(ordinal)
        if not _ripe(draft, ordinal) or (existing >= draft.world.ceiling and not counted):
            continue
        creates.append(_create(draft, ordinal))
        existing += not counted
    return creates


def _existing(draft: Draft) -> int:
    return sum(len(draft.world.group(o)) + draft.phantom(o) for o in draft.wanted())


def _ripe(draft: Draft, ordinal: int) -> bool:
    """Whether a due create may be made now."""
    place, now = draft.places[ordinal], draft.world.now
    member = draft.member_id(ordinal)
    if now < place.not_before:
        draft.wait(member, place.not_before, f"backoff after {place.failures} failures")
        return False
    if place.tried_at and now < place.tried_at + UNSEEN_SECONDS:
        draft.wait(member, place.tried_at + UNSEEN_SECONDS, "just created, not seen yet")
        return False
    if draft.world.group(ordinal) and not draft.phantom(ordinal) and ordinal not in draft.beside:
        draft.wait(member, None, "the old one is not gone yet" if place.vacate else "no room")
        return False
    return True


def _recreating(draft: Draft) -> bool:
    """Recreate: nothing new while anything of another template is there, going or not.

    On closed places too: the edit that changed the template may have scaled down besides.
    """
    if draft.world.spec.strategy.type != "Recreate" or draft.world.spec.paused:
        return False
    return any(
        r.revision != draft.target and r.phase is not observed.Phase.FAILED
        for r in draft.world.replicas
    ) and any(draft.places[o].due for o in draft.wanted())


def _create(draft: Draft, ordinal: int) -> actions.Create:
    place = draft.places[ordinal]
    revision = _revision(draft, ordinal)
    known = revisions.template(draft, revision)
    metadata = draft.world.server_set.metadata
    name = draft.name(ordinal)
    birth = observed.Birth(
        owner=observed.Owner(metadata.namespace, metadata.name, metadata.uid),
        name=name,
        display_name=name,
        member_id=naming.member_id(metadata.name, ordinal),
        ordinal=ordinal,
        attempt=place.attempt,
        reason=place.reason,
        revision=revision,
        template=known.template if known else draft.world.spec.template,
    )
    return actions.Create(birth, _cause(draft, ordinal))


def _revision(draft: Draft, ordinal: int) -> str:
    """The target, with two exceptions.

    A replacement never tries an unproven template while the place's own is proven, and a paused
    rollout reaches nobody.
    """
    own = draft.places[ordinal].revision
    if draft.world.spec.strategy.type == "Recreate" and not draft.world.spec.paused:
        return draft.target
    if draft.world.spec.paused:
        fallback = own or draft.current
        return fallback if revisions.template(draft, fallback) else draft.target
    target, known = (revisions.template(draft, r) for r in (draft.target, own))
    replaces = draft.places[ordinal].reason is observed.Reason.EMERGENCY
    if replaces and known and known.proven and not (target and target.proven):
        return own
    return draft.target


def _cause(draft: Draft, ordinal: int) -> str:
    place = draft.places[ordinal]
    if ordinal in draft.beside:
        return draft.beside[ordinal]
    match place.reason:
        case observed.Reason.SCALE_UP:
            living = sum(bool(draft.world.group(o)) for o in draft.wanted())
            return f"{draft.world.wanted} wanted, {living} there"
        case observed.Reason.ROLLOUT:
            return f"template is {draft.target}"
        case observed.Reason.EMERGENCY:
            return f"replaces a failed one, attempt {place.attempt}"


def unsettled(draft: Draft) -> bool:
    """Whether something is under way that a lost hint should not hold up."""
    due = any(draft.places[o].due for o in draft.wanted())
    return due or draft.unseen() or not all(map(draft.world.available, draft.world.replicas))
