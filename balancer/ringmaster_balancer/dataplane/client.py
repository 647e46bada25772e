"""The client's side: requests in, one at a time, and the life of the connection.

An edge: it cuts heads out of the stream, has them judged, and starts an exchange for each. While
one is in flight nothing of the next is looked at, and reading stops once something of it came.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import math
import socket
import struct
import termios
import time
from typing import TYPE_CHECKING

from ringmaster_balancer.dataplane import (
    chunked,
    exchange,
    heads,
    http1,
    responses,
    snapshot,
    turns,
)

if TYPE_CHECKING:
    from ringmaster_balancer.dataplane import proxy, recurring, upstream

_monotonic = time.monotonic
LAB_PATHS = frozenset({b"/rep", b"/add", b"/rm"})
_SAFE = frozenset({b"GET", b"HEAD"})
_RESET = struct.pack("ii", 1, 0)  # struct linger: on, 0 s
_GRACE = 10.0  # s in which a body may come as slowly as it likes
PARTING = 2.0  # s; clients that are busy send their next request well within it
_BOUND = 5  # connections to servers; as many as HAProxy's max-session-srv-conns
_LINGER = 2.0  # s; 9112 §9.6: read on after the last response, or a reset destroys it


class Client(turns.Stream):
    """One connection. `exchange` is the request in flight; `deadline` is when its patience ends."""

    __slots__ = (
        "advancing",
        "at",
        "blank",
        "bound",
        "choked",
        "deadline",
        "decoder",
        "ending",
        "eof",
        "exchange",
        "judged",
        "left",
        "lingering",
        "look",
        "mark",
        "marked",
        "pace",
        "paced",
        "peer",
        "pending",
        "plane",
        "question",
        "resets",
        "stalled",
        "tail",
        "tail_host",
        "total",
        "unsent",
        "whole",
        "wire_peer",
    )

    def __init__(self, plane: proxy.DataPlane) -> None:
        super().__init__(plane.turns)
        self.plane = plane
        self.exchange: exchange.Exchange | None = None
        self.pending = b""  # read and not yet looked at: a head's beginning, or pipelined requests
        self.at = 0  # where in it the next request begins
        self.blank = False  # the empty line that may stand before a request has come
        self.judged = 0  # bytes of the head that is coming whose lines are sound
        self.left = 0  # bytes of body still to come
        self.decoder: chunked.Decoder | None = None
        self.deadline = math.inf
        self.total = math.inf  # the deadline of the whole request
        self.eof = False  # it sends no more
        self.choked = False  # it does not read from us
        self.ending = False  # the next response is the last
        self.lingering = False  # the last response has been written
        self.resets = False  # a reset follows what waits to be sent
        self.advancing = False
        self.unsent = 0  # bytes that waited to be sent when that was last looked at
        self.stalled = 0.0  # since when they are no fewer
        self.look = 0.0  # when that is looked at again
        self.mark = 0  # bytes that waited to be sent ...
        self.marked = math.inf  # ... then; inf: it was in time until now
        self.paced = False  # its body comes piece by piece: `total` is when its pace is looked at
        self.pace = (0, 0.0)  # bytes of it that had come, and when that was
        self.whole = math.inf  # the deadline of the whole request while `total` is not
        # Idle connections to servers on which a login of this client may stand, the last used last.
        self.bound: list[upstream.Upstream] = []
        self.question: recurring.Question | None = None  # what the last head was like
        self.tail = b""
        self.tail_host: bytes | None = None

    # -- the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the connection stands."""
        self.transport = transport  # type: ignore[assignment] # a stream's, since we are a Protocol
        name = transport.get_extra_info("peername")
        self.peer = snapshot.canonical(name[0]) if isinstance(name, tuple) else ""
        self.wire_peer = self.peer.encode()
        plane = self.plane
        plane.clients.add(self)
        if self in plane.arriving:  # counted then
            plane.arriving.remove(self)
        else:
            plane.accepted += 1
        limit = plane.most_connections
        if plane.crowded(len(plane.clients)):
            plane.turned_away()
            self.lingering = True  # an answer would cost a descriptor for as long as it lingers
            self.transport.abort()
        elif limit and len(plane.clients) > limit:
            why = plane.turned_away()
            plane.refused(self.peer, 503, why)
            wire = responses.error(503, why, close=True)
            plane.outbox.write(self.transport, responses.dated(wire, plane.date))
            self.linger()
        else:
            now = _monotonic()
            self.deadline = now + plane.rules.head_seconds
            if plane.draining:
                self.end(by=now + PARTING)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """asyncio: it has ended, however."""
        self.plane.clients.discard(self)
        self.lingering = True
        current = self.exchange
        self.exchange = None
        if current is not None:
            current.left()
        self.unbind()

    def eof_received(self) -> bool:
        """asyncio: the other side sends no more. True keeps our side open."""
        current = self.exchange
        self.eof = True
        self.plane.outbox.push()  # what came for it in this turn: a closed side takes no more
        if current is None:
            if not self.lingering and self.pending:
                self.refuse(400, "The request is incomplete")  # 9112 §8
            return self.resets and self.transport.can_write_eof()
        if current.tunnel and current.upstream is not None:
            if current.silenced:
                return False  # neither side has more to say
            current.upstream.transport.write_eof()
            self.deadline = _monotonic() + current.tunnel_seconds()
        elif not current.body_done:
            current.refuse(400, "The body is incomplete")
        else:
            self.ending = not self.pending  # half closed: it still reads, what it asked before too
        return self.transport.can_write_eof()  # TLS knows no half-closed connection

    def write_eof(self) -> None:
        """We send no more; with TLS that is the connection's end."""
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        """asyncio: more waits to be sent than is good."""
        self.choked = True
        if self.exchange is not None and self.exchange.upstream is not None:
            self.exchange.upstream.hold()

    def resume_writing(self) -> None:
        """asyncio: enough of it was sent."""
        self.choked = False
        if self.exchange is not None and self.exchange.upstream is not None:
            self.exchange.upstream.release()
        elif self.exchange is None and not self.lingering:
            self._advance()

    def release(self) -> None:
        """Read on, or go on with what was read and not yet looked at."""
        current = self.exchange
        if not self.held:
            return
        if self.paced and current is not None:
            self._set_pace(_monotonic())
        if not self.pending:
            self.held = False
            self.read_on()
        elif current is not None and not current.body_done:
            self.give_way()

    def work(self) -> bool:
        """Requests, or a part of a body, that came in an earlier turn."""
        current, data, at = self.exchange, self.pending, self.at
        if not data or self.lingering:
            return False
        if current is None:
            self._advance()
        elif current.body_done or not current.takes_body:
            return False
        else:
            self.pending = b""
            self.at = 0
            self.held = False  # before the write, which may be too much and hold it again
            self._body(current, data, at)
        return self.pending is not data or self.at != at

    def linger(self) -> None:
        """Close in a way that lets the last response arrive."""
        self.lingering = True
        self.pending = b""
        self.unbind()
        if self.transport.is_closing():
            return
        self.plane.outbox.push()
        self.deadline = _monotonic() + _LINGER
        if self.eof:
            self.transport.close()
            return
        self.release()
        self.write_eof()

    def stop_short(self, *, looks_whole: bool) -> None:
        """End a response before its end, with what came of it: 9112 §8.

        `looks_whole`: the end of the connection would be that of its body, so that a reset has to
        tell that it is not. A reset destroys what has not arrived, so it goes last.
        """
        self.exchange = None
        self.total = math.inf
        self.plane.cuts += 1
        if not looks_whole:
            self.linger()
            return
        self.lingering = self.resets = True
        self.pending = b""
        self.plane.outbox.push()
        self._reset_on_close()
        if self.waiting():
            self.deadline = 0.0  # the sweep looks whether it has arrived
        else:
            self.transport.abort()

    def cut(self) -> None:
        """End the connection now, with what waits to be sent: the client does not read it."""
        self.lingering = True
        self.exchange = None
        self.plane.cuts += 1
        self._reset_on_close()
        self.transport.abort()

    def _reset_on_close(self) -> None:
        sock = self.transport.get_extra_info("socket")
        if sock is not None and not self.transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def expired(self, now: float) -> None:
        """The sweep found that the deadline has passed."""
        if self.paced and self.total <= now:
            self._pace(now)
            if min(self.deadline, self.total) > now:
                return
        overdue = self.total <= now
        if self.deadline != self.look:
            self.marked = math.inf  # it was in time until now
        self.deadline = math.inf
        if overdue:
            self.total = math.inf
        current = self.exchange
        if not overdue and self.reads(now):
            self.deadline = self.look = now if self.resets else now + _LINGER
        elif current is not None and not self.lingering:
            current.expired(overdue=overdue)
        elif self.pending and not self.choked:
            self.refuse(408, "The request's head came too slowly")
        else:
            self.transport.abort()

    def reads(self, now: float) -> bool:
        """Whether it takes what waits to be sent, if slowly: that is no silence."""
        rules = self.plane.rules
        size = self.waiting()
        if size == self.unsent:
            return bool(size) and now - self.stalled < rules.body_seconds
        self.unsent = size
        self.stalled = now
        if self.marked == math.inf or size > self.mark:
            self.mark, self.marked = size, now
        elif size and now - self.marked >= rules.body_seconds:
            # What it reads is acknowledged in large steps: only a long time tells how much it is.
            if self.mark - size < rules.min_rate * (now - self.marked):
                return False
            self.mark, self.marked = size, now
        return True  # and once more when all is sent: it has a moment to end the connection

    def waiting(self) -> int:
        """Bytes that the client has yet to take.

        What TLS has handed to its socket's transport the event loop does not tell; as long as some
        of it waits there, the kernel's buffer is not empty. A reset empties that too.
        """
        size = self.transport.get_write_buffer_size()
        if not size and (self.resets or not self.transport.can_write_eof()):
            size = _unacknowledged(self.transport)
        return size

    def _pace(self, now: float) -> None:
        """Whether the body comes fast enough, with bytes in time as it may be otherwise.

        Not while it is us, or the server, that it waits for. Bodies that are answered before their
        end may be a conversation; the server ends it.
        """
        current = self.exchange
        assert current is not None
        if current.begun:
            self._end_pace()
            return
        before, since = self.pace
        got = self._came(current.request)
        if self.held or (current.request.expects and not got):
            self.pace = got, now
        elif got - before < current.rules.min_rate * (now - since - _GRACE):
            current.refuse(408, "The body came too slowly")
            return
        self.total = min(self.whole, now + _GRACE)

    def _came(self, request: http1.Request) -> int:
        """Bytes of the body: `left` counts down from its length, or up from CHUNKED."""
        return abs(self.left - request.length)

    def _set_pace(self, now: float) -> None:
        assert self.exchange is not None
        self.pace = self._came(self.exchange.request), now

    def _end_pace(self) -> None:
        self.paced = False
        self.total = self.whole

    # -- connections to servers that no other client may use

    def keep(self, connection: upstream.Upstream) -> upstream.Upstream | None:
        """For its next request; what is returned is to be closed."""
        self.bound.append(connection)
        return self.bound.pop(0) if len(self.bound) > _BOUND else None

    def take(self, pool: snapshot.Pool) -> upstream.Upstream | None:
        """One of them to this member, if there is one."""
        for connection in self.bound:
            if connection.pool is pool:
                self.bound.remove(connection)
                return None if connection.transport.is_closing() else connection
        return None

    def unbind(self, *, inactive: bool = False) -> None:
        """Close them: all, or those to members that are asked no more."""
        for connection in [each for each in self.bound if not (inactive and each.pool.active)]:
            self.bound.remove(connection)
            connection.close()

    def logging_in(self) -> snapshot.Pool | None:
        """The member whose connection waits for the next step of a login: it knows the one before."""
        last = self.bound[-1] if self.bound else None
        if last is None or not last.challenges or last.transport.is_closing():
            return None
        return last.pool if last.pool.open else None

    # -- requests

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came."""
        current = self.exchange
        if self.lingering:
            pass
        elif current is None:
            question = self.question
            if question is not None and not self.pending and not self.choked:
                request = question.match(data)
                if request is not None:  # one whole request and nothing besides
                    self.total = math.inf
                    self._start(request)
                    return
            self.pending = self.pending + data if self.pending else data
            self._advance()
        elif not current.body_done:
            self._body(current, data)
        elif current.tunnel:
            if current.upstream is not None:
                self.deadline = _monotonic() + current.tunnel_seconds()
                self.plane.outbox.write(current.upstream.transport, data)
        else:
            self.pending += data
            self.hold()
        if len(data) >= turns.LARGE:
            self.give_way()

    def _advance(self) -> None:
        """Start the next request, if it has come; again while we answer ourselves at once.

        What is read and not yet looked at is `pending`; `at` is where in it the next request
        begins, so that thousands in one piece are not copied for each.
        """
        if self.advancing:
            return
        self.advancing = True
        data, at = self.pending, self.at
        share = turns.MESSAGES
        while data and self.exchange is None and not self.lingering and not self.choked:
            if not self.blank and data.startswith(b"\r\n", at):  # 9112 §2.2
                self.blank = True
                at += 2
            end = data.find(b"\r\n\r\n", at) + 4
            if end < 4:  # noqa: PLR2004 - not found
                self._partial(data, at)
                break
            if not share:
                self.pending, self.at = data, at
                self.give_way()
                break
            share -= 1
            self.blank = False
            if end == len(data):
                self.pending = b""
                self.at = 0
            else:
                self.at = end
            self._request(data[at:end])
            data, at = self.pending, self.at
        self.advancing = False
        if self.exchange is None and not self.lingering:
            if self.choked:
                self.hold()  # it must read our answers before it asks for more
            elif not self.pending:
                self.release()

    def _partial(self, data: bytes, at: int) -> None:
        """No whole head yet: judge and bound what there is of it, and wait for more."""
        rules = self.plane.rules
        data = self.pending = data[at:]
        self.at = 0
        if not data:
            self._blank()
            return
        if self.total == math.inf:  # its first byte
            self.total = _monotonic() + rules.head_seconds
            self.deadline = math.inf
            self.judged = 0
        try:
            self.judged = http1.begun(data, self.judged)
        except http1.Refused as refused:
            self.refuse(refused.status, refused.message, head=data)
            return
        if len(data) > rules.target_bytes and not self.judged:
            self.refuse(414, "The request target is too long")
        elif len(data) > rules.head_bytes:
            self.refuse(431, "The request's head is too large")
        elif self.eof:
            self.refuse(400, "The request is incomplete")  # 9112 §8
        elif self.held:
            self.held = False
            self.read_on()

    def _blank(self) -> None:
        """Only the empty line before a request: no request has begun."""
        self.question = None  # the next head is looked at with this in mind
        if self.eof:
            self.linger()
            return
        if self.total != math.inf:  # it came in two pieces
            self.total = math.inf
            self.deadline = _monotonic() + self.plane.rules.idle_seconds
        if self.held:
            self.held = False
            self.read_on()

    def _request(self, head: bytes) -> None:
        plane = self.plane
        rules = plane.rules
        self.total = math.inf
        asked = plane.asked
        place = asked.place(head)
        self.question = asked.find(place)
        request = None if self.question is None else self.question.match(head)
        if request is not None:
            self._start(request)
            return
        try:
            http1.check_size(head, rules.head_bytes)
            request = http1.request(
                head,
                plane.requests.read(head),
                target_bytes=rules.target_bytes,
                body_bytes=rules.body_bytes,
            )
            self.question = asked.learn(request, place)
        except http1.Refused as refused:
            self.refuse(refused.status, refused.message, head=head)
            return
        except heads.MalformedError:
            self.refuse(*_why(head), head=head)
            return
        except ValueError:
            self.refuse(431, "The request has too many fields", head=head)
            return
        self._start(request)

    def _start(self, request: http1.Request) -> None:
        plane = self.plane
        rules = plane.rules
        current = exchange.Exchange(self, request, plane.snapshot, rules)
        self.exchange = current
        now = _monotonic()
        if rules.total_seconds:
            self.total = now + rules.total_seconds
        plane.budget.requests += 1
        lab = plane.lab
        if lab is not None:
            current.hides_not_found = True
            target = request.target
            if target in LAB_PATHS or target.partition(b"?")[0] in LAB_PATHS:
                self._lab(current)
                return
        if request.final:
            current.started = now
            current.options()
            return
        tail = self._tail(request)
        current.head = http1.forward(request, tail)
        if request.length:
            current.started = now  # its first piece may be its end
            self._begin_body(current)
        if self.exchange is current:
            current.start(now)

    def _lab(self, current: exchange.Exchange) -> None:
        """`/rep`, `/add`, `/rm`: to the control process, under /lab."""
        request = current.request
        lab = self.plane.lab
        assert lab is not None
        self.plane.lab_requests += 1
        current.hides_not_found = False
        # A second `DELETE /rm` would take away more; 9110 §9.2.2 lets the client know that.
        current.replayable = request.method in _SAFE
        current.snapshot = None
        current.rules = self.plane.lab_rules
        current.started = _monotonic()
        request.line = b"%b /lab%b HTTP/1.1" % (request.method, request.target)
        tail = self._tail(request)
        current.head = http1.forward(request, tail)
        if request.length:
            self._begin_body(current)
        if self.exchange is current:
            current.ask(lab, current.started)

    def _tail(self, request: http1.Request) -> bytes:
        """The fields that we add; the same ones for the same Host."""
        host = request.host
        forwarded = request.forwarded
        if forwarded is None and host == self.tail_host and host is not None and request.minor:
            return self.tail
        if forwarded is not None and not snapshot.trusts(self.plane.rules.trusted, self.peer):
            forwarded = None
        if host is None:  # only in HTTP/1.0; 9112 §3.3: the address that was asked
            name = self.transport.get_extra_info("sockname")
            host = _authority(name) if isinstance(name, tuple) else b""
            request.extra += b"Host: " + host + b"\r\n"
        tail = http1.tail(
            peer=self.wire_peer,
            host=host,
            scheme=self.plane.scheme,
            minor=request.minor,
            forwarded=forwarded,
        )
        if forwarded is None and request.minor:
            self.tail, self.tail_host = tail, host
        return tail

    def address_for(self, request: http1.Request, snap: snapshot.Snapshot) -> str:
        """Who asks, as far as we believe it."""
        chain = (request.forwarded or {}).get(b"x-forwarded-for")
        return snapshot.client_address(snap.rules.trusted, self.peer, chain)

    # -- bodies

    def _begin_body(self, current: exchange.Exchange) -> None:
        length = current.request.length
        self.decoder = chunked.Decoder() if length == http1.CHUNKED else None
        self.left = length
        data, at = self.pending, self.at
        self.pending = b""
        self.at = 0
        if at < len(data):
            self._body(current, data, at)
        if current.rules.min_rate and self.exchange is current and not current.body_done:
            now = _monotonic()
            self.paced = True
            self._set_pace(now)
            self.whole = self.total
            self.total = min(self.whole, now + _GRACE)

    def _body(self, current: exchange.Exchange, data: bytes, at: int = 0) -> None:
        """A piece of the body, from `at` on, and perhaps of what follows it."""
        decoder = self.decoder
        if decoder is None:
            end = min(len(data), at + self.left)
            wire = data[at:end]
            self.left -= len(wire)
            done = not self.left
        else:
            try:
                pieces = decoder.feed(data, at, lines=turns.LINES)
            except chunked.ChunkError:
                current.refuse(400, "The body's chunks are malformed")
                return
            done = decoder.done
            end = decoder.end
            self.left += sum(map(len, pieces))  # counts up from CHUNKED
            limit = current.rules.body_bytes
            if limit and self.left >= limit:
                current.refuse(413, "The body is too large")
                return
            wire = http1.chunk(pieces)
            if done:
                wire += http1.LAST_CHUNK
        if end < len(data):
            self.pending, self.at = data, end
            self.hold()
            if not done:
                self.give_way()
        if done and self.paced:
            self._end_pace()
        if wire:
            current.send(wire, last=done)

    # -- ends

    def finished(self, now: float, *, close: bool) -> None:
        """The exchange has ended with a whole response."""
        self.exchange = None
        self.decoder = None
        self.total = math.inf
        if close or (self.eof and not self.pending):
            self.linger()
            return
        idle = self.plane.rules.idle_seconds
        # `ending`: its head had gone out before and said nothing, so the next response must.
        self.deadline = now + (min(idle, PARTING) if self.ending else idle)
        if self.pending:
            self._advance()
        elif self.held:
            self.release()

    def tunnelled(self, upstream: upstream.Upstream) -> None:
        """Pass on what came ahead of the switch."""
        self.total = math.inf
        assert self.exchange is not None
        self.deadline = _monotonic() + self.exchange.tunnel_seconds()
        ahead = self.pending[self.at :]
        self.pending = b""
        self.at = 0
        self.release()  # before the write, which may be too much and hold it again
        if ahead:
            self.plane.outbox.write(upstream.transport, ahead)
        if self.eof:  # it had said all before
            self.plane.outbox.push()
            upstream.transport.write_eof()

    def refuse(self, status: int, message: str, *, head: bytes = b"") -> None:
        """Answer what is no request, and close: what follows can not be trusted."""
        self.plane.refused(self.peer, status, message)
        bodiless = head.startswith(b"HEAD ")
        wire = responses.error(status, message, close=True, bodiless=bodiless)
        self.plane.outbox.write(self.transport, responses.dated(wire, self.plane.date))
        self.linger()

    def end(self, *, by: float) -> None:
        """The next response, which says so, is the last; without a request it ends at `by`."""
        self.ending = True
        if self.exchange is None and not self.lingering and not self.pending:
            self.deadline = min(self.deadline, by)


def _unacknowledged(transport: asyncio.BaseTransport) -> int:
    """Bytes in the kernel's send buffer that the other side has not confirmed, tcp(7) SIOCOUTQ."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return 0
    count = array.array("i", [0])
    fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, count)
    return count[0]


def _authority(name: tuple[str, int]) -> bytes:
    """A socket's address as Host has it, 9110 §7.2."""
    host = snapshot.canonical(name[0])  # without the zone, which is the host's own
    return (f"[{host}]:{name[1]}" if ":" in host else f"{host}:{name[1]}").encode()


def _why(head: bytes) -> tuple[int, str]:
    """What llhttp refused may have a better answer than 400: a version, a method."""
    try:
        http1.request_line(head)
    except http1.Refused as refused:
        return refused.status, refused.message
    return 400, "The request is malformed"
