"""Logs of real files, bounded while they are written to."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from ringmaster_operator import statedir
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


def test_closing_ends_it_whether_or_not_it_was_started(state) -> None:
    logsize.Bound([state.log_file("balancer")]).close()
    subject = logsize.Bound([state.log_file("balancer")])
    subject.start()
    assert subject.alive
    subject.close()
    assert not subject.alive
