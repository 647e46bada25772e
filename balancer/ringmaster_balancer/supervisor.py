"""The supervisor: opens the listening sockets, keeps them, and keeps the processes alive.

Law: entry. It serves nothing and imports little, so that it has no reason to die. A process that
ends is started anew at once, with backoff when it will not stay. SIGTERM and SIGINT drain; a
second one ends at once. SIGUSR2 upgrades: the program is replaced within this very process, its
successor starts new processes on the same sockets, and the old ones drain once those serve (or
serve on, if those do not come up). Should it be killed, its processes notice (`lifeline`).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import fcntl
import importlib
import importlib.machinery
import importlib.util
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import structlog

from ringmaster_balancer import errors, handover, logs, processes, sockets, tls
from ringmaster_balancer import settings as settings_

_log = structlog.get_logger()

# A process that lived this long was well: its end is news, not a crash loop.
_WELL_SECONDS = 10.0
_FIRST_BACKOFF, _LAST_BACKOFF = 0.1, 5.0
# What a worker may need beyond its drain time to end.
_GRACE_SECONDS = 2.0
# To import everything once on a machine that is busy.
_CHECK_SECONDS = 30.0
_CONTROL = "ringmaster_balancer.control.process"
_WORKER = "ringmaster_balancer.dataplane.worker"
_READY_BYTES = 4096
# The control process says once a second that it lives; so many looks in a row that found it silent
# are the wedged one's end, as the workers' (`control.hub`).
_LOOK_SECONDS = 1.0
_SILENT_LOOKS = 10
_TOKEN = re.compile(r"[!-~]+")


class StartError(errors.BalancerError):
    """The balancer cannot start; one line says why. Exit 1."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What outlives every process and every upgrade.

    `data` has one listening socket a worker, maybe several times the same. Children read
    `lifeline`; only we have `held`.
    """

    data: Sequence[socket.socket]
    control: socket.socket
    lifeline: int
    held: int
    lock: int

    def close_data(self) -> None:
        """Nobody accepts on the data port any more once the workers have closed theirs too."""
        for sock in self.data:
            sock.close()


@dataclass(slots=True)
class Generation:
    """The processes that serve together, the control process first, and what is theirs alone.

    They write their names to `said_fd` once they serve, and the control process that it lives; we
    read `ready_fd`. `silent`: looks since it was heard; None: not yet, it starts.
    """

    roles: Sequence[processes.Role]
    run_dir: Path
    workers: socket.socket
    lab: socket.socket
    ready_fd: int = -1
    said_fd: int = -1
    silent: int | None = None
    ready: set[str] = field(default_factory=set)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    roused: asyncio.Event = field(default_factory=asyncio.Event)
    keepers: list[asyncio.Task[None]] = field(default_factory=list)

    async def until_ready(self, names: set[str]) -> None:
        """Wait until processes of these names have said that they serve."""
        while not names <= self.ready:
            self.news.clear()
            await self.news.wait()

    async def until_running(self) -> None:
        """Wait until every worker has a process, which begins without a pause where there is none."""
        self._rouse()
        while not all(role.running for role in self.roles[1:]):
            self.news.clear()
            await self.news.wait()

    async def watch(self) -> None:
        """Kill a control process that is wedged, so that its successor serves."""
        control = self.roles[0]
        while not self.ending.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self.ending.wait()
            if self.silent is None:
                continue
            self.silent += 1
            if self.silent > _SILENT_LOOKS:
                _log.error("control process is wedged, killing it")
                self.silent = None
                processes.send([control], signal.SIGKILL)

    def end(self) -> None:
        """Start no process any more."""
        self.ending.set()
        self._rouse()

    def _rouse(self) -> None:
        """End the pauses before starts."""
        self.roused.set()
        self.roused.clear()

    def listen(self) -> None:
        """Hear who is ready, from now on."""
        if self.ready_fd >= 0:
            asyncio.get_running_loop().add_reader(self.ready_fd, self._heard)

    def _heard(self) -> None:
        said = os.read(self.ready_fd, _READY_BYTES)
        if not said:
            asyncio.get_running_loop().remove_reader(self.ready_fd)
        words = set(said.decode().split())
        if settings_.ALIVE in words:
            self.silent = 0
        self.ready |= words - {settings_.ALIVE}
        self.news.set()

    def bind_anew(self) -> None:
        """Make the private folder and its sockets again if a cleaner of temporary files took them.

        For the control process that is started next: the paths stay, and workers find it there.

        Raises:
            OSError, ListenError: there is no room, or somebody else has the name by now.
        """
        control = self.roles[0]
        if all(map(os.path.exists, control.child.paths())):
            return
        _log.warning("folder of sockets was removed, made again", folder=str(self.run_dir))
        self.workers.close()
        self.lab.close()
        _make_private(self.run_dir)
        self.workers, self.lab = _bind(self.run_dir)
        control.child = dataclasses.replace(
            control.child, workers_fd=self.workers.fileno(), lab_fd=self.lab.fileno()
        )

    def close(self) -> None:
        """Give back what is only theirs; they have ended."""
        if self.ready_fd >= 0:
            asyncio.get_running_loop().remove_reader(self.ready_fd)
            os.close(self.ready_fd)
            os.close(self.said_fd)
        self.workers.close()
        self.lab.close()
        shutil.rmtree(self.run_dir, ignore_errors=True)


def backoff(before: float, *, lived: float) -> float:
    """Seconds to wait before the next start, from the last wait and how long it then lived."""
    if lived >= _WELL_SECONDS:
        return 0.0
    return min(max(before * 2, _FIRST_BACKOFF), _LAST_BACKOFF)


class Supervisor:
    """Keeps processes alive until it is told to end. `old` are those of the program before us."""

    def __init__(
        self, settings: settings_.Settings, shared: Shared, *, old: Generation | None = None
    ) -> None:
        self._settings = settings
        self._shared = shared
        self._old = old
        self._all: list[Generation] = []
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._upgrade = asyncio.Event()

    async def run(self) -> None:
        """Returns when everything has ended after SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        for number in (signal.SIGHUP, signal.SIGUSR1):
            loop.add_signal_handler(number, self._hang_up)
        loop.add_signal_handler(signal.SIGUSR2, self._upgrade.set)
        handover.hear_signals()
        serving = asyncio.create_task(self._serve())
        stopping = asyncio.create_task(self._stopped())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        _log.info("draining", seconds=self._settings.drain_seconds)
        await self._man_queues()
        self._shared.close_data()
        last = (self._retire(each, ask=signal.SIGUSR1) for each in tuple(self._all))
        await asyncio.gather(*last)
        _log.info("ended")

    async def _man_queues(self) -> None:
        """A queue whose worker has just died would be reset with what waits in it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_SECONDS):
                await asyncio.gather(*(each.until_running() for each in self._all))

    def _signalled(self) -> None:
        (self._hurry if self._stop.is_set() else self._stop).set()

    def _hang_up(self) -> None:
        """Files that were replaced are to be read anew: workers know which."""
        for generation in self._all:
            processes.send(generation.roles[1:], signal.SIGHUP)

    async def _stopped(self) -> None:
        await self._stop.wait()

    async def _serve(self) -> None:
        """Start, or take over; then upgrade as often as it is asked for."""
        current = self._start() if self._old is None else await self._take_over(self._old)
        while True:
            await self._upgrade.wait()
            self._upgrade.clear()
            await self._replace(current)

    def _start(self) -> Generation:
        generation = _generation(self._settings, self._shared)
        self._all.append(generation)
        self._keep(generation)
        return generation

    async def _take_over(self, old: Generation) -> Generation:
        """New processes beside the old ones, which then drain; or serve on. Returns who serves."""
        self._all.append(old)
        new: Generation | None = None
        asked = False
        try:
            async with asyncio.timeout(self._settings.upgrade_seconds):
                new = self._start()
                await new.until_ready({role.name for role in new.roles[1:]})
                # It answers what it was asked, and lets go of the control port.
                asked = True
                processes.send(old.roles[:1], signal.SIGUSR1)
                await new.until_ready({new.roles[0].name})
        except (TimeoutError, OSError, errors.BalancerError) as error:
            reason = str(error) or f"not ready within {self._settings.upgrade_seconds:g} s"
            _log.error("upgrade failed, the old processes serve on", reason=reason)
            if new is not None:
                await self._abandon(new)
            if asked:  # it may have let go of the control port: another one takes it
                processes.send(old.roles[:1], signal.SIGTERM)
            self._keep(old)
            return old
        _log.info("upgraded, the old processes drain", seconds=self._settings.drain_seconds)
        await self._retire(old)
        return new

    async def _replace(self, current: Generation) -> None:
        """Run the program anew in this process, if it would start. Returns if not."""
        reason = await _check()
        if reason:
            _log.error("upgrade refused, all stays as it was", reason=reason)
            return
        _log.info("upgrading")
        logs.settle()
        try:
            handover.replace_program(self._left(current))
        except OSError as error:
            _log.error("upgrade failed, all stays as it was", reason=error.strerror)

    def _left(self, current: Generation) -> handover.Handover:
        shared = self._shared
        return handover.Handover(
            lock=shared.lock,
            lifeline=shared.lifeline,
            held=shared.held,
            data=tuple(sock.fileno() for sock in shared.data),
            control=shared.control.fileno(),
            workers=current.workers.fileno(),
            lab=current.lab.fileno(),
            run_dir=str(current.run_dir),
            pids={role.name: role.process.pid for role in current.roles if role.process},
        )

    async def _retire(
        self, generation: Generation, *, ask: signal.Signals = signal.SIGTERM
    ) -> None:
        """They accept no more, finish what they have in hand, and end.

        Workers asked with SIGUSR1 finish what waits in their sockets' queues, too.
        """
        generation.end()
        drain = self._settings.drain_seconds
        control, *workers = generation.roles
        within = drain + _GRACE_SECONDS
        await processes.end(workers, within=within, hurry=self._hurry, ask=ask)
        await processes.end([control], within=_GRACE_SECONDS, hurry=self._hurry)
        await self._forget(generation)

    async def _abandon(self, generation: Generation) -> None:
        """They never served all together; what some of them have in hand they may finish."""
        generation.end()
        await processes.end(generation.roles, within=_GRACE_SECONDS, hurry=self._hurry)
        await self._forget(generation)

    async def _forget(self, generation: Generation) -> None:
        await asyncio.gather(*generation.keepers)
        generation.close()
        self._all.remove(generation)

    def _keep(self, generation: Generation) -> None:
        generation.listen()
        generation.keepers.append(asyncio.create_task(generation.watch()))
        for role in generation.roles:
            keeper = asyncio.create_task(self._keep_alive(role, generation))
            generation.keepers.append(keeper)

    async def _keep_alive(self, role: processes.Role, generation: Generation) -> None:
        wait = 0.0
        first = True
        while not generation.ending.is_set():
            started = time.monotonic()
            code = await self._live(role, generation)
            if generation.ending.is_set():
                return
            lived = time.monotonic() - started
            # The first death is answered at once, whenever it comes.
            wait = 0.0 if first else backoff(wait, lived=lived)
            first = lived >= _WELL_SECONDS
            _log.error("process ended", role=role.name, code=code, lived=round(lived, 3), wait=wait)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await generation.roused.wait()

    async def _live(self, role: processes.Role, generation: Generation) -> int | None:
        """Wait for the end of a role's process, started if there is none. None: no start."""
        if role.process is None or not role.running:
            try:
                if role is generation.roles[0]:
                    generation.bind_anew()
                    generation.silent = None
                role.process = await processes.start(role)
            except (OSError, errors.BalancerError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                _log.error("process cannot start", role=role.name, reason=reason)
                return None
            _log.info("process started", role=role.name, pid=role.process.pid)
            generation.news.set()
            if generation.ending.is_set():
                role.process.send_signal(signal.SIGTERM)
        return await role.process.wait()


def supervise(settings: settings_.Settings) -> None:
    """Run a whole balancer until SIGTERM or SIGINT.

    Raises:
        StartError, ListenError: it cannot start.
    """
    left = handover.take(os.environ)
    if left is not None:
        shared, old = _inherited(settings, left)
        _run(settings, shared, old=old)
        return
    check_files(settings)
    with _locked(settings) as lock:
        shared = _open(settings, lock=lock.fileno())
        _run(settings, shared)


def _run(settings: settings_.Settings, shared: Shared, *, old: Generation | None = None) -> None:
    _log.info(
        "listening",
        data=_url(shared.data[0], tls=bool(settings.tls_cert)),
        control=_url(shared.control, tls=bool(settings.control_tls_cert)),
    )
    asyncio.run(_supervised(settings, shared, old))
    os.close(shared.held)
    os.close(shared.lifeline)


async def _supervised(settings: settings_.Settings, shared: Shared, old: Generation | None) -> None:
    await Supervisor(settings, shared, old=old).run()


def check(settings: settings_.Settings) -> None:
    """Whether a start would succeed, as far as that is seen without one.

    Raises:
        StartError: a file is missing or wrong.
    """
    check_files(settings)
    for module in (_CONTROL, _WORKER):
        importlib.import_module(module)


async def _check() -> str:
    """Why the program that is installed now would not start with this command line, else ""."""
    command = handover.command()
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            "--check",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        return error.strerror or str(error)
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            _, said = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"--check takes longer than {_CHECK_SECONDS:g} s"
    if process.returncode == 0:
        return ""
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"--check ended with {process.returncode}"


def _open(settings: settings_.Settings, *, lock: int) -> Shared:
    lifeline, held = os.pipe()
    return Shared(
        data=sockets.open_data(
            settings.host,
            settings.port,
            workers=settings.workers,
            reuse_port=sockets.spread(),
        ),
        control=sockets.open_tcp(settings.control_host, settings.control_port),
        lifeline=lifeline,
        held=held,
        lock=lock,
    )


def _inherited(settings: settings_.Settings, left: handover.Handover) -> tuple[Shared, Generation]:
    """What the program before us has left, its processes included."""
    shared = Shared(
        data=sockets.enough(
            [socket.socket(fileno=descriptor) for descriptor in dict.fromkeys(left.data)],
            workers=settings.workers,
            reuse_port=sockets.spread(),
        ),
        control=socket.socket(fileno=left.control),
        lifeline=left.lifeline,
        held=left.held,
        lock=left.lock,
    )
    ready, said = _pipe()  # for those that may have to be started again
    old = Generation(
        roles=(),
        run_dir=Path(left.run_dir),
        workers=socket.socket(fileno=left.workers),
        lab=socket.socket(fileno=left.lab),
        ready_fd=ready,
        said_fd=said,
    )
    old.roles = _roles(settings, shared, old, ready_fd=said)
    known = {role.name for role in old.roles}
    for role in old.roles:
        if role.name in left.pids:
            role.process = processes.Adopted(left.pids[role.name])
    surplus = [name for name in left.pids if name not in known]
    old.roles = [*old.roles, *(_surplus(name, left.pids[name], old.roles[-1]) for name in surplus)]
    return shared, old


def _surplus(name: str, pid: int, like: processes.Role) -> processes.Role:
    """A worker that has no successor, as there shall be fewer."""
    return processes.Role(
        name=name, module=like.module, child=like.child, process=processes.Adopted(pid)
    )


def _generation(settings: settings_.Settings, shared: Shared) -> Generation:
    """New processes, not started yet.

    Raises:
        ListenError, OSError: there is no room for their private folder.
    """
    folder = Path(tempfile.mkdtemp(prefix="ringmaster-"))  # mode 0700
    try:
        workers, lab = _bind(folder)
        ready, said = _pipe()
    except (OSError, errors.BalancerError):
        shutil.rmtree(folder, ignore_errors=True)
        raise
    generation = Generation(
        roles=(), run_dir=folder, workers=workers, lab=lab, ready_fd=ready, said_fd=said
    )
    generation.roles = _roles(settings, shared, generation, ready_fd=said)
    return generation


def _pipe() -> tuple[int, int]:
    """For words to us: their writer does not wait, should we be slow to read."""
    ready, said = os.pipe()
    os.set_blocking(said, False)
    return ready, said


def _bind(folder: Path) -> tuple[socket.socket, socket.socket]:
    """The sockets of the control process: for workers, and for the lab API."""
    workers = sockets.open_unix(folder / settings_.WORKERS_SOCKET)
    try:
        return workers, sockets.open_unix(folder / settings_.LAB_SOCKET)
    except errors.BalancerError:
        workers.close()
        raise


def _make_private(folder: Path) -> None:
    """Make an empty folder of this name that is ours alone. The name is known to others by now.

    Raises:
        OSError: it cannot be made.
    """
    with contextlib.suppress(FileNotFoundError):
        if folder.lstat().st_uid == os.geteuid():  # else nothing of it is removed, and mkdir fails
            shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)


def _roles(
    settings: settings_.Settings, shared: Shared, generation: Generation, *, ready_fd: int
) -> list[processes.Role]:
    """The control process first, then the workers."""
    control = settings_.Child(
        settings=settings,
        run_dir=str(generation.run_dir),
        lifeline_fd=shared.lifeline,
        ready_fd=ready_fd,
        control_fd=shared.control.fileno(),
        workers_fd=generation.workers.fileno(),
        lab_fd=generation.lab.fileno(),
    )
    roles = [processes.Role(name="control", module=_CONTROL, child=control)]
    for index in range(settings.workers):
        own, *more = [sock.fileno() for sock in shared.data[index :: settings.workers]]
        child = settings_.Child(
            settings=settings,
            run_dir=str(generation.run_dir),
            lifeline_fd=shared.lifeline,
            ready_fd=ready_fd,
            data_fd=own,
            more_fds=tuple(more),
            index=index,
        )
        roles.append(processes.Role(name=f"worker-{index}", module=_WORKER, child=child))
    return roles


def check_files(settings: settings_.Settings) -> None:
    """Raises StartError if a file, folder or module that the command line names cannot be used.

    No folder of hashes needs to have any, and a log that does not exist yet is not made.
    """
    for option, cert, key in (
        ("--tls", settings.tls_cert, settings.tls_key),
        ("--control-tls", settings.control_tls_cert, settings.control_tls_key),
    ):
        if bool(cert) != bool(key):
            raise StartError(f"{option}-cert and {option}-key go together")
        if cert and key:
            tls.Certificate(cert, key)
    for path in filter(None, (settings.token_file, settings.operator_token_file)):
        try:
            token = Path(path).read_text().strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise StartError(f"cannot read the token file {path}: {reason}") from error
        if not token:
            raise StartError(f"the token file {path} is empty")
        if not _TOKEN.fullmatch(token):  # no header could ever say it
            raise StartError(f"the token file {path} holds more than a token")
    if settings.hash_path:
        try:
            os.scandir(settings.hash_path).close()
        except OSError as error:
            raise StartError(
                f"cannot use the --hash-path {settings.hash_path}: {error.strerror}"
            ) from error
    for module in settings.hash_module:
        if not _installed(module):
            raise StartError(f"the --hash-module {module} is not installed")
    if settings.access_log != "-":
        try:
            _check_log(Path(settings.access_log))
        except OSError as error:
            raise StartError(
                f"cannot write the access log {settings.access_log}: {error.strerror}"
            ) from error


def _installed(module: str) -> bool:
    """Whether there is such a module. Nothing is imported: its code is not ours to run here."""
    if module in sys.modules:  # also what is none of a package, as os.path
        return True
    name, *inner = module.split(".")
    try:
        found = importlib.util.find_spec(name)
        for part in inner:
            if found is None or found.submodule_search_locations is None:
                return False
            name = f"{name}.{part}"
            found = importlib.machinery.PathFinder.find_spec(name, found.submodule_search_locations)
    except (ImportError, ValueError):
        return False
    return found is not None


def _check_log(path: Path) -> None:
    """Raises OSError if it could not be opened for writing. It is not opened: a FIFO may wait."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not path.exists():
        path = path.resolve().parent
        path.lstat()
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


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


def _url(sock: socket.socket, *, tls: bool = False) -> str:
    host, port = sock.getsockname()[:2]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
