"""The supervisor: opens the listening sockets, keeps them, and keeps the processes alive.

Law: entry. It serves nothing and imports little, so that it has no reason to die. A process that
ends is started anew at once, with backoff when it will not stay. SIGTERM and SIGINT drain; a
second one ends at once. Should it be killed itself, its processes notice (`lifeline`).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import structlog

from ringmaster_balancer import errors, sockets
from ringmaster_balancer import settings as settings_

_log = structlog.get_logger()

# A process that lived this long was well: its end is news, not a crash loop.
_WELL_SECONDS = 10.0
_FIRST_BACKOFF, _LAST_BACKOFF = 0.1, 5.0
# What a worker may need beyond its drain time to end.
_GRACE_SECONDS = 2.0


class StartError(errors.BalancerError):
    """The balancer cannot start; one line says why. Exit 1."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """The open sockets; `data` has one entry a worker, maybe several times the same."""

    data: Sequence[socket.socket]
    control: socket.socket
    workers: socket.socket
    lab: socket.socket

    def close_data(self) -> None:
        """Nobody accepts on the data port any more once the workers have closed theirs too."""
        for sock in self.data:
            sock.close()


@dataclass(slots=True)
class Role:
    """One process that shall be alive."""

    name: str
    module: str
    child: settings_.Child
    process: asyncio.subprocess.Process | None = None


def backoff(before: float, *, lived: float) -> float:
    """Seconds to wait before the next start, from the last wait and how long it then lived."""
    if lived >= _WELL_SECONDS:
        return 0.0
    return min(max(before * 2, _FIRST_BACKOFF), _LAST_BACKOFF)


class Supervisor:
    """Keeps roles alive until it is told to end."""

    def __init__(
        self, roles: Sequence[Role], *, listeners: Listeners, drain_seconds: float
    ) -> None:
        self._roles = roles
        self._listeners = listeners
        self._drain_seconds = drain_seconds
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Returns when everything has ended after SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        keepers = [asyncio.create_task(self._keep(role)) for role in self._roles]
        await self._stop.wait()
        _log.info("draining", seconds=self._drain_seconds)
        self._listeners.close_data()
        control, *workers = self._roles
        await self._end(workers, within=self._drain_seconds + _GRACE_SECONDS)
        await self._end([control], within=_GRACE_SECONDS)
        await asyncio.gather(*keepers)
        _log.info("ended")

    def _signalled(self) -> None:
        (self._hurry if self._stop.is_set() else self._stop).set()

    async def _keep(self, role: Role) -> None:
        wait = 0.0
        first = True
        while not self._stop.is_set():
            started = time.monotonic()
            code = await self._live(role)
            if self._stop.is_set():
                return
            lived = time.monotonic() - started
            # The first death is answered at once, whenever it comes.
            wait = 0.0 if first else backoff(wait, lived=lived)
            first = lived >= _WELL_SECONDS
            _log.error("process ended", role=role.name, code=code, lived=round(lived, 3), wait=wait)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._stop.wait()

    async def _live(self, role: Role) -> int:
        """Start a role's process and wait for its end."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # the current folder is none of our modules
            "-m",
            role.module,
            role.child.to_json(),
            pass_fds=role.child.descriptors(),
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # the terminal's Ctrl-C is for the supervisor
        )
        role.process = process
        _log.info("process started", role=role.name, pid=process.pid)
        if self._stop.is_set():
            process.terminate()
        return await process.wait()

    async def _hurried(self) -> None:
        await self._hurry.wait()

    async def _end(self, roles: Sequence[Role], *, within: float) -> None:
        """SIGTERM, then SIGKILL for what is still there after `within` or a second signal."""
        running = [role for role in roles if role.process and role.process.returncode is None]
        _send(running, signal.SIGTERM)
        ended = asyncio.create_task(_all_ended(running))
        hurried = asyncio.create_task(self._hurried())
        await asyncio.wait({ended, hurried}, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        late = [role for role in running if role.process and role.process.returncode is None]
        for role in late:
            _log.warning("process killed", role=role.name)
        _send(late, signal.SIGKILL)
        await ended


async def _all_ended(roles: Sequence[Role]) -> None:
    await asyncio.gather(*(role.process.wait() for role in roles if role.process))


def _send(roles: Sequence[Role], number: signal.Signals) -> None:
    for role in roles:
        if role.process is not None:
            with contextlib.suppress(ProcessLookupError):
                role.process.send_signal(number)


def supervise(settings: settings_.Settings) -> None:
    """Run a whole balancer until SIGTERM or SIGINT.

    Raises:
        StartError, ListenError: it cannot start.
    """
    _check_secrets(settings)
    with _locked(settings), _run_dir() as folder:
        listeners = _listen(settings, folder)
        _log.info("listening", data=_url(listeners.data[0]), control=_url(listeners.control))
        lifeline, held = os.pipe()
        roles = _roles(settings, listeners=listeners, folder=folder, lifeline=lifeline)
        asyncio.run(_run(roles, listeners=listeners, drain_seconds=settings.drain_seconds))
        os.close(held)
        os.close(lifeline)


async def _run(roles: Sequence[Role], *, listeners: Listeners, drain_seconds: float) -> None:
    await Supervisor(roles, listeners=listeners, drain_seconds=drain_seconds).run()


def _listen(settings: settings_.Settings, folder: Path) -> Listeners:
    return Listeners(
        data=sockets.open_data(
            settings.host,
            settings.port,
            workers=settings.workers,
            reuse_port=sockets.spread(),
        ),
        control=sockets.open_tcp(settings.control_host, settings.control_port),
        workers=sockets.open_unix(folder / "workers.sock"),
        lab=sockets.open_unix(folder / "lab.sock"),
    )


def _roles(
    settings: settings_.Settings, *, listeners: Listeners, folder: Path, lifeline: int
) -> list[Role]:
    """The control process first, then the workers."""
    control = settings_.Child(
        settings=settings,
        run_dir=str(folder),
        lifeline_fd=lifeline,
        control_fd=listeners.control.fileno(),
        workers_fd=listeners.workers.fileno(),
        lab_fd=listeners.lab.fileno(),
    )
    roles = [Role(name="control", module="ringmaster_balancer.control.process", child=control)]
    for index, sock in enumerate(listeners.data):
        child = settings_.Child(
            settings=settings,
            run_dir=str(folder),
            lifeline_fd=lifeline,
            data_fd=sock.fileno(),
            index=index,
        )
        roles.append(
            Role(name=f"worker-{index}", module="ringmaster_balancer.dataplane.worker", child=child)
        )
    return roles


def _check_secrets(settings: settings_.Settings) -> None:
    for path in filter(None, (settings.token_file, settings.operator_token_file)):
        try:
            empty = not Path(path).read_text().strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise StartError(f"cannot read the token file {path}: {reason}") from error
        if empty:
            raise StartError(f"the token file {path} is empty")


@contextlib.contextmanager
def _locked(settings: settings_.Settings) -> Iterator[IO[str]]:
    """One balancer a ring and state folder: two would write the same file."""
    path = settings.state_file.with_suffix(".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise StartError(
            f"cannot write to the state folder {path.parent}: {error.strerror}"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartError(
                f"another balancer uses {settings.state_file}: end it, or give another --state-dir"
            ) from error
        yield file


@contextlib.contextmanager
def _run_dir() -> Iterator[Path]:
    """A private folder (mode 0700) for the Unix sockets."""
    folder = Path(tempfile.mkdtemp(prefix="ringmaster-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
