"""The data plane of one worker: accepts clients, routes their requests, counts.

`DataPlane` is what a worker drives: it is handed listening sockets and tables, and asked for its
counts. The request path calls no metrics library and no timer: counters are plain, and one sweep
every 250 ms looks at the deadlines.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from bisect import bisect_left
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import structlog

from ringmaster_balancer import logs, members, sockets, tls
from ringmaster_balancer.dataplane import (
    accesslog,
    doors,
    heads,
    http1,
    outbox,
    recurring,
    responses,
    snapshot,
    turns,
    upstream,
    upstreams,
)
from ringmaster_balancer.dataplane import client as clients

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

    from ringmaster_balancer.dataplane import exchange as exchanges
    from ringmaster_balancer.ring import table

_log = structlog.get_logger()

SWEEP = 0.25  # s
_TICKS = 4  # sweeps in a second
_LAB_SECONDS = 65.0  # `/add` waits for its servers for up to 60 s
_POLL = 0.02  # s
_NEVER = 86_400.0  # s
_CROWD = 10  # a tenth of the connections that are allowed may wait for their 503 besides
_OWN_DESCRIPTORS = 64  # sockets, logs and the event loop, whatever clients do
_BACKLOG = 4096  # connections; the kernel caps it at net.core.somaxconn


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker is started with.

    `lab_socket`: the Unix socket of the control process; with it the lab API is on.
    `workers`: how many share the limits. `needs_table`: accept only once there is a table, instead
    of answering 503. `tls`: for clients. `access_log`: a file or `-`, should the membership want one.
    `descriptors`: how many files the process may have open; 0: no bound.
    """

    lab_socket: str | None = None
    worker: int = 0
    workers: int = 1
    access_log: str = accesslog.STDOUT
    needs_table: bool = False
    tls: ssl.SSLContext | None = None
    descriptors: int = 0

    @property
    def room(self) -> int:
        """How many clients the descriptors are enough for, each with a connection to a member.

        A crowd that waits for its 503 takes some besides. 0: no bound.
        """
        if self.descriptors <= 0:
            return 0
        return max(1, (self.descriptors - _OWN_DESCRIPTORS) * _CROWD // (2 * _CROWD + 1))


class DataPlane:
    """All of it is called from its event loop's thread.

    `on_failure(replica, reason)` is called for whatever may speak against a replica,
    `on_ejected(replica)` and `on_recovered(replica)` when passive health passes it over and not,
    `on_panic(begins)` when too many are out, and no more.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        on_failure: Callable[[str, str], None] | None = None,
        on_ejected: Callable[[str], None] | None = None,
        on_recovered: Callable[[str], None] | None = None,
        on_panic: Callable[[bool], None] | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.scheme = b"https" if self.settings.tls else b"http"
        self._on_failure = on_failure
        self._on_ejected = on_ejected
        self._on_recovered = on_recovered
        self._on_panic = on_panic
        self.clients: set[clients.Client] = set()
        self.arriving: set[clients.Client] = set()  # accepted, and not yet there: in a handshake
        self.snapshot: snapshot.Snapshot | None = None
        self.rules = snapshot.DEFAULT_RULES
        self.pools: dict[upstreams.Identity, snapshot.Pool] = {}
        self._retired: dict[upstreams.Identity, snapshot.Pool] = {}
        self._draining: set[upstreams.Identity] = set()
        self._health: dict[str, bool] = {}
        self._erring: frozenset[str] = frozenset()
        self.load = upstreams.Load(self._freed)
        self._serving = False
        self.panic = False
        self.budget = upstreams.Budget.new()
        self._wanted = http1.REQUEST_FIELDS | http1.LOOK_ALIKES
        self.answered = recurring.Responses()
        self._make_readers()
        self.outbox = outbox.Outbox()
        self.turns = turns.Turns()
        self.date = responses.date(time.time())  # the line, for what has none; the sweep's care
        self.lab: snapshot.Pool | None = None
        self.lab_rules = replace(snapshot.DEFAULT_RULES, response_seconds=_LAB_SECONDS)
        if self.settings.lab_socket is not None:
            who = upstreams.Identity("", "", self.settings.lab_socket)
            self.lab = upstreams.Pool(who, host="", port=0, unix=self.settings.lab_socket)
        self._servers: list[asyncio.Server | doors.Door] = []
        self._waiting: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self.draining = False
        self.accepted = self.aborted = self.cuts = 0
        self.renewals = self.refused_retries = 0
        self.waits = self.overflows = self.lab_requests = 0
        self.hits = array("I")
        self.log: accesslog.AccessLog | None = None
        self._lost_lines = 0
        self.buckets = [0] * (len(upstreams.BUCKETS) + 1)
        self.seconds = 0.0
        self.own: dict[int, int] = {}
        self.shortages = sockets.Shortages()

    def _make_readers(self) -> None:
        limit = self.rules.header_count
        self.requests = heads.Reader(responses=False, wanted=self._wanted, limit=limit)
        self.responses = heads.Reader(responses=True, wanted=http1.RESPONSE_FIELDS, limit=1000)
        key = None if self.snapshot is None else self.snapshot.key_header
        longest = min(self.rules.head_bytes, self.rules.target_bytes)
        self.asked = recurring.Requests(key=key, limit=longest)
        for client in self.clients:
            client.question = None

    # -- membership

    def install(self, membership: members.Membership, compiled: table.Table) -> None:
        """Route by this from the next request on; requests in flight finish where they are.

        But those that wait on a member that left without a drain, as on one that became ill.
        """
        old = {**self._retired, **self.pools}
        known = {*self.pools, *self._draining}
        pools: dict[upstreams.Identity, snapshot.Pool] = {}
        draining: dict[upstreams.Identity, snapshot.Pool] = {}
        by_id: dict[str, snapshot.Pool] = {}
        for member in membership.members:
            if member.address is None or member.state is members.State.ABSENT:
                continue
            who = upstreams.Identity(member.id, member.replica, member.address)
            pool = old.get(who) or self._pool(who)
            pool.weight = member.weight
            pool.mark = _mark(membership, member)
            pool.label = accesslog.label(member.id, member.replica)
            if member.state is members.State.ACTIVE:
                by_id[member.id] = pools[who] = pool
                self._activate(pool, membership, fresh=who not in known)
            else:
                draining[who] = pool
        self._draining = set(draining)
        self._retired.update(draining)
        self._retire([pool for who, pool in {**old, **draining}.items() if who not in pools])
        for who in pools:
            self._retired.pop(who, None)
        left = {who for who in self.pools if who not in pools and who not in draining}
        self.pools = pools
        if len(self.hits) != compiled.slots:
            self.hits = array("I", bytes(4 * compiled.slots))
        self.snapshot = snapshot.build(
            membership, compiled, by_id, workers=self.settings.workers, hits=self.hits
        )
        self.rules = self.snapshot.rules
        self._wanted = self.snapshot.wanted
        self._log(wanted=self.rules.access_log)
        self._make_readers()
        self._assess()
        self._leave(left)
        while self._waiting:
            self._spawn(self._accept(self._waiting.pop()))
        replicas = {member.replica for member in membership.members}
        self._health = {name: good for name, good in self._health.items() if name in replicas}

    def _activate(
        self, pool: snapshot.Pool, membership: members.Membership, *, fresh: bool
    ) -> None:
        """It is in the ring. `fresh`: it was not known before; at our own start nobody was."""
        limits, seconds = membership.proxy.limits, membership.proxy.slow_start_seconds
        pool.active = True
        pool.healthy = self._health.get(pool.identity.replica, True)
        pool.picky = bool(limits.per_member or membership.ring.bounded_load)
        pool.join(self.load)
        if not seconds:
            pool.warm_until = 0.0
        elif fresh and self.snapshot is not None:
            pool.warm_up(time.monotonic(), seconds=seconds, seed=membership.generation)

    def clear(self) -> None:
        """There is no ring any more: 503 until the next one."""
        self._draining = set()
        self._retire([*self.pools.values()])
        self.pools = {}
        self.snapshot = None
        self._assess()

    def _log(self, *, wanted: bool) -> None:
        if not wanted and self.log is not None:
            self._lost_lines += self.log.dropped
            self.log.close(within=0.0)
            self.log = None
        elif wanted and self.log is None:
            self.log = accesslog.AccessLog(self.settings.access_log)

    def reopen_log(self) -> None:
        """The access log's file was moved away."""
        if self.log is not None:
            self.log.reopen()

    def _assess(self) -> None:
        """Bring what all members are together up to date, after any change of one."""
        out = sum(not pool.sound for pool in self.pools.values())
        panic = upstreams.panic(out, len(self.pools), self.rules.outlier)
        self.load.weight = 0
        for pool in self.pools.values():
            pool.panic = panic
            pool.erring = pool.identity.replica in self._erring
            pool.judge()
            self.load.weight += pool.weight * pool.open
        if self.load.waiting:
            self._freed()
        if panic != self.panic:
            self.panic = panic
            if self._on_panic is not None:
                self._on_panic(panic)

    def _freed(self) -> None:
        """There may be a place for a request that waits for one: see to it in the next turn."""
        if not self._serving:
            self._serving = True
            asyncio.get_running_loop().call_soon(self.serve_waiting)

    def serve_waiting(self) -> None:
        """Give the places that came free to those that wait, who came first to the first.

        Afterwards nobody waits who could be served: a newcomer may take what is left.
        """
        if not self._serving:
            return
        self._serving = False
        waiting = self.load.waiting
        limit = self.rules.per_member
        free = [pool for pool in self.pools.values() if not limit or pool.inflight < limit]
        now = time.monotonic()
        skipped: list[exchanges.Exchange] = []
        while waiting:
            first = waiting.popleft()
            if first.suits(free) and first.resume(now):
                continue
            skipped.append(first)
            if not first.attempts:
                break  # it would go anywhere; one that was tried before may want another member
        waiting.extendleft(reversed(skipped))

    def _pool(self, who: upstreams.Identity) -> snapshot.Pool:
        host, port = members.split_address(who.address)
        return upstreams.Pool(who, host=host, port=port)

    def _retire(self, pools: list[snapshot.Pool]) -> None:
        for pool in pools:
            for connection in pool.retire():
                connection.close()
            self._retired[pool.identity] = pool  # until the next sweep, or as long as it works
        for client in self.clients:
            client.unbind(inactive=True)

    def _keep_counts(self, pool: snapshot.Pool) -> None:
        """It is gone; what it did was done."""
        self.buckets = [sum(column) for column in zip(self.buckets, pool.buckets, strict=True)]
        self.seconds += pool.seconds

    def set_health(
        self, health: Mapping[str, bool], *, erring: Iterable[str] | None = None
    ) -> None:
        """What active probing says of these replicas.

        `erring`: all those that answer, with an error; when too many are out they serve. Requests
        that wait on one that became ill go to their next candidate if they may.
        """
        self._health.update(health)
        if erring is not None:
            self._erring = frozenset(erring)
        ill = set()
        for pool in [*self.pools.values(), *self._retired.values()]:
            healthy = health.get(pool.identity.replica)
            if healthy is None or healthy == pool.healthy:
                continue
            pool.healthy = healthy
            if healthy:
                pool.readmit(float("inf"))
            else:
                ill.add(pool.identity)
        self._assess()
        self._leave({who for who in ill if who not in self.pools or not self.pools[who].open})

    def _leave(self, ill: set[upstreams.Identity]) -> None:
        """Requests that wait on these go elsewhere, if there is anybody else."""
        if not ill or not any(pool.open for pool in self.pools.values()):
            return
        for pool in [pool for who, pool in self.pools.items() if who in ill]:
            idle, pool.idle = list(pool.idle), type(pool.idle)()
            for connection in idle:
                connection.close()
        for client in list(self.clients):
            current = client.exchange
            if current is not None and current.pool and current.pool.identity in ill:
                current.leave()

    def failed(self, pool: snapshot.Pool, reason: str) -> None:
        """Passive health: a request failed on this member."""
        outlier = self.rules.outlier
        if pool.failed(outlier) and pool.identity in self.pools:
            out = sum(not other.sound for other in self.pools.values() if other is not pool)
            if upstreams.may_eject(out, len(self.pools), outlier):
                pool.eject(time.monotonic(), outlier)
                self._assess()
                if self._on_ejected is not None:
                    self._on_ejected(pool.identity.replica)
        self.doubt(pool, reason)

    def doubt(self, pool: snapshot.Pool, reason: str) -> None:
        """Have it probed. On its own it is no failure: a stream of events may just be quiet."""
        if self._on_failure is not None and pool.identity.replica:
            self._on_failure(pool.identity.replica, reason)

    # -- connections

    def connect(self, exchange: exchanges.Exchange, pool: snapshot.Pool) -> None:
        """Open a connection to the member for this request."""
        self._spawn(self._connect(exchange, pool))

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _connect(self, exchange: exchanges.Exchange, pool: snapshot.Pool) -> None:
        pool.connects += 1
        connection = upstream.Upstream(self, pool)
        loop = asyncio.get_running_loop()
        reason = resource = ""
        try:
            async with asyncio.timeout(exchange.rules.connect_seconds):
                if pool.unix is not None:
                    await loop.create_unix_connection(lambda: connection, pool.unix)
                else:
                    await loop.create_connection(lambda: connection, pool.host, pool.port)
        except TimeoutError:
            reason = "connect timed out"
        except OSError as error:
            reason = f"connect failed: {error.strerror or error}"
            resource = sockets.shortage(error)
            if resource:
                self.shortages.note(resource)
        except Exception as error:  # noqa: BLE001 - logged; or the request would wait for nothing
            reason = f"connect failed: {type(error).__name__}"
            _log.exception("connect failed", address=pool.identity.address)
        if not reason and connection.transport.is_closing():
            reason = "closed at once"  # nothing of the request is given away for that
        wanted = exchange.client.exchange is exchange and exchange.pool is pool
        if reason and wanted:
            exchange.connect_failed(pool, reason, ours=bool(resource))
        elif reason:
            pool.leave()
        elif wanted:
            exchange.attach(connection, time.monotonic())
        else:
            pool.leave()
            surplus = pool.give(connection, time.monotonic()) if pool.active else connection
            if surplus is not None:
                surplus.close()

    async def listen(self, sock: socket.socket) -> None:
        """Accept from this listening socket; it stays the caller's.

        With `needs_table`, from the moment there is a table on.
        """
        self._start()
        if self.settings.needs_table and self.snapshot is None:
            self._waiting.append(sock)
        else:
            await self._accept(sock)

    async def _accept(self, sock: socket.socket) -> None:
        if self.settings.tls is not None:
            self._servers.append(doors.Door(sock, self._arrive))
            return
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: clients.Client(self), sock=sock.dup(), backlog=_BACKLOG
        )
        self._servers.append(server)

    def _arrive(self, accepted: socket.socket) -> None:
        """A connection was accepted, and counts, though a handshake may have to come first."""
        self.accepted += 1
        if self.crowded(len(self.clients) + len(self.arriving) + 1):
            accepted.close()
            return
        client = clients.Client(self)
        self.arriving.add(client)
        self._spawn(self._greet(client, accepted))

    async def _greet(self, client: clients.Client, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: client, accepted, **self._security())
        except (OSError, TimeoutError):  # it left, or spoke no TLS
            accepted.close()
        finally:
            self.arriving.discard(client)

    def crowded(self, count: int) -> bool:
        """Whether so many connections are too many even for a 503."""
        limit = self.most_connections
        return bool(limit) and count > limit + limit // _CROWD + 1

    @property
    def most_connections(self) -> int:
        """How many clients are let in, 0: any number."""
        wanted, room = self.rules.max_connections, self.settings.room
        return min(wanted, room) if wanted and room else wanted or room

    def turned_away(self) -> str:
        """A connection is one too many: why, for its client."""
        if self.most_connections == self.rules.max_connections:
            return "Too many connections"
        # Before accepting fails: the event loop would reset whoever waits, and tell nobody.
        self.shortages.note("descriptors")
        return "Too many connections for the balancer's descriptors"

    def _security(self) -> dict[str, Any]:
        if self.settings.tls is None:
            return {}
        return {
            "ssl": self.settings.tls,
            "ssl_handshake_timeout": tls.HANDSHAKE_SECONDS,
            # A client may read slowly for longer than any time set here: its own deadlines end it.
            "ssl_shutdown_timeout": _NEVER,
        }

    def _start(self) -> None:
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep_forever())

    async def _sweep_forever(self) -> None:
        count = 0
        while True:
            await asyncio.sleep(SWEEP)
            count += 1
            try:
                self.sweep(time.monotonic())
                if count % _TICKS == 0:
                    self.budget.tick()
                    self.date = responses.date(time.time())
            except Exception:  # noqa: BLE001 - logged with its trace
                # The next one may do better; with none, nothing would ever be overdue.
                _log.exception("sweep failed")

    def sweep(self, now: float) -> None:
        """End what has waited too long; readmit members; close idle connections."""
        for client in [c for c in self.clients if c.deadline <= now or c.total <= now]:
            client.expired(now)
        before = now - self.rules.upstream_idle_seconds
        changed = False
        for pool in self.pools.values():
            if pool.ejected_until and pool.readmit(now):
                changed = True
                if self._on_recovered is not None:
                    self._on_recovered(pool.identity.replica)
            if pool.warm_until and pool.warm_until <= now:
                pool.warm_until = 0.0
                changed = True
        if changed:
            self._assess()
        for pool in [*self.pools.values(), *([self.lab] if self.lab is not None else [])]:
            for connection in pool.stale(before):
                connection.close()
        gone = [w for w, p in self._retired.items() if not p.inflight and w not in self._draining]
        for who in gone:
            self._keep_counts(self._retired.pop(who))

    async def drain(self, seconds: float, *, ending: Sequence[socket.socket] = ()) -> None:
        """Accept no more, finish what is in flight for up to so long, then cut.

        The listening sockets are the caller's and stay open: what waits in their queues is not
        lost. Those in `ending` nobody serves after us: what waits in their queues is ours to
        answer, and they are closed here, or the kernel would reset it. Connections are closed
        after their next response, which announces it; idle ones have a little time to send that
        request: one closed at once may just have been used (9112 §9.5).
        """
        self.draining = True
        for server in self._servers:
            server.close()
        self._servers.clear()
        self._waiting.clear()
        now = time.monotonic()
        until = now + seconds
        by = min(until, now + clients.PARTING)
        for sock in ending:
            self._start()
            for late in sockets.queued(sock):
                self._arrive(late)
            sock.close()
        for client in list(self.clients):
            client.end(by=by)
        while self.busy(by) and time.monotonic() < until:  # noqa: ASYNC110 - no event on that path
            await asyncio.sleep(_POLL)
        for client in list(self.clients):
            self.outbox.push()
            client.transport.abort()
        await self._close()

    def busy(self, by: float) -> bool:
        """Whether a client sends a request, waits for a response, or has not got all of it.

        Until `by` also whether one has yet to come out of its handshake.
        """
        if self.arriving and time.monotonic() < by:
            return True
        return any(not client.lingering or client.waiting() for client in self.clients)

    async def _close(self) -> None:
        tasks = [*self._tasks]
        if self._sweeper is not None:
            tasks.append(self._sweeper)
            self._sweeper = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        pools = [*self.pools.values(), *self._retired.values()]
        if self.lab is not None:
            pools.append(self.lab)
        for pool in pools:
            for connection in pool.retire():
                connection.close()
        await asyncio.sleep(0)
        if self.log is not None:
            self.log.close()

    # -- counts

    def count_own(self, status: int, *, taken: float) -> None:
        """An answer of ours to a request."""
        self.own[status] = self.own.get(status, 0) + 1
        self.buckets[bisect_left(upstreams.BUCKETS, taken)] += 1
        self.seconds += taken

    def refused(self, peer: str, status: int, reason: str) -> None:
        """An answer of ours to what was no request."""
        self.own[status] = self.own.get(status, 0) + 1
        if self.log is not None:
            self.log.refused(peer, status, reason)

    def in_flight(self) -> dict[str, int]:
        """Requests in flight by replica, draining ones included."""
        counts: dict[str, int] = {}
        for pool in [*self.pools.values(), *self._retired.values()]:
            replica = pool.identity.replica
            counts[replica] = counts.get(replica, 0) + pool.inflight
        return counts

    def take_hits(self) -> bytes:
        """Requests by slot since the last time, as unsigned 32-bit numbers in native order."""
        taken = self.hits.tobytes()
        self.hits[:] = array("I", bytes(len(taken)))
        return taken

    def stats(self) -> dict[str, Any]:
        """Plain counters since the start, as JSON takes them."""
        pools = [*self.pools.values(), *self._retired.values()]
        every = [self.buckets, *(pool.buckets for pool in pools)]
        return {
            "worker": self.settings.worker,
            "connections": len(self.clients) + len(self.arriving),
            "accepted": self.accepted,
            "aborted": self.aborted,
            "cut": self.cuts,
            "requests": self.budget.requests - self.lab_requests,
            "labRequests": self.lab_requests,
            "retries": self.budget.retries,
            "refusedRetries": self.refused_retries,
            "renewals": self.renewals,
            "waits": self.waits,
            "waiting": len(self.load.waiting),
            "overflows": self.overflows,
            "panic": int(self.panic),
            "lostLines": self._lost_lines + (self.log.dropped if self.log is not None else 0),
            "lostLogLines": logs.lost(),
            "own": {str(status): count for status, count in self.own.items()},
            "shortages": dict(self.shortages.counts),
            "durations": {
                "bounds": list(upstreams.BUCKETS),
                "counts": [sum(column) for column in zip(*every, strict=True)],
                "sum": self.seconds + sum(pool.seconds for pool in pools),
            },
            "members": [_counts(pool) for pool in pools],
        }


def _counts(pool: snapshot.Pool) -> dict[str, Any]:
    return {
        "id": pool.identity.id,
        "replica": pool.identity.replica,
        "address": pool.identity.address,
        "healthy": pool.healthy,
        "ejected": bool(pool.ejected_until),
        "inFlight": pool.inflight,
        "idle": len(pool.idle),
        "codes": {str(status): count for status, count in pool.codes.items()},
        "durations": {
            "bounds": list(upstreams.BUCKETS),
            "counts": list(pool.buckets),
            "sum": pool.seconds,
        },
        "failures": pool.failures,
        "retries": pool.retries,
        "connects": pool.connects,
        "bytesIn": pool.bytes_in,
        "bytesOut": pool.bytes_out,
    }


def _mark(membership: members.Membership, member: members.Member) -> bytes:
    if not membership.proxy.member_header:
        return b""
    lines = (
        f"X-Ringmaster-Member: {member.id}\r\nX-Ringmaster-Generation: {membership.generation}\r\n"
    )
    return lines.encode("latin-1", "replace")
