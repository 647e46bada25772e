"""Idle connections, in-flight counts and passive health of each member.

Law: pure. A pool belongs to one (id, replica, address) and starts anew with a replacement. Methods
that take connections out of use return them: the caller closes them. Times are seconds on one
clock that never goes back. Who calls: the data plane, from one thread.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from ringmaster_balancer import members
from ringmaster_balancer.ring import hashing

FRESH: Final = 1.0  # s; what is not idempotent takes no connection that was idle for longer
WINDOW: Final = 10  # s; retries are a share of the requests in it
MAX_IDLE: Final = 256  # connections; HAProxy and nginx keep fewer, Envoy more
# Upper bounds in seconds, as Prometheus' clients have them, and two finer ones.
BUCKETS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)


class Idle(Protocol):
    """A connection as the pool sees it."""

    idle_since: float


C = TypeVar("C", bound=Idle)


class Identity(NamedTuple):
    """What makes two membership entries the same member."""

    id: str
    replica: str
    address: str


class Load:
    """What the members of one worker have to do together.

    `total`: requests in flight. `weight`: of the members that may be asked. `waiting`: requests
    that wait for a place, first come first served; `freed` is called when there may be one.
    """

    __slots__ = ("freed", "total", "waiting", "weight")

    def __init__(self, freed: Callable[[], None] | None = None, *, total: int = 0) -> None:
        self.total = total
        self.weight = 0
        self.waiting: deque[Any] = deque()
        self.freed = freed

    def left(self, request: Any) -> None:
        """It waits no more; whoever stood behind it may be first now."""
        self.waiting.remove(request)
        if self.waiting and self.freed is not None:
            self.freed()


class Pool(Generic[C]):
    """One member: who it is, whether it may be asked, its connections and its counts.

    `plain` is what the request path reads: `open`, and nothing that must be looked at for each
    request. `open`: active, and healthy and not ejected, or out by a judgement that is not
    believed (panic). `judge` keeps both current after every change of the others.
    """

    __slots__ = (
        "active",
        "buckets",
        "bytes_in",
        "bytes_out",
        "codes",
        "connects",
        "consecutive",
        "ejected_until",
        "ejections",
        "erring",
        "failures",
        "healthy",
        "host",
        "identity",
        "idle",
        "inflight",
        "label",
        "load",
        "mark",
        "open",
        "panic",
        "picky",
        "plain",
        "port",
        "probation",
        "retries",
        "seconds",
        "unix",
        "warm_since",
        "warm_until",
        "warming",
        "weight",
    )

    def __init__(
        self, identity: Identity, *, host: str, port: int, unix: str | None = None
    ) -> None:
        self.identity = identity
        self.host = host
        self.port = port
        self.unix = unix  # a Unix socket's path instead
        self.mark = b""  # lines that name the member to the client, if wanted
        self.label = ""  # how the access log names it
        self.active = True
        self.healthy = True
        self.erring = False  # it answers its probes, with an error
        self.panic = False  # too many are out: those that answer at all serve
        self.ejected_until = 0.0  # 0: not ejected
        self.ejections = 0  # in a row; how long the next one lasts
        self.probation = 0.0  # until then a success ends no such row
        self.picky = False  # a limit or a bound applies to every request
        self.warming = 0  # what chooses the slots that it serves first
        self.warm_since = self.warm_until = 0.0  # 0: warm
        self.open = self.plain = True
        self.weight = 100
        self.load = Load()
        self.idle: deque[C] = deque()  # the last used is at the right
        self.inflight = 0
        self.consecutive = 0  # failures since the last success
        self.codes: dict[int, int] = {}  # responses by their status
        self.buckets = [0] * (len(BUCKETS) + 1)  # whole requests by how long they took
        self.seconds = 0.0
        self.failures = 0
        self.retries = 0  # requests that came here after another member, or connection, failed
        self.connects = 0
        self.bytes_in = 0  # of responses
        self.bytes_out = 0  # of requests

    def judge(self) -> None:
        """Bring `open` and `plain` up to date."""
        sound = self.sound or (self.panic and (self.healthy or self.erring))
        self.open = self.active and sound
        self.plain = self.open and not self.picky and not self.warm_until

    @property
    def sound(self) -> bool:
        """Neither probes nor requests speak against it."""
        return self.healthy and not self.ejected_until

    def join(self, load: Load) -> None:
        """It has its part in this load from now on."""
        if load is not self.load:
            self.load.total -= self.inflight
            self.load = load
            load.total += self.inflight

    def enter(self) -> None:
        """A request is its to answer."""
        self.inflight += 1
        self.load.total += 1

    def leave(self) -> None:
        """A request is not, or no more."""
        self.inflight -= 1
        load = self.load
        load.total -= 1
        if load.waiting and load.freed is not None:
            load.freed()

    def within(self, bounded: float) -> bool:
        """Whether one more keeps it to `bounded` times its even share of what is in flight.

        Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2016): with m in
        flight on n members of one weight, at most ⌈c·(m+1)/n⌉ each.
        """
        load = self.load
        room = bounded * (load.total + 1) * self.weight
        return (self.inflight + 1e-9) * load.weight < room

    def warm_up(self, now: float, *, seconds: float, seed: int) -> None:
        """Serve more and more of its own slots, all of them after so long."""
        self.warm_since = now
        self.warm_until = now + seconds
        self.warming = seed

    def warm_for(self, slot: int, now: float) -> bool:
        """Whether it serves this slot of its own already: a slot that it has got stays with it."""
        share = (now - self.warm_since) / (self.warm_until - self.warm_since)
        return hashing.mix64(slot ^ self.warming) <= share * 2.0**64

    def take(self, now: float, *, replayable: bool) -> C | None:
        """The connection that was used last, for which the server's timeout is furthest away.

        What cannot be replayed gets one that was in use within the last second, or none: a server
        that closes an idle connection while a request is on its way has not read it, but we could
        not know.
        """
        idle = self.idle
        if not idle or (not replayable and now - idle[-1].idle_since > FRESH):
            return None
        return idle.pop()

    def give(self, connection: C, now: float) -> C | None:
        """Keep it for the next request; what is returned is to be closed."""
        connection.idle_since = now
        self.idle.append(connection)
        return self.idle.popleft() if len(self.idle) > MAX_IDLE else None

    def lost(self, connection: C) -> None:
        """It was closed by the other side."""
        try:
            self.idle.remove(connection)
        except ValueError:
            return

    def stale(self, before: float) -> list[C]:
        """Take out those last used before that time."""
        out = []
        while self.idle and self.idle[0].idle_since < before:
            out.append(self.idle.popleft())
        return out

    def retire(self) -> list[C]:
        """No new request; those in flight finish. Returns the idle connections, to be closed."""
        self.active = False
        self.join(Load())
        self.judge()
        out = list(self.idle)
        self.idle.clear()
        return out

    def answered(self, status: int) -> None:
        """A response has begun."""
        self.codes[status] = self.codes.get(status, 0) + 1

    def succeeded(self, now: float) -> None:
        """A response was complete. The next ejection is as short as the first if all has been well.

        That is: for as long as the last one lasted, or a member that flaps would be back at once
        every time.
        """
        self.consecutive = 0
        if self.ejections and not self.ejected_until and now >= self.probation:
            self.ejections = 0

    def failed(self, outlier: members.Outlier) -> bool:
        """A connect, or the wait for a response, failed. True if it is to be ejected for that."""
        self.failures += 1
        self.consecutive += 1
        limit = outlier.consecutive_failures
        return bool(limit) and self.consecutive >= limit and not self.ejected_until

    def eject(self, now: float, outlier: members.Outlier) -> None:
        """Pass it over: for `eject_seconds`, doubling each time up to the maximum."""
        self.consecutive = 0
        doubled = outlier.eject_seconds * 2.0 ** min(self.ejections, 30)
        seconds = min(doubled, outlier.max_eject_seconds)
        self.ejections += 1
        self.ejected_until = now + seconds
        self.probation = now + 2 * seconds
        self.judge()

    def readmit(self, now: float) -> bool:
        """Let it serve again once its time is over; whether that was so."""
        if not self.ejected_until or now < self.ejected_until:
            return False
        self.ejected_until = 0.0
        self.judge()
        return True


def may_eject(out: int, total: int, outlier: members.Outlier) -> bool:
    """Whether one more of `total` may be ejected when so many others are out already."""
    return (out + 1) * 100 <= total * outlier.max_ejected_percent


def panic(out: int, total: int, outlier: members.Outlier) -> bool:
    """Whether so many are out that the judgement is doubted more than the members.

    Ejections alone never bring it about, `may_eject` sees to that.
    """
    return out * 100 > total * outlier.max_ejected_percent


@dataclass(slots=True)
class Budget:
    """Retries may be a share of the requests of the last 10 s, or so many a second if few.

    One deque entry a second; `allows` is called for a retry only.
    """

    window: deque[tuple[int, int]]
    requests: int = 0  # totals since start
    retries: int = 0
    refunds: int = 0  # renewals, counted as retries, that were none: the fresh connection answered

    @classmethod
    def new(cls) -> Budget:
        """Nothing spent."""
        return cls(deque([(0, 0)], maxlen=WINDOW))

    def tick(self) -> None:
        """One second has passed."""
        self.window.append((self.requests, self.retries - self.refunds))

    def allows(self, retries: members.Retries) -> bool:
        """Whether one more retry is within the bounds; `spend` counts it."""
        requests, spent = self.window[0]
        share = (self.requests - requests) * retries.budget_percent / 100
        # Of the whole window from the start on: a death in our first second is no brown-out.
        floor = retries.budget_minimum * WINDOW
        return self.retries - self.refunds - spent < max(math.ceil(share), floor)

    def spend(self) -> None:
        """A retry is made."""
        self.retries += 1
