"""The load: keep-alive GETs from many connections at once, each with a key of its own.

Law: edge, and honest: nothing is retried, whatever a client would call a failure is counted as one.
Bounded by the number of keys, of connections and by time. A request leaves three numbers behind:
who answered, when it was sent, how long it took.
"""

from __future__ import annotations

import asyncio
import collections
import json
import re
import time
import urllib.parse
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ringmaster_experiments import errors

NOBODY = -1
REQUEST_SECONDS = 30.0  # the balancer's own limit for a response
_SLOWEST = (60.0, 50.0)  # seconds to begin with, then requests a second
_HEAD_BYTES = 65_536
_REPORT_SECONDS = 0.1  # between two calls of `progress`
_OK = 200
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")
_FIELD = re.compile(rb"\r\n([^:\r\n]+):[ \t]*([^\r\n]*)")


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send requests."""

    host: str
    port: int
    path: str = "/home"

    @classmethod
    def of(cls, url: str) -> Target:
        """The target that an http:// URL without a path names. UsageError if it is none."""
        parts = urllib.parse.urlsplit(url)
        try:
            port = parts.port or 80
        except ValueError as error:
            raise errors.UsageError(f"{url}: {error}") from error
        if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/"):
            raise errors.UsageError(f"{url!r} is no balancer's address such as http://host:5000")
        return cls(parts.hostname, port)


@dataclass(frozen=True, slots=True)
class Server:
    """Who answered: the member that the balancer names, and the name that the server says."""

    member: str
    name: str


@dataclass(slots=True)
class Outcome:
    """What the clients saw. The arrays have one entry a request, in order of the keys.

    `sent` is in seconds of `time.monotonic`, 0 for a request that was never sent.
    """

    answers: array[int]  # index into `servers`, NOBODY for a failure
    sent: array[float]
    took: array[float]  # seconds
    servers: list[Server] = field(default_factory=list)
    failures: collections.Counter[str] = field(default_factory=collections.Counter)
    seconds: float = 0.0  # from the first request to the last answer


class Refused(Exception):  # noqa: N818 – an answer, though not the one hoped for
    """An answer that is no success."""


def run(
    target: Target,
    keys: Sequence[bytes],
    *,
    connections: int = 64,
    seconds: float | None = None,
    at: Mapping[int, Callable[[], None]] | None = None,
    progress: Callable[[int], None] = lambda _done: None,
) -> Outcome:
    """Send every key once, `connections` at a time; before request n is sent, start `at[n]`.

    What is not answered after `seconds` has failed; they default to what a slow machine needs.
    `progress` learns how many are done.
    """
    driver = _Driver(target, keys, at=at or {})
    bound = _SLOWEST[0] + len(keys) / _SLOWEST[1] if seconds is None else seconds
    asyncio.run(driver.drive(min(connections, len(keys)), seconds=bound, progress=progress))
    return driver.outcome


class _Driver:
    """One run."""

    def __init__(
        self, target: Target, keys: Sequence[bytes], *, at: Mapping[int, Callable[[], None]]
    ) -> None:
        count = len(keys)
        self.outcome = Outcome(
            answers=array("i", [NOBODY]) * count,
            sent=array("d", [0.0]) * count,
            took=array("d", [0.0]) * count,
        )
        self._target = target
        self._keys = keys
        self._at = at
        self._actions: list[asyncio.Task[None]] = []
        self._known: dict[tuple[bytes, bytes], int] = {}
        self._done = 0

    async def drive(
        self, connections: int, *, seconds: float, progress: Callable[[int], None]
    ) -> None:
        begin = time.monotonic()
        reporting = asyncio.create_task(self._report(progress))
        numbers = iter(range(len(self._keys)))
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(self._client(numbers) for _ in range(connections)))
                await asyncio.gather(*self._actions)
        except TimeoutError:
            missing = len(self._keys) - self._done
            self.outcome.failures[f"not answered within {seconds:g} s"] += missing
        finally:
            reporting.cancel()
        self.outcome.seconds = time.monotonic() - begin
        progress(self._done)

    async def _report(self, progress: Callable[[int], None]) -> None:
        while True:
            await asyncio.sleep(_REPORT_SECONDS)
            progress(self._done)

    async def _client(self, numbers: Iterator[int]) -> None:
        """One connection's requests, one after the other; a broken connection is opened again."""
        connection = _Connection(self._target)
        try:
            for number in numbers:
                if action := self._at.get(number):
                    self._actions.append(asyncio.create_task(asyncio.to_thread(action)))
                await self._request(number, connection)
                self._done += 1
        finally:
            connection.close()

    async def _request(self, number: int, connection: _Connection) -> None:
        start = self.outcome.sent[number] = time.monotonic()
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                who = await connection.get(self._keys[number])
            self.outcome.answers[number] = self._index(who)
        except Refused as refusal:
            self.outcome.failures[str(refusal)] += 1
        except TimeoutError:
            self.outcome.failures[f"no answer within {REQUEST_SECONDS:g} s"] += 1
            connection.close()
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            self.outcome.failures[f"connection: {type(error).__name__}"] += 1
            connection.close()
        self.outcome.took[number] = time.monotonic() - start

    def _index(self, who: tuple[bytes, bytes]) -> int:
        """The server of an answer; each different answer is looked into once."""
        index = self._known.get(who)
        if index is None:
            server = Server(member=who[0].decode("latin-1"), name=_name(who[1]))
            if server not in self.outcome.servers:
                self.outcome.servers.append(server)
            index = self._known[who] = self.outcome.servers.index(server)
        return index


class _Connection:
    """A connection that is opened when it is needed."""

    def __init__(self, target: Target) -> None:
        self._target = target
        host = f"[{target.host}]" if ":" in target.host else target.host
        self._request = f"GET {target.path} HTTP/1.1\r\nHost: {host}:{target.port}\r\n".encode()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, key: bytes) -> tuple[bytes, bytes]:
        """The member that the answer names, and its body. Refused: it is no 200."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(
                self._target.host, self._target.port, limit=_HEAD_BYTES
            )
        reader, writer = self._streams
        writer.write(b"%bX-Request-Id: %b\r\n\r\n" % (self._request, key))
        head = await reader.readuntil(b"\r\n\r\n")
        status = _STATUS.match(head)
        if status is None:
            self.close()
            raise Refused("no status line of HTTP/1")
        fields = {name.lower(): value for name, value in _FIELD.findall(head)}
        length = fields.get(b"content-length")
        if length is None or not length.isdigit():
            self.close()
            raise Refused("no Content-Length")
        body = await reader.readexactly(int(length))
        if fields.get(b"connection", b"").lower() == b"close":
            self.close()
        if int(status[1]) != _OK:
            raise Refused(f"status {int(status[1])}")
        return fields.get(b"x-ringmaster-member", b""), body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _name(body: bytes) -> str:
    """The name in `{"message": "Hello from Server: <name>", …}`; of another body: the body."""
    try:
        message = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        message = body[:200].decode(errors="backslashreplace")
    return message.removeprefix("Hello from Server: ")
