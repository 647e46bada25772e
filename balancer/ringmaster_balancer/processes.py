"""Processes of the balancer: started by us, or by the program that was us before an upgrade.

Law: edge. A role is what shall be alive; its process comes and goes. Who calls: `supervisor`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from ringmaster_balancer import handover
from ringmaster_balancer import settings as settings_

_log = structlog.get_logger()

_POLL_SECONDS = 0.02


class Process(Protocol):
    """What is needed of a running process; `asyncio.subprocess.Process` has it."""

    @property
    def pid(self) -> int:
        """Its id."""
        ...

    @property
    def returncode(self) -> int | None:
        """None while it runs."""
        ...

    def send_signal(self, signal: int) -> None:
        """Send a signal, unless it has ended."""
        ...

    async def wait(self) -> int:
        """Wait for its end."""
        ...


class Adopted:
    """A child that the program before us has started. Only its parent may wait for it: us."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    @property
    def returncode(self) -> int | None:
        """None while it runs; -1 if how it ended is not known any more."""
        if self._code is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:
                self._code = -1
            else:
                self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def send_signal(self, signal: int) -> None:
        """Its id is its own until we have waited for it."""
        if self.returncode is None:
            os.kill(self.pid, signal)

    async def wait(self) -> int:
        """Wait for its end."""
        while (code := self.returncode) is None:  # noqa: ASYNC110 - else a thread a process
            await asyncio.sleep(_POLL_SECONDS)
        return code


@dataclass(slots=True)
class Role:
    """One process that shall be alive."""

    name: str
    module: str
    child: settings_.Child
    process: Process | None = None

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.process.returncode is None


async def start(role: Role) -> Process:
    """Start a role's process. Signals to it wait until it hears them (`handover`).

    Raises:
        OSError: the system has no room for it, now.
    """
    handover.hold_signals()
    try:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # the current folder is none of our modules
            "-m",
            role.module,
            role.child.to_json(),
            pass_fds=role.child.descriptors(),
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # the terminal's Ctrl-C is for the supervisor
        )
    finally:
        handover.hear_signals()


async def all_ended(roles: Sequence[Role]) -> None:
    """Wait until none of them runs."""
    await asyncio.gather(*(role.process.wait() for role in roles if role.process))


def send(roles: Sequence[Role], number: signal.Signals) -> None:
    """Send a signal to those that run."""
    for role in roles:
        if role.process is not None:
            with contextlib.suppress(ProcessLookupError):
                role.process.send_signal(number)


async def end(
    roles: Sequence[Role],
    *,
    within: float,
    hurry: asyncio.Event,
    ask: signal.Signals = signal.SIGTERM,
) -> None:
    """`ask`, then SIGKILL for what is still there after `within` or once there is a hurry."""
    running = [role for role in roles if role.running]
    send(running, ask)
    ended = asyncio.create_task(all_ended(running))
    hurried = asyncio.create_task(_wait(hurry))
    await asyncio.wait({ended, hurried}, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    late = [role for role in running if role.running]
    for role in late:
        _log.warning("process killed", role=role.name)
    send(late, signal.SIGKILL)
    await ended


async def _wait(event: asyncio.Event) -> None:
    await event.wait()
