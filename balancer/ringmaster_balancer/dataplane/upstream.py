"""The upstream's side: one connection to a member, responses in, relayed to the client.

An edge: it asks `http1` what a head means, moves bytes, and tells the exchange what became of it.
Bodies are framed anew, so that nothing but the body we counted reaches a client.
"""

from __future__ import annotations

import asyncio
import enum
import os
import time
from typing import TYPE_CHECKING

from ringmaster_balancer.dataplane import chunked, heads, http1, turns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringmaster_balancer.dataplane import exchange as exchanges
    from ringmaster_balancer.dataplane import proxy, recurring, snapshot

_monotonic = time.monotonic
_INTERIM = 200  # statuses below are interim, 9110 §15.2
_SWITCHING = 101
_UNAUTHORIZED = 401
_NOT_FOUND = 404
_LAST_READS = 16  # together as much as a receive buffer commonly holds
_LAST_BYTES = 65_536
_COALESCE = 16_384  # bytes of body that are cheaper copied behind their head than sent apart


class Mode(enum.IntEnum):
    """What the next bytes are."""

    HEAD = 0
    LENGTH = 1
    CHUNKED = 2
    UNTIL_CLOSE = 3
    TUNNEL = 4


_HEAD = Mode.HEAD.value  # read once a request: an enum's member is slow to come by


class Upstream(turns.Stream):
    """One connection; `exchange` is the request that it works on, None while it is idle."""

    __slots__ = (
        "answer",
        "at",
        "bound",
        "challenges",
        "chunks",
        "decoder",
        "ended",
        "exchange",
        "full",
        "idle_since",
        "left",
        "mode",
        "pending",
        "plane",
        "pool",
        "used",
    )

    def __init__(self, plane: proxy.DataPlane, pool: snapshot.Pool) -> None:
        super().__init__(plane.turns)
        self.plane = plane
        self.pool = pool
        self.exchange: exchanges.Exchange | None = None
        self.idle_since = 0.0
        self.mode = Mode.HEAD
        self.pending = b""  # the beginning of a head, or what a later turn has to look at
        self.at = 0  # where in it that begins
        self.full = False  # it does not read from us
        self.ended: tuple[Exception | None] | None = None  # how, while something is pending
        self.answer: recurring.Answer | None = None  # what the last head was like
        self.left = 0  # bytes of body still to come
        self.chunks = False  # the client gets this body in chunks
        self.decoder: chunked.Decoder | None = None
        self.used = False  # it has carried a response before
        self.bound = False  # RFC 4559 §6: a login may stand on it, so that it serves one client
        self.challenges = False  # its last response asked for the next step of a login

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the connection stands."""
        self.transport = transport  # type: ignore[assignment] # a stream's, since we are a Protocol

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: it has ended, however."""
        if self.exchange is None:
            self.pool.lost(self)
            return
        if exc is not None:
            self._last_words()  # the response may have been whole
        self.ended = (exc,)
        self._over()

    def _over(self) -> None:
        """Tell of its end, once all that came before has been looked at."""
        if self.ended is None or self.queued or (self.pending and self.mode != _HEAD):
            return
        exchange = self.exchange
        self.exchange = None
        self.pool.lost(self)
        if exchange is not None:
            exchange.upstream_lost(self, self.ended[0])

    def _last_words(self) -> None:
        """What a server said before it closed on what we were still sending (9112 §9.5).

        Its reset fails our write, and the transport closes with the answer unread in its socket.
        """
        sock = self.transport.get_extra_info("socket")
        for _ in range(_LAST_READS if sock is not None else 0):
            try:
                data = os.read(sock.fileno(), _LAST_BYTES)
            except OSError:
                return
            if not data or self.exchange is None:
                return
            self.data_received(data)

    def eof_received(self) -> bool:
        """asyncio: the other side sends no more. True keeps our side open."""
        exchange = self.exchange
        if exchange is not None:
            self.plane.outbox.push()  # a closed side takes no more
            if self.mode == Mode.UNTIL_CLOSE:
                if self.chunks:
                    self.plane.outbox.write(exchange.client.transport, http1.LAST_CHUNK)
                exchange.finish(reusable=False)
            elif self.mode == Mode.TUNNEL:
                return exchange.server_ended()
        return False

    def pause_writing(self) -> None:
        """asyncio: more waits to be sent than is good."""
        self.full = True
        if self.exchange is not None:
            self.exchange.client.hold()

    def resume_writing(self) -> None:
        """asyncio: enough of it was sent."""
        self.full = False
        if self.exchange is not None:
            self.exchange.client.release()

    def release(self) -> None:
        """Its client takes more again."""
        self.held = False
        if self.pending:
            self.give_way()
        else:
            self.read_on()

    def work(self) -> bool:
        """Interim responses, or a part of a body, that came in an earlier turn."""
        exchange, data, at = self.exchange, self.pending, self.at
        if data and exchange is not None and not self.held:
            self.pending = b""
            self.at = 0
            if self.mode == _HEAD:
                self._head(exchange, data)
            else:
                self._body(exchange, data, at=at)
        self._over()
        return self.pending is not data or self.at != at

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes came."""
        exchange = self.exchange
        if exchange is None:  # nobody asked; 9112 §9.2: this is not to be given to the next
            self.pool.lost(self)
            self.transport.abort()
        elif self.mode == _HEAD:
            answer = self.answer
            if answer is not None and not self.pending and exchange.request.method != b"HEAD":
                response = answer.match(data)
                if response is not None:
                    self._response(exchange, response, data[answer.end :])
                    return
            self._head(exchange, data)
        else:
            self.pool.bytes_in += len(data)
            if self.pending:  # last words
                data = self.pending[self.at :] + data
                self.pending = b""
                self.at = 0
            self._body(exchange, data)

    def _head(self, exchange: exchanges.Exchange, data: bytes) -> None:
        """A head, interim ones before it, and what of the body came along."""
        if self.pending:
            data = self.pending + data
            self.pending = b""
        share = turns.MESSAGES
        while True:
            end = data.find(b"\r\n\r\n") + 4
            whole = end >= 4  # noqa: PLR2004 - found
            if (end if whole else len(data)) > exchange.rules.head_bytes:
                exchange.broken("its response's head is too large")
                return
            head = data[:end] if whole else data
            try:
                if not whole:
                    http1.response_begun(head)
                    self.pending = data
                    return
                response = self._judge(head, exchange.request.method)
            except (heads.MalformedError, http1.BadResponseError, ValueError) as error:
                exchange.broken(f"its response is malformed: {error}")
                return
            data = data[end:]
            if response.status >= _INTERIM or response.status == _SWITCHING:
                break
            exchange.interim(response)
            if not data:
                return
            share -= 1
            if not share:
                self.pending = data
                self.give_way()
                return
        self._response(exchange, response, data)

    def _judge(self, head: bytes, method: bytes) -> http1.Response:
        """What the head means; from memory, if it is known and not the answer to a HEAD."""
        plane = self.plane
        answered = plane.answered
        place = answered.place(head) if method != b"HEAD" else None
        answer = self.answer = answered.find(place)
        response = None if answer is None else answer.match(head)
        if response is None:
            response = http1.response(head, plane.responses.read(head), method)
            self.answer = answered.learn(response, place)
        return response

    def _response(
        self, exchange: exchanges.Exchange, response: http1.Response, data: bytes
    ) -> None:
        """Relay a final head and what of its body has come."""
        if response.status == _SWITCHING:
            exchange.switch(self, response, data)
            return
        if response.status == _NOT_FOUND and exchange.hides_not_found:
            exchange.not_found(response, complete=len(data) == response.length)
            return
        length = response.length
        if len(data) == length and length < _COALESCE:  # nearly all there are
            head, _ = exchange.begin(response)
            self.used = True
            self.plane.outbox.write(exchange.client.transport, head + data)
            self.pool.bytes_in += length
            exchange.bytes = length
            exchange.finish(reusable=response.keep_alive)
            return
        if length >= 0:
            self.mode = Mode.LENGTH
            self.left = length
        elif length == http1.CHUNKED:
            self.mode = Mode.CHUNKED
            self.decoder = chunked.Decoder()
        else:
            self.mode = Mode.UNTIL_CLOSE
        self.pool.bytes_in += len(data)
        self._body(exchange, data, response)

    def _body(
        self,
        exchange: exchanges.Exchange,
        data: bytes,
        response: http1.Response | None = None,
        *,
        at: int = 0,
    ) -> None:
        """Relay a piece of a body, from `at` on; first the head of `response` if it has not gone out.

        A head whose first piece of body is malformed never goes out: 502 can be said instead.
        """
        head = b""
        reason = ""
        pieces: Sequence[chunked.Piece]
        try:
            pieces, done, excess = self._content(data, at)
        except chunked.ChunkError as error:
            pieces, done, excess = [error.content], False, False
            reason = f"its response is malformed: {error}"
        if response is not None and not reason:
            head, framing = exchange.begin(response)
            self.used = True
            self.chunks = framing == http1.CHUNKED
        client = exchange.client
        if exchange.begun:
            client.deadline = _monotonic() + (
                exchange.tunnel_seconds() if exchange.tunnel else exchange.rules.body_seconds
            )
            exchange.bytes += sum(map(len, pieces))
            self._relay(client.transport, head, pieces, last=done)
        if reason:
            exchange.broken(reason)
        elif done:
            # 9112 §9.2: bytes beyond the response are no response to anything we asked.
            exchange.finish(reusable=exchange.upstream_keeps_alive and not excess)
        elif self.pending or len(data) - at >= turns.LARGE:
            self.give_way()

    def _content(self, data: bytes, at: int) -> tuple[Sequence[chunked.Piece], bool, bool]:
        """What of it is content, whether that is all, and whether more came. Raises ChunkError.

        What is beyond our share of this turn is `pending`.
        """
        match self.mode:
            case Mode.LENGTH:
                excess = len(data) > self.left
                if excess:
                    data = data[: self.left]
                self.left -= len(data)
                return [data], not self.left, excess
            case Mode.CHUNKED:
                assert self.decoder is not None
                pieces = self.decoder.feed(data, at, lines=turns.LINES)
                done, end = self.decoder.done, self.decoder.end
                if end < len(data) and not done:
                    self.pending, self.at = data, end
                return pieces, done, done and end < len(data)
            case _:
                return [data], False, False

    def _relay(
        self,
        transport: asyncio.WriteTransport,
        head: bytes,
        pieces: Sequence[chunked.Piece],
        *,
        last: bool,
    ) -> None:
        """Send a piece of body as the client gets it."""
        if self.chunks:
            data = http1.chunk(pieces)
            if last:
                data += http1.LAST_CHUNK
        else:
            data = b"".join(pieces)  # a single one is not copied
        outbox = self.plane.outbox
        if head and len(data) >= _COALESCE:
            outbox.write(transport, head)
        elif head:
            data = head + data
        if data:
            outbox.write(transport, data)

    def bind(self, response: http1.Response) -> None:
        """After a login, or on the way to one, it is its client's alone."""
        self.bound = True
        self.challenges = response.status == _UNAUTHORIZED

    def reset(self) -> None:
        """Ready for the next request."""
        self.exchange = None
        self.mode = Mode.HEAD
        self.decoder = None
        self.chunks = False

    def close(self) -> None:
        """Drop the connection; nobody is told."""
        self.exchange = None
        self.transport.abort()
