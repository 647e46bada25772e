from __future__ import annotations

import pytest
from ringmaster_operator.runtimes import docker_notes, grace

NOW = 10_000.0


def note(**values: float) -> docker_notes.Note:
    return docker_notes.Note(owner_uid="u-1", **values)


def removed(before: docker_notes.Note | None, seconds: float, now: float) -> docker_notes.Note:
    return note(**grace.given(before, seconds, now=now))


def test_a_grace_counts_down_whoever_looks() -> None:
    record = removed(None, 30, NOW)
    assert [grace.left(record, now=NOW + late) for late in (0, 10, 30, 40)] == [30, 20, 0, -10]


@pytest.mark.parametrize("back", [1, 3600])
def test_a_clock_that_was_set_back_leaves_no_more_than_was_given(back: float) -> None:
    assert grace.left(removed(None, 30, NOW), now=NOW - back) == 30


@pytest.mark.parametrize(("second", "left"), [(0, 0), (5, 5), (20, 20), (100, 20)])
def test_a_second_removal_shortens_a_grace_and_never_prolongs_it(
    second: float, left: float
) -> None:
    record = removed(removed(None, 30, NOW), second, NOW + 10)
    assert grace.left(record, now=NOW + 10) == left


@pytest.mark.parametrize(("second", "left"), [(5, 5), (100, 30)])
def test_a_second_removal_does_so_though_the_clock_was_set_back(second: float, left: float) -> None:
    record = removed(removed(None, 30, NOW), second, NOW - 3600)
    assert grace.left(record, now=NOW - 3600) == left


def test_a_record_of_before_the_grace_was_kept_says_when_it_ends() -> None:
    assert grace.left(note(kill_at=NOW + 20), now=NOW) == 20
    assert grace.left(removed(note(kill_at=NOW + 20), 5, NOW), now=NOW) == 5
    assert grace.left(removed(note(kill_at=NOW + 20), 100, NOW), now=NOW) == 20


def test_a_replica_that_nobody_ended_has_no_earlier_grace() -> None:
    assert removed(note(), 30, NOW) == removed(None, 30, NOW)
