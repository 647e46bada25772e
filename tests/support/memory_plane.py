"""The data plane without sockets, loop or clock: bytes in, bytes out, thousands of streams a second.

Both protocols run on transports that only remember. Nothing happens inside a write: `settle` hands
on what was written, as a loop would in its next turn. Servers are h11's, a witness of its own: it
raises for whatever it cannot accept as HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import h11
from ringmaster_balancer import members
from ringmaster_balancer.dataplane import client as clients
from ringmaster_balancer.dataplane import proxy, responses, turns, upstream
from ringmaster_balancer.ring import table


class Wire(asyncio.Transport):
    """One side of a connection; `sent` is what our side wrote and nobody has taken yet."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 9), "sockname": ("127.0.0.1", 80)})
        self.sent = bytearray()
        self.inbox: deque[bytes] = deque()
        self.closing = self.aborted = self.paused = self.ended = self.lost = False
        self.finished = False  # the other side has sent its last

    def write(self, data: Any) -> None:
        assert not self.closing
        assert not self.ended
        self.sent += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_write_buffer_size(self) -> int:
        return 0

    def take(self) -> bytes:
        data = bytes(self.sent)
        self.sent.clear()
        return data


class _Outbox:
    """Writes at once: there is no turn of a loop to wait for."""

    def write(self, transport: asyncio.WriteTransport, data: bytes) -> None:
        if not transport.is_closing():
            transport.write(data)

    def push(self) -> None:
        pass


class _Turns(turns.Turns):
    """Served by `settle`: there is no loop to call it."""

    def _schedule(self) -> None:
        self.scheduled = True


@dataclass(frozen=True)
class Message:
    """A request as a server understood it. `complete`: with its end."""

    method: bytes
    target: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    complete: bool


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Answer = Callable[[Message], Iterable[bytes | None]]


def plain(message: Message) -> Iterable[bytes | None]:
    """200, without its body for a HEAD."""
    yield OK[:-2] if message.method == b"HEAD" else OK


class Server:
    """Reads with h11 what one upstream connection gets; answers whole requests.

    An answer is pieces of a response; None among them is the end of the connection. `trailers`:
    they may come; we drop them, others do not.
    """

    def __init__(self, answer: Answer, *, trailers: bool = False) -> None:
        self.answer = answer
        self.trailers = trailers
        self.switched = False  # what follows is no HTTP
        self.messages: list[Message] = []
        self.raw = b""
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)

    def receive(self, data: bytes) -> list[bytes | None]:
        """Pieces to answer with. Raises h11.RemoteProtocolError for what is no HTTP."""
        self.raw += data
        if self.switched:
            return []
        self._h11.receive_data(data)
        out: list[bytes | None] = []
        while True:
            event = self._h11.next_event()
            if event in (h11.NEED_DATA, h11.PAUSED):
                return out
            match event:
                case h11.Request():
                    fields = tuple(event.headers)
                    self.messages.append(Message(event.method, event.target, fields, b"", False))
                case h11.Data():
                    last = self.messages[-1]
                    self.messages[-1] = Message(
                        last.method, last.target, last.fields, last.body + event.data, False
                    )
                case h11.EndOfMessage():
                    last = self.messages[-1]
                    done = Message(last.method, last.target, last.fields, last.body, True)
                    self.messages[-1] = done
                    assert self.trailers or not event.headers
                    answers = [*self.answer(done)]
                    out += answers
                    if any(name == b"upgrade" for name, _ in done.fields):
                        self.switched = b" 101 " in b"".join(each or b"" for each in answers)
                    self._h11.send(h11.Response(status_code=400, headers=[("Content-Length", "0")]))
                    self._h11.send(h11.EndOfMessage())
                    if self._h11.our_state is not h11.DONE:
                        return out
                    self._h11.start_next_cycle()


class _Client(clients.Client):
    """Remembers what it started, so that a reader of its output knows the methods."""

    __slots__ = ("methods", "refusals")

    def __init__(self, plane: proxy.DataPlane) -> None:
        super().__init__(plane)
        self.methods: list[bytes] = []
        self.refusals = 0

    def _start(self, request: Any) -> None:
        self.methods.append(request.method)
        super()._start(request)

    def refuse(self, status: int, message: str, *, head: bytes = b"") -> None:
        self.methods.append(b"HEAD" if head.startswith(b"HEAD ") else b"GET")
        self.refusals += 1
        super().refuse(status, message, head=head)


_RING = members.Ring(slots=4096)
_TABLE = table.compile(_RING, [("web-0", 100)])  # a push every round would spend its time on it


class Plane(proxy.DataPlane):
    """Connects at the next `settle`."""

    def __init__(self, **rules: Any) -> None:
        super().__init__()
        self.outbox = _Outbox()  # type: ignore[assignment] # the two methods that are called
        self.turns: _Turns = _Turns()
        self.asking: list[Any] = []
        self.rules_asked = rules
        self.generation = 0
        self.push(members.State.ACTIVE)
        self.date = responses.date(0.0)  # the same in every run

    def push(self, state: members.State) -> None:
        """A membership in which the one member is in this state."""
        self.generation += 1
        entry = members.Member(id="web-0", replica="web-0-r", address="127.0.0.1:1", state=state)
        self.install(
            members.Membership(
                epoch=1,
                generation=self.generation,
                uid="u",
                replicas=1,
                ring=_RING,
                proxy=members.Proxy.model_validate(self.rules_asked),
                members=(entry,),
            ),
            _TABLE,
        )

    def connect(self, exchange: Any, pool: Any) -> None:
        self.asking.append((exchange, pool))


@dataclass
class World:
    """One client's connection to a plane, and the servers it reached."""

    answer: Answer = plain
    plane: Plane = field(default_factory=Plane)
    wire: Wire = field(default_factory=Wire)
    output: bytes = b""
    servers: list[tuple[Server, upstream.Upstream, Wire]] = field(default_factory=list)
    paused: bool = False  # nobody's turn comes

    def __post_init__(self) -> None:
        self.client = _Client(self.plane)
        self.client.connection_made(self.wire)

    def feed(self, *pieces: bytes, eof: bool = False) -> None:
        """The client sends these, one at a time, and perhaps ends."""
        for piece in pieces:
            self.wire.inbox.append(piece)
            self.settle()
        if eof and not self.wire.closing:
            keep = self.client.eof_received()
            self.settle()
            if not keep:
                self.wire.close()
                self.settle()

    def settle(self) -> None:
        """Until nothing moves any more."""
        while self._step():
            pass

    def _step(self) -> bool:
        moved = False
        asking, self.plane.asking = self.plane.asking, []
        for exchange, pool in asking:
            moved = True
            self._connect(exchange, pool)
        self.output += self.wire.take()
        if self.wire.inbox and not self.wire.paused and not self.wire.closing:
            moved = True
            self.client.data_received(self.wire.inbox.popleft())
            self.output += self.wire.take()
        moved |= _lose(self.client, self.wire)
        for server, connection, wire in self.servers:
            if data := wire.take():
                moved = True
                wire.inbox.extend(server.receive(data))
            if wire.inbox and not wire.paused and not wire.closing and not wire.finished:
                moved = True
                piece = wire.inbox.popleft()
                if piece is not None:
                    connection.data_received(piece)
                else:
                    _end(connection, wire)
            moved |= _lose(connection, wire)
        if self.plane.turns.scheduled and not self.paused:
            moved = True
            self.plane.turns.serve()
        return moved

    def _connect(self, exchange: Any, pool: Any) -> None:
        """As the plane does when the connection stands."""
        pool.connects += 1
        connection = upstream.Upstream(self.plane, pool)
        wire = Wire()
        connection.connection_made(wire)
        self.servers.append((Server(self.answer), connection, wire))
        if exchange.client.exchange is exchange and exchange.pool is pool:
            exchange.attach(connection, time.monotonic())
        else:
            pool.leave()
            surplus = pool.give(connection, time.monotonic())
            if surplus is not None:
                surplus.close()

    def choke(self, *, client: bool) -> None:
        """The client, or its server, reads no more for now."""
        if client:
            self.client.pause_writing()
        else:
            self._server_side("pause_writing")

    def relieve(self, *, client: bool) -> None:
        """It reads again."""
        if client:
            self.client.resume_writing()
        else:
            self._server_side("resume_writing")

    def lose_server(self, *, reset: bool) -> None:
        """The server of the request in flight goes."""
        for _, connection, wire in self.servers:
            if connection.exchange is not None and not wire.closing:
                wire.closing = wire.lost = reset
                if reset:
                    connection.connection_lost(ConnectionResetError())
                elif not wire.finished:
                    _end(connection, wire)

    def expire(self) -> None:
        """What waits has waited too long."""
        self.plane.sweep(time.monotonic() + 100.0)

    def _server_side(self, call: str) -> None:
        for _, connection, wire in self.servers:
            if connection.exchange is not None and not wire.closing:
                getattr(connection, call)()

    @property
    def messages(self) -> list[Message]:
        """What the servers got, whole or not."""
        return [message for server, _, _ in self.servers for message in server.messages]


def _end(protocol: Any, wire: Wire) -> None:
    """The other side sends no more."""
    wire.finished = True
    if not protocol.eof_received():
        wire.close()


def _lose(protocol: Any, wire: Wire) -> bool:
    if not wire.closing or wire.lost:
        return False
    wire.lost = True
    protocol.connection_lost(None)
    return True


@dataclass(frozen=True)
class Reply:
    """A response as a client understood it."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    complete: bool


def replies(output: bytes, methods: Iterable[bytes], *, ended: bool) -> list[Reply]:
    """Read a client's bytes with h11; `ended`: its connection came to an orderly end.

    Raises h11.RemoteProtocolError for what is no HTTP, AssertionError for more than was asked.
    A body that stops short is no such thing: whoever reads it sees that.
    """
    found: list[Reply] = []
    rest = output
    for method in methods:
        reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        reader.send(h11.Request(method=method, target="/", headers=[("Host", "h")]))
        reader.send(h11.EndOfMessage())
        if rest:
            reader.receive_data(rest)
        reply = Reply(0, (), b"", complete=False)
        while not reply.complete:
            event = reader.next_event()
            if event is h11.NEED_DATA:
                if not ended or not reply.status:
                    assert not (ended and rest), rest  # half a head, then an orderly end
                    break
                ended = False
                reader.receive_data(b"")
                try:
                    event = reader.next_event()
                except h11.RemoteProtocolError as error:
                    if "without sending complete message body" not in str(error):
                        raise
                    break
            match event:
                case h11.Response():
                    reply = Reply(event.status_code, tuple(event.headers), b"", complete=False)
                case h11.Data():
                    reply = Reply(
                        reply.status, reply.fields, reply.body + event.data, complete=False
                    )
                case h11.EndOfMessage():
                    reply = Reply(reply.status, reply.fields, reply.body, complete=True)
                case h11.ConnectionClosed():
                    break
        if reply.status:
            found.append(reply)
        if not reply.complete:
            return found
        rest = reader.trailing_data[0]
    assert not rest, rest
    return found
