"""Trials: the simulation agrees with theory, and a live run is held to it key by key."""

from __future__ import annotations

from array import array

import pytest
from ringmaster_experiments import rings, trials

IDS = rings.names("web", 3)


def trial(name="hrw", requests=2_000):
    return trials.Trial(variant=rings.VARIANTS[name], servers=3, requests=requests)


def measured(name="hrw", **changes):
    """A live run that agrees in everything but what the caller changes."""
    expected = trials.run(trial(name), seed=1, ids=IDS)
    ring = rings.compiled(rings.VARIANTS[name], IDS)
    keys = trials.draws.keys(1, servers=3, count=2_000)
    answers = array("i", rings.owners(ring, IDS, keys))
    for number, answer in changes.pop("at", {}).items():
        answers[number] = answer
    assert sum(expected.simulated) == 2_000
    return trials.Measured(answers, **changes)


@pytest.mark.parametrize("variant", rings.VARIANTS.values(), ids=lambda v: v.name)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_simulation_agrees_with_exact_theory(variant, seed):
    for servers in range(2, 7):
        found = trials.run(
            trials.Trial(variant, servers, 10_000), seed=seed, ids=rings.names("web", servers)
        )
        assert found.holds, found.verdicts
        assert sum(found.simulated) == 10_000


def test_the_same_seed_gives_an_equal_outcome():
    assert trials.run(trial(), seed=4, ids=IDS) == trials.run(trial(), seed=4, ids=IDS)
    assert trials.run(trial(), seed=4, ids=IDS) != trials.run(trial(), seed=5, ids=IDS)


def test_a_live_run_that_follows_the_table_agrees():
    found = trials.run(trial(), seed=1, ids=IDS, measured=measured())
    assert found.holds
    assert found.live == found.simulated
    assert found.live_digest == found.simulated_digest


def test_two_answers_that_are_swapped_disagree_though_the_counts_are_the_same():
    right = measured().answers
    first, second = right.index(0), right.index(1)
    swapped = measured(at={first: 1, second: 0})
    found = trials.run(trial(), seed=1, ids=IDS, measured=swapped)
    assert found.live == found.simulated
    assert not found.holds
    assert found.live_digest != found.simulated_digest
    assert "1,998 of 2,000 requests" in [verdict.detail for verdict in found.verdicts]


def test_a_failed_request_disagrees_and_is_named():
    found = trials.run(
        trial(), seed=1, ids=IDS, measured=measured(at={7: -1}, failures={"status 503": 1})
    )
    assert not found.holds
    assert "1 × status 503" in [verdict.detail for verdict in found.verdicts]


def test_a_server_that_answers_for_two_members_disagrees():
    found = trials.run(trial(), seed=1, ids=IDS, measured=measured(shared_names=("web-0-x",)))
    assert not found.holds


def test_the_spread_tells_a_good_ring_from_a_bad_one():
    assert trials.run(trial(requests=20_000), seed=1, ids=IDS).spread.peak < 1.05
    bad = trials.run(trial("assignment", 20_000), seed=1, ids=IDS).spread
    assert bad.peak > 2.4
    assert bad.mean == pytest.approx(20_000 / 3)
    assert (bad.smallest, bad.largest) == (min(bad.smallest, 1_000), max(bad.largest, 16_000))
