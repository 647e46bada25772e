"""One request and what becomes of it: whom it is sent to, fail-over, its end.

An edge without protocol: clients and upstreams move the bytes and call this. Fail-over walks the
candidates of the key. Before a final head has gone to the client a request is tried again if nothing
of it was handed to a transport, or if it is idempotent and all of it is kept; otherwise never.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from bisect import bisect_left
from typing import TYPE_CHECKING

from ringmaster_balancer.dataplane import http1, responses, selection, upstreams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringmaster_balancer.dataplane import client as clients
    from ringmaster_balancer.dataplane import snapshot, upstream

_monotonic = time.monotonic
_random = random.random  # which member serves whom is no secret


class Exchange:
    """Lives from a request's head to the end of its response."""

    __slots__ = (
        "answered",
        "asked",
        "attempts",
        "begun",
        "body_done",
        "bytes",
        "client",
        "head",
        "hides_not_found",
        "kept",
        "kept_bytes",
        "open_ended",
        "pool",
        "reason",
        "refund",
        "renewed",
        "replayable",
        "request",
        "rules",
        "silenced",
        "slot",
        "snapshot",
        "started",
        "status",
        "tunnel",
        "upstream",
        "upstream_keeps_alive",
        "waiting",
        "walk",
        "will_close",
    )

    def __init__(
        self,
        client: clients.Client,
        request: http1.Request,
        snap: snapshot.Snapshot | None,
        rules: snapshot.Rules,
    ) -> None:
        self.client = client
        self.request = request
        self.snapshot = snap
        self.rules = rules
        self.head = b""  # as it is sent
        # What was sent of the body, as framed for the wire; None: it can not be sent again.
        self.kept: list[bytes] | None = []
        self.kept_bytes = 0
        self.body_done = not request.length
        self.replayable = request.method in http1.IDEMPOTENT and request.upgrade is None
        self.pool: snapshot.Pool | None = None
        self.upstream: upstream.Upstream | None = None
        self.slot = -1  # not chosen
        self.walk: selection.Walk | None = None  # along the candidates, unless the first is plain
        self.waiting = False  # for a member's place
        self.attempts = 0  # beyond the first
        self.renewed = False  # a dead pooled connection was replaced by a fresh one
        self.refund = False  # that cost a retry, unless the fresh one answers
        self.begun = False  # a final head has gone to the client, or one that opens a tunnel
        self.open_ended = False  # the end of the connection is that of the response
        self.tunnel = False
        self.silenced = False  # the tunnel's server sends no more
        self.hides_not_found = False
        self.will_close = False
        self.upstream_keeps_alive = False
        self.status = 0
        self.reason = ""  # for the access log: what failed, on the last member or with us
        self.started = 0.0
        self.asked = 0.0  # when it was handed to the member
        self.answered = -1.0  # when its answer came; known only for the access log
        self.bytes = 0  # of the response's body

    # -- whom to ask

    def start(self, now: float) -> None:
        """Send it to the first candidate of its key."""
        self.started = now
        snap = self.snapshot
        if snap is None or not snap.width:
            self.respond(503, "No server is known yet" if snap is None else "There is no server")
            return
        slot = self.slot = self._slot_in(snap)
        snap.hits[slot] += 1
        pool = snap.pools[snap.candidates[slot * snap.width]]
        if self.request.binds and (login := self._login()) is not None:
            self.ask(login, now)
        elif pool is not None and pool.plain:
            self.ask(pool, now)
        else:
            self._ask_next(now)

    def _login(self) -> snapshot.Pool | None:
        """The member that waits for this step of a login, whatever the key: none else knows it."""
        pool = self.client.logging_in()
        limit = self.rules.per_member
        return pool if pool is not None and (not limit or pool.inflight < limit) else None

    def _slot_in(self, snap: snapshot.Snapshot) -> int:
        request = self.request
        key: bytes | None = None
        if snap.key_header is not None:
            for name, value, _ in request.fields:
                if name == snap.key_header:
                    key = value.strip(b" \t")
                    break
        else:
            pairs = [field[:2] for field in request.fields]
            key = snap.key(request.target, pairs, self.client.address_for(request, snap))
        return snap.slot_of(key) if key else snap.draw(_random())

    def _candidates(self) -> selection.Walk:
        """Along its key's candidates among the members of now, without those asked before."""
        walk, newest = self.walk, self.client.plane.snapshot
        asked = walk.tried if walk is not None else [self.pool] if self.pool else []
        if newest is not None and newest.width and newest is not self.snapshot:
            self.snapshot = newest
            self.slot = self._slot_in(newest)
            walk = None
        if walk is None:
            assert self.snapshot is not None
            self.walk = walk = selection.Walk(self.snapshot, self.slot, tried=asked)
        return walk

    def _ask_next(self, now: float) -> bool:
        """Ask the next candidate there is, or wait for it; whether there is one."""
        walk = self._candidates()
        plane = self.client.plane
        waiting = plane.load.waiting
        if waiting and not self.waiting:
            plane.serve_waiting()  # they were here before
            if waiting and not (self.attempts or waiting[0].attempts):
                return self._wait(now)  # the first of them would go anywhere as well
        pool = walk.next(now)
        if pool is not None:
            if self.attempts:
                if not self._affordable():
                    return False
                pool.retries += 1
            self.ask(pool, now)
        elif walk.limited:
            return self._wait(now)
        elif not self.attempts:
            self.respond(503, "There is no server")
        return pool is not None

    def _wait(self, now: float) -> bool:
        """For a member's place, if the queue is not full; whether the request is dealt with."""
        if self.waiting:
            return True
        plane = self.client.plane
        waiting = plane.load.waiting
        if len(waiting) >= self.rules.queue:
            plane.overflows += 1
            if not self.attempts:
                self.respond(503, "Every server has enough to do")
            return not self.attempts
        self.waiting = True
        self.pool = None
        waiting.append(self)
        plane.waits += 1
        self.client.deadline = now + self.rules.queue_seconds
        if not self.body_done:
            self.client.hold()
        return True

    def suits(self, free: Sequence[snapshot.Pool]) -> bool:
        """Whether a place with one of these may be for this request."""
        if self.walk is None or self.snapshot is not self.client.plane.snapshot:
            return True
        return self.walk.may_ask(free)

    def resume(self, now: float) -> bool:
        """There may be a place: whether the request waits no more."""
        snap = self.client.plane.snapshot
        if snap is not self.snapshot and not self.attempts:
            self._restart(now)
        elif not self._ask_next(now):
            self.respond(502, "The server failed, and so did those after it")
        return not self.waiting

    def _restart(self, now: float) -> None:
        """Nobody has been asked, and the members have changed: choose anew."""
        self.snapshot = snap = self.client.plane.snapshot
        self.walk = None
        if snap is not None:
            self.rules = snap.rules
        began = self.started
        self.start(now)
        self.started = began

    def ask(self, pool: snapshot.Pool, now: float, *, fresh: bool = False) -> None:
        """Send the request to this member, on a pooled connection or a fresh one."""
        self.pool = pool
        self.waiting = False
        pool.enter()
        client = self.client
        upstream = client.take(pool) if client.bound and not fresh else None
        if upstream is None and not fresh:
            upstream = pool.take(now, replayable=self.replayable)
        while upstream is not None and upstream.transport.is_closing():
            upstream = pool.take(now, replayable=self.replayable)
        if upstream is not None:
            self.attach(upstream, now)
            return
        client.deadline = math.inf  # connecting has its own
        if not self.body_done:
            client.hold()
        client.plane.connect(self, pool)

    def attach(self, upstream: upstream.Upstream, now: float) -> None:
        """Hand the request to this connection."""
        self.upstream = upstream
        self.asked = now
        upstream.exchange = self
        if self.request.binds:
            upstream.bound = True
        client = self.client
        if client.choked:  # by the response before; what was said then was said to another
            upstream.hold()
        if client.held:
            client.release()  # before the write, which may be too much and hold it again
        wire = self.head
        if self.kept:
            wire += b"".join(self.kept)
        if not self.replayable:
            self.kept = None
        client.plane.outbox.write(upstream.transport, wire)
        upstream.pool.bytes_out += len(wire)
        self._patience(now)

    def _patience(self, now: float) -> None:
        """How long the client's next piece, or the server's response, may take from now on."""
        rules = self.rules
        self.client.deadline = now + (
            rules.response_seconds if self.body_done else rules.body_seconds
        )

    @property
    def takes_body(self) -> bool:
        """Whether there is a member's connection for more of the request's body, with room for it."""
        return self.upstream is not None and not self.upstream.full

    def send(self, wire: bytes, *, last: bool) -> None:
        """A piece of the request's body, framed for the wire."""
        self.body_done = last
        if self.kept is not None:
            self.kept.append(wire)
            self.kept_bytes += len(wire)
            if self.upstream is not None and self.kept_bytes > self.rules.buffer_bytes:
                self.kept = None
        if self.upstream is not None:
            self.client.plane.outbox.write(self.upstream.transport, wire)
            self.upstream.pool.bytes_out += len(wire)
            rules = self.rules
            flows = self.begun or not last  # a body, one way or the other
            self.client.deadline = _monotonic() + (
                rules.body_seconds if flows else rules.response_seconds
            )

    # -- what comes back

    def interim(self, response: http1.Response) -> None:
        """Relay a 1xx, 9110 §15.2; HTTP/1.0 does not know them. It binds nobody.

        It says that the server is at work (102, 103) or waits for the body (100): time starts anew.
        """
        self._patience(_monotonic())
        if self.request.minor:
            head, _ = http1.answer(response, minor=1, close=False)
            self.client.plane.outbox.write(self.client.transport, head)

    def begin(self, response: http1.Response) -> tuple[bytes, int]:
        """The head for the client and its framing; from here on there is no other try."""
        pool = self.pool
        request = self.request
        client = self.client
        assert pool is not None
        self.begun = True
        self.status = response.status
        self.upstream_keeps_alive = response.keep_alive
        upstream = self.upstream
        if upstream is not None and (response.binds or upstream.bound):
            upstream.bind(response)
        if client.plane.log is not None:
            self.answered = _monotonic()
        close = (
            not request.keep_alive
            or not self.body_done
            or client.ending
            or (not request.minor and response.length < 0)
            or request.upgrade is not None
        )
        self.will_close = close
        codes = pool.codes
        codes[response.status] = codes.get(response.status, 0) + 1
        # 9110 §6.6.1: who forwards a response without a date adds one.
        extra = pool.mark if response.dated else client.plane.date + pool.mark
        head, framing = http1.answer(response, minor=request.minor, close=close, extra=extra)
        self.open_ended = framing == http1.UNTIL_CLOSE
        return head, framing

    def finish(self, *, reusable: bool) -> None:
        """The response is complete."""
        upstream, pool = self.upstream, self.pool
        assert upstream is not None
        assert pool is not None
        now = _monotonic()
        self.upstream = None
        pool.leave()
        if pool.consecutive or pool.ejections:
            pool.succeeded(now)
        taken = now - self.started
        pool.buckets[bisect_left(upstreams.BUCKETS, taken)] += 1
        pool.seconds += taken
        log = self.client.plane.log
        if log is not None:
            log.ended(self, now, "complete")
        self._let_go(upstream, pool, now, reusable=reusable)
        self.client.finished(now, close=self.will_close)

    def _let_go(
        self, upstream: upstream.Upstream, pool: snapshot.Pool, now: float, *, reusable: bool
    ) -> None:
        """It has answered: keep the connection for another request if it can have one."""
        if self.refund:
            self.client.plane.budget.refunds += 1
        if not (reusable and pool.active and self._all_sent(upstream)):
            upstream.close()
            return
        upstream.used = True
        upstream.idle_since = now
        upstream.reset()
        if self.client.choked:
            upstream.release()
        surplus = self.client.keep(upstream) if upstream.bound else pool.give(upstream, now)
        if surplus is not None:
            surplus.close()

    def _all_sent(self, upstream: upstream.Upstream) -> bool:
        """Whether nothing of the request is on its way any more.

        A transport that is too full says so once: whoever sent next on it would not be held.
        """
        if not self.request.length:
            return True
        self.client.plane.outbox.push()
        return self.body_done and not upstream.transport.get_write_buffer_size()

    def switch(self, upstream: upstream.Upstream, response: http1.Response, data: bytes) -> None:
        """9110 §7.8: from here on bytes pass both ways unread."""
        asked, given = self.request.upgrade, response.upgrade
        if asked is None or given is None or given.lower() != asked.lower():
            self.broken("it switched protocols unasked")
            return
        self.begun = self.tunnel = True
        self.status = response.status
        assert self.pool is not None
        self.pool.answered(response.status)
        self.answered = _monotonic()
        self.pool.succeeded(_monotonic())
        upstream.mode = type(upstream.mode).TUNNEL
        head, _ = http1.answer(response, minor=1, close=False, extra=self.pool.mark)
        self.client.plane.outbox.write(self.client.transport, head + data)
        self.client.tunnelled(upstream)

    def tunnel_seconds(self) -> float:
        """How long a tunnel may be silent: one side that has ended keeps the other no hour."""
        rules = self.rules
        if self.silenced or self.client.eof:
            return min(rules.body_seconds, rules.tunnel_seconds)
        return rules.tunnel_seconds

    def server_ended(self) -> bool:
        """The tunnel's server sends no more. Whether it may still be sent to."""
        client = self.client
        if client.eof or not client.transport.can_write_eof():
            return False
        self.silenced = True
        client.write_eof()
        client.deadline = _monotonic() + self.tunnel_seconds()
        return True

    def not_found(self, response: http1.Response, *, complete: bool) -> None:
        """The lab API's form for a path that the replicas do not have."""
        upstream, pool = self.upstream, self.pool
        assert upstream is not None
        assert pool is not None
        self.begun = True
        self.upstream = None
        pool.leave()
        pool.answered(response.status)
        pool.succeeded(_monotonic())
        if response.binds or upstream.bound:
            upstream.bind(response)
        reusable = complete and response.keep_alive
        self._let_go(upstream, pool, _monotonic(), reusable=reusable)
        self.respond(400, responses.no_endpoint(self.request.target))

    # -- what goes wrong

    def broken(self, reason: str) -> None:
        """The upstream does not speak HTTP as it should: no use asking again."""
        self._drop_upstream(close=True)
        pool = self.pool
        assert pool is not None
        self.reason = reason
        self.client.plane.failed(pool, reason)
        if self.begun:
            self._stop_short()
        else:
            self.respond(502, "The server's response is not valid")

    def upstream_lost(self, upstream: upstream.Upstream, error: Exception | None) -> None:
        """The connection closed before the response was complete."""
        self._drop_upstream(close=False)
        if self.tunnel:
            self.client.linger()
            return
        pool = self.pool
        assert pool is not None
        if self.begun:
            self.reason = "closed in the middle of a response"
            self.client.plane.failed(pool, self.reason)
            self._stop_short()
            return
        reason = "reset" if error else "closed before its response"
        if not (upstream.used and self._renewable(pool)):
            self.failed(pool, reason)
        elif self.started - upstream.idle_since > upstreams.FRESH or self._lends():
            # It may have been closing while idle, which says nothing of the member. With one that
            # had been in use until now that is less sure, and a member that breaks every connection
            # must not be asked twice by everybody: it costs a retry until the fresh one answers.
            self.renewed = True
            self.client.plane.renewals += 1
            self.ask(pool, _monotonic(), fresh=True)
        else:
            self.failed(pool, reason, again=False)

    def _renewable(self, pool: snapshot.Pool) -> bool:
        """Whether the same member may be asked on a fresh connection."""
        return self.replayable and self.kept is not None and pool.open and not self.renewed

    def connect_failed(self, pool: snapshot.Pool, reason: str, *, ours: bool = False) -> None:
        """No connection to the member: nothing of the request was sent."""
        pool.leave()
        self.failed(pool, reason, ours=ours)

    def failed(
        self,
        pool: snapshot.Pool,
        reason: str,
        *,
        timeout: bool = False,
        again: bool = True,
        ours: bool = False,
    ) -> None:
        """Try the next candidate if that is allowed, else answer.

        `ours`: for want of a resource of our own; the next one may have an idle connection.
        """
        self.reason = reason
        if not ours:
            self.client.plane.failed(pool, reason)
        if again and self._again():
            return
        if ours:
            self.respond(503, "The balancer lacks a resource to ask a server")
        elif timeout:
            self.respond(504, "The server did not answer in time")
        else:
            self.respond(502, "The server failed, and so did those after it")

    def _again(self) -> bool:
        if not self._repeatable():
            return False
        self.attempts += 1
        self.renewed = self.refund = False
        if self._ask_next(_monotonic()):
            return True
        self.attempts -= 1  # there was nobody, or no budget
        return False

    def _repeatable(self) -> bool:
        """Whether another member may be asked, as far as it depends on this request."""
        if self.kept is None or self.snapshot is None:
            return False
        return self.attempts < self.rules.attempts

    def _affordable(self) -> bool:
        """Whether the budget has another try; it is spent if so."""
        plane = self.client.plane
        if plane.budget.allows(self.rules.retries):
            plane.budget.spend()
            return True
        plane.refused_retries += 1
        return False

    def _lends(self) -> bool:
        """Whether the budget has a try that it gets back if that turns out to be no retry."""
        self.refund = self._affordable()
        return self.refund

    def leave(self) -> None:
        """Its member was found to be ill: go to the next one while nothing has come back.

        Without another try it stays: who answers slowly, or fell ill by mistake, answers still.
        """
        pool, upstream = self.pool, self.upstream
        if self.begun or pool is None or upstream is None or upstream.pending:
            return
        plane = self.client.plane
        if not (self._repeatable() and plane.budget.allows(self.rules.retries)):
            return
        room = len(plane.load.waiting) < self.rules.queue
        if not self._candidates().has_another(wait=room):
            return
        self._drop_upstream(close=True)
        self.failed(pool, "unhealthy")

    def expired(self, *, overdue: bool) -> None:
        """The deadline of what it waits for has passed; `overdue`: that of the whole request."""
        upstream, pool = self.upstream, self.pool
        if self.waiting:
            self._stop_waiting()
            self.client.plane.overflows += 1
            self.respond(503, "Every server has enough to do")
        elif self.tunnel or self.begun:
            self._drop_upstream(close=True)
            # While its own body is incomplete it may be the client that the server waits for.
            if self.body_done and not self.tunnel and not self.client.choked and pool is not None:
                self.client.plane.doubt(pool, "quiet in the middle of a response")
            self.reason = "quiet for too long"
            if self.client.choked:
                self._cut()
            else:
                self._stop_short()
        elif self.client.choked and not overdue:
            # It reads nothing of the answer before, so that nobody listens to the member.
            self._drop_upstream(close=True)
            self.reason = "the client reads nothing"
            self._cut()
        elif upstream is None or pool is None or overdue:
            self._drop_upstream(close=True)
            self.respond(504, "The server did not answer in time")
        elif self.body_done or upstream.transport.get_write_buffer_size():
            self._drop_upstream(close=True)
            self.failed(pool, "no response in time", timeout=True)
        else:
            self._drop_upstream(close=True)
            self.respond(408, "The body came too slowly")

    def _stop_short(self) -> None:
        """A response has begun and cannot be ended as it should."""
        self._tell("cut")
        self.client.stop_short(looks_whole=self.open_ended)

    def _cut(self) -> None:
        """The client reads nothing of the response."""
        self._tell("cut")
        self.client.cut()

    def _tell(self, end: str) -> None:
        """For the access log: how it ended."""
        log = self.client.plane.log
        if log is not None:
            log.ended(self, _monotonic(), end)

    def left(self) -> None:
        """The client's connection has gone."""
        if self.tunnel:
            self._tell("complete")
        else:
            self.client.plane.aborted += 1
            self._tell("aborted")
            if self.begun and self.pool is not None:
                self.pool.succeeded(_monotonic())  # as far as it was let
        self.abandon()

    def abandon(self) -> None:
        """The client has gone, or its request turned out to be none."""
        upstream = self.upstream
        if self.waiting:
            self._stop_waiting()
        elif self.tunnel and upstream is not None:
            self._drop_upstream(close=False)
            upstream.exchange = None
            self.client.plane.outbox.push()
            upstream.transport.close()  # with what was sent before
            if upstream.transport.get_write_buffer_size():  # no client, so no sweep, bounds it
                seconds = min(self.rules.body_seconds, self.rules.tunnel_seconds)
                asyncio.get_running_loop().call_later(seconds, upstream.transport.abort)
        else:
            self._drop_upstream(close=True)

    def refuse(self, status: int, message: str) -> None:
        """Its sender breaks the rules in the middle of its body.

        An answer in the middle of a response that runs already would be part of that one's body.
        """
        self.abandon()
        self.reason = message
        if self.begun:
            self._stop_short()
        else:
            self.respond(status, message, plain=False)

    def _stop_waiting(self) -> None:
        self.waiting = False
        self.client.plane.load.left(self)

    def _drop_upstream(self, *, close: bool) -> None:
        upstream = self.upstream
        self.upstream = None
        if upstream is not None:
            upstream.pool.leave()
            if close:
                upstream.close()

    def respond(self, status: int, message: str, *, plain: bool = True) -> None:
        """Answer ourselves. Not `plain`: the connection can not be trusted any more."""
        request = self.request
        self.reason = self.reason or message
        close = not (plain and request.keep_alive and self.body_done) or self.client.ending
        close = close or request.upgrade is not None
        bodiless = request.method == b"HEAD"
        wire = responses.error(status, message, close=close, bodiless=bodiless, minor=request.minor)
        self._reply(status, wire, close=close)

    def options(self) -> None:
        """Answer what may go no further, 9110 §7.6.2."""
        close = not (self.request.keep_alive and self.body_done) or self.client.ending
        self._reply(
            204,
            responses.options(http1.METHODS, close=close, minor=self.request.minor),
            close=close,
        )

    def _reply(self, status: int, wire: bytes, *, close: bool) -> None:
        plane = self.client.plane
        now = _monotonic()
        self.begun = True
        self.waiting = False
        self.status = status
        plane.count_own(status, taken=now - self.started)
        if plane.log is not None:
            self.bytes = len(wire) - wire.index(b"\r\n\r\n") - 4
            plane.log.ended(self, now, "complete")
        plane.outbox.write(self.client.transport, responses.dated(wire, plane.date))
        self.client.finished(now, close=close)
