"""A web server for the control port: asyncio reads requests whole, a WSGI app answers in threads.

Law: edge. Whoever reaches the port may open connections, but must not keep others out. So a thread
only ever sees a whole request, every phase of a connection has its time, and when there are too
many connections, the one whose present request began first is closed. Whoever has shown the token
with that request is not, so that a push always gets through. Who calls: `process`.
"""

from __future__ import annotations

import asyncio
import email.utils
import enum
import http
import io
import json
import socket
import sys
import urllib.parse
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from werkzeug import wrappers

from ringmaster_balancer import tls
from ringmaster_balancer.control import threads
from ringmaster_balancer.dataplane import chunked, doors, heads, http1

_PIECE: Final = 65_536  # bytes
_HEADER_COUNT: Final = 100


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may cost; times in seconds, sizes in bytes."""

    body_bytes: int
    connections: int = 256  # far below the usual 1,024 descriptors of a process
    idle_seconds: float = 60.0  # until a request begins
    head_seconds: float = 5.0  # a whole head, from its first byte
    body_seconds: float = 10.0  # a whole body; an operator gives up a push after 5 s
    answer_seconds: float = 10.0  # until a client has taken an answer
    leave_seconds: float = 5.0  # for requests that are on their way when the server leaves
    head_bytes: int = 32_768
    stranger_bytes: int = 65_536  # of a body that came without the token; a longer one is dropped


class _Ended(Exception):  # noqa: N818 - no fault: there is nothing more to read
    """The client closed its connection."""


class _Phase(enum.Enum):
    """Where a connection's present request is."""

    IDLE = enum.auto()  # no byte of it has come
    READING = enum.auto()
    QUEUED = enum.auto()  # for a thread
    RUNNING = enum.auto()
    WRITING = enum.auto()


@dataclass(eq=False, slots=True)
class _Client:
    """One connection. `trusted`: its present request bears the token."""

    sock: socket.socket
    phase: _Phase = _Phase.READING  # of a handshake, at first
    trusted: bool = False


class Website:
    """Serves `app` on `sock`, which stays the caller's.

    `trusts` tells by the value of Authorization whether a request bears the token. `threads`
    requests run at once, and as many again of those that bear it.
    """

    def __init__(
        self,
        app: Any,
        *,
        sock: socket.socket,
        threads: int,
        limits: Limits,
        trusts: Callable[[str], bool],
        certificate: tls.Certificate | None = None,
    ) -> None:
        self._app = app
        self._sock = sock
        self._limits = limits
        self._trusts = trusts
        self._certificate = certificate
        self._places = {trusted: asyncio.Semaphore(threads) for trusted in (False, True)}
        wanted = http1.REQUEST_FIELDS | http1.LOOK_ALIKES
        self._heads = heads.Reader(responses=False, wanted=wanted, limit=_HEADER_COUNT)
        # In the order in which their present requests began.
        self._clients: dict[asyncio.Task[None], _Client] = {}
        self._leaving = False
        self._door: doors.Door | None = None
        self._watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Accept from now on, on the running event loop."""
        if self._certificate is not None:
            self._watching = asyncio.create_task(tls.watch(self._certificate))
        self._door = doors.Door(self._sock, self._enter)

    async def leave(self) -> None:
        """Accept no more; return once every request is answered and every connection closed.

        The listening socket's queue stays, as long as another process has it.
        """
        self._leaving = True
        if self._door is not None:
            self._door.close()
        if self._watching is not None:
            self._watching.cancel()
        self._close(_Phase.IDLE)
        if self._clients:
            await asyncio.wait(self._clients, timeout=self._limits.leave_seconds)
        self._close(_Phase.READING, _Phase.WRITING)
        await asyncio.gather(*self._clients, return_exceptions=True)

    def _close(self, *phases: _Phase) -> None:
        for task, client in self._clients.items():
            if client.phase in phases:
                task.cancel()

    # -- connections

    def _enter(self, accepted: socket.socket) -> None:
        client = _Client(accepted)
        task = asyncio.get_running_loop().create_task(self._serve(client))
        self._clients[task] = client
        task.add_done_callback(self._ended)
        task.add_done_callback(lambda _: accepted.close())  # also if it was never begun
        if len(self._clients) > self._limits.connections:
            self._make_room()

    def _make_room(self) -> None:
        """Close the connection that has had the longest time for its request, and no token."""
        for task, client in self._clients.items():
            if not client.trusted and client.phase is not _Phase.RUNNING:
                task.cancel()
                del self._clients[task]
                return

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._clients.pop(task, None)

    async def _serve(self, client: _Client) -> None:
        transport: asyncio.BaseTransport | None = None
        try:
            async with asyncio.timeout(tls.HANDSHAKE_SECONDS):
                reader, writer = await self._greet(client.sock)
            transport = writer.transport
            while await self._exchange(client, reader, writer):
                self._begin_anew(client)
            writer.close()
            async with asyncio.timeout(self._limits.answer_seconds):
                await writer.wait_closed()
        except (OSError, _Ended):  # it left, is too slow (TimeoutError), or speaks no TLS
            return
        finally:
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()

    async def _greet(
        self, accepted: socket.socket
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=self._limits.head_bytes)
        protocol = asyncio.StreamReaderProtocol(reader)
        context = self._certificate.context if self._certificate else None
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, accepted, ssl=context)
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    def _begin_anew(self, client: _Client) -> None:
        """Its next request begins now: others have had more time for theirs."""
        task = asyncio.current_task()
        assert task is not None
        client.trusted = False
        if self._clients.pop(task, None) is not None:
            self._clients[task] = client

    # -- requests

    async def _exchange(
        self, client: _Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Read one request and answer it; whether another one may follow."""
        try:
            head = await self._head(client, reader)
            known = self._heads.read(head)
            request = http1.request(head, known, body_bytes=self._limits.body_bytes)
            fields = _fields(head)
            client.trusted = self._trusts(fields.get("AUTHORIZATION", ""))
            if request.expects:  # RFC 9110 §10.1.1
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = await self._body(reader, request, keep=client.trusted)
        except http1.Refused as refused:
            wire, more = _refusal(refused.status, refused.message), False
        except (heads.MalformedError, ValueError):  # of fields, of chunks
            wire, more = _refusal(400, "The request is malformed"), False
        except TimeoutError:
            wire, more = _refusal(408, "The request came too slowly"), False
        else:
            environ = self._environ(request, fields, body, writer)
            response = await self._run(client, environ)
            more = request.keep_alive and not self._leaving
            wire = _wire(response, close=not more)
        client.phase = _Phase.WRITING
        writer.write(wire)
        async with asyncio.timeout(self._limits.answer_seconds):
            await writer.drain()
        return more

    async def _head(self, client: _Client, reader: asyncio.StreamReader) -> bytes:
        if self._leaving:
            raise _Ended
        client.phase = _Phase.IDLE
        try:
            async with asyncio.timeout(self._limits.idle_seconds):
                first = await reader.readexactly(1)
        except (asyncio.IncompleteReadError, TimeoutError) as error:
            raise _Ended from error
        client.phase = _Phase.READING
        try:
            async with asyncio.timeout(self._limits.head_seconds):
                return first + await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            raise _Ended from error
        except asyncio.LimitOverrunError as error:
            raise http1.Refused(431, "The request's head is too large") from error

    async def _body(
        self, reader: asyncio.StreamReader, request: http1.Request, *, keep: bool
    ) -> bytes:
        """The whole body. A stranger's long one is read and dropped: no answer depends on it."""
        most = self._limits.body_bytes if keep else self._limits.stranger_bytes
        body, size = bytearray(), 0
        async with asyncio.timeout(self._limits.body_seconds):
            async for piece in _pieces(reader, request.length):
                size += len(piece)
                if size > self._limits.body_bytes:
                    raise http1.Refused(413, "The body is too large")
                if size <= most:
                    body += piece
        return bytes(body) if size <= most else b""

    def _environ(
        self,
        request: http1.Request,
        fields: Mapping[str, str],
        body: bytes,
        writer: asyncio.StreamWriter,
    ) -> dict[str, Any]:
        """PEP 3333."""
        path, _, query = request.target.decode("latin-1").partition("?")
        name, peer = (writer.get_extra_info(kind) for kind in ("sockname", "peername"))
        host, port = name[:2] if isinstance(name, tuple) else ("localhost", 0)
        return {
            **{f"HTTP_{name}": value for name, value in fields.items()},
            "CONTENT_TYPE": fields.get("CONTENT_TYPE", ""),
            "CONTENT_LENGTH": str(len(body)),
            "REQUEST_METHOD": request.method.decode(),
            "SCRIPT_NAME": "",
            "PATH_INFO": urllib.parse.unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": host,
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": f"HTTP/1.{request.minor}",
            "REMOTE_ADDR": peer[0] if isinstance(peer, tuple) else "",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https" if self._certificate else "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }

    async def _run(self, client: _Client, environ: dict[str, Any]) -> wrappers.Response:
        client.phase = _Phase.QUEUED
        async with self._places[client.trusted]:
            client.phase = _Phase.RUNNING
            return await threads.run(
                lambda: wrappers.Response.from_app(self._app, environ, buffered=True), name="web"
            )


async def _pieces(reader: asyncio.StreamReader, length: int) -> AsyncIterator[bytes]:
    """A body's content as it comes. Raises ValueError; _Ended if it stops short."""
    decoder = chunked.Decoder() if length == http1.CHUNKED else None
    left = length
    while left if decoder is None else not decoder.done:
        data = await reader.read(_PIECE if decoder is not None else min(left, _PIECE))
        if not data:
            raise _Ended
        left -= len(data)
        yield data if decoder is None else b"".join(decoder.feed(data))
    if decoder is not None and decoder.end < len(data):
        raise ValueError("a request before the answer to the one before")


def _fields(head: bytes) -> dict[str, str]:
    """Header fields by their names as CGI has them; what claims to come from a proxy is dropped."""
    fields: dict[str, str] = {}
    for line in head[:-4].split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() in http1.FORWARDED or b"_" in name:
            continue
        key, text = name.decode().upper().replace("-", "_"), value.strip(b" \t").decode("latin-1")
        fields[key] = f"{fields[key]}, {text}" if key in fields else text
    return fields


def _refusal(status: int, message: str) -> bytes:
    """Our own words for what is no request that an app could answer; the connection ends."""
    reason = http.HTTPStatus(status).phrase
    body = json.dumps({"message": message, "reason": reason})
    response = wrappers.Response(body, status, content_type="application/json")
    return _wire(response, close=True)


def _wire(response: wrappers.Response, *, close: bool) -> bytes:
    """The response as it is sent. Its body is empty already if it answers HEAD."""
    body = response.get_data()
    headers = response.headers
    if "Content-Length" not in headers and response.status_code not in http1.NO_BODY:
        headers["Content-Length"] = str(len(body))
    headers["Date"] = email.utils.formatdate(usegmt=True)
    if close:
        headers["Connection"] = "close"
    lines = [f"HTTP/1.1 {response.status}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
