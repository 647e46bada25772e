"""design.md's invariants, whatever happens: checked by the simulation at every effect and round."""

from __future__ import annotations

from typing import Any

import simulation
from hypothesis import given, note, strategies
from ringmaster_operator import errors, observed

FAULTS = [
    errors.RetryLater("busy"),
    errors.AmbiguousError("timed out"),
    errors.RefusedError("Quota", "no more"),
    None,
]
PAUSES = [0.05, 0.3, 1.0, 3.0, 12.0]
index = strategies.integers(0, 9)


def op(name: str, *arguments: strategies.SearchStrategy[Any]) -> strategies.SearchStrategy[Any]:
    return strategies.tuples(strategies.just(name), *arguments)


SPEC_CHANGES = strategies.one_of(
    op("scale", strategies.integers(0, 6)),
    op("image", strategies.sampled_from(["v1", "v2", "v3", "broken", "crash"])),
    op("paused", strategies.booleans()),
    op("strategy", strategies.sampled_from([(1, 0), (0, 1), (2, 1), (1, 2), None])),
    op("names", strategies.lists(strategies.sampled_from(["S1", "S2", "x"]), unique=True)),
    op("victims", index),
    op("drain", strategies.sampled_from([0, 2, 8])),
    op("onFailure", strategies.sampled_from(["Pause", "Rollback"])),
    op("minReady", strategies.sampled_from([0, 3, 4])),
)
REPLICA_FAULTS = strategies.one_of(
    *(op(what, index) for what in ("kill", "vanish", "freeze", "thaw", "evict"))
)
OPERATOR_FAULTS = strategies.one_of(
    op("create_faults", strategies.lists(strategies.sampled_from(FAULTS), max_size=4)),
    op("remove_faults", strategies.lists(strategies.sampled_from([FAULTS[0], None]), max_size=3)),
    op("observe_faults", strategies.just([FAULTS[0]])),
    op("stale", strategies.integers(1, 2)),
    op("die", strategies.integers(1, 12), strategies.booleans()),
    op("restart"),
    op("clock", strategies.sampled_from([-3600, -5, 600])),
)
BALANCER_FAULTS = strategies.one_of(
    op("balancer_dies", index),
    op("balancer_restarts", index, strategies.booleans()),
    op("deaf", index, strategies.booleans()),
    op("in_flight", index, strategies.integers(0, 3)),
)
PAUSE = op("pass", strategies.sampled_from(PAUSES))
SCENARIO = strategies.lists(
    strategies.one_of(PAUSE, PAUSE, SPEC_CHANGES, REPLICA_FAULTS, OPERATOR_FAULTS, BALANCER_FAULTS),
    max_size=25,
)


def play(world: simulation.World, step: tuple[Any, ...]) -> None:
    match step:
        case ("pass", seconds):
            world.run(seconds)
        case ("scale", replicas):
            world.edit(replicas=replicas)
        case ("image", image):
            world.edit(template=simulation.template(image))
        case ("release", replicas, image):
            world.edit(replicas=replicas, template=simulation.template(image))
        case ("paused", paused):
            world.edit(paused=paused)
        case ("strategy", None):
            world.edit(strategy={"type": "Recreate"})
        case ("strategy", (surge, unavailable)):
            limits = {"maxSurge": surge, "maxUnavailable": unavailable}
            world.edit(strategy={"type": "RollingUpdate", "rollingUpdate": limits})
        case ("onFailure", choice):
            strategy = dict(world.records.documents[simulation.KEY]["spec"].get("strategy", {}))
            world.edit(strategy=strategy | {"onFailure": choice}, progressDeadlineSeconds=5)
        case ("names", names):
            world.edit(names=names)
        case ("drain", seconds):
            world.edit(drainSeconds=seconds)
        case ("minReady", seconds):
            world.edit(minReadySeconds=seconds)
        case ("restart",):
            world.restart()
        case ("die", effects, before):
            world.effects.kill_in, world.effects.before = effects, before
        case ("clock", seconds):
            world.set_clock(seconds)
        case ("stale", looks):
            world.runtime.unseen = looks
        case ("create_faults" | "remove_faults" | "observe_faults" as which, faults):
            setattr(world.runtime, which, list(faults))
        case ("victims" | "kill" | "vanish" | "freeze" | "thaw" | "evict", _):
            hurt_replica(world, *step)
        case _:
            hurt_balancer(world, *step)


def hurt_replica(world: simulation.World, what: str, number: int) -> None:
    names = world.runtime.names()
    if names:
        name = names[number % len(names)]
        if what == "victims":
            world.edit(scaleDown={"victims": [name, "unknown"]})
        else:
            getattr(world.runtime, what)(name)


def hurt_balancer(world: simulation.World, what: str, number: int, *more: Any) -> None:
    balancers = world.announcer.balancers
    if not balancers:
        return
    number %= len(balancers)
    match what:
        case "balancer_dies":
            world.announcer.die(number)
        case "balancer_restarts":
            world.announcer.restart(number, disk=more[0])
        case "deaf":
            balancers[number].deaf = more[0]
        case "in_flight":
            for name in world.runtime.names():
                balancers[number].in_flight[name] = more[0]


def stop_faults(world: simulation.World) -> None:
    world.effects.kill_in = None
    world.runtime.create_faults = []
    world.runtime.remove_faults = []
    world.runtime.observe_faults = []
    world.runtime.unseen = 0
    for body in world.runtime.bodies.values():
        body.frozen = False
    for number, balancer in enumerate(world.announcer.balancers):
        if not balancer.live:
            world.announcer.restart(number)
    for balancer in world.announcer.balancers:
        balancer.deaf, balancer.in_flight = False, {}


def assert_comes_to_rest(world: simulation.World, *, within: float) -> None:
    end = world.clock() + within
    while not simulation.converged(world) and world.clock() < end:
        world.run(2.0)
    assert simulation.converged(world), (world.status, world.by_member())
    world.run(15.0)  # failures are forgiven, unused names and victims looked at
    before = len(world.effects.log)
    world.run(35.0)
    written = [effect for effect in world.effects.log[before:] if not effect.startswith("push")]
    assert not written, f"written at rest: {written}"
    assert len(world.effects.log) - before <= 4, "pushed more often than every 10 s"


@given(scenario=SCENARIO, balancers=strategies.integers(0, 2), leaky=strategies.booleans())
def test_whatever_happens_the_invariants_hold_and_the_world_comes_to_rest(
    scenario: list[tuple[Any, ...]], balancers: int, leaky: bool
) -> None:
    world = simulation.World(balancers=balancers)
    world.runtime.leaky = leaky
    world.run(2.0)
    for step in scenario:
        play(world, step)
        world.step()
    note("faults stop")
    stop_faults(world)
    world.edit(template=simulation.template("v4"), paused=False)
    assert_comes_to_rest(world, within=400.0)


@given(scenario=SCENARIO, balancers=strategies.integers(0, 2))
def test_a_deleted_set_leaves_nothing_whatever_happened_before(
    scenario: list[tuple[Any, ...]], balancers: int
) -> None:
    world = simulation.World(balancers=balancers)
    for step in scenario:
        play(world, step)
    world.records.delete(*simulation.KEY)
    world.run(1.0)
    # One that is down now may come back with the ring that is on its disk: nobody can end that.
    reachable = [balancer.url for balancer in world.announcer.balancers if balancer.live]
    stop_faults(world)
    world.run(40.0)
    assert world.gone
    assert world.runtime.names() == []
    assert not any(b.document for b in world.announcer.balancers if b.url in reachable)
    assert world.records.memories == {}


@given(
    deaths=strategies.lists(strategies.integers(1, 15), max_size=6), before=strategies.booleans()
)
def test_an_operator_that_dies_between_any_two_effects_of_a_scale_up_makes_exactly_eight(
    deaths: list[int], before: bool
) -> None:
    world = simulation.World(replicas=3)
    world.run(3.0)
    world.edit(replicas=8)
    for effects in deaths:
        world.effects.kill_in, world.effects.before = effects, before
        world.run(1.0)
    world.effects.kill_in = None
    assert_comes_to_rest(world, within=20.0)
    created = [effect for effect in world.effects.log if effect.startswith("create")]
    assert len(created) == 8


EDITS = strategies.one_of(
    op("scale", strategies.integers(0, 5)),
    op("image", strategies.sampled_from(["v1", "v2", "v3"])),
    op("release", strategies.integers(0, 5), strategies.sampled_from(["v1", "v2", "v3"])),
    op("drain", strategies.sampled_from([0, 2, 8])),
    op("in_flight", index, strategies.integers(0, 3)),
    op("kill", index),
    PAUSE,
)


@given(edits=strategies.lists(EDITS, max_size=12), stop=strategies.sampled_from([0.5, 4.0, 20.0]))
def test_recreate_never_runs_two_revisions_at_once(
    edits: list[tuple[Any, ...]], stop: float
) -> None:
    world = simulation.World(strategy={"type": "Recreate"})
    world.runtime.stop_seconds = stop
    checked = world.runtime.on_create

    def create(birth: observed.Birth) -> None:
        checked(birth)
        bodies = [b for b in world.runtime.bodies.values() if b.phase is not observed.Phase.FAILED]
        there = {(body.birth.name, body.birth.revision) for body in bodies}
        assert {revision for _, revision in there} <= {birth.revision}, f"{birth} beside {there}"

    world.runtime.on_create = create
    world.run(3.0)
    for edit in edits:
        play(world, edit)
        world.step()
    world.run(30.0)


BLOWS = strategies.one_of(
    *(op(what, index) for what in ("kill", "vanish", "evict", "freeze")),
    op("restart"),
    op("die", strategies.integers(1, 12), strategies.booleans()),
    op("stale", strategies.integers(1, 2)),
    op("create_faults", strategies.lists(strategies.sampled_from(FAULTS), max_size=3)),
    op("paused", strategies.booleans()),
    op("fewer"),
    PAUSE,
)


@given(
    image=strategies.sampled_from(["broken", "crash"]),
    limits=strategies.sampled_from([(1, 0), (0, 1), (2, 1), (3, 0)]),
    blows=strategies.lists(BLOWS, max_size=15),
)
def test_while_a_rollout_hangs_whatever_dies_is_made_anew_of_the_template_that_serves(
    image: str, limits: tuple[int, int], blows: list[tuple[Any, ...]]
) -> None:
    surge, unavailable = limits
    rolling = {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    world = simulation.World(replicas=3, strategy=rolling)
    world.run(3.0)
    world.edit(template=simulation.template(image))
    for blow in blows:
        fewer = ("scale", max(1, world.server_set.spec.replicas - 1))
        play(world, fewer if blow == ("fewer",) else blow)
        world.step()
    note("faults stop")
    stop_faults(world)
    world.edit(paused=False)
    world.run(75.0)  # the longest backoff, and the start
    assert len(world.ring()) >= world.server_set.spec.replicas - unavailable
