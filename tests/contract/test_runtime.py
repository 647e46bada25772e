"""What the reconcile relies on, of every runtime."""

from __future__ import annotations

import threading
import time

import pytest
import requests
from kubernetes_world import KubernetesWorld
from ringmaster_operator import errors, observed
from runtime_worlds import OWNERS, DockerWorld, FakeWorld, ProcessWorld, Program, birth, template

OWNER, OTHER = OWNERS

WORLDS = {
    "fake": FakeWorld,
    "process": ProcessWorld,
    "docker": DockerWorld,
    "kubernetes": KubernetesWorld,
}
MARKED = [
    pytest.param(name, marks=getattr(pytest.mark, name))
    if name in {"docker", "kubernetes"}
    else name
    for name in WORLDS
]


def opened(name, folder):
    made = WORLDS[name](folder)
    yield made
    made.close()


@pytest.fixture(params=MARKED)
def world(request, tmp_path):
    """Every runtime."""
    yield from opened(request.param, tmp_path)


@pytest.fixture(params=MARKED[1:])
def real_world(request, tmp_path):
    """Every runtime whose replicas are programs."""
    yield from opened(request.param, tmp_path)


@pytest.fixture(params=MARKED[:3])
def mortal_world(request, tmp_path):
    """Every runtime whose replicas do not rise again by themselves, as a kubelet's do."""
    yield from opened(request.param, tmp_path)


@pytest.fixture(params=MARKED[1:3])
def real_mortal_world(request, tmp_path):
    """Of these, those whose replicas are programs."""
    yield from opened(request.param, tmp_path)


def replicas(world, owner=OWNER):
    return {replica.name: replica for replica in world.runtime.observe(owner)}


def only(world, owner=OWNER):
    (replica,) = world.runtime.observe(owner)
    return replica


def wait_ready(world, count=1, owner=OWNER):
    def look():
        found = world.runtime.observe(owner)
        return len(found) == count and all(replica.ready for replica in found) and found

    return world.wait(look, what=f"{count} ready replicas")


def wait_phase(world, phase):
    return world.wait(lambda: only(world).phase is phase and only(world), what=f"phase {phase}")


def wait_gone(world, owner=OWNER):
    world.wait(lambda: not world.runtime.observe(owner), what="nothing left to observe")


def test_a_template_that_it_can_honour_has_no_faults(world):
    assert tuple(world.runtime.check(template(Program.SERVER))) == ()


def test_a_replica_lives_from_create_over_ready_to_gone(world):
    world.runtime.create(birth(OWNER))
    created = only(world)
    ready = wait_ready(world)[0]
    world.runtime.remove(ready, grace_seconds=10)

    assert created.phase in {observed.Phase.STARTING, observed.Phase.RUNNING}
    assert created.ready == (created.ready_since is not None)  # a quick one may be ready by now
    assert ready.phase is observed.Phase.RUNNING
    assert ready.uid == created.uid
    assert ready.created_at <= ready.ready_since
    assert ready.unready_since is None
    wait_gone(world)
    assert world.leftovers() == []


def test_a_look_sees_what_is_observed(world):
    world.runtime.create(birth(OWNER))
    (replica,) = wait_ready(world)
    (seen,) = world.runtime.look(OWNER)
    assert (seen.uid, seen.ordinal, seen.ready) == (replica.uid, replica.ordinal, True)


def test_everything_that_the_birth_said_is_observed(world):
    asked = birth(OWNER, 3, display_name="S_5")
    world.runtime.create(asked)
    seen = only(world)

    for name in ("name", "display_name", "member_id", "ordinal", "attempt", "reason", "revision"):
        assert getattr(seen, name) == getattr(asked, name), name
    assert seen.owner_uid == OWNER.uid


def test_a_replica_knows_its_display_name_and_serves_at_its_address(real_world):
    real_world.runtime.create(birth(OWNER, display_name="S_5"))
    ready = wait_ready(real_world)[0]

    answer = requests.get(f"http://{ready.address}/", timeout=5)
    assert answer.text == "S_5"


def test_a_taken_name_is_refused_and_nothing_more_is_started(world):
    world.runtime.create(birth(OWNER))
    before = only(world)

    with pytest.raises(errors.AlreadyExistsError):
        world.runtime.create(birth(OWNER))
    assert only(world).uid == before.uid


def test_a_program_that_does_not_exist_is_refused_for_good_or_fails(real_mortal_world):
    with pytest.raises(errors.RefusedError, match="no-such-program-anywhere") as caught:
        real_mortal_world.runtime.create(birth(OWNER, program=Program.MISSING))

    assert caught.value.reason == "InvalidCommand"
    assert replicas(real_mortal_world) == {}


def test_a_refused_name_can_be_used_again(real_mortal_world):
    with pytest.raises(errors.RefusedError):
        real_mortal_world.runtime.create(birth(OWNER, program=Program.MISSING))
    real_mortal_world.runtime.create(birth(OWNER))

    assert wait_ready(real_mortal_world)


def test_two_owners_see_only_their_own(world):
    world.runtime.create(birth(OWNER, 0))
    world.runtime.create(birth(OWNER, 1))
    world.runtime.create(birth(OTHER, 0))

    assert sorted(replicas(world)) == [f"web-{ordinal}-{OWNER.uid[:5]}" for ordinal in range(2)]
    assert sorted(replicas(world, OTHER)) == [f"api-0-{OTHER.uid[:5]}"]


def test_a_removal_with_another_uid_touches_nothing(world):
    world.runtime.create(birth(OWNER))
    ready = wait_ready(world)[0]
    values = {name: getattr(ready, name) for name in ready.__slots__}

    world.runtime.remove(observed.Replica(**values | {"uid": "another"}), grace_seconds=0)
    assert only(world).phase is observed.Phase.RUNNING


def test_removing_what_is_gone_is_no_error(world):
    world.runtime.create(birth(OWNER))
    replica = only(world)
    world.runtime.remove(replica, grace_seconds=0)
    wait_gone(world)

    world.runtime.remove(replica, grace_seconds=0)


def test_a_dead_replica_stays_visible_as_failed_until_it_is_removed(mortal_world):
    mortal_world.runtime.create(birth(OWNER))
    mortal_world.crash(wait_ready(mortal_world)[0])
    failed = wait_phase(mortal_world, observed.Phase.FAILED)
    mortal_world.runtime.remove(failed, grace_seconds=30)

    assert (failed.ready, failed.ready_since) == (False, None)
    assert failed.message
    wait_gone(mortal_world)


def test_a_death_is_hinted_at(real_world):
    real_world.runtime.create(birth(OWNER))
    ready = wait_ready(real_world)[0]
    hinted, stop = threading.Event(), threading.Event()
    watcher = threading.Thread(
        target=real_world.runtime.watch,
        args=(lambda about: about in {None, OWNER, OWNER.uid} and hinted.set(), stop),
    )
    watcher.start()
    try:
        real_world.crash(ready)
        assert hinted.wait(30)
    finally:
        stop.set()
        watcher.join()


def test_an_exit_tells_its_code_and_the_last_line(real_mortal_world):
    real_mortal_world.runtime.create(birth(OWNER, program=Program.BROKEN))
    failed = wait_phase(real_mortal_world, observed.Phase.FAILED)

    assert "code 3" in failed.message
    assert "no luck today" in failed.message


def test_a_stopped_replica_becomes_unready_and_can_be_killed(world):
    world.runtime.create(birth(OWNER))
    ready = wait_ready(world)[0]
    world.freeze(ready)
    unready = world.wait(lambda: not only(world).ready and only(world), what="unready")
    world.runtime.remove(unready, grace_seconds=0)

    assert unready.ready_since is None
    assert unready.unready_since >= ready.ready_since
    wait_gone(world)


def test_one_that_does_not_get_ready_says_why_and_no_longer_once_it_stops(real_mortal_world):
    """On Kubernetes the kubelet says it, in events of the pod."""
    world = real_mortal_world
    world.runtime.create(birth(OWNER, program=Program.SILENT))
    said = world.wait(lambda: only(world).message, what="a word on the probe")
    address = only(world).address
    assert said == f"Readiness probe failed: GET http://{address}/heartbeat: connection refused"
    world.crash(only(world))
    world.wait(lambda: only(world).phase is observed.Phase.FAILED, what="its end")
    assert "probe" not in only(world).message


def test_a_stopped_replica_delays_no_other(real_world):
    real_world.runtime.create(birth(OWNER, 0))
    real_world.freeze(wait_ready(real_world)[0])
    for ordinal in range(1, 5):
        real_world.runtime.create(birth(OWNER, ordinal))

    def ready_ones():
        return {name for name, replica in replicas(real_world).items() if replica.ready}

    others = {f"web-{ordinal}-{OWNER.uid[:5]}" for ordinal in range(1, 5)}
    real_world.wait(lambda: others <= ready_ones(), what="the others are ready")


def test_commands_that_hang_delay_no_other_replica(real_mortal_world):
    world, hung = real_mortal_world, 8  # more than asyncio's own threads on a small machine
    for ordinal in range(hung + 2):
        healthy = ordinal >= hung
        asked = template(Program.SERVER)
        asked["spec"]["containers"][0]["readinessProbe"] = {
            "exec": {"command": ["true"] if healthy else ["sleep", "600"]},
            "periodSeconds": 1,
            "timeoutSeconds": 1 if healthy else 120,
        }
        world.runtime.create(birth(OWNER, ordinal, template=asked))

    def ready_ones():
        return {each.ordinal for each in world.runtime.observe(OWNER) if each.ready}

    world.wait(lambda: ready_ones() == {hung, hung + 1}, what="the others are ready")


def test_one_that_ignores_sigterm_is_killed_after_the_grace(real_world):
    real_world.runtime.create(birth(OWNER, program=Program.DEAF))
    ready = wait_ready(real_world)[0]
    real_world.runtime.remove(ready, grace_seconds=1)

    assert only(real_world).phase is observed.Phase.TERMINATING
    wait_gone(real_world)
    assert real_world.leftovers() == []


def test_a_second_removal_shortens_the_grace(real_world):
    real_world.runtime.create(birth(OWNER, program=Program.DEAF))
    ready = wait_ready(real_world)[0]
    real_world.runtime.remove(ready, grace_seconds=3600)
    real_world.runtime.remove(ready, grace_seconds=0)

    real_world.hurried(ready)
    wait_gone(real_world)


def test_a_new_operator_adopts_the_same_instances(world):
    world.runtime.create(birth(OWNER, 0))
    world.runtime.create(birth(OWNER, 1))
    wait_ready(world, 2)
    before = replicas(world)
    world.reopen()

    # Still ready, since the same moment: a restart of the operator makes no difference.
    assert replicas(world) == before


def test_what_died_while_no_operator_ran_is_found_failed(mortal_world):
    mortal_world.runtime.create(birth(OWNER))
    ready = wait_ready(mortal_world)[0]
    mortal_world.crash(ready)
    mortal_world.reopen()

    assert wait_phase(mortal_world, observed.Phase.FAILED).uid == ready.uid


def test_a_new_operator_goes_on_with_a_termination(real_world):
    real_world.runtime.create(birth(OWNER, program=Program.DEAF))
    real_world.runtime.remove(wait_ready(real_world)[0], grace_seconds=1)
    real_world.reopen()

    wait_gone(real_world)
    assert real_world.leftovers() == []


def test_a_clock_that_was_set_back_prolongs_no_termination(real_mortal_world):
    real_mortal_world.runtime.create(birth(OWNER, program=Program.DEAF))
    real_mortal_world.runtime.remove(wait_ready(real_mortal_world)[0], grace_seconds=1)
    real_mortal_world.reopen(clock=lambda: time.time() - 3600)

    wait_gone(real_mortal_world)
    assert real_mortal_world.leftovers() == []


def test_an_adopted_replica_that_dies_is_noticed(mortal_world):
    mortal_world.runtime.create(birth(OWNER))
    ready = wait_ready(mortal_world)[0]
    mortal_world.reopen()
    mortal_world.crash(ready)

    wait_phase(mortal_world, observed.Phase.FAILED)


def test_replicas_are_created_side_by_side(real_world):
    threads = [
        threading.Thread(target=real_world.runtime.create, args=(birth(OWNER, ordinal),))
        for ordinal in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    ready = wait_ready(real_world, 8)
    assert len({replica.address for replica in ready}) == 8
