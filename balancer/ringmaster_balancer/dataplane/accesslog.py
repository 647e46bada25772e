"""The access log: a line of JSON for each request, written beside the event loop and never in it.

Law: edge. The loop builds a line and hands it to the thread of a `logs.Outlet`, which gathers what
came and writes it with one system call. A disk or a reader that stalls stalls that thread: what is
beyond its bound is dropped and counted. Several workers append to one file. Every line is ASCII.
Who calls: exchanges and clients, when the access log is on.
"""

from __future__ import annotations

import os
import time
from json import encoder
from typing import TYPE_CHECKING, Final

import structlog

from ringmaster_balancer import logs

if TYPE_CHECKING:
    from ringmaster_balancer.dataplane import exchange as exchanges

_log = structlog.get_logger()

STDOUT: Final = "-"
_GATHER: Final = 0.02  # s; what comes within is written together
_MOST: Final = 50_000  # lines that wait to be written, some 15 MB
_COMPLAIN: Final = 60.0  # s between two words about what cannot be written
_CLOSING: Final = 2.0  # s for the last lines
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
        self._complained = -_COMPLAIN
        self._second = 0
        self._stamp = ""
        self._outlet = logs.Outlet(
            self._open, name="access-log", most=_MOST, gather=_GATHER, failed=self._complain
        )
        self._put = self._outlet.put

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

    def reopen(self) -> None:
        """The file was moved away: go on in a new one of its name."""
        self._outlet.reopen()

    def close(self, *, within: float = _CLOSING) -> None:
        """No more lines come; those that wait are written, and awaited for so many seconds."""
        self._outlet.close(within)

    @property
    def dropped(self) -> int:
        """Lines that could not be written."""
        return self._outlet.lost

    # -- in the thread

    def _open(self) -> int:
        if self._path == STDOUT:
            return os.dup(1)
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def _complain(self, what: str, error: OSError) -> None:
        now = time.monotonic()
        if now - self._complained >= _COMPLAIN:
            self._complained = now
            _log.error(f"access log {what}", path=self._path, reason=error.strerror or str(error))
