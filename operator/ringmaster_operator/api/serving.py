"""Serving an application from a thread of its own, beside an operator that blocks.

Law: when `serve` has begun, the port answers; when it has ended, no thread and no socket is left.
Beyond loopback there is TLS, unless whoever starts it vouches for the way there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Protocol

import structlog
from aiohttp import web

from ringmaster_operator import errors
from ringmaster_operator.api import connections, guard

_START_SECONDS = 30.0
# Watches end by themselves when the application shuts down; a request under way gets this long.
_GOODBYE_SECONDS = 2.0


_RENEW_SECONDS = 3600.0

_log = structlog.get_logger(__name__)


class Tls(Protocol):
    """A certificate that is kept fresh: `certificates.Certificate`."""

    @property
    def context(self) -> ssl.SSLContext:
        """What to serve with."""
        ...

    def renew(self) -> bool:
        """Take a newer certificate into `context` if it is time."""
        ...


@contextlib.contextmanager
def serve(
    app: web.Application,
    host: str = "127.0.0.1",
    port: int = 7070,
    *,
    tls: Tls | None = None,
    published: bool = False,
    limits: connections.Limits | None = None,
) -> Iterator[int]:
    """Serve while the block runs; gives the port, which is a free one for port 0.

    `published`: whoever can reach `host` may use the API, though it is not loopback: it is that of
    a container, say, whose port is published on its machine's loopback only.

    Raises:
        UsageError: the port is taken, or the address is beyond loopback and there is no TLS.
    """
    if tls is None and not published and not guard.is_loopback(host):
        raise errors.UsageError(
            f"the API cannot listen on {host} for everybody: beyond loopback it is served with TLS "
            "to those who bear a token; --api-token-file names it, --api-host 127.0.0.1 needs none"
        )
    listener = _listen(host, port)
    started: futures.Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = futures.Future()
    thread = threading.Thread(
        target=_run,
        args=(app, listener, tls, limits or connections.Limits(), started),
        name="api",
        daemon=True,
    )
    thread.start()
    loop, stop = started.result(timeout=_START_SECONDS)
    try:
        yield int(listener.getsockname()[1])
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def _listen(host: str, port: int) -> socket.socket:
    """Bind in the caller's thread, so that it hears of a port that is taken."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise errors.UsageError(f"the API cannot listen on {host}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise errors.UsageError(
            f"the API cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}; "
            "--api-port names another port"
        ) from error
    return listener


def _run(
    app: web.Application,
    listener: socket.socket,
    tls: Tls | None,
    limits: connections.Limits,
    started: futures.Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]],
) -> None:
    async def main() -> None:
        stop = asyncio.Event()
        clients = connections.Connections(tls.context if tls else None, limits)
        app.middlewares.append(clients.middleware)
        # Cancelled handlers: a watch ends with its client, not with the next change.
        runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=_GOODBYE_SECONDS
        )
        await runner.setup()
        assert runner.server is not None
        accepting = asyncio.create_task(clients.accept(listener, runner.server))
        try:
            started.set_result((asyncio.get_running_loop(), stop))
            await _until(stop, tls)
        finally:
            accepting.cancel()
            clients.close()
            await runner.cleanup()

    try:
        asyncio.run(main())
    except BaseException as error:
        if started.done():
            raise
        started.set_exception(error)
    finally:
        listener.close()


async def _until(stop: asyncio.Event, tls: Tls | None) -> None:
    """Wait for the end, with an eye on the certificate. Here, since here is who serves with it."""
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _RENEW_SECONDS if tls else None)
        if tls is None or stop.is_set():
            continue
        try:
            if tls.renew():
                _log.info("certificate-renewed")
        except errors.UsageError as error:
            _log.error("certificate-not-renewed", why=str(error))
