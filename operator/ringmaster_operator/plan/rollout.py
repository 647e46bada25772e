"""How a changed template reaches the replicas: rolling, or all at once.

Law: pure. Never above `ceiling` replicas, never by its own doing fewer than `floor` available
places. Decided anew in each plan from what lives now: a successor that has not been created yet is
only an intention. What is being emptied (`vacate`) stays chosen while enough others serve.
"""

from __future__ import annotations

from ringmaster_operator import observed
from ringmaster_operator.plan import revisions
from ringmaster_operator.plan.draft import Draft


def advance(draft: Draft) -> None:
    """Let successors start beside outdated replicas, and outdated ones go, as far as allowed."""
    outdated = [o for o in draft.wanted() if draft.healthy(o) and not draft.fresh(o)]
    paused = draft.world.spec.paused
    for ordinal in draft.successors:
        if paused or ordinal not in outdated:
            draft.change(ordinal, beside=True, due=draft.phantom(ordinal, beside=True))
    _give_way(draft)
    if paused:
        for ordinal in outdated:
            draft.change(ordinal, due=draft.phantom(ordinal), vacate=False)
    elif draft.world.spec.strategy.type == "Recreate":
        _stop_all(draft)
    else:
        _roll(draft, outdated)


def _give_way(draft: Draft) -> None:
    """Successors that are not available leave if a held place has no room for its own replica."""
    empty = [
        o
        for o in draft.wanted()
        if draft.places[o].due and not draft.holders(o) and revisions.held(draft, o)
    ]
    leaving = sum(r.uid in draft.leaving for o in draft.wanted() for r in draft.world.group(o))
    excess = min(len(empty), -draft.room() - leaving)
    for ordinal in sorted(draft.successors, reverse=True):
        going = [r for r in draft.fresh(ordinal) if r.uid not in draft.leaving]
        if excess > 0 and going and draft.holders(ordinal) != going:
            excess -= 1
            draft.dismiss(ordinal)
            for replica in going:
                draft.leave(replica, "makes room for a proven one")


def _stop_all(draft: Draft) -> None:
    for ordinal in draft.wanted():
        old = [r for r in draft.world.group(ordinal) if r.revision != draft.target]
        if old and not draft.fresh(ordinal):
            draft.renew(ordinal, observed.Reason.ROLLOUT, vacate=True)
        for replica in old:
            draft.leave(replica, f"recreate as {draft.target}")


def _roll(draft: Draft, outdated: list[int]) -> None:
    """Unhealthy ones first: they cost nothing."""
    order = sorted(outdated, key=lambda o: (_serves(draft, o), o))
    for ordinal in order:
        _reconsider(draft, ordinal)
    for ordinal in order:
        if not (draft.places[ordinal].vacate or draft.phantoms(ordinal)):
            _try_beside(draft, ordinal)
    for ordinal in order:
        place, beside = draft.places[ordinal], draft.successors.get(ordinal)
        due = place.due or (beside is not None and beside.due)
        if not place.vacate and not due and _may_go(draft, ordinal):
            draft.dismiss(ordinal)
            draft.renew(ordinal, observed.Reason.ROLLOUT, vacate=True)
        if draft.places[ordinal].vacate:
            for replica in draft.world.group(ordinal):
                draft.leave(replica, f"outdated, makes room for {draft.target}")


def _reconsider(draft: Draft, ordinal: int) -> None:
    """What is being emptied stays if it serves after all and the others have become too few."""
    serves = any(map(draft.world.available, draft.world.group(ordinal)))
    others = sum(_serves(draft, o) for o in draft.wanted())
    if draft.places[ordinal].vacate and serves and others < draft.world.floor:
        draft.change(ordinal, vacate=False, due=draft.phantom(ordinal))


def _try_beside(draft: Draft, ordinal: int) -> None:
    if draft.room() > 0:
        draft.start_beside(ordinal)
    elif ordinal in draft.successors:
        draft.change(ordinal, beside=True, due=False)


def _may_go(draft: Draft, ordinal: int) -> bool:
    """Whether an outdated replica may go before its successor has come.

    As a Deployment reckons: those that are ready need a place to spare above the floor; those that
    are not may go unless replicas of the target that are not available use up the allowance.
    """
    wanted = draft.wanted()
    if _serves(draft, ordinal):
        return sum(_serves(draft, o) for o in wanted) > draft.world.floor
    staying = sum(any(_counts(draft, r) for r in draft.world.group(o)) for o in wanted)
    return staying > draft.world.floor


def _counts(draft: Draft, replica: observed.Replica) -> bool:
    outdated = replica.revision != draft.target
    return replica.uid not in draft.leaving and (outdated or draft.world.available(replica))


def _serves(draft: Draft, ordinal: int) -> bool:
    """Whether a place has an available replica that stays."""
    return any(
        draft.world.available(r) and r.uid not in draft.leaving and not draft.places[ordinal].vacate
        for r in draft.world.group(ordinal)
    )
