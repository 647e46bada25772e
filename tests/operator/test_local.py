"""A state folder with real replicas: processes that sleep."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import local_api
import pytest
import stack
from ringmaster_operator import errors, local, memory, observed, statedir
from ringmaster_operator.runtimes import choice, process_os

SLEEP = "import time; print('up', flush=True); time.sleep(600)"
DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"


@pytest.fixture
def state(tmp_path: Path) -> statedir.StateDir:
    made = statedir.StateDir(tmp_path / "state")
    made.prepare()
    return made


@contextlib.contextmanager
def opened(state: statedir.StateDir) -> Iterator[local.World]:
    """Nothing is left running, whatever the test did."""
    with local.opened(state) as world:
        try:
            yield world
        finally:
            local.stop_replicas(world, hurry=lambda: True)


def server_set(world: local.World, *, code: str = SLEEP, grace: int = 30) -> dict[str, Any]:
    document = local_api.server_set()
    pod = document["spec"]["template"]["spec"]
    pod["terminationGracePeriodSeconds"] = grace
    (container,) = pod["containers"]
    container["command"] = [sys.executable, "-c", code]
    del container["readinessProbe"]
    return world.records.create("default", "web", document)


LOST = {"namespace": "default", "name": "web", "uid": "lost"}


def replica(world: local.World, document: dict[str, Any], name: str = "web-0-abcde") -> None:
    world.runtime.create(
        observed.Birth(
            owner=local.owner(document),
            name=name,
            display_name=name,
            member_id="web-0",
            ordinal=0,
            attempt=1,
            reason=observed.Reason.SCALE_UP,
            revision="r",
            template=document["spec"]["template"],
        )
    )


def test_a_runtime_that_cannot_be_used_is_not_remembered(state, monkeypatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with (
        pytest.raises(errors.UsageError),
        local.opened(state, choice.Choice(kind="docker", network="servers")),
    ):
        raise AssertionError
    assert choice.recorded(state) == choice.Choice()


def test_replicas_outlive_the_one_who_opened_the_folder(state) -> None:
    with local.opened(state) as world:
        document = server_set(world)
        replica(world, document)
        (before,) = world.runtime.observe(local.owner(document))
    with opened(state) as world:
        (after,) = world.runtime.observe(local.owner(document))
        assert (after.uid, after.phase) == (before.uid, observed.Phase.RUNNING)


def test_stopping_ends_every_replica_and_keeps_the_set(state) -> None:
    with opened(state) as world:
        document = server_set(world)
        for name in ("web-0-abcde", "web-1-fghij"):
            replica(world, document, name)
        assert local.stop_replicas(world) == 2
        assert world.runtime.observe(local.owner(document)) == []
        assert world.records.get("default", "web") is not None
        assert local.stop_replicas(world) == 0


def test_what_belongs_to_no_stored_set_is_stopped_too(state) -> None:
    with opened(state) as world:
        replica(world, lost := local_api.server_set() | {"metadata": LOST})
        assert local.strays(world.runtime, world.owners())
        assert local.stop_replicas(world) == 1
        assert world.runtime.observe(local.owner(lost)) == []


def test_what_belongs_to_no_stored_set_is_ended_once_it_is_time(state) -> None:
    with opened(state) as world:
        document = server_set(world)
        replica(world, document)
        replica(world, lost := document | {"metadata": LOST}, "web-0-lost0")
        early = local.Strays(world)
        early.look()
        early.look()
        assert len(world.runtime.observe(local.owner(lost))) == 1
        strays = local.Strays(world, after=0)

        def ended() -> bool:
            strays.look()
            return not world.runtime.observe(local.owner(lost))

        stack.eventually(ended, what="the end of the stray")
        assert len(world.runtime.observe(local.owner(document))) == 1


def test_a_set_that_is_made_while_strays_are_looked_for_keeps_its_replicas(
    state, monkeypatch
) -> None:
    with opened(state) as world:
        replica(world, lost := local_api.server_set() | {"metadata": LOST}, "web-0-lost0")
        strays = local.Strays(world, after=0)
        strays.look()
        made = []
        for where, name in ((world.runtime, "owners"), (world.records, "list")):
            ask = getattr(where, name)

            def meanwhile(*args: Any, ask: Any = ask) -> Any:
                said = ask(*args)
                if not made:
                    made.append(server_set(world))
                    replica(world, made[0])
                return said

            monkeypatch.setattr(where, name, meanwhile)
        strays.look()
        (kept,) = world.runtime.observe(local.owner(made[0]))
        assert kept.phase is observed.Phase.RUNNING
        assert all(
            each.phase is not observed.Phase.RUNNING
            for each in world.runtime.observe(local.owner(lost))
        )


def test_a_runtime_that_cannot_be_asked_for_strays_ends_no_operator(state, monkeypatch) -> None:
    with opened(state) as world:
        replica(world, lost := local_api.server_set() | {"metadata": LOST})

        def hung(_owner: observed.Owner) -> Any:
            raise errors.RetryLater("the engine does not answer")

        with monkeypatch.context() as patched:
            patched.setattr(world.runtime, "look", hung)
            local.Strays(world).look()
        assert len(world.runtime.observe(local.owner(lost))) == 1


@pytest.mark.parametrize("damage", [b"", b"certainly no database"])
def test_a_database_that_cannot_be_used_keeps_no_replica_alive(state, damage) -> None:
    with local.opened(state) as world:
        replica(world, server_set(world))
    state.database.write_bytes(damage)
    said: list[str] = []
    assert local.stop_all(state, None, say=said.append) == 1
    (line,) = said
    assert "cannot be used" in line
    assert line.endswith("what runs is stopped all the same")
    assert process_os.marked(state.runtime) == {}
    assert state.database.read_bytes() == damage


def test_in_a_hurry_not_even_a_long_grace_is_kept(state) -> None:
    with opened(state) as world:
        document = server_set(world, code=DEAF, grace=3600)
        replica(world, document)
        assert local.stop_replicas(world, hurry=lambda: True) == 1


def test_a_replica_that_has_failed_is_put_away_too(state) -> None:
    with opened(state) as world:
        document = server_set(world, code="raise SystemExit(3)")
        replica(world, document)
        local.stop_replicas(world)
        assert world.runtime.observe(local.owner(document)) == []


def test_what_was_stopped_on_purpose_is_no_emergency_and_keeps_its_wishes(state) -> None:
    with opened(state) as world:
        document = server_set(world)
        key = local.owner(document)
        place = memory.Place(
            attempt=4, reason=observed.Reason.EMERGENCY, due=False, seen=True, name="S5", failures=2
        )
        closed = memory.Place(attempt=2, wanted=False, due=False, seen=True)
        revision = memory.Revision(hash="r", number=1, template={})
        world.records.save_memory(
            key,
            memory.Memory(
                places={0: place, 1: closed}, proven=("u",), revisions=(revision,), generation=9
            ),
        )
        local.stop_replicas(world)
        found = world.records.load_memory(key)
    assert found.places == {
        0: memory.Place(attempt=5, wanted=True, due=True, name="S5"),
        1: memory.Place(attempt=3, wanted=False, due=False),
    }
    assert (found.proven, found.revisions, found.generation) == ((), (revision,), 9)


def test_what_was_stopped_in_the_middle_of_a_rollout_comes_back_as_it_served(state) -> None:
    with opened(state) as world:
        document = server_set(world)
        key = local.owner(document)
        holder = memory.Place(attempt=1, due=False, seen=True, revision="good", last_attempt=2)
        beside = memory.Place(attempt=3, due=False, seen=True, revision="new")
        before = memory.Memory(places={0: holder}, successors={0: beside}, current="good")
        world.records.save_memory(key, before)
        local.stop_replicas(world)
        found = world.records.load_memory(key)
    assert found.places == {0: memory.Place(attempt=4, due=True, revision="good")}
    assert found.successors == {}


def test_the_status_says_that_nothing_runs(state) -> None:
    with opened(state) as world:
        server_set(world)
        ready = {"type": "Ready", "status": "True", "reason": "AllReplicasServe"}
        other = {"type": "BalancerSynced", "status": "True"}
        strange = [5, {"type": []}]  # what an earlier local API took
        counts = {"replicas": 3, "readyReplicas": 3, "inRing": 3, "observedGeneration": 1}
        told = counts | {"conditions": [ready, other, *strange]}
        world.records.update_status("default", "web", lambda now: now | {"status": told})
        local.stop_replicas(world)
        status = world.records.get("default", "web")["status"]
    assert [status[name] for name in counts] == [0, 0, 0, 1]
    by_type = {each["type"]: each for each in status["conditions"]}
    assert (by_type["Ready"]["status"], by_type["Ready"]["reason"]) == ("False", "Stopped")
    assert by_type["BalancerSynced"]["status"] == "True"


def test_views_join_what_runs_with_its_place_in_the_ring(state) -> None:
    with opened(state) as world:
        document = server_set(world)
        replica(world, document)
        key = local.owner(document)
        (seen,) = world.runtime.observe(key)
        member = memory.Member(
            id="web-0",
            replica=seen.name,
            state="active",
            address=seen.address,
            uid=seen.uid,
            created_at=seen.created_at,
        )
        world.records.save_memory(key, memory.Memory(members=(member,)))
        (view,) = world.views("default", "web")
        assert (view.name, view.state) == ("web-0-abcde", "active")
        assert world.views("default", "x") == []
        assert world.owners() == [key]
