"""The connections of the API: accepted by hand, so that none is without a bound.

Law: edge. aiohttp bounds neither the time of a first head or a body nor the number of connections.
Whoever reaches the port may open some, but must not keep others out: heads and bodies have their
time, and when there are too many connections, the one on which nothing has been asked for longest
is closed. Who calls: `serving`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from ringmaster_operator.api import guard, problems

_log = structlog.get_logger(__name__)

_REST_SECONDS = 1.0  # after an accept that failed, as asyncio's own server has it


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may cost; times in seconds."""

    connections: int = 256  # far below the usual 1,024 descriptors of a process
    # From the accept to the end of the first head, a handshake included. aiohttp gives 75 s from a
    # response to the end of the next head.
    first_head_seconds: float = 10.0
    body_seconds: float = 10.0  # a whole body


@dataclass(eq=False, slots=True)
class _Client:
    """One connection. `handler`: aiohttp's side of it, once its handshake is over."""

    sock: socket.socket
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    busy: bool = False  # a request of its is being answered
    handler: asyncio.Protocol | None = None
    transport: asyncio.Transport | None = None
    task: asyncio.Task[None] | None = None

    @property
    def gone(self) -> bool:
        """Whether its connection has ended."""
        return self.transport is not None and self.transport.is_closing()

    def close(self) -> None:
        """End it now, whatever it waits for."""
        if self.task is not None:
            self.task.cancel()
        if self.transport is not None:
            self.transport.abort()


class Connections:
    """Hands connections to a server of aiohttp; `middleware` must be the application's last."""

    def __init__(self, tls: ssl.SSLContext | None, limits: Limits) -> None:
        self._security: dict[str, Any] = {"ssl": tls} if tls else {}
        self._limits = limits
        # Who has been without a request for longest is first.
        self._clients: dict[_Client, None] = {}

    async def accept(self, listener: socket.socket, server: web.Server) -> None:
        """Accept until cancelled. The socket stays the caller's."""
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listener)
            except ConnectionError:  # it left while it waited
                continue
            except OSError as error:
                _log.error("api-cannot-accept", why=str(error))
                await asyncio.sleep(_REST_SECONDS)
                continue
            self._admit(accepted, server)

    def close(self) -> None:
        """End those that have no handler yet; aiohttp ends the others."""
        for client in self._clients:
            if client.task is not None:
                client.task.cancel()

    def _admit(self, accepted: socket.socket, server: web.Server) -> None:
        client = _Client(accepted)
        self._clients[client] = None
        client.task = asyncio.get_running_loop().create_task(self._greet(client, server))
        client.task.add_done_callback(lambda _: self._greeted(client))
        if len(self._clients) > self._limits.connections:
            self._make_room()

    def _make_room(self) -> None:
        for client in [each for each in self._clients if each.gone]:
            del self._clients[client]
        if len(self._clients) <= self._limits.connections:
            return
        idle = next((each for each in self._clients if not each.busy), None)
        if idle is not None:
            del self._clients[idle]
            idle.close()

    async def _greet(self, client: _Client, server: web.Server) -> None:
        """A handshake if there is TLS, and the wait for a first request."""
        loop = asyncio.get_running_loop()

        def handle() -> asyncio.Protocol:
            client.handler = server()  # known before its first request, which may come at once
            return client.handler

        async with asyncio.timeout(self._limits.first_head_seconds):
            client.transport, _ = await loop.connect_accepted_socket(
                handle, client.sock, **self._security
            )
            await client.asked.wait()

    def _greeted(self, client: _Client) -> None:
        task = client.task
        assert task is not None
        # It left, spoke no TLS or was too slow: nobody's error. Anything else is a bug.
        failure = None if task.cancelled() else task.exception()
        if failure is not None and not isinstance(failure, OSError):
            _log.error("api-connection-failed", exc_info=failure)
        if not client.asked.is_set():
            self._clients.pop(client, None)
            if client.transport is not None:
                client.transport.abort()
            else:
                client.sock.close()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Read the body in time, then let the request take the time that it needs."""
        client = next((each for each in self._clients if each.handler is request.protocol), None)
        if client is None:  # its connection was closed this moment
            raise web.HTTPServiceUnavailable
        client.asked.set()
        client.busy = guard.bore_token(request)
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                await request.read()
        except TimeoutError as error:
            raise problems.Problem(408, "the request's body came too slowly") from error
        try:
            client.busy = True
            return await handler(request)
        finally:
            client.busy = False
            if self._clients.pop(client, client) is None:
                self._clients[client] = None
