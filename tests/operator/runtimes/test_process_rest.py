"""What replicas leave behind, with real processes that carry their marks."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

import pytest
import stack
from ringmaster_operator import background
from ringmaster_operator.runtimes import process_os, process_rest


@pytest.fixture
def loop():
    made = background.Background(name="test")
    yield made
    made.close()


@pytest.fixture
def rest(loop, tmp_path, monkeypatch):
    monkeypatch.setattr(process_rest, "PAUSE_SECONDS", 0.02)
    return process_rest.Rest(loop, tmp_path)


@contextlib.contextmanager
def left(folder, uid):
    """A process of that replica in a session of its own."""
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", "import time; time.sleep(600)"],
        env=os.environ | process_os.marks(folder, uid),
        start_new_session=True,
    )
    try:
        stack.eventually(lambda: uid in process_os.marked(folder), what="it shows")
        yield child
    finally:
        child.kill()
        child.wait()


@pytest.fixture
def scans(monkeypatch):
    """The threads that looked at every process."""
    made = []
    marked = process_os.marked

    def counted(state):
        made.append(threading.current_thread().name)
        return marked(state)

    monkeypatch.setattr(process_os, "marked", counted)
    return made


def test_it_is_killed_wherever_it_is_and_another_replica_is_not(rest, tmp_path):
    with left(tmp_path, "dead") as child, left(tmp_path, "alive") as other:
        rest.add("dead")

        assert child.wait(timeout=20) == -signal.SIGKILL
        assert other.poll() is None


def test_many_exits_share_a_look_which_is_not_on_the_loop(rest, scans):
    for number in range(50):
        rest.add(f"dead-{number}")
    stack.eventually(lambda: not rest.pending, what="the last look")

    assert process_rest.LOOKS <= len(scans) < 10
    assert "test" not in scans


def test_it_looks_no_longer_than_needed(rest, scans):
    rest.add("dead")
    stack.eventually(lambda: not rest.pending, what="the last look")
    rest.close()

    assert len(scans) == process_rest.LOOKS


def test_one_that_shows_only_at_the_second_look_is_killed(rest, tmp_path, monkeypatch):
    looks = []
    marked = process_os.marked

    def late(state):
        looks.append(state)
        return {} if len(looks) == 1 else marked(state)

    with left(tmp_path, "dead") as child:
        monkeypatch.setattr(process_os, "marked", late)
        rest.add("dead")

        assert child.wait(timeout=20) == -signal.SIGKILL


def test_closing_looks_for_what_is_still_to_be_found(rest, loop, tmp_path, monkeypatch):
    monkeypatch.setattr(process_rest, "PAUSE_SECONDS", 600)
    with left(tmp_path, "dead") as child:
        rest.add("dead")
        loop.close()
        rest.close()
        rest.close()

        assert child.wait(timeout=20) == -signal.SIGKILL


def test_a_look_that_found_no_thread_is_made_up_for(rest, tmp_path, monkeypatch):
    refused = []
    marked = process_os.marked

    def scarce(state):
        if not refused:
            refused.append(state)
            raise RuntimeError("can't start new thread")
        return marked(state)

    with left(tmp_path, "dead") as child:
        monkeypatch.setattr(process_os, "marked", scarce)
        rest.add("dead")

        assert child.wait(timeout=20) == -signal.SIGKILL
