"""What a supervisor leaves to the program that takes its place: descriptors and process ids.

Law: edge. An upgrade replaces the program within the process (`exec`), so that its pid, its
children and its descriptors stay: the listening sockets with their queues, the lock on the state
file, the pipe that tells children that it lives. The numbers travel in one environment variable.
Who calls: `supervisor`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field

VARIABLE = "RINGMASTER_BALANCER_HANDOVER"
SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2})


@dataclass(frozen=True, slots=True)
class Handover:
    """Descriptors, and the processes that serve by name (`control`, `worker-0`).

    `lifeline` is what children read, `held` the end that keeps it open. `workers`, `lab` and
    `run_dir` are those processes' own.
    """

    lock: int
    lifeline: int
    held: int
    data: tuple[int, ...]
    control: int
    workers: int
    lab: int
    run_dir: str
    pids: Mapping[str, int] = field(default_factory=dict)

    def descriptors(self) -> set[int]:
        """All that must stay open."""
        return {
            *self.data,
            self.lock,
            self.lifeline,
            self.held,
            self.control,
            self.workers,
            self.lab,
        }


def take(environment: MutableMapping[str, str]) -> Handover | None:
    """What was left to this process; children are not to see it.

    Descriptors belong to this process only from now on.
    """
    text = environment.pop(VARIABLE, None)
    if text is None:
        return None
    fields = json.loads(text)
    left = Handover(**{**fields, "data": tuple(fields["data"])})
    for descriptor in left.descriptors():
        os.set_inheritable(descriptor, False)
    return left


def replace_program(left: Handover) -> None:
    """Run this command line anew in this very process. Returns never.

    Raises:
        OSError: it cannot be started; everything is as before.
    """
    environment = {**os.environ, VARIABLE: json.dumps(dataclasses.asdict(left))}
    hold_signals()
    try:
        for descriptor in left.descriptors():
            os.set_inheritable(descriptor, True)
        os.execve(sys.executable, command(), environment)  # noqa: S606 – our own command line
    except OSError:
        for descriptor in left.descriptors():
            os.set_inheritable(descriptor, False)
        raise
    finally:
        hear_signals()


def hold_signals() -> None:
    """Let signals wait: for this thread, and for what it starts, until that hears them.

    The default action of each is the end, which would meet a process that has no handlers yet.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def hear_signals() -> None:
    """Signals come through again; those that came meanwhile now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def command() -> list[str]:
    """How this program was started."""
    return [sys.executable, *sys.orig_argv[1:]]
