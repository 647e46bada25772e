"""Rolling updates against the limits that a Deployment has, on the small world."""

from __future__ import annotations

from typing import Any

import pytest
import simulation
from hypothesis import given
from hypothesis import strategies as st
from ringmaster_operator import naming

LIMITS = st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(any)


@given(replicas=st.integers(1, 6), limits=LIMITS, pause=st.sampled_from([0.1, 0.7]))
def test_the_limits_hold_at_every_moment(
    replicas: int, limits: tuple[int, int], pause: float
) -> None:
    surge, unavailable = limits
    strategy = {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    world = simulation.World(replicas=replicas, strategy=strategy)
    world.run(3.0)
    world.edit(template=simulation.template("v2"))
    for _ in range(400):
        world.step()
        assert len(world.runtime.living()) <= replicas + surge
        assert len(world.ring()) >= replicas - unavailable
        if world.condition("Progressing")[1] == "RolloutComplete":
            break
        world.clock.advance(pause)
    assert world.status["currentRevision"] == naming.template_hash(simulation.template("v2"))


@pytest.mark.parametrize(("surge", "unavailable"), [(1, 0), (0, 1), (2, 1)])
def test_a_template_that_never_gets_ready_stops_within_the_limits(
    surge: int, unavailable: int
) -> None:
    strategy = {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    world = simulation.World(replicas=4, strategy=strategy)
    world.run(3.0)
    world.edit(template=simulation.template("broken"))
    world.run(50.0)
    assert len(world.ring()) == 4 - unavailable
    assert len(world.runtime.living()) == 4 + surge


def test_a_change_in_the_middle_of_a_rollout_leaves_the_half_way_template() -> None:
    world = simulation.World(replicas=3)
    world.run(3.0)
    world.edit(template=simulation.template("broken"))
    world.run(5.0)
    world.edit(template=simulation.template("v3"))
    world.run(20.0)
    v3 = naming.template_hash(simulation.template("v3"))
    assert [body.birth.revision for body in world.runtime.living()] == [v3] * 3
    assert len(world.ring()) == 3


def test_going_back_keeps_the_replicas_that_are_still_there() -> None:
    world = simulation.World(replicas=3)
    world.run(3.0)
    before = world.ring()
    world.edit(template=simulation.template("broken"))
    world.run(5.0)
    world.edit(template=simulation.template("v1"))
    world.run(5.0)
    assert world.ring() == before


def test_pausing_in_the_middle_stops_after_the_step_that_is_under_way() -> None:
    world = simulation.World(replicas=4)
    world.run(3.0)
    world.edit(template=simulation.template("v2"))
    world.run(0.5)
    world.edit(paused=True)
    world.run(20.0)
    v1 = naming.template_hash(simulation.template("v1"))
    assert sum(body.birth.revision == v1 for body in world.runtime.living()) == 3
    assert len(world.ring()) == 4
    assert world.condition("Progressing") == ("True", "RolloutPaused")
    assert world.condition("Ready") == ("False", "RolloutPaused")
    world.edit(paused=False)
    world.run(20.0)
    assert all(body.birth.revision != v1 for body in world.runtime.living())


def test_min_ready_seconds_hold_the_rollout_back() -> None:
    world = simulation.World(replicas=2, minReadySeconds=5)
    world.run(10.0)
    world.edit(template=simulation.template("v2"))
    world.run(5.5)
    v2 = naming.template_hash(simulation.template("v2"))
    assert sum(body.birth.revision == v2 for body in world.runtime.living()) == 1
    world.run(12.0)
    assert world.status["currentRevision"] == v2


def test_recreate_never_runs_two_templates_side_by_side() -> None:
    world = simulation.World(replicas=3, strategy={"type": "Recreate"})
    world.run(3.0)
    world.edit(template=simulation.template("v2"))
    for _ in range(60):
        world.step()
        assert len({body.birth.revision for body in world.runtime.bodies.values()}) <= 1
        world.clock.advance(0.1)
    assert world.status["currentRevision"] == naming.template_hash(simulation.template("v2"))
    assert len(world.ring()) == 3


def test_one_that_is_being_emptied_stays_when_the_others_have_become_too_few() -> None:
    strategy = {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    world = simulation.World(replicas=3, strategy=strategy)
    world.run(3.0)
    for name in world.ring():
        world.announcer.balancers[0].in_flight[name] = 1
    world.edit(template=simulation.template("v2"), drainSeconds=60)
    world.run(1.0)
    (emptied,) = world.ring("draining")
    world.runtime.freeze(world.ring()[0])
    world.step()
    assert emptied in world.ring()


def test_one_that_hung_and_recovers_in_a_rollout_is_not_taken_below_the_floor() -> None:
    world = simulation.World(replicas=3)
    world.run(3.0)
    world.edit(template=simulation.template("broken"))
    world.run(1.0)
    hung = world.ring()[1]
    world.runtime.freeze(hung)
    world.announcer.balancers[0].deaf = True  # holds it as active, so it is not removed
    world.run(12.0)  # it is to go first, since the rollout has used up the surge
    world.runtime.thaw(hung)
    world.edit(template=simulation.template("v3"))
    world.announcer.balancers[0].deaf = False
    world.clock.advance(10.0)
    world.step()
    assert hung in world.ring()


ALL_AT_ONCE = {"rollingUpdate": {"maxSurge": "100%"}}


@pytest.mark.parametrize(
    ("replicas", "strategy", "dying"), [(1, {}, 1), (3, {}, 1), (3, ALL_AT_ONCE, 3)]
)
@pytest.mark.parametrize("image", ["broken", "crash"])
def test_good_replicas_that_die_while_a_rollout_hangs_are_made_anew_at_once(
    image: str, replicas: int, strategy: dict[str, Any], dying: int
) -> None:
    """As a Deployment's old ReplicaSet does, whatever becomes of the new one."""
    world = simulation.World(replicas=replicas, strategy=strategy)
    world.run(3.0)
    good = {body.birth.revision for body in world.runtime.living()}
    world.edit(template=simulation.template(image))
    world.run(5.0)
    for name in world.ring()[:dying]:
        world.runtime.kill(name)
    world.run(1.5)  # a start takes one second
    serving = {b.birth.display_name: b for b in world.runtime.living() if b.ready}
    assert set(world.ring()) == set(serving)
    assert len(serving) == replicas
    assert {body.birth.revision for body in serving.values()} == good


@pytest.mark.parametrize("again", ["kill", "vanish", "restart"])
def test_the_one_made_anew_is_replaced_like_the_first(again: str) -> None:
    world = simulation.World(replicas=1)
    world.run(3.0)
    world.edit(template=simulation.template("broken"))
    world.run(5.0)
    world.runtime.kill(world.ring()[0])
    world.run(3.0)
    if again == "restart":
        world.restart()
    else:
        getattr(world.runtime, again)(world.ring()[0])
    world.run(3.0)
    assert len(world.ring()) == 1
    assert len(world.runtime.living()) == 2


def test_a_slow_successor_does_not_hold_up_a_replacement_and_takes_over_when_it_serves() -> None:
    world = simulation.World(replicas=1)
    world.run(3.0)
    world.runtime.start_seconds = 30.0
    world.edit(template=simulation.template("v2"))
    world.run(5.0)
    world.runtime.start_seconds = 1.0
    world.runtime.kill(world.ring()[0])
    world.run(1.5)
    (made,) = world.ring()
    assert made.startswith("emergency-web-0-")
    world.run(30.0)
    assert world.condition("Progressing") == ("True", "RolloutComplete")
    assert len(world.runtime.living()) == len(world.ring()) == 1


def test_a_successor_gives_its_room_to_a_good_replica_once_there_is_no_surge() -> None:
    world = simulation.World(replicas=3)
    world.run(3.0)
    world.edit(template=simulation.template("broken"))
    world.run(5.0)
    limits = {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}
    dying = next(n for n in world.ring() if n.startswith("web-0-"))
    world.runtime.kill(dying)  # its successor lives
    world.edit(strategy=limits)
    world.run(4.0)
    assert len(world.ring()) >= 2
    assert len(world.runtime.living()) == 3


@pytest.mark.parametrize(
    ("replicas", "surge", "wanted", "old", "new"),
    [(4, 1, 12, 10, 3), (1, 1, 12, 6, 7), (2, 4, 6, 5, 5), (2, 1, 6, 5, 2)],
)
def test_places_added_while_a_rollout_hangs_are_shared_as_a_deployment_shares_them(
    replicas: int, surge: int, wanted: int, old: int, new: int
) -> None:
    """Kubernetes' "proportional scaling": 4 old and 1 new of 4 + 1 become 10 and 3 of 12 + 1."""
    strategy = {"rollingUpdate": {"maxSurge": surge}}
    world = simulation.World(replicas=replicas, strategy=strategy)
    world.run(3.0)
    (good,) = {body.birth.revision for body in world.runtime.living()}
    world.edit(template=simulation.template("broken"))
    world.run(5.0)
    world.edit(replicas=wanted)
    world.run(5.0)
    revisions = [body.birth.revision for body in world.runtime.living()]
    assert (revisions.count(good), len(revisions)) == (old, old + new)
    assert len(world.ring()) == old


def test_an_event_tells_of_the_replica_that_died_in_a_rollout_and_why() -> None:
    world = simulation.World(replicas=1)
    world.run(3.0)
    world.edit(template=simulation.template("broken"))
    world.run(5.0)
    (dying,) = world.ring()
    world.runtime.kill(dying)
    world.run(1.0)
    told = [said for _, reason, said in world.records.events if reason == "Unhealthy"]
    assert told == [f"web-0: {dying} is Failed: exited with signal 9"]


def test_a_template_that_came_to_serve_is_not_given_to_others_while_it_hangs() -> None:
    world = simulation.World(replicas=3)
    world.run(3.0)
    (good,) = {body.birth.revision for body in world.runtime.living()}
    world.edit(template=simulation.template("v2"))
    world.run(1.3)  # one serves, so the template is proven; the second starts
    world.runtime.start_seconds = float("inf")
    assert len(world.runtime.living()) == 4
    world.run(5.0)
    old = [b for b in world.runtime.living() if b.birth.revision == good]
    world.runtime.start_seconds = 1.0
    world.runtime.kill(old[-1].birth.name)
    world.run(1.5)
    assert len(world.ring()) == 3


def test_a_pause_is_told_though_nothing_waits_and_hides_no_other_trouble() -> None:
    """A Deployment's Progressing says DeploymentPaused as long as it is paused."""
    world = simulation.World(replicas=2, paused=True)
    world.run(3.0)
    assert world.condition("Progressing") == ("True", "RolloutPaused")
    assert world.condition("Ready") == ("True", "AllReplicasServe")
    world.edit(template=simulation.template("v2"))
    world.runtime.freeze(world.ring()[0])
    world.step()
    assert world.condition("Ready") == ("False", "ReplicasNotAvailable")


def test_balancers_probe_as_the_templates_say_that_hold_the_places() -> None:
    """A path that only a template which never serves knows would end the good ones' service."""

    def template(image: str, path: str) -> dict[str, Any]:
        made = simulation.template(image)
        probe = {"httpGet": {"path": path, "port": 5000}}
        (container,) = made["spec"]["containers"]
        container |= {"ports": [{"name": "http", "containerPort": 5000}], "readinessProbe": probe}
        return made

    def path() -> str | None:
        found: str | None = world.pushed[1]["health"]["path"]
        return found

    world = simulation.World(replicas=2, template=template("v1", "/old"))
    world.run(3.0)
    assert path() == "/old"
    world.edit(template=template("broken", "/new"))
    world.run(5.0)
    assert path() == "/old"
    world.edit(template=template("v3", "/newest"))
    world.run(1.8)  # one of two runs it
    assert path() is None
    world.run(10.0)
    assert path() == "/newest"
