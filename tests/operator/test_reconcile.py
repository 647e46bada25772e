"""The order of effects, on a small world with a virtual clock."""

from __future__ import annotations

import pytest
import simulation
from ringmaster_operator import conditions, errors, naming, reconcile
from simulation import World

V1, V2 = (naming.template_hash(simulation.template(image)) for image in ("v1", "v2"))


@pytest.fixture
def world() -> World:
    """Three replicas that serve, and one balancer."""
    made = World(replicas=3)
    made.run(15.0)
    made.effects.log.clear()
    made.records.events.clear()
    return made


def effects(world: World, *kinds: str) -> list[str]:
    """What was done, of these kinds."""
    return [what for what in world.effects.log if what.split()[0] in kinds]


def test_a_new_set_is_created_announced_and_ready(world: World) -> None:
    assert len(world.ring()) == 3
    assert world.condition("Ready") == ("True", "AllReplicasServe")
    assert world.condition("BalancerSynced") == ("True", "Synced")
    assert world.status["inRing"] == 3
    assert (world.status["currentRevision"], world.status["updateRevision"]) == (V1, V1)


def test_at_rest_nothing_is_written_and_the_membership_is_pushed_every_ten_seconds(
    world: World,
) -> None:
    generation = world.announcer.balancers[0].pair
    world.run(60.0)
    assert set(world.effects.log) == {f"push {generation[1]}"}
    assert 5 <= len(world.effects.log) <= 7
    assert world.announcer.balancers[0].pair == generation


def test_the_ring_learns_of_a_death_before_the_replacement_is_created(world: World) -> None:
    dead = world.ring()[1]
    world.runtime.kill(dead)
    world.step()
    assert [what.split()[0] for what in world.effects.log[:3]] == ["save", "push", "create"]
    assert dead not in world.ring()
    world.run(3.0)
    (replacement,) = set(world.ring()) - {"web-0", dead} - set(world.ring()[:2])
    assert replacement.startswith("emergency-web-1-")
    assert "SuccessfulCreate" in world.records.reasons()
    assert "Unhealthy" in world.records.reasons()


def test_a_replica_that_hangs_leaves_the_ring_and_is_replaced_before_it_is_removed(
    world: World,
) -> None:
    hanging = world.ring()[0]
    world.runtime.freeze(hanging)
    world.step()
    assert hanging not in world.ring()
    world.run(20.0)
    order = [what.split()[0] for what in effects(world, "create", "remove")]
    assert order == ["create", "remove"]
    assert len(world.ring()) == 3


def test_nothing_is_removed_before_every_live_balancer_has_let_go() -> None:
    world = World(replicas=3, balancers=2)
    world.run(5.0)
    world.announcer.balancers[1].deaf = True
    world.edit(replicas=2)
    world.run(20.0)
    assert effects(world, "remove") == []
    assert world.condition("BalancerSynced") == ("False", "PushFailed")
    assert world.records.reasons().count("RingPushFailed") == 1
    world.announcer.balancers[1].deaf = False
    world.run(12.0)
    assert len(effects(world, "remove")) == 1
    assert world.condition("Ready")[0] == "True"


def test_nothing_is_removed_while_a_live_balancer_does_not_say_what_it_holds() -> None:
    world = World(replicas=3, balancers=2)
    world.run(5.0)
    world.announcer.balancers[1].mute = True
    world.edit(replicas=2)
    texts = world.run(90.0)
    assert effects(world, "remove") == []
    assert "a balancer does not say what it holds (http://b1:5001: 401)" in texts[-1]
    assert world.condition("BalancerSynced") == ("False", "PushFailed")
    world.announcer.balancers[1].mute = False
    world.run(12.0)
    assert len(effects(world, "remove")) == 1


def test_a_silent_balancer_delays_the_deletion_of_a_set_but_not_for_ever(world: World) -> None:
    world.announcer.on_push = lambda _document: None
    world.runtime.on_remove = lambda _replica: None  # the one case in which the ring has no say
    world.announcer.balancers[0].mute = True
    world.records.delete(*simulation.KEY)
    world.run(59.0)
    assert effects(world, "remove") == []
    world.run(3.0)
    assert len(effects(world, "remove")) == 3
    assert "BalancerSilent" in world.records.reasons()
    assert not world.gone  # its ring is still to be ended
    world.run(65.0)
    assert world.gone


def test_a_dead_balancer_holds_nothing_up(world: World) -> None:
    world.announcer.die(0)
    world.edit(replicas=2)
    world.run(5.0)
    assert len(effects(world, "remove")) == 1
    assert world.condition("BalancerSynced") == ("False", "BalancerUnreachable")
    world.announcer.restart(0, disk=False)
    world.run(3.0)
    assert len(world.ring()) == 2


def test_a_drain_waits_for_requests_in_flight_but_no_longer_than_drain_seconds(
    world: World,
) -> None:
    world.edit(replicas=2, drainSeconds=5)
    victim = world.ring()[2]
    world.announcer.balancers[0].in_flight[victim] = 1
    world.run(4.0)
    assert world.ring("draining") == [victim]
    assert effects(world, "remove") == []
    world.run(3.0)
    assert len(effects(world, "remove")) == 1


def test_a_rollout_never_has_fewer_available_nor_more_than_allowed(world: World) -> None:
    world.edit(template=simulation.template("v2"))
    most = 0
    for _ in range(200):
        world.step()
        assert len(world.ring()) == 3
        most = max(most, len(world.runtime.living()))
        world.clock.advance(0.1)
    assert most == 4
    assert world.status["currentRevision"] == V2
    assert "RolloutComplete" in world.records.reasons()


def test_a_rollout_that_makes_no_progress_stops_and_the_old_replicas_go_on_serving(
    world: World,
) -> None:
    before = world.ring()
    world.edit(template=simulation.template("broken"), progressDeadlineSeconds=30)
    world.run(40.0)
    assert world.ring() == before
    assert len(world.runtime.living()) == 4
    assert world.condition("Progressing") == ("False", "ProgressDeadlineExceeded")
    assert world.condition("Available")[0] == "True"
    assert world.condition("Ready") == ("False", "ProgressDeadlineExceeded")


def test_a_rollout_that_fails_is_rolled_back_once_and_the_spec_stays(world: World) -> None:
    before = world.ring()
    world.edit(
        template=simulation.template("crash"),
        progressDeadlineSeconds=10,
        strategy={"onFailure": "Rollback"},
    )
    world.run(30.0)
    assert world.ring() == before
    assert len(world.runtime.living()) == 3
    assert world.condition("Progressing") == ("False", "RolledBack")
    assert world.status["currentRevision"] == V1
    assert world.status["updateRevision"] == naming.template_hash(simulation.template("crash"))
    world.effects.log.clear()
    world.run(60.0)
    assert effects(world, "create", "save", "status") == []
    world.edit(template=simulation.template("v2"))
    world.run(30.0)
    assert world.condition("Progressing") == ("True", "RolloutComplete")


def test_a_rollback_takes_back_what_was_rolled_out_already(world: World) -> None:
    limits = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}, "onFailure": "Rollback"}
    world.edit(template=simulation.template("broken"), progressDeadlineSeconds=10, strategy=limits)
    world.run(40.0)
    assert {body.birth.revision for body in world.runtime.living()} == {V1}
    assert len(world.ring()) == 3


def test_a_longer_min_ready_seconds_gates_only_who_enters_the_ring(world: World) -> None:
    world.run(60.0)
    world.runtime.kill(world.ring()[0])
    world.run(5.0)
    serving = set(world.ring())
    world.edit(minReadySeconds=60)
    world.run(5.0)
    assert set(world.ring()) == serving
    assert len(serving) == 3
    assert world.status["availableReplicas"] == 2  # as a Deployment counts
    world.runtime.kill(min(serving))
    world.run(50.0)
    assert len(world.ring()) == 2
    world.run(20.0)
    assert len(world.ring()) == 3
    assert world.condition("Ready") == ("True", "AllReplicasServe")


def test_three_that_take_90_seconds_to_start_are_started_once() -> None:
    """A kubelet ends nobody for being unready; only `progressDeadlineSeconds` does."""
    world = World(replicas=3)
    world.runtime.start_seconds = 90.0
    world.run(95.0)
    assert len(effects(world, "create")) == 3
    assert world.condition("Ready") == ("True", "AllReplicasServe")


def test_a_crash_loop_backs_off_and_says_so() -> None:
    world = World(replicas=1, image="crash")
    world.run(60.0)
    created = effects(world, "create")
    assert 6 <= len(created) <= 9  # 0, 0, 1, 2, 4, 8, 16, 32 seconds apart
    assert len(set(created)) == len(created)
    assert world.condition("ReplicaFailure") == ("True", "CrashLoop")
    world.edit(template=simulation.template("v2"))
    world.run(70.0)
    assert world.condition("ReplicaFailure") == ("False", "NoFailure")
    assert world.condition("Ready")[0] == "True"


def test_a_clock_set_back_holds_up_no_replacement(world: World) -> None:
    while world.records.load_memory(world.owner).places[0].not_before - world.clock() < 6:
        for body in world.runtime.living():
            if body.birth.ordinal == 0:
                world.runtime.kill(body.birth.name)
        world.run(0.5)
    world.set_clock(-3600.0)
    world.run(65.0)
    assert len(world.ring()) == 3


def test_a_clock_set_back_makes_no_frozen_replica_wait(world: World) -> None:
    frozen = world.ring()[0]
    world.runtime.freeze(frozen)
    world.run(1.0)
    world.set_clock(-3600.0)
    world.run(15.0)
    assert frozen not in world.runtime.names()
    assert len(world.ring()) == 3


def test_a_clock_set_back_keeps_nobody_out_of_the_ring_and_is_noted_once() -> None:
    world = World(replicas=3, minReadySeconds=5)
    world.run(30.0)
    world.set_clock(-3600.0)
    world.runtime.kill(world.ring()[0])
    world.run(10.0)
    assert len(world.ring()) == 3
    assert world.condition("Ready") == ("True", "AllReplicasServe")
    world.run(20.0)
    world.effects.log.clear()
    world.run(40.0)
    assert {what.split()[0] for what in world.effects.log} == {"push"}
    world.set_clock(3600.0)  # what was in the future is past: nobody begins anew
    world.run(5.0)
    assert {what.split()[0] for what in world.effects.log} == {"push"}
    assert world.condition("Ready") == ("True", "AllReplicasServe")


def test_a_failed_create_stops_the_later_stages() -> None:
    world = World(replicas=8)
    world.runtime.create_faults = [None, errors.RefusedError("Quota", "no more")]
    world.step()
    assert len(world.runtime.bodies) == 2  # 1, then 2 of which one failed; not the 4 after
    assert world.condition("ReplicaFailure") == ("True", "Quota")
    assert "FailedCreate" in world.records.reasons()
    world.run(20.0)
    assert len(world.ring()) == 8
    assert world.condition("ReplicaFailure") == ("False", "NoFailure")


def test_after_an_ambiguous_create_it_is_observed_again_and_none_is_made_twice() -> None:
    world = World(replicas=3)
    world.runtime.create_faults = [errors.AmbiguousError("timed out")]
    world.step()
    assert len(effects(world, "create")) == 1
    world.run(5.0)
    assert len(effects(world, "create")) == 3
    assert len(world.ring()) == 3


def test_a_create_that_is_repeated_meets_its_own_name() -> None:
    world = World(replicas=1)
    world.runtime.create_faults = [errors.AmbiguousError("timed out")]
    world.runtime.unseen = 8  # the replica exists, but nobody sees it for a while
    world.run(4.0)
    world.runtime.unseen = 0
    world.run(4.0)
    assert len(effects(world, "create")) == 1
    assert len(world.ring()) == 1


def test_a_name_asked_for_is_given_once_and_used_up(world: World) -> None:
    world.edit(replicas=4, names=["S5"])
    world.run(4.0)
    assert "S5" in world.ring()
    assert world.server_set.spec.names == ()
    world.runtime.kill("S5")
    world.run(4.0)
    assert any(name.startswith("emergency-web-3-") for name in world.ring())


def test_a_name_that_a_stranger_has_is_given_up(world: World) -> None:
    world.runtime.create_faults = [errors.AlreadyExistsError("S5")] * 2
    world.edit(replicas=4, names=["S5"])
    world.run(8.0)
    assert len(world.ring()) == 4
    assert "S5" not in world.ring()


def test_a_named_victim_goes_and_is_forgotten(world: World) -> None:
    victim = world.ring()[0]
    world.edit(replicas=2, scaleDown={"victims": [victim]})
    world.run(4.0)
    assert victim not in world.runtime.bodies
    assert world.server_set.spec.scale_down.victims == ()


def test_a_new_operator_reads_back_and_goes_on_with_the_generation(world: World) -> None:
    epoch, generation = world.announcer.balancers[0].pair
    before = world.ring()
    world.restart()
    world.run(2.0)
    assert world.ring() == before
    assert world.announcer.balancers[0].pair == (world.epoch, generation)
    assert world.epoch > epoch
    assert effects(world, "create", "remove") == []


@pytest.mark.parametrize("image", ["v1", "v2"])
def test_a_lost_memory_costs_no_replica_that_serves(world: World, image: str) -> None:
    before = world.ring()
    world.records.memories.clear()
    world.restart()
    world.run(3.0)
    assert world.ring() == before
    assert effects(world, "create", "remove") == []


def test_an_older_operator_is_fenced_by_the_store(world: World) -> None:
    older = world.operator
    world.clock.advance(1.0)
    world.restart()
    world.step()
    with pytest.raises(errors.FencedError):
        older.reconcile(*simulation.KEY)


def test_an_older_operator_is_fenced_by_a_balancer() -> None:
    world = World(replicas=1)
    world.announcer.balancers[0].document = {"epoch": world.epoch + 1, "generation": 1}
    with pytest.raises(errors.FencedError):
        world.step()
    assert effects(world, "create") == []


def test_a_balancer_that_forgot_everything_gets_it_again_within_seconds(world: World) -> None:
    world.announcer.restart(0, disk=False)
    world.run(11.0)
    assert len(world.ring()) == 3


def test_a_runtime_that_does_not_answer_changes_nothing(world: World) -> None:
    world.runtime.observe_faults = [errors.RetryLater("no answer")]
    with pytest.raises(errors.RetryLater):
        world.operator.reconcile(*simulation.KEY)
    assert world.effects.log == []


def test_a_template_that_the_runtime_cannot_honour_is_refused_and_the_ring_stays(
    world: World,
) -> None:
    world.runtime.faults = [errors.Fault("spec.template.spec.volumes", "not supported")]
    world.step()
    assert world.condition("Ready") == ("False", "InvalidSpec")
    assert world.condition("Available")[0] == "True"
    assert len(world.ring()) == 3
    written = len(world.effects.log)
    world.operator.reconcile(*simulation.KEY)
    assert len(world.effects.log) == written
    assert world.records.reasons() == ["InvalidSpec"]
    world.records.delete(*simulation.KEY)
    world.run(3.0)
    assert world.gone


@pytest.mark.parametrize(
    "strange",
    [{"type": "Ready"}, {"type": "Ready", "status": "True"}, {"status": "True"}, {"type": []}, 5],
)
@pytest.mark.parametrize("refused", [False, True])
def test_whatever_somebody_wrote_among_the_conditions_is_mended_by_the_next_look(
    world: World, strange: object, refused: bool
) -> None:
    if refused:
        world.records.edit(*simulation.KEY, replicas=-1)
        world.records.memories.clear()  # nor is an earlier spec known
    world.operator.reconcile(*simulation.KEY)
    before = world.status
    world.records.documents[simulation.KEY]["status"] = {**before, "conditions": [strange]}
    world.operator.reconcile(*simulation.KEY)
    assert [each["type"] for each in world.status["conditions"]] == list(conditions.OURS)
    assert world.condition("Ready")[0] == ("False" if refused else "True")
    written = len(world.effects.log)
    world.operator.reconcile(*simulation.KEY)
    assert len(world.effects.log) == written


@pytest.mark.parametrize("restarted", [False, True])
def test_while_a_spec_is_refused_what_was_asked_for_before_is_kept_alive(
    world: World, restarted: bool
) -> None:
    world.edit(replicas=-1, ring={"scheme": "round"})
    if restarted:
        world.restart()
    world.step()
    dead = world.ring()[1]
    world.runtime.kill(dead)
    world.run(5.0)
    assert len(world.ring()) == 3
    assert dead not in world.ring()
    assert any(name.startswith("emergency-web-1-") for name in world.ring())
    assert world.condition("Ready") == ("False", "InvalidSpec")
    generation = world.records.documents[simulation.KEY]["metadata"]["generation"]
    assert world.status["observedGeneration"] == generation
    assert world.records.reasons().count("InvalidSpec") == 1
    pushes = world.announcer.balancers[0].pushes
    world.run(30.0)
    assert world.announcer.balancers[0].pushes > pushes
    world.edit(replicas=2, ring={"scheme": "hrw"})
    world.run(5.0)
    assert len(world.ring()) == 2
    assert world.condition("Ready")[0] == "True"


def test_a_set_whose_spec_was_never_good_says_so_under_every_condition() -> None:
    world = World(replicas=3)
    world.edit(replicas=3, template={})
    world.looked = False
    assert world.operator.reconcile(*simulation.KEY) == reconcile.Result(requeue_after=None)
    assert world.condition("Ready") == ("False", "InvalidSpec")
    for kind in ("Available", "Progressing", "ReplicaFailure", "BalancerSynced"):
        assert world.condition(kind) == ("Unknown", "InvalidSpec")
    assert world.status["observedGeneration"] == 2
    world.edit(**simulation.document(3)["spec"])
    world.run(5.0)
    assert world.condition("Ready")[0] == "True"


def test_a_set_whose_spec_was_never_good_can_be_deleted() -> None:
    world = World(replicas=3)
    world.edit(template={})
    world.operator.reconcile(*simulation.KEY)
    world.records.delete(*simulation.KEY)
    world.operator.reconcile(*simulation.KEY)
    assert world.gone


def test_a_set_that_is_deleted_with_a_wrong_spec_goes_all_the_same(world: World) -> None:
    world.edit(replicas=-1)
    world.records.delete(*simulation.KEY)
    world.run(3.0)
    assert world.gone


def test_a_deleted_set_is_drained_withdrawn_and_forgotten(world: World) -> None:
    world.records.delete(*simulation.KEY)
    world.run(3.0)
    assert world.gone
    assert world.runtime.bodies == {}
    order = [what.split()[0] for what in effects(world, "remove", "withdraw", "forget")]
    assert order == ["remove"] * 3 + ["withdraw", "forget"]


def test_a_set_that_vanished_takes_its_ring_along(world: World) -> None:
    del world.records.documents[simulation.KEY]
    assert world.operator.reconcile(*simulation.KEY).requeue_after is None
    assert effects(world, "withdraw") == ["withdraw"]


def test_without_a_balancer_the_set_is_ready_and_says_that_none_was_found() -> None:
    world = World(replicas=2, balancers=0)
    world.run(3.0)
    assert world.condition("Ready")[0] == "True"
    assert world.condition("BalancerSynced") == ("False", "NoBalancer")
    assert world.status["inRing"] == 0


def test_with_a_balancer_that_was_named_the_set_is_ready_once_it_is_there() -> None:
    world = World(replicas=2, balancers=0)
    world.announcer.sought = "no pod with app=lb runs"
    world.run(3.0)
    assert world.condition("Ready") == ("False", "NoBalancer")
    assert world.condition("Available")[0] == "True"
    world.announcer.add()
    world.run(3.0)
    assert world.condition("Ready") == ("True", "AllReplicasServe")


def test_real_threads_create_side_by_side() -> None:
    world = World(replicas=8)
    operator = reconcile.Reconciler(
        runtime=world.runtime,
        announcer=world.announcer,
        records=world.records,
        epoch=world.epoch,
        clock=world.clock,
    )
    try:
        operator.reconcile(*simulation.KEY)
    finally:
        operator.close()
    assert len(world.runtime.bodies) == 8
