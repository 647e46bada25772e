"""Ending what is recorded in a state folder: sleeping processes stand for balancer and operator."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import local_api
import pytest
from ringmaster_operator import errors, local, observed, statedir
from ringmaster_operator.up import children, shutdown

SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[statedir.StateDir]:
    made = statedir.StateDir(tmp_path / "state")
    made.prepare()
    yield made
    shutdown.end_all(made, say=lambda _line: None, hurry=lambda: True)


@contextlib.contextmanager
def started(state: statedir.StateDir, name: str) -> Iterator[children.Child]:
    child = children.Child(order=children.Order(name=name, argv=SLEEP, ports=()), state=state)
    child.start()
    try:
        yield child
    finally:
        child._popen.kill()
        child._popen.wait()


def with_replica(state: statedir.StateDir) -> None:
    """A ServerSet with one replica, as an operator left it."""
    document = local_api.server_set()
    (container,) = document["spec"]["template"]["spec"]["containers"]
    container["command"] = list(SLEEP)
    with local.opened(state) as world:
        stored = world.records.create("default", "web", document)
        world.runtime.create(
            observed.Birth(
                owner=local.owner(stored),
                name="web-0-abcde",
                display_name="web-0-abcde",
                member_id="web-0",
                ordinal=0,
                attempt=1,
                reason=observed.Reason.SCALE_UP,
                revision="r",
                template=stored["spec"]["template"],
            )
        )


def test_the_balancer_ends_first_the_operator_second_the_replicas_last(state) -> None:
    with_replica(state)
    said: list[str] = []
    with started(state, "balancer") as balancer, started(state, "operator") as operator:
        assert shutdown.end_all(state, say=said.append)
        assert not balancer.alive()
        assert not operator.alive()
    assert said == ["balancer stopped", "operator stopped", "1 replica stopped"]
    assert not list((state.root / "run").iterdir())


def test_replicas_are_stopped_by_their_records_when_all_else_is_gone(state) -> None:
    with_replica(state)
    said: list[str] = []
    assert shutdown.end_all(state, say=said.append)
    assert said == ["1 replica stopped"]


def test_a_second_time_there_is_nothing_to_end(state) -> None:
    with_replica(state)
    shutdown.end_all(state, say=lambda _line: None)
    assert not shutdown.end_all(state, say=pytest.fail)


def test_an_operator_of_somebody_else_is_not_fought(state, monkeypatch) -> None:
    monkeypatch.setattr(shutdown, "_LOCK_SECONDS", 0.1)
    with_replica(state)
    with (
        state.lock("operator", busy=""),
        pytest.raises(errors.UsageError, match="`up` did not start"),
    ):
        shutdown.end_all(state, say=pytest.fail)
