"""Which replicas are created now, and in which stages.

Law: pure. At most `ceiling` replicas on wanted places, those that may exist unseen included. Slow
start as a ReplicaSet's: stages of 1, 2, 4, 8, then 8 at once; a stage begins when the calls of the
one before have succeeded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ringmaster_operator import memory, naming, observed
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
    for ordinal, beside in due(draft):
        counted = draft.phantom(ordinal, beside=beside)
        if not _ripe(draft, ordinal, beside) or (existing >= draft.world.ceiling and not counted):
            continue
        creates.append(_create(draft, ordinal, beside))
        existing += not counted
    return creates


def due(draft: Draft) -> list[tuple[int, bool]]:
    """What is to be created, empty places first: the place, and whether beside its holder."""
    wanted = draft.wanted()
    holders = [(o, False) for o in wanted if draft.places[o].due]
    beside = [(o, True) for o in wanted if o in draft.successors and draft.successors[o].due]
    return [
        *sorted(holders, key=lambda each: (bool(draft.holders(each[0])), each[0])),
        *beside,
    ]


def _existing(draft: Draft) -> int:
    return sum(len(draft.world.group(o)) + draft.phantoms(o) for o in draft.wanted())


def _ripe(draft: Draft, ordinal: int, beside: bool) -> bool:
    """Whether a due create may be made now."""
    place = draft.successors[ordinal] if beside else draft.places[ordinal]
    now, member = draft.world.now, draft.member_id(ordinal)
    if now < place.not_before:
        draft.wait(member, place.not_before, f"backoff after {place.failures} failures")
        return False
    if place.tried_at and now < place.tried_at + UNSEEN_SECONDS:
        draft.wait(member, place.tried_at + UNSEEN_SECONDS, "just created, not seen yet")
        return False
    if beside or draft.phantom(ordinal):
        return True
    if draft.holders(ordinal) and ordinal not in draft.beside:
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
    ) and bool(due(draft))


def _create(draft: Draft, ordinal: int, beside: bool) -> actions.Create:
    place = draft.successors[ordinal] if beside else draft.places[ordinal]
    revision = draft.target if beside else revisions.of_new(draft, ordinal)
    known = revisions.template(draft, revision)
    metadata = draft.world.server_set.metadata
    name = draft.name(ordinal, beside=beside)
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
    return actions.Create(birth, _cause(draft, ordinal, place))


def _cause(draft: Draft, ordinal: int, place: memory.Place) -> str:
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
    return (
        bool(due(draft))
        or draft.unseen()
        or not all(map(draft.world.available, draft.world.replicas))
    )
