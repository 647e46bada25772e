"""The control process' side of its workers: who is there, what they confirmed, what they count.

Law: edge. One event loop, no thread. A worker that connects says what it serves and gets the
newest; one that dies is not awaited. A worker that stays silent for ten questions in a row, a
second apart, is wedged and gets killed, so that its successor can confirm. Who calls: `keeper`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from ringmaster_balancer import ipc
from ringmaster_balancer.control import traffic
from ringmaster_balancer.ring import comparison

_log = structlog.get_logger()

_READ_BYTES = 262_144
_ASK_SECONDS = 1.0
_WEDGED_ASKS = 10
# What a worker that dies has counted by slot since is lost.
_HITS_SECONDS = 10.0
# A worker that was there before us reconnects within a tenth of a second.
_SETTLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Newest:
    """What every worker shall serve; `table` is the compiled one's bytes."""

    membership: Mapping[str, Any]
    table: bytes
    table_version: int
    space_version: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What one worker counts: `stats` as `proxy` defines them, requests in flight by replica."""

    stats: Mapping[str, Any] = field(default_factory=dict)
    in_flight: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Link:
    """One worker's connection."""

    pid: int
    writer: asyncio.StreamWriter
    acked: int = 0
    table_version: int = 0
    asked: int = 0
    answered: int = 0
    missed: int = 0
    report: Report = field(default_factory=Report)

    def send(self, kind: ipc.Kind, body: bytes = b"", **fields: Any) -> None:
        self.writer.write(ipc.encode(ipc.Frame(kind=kind, fields=fields, body=body)))


class Hub:
    """All workers. `expected` is how many there should be.

    `on_hello` hears the membership that a worker still serves, `on_mark` the replica on which a
    request failed, `on_gone` the last report of a worker that ended.
    """

    def __init__(
        self,
        *,
        expected: int,
        on_hello: Callable[[Mapping[str, Any]], Awaitable[None]],
        on_mark: Callable[[str], None],
        on_gone: Callable[[Report], None],
        ask_seconds: float = _ASK_SECONDS,
    ) -> None:
        self._expected = expected
        self._on_hello = on_hello
        self._on_mark = on_mark
        self._on_gone = on_gone
        self._ask_seconds = ask_seconds
        self._links: list[_Link] = []
        self._seq = 0
        self._newest: Newest | None = None
        self._healthy: dict[str, bool] = {}
        self._erring: Sequence[str] = ()
        self._space = 0
        self._hits = traffic.Window(now=time.monotonic())
        self._hits_asked = time.monotonic()
        self._changed = asyncio.Event()
        self._open = asyncio.Event()
        self._settled = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """There is a first word for the workers now: something to serve, or that there is none."""
        self._open.set()

    @property
    def opened(self) -> bool:
        """Whether workers are let in."""
        return self._open.is_set()

    def install(
        self, newest: Newest, *, healthy: Mapping[str, bool], erring: Sequence[str] = ()
    ) -> int:
        """Hand this to all workers; the number to wait for with `confirmed`."""
        self._newest = newest
        self._healthy = dict(healthy)
        self._erring = erring
        self.open()
        return self._hand_out()

    def end(self) -> int:
        """No ring any more."""
        self._newest = None
        self._healthy = {}
        return self._hand_out()

    def health(self, changes: Mapping[str, bool], *, erring: Sequence[str] = ()) -> None:
        """Tell all workers who is healthy now, only what changed; and who is out and answers."""
        self._healthy.update(changes)
        self._erring = erring
        for link in self._links:
            link.send(ipc.Kind.HEALTH, healthy=changes, erring=erring)

    @property
    def seq(self) -> int:
        """The number of the newest change."""
        return self._seq

    async def confirmed(self, seq: int, *, within: float) -> bool:
        """True once every live worker, and at least one, has confirmed `seq`; false after `within`."""
        try:
            async with asyncio.timeout(within):
                await self._settled.wait()
                while not self._links or any(link.acked < seq for link in self._links):
                    await self._change()
        except TimeoutError:
            return False
        return True

    async def reports(self, *, within: float) -> list[Report]:
        """A fresh report of every live worker; the last known one of those that are slow."""
        wanted = self._ask_all()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while any(
                    link.answered < number and link in self._links for link, number in wanted
                ):
                    await self._change()
        return [link.report for link in self._links]

    def forget_hits(self, space: int) -> None:
        """Slots mean something else from now on: count them anew."""
        self._space = space
        self._hits.begin(now=time.monotonic())

    async def hits(self, *, within: float) -> comparison.Hits:
        """Requests by slot of the last five minutes, those that workers still keep included."""
        self._hits_asked = float("-inf")
        await self.reports(within=within)
        return self._hits.hits(now=time.monotonic())

    @property
    def workers(self) -> int:
        """How many are connected."""
        return len(self._links)

    def _hand_out(self) -> int:
        self._seq += 1
        for link in self._links:
            self._bring_up_to_date(link)
        return self._seq

    async def serve(self, listener: socket.socket) -> None:
        """Accept workers until cancelled. The listening socket stays open: it is the supervisor's."""
        loop = asyncio.get_running_loop()
        loop.call_later(_SETTLE_SECONDS, self._settled.set)
        self._start(self._keep_asking())
        while True:
            connection, _ = await loop.sock_accept(listener)
            self._start(self._talk(connection))

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _talk(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        link: _Link | None = None
        try:
            async for frame in _frames(reader):
                if link is None:
                    link = await self._greeted(frame, writer)
                else:
                    self._hear(link, frame)
        except (OSError, ipc.FrameError, KeyError, TypeError, ValueError) as error:
            _log.warning("worker connection broke", reason=repr(error))
        finally:
            writer.close()
            if link is not None:
                self._links.remove(link)
                self._on_gone(link.report)
                self._notify()

    async def _greeted(self, hello: ipc.Frame, writer: asyncio.StreamWriter) -> _Link:
        if hello.kind is not ipc.Kind.HELLO:
            raise ipc.FrameError("a worker says hello first")
        served = hello.fields.get("membership")
        if served:
            await self._on_hello(served)
        await self._open.wait()
        link = _Link(pid=int(hello.fields["pid"]), writer=writer)
        self._links.append(link)
        if len(self._links) >= self._expected:
            self._settled.set()
        self._bring_up_to_date(link)
        return link

    def _bring_up_to_date(self, link: _Link) -> None:
        newest = self._newest
        if newest is None:
            link.send(ipc.Kind.END, seq=self._seq)
            return
        fresh = link.table_version != newest.table_version
        link.table_version = newest.table_version
        link.send(
            ipc.Kind.INSTALL,
            newest.table if fresh else b"",
            seq=self._seq,
            space=newest.space_version,
            membership=newest.membership,
            healthy=self._healthy,
            erring=self._erring,
        )

    def _hear(self, link: _Link, frame: ipc.Frame) -> None:
        fields = frame.fields
        match frame.kind:
            case ipc.Kind.ACK:
                link.acked = int(fields["seq"])
                self._notify()
            case ipc.Kind.REPORT:
                link.answered = int(fields["ask"])
                link.report = Report(stats=fields["stats"], in_flight=fields["inFlight"])
                self._notify()
            case ipc.Kind.HITS:
                if fields["space"] == self._space:
                    self._hits.add(frame.body, now=time.monotonic())
            case ipc.Kind.MARK:
                self._on_mark(str(fields["replica"]))
            case _:
                raise ipc.FrameError(f"a worker does not say {frame.kind}")

    def _ask_all(self) -> list[tuple[_Link, int]]:
        """Ask every worker for its counts; for those by slot, which are long, now and then."""
        now = time.monotonic()
        hits = now - self._hits_asked >= _HITS_SECONDS
        if hits:
            self._hits_asked = now
        return [(link, self._ask(link, hits=hits)) for link in self._links]

    def _ask(self, link: _Link, *, hits: bool) -> int:
        link.asked += 1
        link.send(ipc.Kind.ASK, ask=link.asked, hits=hits)
        return link.asked

    async def _keep_asking(self) -> None:
        """Once a second: what a dying worker counted is then at most a second old."""
        while True:
            await asyncio.sleep(self._ask_seconds)
            for link in tuple(self._links):
                link.missed = link.missed + 1 if link.asked > link.answered else 0
                if link.missed > _WEDGED_ASKS:
                    _log.error("worker is wedged, killing it", pid=link.pid)
                    # Its connection is open, so the process lives and the pid is still its own.
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(link.pid, signal.SIGKILL)
            self._ask_all()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _change(self) -> None:
        await self._changed.wait()


async def _frames(reader: asyncio.StreamReader) -> AsyncIterator[ipc.Frame]:
    decoder = ipc.Decoder()
    while data := await reader.read(_READ_BYTES):
        for frame in decoder.feed(data):
            yield frame


def in_flight(reports: Sequence[Report]) -> Mapping[str, int]:
    """Requests in flight by replica, all workers together."""
    total: Counter[str] = Counter()
    for report in reports:
        total.update(report.in_flight)
    return total
