"""A clock that was set back: everything that was noted before lies in the future."""

from __future__ import annotations

from dataclasses import replace

import planning
from hypothesis import given
from hypothesis import strategies as st
from planning import NOW
from ringmaster_operator import memory
from ringmaster_operator.plan import backdating

LATER = NOW + 3600


def test_what_is_remembered_is_brought_back_to_now() -> None:
    before = memory.Memory(
        places={0: memory.Place(tried_at=LATER, not_before=LATER)},
        drains={
            "a": memory.Drain(since=LATER, released_at=LATER),
            "b": memory.Drain(since=LATER),
        },
        progress=memory.Progress(target="t", at=LATER),
    )
    after = backdating.remembered(before, NOW, backoff=60)
    assert after == memory.Memory(
        places={0: memory.Place(tried_at=NOW, not_before=NOW + 60)},
        drains={"a": memory.Drain(since=NOW, released_at=NOW), "b": memory.Drain(since=NOW)},
        progress=memory.Progress(target="t", at=NOW),
    )
    assert backdating.remembered(after, NOW + 1, backoff=60) == after


PAST = st.floats(0, NOW)


@given(
    tried=PAST, not_before=st.floats(0, NOW + 60), since=PAST, released=st.none() | PAST, at=PAST
)
def test_what_is_past_stays(
    tried: float, not_before: float, since: float, released: float | None, at: float
) -> None:
    before = memory.Memory(
        places={0: memory.Place(tried_at=tried, not_before=not_before)},
        drains={"a": memory.Drain(since=since, released_at=released)},
        progress=memory.Progress(at=at),
    )
    assert backdating.remembered(before, NOW, backoff=60) == before


def test_a_replica_is_so_from_the_first_look_on_that_is_told_of_the_future() -> None:
    ready, hangs = planning.replica(0, ready_since=LATER), planning.unready(1, seconds=-3600)
    known = backdating.stand_ins([ready, hangs], {}, NOW)
    assert backdating.seen(ready, known) == replace(ready, ready_since=NOW)
    assert backdating.seen(hangs, known) == replace(hangs, unready_since=NOW)
    for now in (NOW + 9, LATER + 9):
        assert backdating.stand_ins([ready, hangs], known, now) == known
    again = backdating.stand_ins([ready, hangs], known, NOW - 60)
    assert backdating.seen(ready, again).ready_since == NOW - 60


def test_a_stand_in_is_forgotten_with_its_replica_and_when_that_changes() -> None:
    ready = planning.replica(0, ready_since=LATER)
    known = backdating.stand_ins([ready], {}, NOW)
    assert backdating.stand_ins([], known, NOW + 1) == {}
    hangs = planning.unready(0, uid=ready.uid)
    assert backdating.seen(hangs, known) == hangs
    assert backdating.stand_ins([hangs], known, NOW + 1) == {}


def test_of_replicas_whose_moments_are_past_nothing_is_kept() -> None:
    assert backdating.stand_ins([planning.replica(0), planning.unready(1)], {}, NOW) == {}


def test_a_replica_that_tells_no_moment_counts_from_its_creation() -> None:
    starting = planning.unready(0, unready_since=None, created_at=LATER)
    known = backdating.stand_ins([starting], {}, NOW)
    assert backdating.seen(starting, known) == replace(starting, unready_since=NOW)
    unknown = planning.replica(0, ready_since=None)
    assert backdating.stand_ins([unknown], {}, NOW) == {}
