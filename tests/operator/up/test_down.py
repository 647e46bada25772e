"""`ringmaster down` on folders with and without a running `up`."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest
from ringmaster_operator import errors, statedir
from ringmaster_operator.up import children, down

SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")


@pytest.fixture
def state(tmp_path: Path) -> statedir.StateDir:
    return statedir.StateDir(tmp_path / "state")


def test_a_folder_that_is_not_there_is_no_failure_and_not_made(state) -> None:
    said: list[str] = []
    down.run(state, purge=True, say=said.append)
    assert said == [f"nothing runs on {state.root}"]
    assert not state.root.exists()


def test_a_running_up_is_asked_to_end(state) -> None:
    state.prepare()
    child = children.Child(order=children.Order(name="up", argv=SLEEP, ports=()), state=state)
    child.start()
    said: list[str] = []
    down.run(state, purge=False, say=said.append)
    assert child._popen.wait(30) == -15
    assert said == [f"stopping `ringmaster up` (pid {child.pid})"]


def test_an_up_that_ends_this_very_moment_is_no_failure(state, monkeypatch) -> None:
    state.prepare()
    gone = psutil.Popen([sys.executable, "-c", ""])
    gone.wait()
    monkeypatch.setattr(
        children, "find_recorded", lambda _state, name: gone if name == "up" else None
    )
    down.run(state, purge=False, say=lambda _: None)


def test_purge_deletes_what_is_kept(state) -> None:
    state.prepare()
    state.token()
    said: list[str] = []
    down.run(state, purge=True, say=said.append)
    assert said[0] == f"{state.root} purged"
    assert not state.root.exists()


def test_an_up_that_is_just_starting_is_left_alone(state) -> None:
    state.prepare()
    with state.lock("up", busy=""), pytest.raises(errors.UsageError, match="just starting"):
        down.run(state, purge=True, say=pytest.fail)
