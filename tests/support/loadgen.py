"""A load of keep-alive GETs from many connections that remembers who answered which key.

It retries nothing: whatever a client would see as a failure is counted as one. A connection that
the other side ended in order, after a whole response and before the next request was sent, is no
failure: the next request gets a new one (9112 §9.6). With `as_browsers` a request is also sent
again when its connection was refused, reset, or closed before a byte of the response, as browsers
do; that is counted. Bounded by its number of requests and by `seconds`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

# How long, and how often, a browser tries a request whose connection broke.
_PATIENCE = 5.0
_PAUSE = 0.02
# A balancer answers before that, whatever its servers do: it waits 30 s for one.
_ANSWER = 45.0
# struct tcp_info of linux/tcp.h up to tcpi_unacked: state, ca_state, retransmits, …
_TCP_INFO = struct.Struct("=8B5I")
# Every connection has a source of its own where all of 127/8 is the machine's. Where the engine is
# Docker, it forgets the NAT of a container that has ended by addresses and ports that it has read a
# while before: a connection that reuses them meanwhile is torn from its server, and is reset or
# never answered. Seen with `conntrack -E`: [DESTROY] ... ESTABLISHED ... progname=dockerd.
_SOURCES = itertools.cycle(f"127.1.{high}.{low}" for high in range(256) for low in range(1, 255))


@dataclass
class Outcome:
    """What the clients saw, in order of completion."""

    answers: list[tuple[int, str, str]] = field(default_factory=list)  # (number, key, server)
    failures: list[str] = field(default_factory=list)
    reopened: int = 0  # connections that were ended in order, and replaced
    retried: int = 0  # requests that a browser sent again

    def servers_of(self, key: str) -> list[str]:
        """Who answered a key, oldest first."""
        return [server for _, k, server in self.answers if k == key]


class UnansweredError(OSError):
    """The connection broke before the first byte of a response."""


class SilenceError(OSError):
    """The connection stands, and no response comes."""


@dataclass
class Link:
    """One connection to the balancer; `once`: for one request, `last`: it has had its last one."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    last: bool = False

    once: bool = False

    @classmethod
    async def open(cls, port: int, *, once: bool = False) -> Link:
        source = (next(_SOURCES), 0) if sys.platform == "linux" else None
        opened = await asyncio.open_connection("127.0.0.1", port, local_addr=source)
        return cls(*opened, once=once)

    @property
    def ended(self) -> bool:
        """Nothing was sent since its orderly end."""
        return self.last or self.reader.at_eof()

    def _state(self) -> str:
        """Whether the kernel at the other end took the request: else the network lost it."""
        info = self.writer.get_extra_info("socket").getsockopt(
            socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size
        )
        state, _, retransmits, *_, unacknowledged = _TCP_INFO.unpack(info)
        address, port = self.writer.get_extra_info("sockname")
        return (
            f"from {address}:{port}, TCP state {state}, {unacknowledged} segments unacknowledged, "
            f"sent again {retransmits} times"
        )

    async def get(self, path: str, key: str) -> tuple[int, bytes]:
        """One GET: status and body."""
        request = f"GET {path} HTTP/1.1\r\nHost: load\r\nX-Request-Id: {key}\r\n"
        request += "Connection: close\r\n\r\n" if self.once else "\r\n"
        try:
            self.writer.write(request.encode())
            async with asyncio.timeout(_ANSWER):
                head = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            raise UnansweredError("closed before the response") from error
        except TimeoutError as error:
            raise SilenceError(
                f"no answer to {key} within {_ANSWER:g} s, {self._state()}"
            ) from error
        except OSError as error:
            raise UnansweredError(repr(error)) from error
        length = 0
        for line in head.lower().split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name == b"content-length":
                length = int(value)
            elif name == b"connection":
                self.last = value.strip() == b"close"
        return int(head.split(b" ", 2)[1]), await self.reader.readexactly(length)


class _Load:
    """The clients' shared state."""

    def __init__(self, port: int, *, path: str, as_browsers: bool) -> None:
        self.outcome = Outcome()
        self._port = port
        self._path = path
        self._as_browsers = as_browsers

    async def client(self, keys: Iterator[tuple[int, str]], *, once: bool) -> None:
        link: Link | None = None
        try:
            for number, key in keys:
                if link is not None and link.ended:
                    link.writer.close()
                    link = None
                    self.outcome.reopened += not once
                link, status, body = await self._ask(link, key, once=once)
                self._note(number, key, status=status, body=body)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.outcome.failures.append(f"connection: {error!r}")
        finally:
            if link is not None:
                link.writer.close()

    async def _ask(self, link: Link | None, key: str, *, once: bool) -> tuple[Link, int, bytes]:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                if link is None:
                    link = await Link.open(self._port, once=once)
                return link, *await link.get(self._path, key)
            except (UnansweredError, ConnectionRefusedError, ConnectionResetError):
                if link is not None:
                    link.writer.close()
                    link = None
                if not self._as_browsers or time.monotonic() > deadline:
                    raise
                self.outcome.retried += 1
                await asyncio.sleep(_PAUSE)
            except OSError:
                if link is not None:
                    link.writer.close()
                raise

    def _note(self, number: int, key: str, *, status: int, body: bytes) -> None:
        if status != 200:
            self.outcome.failures.append(f"{number} {key}: {status} {body!r}")
            return
        server = json.loads(body)["message"].removeprefix("Hello from Server: ")
        self.outcome.answers.append((number, key, server))


async def drive(
    port: int,
    *,
    requests: int,
    keys: int,
    connections: int,
    at: dict[int, Callable[[], object]],
    seconds: float,
    path: str = "/home",
    throughout: bool = False,
    as_browsers: bool = False,
    fresh: int = 0,
) -> Outcome:
    """Send `requests` GETs; when number n is sent, call `at[n]` (in a thread).

    `throughout`: go on until every action has ended, too. So many clients as `fresh` says open a
    connection for each request.
    """
    load = _Load(port, path=path, as_browsers=as_browsers)
    actions: list[asyncio.Task[object]] = []

    def numbers() -> Iterator[tuple[int, str]]:
        number = 0
        while number < requests or (throughout and not all(each.done() for each in actions)):
            if action := at.get(number):
                actions.append(asyncio.create_task(asyncio.to_thread(action)))
            yield number, f"key-{number % keys}"
            number += 1

    shared = numbers()
    async with asyncio.timeout(seconds):
        clients = (load.client(shared, once=index < fresh) for index in range(connections))
        await asyncio.gather(*clients)
        await asyncio.gather(*actions)
    return load.outcome


def run(
    port: int,
    *,
    requests: int = 40_000,
    keys: int = 2_000,
    connections: int = 64,
    at: dict[int, Callable[[], object]] | None = None,
    seconds: float = 150,
    throughout: bool = False,
    as_browsers: bool = False,
    fresh: int = 0,
) -> Outcome:
    """`drive` from a test that is no coroutine."""
    return asyncio.run(
        drive(
            port,
            requests=requests,
            keys=keys,
            connections=connections,
            at=at or {},
            seconds=seconds,
            throughout=throughout,
            as_browsers=as_browsers,
            fresh=fresh,
        )
    )
