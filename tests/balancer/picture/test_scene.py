"""From a table and a membership to what is drawn."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from ringmaster_balancer import members
from ringmaster_balancer.picture import scene
from ringmaster_balancer.ring import table

RINGS = [
    {},
    {"slots": 100},
    {"scheme": "maglev"},
    {"scheme": "classic"},
    {"scheme": "ketama", "hash": "crc32"},
    {"scheme": "ketama", "hash": "md5"},
]


def built(count, states=(), healthy=(), **ring):
    compiled = table.compile(
        members.Ring(**ring), [(f"web-{ordinal}", 100) for ordinal in range(count)]
    )
    membership = members.Membership(
        epoch=1,
        generation=7,
        uid="u",
        replicas=count,
        members=tuple(
            members.Member(
                id=f"web-{n}", replica=f"r{n}", address="h:1", state=dict(states).get(n, "active")
            )
            for n in range(count)
        ),
    )
    return compiled, scene.of(
        compiled, title="default/web", membership=membership, healthy=dict(healthy)
    )


@pytest.mark.parametrize("ring", RINGS)
@pytest.mark.parametrize("count", [1, 3, 12])
def test_the_runs_cover_the_ring_once_and_neighbours_differ(ring, count):
    _, made = built(count, **ring)
    assert made.runs[0].begin == 0
    assert made.runs[-1].end == pytest.approx(1)
    for one, other in zip(made.runs, made.runs[1:], strict=False):
        assert one.end == other.begin
        assert one.seat != other.seat


@pytest.mark.parametrize("ring", RINGS)
def test_what_is_not_sampled_is_as_long_as_the_shares_say(ring):
    compiled, made = built(5, **ring)
    if made.sampled or ring.get("scheme") == "classic":  # whose requests reach some slots only
        return
    lengths = Counter()
    for run in made.runs:
        lengths[made.seats[run.seat].id] += run.end - run.begin
    assert lengths == pytest.approx(table.shares(compiled), abs=1e-9)


def test_a_large_ring_is_sampled_at_equal_distances_and_says_so():
    compiled, made = built(3)
    assert made.sampled == scene.SECTORS
    owners = table.owners(compiled)
    for sector in range(0, scene.SECTORS, 37):
        middle = (sector + 0.5) / scene.SECTORS
        run = next(run for run in made.runs if run.begin <= middle < run.end)
        assert made.seats[run.seat].id == owners[sector * 65_536 // scene.SECTORS]


def test_seats_have_their_condition_and_what_is_due():
    _, made = built(4, {1: "absent", 2: "draining"}, {"r3": False})
    assert [seat.condition for seat in made.seats] == ["active", "absent", "draining", "unhealthy"]
    assert [seat.serves for seat in made.seats] == [True, False, False, False]
    assert math.fsum(seat.share for seat in made.seats) == pytest.approx(1)
    assert {seat.ideal for seat in made.seats} == {0.25}
    assert "web-3 has 24.7% of the keys, 25.0% would be its due, unhealthy" in scene.words(made)


def test_ids_are_sorted_as_people_do_and_a_newcomer_behind_changes_no_colour():
    _, made = built(12)
    assert [seat.id for seat in made.seats] == [f"web-{n}" for n in range(12)]
    few, many = (scene.colours([f"web-{n}" for n in range(count)]) for count in (5, 60))
    assert few.items() <= many.items()
    assert len(set(many.values())) == 60


def test_an_empty_ring_is_a_scene_too():
    _, made = built(0)
    assert made.seats == ()
    assert {run.seat for run in made.runs} == {-1}
    assert scene.words(made).endswith("Nobody serves.")


def test_classic_is_called_by_the_hash_that_it_has():
    assert built(3, scheme="classic")[1].hash == "assignment"
