"""The epoch in a Lease."""

from __future__ import annotations

import pytest
from fake_api import FakeApi
from ringmaster_operator import errors
from ringmaster_operator.kube import leases, paths
from virtual_clock import VirtualClock

PATH = paths.leases("shop", leases.NAME)


@pytest.fixture
def api():
    return FakeApi()


@pytest.fixture
def clock():
    return VirtualClock()


def epochs(api, clock):
    return leases.Epochs(api, namespace="shop", holder="here", clock=clock)


def test_it_is_above_now_and_above_all_that_is_known(api, clock):
    made = epochs(api, clock)
    first = made.raise_above(0)
    assert first == int(clock() * 1000) + 1
    assert made.raise_above(first + 1_000) == first + 1_001
    assert made.raise_above(0) == first + 1_002  # the clock stands still


def test_it_does_not_fall_with_the_clock(api, clock):
    made = epochs(api, clock)
    first = made.raise_above(0)
    clock.advance(-3600)
    assert made.raise_above(0) == first + 1


def test_two_that_raise_at_once_get_two_epochs(api, clock):
    one, other = epochs(api, clock), epochs(api, clock)
    got = []
    api.meanwhile = [lambda: got.append(other.raise_above(0))]
    got.append(one.raise_above(0))
    api.meanwhile = [lambda: got.append(other.raise_above(0))]
    got.append(one.raise_above(0))
    assert len(set(got)) == 4
    assert got[-1] == max(got) == one.current()


def test_whoever_finds_a_higher_one_stops(api, clock):
    one, other = epochs(api, clock), epochs(api, clock)
    mine = one.raise_above(0)
    one.check(mine)
    theirs = other.raise_above(0)
    other.check(theirs)
    with pytest.raises(errors.FencedError, match=str(theirs)):
        one.check(mine)


def test_a_lease_that_somebody_emptied_counts_as_none(api, clock):
    made = epochs(api, clock)
    made.raise_above(0)
    api.edit(PATH, {"metadata": {"annotations": {"ringmaster.dev/epoch": "what"}}})
    assert made.current() == 0


def test_one_that_must_not_be_written_is_tried_again_later(api, clock):
    api.faults = [errors.RefusedError("Forbidden", "no")]
    with pytest.raises(errors.RetryLater, match="epoch"):
        epochs(api, clock).raise_above(0)


def test_one_that_somebody_deletes_meanwhile_is_made_anew(api, clock):
    made = epochs(api, clock)
    first = made.raise_above(0)
    api.meanwhile = [lambda: api.objects.pop(PATH)]
    assert made.raise_above(first) > first
    assert made.current() > first


def test_a_namespace_that_is_not_there_is_said(api, clock):
    api.faults = [errors.NotFoundError('namespaces "shop" not found')]
    with pytest.raises(errors.NotFoundError, match="shop"):
        epochs(api, clock).raise_above(0)
