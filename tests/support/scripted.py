"""Real sockets for the data plane's tests: scripted upstreams, raw clients, and a stand of both."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import uvloop
from ringmaster_balancer import members
from ringmaster_balancer.dataplane import proxy
from ringmaster_balancer.ring import table

PATIENCE = 10.0  # s; long enough for the noisiest machine, and only ever waited for in a failure


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a test on the loop that the workers use; nothing may go wrong unseen."""
    faults: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        await asyncio.wait_for(coroutine, PATIENCE * 3)

    uvloop.run(watched())
    assert not faults, faults


class Peer:
    """One connection, read and written by hand; `received` is every byte that came."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.received = b""

    async def head(self) -> bytes:
        """Up to and with the next empty line; b"" at the end."""
        try:
            data = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)
        except asyncio.IncompleteReadError as error:
            data = error.partial
        except ConnectionError:
            data = b""
        self.received += data
        return data

    async def exactly(self, count: int) -> bytes:
        data = await asyncio.wait_for(self.reader.readexactly(count), PATIENCE)
        self.received += data
        return data

    async def until(self, mark: bytes) -> bytes:
        data = await asyncio.wait_for(self.reader.readuntil(mark), PATIENCE)
        self.received += data
        return data

    async def rest(self) -> bytes:
        """All until the end; a reset raises ConnectionError."""
        data = await asyncio.wait_for(self.reader.read(-1), PATIENCE)
        self.received += data
        return data

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """Status, fields (lower-case names) and body of the next response."""
        lines = (await self.head()).decode("latin-1").split("\r\n")
        if len(lines) < 3:
            raise ConnectionError(f"no response but {lines}")
        fields = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:-2])}
        status = int(lines[0].split(" ")[1])
        if fields.get("transfer-encoding") == "chunked":
            body = await self._chunks()
        elif "content-length" in fields:
            body = await self.exactly(int(fields["content-length"]))
        else:
            body = b"" if status in (204, 304) or status < 200 else await self.rest()
        return status, fields, body

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self.until(b"\r\n"), 16):
            body += await self.exactly(size)
            assert await self.exactly(2) == b"\r\n"
        assert await self.exactly(2) == b"\r\n"
        return body

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def reset(self) -> None:
        """Close with RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


Play = Callable[[Peer], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def answering(response: bytes = OK, *, after: asyncio.Event | None = None) -> Play:
    """Answers every bodiless request with the same bytes, once `after` has come."""

    async def play(peer: Peer) -> None:
        while await peer.head():
            if after is not None:
                await after.wait()
            peer.send(response)

    return play


class Upstream:
    """A server on a free port whose connections follow a play; `peers` are all it ever had."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.peers: list[Peer] = []
        self.tasks: set[asyncio.Task[None]] = set()

    @property
    def received(self) -> bytes:
        return b"".join(peer.received for peer in self.peers)

    @property
    def requests(self) -> int:
        return self.received.count(b" HTTP/1.1\r\n")

    async def start(self) -> Upstream:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        return self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self.peers.append(peer)
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            await self.play(peer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        except RuntimeError:  # uvloop's for a write after our own reset
            assert writer.transport.is_closing()
        finally:
            self.tasks.discard(task)
            writer.close()

    async def stop(self, *, reset: bool = True) -> None:
        """As if killed: no listener, every connection reset."""
        self.server.close()
        for peer in self.peers:
            if reset and not peer.writer.transport.is_closing():
                peer.reset()
        for task in [*self.tasks]:
            task.cancel()
        await asyncio.sleep(0)


@dataclass
class Stand:
    """A data plane, its upstreams by member id, and what it called back."""

    plane: proxy.DataPlane
    port: int
    upstreams: dict[str, Upstream]
    failures: list[tuple[str, str]] = field(default_factory=list)
    sock: socket.socket | None = None
    clients: list[Peer] = field(default_factory=list)
    generation: int = 0
    proxy: members.Proxy = field(default_factory=members.Proxy)
    ring: members.Ring = field(default_factory=members.Ring)

    async def connect(self, port: int | None = None, **options: Any) -> Peer:
        """A client; at the port that the stand listens on, unless told."""
        client = Peer(*await asyncio.open_connection("127.0.0.1", port or self.port, **options))
        self.clients.append(client)
        return client

    async def get(self, path: str = "/", key: str = "k") -> tuple[int, dict[str, str], bytes]:
        """One GET on a connection of its own."""
        client = await self.connect()
        client.send(get(path, key=key))
        try:
            return await client.response()
        finally:
            await client.close()

    def install(
        self,
        states: dict[str, members.State] | None = None,
        addresses: dict[str, str] | None = None,
        replicas: dict[str, str] | None = None,
    ) -> None:
        """Push all upstreams as members; who is not named in `states` is active."""
        self.push(
            *(
                members.Member(
                    id=name,
                    replica=(replicas or {}).get(name, f"{name}-r"),
                    address=(addresses or {}).get(name, upstream.address),
                    state=(states or {}).get(name, members.State.ACTIVE),
                )
                for name, upstream in self.upstreams.items()
            )
        )

    def push(self, *entries: members.Member) -> None:
        """Push a membership of these."""
        self.generation += 1
        membership = members.Membership(
            epoch=1,
            generation=self.generation,
            uid="u",
            replicas=len(entries),
            ring=self.ring,
            proxy=self.proxy,
            members=entries,
        )
        ids = [*dict.fromkeys((entry.id, 100) for entry in entries)]
        self.plane.install(membership, table.compile(self.ring, ids))

    def owner(self, key: str) -> str:
        """The id of the member that a key belongs to."""
        return self.order(key)[0]

    def order(self, key: str) -> list[str]:
        """All ids in the order of a key's candidates."""
        assert self.plane.snapshot is not None
        compiled = self.plane.snapshot.table
        return [compiled.ids[index] for index in compiled.more(compiled.slot_of(key.encode()))]

    def key_of(self, member: str) -> str:
        """A key that belongs to this member."""
        return next(key for n in range(10_000) if self.owner(key := f"k{n}") == member)


@contextlib.asynccontextmanager
async def stand(
    *plays: Play,
    settings: proxy.Settings | None = None,
    rules: dict[str, Any] | None = None,
    ring: members.Ring | None = None,
    install: bool = True,
) -> AsyncIterator[Stand]:
    """A data plane before an upstream for each play, `web-0` and so on."""
    failures: list[tuple[str, str]] = []
    plane = proxy.DataPlane(settings, on_failure=lambda *failure: failures.append(failure))
    upstreams = {f"web-{n}": await Upstream(play).start() for n, play in enumerate(plays)}
    sock = socket.create_server(("127.0.0.1", 0))
    it = Stand(plane, sock.getsockname()[1], upstreams, failures, sock)
    it.proxy = members.Proxy.model_validate(rules or {})
    it.ring = ring or members.Ring(slots=4096)
    if install:
        it.install()
    await plane.listen(sock)
    try:
        yield it
    finally:
        for client in it.clients:
            client.writer.close()
        await plane.drain(1.0)
        sock.close()
        for upstream in upstreams.values():
            await upstream.stop()


def undated(response: bytes) -> bytes:
    """Without the one date line that every response must have."""
    bare, dates = re.subn(rb"\r\nDate: [^\r]{29}(?=\r\n)", b"", response)
    assert dates == 1, response
    return bare


def get(path: str = "/", key: str | None = "k", extra: Sequence[str] = ()) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: lb.test"]
    if key is not None:
        lines.append(f"X-Request-Id: {key}")
    return "\r\n".join([*lines, *extra, "", ""]).encode()


class SlowReader:
    """A client that holds next to nothing unread, so that what it has yet to take waits with us."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, **options: Any) -> SlowReader:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        return cls(*await asyncio.open_connection(sock=sock, limit=4096, **options))

    async def rest(self) -> tuple[bytes, bool]:
        """All that comes, and whether its end was orderly."""
        got = b""
        try:
            while piece := await asyncio.wait_for(self.reader.read(8192), PATIENCE):
                got += piece
        except (ConnectionError, ssl.SSLError):
            return got, False
        finally:
            self.writer.close()
        return got, True


async def breaks_off(peer: Peer) -> None:
    """Sends 400,000 of the 600,000 bytes that it has announced, framed as the path says."""
    chunked = b" /chunks " in await peer.head()
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 600000"
    peer.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing)
    peer.send((b"%x\r\n" % 600_000 if chunked else b"") + b"x" * 400_000)
    await peer.writer.drain()


# Version, path, and whether a reset has to tell that the end of the connection is not the body's.
BREAKS_OFF = [("1.1", "/length", False), ("1.1", "/chunks", False), ("1.0", "/chunks", True)]


async def broken_off(stand: Stand, version: str, path: str, **options: Any) -> tuple[int, bool]:
    """Bytes of the body that a slow client gets from `breaks_off`; and whether it ends orderly."""
    client = await SlowReader.connect(stand.port, **options)
    client.writer.write(f"GET {path} HTTP/{version}\r\nHost: h\r\n\r\n".encode())
    got, orderly = await client.rest()
    assert not got.endswith(b"0\r\n\r\n")
    return got.count(b"x"), orderly


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until it does; fails after PATIENCE."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - what it waits for knows no event
            await asyncio.sleep(0.005)
