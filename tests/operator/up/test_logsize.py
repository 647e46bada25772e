"""Logs of real files, bounded while they are written to."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ringmaster_operator import statedir
from ringmaster_operator.runtimes import process_logs
from ringmaster_operator.up import children, logsize


@pytest.fixture
def state(tmp_path) -> statedir.StateDir:
    made = statedir.StateDir(tmp_path)
    made.prepare()
    return made


def until(look: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_log_that_grows_is_cut_again_and_again(state, monkeypatch) -> None:
    monkeypatch.setattr(children, "_LOG_BYTES", 10)
    monkeypatch.setattr(logsize, "_SECONDS", 0.01)
    path = state.log_file("balancer")
    subject = logsize.Bound([state.log_file("operator"), path])
    subject.start()
    try:
        with path.open("ab", buffering=0) as log:
            for _ in range(3):
                log.write(b"x" * 20)
                until(lambda: path.stat().st_size == 0)
            log.write(b"kept")
    finally:
        subject.close()
    assert path.read_bytes() == b"kept"
    assert path.with_suffix(".log.1").read_bytes() == b"x" * 10


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc shows a deleted file")
@pytest.mark.parametrize("lose", [Path.unlink, lambda path: path.rename(path.with_name("moved"))])
def test_a_log_that_was_deleted_or_moved_is_cut_but_no_other_file(state, monkeypatch, lose) -> None:
    monkeypatch.setattr(children, "_LOG_BYTES", 10)
    monkeypatch.setattr(logsize, "_SECONDS", 0.01)
    path, other = state.log_file("balancer"), state.log_file("other")
    code = "import sys, time; [print('x' * 20, file=f, flush=True) for f in (sys.stdout, sys.stderr)]; time.sleep(600)"
    with path.open("ab") as log, other.open("ab") as error:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=log, stderr=error)
    file = process_logs.identity(path)
    subject = logsize.Bound([path], written=lambda: [(process.pid, file)])
    try:
        until(lambda: other.stat().st_size == 21)
        lose(path)
        other.unlink()
        subject.start()
        written = [Path(f"/proc/{process.pid}/fd/{number}") for number in (1, 2)]
        until(lambda: written[0].stat().st_size == 0)
        assert written[1].stat().st_size == 21
    finally:
        subject.close()
        process.kill()
        process.wait()


def test_closing_ends_it_whether_or_not_it_was_started(state) -> None:
    logsize.Bound([state.log_file("balancer")]).close()
    subject = logsize.Bound([state.log_file("balancer")])
    subject.start()
    assert subject.alive
    subject.close()
    assert not subject.alive
