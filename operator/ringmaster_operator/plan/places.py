"""The places of a set: too few, too many, equal; and a living replica for each.

Law: pure. A place keeps its member id through every replacement; new places take the lowest free
ordinal; what fails is replaced under the same id, with a crash-loop backoff. In a rollout a place
has a holder, and a successor beside it that takes over once it is available: each is remembered
and replaced on its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ringmaster_operator import memory, observed
from ringmaster_operator.plan import ranking, revisions
from ringmaster_operator.plan.draft import Draft
from ringmaster_operator.plan.world import alive

# Ready for this long, and earlier failures of the place are forgiven.
FORGIVE_SECONDS = 10.0
# How long a start may fail its probes before an event says why: most have answered by then.
TELL_SECONDS = 5.0


def recognise(draft: Draft) -> None:
    """Take note of every replica: those of a lost memory are adopted, awaited ones have come."""
    for ordinal in draft.successors:  # those not tried yet are decided on anew
        draft.change(ordinal, beside=True, due=draft.phantom(ordinal, beside=True))
    for replica in sorted(draft.world.replicas, key=lambda r: r.attempt):
        place, beside = (k.get(replica.ordinal) for k in (draft.places, draft.successors))
        if beside is not None and replica.attempt == beside.attempt:
            _see(draft, replica, beside=True)
        elif place is not None and replica.attempt == place.attempt:
            _see(draft, replica)
            _forgive(draft, replica)
        elif place is None or replica.attempt > draft.last_attempt(replica.ordinal):
            _adopt(draft, replica, place)


def resize(draft: Draft) -> None:
    """Open and close places until there are as many as wanted."""
    surplus = len(draft.wanted()) - draft.world.wanted
    if surplus < 0:
        _open(draft, -surplus)
    elif surplus > 0:
        _close(draft, surplus)


def heal(draft: Draft) -> None:
    """See to it that every wanted place has, or will have, one good replica."""
    for ordinal in sorted(draft.places):
        if not draft.places[ordinal].wanted:
            draft.dismiss(ordinal)
            for replica in draft.world.group(ordinal):
                draft.leave(replica, f"{draft.world.wanted} wanted")
        elif revisions.held(draft, ordinal) and not any(
            map(draft.world.available, draft.fresh(ordinal))
        ):
            _hold(draft, ordinal)
        elif draft.fresh(ordinal):
            _settle(draft, ordinal)
        elif draft.healthy(ordinal):
            _keep_outdated(draft, ordinal)
        elif draft.world.group(ordinal):
            _replace_sick(draft, ordinal)
        elif not draft.places[ordinal].due:
            draft.fail(ordinal, observed.Reason.EMERGENCY, _obituary(draft, ordinal))


def tell_unready(draft: Draft) -> tuple[str, ...]:
    """Have an event say why a replica is not ready, once until it is; the uids of those told of.

    One that was ready is told of at once, one that starts after a while.
    """
    unready = {r.uid: r for g in draft.world.groups.values() for r in g if not r.ready}
    told = set(draft.before.told) & unready.keys()
    for uid, replica in unready.items():
        if uid in told or uid in draft.leaving or not replica.message:
            continue
        since = replica.created_at if replica.unready_since is None else replica.unready_since
        if replica.uid in draft.world.proven or since + TELL_SECONDS <= draft.world.now:
            draft.note("Warning", "Unhealthy", f"{replica.name}: {replica.message}")
            told.add(replica.uid)
    return tuple(sorted(told))


def _see(draft: Draft, replica: observed.Replica, *, beside: bool = False) -> None:
    known = draft.successors if beside else draft.places
    if not known[replica.ordinal].seen:
        draft.change(replica.ordinal, beside=beside, seen=True, due=False, vacate=False)
    draft.change(replica.ordinal, beside=beside, revision=replica.revision)


def _adopt(draft: Draft, replica: observed.Replica, place: memory.Place | None) -> None:
    """One that is not remembered: beside a living one of another revision it is a successor."""
    adopted = memory.Place(
        attempt=replica.attempt,
        reason=replica.reason,
        due=False,
        seen=True,
        revision=replica.revision,
    )
    if place is None:
        going = replica.phase is observed.Phase.TERMINATING
        draft.places[replica.ordinal] = replace(adopted, wanted=not going)
    elif place.revision != replica.revision and any(
        r.attempt == place.attempt for r in draft.world.group(replica.ordinal)
    ):
        draft.dismiss(replica.ordinal)
        draft.successors[replica.ordinal] = adopted
    else:
        draft.places[replica.ordinal] = replace(
            adopted,
            wanted=place.wanted,
            failures=place.failures,
            not_before=place.not_before,
        )


def _forgive(draft: Draft, replica: observed.Replica) -> None:
    place = draft.places[replica.ordinal]
    if not (place.failures and alive(replica) and replica.ready):
        return
    forgiven_at = (replica.ready_since or replica.created_at) + FORGIVE_SECONDS
    if forgiven_at <= draft.world.now:
        draft.change(replica.ordinal, failures=0, not_before=0.0)
    else:
        draft.wakes.append(forgiven_at)


def _open(draft: Draft, count: int) -> None:
    """Names asked for get new replicas; besides, draining ones are kept; then new ones come.

    A name that waits needs a place of its own: were every draining replica kept first, the one
    that had just been sent away would come back in place of the one that was asked for.
    """
    unused = list(_unused_names(draft))
    closed = sorted(o for o, place in draft.places.items() if not place.wanted)
    for ordinal in [o for o in closed if draft.fresh(o)][: max(0, count - len(unused))]:
        draft.change(ordinal, wanted=True)
        count -= 1
    names = iter(unused)
    shares = iter(revisions.shares(draft, count))
    ordinal = 0
    while count > 0:
        place = draft.places.get(ordinal)
        if place is None:
            place = memory.Place(name=next(names, ""), revision=next(shares))
            draft.places[ordinal] = place
            count -= 1
        elif not place.wanted and not draft.world.group(ordinal):
            draft.change(ordinal, wanted=True, failures=0, not_before=0.0, revision=next(shares))
            draft.renew(ordinal, observed.Reason.SCALE_UP)
            if not draft.places[ordinal].tried_at:
                draft.change(ordinal, name=next(names, ""))
            count -= 1
        ordinal += 1


def _unused_names(draft: Draft) -> Iterator[str]:
    """Names asked for that nobody has; on Kubernetes `S5` and `s5` are the same name."""
    taken = {n.lower() for r in draft.world.replicas for n in (r.name, r.display_name)}
    taken |= {place.name.lower() for place in draft.places.values() if place.wanted}
    for name in dict.fromkeys(draft.world.spec.names):
        if name.lower() not in taken:
            taken.add(name.lower())
            yield name


def _close(draft: Draft, count: int) -> None:
    active = {member.uid for member in draft.before.members if member.state == "active"}
    held = {r.uid for r in draft.world.replicas if draft.world.said_active(r)}
    order = ranking.scale_down_order(
        {ordinal: _representative(draft, ordinal) for ordinal in draft.wanted()},
        in_ring=active | held,
        victims=frozenset(draft.world.spec.scale_down.victims),
    )
    for ordinal in order[:count]:
        draft.change(ordinal, wanted=False, due=False, vacate=False)
    _spare(draft, closed=order[:count], kept=order[count:])


def _spare(draft: Draft, *, closed: Sequence[int], kept: Sequence[int]) -> None:
    """Forget as many named victims as others went in their stead.

    One that is not ready goes before one that was named. What was wished for has been done then;
    the name must not linger and choose somebody at a later scale-down, when nobody expects it.
    """
    names = {o: _names(draft, o) for o in (*closed, *kept)}
    victims = draft.world.spec.scale_down.victims
    named = frozenset(victims)
    others = sum(names[o].isdisjoint(named) for o in closed)
    remaining = {name for o in kept for name in names[o]}
    draft.spared = tuple(v for v in victims if v in remaining)[:others]


def _names(draft: Draft, ordinal: int) -> set[str]:
    stands = _representative(draft, ordinal)
    return set() if stands is None else {stands.name, stands.display_name}


def _representative(draft: Draft, ordinal: int) -> observed.Replica | None:
    """The replica that stands for a place: the best of those that live."""
    return max(
        draft.world.group(ordinal),
        key=lambda r: (draft.world.available(r), r.ready, r.revision == draft.target, r.attempt),
        default=None,
    )


def _settle(draft: Draft, ordinal: int) -> None:
    """A replica of the target lives: once it is available, it alone stays."""
    world = draft.world
    best = max(
        draft.fresh(ordinal),
        key=lambda r: (world.available(r), r.ready, r.uid not in draft.before.drains, r.attempt),
    )
    if world.available(best):
        # Of whatever attempt: those after it may have failed for a template that was taken back.
        _forgive(draft, best)
    serving = [r for r in draft.healthy(ordinal) if r.revision != draft.target and r.ready]
    if world.available(best) or not serving:
        draft.rest_on(ordinal, best)
        draft.dismiss(ordinal)
    for other in world.group(ordinal):
        if other is best:
            continue
        if world.available(best):
            draft.leave(other, f"{best.name} serves in its place")
        elif other not in serving and (serving or not world.sick(other)):
            draft.leave(other, f"{best.name} starts in its place")
    draft.change(ordinal, due=False, vacate=False)


def _hold(draft: Draft, ordinal: int) -> None:
    """The place is of a proven revision, and none of the target is available yet.

    A successor that starts beside is no care for it: what dies is made anew of its own revision.
    """
    if any(r.revision != draft.target for r in draft.healthy(ordinal)):
        _keep_outdated(draft, ordinal)
        return
    _look_beside(draft, ordinal)
    if draft.holders(ordinal):
        _replace_sick(draft, ordinal)
    elif not draft.places[ordinal].due:
        draft.fail(ordinal, observed.Reason.EMERGENCY, _obituary(draft, ordinal))


def _keep_outdated(draft: Draft, ordinal: int) -> None:
    """Of the healthy ones of other templates one stays until `rollout` lets it go."""
    kept = max(
        (r for r in draft.healthy(ordinal) if r.revision != draft.target),
        key=lambda r: (draft.world.available(r), r.ready, _active(draft, r), r.attempt),
    )
    place = draft.places[ordinal]
    if not place.vacate or place.reason is observed.Reason.EMERGENCY:
        # It lives, or has recovered: what was to replace it is not needed.
        draft.rest_on(ordinal, kept)
        draft.change(ordinal, vacate=False, due=draft.phantom(ordinal))
    _look_beside(draft, ordinal)
    for replica in draft.holders(ordinal):
        if replica is not kept:
            sick = draft.world.sick(replica)
            draft.leave(
                replica, "not ready for too long" if sick else f"{kept.name} serves in its place"
            )


def _look_beside(draft: Draft, ordinal: int) -> None:
    """A successor of the target that is gone or sick has failed; one of another template goes."""
    beside = draft.successors.get(ordinal)
    if beside is None or not beside.seen:
        return
    fresh = draft.fresh(ordinal)
    for replica in draft.world.group(ordinal):
        if replica.attempt == beside.attempt and replica not in fresh:
            outdated = replica.revision != draft.target
            draft.leave(replica, "outdated" if outdated else "not ready for too long")
    if beside.revision != draft.target:
        draft.dismiss(ordinal)
    elif not any(r.attempt == beside.attempt for r in fresh):
        cause = _obituary(draft, ordinal, beside=True)
        draft.fail(ordinal, observed.Reason.ROLLOUT, cause, beside=True)


def _active(draft: Draft, replica: observed.Replica) -> bool:
    return any(m.uid == replica.uid and m.state == "active" for m in draft.before.members)


def _replace_sick(draft: Draft, ordinal: int) -> None:
    """The successor runs first, if there is room beside; else the sick one goes first."""
    place = draft.places[ordinal]
    if not place.due:
        draft.fail(ordinal, observed.Reason.EMERGENCY, _complaint(draft.holders(ordinal)))
    if draft.phantom(ordinal):
        return
    if not draft.places[ordinal].vacate and draft.room() > 0:
        draft.beside[ordinal] = "not ready for too long"
        return
    vacated = [o for o in draft.wanted() if draft.places[o].vacate and o != ordinal]
    if draft.places[ordinal].vacate or len(vacated) < max(1, draft.world.spec.unavailable()):
        draft.change(ordinal, vacate=True)
        for replica in draft.holders(ordinal):
            draft.leave(replica, "not ready for too long")


def _complaint(sick: Sequence[observed.Replica]) -> str:
    newest = max(sick, key=lambda r: r.attempt)
    said = f": {newest.message}" if newest.message else ""
    return f"{newest.name} is not ready for too long{said}"


def _obituary(draft: Draft, ordinal: int, *, beside: bool = False) -> str:
    """What became of the newest replica of a place, or of the successor beside it."""
    attempt = (draft.successors if beside else draft.places)[ordinal].attempt
    for replica in draft.world.replicas:
        if (replica.ordinal, replica.attempt) == (ordinal, attempt):
            said = f": {replica.message}" if replica.message else ""
            return f"{replica.name} is {replica.phase.value}{said}"
    return f"{draft.name(ordinal, beside=beside)} is gone"
