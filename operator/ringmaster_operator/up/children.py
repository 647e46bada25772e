"""Processes that `up` keeps alive, and finds again after it was killed.

Law: a process is known by pid *and* mark, which no change of the clock touches, written to the
state folder before anything depends on it; variables in its environment name it where that record
is lost. Each is the leader of its own session, so that the terminal's Ctrl-C does not reach it;
its output goes to a file, so that it outlives `up`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from ringmaster_operator import errors, statedir
from ringmaster_operator.runtimes import process_logs, process_os

_SAME_START = 1.5  # seconds; the boot time, by which psutil tells starts, wavers by one
_LOG_BYTES = 10 * 1024 * 1024  # of a longer log the end is put aside, and it begins anew
_POLL = 0.02
_SAID = (1, 2)  # exit codes of a program that has said why it cannot start
_BELIEVED = 3  # times in a row; a port or a lock may be free the next time
_CONNECT = 0.2  # seconds
_KILL_SECONDS = 5.0  # for the kernel to end what got SIGKILL
_UP = "RINGMASTER_UP"  # in a child's environment: pid and mark of the `up` that started it

Hurry = Callable[[], bool]


class HopelessError(errors.UsageError):
    """It cannot be started, and starting it again will not help; its own words say why."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to run. `ports` are those it listens on."""

    name: str
    argv: tuple[str, ...]
    ports: tuple[int, ...]
    first_only: tuple[str, ...] = ()  # arguments of the very first start, not of a restart


@dataclass(frozen=True, slots=True)
class Backoff:
    """How soon a process that died is started again; seconds."""

    first: float = 0.1  # nothing is served meanwhile
    longest: float = 10.0
    forgiven: float = 10.0  # having lived this long ends the backoff


@dataclass(slots=True)
class Child:
    """One supervised process: adopted or started here.

    `proven`: it has served, or lived long, under this command line, or its like has: what ends it
    may pass.
    """

    order: Order
    state: statedir.StateDir
    backoff: Backoff = field(default_factory=Backoff)
    process: psutil.Process | None = None
    log: str = ""  # the file it writes to, as `process_logs.identity`
    proven: bool = False
    _popen: subprocess.Popen[bytes] | None = None
    _started_at: float = 0.0
    _deaths: int = 0
    _refusals: int = 0
    _starts: int = 0
    _not_before: float = 0.0

    @property
    def pid(self) -> int | None:
        """None before the first start."""
        return self.process.pid if self.process else None

    def adopt(self) -> bool:
        """Take over a process that an earlier `up` started with the very same order."""
        record = statedir.read_json(self.state.run_file(self.order.name))
        if record.get("argv") != list(self.order.argv):
            return False
        self.process, self.log = find(record), str(record.get("log", ""))
        self._started_at = time.monotonic()
        self.proven = self.process is not None
        return self.proven

    def start(self) -> None:
        """Start it and record it.

        Raises:
            UsageError: it cannot be started, or it cannot be recorded: then it was ended again.
        """
        argv = list(self.order.argv)
        if self._starts == 0:
            argv += self.order.first_only
        popen = _spawn(
            argv,
            log=self.state.log_file(self.order.name),
            env=os.environ | _marks(self.state, self.order.name),
        )
        process = psutil.Process(popen.pid)
        try:
            write_record(self.state, self.order, process)
        except errors.UsageError:
            end(process, grace=0.0)  # without a record nobody would find it again
            popen.wait()
            raise
        self._starts += 1
        self._popen, self.process = popen, process
        self.log = process_logs.identity(self.state.log_file(self.order.name))
        self._started_at = time.monotonic()

    def tend(self) -> str | None:
        """Start it again if it died and its backoff is over; the line to show if something was.

        A start that fails (no more processes, a full disk) is tried again with the same backoff:
        the other child goes on, and the trouble may pass.

        Raises:
            HopelessError: it has never served, and said several times in a row that it cannot.
        """
        now = time.monotonic()
        if self.process is not None and self._alive():
            self.proven = self.proven or self._answers()
            return None
        if self.process is not None:
            how = self._how_it_ended()
            self.process = None
            lived = now - self._started_at
            if lived >= self.backoff.forgiven:
                self._deaths = 0
                self.proven = True
            self._judge(how)
            return f"{self.order.name} {how}; it is started again in {self._back_off(now):.1f} s"
        if now < self._not_before:
            return None
        try:
            self.start()
        except errors.UsageError as error:
            return f"{self.order.name}: {error}; tried again in {self._back_off(now):.1f} s"
        return f"{self.order.name} started again (pid {self.pid})"

    def _judge(self, how: str) -> None:
        """Whether an end is one too many."""
        said = self._popen is not None and self._popen.returncode in _SAID
        self._refusals = self._refusals + 1 if said and not self.proven else 0
        if self._refusals >= _BELIEVED:
            why = process_logs.last_line(self.state.log_file(self.order.name)) or f"it {how}"
            raise HopelessError(f"the {self.order.name} cannot start: {why}")

    def _answers(self) -> bool:
        """Whether somebody listens on one of its ports; a stranger there may go away again."""
        for port in self.order.ports:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", port), timeout=_CONNECT),
            ):
                return True
        return False

    def _back_off(self, now: float) -> float:
        """Count a failure; the seconds until the next start."""
        self._deaths += 1
        wait = min(self.backoff.first * 2.0 ** min(self._deaths - 1, 20), self.backoff.longest)
        self._not_before = now + wait
        return wait

    def end(self, *, grace: float) -> None:
        """End it, and forget it."""
        if self.process is not None:
            end(self.process, grace=grace)
        end_named(self.state, self.order.name, grace=grace)
        if self._popen is not None:
            self._popen.wait()
        self.process = None

    def alive(self) -> bool:
        """Whether it runs now."""
        return self.process is not None and self._alive()

    def _alive(self) -> bool:
        if self._popen is not None:
            return self._popen.poll() is None
        return self.process is not None and runs(self.process)

    def _how_it_ended(self) -> str:
        code = self._popen.returncode if self._popen is not None else None
        if code is None:
            return "died"
        return f"was ended by {_signal_name(-code)}" if code < 0 else f"exited with code {code}"


def find(record: Mapping[str, Any]) -> psutil.Process | None:
    """The process of a record if it still runs: same pid, same mark, no zombie."""
    try:
        process = psutil.Process(int(record["pid"]))
        same = _is_of(record, process)
    except (psutil.Error, KeyError, TypeError, ValueError):
        return None
    return process if same and runs(process) else None


def find_recorded(state: statedir.StateDir, name: str) -> psutil.Process | None:
    """The recorded process of this name if it still runs."""
    return find(statedir.read_json(state.run_file(name)))


def ports(state: statedir.StateDir, name: str) -> set[int]:
    """The ports of what runs under this name: as recorded, else those that it listens on."""
    if find_recorded(state, name):
        return set(statedir.read_json(state.run_file(name)).get("ports", ()))
    found: set[int] = set()
    for process in process_os.marked(state.root.absolute()).get(name, []):
        with contextlib.suppress(psutil.Error):
            connections = process.net_connections("tcp")
            found |= {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}
    return found


def find_up(state: statedir.StateDir) -> psutil.Process | None:
    """Another `up` that supervises this folder: by its record, else as what it started names it."""
    if recorded := find_recorded(state, "up"):
        return recorded
    for processes in process_os.marked(state.root.absolute()).values():
        for process in processes:
            with contextlib.suppress(psutil.Error, KeyError, ValueError):
                pid, mark = process.environ()[_UP].split()
                if int(pid) != os.getpid() and process_os.alive(int(pid), mark):
                    return psutil.Process(int(pid))
    return None


def runs(process: psutil.Process) -> bool:
    """Whether it still does something; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def write_record(state: statedir.StateDir, order: Order, process: psutil.Process) -> None:
    """Record a process so that others find it.

    Raises:
        UsageError: the record cannot be written.
    """
    record = {
        "pid": process.pid,
        "mark": process_os.mark(process.pid) or "dead",
        "argv": list(order.argv),
        "ports": list(order.ports),
        "log": process_logs.identity(state.log_file(order.name)),
    }
    path = state.run_file(order.name)
    try:
        statedir.write_atomically(path, json.dumps(record, indent=1))
    except OSError as error:
        raise errors.UsageError(f"cannot write {path}: {error.strerror}") from error


def end(process: psutil.Process, *, grace: float, hurry: Hurry = lambda: False) -> bool:
    """SIGTERM; after `grace` seconds, or in a hurry, SIGKILL for its whole group.

    Returns whether it went by itself. Works for processes that are not our children.
    """
    ask_to_end(process)
    deadline = time.monotonic() + grace
    while runs(process) and time.monotonic() < deadline and not hurry():
        _reap(process)
        time.sleep(_POLL)
    gentle = not runs(process)
    # What a dead leader left in its group (workers that did not notice) ends with it.
    _kill_group(process)
    while runs(process):
        _reap(process)
        time.sleep(_POLL)
    return gentle


def ask_to_end(process: psutil.Process) -> None:
    """SIGTERM; one that has just ended by itself needs none."""
    with contextlib.suppress(psutil.Error):
        process.terminate()


def end_named(
    state: statedir.StateDir, name: str, *, grace: float, hurry: Hurry = lambda: False
) -> bool:
    """End what runs under this name, on record or not, and forget it; whether there was anything.

    Records are lost with their folder; the marks in the environment are not.
    """
    recorded = find_recorded(state, name)
    marked = process_os.marked(state.root.absolute()).get(name, [])
    found = [*([recorded] if recorded else []), *marked]
    for process in found:
        if runs(process):  # else it went with the one that started it
            end(process, grace=grace, hurry=hurry)
    state.run_file(name).unlink(missing_ok=True)
    return bool(found)


def end_marked(folder: Path, *, grace: float, hurry: Hurry = lambda: False) -> int:
    """End every process that carries this folder's mark; how many instances there were.

    Raises:
        RetryLater: one does not end.
    """
    found = process_os.marked(folder)
    left = [process for processes in found.values() for process in processes]
    for process in left:
        ask_to_end(process)
    deadline = time.monotonic() + grace
    while any(map(runs, left)) and time.monotonic() < deadline and not hurry():
        time.sleep(_POLL)
    deadline = time.monotonic() + _KILL_SECONDS
    while left := [each for processes in process_os.marked(folder).values() for each in processes]:
        if time.monotonic() > deadline:
            raise errors.RetryLater(f"{len(left)} processes do not end, such as pid {left[0].pid}")
        for process in left:
            process_os.kill(process)
        time.sleep(_POLL)
    return len(found)


def bound_log(log: Path, *, written: Iterable[tuple[int, str]] = ()) -> None:
    """Cut a log that grew too long; its process appends, and may go on meanwhile.

    `written`: who writes to which file (`process_logs.identity`), whatever its name is by now.
    """
    process_logs.cut(log, most=_LOG_BYTES)
    for pid, file in written:
        process_logs.cut_lost(log, pid, file, most=_LOG_BYTES)


def _is_of(record: Mapping[str, Any], process: psutil.Process) -> bool:
    """Whether it is the very process of a record.

    One of before there were marks has the start by the wall clock: another one where that clock was
    set since. Then the command line tells.
    """
    if "mark" in record:
        return process_os.alive(process.pid, str(record["mark"]))
    if abs(process.create_time() - float(record["started"])) < _SAME_START:
        return True
    ordered = "\0".join(record["argv"])
    return bool(ordered) and ordered in "\0".join(process.cmdline())


def _kill_group(process: psutil.Process) -> None:
    members = [p for p in psutil.process_iter() if p == process or _group(p.pid) == process.pid]
    for member in members:
        with contextlib.suppress(psutil.Error):
            member.kill()
    psutil.wait_procs(members, timeout=5)


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def _reap(process: psutil.Process) -> None:
    """Collect the exit code if it is our child; a child not collected looks alive to others."""
    with contextlib.suppress(psutil.Error):
        process.wait(timeout=0)


def _marks(state: statedir.StateDir, name: str) -> dict[str, str]:
    """The same variables as a replica's, of this folder: what the balancer starts has them too."""
    ourselves = f"{os.getpid()} {process_os.mark(os.getpid())}"
    return process_os.marks(state.root.absolute(), name) | {_UP: ourselves}


def _spawn(argv: list[str], *, log: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    bound_log(log)
    try:
        output = log.open("ab")
    except OSError as error:
        raise errors.UsageError(f"cannot write its log {log}: {error.strerror}") from error
    with output:
        try:
            return subprocess.Popen(  # noqa: S603 – our own argv, no shell
                argv,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise errors.UsageError(f"cannot start {argv[0]}: {error.strerror}") from error


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
