from __future__ import annotations

import queue
import subprocess
import sys

import pytest
from ringmaster_operator import background, errors
from ringmaster_operator.runtimes import process_exits, process_os


@pytest.fixture(params=["descriptors", "polling"])
def exits(request, monkeypatch):
    """The watcher and the queue of its callbacks, with and without what Linux offers."""
    if request.param == "polling":
        monkeypatch.setattr(sys, "platform", "somewhere else")
    ended = queue.SimpleQueue()
    loop = background.Background(name="test")
    made = process_exits.Exits(loop, ended.put)
    yield made, ended
    loop.close()
    made.close()


@pytest.fixture
def child():
    process = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def test_an_exit_is_told_also_before_anybody_reaped_it(exits, child):
    watcher, ended = exits
    watcher.add("a", pid=child.pid, mark=process_os.mark(child.pid))
    child.kill()

    assert ended.get(timeout=20) == "a"
    assert child.returncode is None


def test_one_that_is_dead_already_is_told(exits, child):
    watcher, ended = exits
    mark = process_os.mark(child.pid)
    child.kill()
    child.wait()
    watcher.add("a", pid=child.pid, mark=mark)

    assert ended.get(timeout=20) == "a"


def test_a_later_process_with_the_same_pid_is_not_taken_for_it(exits, child):
    watcher, ended = exits
    watcher.add("a", pid=child.pid, mark="an earlier one")

    assert ended.get(timeout=20) == "a"
    assert child.poll() is None


def test_one_that_cannot_be_looked_at_has_not_ended(exits, child, monkeypatch):
    watcher, ended = exits
    mark, looks = process_os.mark(child.pid), queue.SimpleQueue()

    def blind(pid, _mark):
        looks.put(pid)
        raise errors.RetryLater("no descriptor left")

    with monkeypatch.context() as without:
        without.setattr(process_os, "alive", blind)
        watcher.add("a", pid=child.pid, mark=mark)
        assert looks.get(timeout=20) == child.pid
        assert ended.empty()
    child.kill()
    child.wait()

    assert ended.get(timeout=20) == "a"


def test_each_exit_is_told_once(exits, child):
    watcher, ended = exits
    watcher.add("a", pid=child.pid, mark=process_os.mark(child.pid))
    watcher.add("b", pid=child.pid, mark="never")
    child.kill()

    assert sorted([ended.get(timeout=20), ended.get(timeout=20)]) == ["a", "b"]
    with pytest.raises(queue.Empty):
        ended.get(timeout=0.3)
