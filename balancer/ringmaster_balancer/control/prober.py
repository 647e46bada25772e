"""Active health checks: once per balancer, in the control process.

Law: edge. Each target (id, replica, address) has one task and its own judgement, which starts anew
with a replacement. A probe starts every `intervalSeconds`; a member that a worker complained about
is probed at once, and again at once until `health` has decided. A dead member is so found within
two refused connections, a frozen one within interval × fall + timeout.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from ringmaster_balancer import members, sockets
from ringmaster_balancer.control import health, threads
from ringmaster_balancer.dataplane import heads, http1

_log = structlog.get_logger()

# Between the probes of a member in doubt: enough for a listener that is just being replaced.
_HURRY_SECONDS = 0.02
_READ_BYTES = 65_536
_FIELDS = 1000  # in a head, as the data plane takes them
_HEAD_BYTES = members.Limits().head_bytes


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to probe. Another address or replica is another target."""

    id: str
    replica: str
    address: str


Probe = Callable[[Target, members.Health], Awaitable[health.Finding | None]]


class Names:
    """Looks up host names, each in a thread of its own: a resolver that is silent holds up no push.

    Who asks for a name that is being looked up waits for that answer. None is kept.
    """

    def __init__(self) -> None:
        self._asked: dict[str, asyncio.Task[list[str]]] = {}

    async def addresses(self, host: str) -> list[str]:
        """All addresses of a host, itself if it is one. Raises OSError."""
        with contextlib.suppress(ValueError):
            return [str(ipaddress.ip_address(host))]
        asked = self._asked.get(host)
        if asked is None:
            asked = self._asked[host] = asyncio.create_task(
                threads.run(lambda: _looked_up(host), name="names")
            )
            asked.add_done_callback(lambda task: self._answered(host, task))
        return await asyncio.shield(asked)

    def _answered(self, host: str, task: asyncio.Task[list[str]]) -> None:
        del self._asked[host]
        if not task.cancelled():
            task.exception()  # who asked may have stopped waiting


def _looked_up(host: str) -> list[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


async def check(
    target: Target,
    settings: members.Health,
    *,
    names: Names | None = None,
    lacking: Callable[[str], None] | None = None,
) -> health.Finding | None:
    """One probe: good is a connect, or 200..399 from the health path.

    None: it could not be made for want of a resource of our own, which `lacking` is told.
    """
    host, port = members.split_address(target.address)
    try:
        async with asyncio.timeout(settings.timeout_seconds):
            reader, writer = await _connected(await (names or Names()).addresses(host), port)
            try:
                if settings.path is None:
                    return health.Finding.GOOD
                return await _asked(reader, writer, target=target, path=settings.path)
            finally:
                writer.close()
    except OSError as error:  # TimeoutError is one
        resource = sockets.shortage(error)
        if resource and lacking is not None:
            lacking(resource)
        return None if resource else health.Finding.SILENT
    except (EOFError, ValueError, asyncio.LimitOverrunError):  # no head, or none that is one
        return health.Finding.SILENT
    except (heads.MalformedError, http1.BadResponseError):
        return health.Finding.SILENT


async def _connected(
    addresses: Sequence[str], port: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To the first address that takes it; the last one's error is raised."""
    for address in addresses[:-1]:
        with contextlib.suppress(OSError):
            return await asyncio.open_connection(address, port, limit=_HEAD_BYTES)
    return await asyncio.open_connection(addresses[-1], port, limit=_HEAD_BYTES)


async def _asked(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, target: Target, path: str
) -> health.Finding:
    head = f"GET {path} HTTP/1.1\r\nHost: {target.address}\r\nUser-Agent: ringmaster-balancer\r\n"
    writer.write(f"{head}Accept: */*\r\nConnection: close\r\n\r\n".encode())
    status = await _final_status(reader)
    # Read on, so that the server does not see its answer reset; a long one is cut off all the same.
    await reader.read(_READ_BYTES)
    return health.Finding.GOOD if status < http.HTTPStatus.BAD_REQUEST else health.Finding.ERROR


async def _final_status(reader: asyncio.StreamReader) -> int:
    """Judged as clients' requests judge it: who cannot answer those is not healthy.

    An interim response is none yet (RFC 9110 section 15.2); 101 is one to what nobody asked.
    """
    parser = heads.Reader(responses=True, wanted=http1.RESPONSE_FIELDS, limit=_FIELDS)
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        status = http1.response(head, parser.read(head), b"GET").status
        if status == http.HTTPStatus.SWITCHING_PROTOCOLS:
            raise http1.BadResponseError("it switched protocols unasked")
        if status >= http.HTTPStatus.OK:
            return status


@dataclass(slots=True)
class _Watched:
    """A target's judgement and its task."""

    state: health.Health
    answers: bool = False  # as of the last probe
    task: asyncio.Task[None] | None = None
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    known: asyncio.Event = field(default_factory=asyncio.Event)


class Prober:
    """Probes targets until told otherwise. `on_change` hears every judgement that changed.

    It hears an empty change when one that is out begins to answer, or answers no more.
    """

    def __init__(
        self, *, on_change: Callable[[dict[str, bool]], None], probe: Probe | None = None
    ) -> None:
        self._on_change = on_change
        self.shortages = sockets.Shortages()
        self._probe = probe or functools.partial(check, names=Names(), lacking=self.shortages.note)
        self._settings = members.Health()
        self._watched: dict[Target, _Watched] = {}

    def watch(
        self, targets: Iterable[Target], *, settings: members.Health, known: bool = True
    ) -> None:
        """Probe exactly these from now on. New ones count as healthy if `known`, else as out.

        Judgements of those that stay are kept.
        """
        wanted = dict.fromkeys(targets)
        for target in [target for target in self._watched if target not in wanted]:
            gone = self._watched.pop(target)
            self._stop(gone)
            gone.known.set()  # nobody waits for it any more
        changed = settings != self._settings
        self._settings = settings
        for target in wanted:
            watched = self._watched.get(target)
            if watched is None:
                state = health.TRUSTED if known else health.UNKNOWN
                watched = self._watched[target] = _Watched(state=state)
            else:
                if known and watched.state.healthy is None:
                    watched.state = health.TRUSTED
                    watched.known.set()
                if not changed:
                    continue
            self._stop(watched)
            watched.task = asyncio.create_task(self._keep_probing(target, watched))

    def hurry(self, replica: str) -> None:
        """A worker complains: probe this member now."""
        for target, watched in self._watched.items():
            if target.replica == replica:
                watched.hurry.set()

    def healthy(self) -> dict[str, bool]:
        """By replica; one of which nothing is known yet counts as out."""
        return {t.replica: bool(watched.state.healthy) for t, watched in self._watched.items()}

    def erring(self) -> list[str]:
        """The replicas that are out, and answer their probes all the same."""
        return [
            target.replica
            for target, watched in self._watched.items()
            if watched.state.healthy is False and watched.answers
        ]

    async def first_round(self, *, within: float) -> None:
        """Returns once something is known of every target, or after `within` seconds."""
        unknown = [each for each in self._watched.values() if each.state.healthy is None]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                for watched in unknown:
                    await watched.known.wait()

    def close(self) -> None:
        """Stop probing."""
        self.watch((), settings=self._settings)

    @staticmethod
    def _stop(watched: _Watched) -> None:
        if watched.task is not None:
            watched.task.cancel()
            watched.task = None

    async def _keep_probing(self, target: Target, watched: _Watched) -> None:
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            finding = await self._probe(target, self._settings)
            if finding is not None:
                self._judge(target, watched, finding)
            if watched.hurry.is_set() and watched.state.doubtful:
                await asyncio.sleep(_HURRY_SECONDS)
                continue
            watched.hurry.clear()
            rest = started + self._settings.interval_seconds - loop.time()
            try:
                async with asyncio.timeout(max(rest, 0)):
                    await watched.hurry.wait()
            except TimeoutError:
                continue

    def _judge(self, target: Target, watched: _Watched, finding: health.Finding) -> None:
        before, answered = watched.state, watched.answers
        good = finding is health.Finding.GOOD
        watched.state = health.heard(before, good=good, settings=self._settings)
        watched.answers = finding is not health.Finding.SILENT
        watched.known.set()
        if watched.state.healthy != before.healthy:
            _log.info(
                "member is healthy" if watched.state.healthy else "member is unhealthy",
                member=target.id,
                replica=target.replica,
                address=target.address,
                probe=finding.value,
            )
            self._on_change({target.replica: bool(watched.state.healthy)})
        elif not watched.state.healthy and watched.answers is not answered:
            self._on_change({})
