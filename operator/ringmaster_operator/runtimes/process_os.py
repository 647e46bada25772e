"""What the process runtime asks of the operating system.

Law: a process is named by pid and mark together, never by a pid alone; a zombie is dead.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from ringmaster_operator import errors, observed

# In the environment of every replica and its children: which instance they are, and whose. What
# `up` starts has them as well: its name, and the state folder itself.
UID_VARIABLE = "RINGMASTER_REPLICA_UID"
STATE_VARIABLE = "RINGMASTER_REPLICA_OF"

# Below the ranges from which Linux and macOS take the ports of outgoing connections: a proxy under
# load would otherwise sooner or later hold the very port that a replica is about to listen on.
_PORTS = range(20_000, 32_768)
_PORT_TRIES = 100
_EXEC_LOOKS, _EXEC_PAUSE = 5, 0.002  # seconds
_STAT_STATE, _STAT_START = 0, 19  # fields 3 and 22 of /proc/PID/stat, counted after the name


def mark(pid: int) -> str | None:
    """What tells this process from a later one with the same pid; None if it is dead.

    A change of the clock does not touch it: on Linux the kernel's own start ticks and boot.

    Raises:
        RetryLater: it cannot be told now, as with no descriptor left: that is no death.
    """
    if sys.platform != "linux":
        return _mark_by_psutil(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        boot = _boot()
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError as error:
        raise errors.RetryLater(f"process {pid} cannot be looked at: {error.strerror}") from error
    fields = stat[stat.rindex(b")") + 2 :].split()
    if fields[_STAT_STATE] in (b"Z", b"X"):
        return None
    return f"{fields[_STAT_START].decode()}@{boot}"


def alive(pid: int, known_mark: str) -> bool:
    """Whether the very process of that mark still runs; raises as `mark` does."""
    return mark(pid) == known_mark


def signal_group(pid: int, known_mark: str, number: signal.Signals) -> bool:
    """Signal the group that this process leads; False if it is dead. Raises as `mark` does."""
    if not alive(pid, known_mark):
        return False
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
    return True


def kill_rest(pid: int, uid: str) -> None:
    """Kill what a dead leader left behind in its group: as a container dies with its first process.

    Its pid may be another's by now, so each one must carry the instance's variable.
    """
    for process in _group(pid):
        with contextlib.suppress(psutil.Error):
            if _settled_environment(process).get(UID_VARIABLE) == uid:
                kill(process)


def marked(state: Path) -> dict[str, list[psutil.Process]]:
    """Every live process that was started for this state folder, by instance; leaders first."""
    found: dict[str, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            env = process.environ()
            if env.get(STATE_VARIABLE) == str(state) and _has_our_root(process.pid):
                leads = os.getsid(process.pid) == process.pid
                found.setdefault(env.get(UID_VARIABLE, ""), []).insert(0 if leads else 1, process)
    return found


def _has_our_root(pid: int) -> bool:
    """Whether a path means the same to it as to us: to one in a container it does not.

    Root sees those as well, and may not end them for what the container calls its state folder.
    """
    if sys.platform != "linux":
        return True
    return os.path.samestat(os.stat(f"/proc/{pid}/root"), os.stat("/"))  # noqa: PTH116 - a link


def kill(process: psutil.Process) -> None:
    """Kill a process that `marked` found; psutil refuses if its pid is another's by now."""
    with contextlib.suppress(psutil.Error):
        process.kill()


def free_port(taken: Callable[[int], bool]) -> int:
    """A port that nobody listens on now and that `taken` does not know.

    Raises:
        RetryLater: none was found.
    """
    for _ in range(_PORT_TRIES):
        port = random.choice(_PORTS)  # noqa: S311 – spreads, protects nothing
        if not taken(port) and _can_bind(port):
            return port
    raise errors.RetryLater(f"no free port between {_PORTS[0]} and {_PORTS[-1]}")


def environment() -> dict[str, str]:
    """What a replica inherits: our own, less what is meant for us, our Python's programs first."""
    env = {name: value for name, value in os.environ.items() if not _is_ours(name)}
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    return env


def marks(state: Path, uid: str) -> dict[str, str]:
    """The variables by which a replica is found again."""
    return {UID_VARIABLE: uid, STATE_VARIABLE: str(state)}


def pidfd(pid: int) -> int | None:
    """A descriptor that becomes readable at its exit; None where there is no such thing.

    Raises:
        ProcessLookupError: it is dead.
    """
    if sys.platform != "linux":
        return None
    return os.pidfd_open(pid)


def describe_exit(code: int | None) -> str:
    """An exit status in words; None: it was not our child, nobody knows."""
    if code is None:
        return "exited"
    if code >= 0:
        return observed.exited(code)
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _mark_by_psutil(pid: int) -> str | None:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        # Of pid and start as the kernel has it; `create_time` is corrected when the clock is set.
        return str(hash(process))
    except psutil.Error:
        return None


@functools.cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _settled_environment(process: psutil.Process) -> dict[str, str]:
    """A process that is just being started shows an empty environment for a moment."""
    for _ in range(_EXEC_LOOKS):
        if env := process.environ():
            return env
        time.sleep(_EXEC_PAUSE)
    return {}


def _group(leader: int) -> Iterator[psutil.Process]:
    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getpgid(pid) == leader:
                yield psutil.Process(pid)


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def _is_ours(name: str) -> bool:
    """Tokens and settings of the operator, and what would make a server take a foreign socket."""
    return name.startswith(("RINGMASTER_", "LISTEN_")) or name in {"SERVER_ID", "PORT", "HOST"}
