"""Nothing has happened in the future: what a clock that was set back left there is brought to now.

Law: pure, and at the start of a plan only. Without it a backoff, a drain or an illness would last
as long as the jump of the clock. What is remembered is corrected once and saved. A runtime says the
same moment at every look, so what stands for it is remembered, as long as the runtime says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ringmaster_operator import memory, observed


def remembered(before: memory.Memory, now: float, *, backoff: float) -> memory.Memory:
    """The memory without moments that are yet to come; an equal one if there are none.

    `backoff`: the longest that a place may have to wait.
    """
    places, successors = (
        {
            ordinal: replace(
                place,
                tried_at=min(place.tried_at, now),
                not_before=min(place.not_before, now + backoff),
            )
            for ordinal, place in known.items()
        }
        for known in (before.places, before.successors)
    )
    drains = {
        uid: replace(
            drain,
            since=min(drain.since, now),
            released_at=None if drain.released_at is None else min(drain.released_at, now),
        )
        for uid, drain in before.drains.items()
    }
    progress = replace(before.progress, at=min(before.progress.at, now))
    return replace(before, places=places, successors=successors, drains=drains, progress=progress)


def stand_ins(
    replicas: Iterable[observed.Replica], known: Mapping[str, memory.StandIn], now: float
) -> dict[str, memory.StandIn]:
    """By uid, what stands for the moment from which on a replica is said to be as it is.

    It goes on to when the clock has passed that moment: the replica has been so for longer.
    """
    found = {}
    for replica in replicas:
        said, stands = _since(replica), known.get(replica.uid)
        if said is None:
            continue
        if stands is not None and stands.said == said:
            found[replica.uid] = replace(stands, at=min(stands.at, now))
        elif said > now:
            found[replica.uid] = memory.StandIn(said=said, at=now)
    return found


def seen(replica: observed.Replica, known: Mapping[str, memory.StandIn]) -> observed.Replica:
    """The replica, with its stand-in for a moment that was in the future when first seen."""
    stands = known.get(replica.uid)
    if stands is None or stands.said != _since(replica):
        return replica
    if replica.ready:
        return replace(replica, ready_since=stands.at)
    return replace(replica, unready_since=stands.at)


def _since(replica: observed.Replica) -> float | None:
    """Since when it is ready, or is not, by what the runtime says."""
    if replica.ready:
        return replica.ready_since
    return replica.created_at if replica.unready_since is None else replica.unready_since
