"""Places open, close, heal: what other tests of the planner leave unsaid."""

from __future__ import annotations

from dataclasses import replace

import planning
import pytest
import simulation
from planning import NOW, V2
from ringmaster_operator import memory, observed


def wanted_places(value: memory.Memory) -> list[int]:
    return sorted(o for o, place in value.places.items() if place.wanted)


def test_a_place_that_was_closed_keeps_its_attempts() -> None:
    before = memory.Memory(
        places={0: memory.Place(attempt=6, wanted=False, due=False, seen=True, failures=4)}
    )
    made = planning.decide(planning.server_set(1), before=before).memory
    assert (made.places[0].attempt, made.places[0].failures) == (7, 0)


def test_a_closed_place_whose_old_replica_still_lives_is_not_free() -> None:
    old = planning.replica(0, revision=V2)
    places = {0: memory.Place(wanted=False, due=False, seen=True)}
    made = planning.decide(planning.server_set(1), [old], before=memory.Memory(places=places))
    assert wanted_places(made.memory) == [1]


def test_a_replica_that_appears_on_a_closed_place_goes() -> None:
    places = {0: memory.Place(wanted=False, due=False, tried_at=NOW - 3)}
    late = planning.replica(0)
    made = planning.decide(planning.server_set(0), [late], before=memory.Memory(places=places))
    assert planning.lines(made) == ["remove r0-1: 0 wanted"]


def test_one_that_hung_and_recovers_stays_and_its_successor_is_not_needed() -> None:
    wanted = planning.server_set(1)
    good = planning.replica(0)
    before = planning.at_rest(wanted, [good])
    hanging = replace(good, ready=False, ready_since=None, unready_since=NOW - 10)
    begun = planning.decide(wanted, [hanging], before=before).memory
    successor = planning.unready(0, attempt=2, name="successor", created_at=NOW)
    made = planning.decide(wanted, [good, successor], before=begun)
    assert planning.lines(made) == ["remove successor: r0-1 serves in its place"]


def test_of_several_that_hang_as_many_get_a_successor_beside_as_there_is_surge() -> None:
    wanted = planning.server_set(3)
    good = [planning.replica(o) for o in range(3)]
    before = planning.at_rest(wanted, good)
    hanging = [replace(r, ready=False, ready_since=None, unready_since=NOW - 10) for r in good]
    made = planning.decide(wanted, hanging, before=before)
    created = [line for line in planning.lines(made) if line.startswith("create")]
    removed = [line for line in planning.lines(made) if line.startswith("remove")]
    assert len(created) == 1
    assert removed == ["remove r1-1: not ready for too long"]  # one at a time without surge


def test_a_lost_memory_replaces_what_failed_and_does_not_wait_for_what_is_going() -> None:
    going = planning.replica(5, phase=observed.Phase.TERMINATING)
    made = planning.decide(planning.server_set(2), [planning.failed(1), going])
    assert wanted_places(made.memory) == [0, 1]
    assert made.memory.places[1].reason is observed.Reason.EMERGENCY


def test_a_name_in_use_is_not_given_again_whatever_its_case() -> None:
    going = planning.replica(0, name="s5", phase=observed.Phase.TERMINATING)
    wanted = planning.server_set(2, names=["S5"])
    made = planning.decide(wanted, [going])
    assert "S5" not in str(made)
    assert made.used_names == ()  # still asked for, once the old one is gone


def _drained(*names: str) -> tuple[list[observed.Replica], memory.Memory]:
    """Four replicas, of which a scale-down to three has just sent `names` out of the ring."""
    replicas = [planning.replica(o, name=f"S{o}") for o in range(4)]
    before = planning.at_rest(planning.server_set(4), replicas)
    states = {r.display_name: "active" for r in replicas}
    fewer = planning.server_set(4 - len(names), scaleDown={"victims": list(names)})
    made = planning.decide(fewer, replicas, before=before, balancers=[planning.balancer(states)])
    assert [line for line in planning.lines(made) if line.startswith("drain")]
    return replicas, made.memory


def test_a_name_asked_for_gets_a_new_replica_though_one_that_drains_could_be_kept() -> None:
    replicas, before = _drained("S3")
    held = {"S0": "active", "S1": "active", "S2": "active", "S3": "draining"}
    wanted = planning.server_set(4, names=["S5"])
    made = planning.decide(
        wanted, replicas, before=before, balancers=[planning.balancer(held, in_flight=1)]
    )
    assert planning.lines(made) == [
        "create S5 for web-4: 4 wanted, 3 there",
        "wait S3: has requests in flight",
    ]


def test_of_those_that_drain_as_many_are_kept_as_no_name_is_asked_for() -> None:
    replicas, before = _drained("S1", "S3")
    wanted = planning.server_set(4, names=["S5"])
    made = planning.decide(wanted, replicas, before=before)
    assert wanted_places(made.memory) == [0, 1, 2, 4]
    assert made.memory.places[4].name == "S5"


def test_a_victim_that_is_kept_after_all_is_no_victim_any_more() -> None:
    replicas, before = _drained("S3")
    wanted = planning.server_set(4, scaleDown={"victims": ["S3"]})
    held = planning.balancer({r.display_name: "active" for r in replicas})
    made = planning.decide(wanted, replicas, before=before, balancers=[held])
    assert planning.lines(made) == ["keep S3: is wanted again"]
    assert made.gone_victims == ("S3",)


def test_a_victim_in_whose_stead_another_went_is_spared_for_good() -> None:
    replicas = [planning.replica(o, name=f"S{o}") for o in range(3)]
    before = planning.at_rest(planning.server_set(3), replicas)
    replicas[0] = replace(replicas[0], ready=False, ready_since=None, unready_since=NOW - 1)
    fewer = planning.server_set(2, scaleDown={"victims": ["S2"]})
    made = planning.decide(fewer, replicas, before=before)
    assert planning.lines(made) == ["remove S0: 2 wanted"]
    assert made.gone_victims == ("S2",)


def test_a_victim_whose_turn_has_not_come_stays_one() -> None:
    replicas = [planning.replica(o, name=f"S{o}") for o in range(3)]
    before = planning.at_rest(planning.server_set(3), replicas)
    fewer = planning.server_set(2, scaleDown={"victims": ["S1", "S0"]})
    made = planning.decide(fewer, replicas, before=before)
    assert planning.lines(made) == ["remove S1: 2 wanted"]
    assert made.gone_victims == ()


def test_scaling_to_the_same_number_with_gaps_changes_nothing() -> None:
    replicas = [planning.replica(o) for o in (1, 4, 7)]
    before = planning.at_rest(planning.server_set(3), replicas)
    assert str(planning.decide(planning.server_set(3), replicas, before=before)) == ""


@pytest.mark.parametrize("failing", ["Pause", "Rollback"])
def test_a_bad_template_that_is_gone_leaves_no_backoff_behind(failing: str) -> None:
    world = simulation.World(progressDeadlineSeconds=5, strategy={"onFailure": failing})
    world.run(15.0)
    survivors = world.ring()
    world.edit(template=simulation.template("crash"))
    world.run(4.0)
    assert world.condition("ReplicaFailure") == ("True", "CrashLoop")
    if failing == "Pause":
        world.edit(template=simulation.template())
    world.run(8.0)
    assert world.ring() == survivors
    assert world.condition("ReplicaFailure") == ("False", "NoFailure")
    assert {p.failures for p in world.records.load_memory(world.owner).places.values()} == {0}
    world.runtime.kill(survivors[0])
    world.step()
    assert len(world.runtime.living()) == 3  # its successor is there at once


def test_one_that_outlived_its_successors_is_forgiven_only_once_it_has_served_for_a_while() -> None:
    young = planning.replica(0, ready_since=NOW - 3)
    place = memory.Place(attempt=4, due=False, seen=True, failures=3, revision=planning.V1)
    made = planning.decide(planning.server_set(1), [young], before=memory.Memory(places={0: place}))
    assert made.memory.places[0].failures == 3
    assert made.requeue_after == pytest.approx(7)
    later = planning.decide(planning.server_set(1), [young], before=made.memory, now=NOW + 7)
    assert later.memory.places[0].failures == 0


def test_an_outdated_one_that_serves_does_not_forgive_the_failures_of_the_target() -> None:
    old = planning.replica(0)
    place = memory.Place(attempt=4, due=True, seen=True, failures=3, revision=V2)
    wanted = planning.server_set(1, image="v2")
    made = planning.decide(wanted, [old], before=memory.Memory(places={0: place}))
    assert made.memory.places[0].failures == 3


REFUSED = "Readiness probe failed: GET http://127.0.0.1:9000/: connection refused"


def test_an_event_says_once_why_a_replica_became_unready_and_again_the_next_time() -> None:
    wanted, good = planning.server_set(1), planning.replica(0)
    before = planning.at_rest(wanted, [good])
    bad = replace(good, ready=False, ready_since=None, unready_since=NOW, message=REFUSED)
    first = planning.decide(wanted, [bad], before=before)
    assert [str(note.message) for note in first.notes] == [f"r0-1: {REFUSED}"]
    again = planning.decide(wanted, [bad], before=first.memory, now=NOW + 5)
    assert (again.notes, again.memory.told) == ((), (good.uid,))
    well = planning.decide(wanted, [good], before=again.memory, now=NOW + 6)
    assert well.memory.told == ()
    assert planning.decide(wanted, [bad], before=well.memory, now=NOW + 7).notes


def test_an_event_is_not_repeated_where_an_unready_one_has_nothing_to_say_for_a_moment() -> None:
    # As a pod whose program is started again and again, or one good probe of two that are wanted.
    wanted, good = planning.server_set(1), planning.replica(0)
    bad = replace(good, ready=False, ready_since=None, unready_since=NOW, message=REFUSED)
    made = planning.decide(wanted, [bad], before=planning.at_rest(wanted, [good]))
    for second, message in enumerate(["", REFUSED, "", "it says something else"], start=1):
        seen = [replace(bad, message=message)]
        made = planning.decide(wanted, seen, before=made.memory, now=NOW + second)
        assert (made.notes, made.memory.told) == ((), (good.uid,))


def test_a_start_may_fail_its_probes_for_a_while_before_an_event_says_why() -> None:
    wanted = planning.server_set(1)
    starting = planning.unready(0, seconds=4, message=REFUSED)
    first = planning.decide(wanted, [starting])
    assert first.notes == ()
    later = planning.decide(wanted, [starting], before=first.memory, now=NOW + 1)
    assert [note.reason for note in later.notes] == ["Unhealthy"]


def test_the_event_of_a_replacement_says_who_hangs_and_why() -> None:
    wanted, good = planning.server_set(1), planning.replica(0)
    before = planning.at_rest(wanted, [good])
    hanging = replace(good, ready=False, ready_since=None, unready_since=NOW - 10, message=REFUSED)
    told = [note.message for note in planning.decide(wanted, [hanging], before=before).notes]
    assert f"web-0: r0-1 is not ready for too long: {REFUSED}" in told
