"""A worker's side of the private socket, scripted: says hello, and confirms if it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ringmaster_balancer import ipc


@contextlib.contextmanager
def listener():
    """A listening Unix socket and its path; short, as such a path must be."""
    with (
        tempfile.TemporaryDirectory(prefix="rm-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock,
    ):
        path = str(Path(folder) / "workers.sock")
        sock.bind(path)
        sock.listen(16)
        sock.setblocking(False)
        yield sock, path


class FakeWorker:
    """`got` has every frame so far."""

    def __init__(self, *, confirms: bool = True, answers: bool = True, stats: Any = None) -> None:
        self.confirms = confirms
        self.answers = answers
        self.stats = stats or {}
        self.hits: bytes = b""  # by slot, handed over once when asked
        self.in_flight: dict[str, int] = {}
        self.got: list[ipc.Frame] = []
        self._news = asyncio.Event()

    @contextlib.asynccontextmanager
    async def connected(
        self, path: str, *, serving: Any = None, pid: int = 0
    ) -> AsyncIterator[FakeWorker]:
        reader, self._writer = await asyncio.open_unix_connection(path)
        self.say(ipc.Kind.HELLO, pid=pid or os.getpid(), index=0, membership=serving)
        task = asyncio.create_task(self._read(reader))
        try:
            yield self
        finally:
            task.cancel()
            self._writer.close()
            await asyncio.gather(task, return_exceptions=True)

    def say(self, kind: ipc.Kind, body: bytes = b"", **fields: Any) -> None:
        self._writer.write(ipc.encode(ipc.Frame(kind=kind, fields=fields, body=body)))

    def shout(self, data: bytes) -> None:
        self._writer.write(data)

    async def until(self, kind: ipc.Kind, count: int = 1) -> ipc.Frame:
        """The newest frame of a kind, once there are `count`."""
        async with asyncio.timeout(10):
            while len(found := [f for f in self.got if f.kind is kind]) < count:
                self._news.clear()
                await self._news.wait()
        return found[-1]

    async def _read(self, reader: asyncio.StreamReader) -> None:
        decoder = ipc.Decoder()
        while data := await reader.read(65_536):
            for frame in decoder.feed(data):
                self.got.append(frame)
                self._answer(frame)
                self._news.set()

    def _answer(self, frame: ipc.Frame) -> None:
        if frame.kind in {ipc.Kind.INSTALL, ipc.Kind.END} and self.confirms:
            self.say(ipc.Kind.ACK, seq=frame.fields["seq"])
        if frame.kind is ipc.Kind.ASK and self.answers:
            space = [f for f in self.got if f.kind is ipc.Kind.INSTALL][-1:]
            if self.hits and frame.fields.get("hits") and space:
                self.say(ipc.Kind.HITS, self.hits, space=space[0].fields["space"])
                self.hits = b""
            fields = {"stats": self.stats, "inFlight": self.in_flight}
            self.say(ipc.Kind.REPORT, ask=frame.fields["ask"], **fields)
