"""The control process: the keeper and a web server on an event loop, Flask in threads.

Law: entry. In an upgrade the control port changes hands at once: SIGUSR1 makes this one let go,
the next one then reads from disk what was pushed last, and serves. Started as
`python -m ringmaster_balancer.control.process JSON`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import structlog

from ringmaster_balancer import codes, handover, lifeline, logs, members, tls
from ringmaster_balancer import settings as settings_
from ringmaster_balancer.control import (
    api,
    disk,
    gate,
    keeper,
    lab,
    metrics,
    store,
    turn,
    website,
)

_log = structlog.get_logger()

T = TypeVar("T")

_CALL_SECONDS = 30.0
_CONTROL_THREADS = 4
_LAB_THREADS = 8
_LOOK_SECONDS = 1.0


class Control:
    """Everything in the control process; `run` returns when it shall end."""

    def __init__(self, child: settings_.Child) -> None:
        self._child = child
        self._loop = asyncio.get_running_loop()
        settings = child.settings
        self._keeper = keeper.Keeper(
            store.Store(disk.Disk(settings.state_file)),
            workers=settings.workers,
            gate=gate.Gate(allowed=_allowed(settings), cache=settings.hash_cache),
        )
        self._turn = turn.Turn(settings.state_file.with_suffix(".turn"))
        self._site: website.Website | None = None
        self._yielding: asyncio.Task[None] | None = None
        self._paths = [*child.paths()]

    async def run(self) -> None:
        """Serve until SIGTERM, or until the supervisor is gone."""
        stop = asyncio.Event()
        self._loop.add_signal_handler(signal.SIGTERM, stop.set)
        self._loop.add_signal_handler(signal.SIGUSR1, self._yield)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
            self._loop.add_signal_handler(number, lambda: None)  # the supervisor's to decide
        handover.hear_signals()
        lifeline.watch(self._child.lifeline_fd, self._orphaned)
        living = asyncio.create_task(self._live())
        await self._keeper.load()
        workers = asyncio.create_task(
            self._keeper.workers.serve(_inherited(self._child.workers_fd))
        )
        first = self._turn.take()
        if first:
            self._serve()
        if self._child.settings.lab_api:
            sock = _inherited(self._child.lab_fd)
            _site(self._lab_app(), sock, threads=_LAB_THREADS, trusts=_everybody).start()
        await self._keeper.start()
        waiting = asyncio.create_task(self._succeed(at_once=first))
        stopping = asyncio.create_task(_wait(stop))
        await asyncio.wait({stopping, workers, living}, return_when=asyncio.FIRST_COMPLETED)
        if workers.done():
            workers.result()  # without workers better dead, the supervisor starts another
        workers.cancel()
        waiting.cancel()
        living.cancel()
        self._keeper.close()

    def _serve(self) -> None:
        sock = _inherited(self._child.control_fd)
        cert, key = self._child.settings.control_tls_cert, self._child.settings.control_tls_key
        token = _secret(self._child.settings.token_file)
        self._site = _site(
            self._control_app(token),
            sock,
            threads=_CONTROL_THREADS,
            trusts=lambda value: api.bears(value, token),
            certificate=tls.Certificate(cert, key) if cert and key else None,
        )
        self._site.start()

    async def _succeed(self, *, at_once: bool) -> None:
        """Serve the control port once the one before us has let go of it."""
        if not at_once:
            await self._turn.wait()
            await self._keeper.reload()
            self._serve()
        self._child.say_ready("control")

    async def _live(self) -> None:
        """Tell the supervisor again and again that we are not wedged.

        Returns once a socket's name is gone, as a cleaner of temporary files leaves it: the next
        control process gets sockets that are bound anew.
        """
        while all(map(os.path.exists, self._paths)):
            self._child.say_alive()
            await asyncio.sleep(_LOOK_SECONDS)
        _log.error("folder of sockets was removed, beginning anew", folder=self._child.run_dir)

    def _yield(self) -> None:
        if self._yielding is None:
            self._yielding = self._loop.create_task(self._let_go())

    async def _let_go(self) -> None:
        """Answer what was asked, then leave the control port to the next one."""
        if self._site is not None:
            await self._site.leave()
        self._turn.give()

    def _control_app(self, token: str) -> Any:
        settings = self._child.settings
        config = api.Config(
            namespace=settings.namespace,
            name=settings.name,
            token=token,
            metrics=lambda: metrics.text(self._call(self._keeper.numbers())),
        )
        return api.create_app(config, keep=self._keeper, call=self._call)

    def _lab_app(self) -> Any:
        settings = self._child.settings
        config = lab.Config(
            namespace=settings.namespace,
            name=settings.name,
            operator_url=settings.operator_url,
            token=_secret(settings.operator_token_file or settings.token_file),
        )
        return lab.create_app(config, current=self._membership)

    def _membership(self) -> members.Membership | None:
        current = self._keeper.current()
        return current.membership if current else None

    def _call(self, coroutine: Coroutine[Any, Any, T], /) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_CALL_SECONDS)

    def _orphaned(self) -> None:
        """The supervisor was killed: free the ports at once; the folder is nobody else's."""
        shutil.rmtree(self._child.run_dir, ignore_errors=True)
        os._exit(1)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


def _allowed(settings: settings_.Settings) -> codes.Allowed:
    folder = Path(settings.hash_path) if settings.hash_path else None
    return codes.Allowed(folder=folder, modules=settings.hash_module)


def _secret(path: str) -> str:
    return Path(path).read_text().strip()


def _inherited(descriptor: int) -> socket.socket:
    sock = socket.socket(fileno=descriptor)
    sock.setblocking(False)
    return sock


def _site(
    app: Any,
    sock: socket.socket,
    *,
    threads: int,
    trusts: Callable[[str], bool],
    certificate: tls.Certificate | None = None,
) -> website.Website:
    return website.Website(
        app,
        sock=sock,
        threads=threads,
        limits=website.Limits(body_bytes=2 * api.BODY_BYTES),  # within it Flask's bound answers
        trusts=trusts,
        certificate=certificate,
    )


def _everybody(_authorization: str) -> bool:
    """The lab socket is reached by our own workers only."""
    return True


def main() -> None:
    """Run the control process; its only argument is a `settings.Child` as JSON."""
    child = settings_.Child.from_json(sys.argv[1])
    logs.configure("control")
    asyncio.run(_run(child))


async def _run(child: settings_.Child) -> None:
    await Control(child).run()


if __name__ == "__main__":
    main()
