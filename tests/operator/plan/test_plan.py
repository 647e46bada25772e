"""Every rule of the planner, as the text of a plan."""

from __future__ import annotations

from dataclasses import replace

import planning
import pytest
from planning import NOW, V1, V2, failed, replica, unready
from ringmaster_operator import memory, naming, observed


def three() -> list[observed.Replica]:
    return [replica(ordinal) for ordinal in range(3)]


def test_too_few_are_created_at_the_lowest_free_ordinals() -> None:
    wanted = planning.server_set(4)
    made = planning.decide(
        wanted, [replica(1)], before=planning.at_rest(planning.server_set(1), [replica(1)])
    )
    names = [_name(o, 1) for o in (0, 2, 3)]
    assert planning.lines(made) == [
        f"create {names[0]} for web-0: 4 wanted, 1 there",
        f"create {names[1]} for web-2: 4 wanted, 1 there",
        f"create {names[2]} for web-3: 4 wanted, 1 there",
    ]


def test_equal_is_nothing_to_do() -> None:
    wanted, replicas = planning.server_set(3), three()
    made = planning.decide(wanted, replicas, before=planning.at_rest(wanted, replicas))
    assert str(made) == ""
    assert made.requeue_after is None


def test_the_same_arguments_give_the_same_plan_and_change_nothing() -> None:
    wanted, replicas, before = planning.server_set(5), three(), memory.Memory()
    first = planning.decide(wanted, replicas, before=before)
    assert first == planning.decide(wanted, replicas, before=before)
    assert before == memory.Memory()


def test_too_many_are_drained_before_they_are_removed() -> None:
    replicas = three()
    before = planning.at_rest(planning.server_set(3), replicas)
    wanted = planning.server_set(2)
    active = planning.balancer({"r0-1": "active", "r1-1": "active", "r2-1": "active"})
    first = planning.decide(wanted, replicas, before=before, balancers=[active])
    assert planning.lines(first) == [
        "drain r2-1: 2 wanted",
        "wait r2-1: a balancer holds it as active",
    ]
    draining = planning.balancer({"r2-1": "draining"}, in_flight=1)
    second = planning.decide(wanted, replicas, before=first.memory, balancers=[draining])
    assert planning.lines(second) == ["wait r2-1: has requests in flight"]
    idle = planning.balancer({"r2-1": "draining"})
    third = planning.decide(wanted, replicas, before=second.memory, balancers=[idle])
    assert planning.lines(third) == ["remove r2-1: 2 wanted"]


def test_a_drain_ends_after_drain_seconds_though_requests_are_in_flight() -> None:
    replicas = three()
    before = planning.at_rest(planning.server_set(3), replicas)
    wanted = planning.server_set(2, drainSeconds=5)
    busy = planning.balancer({"r2-1": "draining"}, in_flight=7)
    first = planning.decide(wanted, replicas, before=before, balancers=[busy])
    assert "wait r2-1: has requests in flight" in planning.lines(first)
    later = planning.decide(wanted, replicas, before=first.memory, balancers=[busy], now=NOW + 5)
    assert planning.lines(later) == ["remove r2-1: 2 wanted"]


def test_without_a_balancer_nothing_is_waited_for() -> None:
    replicas = three()
    before = planning.at_rest(planning.server_set(3), replicas)
    made = planning.decide(planning.server_set(2), replicas, before=before)
    assert planning.lines(made) == ["remove r2-1: 2 wanted"]


def test_scaling_up_again_cancels_the_drain_of_the_same_template() -> None:
    replicas = three()
    before = planning.at_rest(planning.server_set(3), replicas)
    active = planning.balancer({"r2-1": "active"})
    drained = planning.decide(planning.server_set(2), replicas, before=before, balancers=[active])
    made = planning.decide(
        planning.server_set(3), replicas, before=drained.memory, balancers=[active]
    )
    assert planning.lines(made) == ["keep r2-1: is wanted again"]
    assert [m.state for m in made.memory.members] == ["active"] * 3


def test_what_has_failed_is_replaced_under_the_same_member_id_and_leaves_the_ring_first() -> None:
    wanted, replicas = planning.server_set(3), three()
    before = planning.at_rest(wanted, replicas)
    dead = replace(failed(1), uid=replicas[1].uid)
    held = planning.balancer({"r1-1": "active"})
    made = planning.decide(
        wanted, [replicas[0], dead, replicas[2]], before=before, balancers=[held]
    )
    name = _name(1, 2, emergency=True)
    assert planning.lines(made) == [
        "drain r1-1: exited with code 1",
        f"create {name} for web-1: replaces a failed one, attempt 2",
        "wait r1-1: a balancer holds it as active",
    ]
    entry = next(member for member in made.memory.members if member.id == "web-1")
    assert (entry.state, entry.replica) == ("absent", name)
    assert [note.reason for note in made.notes] == ["Unhealthy"]


@pytest.mark.parametrize("phase", [None, observed.Phase.TERMINATING])
def test_what_is_gone_or_going_is_replaced_at_once(phase: observed.Phase | None) -> None:
    wanted, replicas = planning.server_set(3), three()
    before = planning.at_rest(wanted, replicas)
    left = [replica(0), replica(2)] + ([replace(replicas[1], phase=phase)] if phase else [])
    made = planning.decide(wanted, left, before=before)
    assert [str(s[0]).split(":")[0] for s in made.stages] == [
        f"create {_name(1, 2, emergency=True)} for web-1"
    ]


def test_a_second_failure_in_a_row_waits() -> None:
    wanted, replicas = planning.server_set(1), [replica(0)]
    before = planning.at_rest(wanted, replicas)
    first = planning.decide(wanted, [failed(0)], before=before)
    assert len(first.stages) == 2  # removes the dead one, creates
    second = planning.decide(
        wanted, [failed(0, attempt=2, name="second")], before=first.memory, now=NOW + 3
    )
    assert "wait web-0: backoff after 2 failures" in planning.lines(second)
    assert not any("create" in line for line in planning.lines(second))
    third = planning.decide(wanted, [], before=second.memory, now=NOW + 4)
    assert planning.lines(third) == [
        f"create {_name(0, 3, emergency=True)} for web-0: replaces a failed one, attempt 3"
    ]


def test_failures_are_forgiven_once_a_replica_has_been_ready_for_a_while() -> None:
    wanted = planning.server_set(1)
    place = memory.Place(attempt=4, due=False, seen=True, failures=3, revision=V1)
    young = replica(0, attempt=4, ready_since=NOW - 3)
    made = planning.decide(wanted, [young], before=memory.Memory(places={0: place}))
    assert made.memory.places[0].failures == 3
    assert made.requeue_after == pytest.approx(7)
    later = planning.decide(wanted, [young], before=made.memory, now=NOW + 7)
    assert later.memory.places[0].failures == 0


def test_the_successor_of_one_that_hangs_runs_first() -> None:
    wanted, replicas = planning.server_set(3), three()
    before = planning.at_rest(wanted, replicas)
    hanging = replace(replicas[1], ready=False, ready_since=None, unready_since=NOW - 10)
    seen = [replicas[0], hanging, replicas[2]]
    made = planning.decide(wanted, seen, before=before)
    name = _name(1, 2, emergency=True)
    assert planning.lines(made) == [f"create {name} for web-1: not ready for too long"]
    successor = replica(1, attempt=2, name=name)
    after = planning.decide(wanted, [*seen, successor], before=made.memory)
    assert planning.lines(after) == [f"remove r1-1: {name} serves in its place"]


def test_without_surge_one_that_hangs_goes_first() -> None:
    limits = {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    wanted, replicas = planning.server_set(3, strategy=limits), three()
    before = planning.at_rest(wanted, replicas)
    hanging = replace(replicas[1], ready=False, ready_since=None, unready_since=NOW - 10)
    made = planning.decide(wanted, [replicas[0], hanging, replicas[2]], before=before)
    assert planning.lines(made) == [
        "remove r1-1: not ready for too long",
        "wait web-1: the old one is not gone yet",
    ]


def test_a_slow_start_is_no_illness() -> None:
    wanted = planning.server_set(1)
    never = unready(0, seconds=599, created_at=NOW - 599)
    assert str(planning.decide(wanted, [never])) == ""
    assert "create" in str(planning.decide(wanted, [never], now=NOW + 1))


def test_an_unready_replica_is_absent_at_once_and_back_when_it_is_ready() -> None:
    wanted, replicas = planning.server_set(3), three()
    before = planning.at_rest(wanted, replicas)
    blip = replace(replicas[1], ready=False, ready_since=None, unready_since=NOW)
    made = planning.decide(wanted, [replicas[0], blip, replicas[2]], before=before)
    assert [m.state for m in made.memory.members] == ["active", "absent", "active"]
    back = planning.decide(wanted, replicas, before=made.memory)
    assert [m.state for m in back.memory.members] == ["active"] * 3


def test_a_rollout_starts_a_successor_beside_and_then_lets_the_old_one_go() -> None:
    replicas = three()
    before = planning.at_rest(planning.server_set(3), replicas)
    wanted = planning.server_set(3, image="v2")
    first = planning.decide(wanted, replicas, before=before)
    assert planning.lines(first) == [f"create {_name(0, 2)} for web-0: template is {V2}"]
    starting = unready(0, attempt=2, name="new", revision=V2)
    second = planning.decide(wanted, [*replicas, starting], before=first.memory)
    assert str(second) == ""
    new = replica(0, attempt=2, name="new", revision=V2)
    third = planning.decide(wanted, [*replicas, new], before=second.memory)
    assert planning.lines(third) == ["remove r0-1: new serves in its place"]
    states = {m.replica: m.state for m in third.memory.members}
    assert states == {"new": "active", "r0-1": "draining", "r1-1": "active", "r2-1": "active"}


def test_a_rollout_without_surge_lets_an_old_one_go_first() -> None:
    replicas = three()
    before = planning.at_rest(planning.server_set(3), replicas)
    limits = {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    wanted = planning.server_set(3, image="v2", strategy=limits)
    first = planning.decide(wanted, replicas, before=before)
    assert planning.lines(first) == [
        f"remove r0-1: outdated, makes room for {V2}",
        "wait web-0: the old one is not gone yet",
    ]
    second = planning.decide(wanted, replicas[1:], before=first.memory)
    assert planning.lines(second) == [f"create {_name(0, 2)} for web-0: template is {V2}"]


def test_unhealthy_old_ones_are_rolled_first() -> None:
    replicas = three()
    before = planning.at_rest(planning.server_set(3), replicas)
    blip = replace(replicas[2], ready=False, ready_since=None, unready_since=NOW - 1)
    wanted = planning.server_set(3, image="v2")
    made = planning.decide(wanted, [*replicas[:2], blip], before=before)
    assert planning.lines(made) == [f"create {_name(2, 2)} for web-2: template is {V2}"]


def test_recreate_stops_all_before_it_starts_any() -> None:
    replicas = three()
    before = planning.at_rest(planning.server_set(3), replicas)
    wanted = planning.server_set(3, image="v2", strategy={"type": "Recreate"})
    first = planning.decide(wanted, replicas, before=before)
    assert planning.lines(first) == [
        *[f"remove r{o}-1: recreate as {V2}" for o in range(3)],
        "wait the new replicas: the old ones are not all gone",
    ]
    going = [replace(replicas[0], phase=observed.Phase.TERMINATING)]
    second = planning.decide(wanted, going, before=first.memory)
    assert planning.lines(second) == ["wait the new replicas: the old ones are not all gone"]
    third = planning.decide(wanted, [], before=second.memory)
    assert [len(stage) for stage in third.stages] == [1, 2]
    assert all(action.birth.reason is observed.Reason.ROLLOUT for s in third.stages for action in s)  # type: ignore[union-attr]


def test_a_paused_rollout_waits_but_heals_with_the_old_template() -> None:
    replicas = three()
    before = planning.at_rest(planning.server_set(3), replicas)
    wanted = planning.server_set(4, image="v2", paused=True)
    made = planning.decide(wanted, replicas[:2], before=before)
    births = [action.birth for stage in made.stages for action in stage]  # type: ignore[union-attr]
    assert {b.member_id: b.revision for b in births} == {"web-2": V1, "web-3": V1}


def test_a_replacement_runs_the_proven_template_while_the_new_one_is_unproven() -> None:
    replicas = three()
    before = planning.at_rest(planning.server_set(3), replicas)
    wanted = planning.server_set(3, image="v2")
    made = planning.decide(wanted, replicas[:2], before=before)
    birth = made.stages[0][0].birth  # type: ignore[union-attr]
    assert (birth.member_id, birth.revision) == ("web-2", V1)


def test_a_scale_up_starts_slowly_and_at_most_eight_at_once() -> None:
    made = planning.decide(planning.server_set(30))
    assert [len(stage) for stage in made.stages] == [1, 2, 4, 8, 8, 7]


def test_names_asked_for_go_to_new_replicas_and_are_used_up_by_those_that_have_them() -> None:
    wanted = planning.server_set(3, names=["S5", "s4"])
    made = planning.decide(wanted, [replica(0, name="S4")])
    births = [action.birth for stage in made.stages for action in stage]  # type: ignore[union-attr]
    assert [b.display_name for b in births] == ["S5", _name(2, 1)]
    assert made.used_names == ("s4",)


def test_a_named_victim_goes_only_when_there_are_too_many_and_is_forgotten_when_gone() -> None:
    replicas = three()
    before = planning.at_rest(planning.server_set(3), replicas)
    victims = {"victims": ["r0-1", "nobody"]}
    kept = planning.decide(planning.server_set(3, scaleDown=victims), replicas, before=before)
    assert not kept.stages
    assert kept.gone_victims == ("nobody",)
    made = planning.decide(planning.server_set(2, scaleDown=victims), replicas, before=before)
    assert planning.lines(made) == ["remove r0-1: 2 wanted"]


def test_what_is_not_ours_is_never_touched() -> None:
    stranger = replica(7, owner_uid="another", name="stranger")
    made = planning.decide(planning.server_set(0), [stranger])
    assert str(made) == ""
    assert made.memory.members == ()


def test_a_lost_memory_adopts_what_lives() -> None:
    made = planning.decide(planning.server_set(3), [replica(1), replica(4, attempt=3)])
    assert planning.lines(made) == [f"create {_name(0, 1)} for web-0: 3 wanted, 2 there"]
    assert made.memory.places[4].attempt == 3


def test_a_deleted_set_drains_and_removes_all_and_is_finished_when_nothing_is_left() -> None:
    replicas = three()
    before = planning.at_rest(planning.server_set(3), replicas)
    wanted = planning.server_set(3)
    metadata = wanted.metadata.model_copy(update={"deletion_timestamp": "2025-11-23T02:00:00Z"})
    wanted = wanted.model_copy(update={"metadata": metadata})
    made = planning.decide(wanted, replicas, before=before)
    assert planning.lines(made) == [f"remove r{o}-1: 0 wanted" for o in range(3)]
    assert not made.finished
    assert planning.decide(wanted, [], before=made.memory).finished


def _name(ordinal: int, attempt: int, *, emergency: bool = False) -> str:
    return naming.replica_name(
        f"web-{ordinal}",
        set_uid=planning.UID,
        ordinal=ordinal,
        attempt=attempt,
        emergency=emergency,
    )
