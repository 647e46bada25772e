"""Design's order, one step at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import planning
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringmaster_operator import observed
from ringmaster_operator.plan import ranking

GOOD = planning.replica(0, uid="good", name="good")
STARTING = observed.Phase.STARTING


def first(places: dict[int, observed.Replica | None], *, in_ring: set[str] | None = None) -> int:
    ring = {"good", "other"} if in_ring is None else in_ring
    return ranking.scale_down_order(places, in_ring=ring, victims={"victim"})[0]


def other(**changes: Any) -> observed.Replica:
    return replace(GOOD, **{"uid": "other", "name": "other", "display_name": "other", **changes})


@pytest.mark.parametrize(
    ("sooner", "later"),
    [
        (None, GOOD),
        (other(phase=STARTING), replace(GOOD, ready=False)),
        (other(ready=False), GOOD),
        (other(display_name="victim"), GOOD),
        (other(name="victim"), GOOD),
        (other(deletion_cost=-1), GOOD),
        (other(ready_since=planning.NOW - 1), GOOD),
        (other(restarts=2), GOOD),
    ],
    ids=[
        "no replica",
        "not running",
        "not ready",
        "a victim by display name",
        "a victim by name",
        "a lower deletion cost",
        "ready for less long",
        "more restarts",
    ],
)
def test_goes_before_one_that_is_better(
    sooner: observed.Replica | None, later: observed.Replica
) -> None:
    assert first({0: sooner, 1: later}) == 0
    assert first({1: sooner, 0: later}) == 1


def test_one_that_is_not_in_the_ring_goes_before_a_victim_that_is() -> None:
    victim = other(display_name="victim")
    assert first({0: GOOD, 1: victim}, in_ring={"other"}) == 0


def test_each_criterion_outweighs_all_that_follow() -> None:
    ladder = [
        other(phase=STARTING, deletion_cost=9),
        other(ready=False, deletion_cost=9),
        other(display_name="victim", deletion_cost=9),
        other(deletion_cost=-1, ready_since=planning.NOW - 999),
        other(ready_since=planning.NOW - 1),
        other(restarts=1),
    ]
    places = dict(enumerate(reversed(ladder)))
    order = ranking.scale_down_order(places, in_ring={"other"}, victims={"victim"})
    assert order == [5, 4, 3, 2, 1, 0]


def test_the_highest_of_equal_ordinals_goes_first() -> None:
    order = ranking.scale_down_order({0: GOOD, 2: GOOD, 1: GOOD}, in_ring=(), victims=())
    assert order == [2, 1, 0]


@given(st.permutations(range(6)))
def test_the_order_does_not_depend_on_the_order_of_the_places(ordinals: list[int]) -> None:
    places = {o: replace(GOOD, restarts=o % 2) for o in ordinals}
    order = ranking.scale_down_order(places, in_ring=(), victims=())
    assert order == [5, 3, 1, 4, 2, 0]
