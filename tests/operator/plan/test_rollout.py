"""Rolling updates against the limits that a Deployment has, on the small world."""

from __future__ import annotations

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
