"""Supervision of real processes: short shell commands of our own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import set_clock
from ringmaster_operator import errors, statedir
from ringmaster_operator.runtimes import process_logs
from ringmaster_operator.up import children

SLEEP = "import time; time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"


@pytest.fixture
def state(tmp_path: Path) -> Iterator[statedir.StateDir]:
    made = statedir.StateDir(tmp_path)
    made.prepare()
    _MADE.clear()
    yield made
    children.end_named(made, "thing", grace=0)
    for each in _MADE:
        if each._popen is not None:
            each._popen.wait()


_MADE: list[children.Child] = []


def tracked(made: children.Child) -> children.Child:
    """Whose exit code the fixture collects."""
    _MADE.append(made)
    return made


def order(code: str = SLEEP, *, name: str = "thing") -> children.Order:
    return children.Order(name=name, argv=(sys.executable, "-c", code), ports=(5000,))


def child(state: statedir.StateDir, code: str = SLEEP) -> children.Child:
    backoff = children.Backoff(first=0.0, longest=0.0)
    return tracked(children.Child(order=order(code), state=state, backoff=backoff))


def until(look: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_started_process_is_recorded_and_found_again(state) -> None:
    subject = child(state)
    subject.start()
    found = children.find_recorded(state, "thing")
    assert found is not None
    assert found.pid == subject.pid
    assert statedir.read_json(state.run_file("thing"))["ports"] == [5000]


def test_a_pid_with_another_mark_is_not_the_process(state) -> None:
    me = psutil.Process()
    children.write_record(state, order(), me)
    record = statedir.read_json(state.run_file("thing"))
    state.run_file("thing").unlink()
    assert children.find(record) == me
    assert children.find(record | {"mark": "1@another-boot"}) is None


@set_clock.LINUX_ONLY
@pytest.mark.parametrize("seconds", [60, -3600])
def test_a_clock_that_is_set_hides_no_process(state, tmp_path, monkeypatch, seconds) -> None:
    subject = child(state)
    subject.start()
    set_clock.by(seconds, folder=tmp_path, monkeypatch=monkeypatch)
    found = children.find_recorded(state, "thing")
    assert found is not None
    assert found.pid == subject.pid
    assert child(state).adopt()
    assert children.end_named(state, "thing", grace=30)
    assert not subject.alive()
    assert not state.run_file("thing").exists()


def before_marks(state: statedir.StateDir, subject: children.Child) -> dict[str, object]:
    """The record of a process as it was written when it had the start by the wall clock."""
    assert subject.process is not None
    path = state.run_file("thing")
    record = statedir.read_json(path)
    del record["mark"]
    record["started"] = subject.process.create_time()
    path.write_text(json.dumps(record))
    return record


def test_a_record_of_before_there_were_marks_is_understood(state) -> None:
    subject = child(state)
    subject.start()
    record = before_marks(state, subject)
    assert children.find_recorded(state, "thing") == subject.process
    others = {"argv": ["another"], "started": float(str(record["started"])) - 60}
    assert children.find(record | others) is None
    assert children.find(record | others | {"argv": []}) is None
    assert children.end_named(state, "thing", grace=30)


@set_clock.LINUX_ONLY
def test_a_record_of_before_there_were_marks_is_known_by_its_words_where_the_clock_was_set(
    state, tmp_path, monkeypatch
) -> None:
    subject = child(state)
    subject.start()
    before_marks(state, subject)
    set_clock.by(60, folder=tmp_path, monkeypatch=monkeypatch)
    assert children.end_named(state, "thing", grace=30)
    assert not subject.alive()


@pytest.mark.parametrize(
    "record", [{}, {"pid": "x", "mark": "1@boot"}, {"pid": -5, "started": 1}, {"pid": 1}]
)
def test_a_record_without_sense_finds_nothing(record) -> None:
    assert children.find(record) is None


def test_it_leads_its_own_session_so_that_ctrl_c_does_not_reach_it(state) -> None:
    subject = child(state, "import os, sys; print(os.getsid(0) == os.getpid()); sys.stdin.read()")
    subject.start()
    log = state.log_file("thing")
    until(log.read_text)
    assert log.read_text() == "True\n"


def test_what_died_is_started_again_and_said(state) -> None:
    subject = child(state)
    subject.start()
    first = subject.pid
    assert subject.tend() is None
    psutil.Process(first).kill()
    until(lambda: not subject.alive())
    assert subject.tend() == "thing was ended by SIGKILL; it is started again in 0.0 s"
    assert subject.tend() == f"thing started again (pid {subject.pid})"
    assert subject.pid != first
    assert subject.alive()


def test_a_start_that_fails_is_tried_again_and_ends_nothing(state, tmp_path) -> None:
    subject = child(state)
    subject.start()
    psutil.Process(subject.pid).kill()
    until(lambda: not subject.alive())
    subject.tend()
    logs = tmp_path / "logs"
    logs.rename(tmp_path / "away")
    log = logs / "thing.log"
    assert (subject.tend() or "").startswith(f"thing: cannot write its log {log}: No such file")
    (tmp_path / "away").rename(logs)
    assert subject.tend() == f"thing started again (pid {subject.pid})"


def test_what_cannot_be_recorded_is_ended_again(state, tmp_path) -> None:
    (tmp_path / "run").rename(tmp_path / "away")
    subject = child(state)
    before = set(psutil.Process().children())
    with pytest.raises(errors.UsageError, match="cannot write"):
        subject.start()
    assert set(psutil.Process().children()) == before
    assert subject.process is None


def test_restarts_are_spaced_out(state) -> None:
    subject = tracked(
        children.Child(
            order=order("import sys; sys.exit(3)"),
            state=state,
            backoff=children.Backoff(first=0.01, longest=0.04),
        )
    )
    subject.start()
    waits = []
    while len(waits) < 4:
        until(lambda: subject.process is None or not subject.alive())
        line = subject.tend() or ""
        if "exited with code 3" in line:
            waits.append(line.rpartition("in ")[2])
    assert waits == ["0.0 s"] * 4  # 10, 20, 40, 40 ms
    assert subject._deaths == 4


SERVED = """
import socket, sys, time
with socket.create_server(('127.0.0.1', {port})):
    time.sleep({seconds})
sys.exit('no more')
"""


def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def failing(state: statedir.StateDir, code: str, port: int | None = None) -> children.Child:
    subject = child(state)
    subject.order = children.Order(
        name="thing", argv=(sys.executable, "-c", code), ports=(port or free(),)
    )
    return subject


def ends(subject: children.Child, count: int) -> list[str]:
    """What is said at so many ends."""
    said: list[str] = []
    while len(said) < count:
        until(lambda: subject.process is None or not subject.alive() or subject.tend())
        line = subject.tend() or ""
        if "it is started again" in line:
            said.append(line)
    return said


@pytest.mark.parametrize("code", [1, 2])
def test_what_says_three_times_that_it_cannot_start_is_believed(state, code) -> None:
    subject = failing(state, f"import sys; print('why', flush=True); print(); sys.exit({code})")
    subject.start()
    assert len(ends(subject, 2)) == 2
    with pytest.raises(children.HopelessError, match=r"^the thing cannot start: why$"):
        ends(subject, 1)
    assert not subject.alive()


def test_what_says_nothing_is_told_by_its_exit_code(state) -> None:
    subject = failing(state, "import sys; sys.exit(1)")
    subject.start()
    with pytest.raises(children.HopelessError, match="cannot start: it exited with code 1"):
        ends(subject, 3)


def test_what_has_served_once_is_started_again_for_ever(state) -> None:
    port = free()
    subject = failing(state, SERVED.format(port=port, seconds=600), port)
    subject.start()
    until(lambda: subject.tend() or subject.proven)
    subject.process.kill()
    subject.order = failing(state, "import sys; sys.exit(1)").order
    assert len(ends(subject, 5)) == 5


def test_what_lived_long_is_started_again_for_ever(state) -> None:
    subject = failing(state, "import sys; sys.exit(1)")
    subject.backoff = children.Backoff(first=0.0, longest=0.0, forgiven=0.0)
    subject.start()
    assert len(ends(subject, 5)) == 5


@pytest.mark.parametrize("code", ["import os; os.kill(os.getpid(), 9)", "import sys; sys.exit(3)"])
def test_what_dies_otherwise_has_not_said_that_it_cannot_start(state, code) -> None:
    subject = failing(state, code)
    subject.start()
    assert len(ends(subject, 5)) == 5


def test_only_ends_in_a_row_count(state) -> None:
    subject = failing(state, "import sys; sys.exit(1)")
    cannot, dies = subject.order, failing(state, "import sys; sys.exit(3)").order
    subject.start()
    for order_ in (cannot, dies, cannot, cannot):
        subject.order = order_  # of the next start
        ends(subject, 1)


def test_a_port_that_somebody_else_has_for_now_is_waited_for(state) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
        subject = failing(state, "import sys, time; time.sleep(0.2); sys.exit('taken')", port)
        subject.start()
        assert len(ends(subject, 5)) == 5


def test_what_was_adopted_has_served(state) -> None:
    first = child(state)
    first.start()
    heir = child(state)
    assert heir.adopt()
    assert heir.proven


def test_an_heir_knows_which_file_an_adopted_process_writes_to(state) -> None:
    child(state).start()
    moved = state.log_file("thing").rename(state.root / "moved")
    heir = child(state)
    assert heir.adopt()
    assert heir.log == process_logs.identity(moved) != ""


def test_arguments_of_the_first_start_are_not_those_of_a_restart(state) -> None:
    echo = "import sys; print(sys.argv[1:], flush=True)"
    subject = child(state)
    subject.order = children.Order(
        name="thing", argv=(sys.executable, "-c", echo), ports=(), first_only=("--first",)
    )
    subject.start()
    log = state.log_file("thing")
    until(lambda: "[]" in log.read_text() or (subject.tend() and False))
    assert log.read_text().splitlines()[:2] == ["['--first']", "[]"]


def test_only_the_very_same_order_is_adopted(state) -> None:
    subject = child(state)
    subject.start()
    assert not child(state, SLEEP + " ").adopt()
    heir = child(state)
    assert heir.adopt()
    assert (heir.pid, heir.alive(), heir.tend()) == (subject.pid, True, None)


def test_an_adopted_process_is_tended_to_as_well(state) -> None:
    first = child(state)
    first.start()
    heir = child(state)
    heir.adopt()
    psutil.Process(heir.pid).kill()
    first._popen.wait()
    assert heir.tend() == "thing died; it is started again in 0.0 s"


def test_an_end_is_gentle_if_the_process_is(state) -> None:
    subject = child(state)
    subject.start()
    assert children.end(subject.process, grace=30)
    assert not subject.alive()


def test_what_does_not_heed_sigterm_is_killed_with_its_whole_group(state) -> None:
    code = (
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]); "
        + STUBBORN
    )
    subject = child(state, code)
    subject.start()
    until(lambda: state.log_file("thing").read_text().count("deaf") == 2)
    family = [subject.process, *subject.process.children()]
    assert not children.end(subject.process, grace=0.05)
    assert not [member for member in family if children.runs(member)]


def test_in_a_hurry_there_is_no_grace(state) -> None:
    subject = child(state, STUBBORN)
    subject.start()
    until(lambda: "deaf" in state.log_file("thing").read_text())
    begun = time.monotonic()
    children.end(subject.process, grace=100, hurry=lambda: True)
    assert time.monotonic() - begun < 50


def test_ending_what_is_gone_forgets_its_record(state) -> None:
    subject = child(state)
    subject.start()
    subject.process.kill()
    subject._popen.wait()
    assert not children.end_named(state, "thing", grace=1)
    assert not state.run_file("thing").exists()


def test_a_program_that_is_not_there_is_one_clear_line(state) -> None:
    subject = children.Child(
        order=children.Order(name="thing", argv=("/no/such/program",), ports=()), state=state
    )
    with pytest.raises(errors.UsageError, match="cannot start /no/such/program: No such file"):
        subject.start()


def test_a_log_that_grew_large_is_cut_at_a_start(state, monkeypatch) -> None:
    monkeypatch.setattr(children, "_LOG_BYTES", 10)
    log = state.log_file("thing")
    log.write_text("x" * 10 + "y" * 10)
    subject = child(state, "print('new')")
    subject.start()
    until(lambda: log.exists() and log.read_text() == "new\n")
    assert log.with_suffix(".log.1").read_text() == "y" * 10


def test_a_zombie_does_not_run() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    seen = psutil.Process(process.pid)
    until(lambda: seen.status() == psutil.STATUS_ZOMBIE)
    assert not children.runs(seen)
    process.wait()
