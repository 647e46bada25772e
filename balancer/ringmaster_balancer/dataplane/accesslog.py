"""The access log: a line of JSON for each request, written beside the event loop and never in it.

Law: edge. The loop builds a line and appends it to a queue; a thread gathers what came and writes
it with one system call. A disk or a reader that stalls stalls that thread: the queue is bounded,
and what is beyond it is dropped and counted. Several workers append to one file. Every line is
ASCII. Who calls: exchanges and clients, when the access log is on.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from collections import deque
from json import encoder
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ringmaster_balancer.dataplane import exchange as exchanges

_log = structlog.get_logger()

STDOUT: Final = "-"
_GATHER: Final = 0.02  # s; what comes within is written together
_MOST: Final = 50_000  # lines that wait to be written, some 15 MB
_PIPE_BUF: Final = 4096  # bytes; what is not longer is not torn apart by another writer of a pipe
_COMPLAIN: Final = 60.0  # s between two words about what cannot be written
_CLOSING: Final = 2.0  # s for the last lines
_NONE: Final = -1  # a descriptor; the file cannot be opened, which is tried again with new lines
_NOBODY: Final = '"member":null,"replica":null,'

_quoted = encoder.encode_basestring_ascii


def label(member: str, replica: str) -> str:
    """How a line names a member."""
    return f'"member":{_quoted(member)},"replica":{_quoted(replica)},'


def _why(reason: str) -> str:
    """Only a line about something that failed has it."""
    return f'"reason":{_quoted(reason)},' if reason else ""


class AccessLog:
    """One worker's. `path`: a file, or STDOUT. One that cannot be opened takes and counts lines."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = _NONE
        self._lines: deque[str] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._reopening = False
        self._complained = -_COMPLAIN
        self._second = 0
        self._stamp = ""
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    # -- in the event loop

    def ended(self, exchange: exchanges.Exchange, now: float, end: str) -> None:
        """A request has ended: `complete`, `aborted` by its client, or `cut` off by us."""
        request, client, pool = exchange.request, exchange.client, exchange.pool
        snap = exchange.snapshot
        peer = client.peer
        if request.forwarded is not None and snap is not None:
            peer = client.address_for(request, snap)
        waited = (
            "null"
            if exchange.answered < exchange.asked
            else (f"{exchange.answered - exchange.asked:.6f}")
        )
        key = "null"
        for name, value, _ in request.fields:
            if name == b"x-request-id":
                key = _quoted(value.strip(b" \t").decode("utf-8", "backslashreplace"))
                break
        self._put(
            f'{{"time":"{self._now()}","client":{_quoted(peer)},'
            f'"method":"{request.method.decode()}",'
            f'"path":{_quoted(request.target.decode("latin-1"))},"status":{exchange.status},'
            f'"bytes":{exchange.bytes},"duration":{now - exchange.started:.6f},'
            f'"upstreamTime":{waited},{_NOBODY if pool is None else pool.label}'
            f'"slot":{"null" if exchange.slot < 0 else exchange.slot},'
            f'"generation":{"null" if snap is None else snap.generation},'
            f'"retries":{exchange.attempts},"requestId":{key},{_why(exchange.reason)}"end":"{end}"}}\n'
        )

    def refused(self, peer: str, status: int, reason: str) -> None:
        """What came was no request."""
        self._put(
            f'{{"time":"{self._now()}","client":{_quoted(peer)},"method":null,"path":null,'
            f'"status":{status},"bytes":0,"duration":0.000000,"upstreamTime":null,{_NOBODY}'
            f'"slot":null,"generation":null,"retries":0,"requestId":null,{_why(reason)}'
            '"end":"complete"}\n'
        )

    def _now(self) -> str:
        """UTC to the millisecond; what is alike for a second is remembered."""
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        return f"{self._stamp}{int((now - second) * 1000):03d}Z"

    def _put(self, line: str) -> None:
        lines = self._lines
        if len(lines) >= _MOST:
            self.dropped += 1
            return
        lines.append(line)
        if len(lines) == 1:
            self._wake.set()

    def reopen(self) -> None:
        """The file was moved away: go on in a new one of its name."""
        self._reopening = True
        self._wake.set()

    def close(self, *, within: float = _CLOSING) -> None:
        """No more lines come; those that wait are written, and awaited for so many seconds."""
        self._closing = True
        self._wake.set()
        self._thread.join(within)

    # -- in the thread

    def _run(self) -> None:
        self._open_anew()  # not before: a FIFO waits for its reader
        while not self._closing:
            self._wake.wait()
            self._wake.clear()
            if not self._closing:
                time.sleep(_GATHER)
            if self._reopening or (self._descriptor == _NONE and self._lines):
                self._reopening = False
                self._open_anew()
            self._write()
        with contextlib.suppress(OSError):
            os.close(self._descriptor)

    def _write(self) -> None:
        lines = self._lines
        batch = []
        with contextlib.suppress(IndexError):
            while True:
                batch.append(lines.popleft())
        written = 0
        if self._descriptor == _NONE:
            self.dropped += len(batch)
            return
        try:
            for count, piece in _pieces(batch, pipe=_is_pipe(self._descriptor)):
                _write_all(self._descriptor, piece)
                written += count
        except OSError as error:
            self.dropped += len(batch) - written
            self._complain("access log cannot be written", error)

    def _open_anew(self) -> None:
        try:
            fresh = _open(self._path)
        except OSError as error:
            if self._descriptor == _NONE:
                self._complain("access log cannot be opened, its lines are lost", error)
            else:
                self._complain("access log cannot be opened anew, going on in the old file", error)
            return
        if self._descriptor != _NONE:
            os.close(self._descriptor)
        self._descriptor = fresh

    def _complain(self, what: str, error: OSError) -> None:
        now = time.monotonic()
        if now - self._complained >= _COMPLAIN:
            self._complained = now
            _log.error(what, path=self._path, reason=error.strerror or str(error))


def _open(path: str) -> int:
    if path == STDOUT:
        return os.dup(1)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def _is_pipe(descriptor: int) -> bool:
    return stat.S_ISFIFO(os.fstat(descriptor).st_mode)


def _pieces(lines: list[str], *, pipe: bool) -> Iterator[tuple[int, bytes]]:
    """What to write at once, with the number of its lines: all; to a pipe only so much."""
    if not pipe:
        if lines:
            yield len(lines), "".join(lines).encode()
        return
    piece: list[str] = []
    size = 0
    for line in lines:
        if piece and size + len(line) > _PIPE_BUF:
            yield len(piece), "".join(piece).encode()
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    if piece:
        yield len(piece), "".join(piece).encode()


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:  # somebody made our output non-blocking
            time.sleep(_GATHER)
