from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys

import psutil
import pytest
import set_clock
import stack
from ringmaster_operator import errors
from ringmaster_operator.runtimes import process_os


@pytest.fixture(params=["linux", "somewhere else"])
def platform(request, monkeypatch):
    monkeypatch.setattr(sys, "platform", request.param)


@pytest.fixture
def child():
    process = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def test_a_mark_stays_the_same_and_differs_between_processes(platform, child):
    mine, its = process_os.mark(os.getpid()), process_os.mark(child.pid)

    assert mine == process_os.mark(os.getpid())
    assert mine != its
    assert process_os.alive(child.pid, its)


@set_clock.LINUX_ONLY
@pytest.mark.parametrize("seconds", [60, -3600])
def test_a_mark_stays_though_the_clock_is_set(platform, child, tmp_path, monkeypatch, seconds):
    before = process_os.mark(child.pid)
    set_clock.by(seconds, folder=tmp_path, monkeypatch=monkeypatch)

    assert process_os.alive(child.pid, before)


def test_a_mark_is_the_same_for_another_operator(platform, child):
    code = (
        "import sys; from ringmaster_operator.runtimes import process_os;"
        "sys.platform = sys.argv[1]; print(process_os.mark(int(sys.argv[2])))"
    )
    words = [sys.executable, "-c", code, sys.platform, str(child.pid)]
    said = subprocess.check_output(words, text=True)

    assert said.strip() == process_os.mark(child.pid)


def test_a_zombie_and_one_that_never_was_have_no_mark(platform, child):
    child.kill()
    stack.eventually(
        lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE, what="a zombie"
    )

    assert process_os.mark(child.pid) is None
    assert process_os.mark(2**22 + 1) is None


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it takes no file to tell")
def test_one_that_cannot_be_looked_at_is_not_dead(child):
    mark = process_os.mark(child.pid)
    with stack.no_descriptor_left(), pytest.raises(errors.RetryLater, match="Too many open files"):
        process_os.alive(child.pid, mark)
    assert process_os.alive(child.pid, mark)


def test_a_name_full_of_brackets_does_not_confuse_the_mark(tmp_path):
    program = tmp_path / ") Z 1 2) ("
    program.symlink_to(sys.executable)
    with subprocess.Popen([program, "-S", "-c", "input()"], stdin=subprocess.PIPE) as odd:
        assert process_os.mark(odd.pid)
        odd.kill()


def test_a_signal_for_an_earlier_process_is_not_sent(child):
    assert process_os.signal_group(child.pid, "an earlier one", signal.SIGKILL) is False
    assert child.poll() is None


def test_a_free_port_is_free_and_outside_of_the_range_of_outgoing_connections():
    port = process_os.free_port(lambda _port: False)

    assert 20_000 <= port < 32_768
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))


def test_ports_that_are_given_or_bound_are_not_given_again():
    free = process_os.free_port(lambda _port: False)
    taken = socket.create_server(("127.0.0.1", free))
    with taken, pytest.raises(errors.RetryLater, match="no free port"):
        process_os.free_port(lambda port: port != free)
    with pytest.raises(errors.RetryLater, match="no free port"):
        process_os.free_port(lambda _port: True)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exited with code 0"),
        (3, "exited with code 3"),
        (-9, "killed by SIGKILL"),
        (-250, "killed by signal 250"),
        (None, "exited"),
    ],
)
def test_an_exit_status_is_told_in_words(code, words):
    assert process_os.describe_exit(code) == words


CONFINED = ("unshare", "--user", "--map-root-user")


def _can_confine() -> bool:
    words = [*CONFINED, "true"]
    known = shutil.which(CONFINED[0]) is not None
    return known and subprocess.run(words, check=False, capture_output=True).returncode == 0


@pytest.mark.skipif(not _can_confine(), reason="needs Linux with user namespaces")
def test_what_another_root_calls_the_same_folder_is_not_ours(tmp_path):
    # As in a container, whose processes its host's root sees, too.
    code = "import os, sys, time; os.chroot(sys.argv[1]); print('there'); time.sleep(600)"
    words = [sys.executable, "-uSc", code, str(tmp_path)]
    env = os.environ | process_os.marks(tmp_path, "web")
    with subprocess.Popen([*CONFINED, *words], env=env, stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout.readline() == b"there\n"
            assert psutil.Process(other.pid).environ()[process_os.UID_VARIABLE] == "web"
            assert process_os.marked(tmp_path) == {}
        finally:
            other.kill()
