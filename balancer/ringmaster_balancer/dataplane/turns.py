"""Fairness between connections: how much of one is handled before the event loop sees to the others.

Law: edge. An event loop reads from a fast connection again and again, 8 MB in a row: perhaps a
million chunks, or a hundred thousand requests that we answer ourselves. So a connection does a
bounded share of work in one turn of the loop; then it reads no more and waits in a queue that all
of them share. Every second turn belongs to the others alone: what a large read held up is sent
before the next one. Each share is 0.2 to 0.3 ms of work. Who calls: clients and upstreams.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

# The share of one connection. uvloop reads up to 256,000 bytes at once, asyncio 262,144.
LARGE: Final = 131_072  # bytes; whoever has read so many at once has had its share
LINES: Final = 256  # lines of chunked framing; two for each chunk
MESSAGES: Final = 8  # requests that need no server, or interim responses
_TOGETHER: Final = 4  # connections from the queue in one turn of the loop


class Turns:
    """The queue: first come, first served."""

    __slots__ = ("_waiting", "scheduled")

    def __init__(self) -> None:
        self._waiting: deque[Stream] = deque()
        self.scheduled = False  # somebody waits, and `serve` will be called

    def wait(self, stream: Stream) -> None:
        """Let it go on in a later turn of the loop."""
        self._waiting.append(stream)
        if not self.scheduled:
            self._schedule()

    def serve(self) -> None:
        """Let the first ones go on."""
        try:
            for _ in range(min(_TOGETHER, len(self._waiting))):
                self._waiting.popleft().turn()
        finally:
            self.scheduled = False
            if self._waiting:
                self._schedule()

    def _schedule(self) -> None:
        self.scheduled = True
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, self.serve)  # after a turn that is the others' alone


class Stream(asyncio.Protocol):
    """A connection, which reads unless it is held or waits for its turn."""

    __slots__ = ("held", "queued", "transport", "turns")
    transport: asyncio.Transport

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.held = False  # what it reads could not be passed on
        self.queued = False  # it has had its share

    def give_way(self) -> None:
        """It has had its share of this turn."""
        if not self.queued:
            self.queued = True
            self.turns.wait(self)
            if not self.transport.is_closing():
                self.transport.pause_reading()

    def turn(self) -> None:
        """Its turn has come: to go on with what it has read, or to read."""
        self.queued = False
        if self.work():
            self.give_way()
        else:
            self.read_on()

    def work(self) -> bool:
        """A share of what was read and could not be handled before; whether there was something."""
        raise NotImplementedError

    def hold(self) -> None:
        """Read no more for now."""
        if not self.held and not self.transport.is_closing():
            self.held = True
            self.transport.pause_reading()

    def read_on(self) -> None:
        """Read, if nothing speaks against it."""
        if not (self.held or self.queued or self.transport.is_closing()):
            self.transport.resume_reading()
