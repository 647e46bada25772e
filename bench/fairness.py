"""How long a small request takes while one other connection takes all that it can get.

One member is a sink that swallows or sends bytes for ever; the small requests go to the others, by
their key. They come from one connection, one after the other. Every contestant is measured in turn
without a load and beside each of them, so that their rounds can be compared.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import http.client
import itertools
import multiprocessing
import signal
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import contest
import peers

CONTESTANTS = (contest.RINGMASTER, contest.HAPROXY, contest.NGINX)
SECONDS = 0.5  # of small requests beside a load, in a round
_PAUSE = 0.002  # s between them, or most would be those that met an idle moment
_PIECE = 65_536  # bytes
_HEAD = b" /bulk HTTP/1.1\r\nHost: bench\r\nX-Request-Id: %b\r\n"
_CHUNKED = b"POST" + _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
_UPLOAD = b"POST" + _HEAD + b"Content-Length: %d\r\n\r\n" % (1 << 40)
# Load, how it begins, and what it sends again and again.
LOADS = {
    "upload in chunks of 64 KB": (_CHUNKED, b"10000\r\n" + b"x" * _PIECE + b"\r\n"),
    "upload with a length": (_UPLOAD, b"x" * _PIECE),
    "download": (b"GET" + _HEAD + b"\r\n", b""),
    "upload in chunks of 1 byte": (_CHUNKED, b"1\r\nx\r\n" * 10_000),
    "flood of OPTIONS *": (
        b"",
        b"OPTIONS * HTTP/1.1\r\nHost: bench\r\nMax-Forwards: 0\r\nX-Request-Id: %b\r\n\r\n" * 600,
    ),
}
BULK = tuple(LOADS)[:3]  # honest transfers; the others are meant to hurt


@dataclass(frozen=True, slots=True)
class Figures:
    """One round beside one load: the small requests' median in ms, and the load's MB a second."""

    median: float
    rate: float


Rounds = dict[str, list[Figures]]  # by load; "" is without any


def measure(
    contestants: list[contest.Contestant], folder: Path, ports: list[int], *, rounds: int
) -> dict[str, Rounds]:
    """By contestant: every load, `rounds` times, with the others in turns."""
    found: dict[str, Rounds] = {}
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(_sink())
        targets = []
        for each in contestants:
            running = stack.enter_context(each.start(folder, [sink, *ports[:2]]))
            found[each.name] = {load: [] for load in ("", *LOADS)}
            keys = [_key(running.port, sink, theirs=theirs) for theirs in (True, False)]
            targets.append((each.name, running.port, *keys))
        for load in ("", *LOADS):
            for number in range(rounds):
                for name, port, bulk, small in targets[number % 2 :] + targets[: number % 2]:
                    found[name][load].append(_beside(port, load, bulk, small))
    return found


def ratios(mine: Rounds, other: Rounds, load: str) -> list[float]:
    """Round by round, sorted."""
    pairs = zip(mine[load], other[load], strict=True)
    return sorted(a.median / b.median for a, b in pairs)


def middle(rounds: Rounds, load: str) -> float:
    """The median over the rounds, in ms."""
    return statistics.median(each.median for each in rounds[load])


def table(found: dict[str, Rounds]) -> list[str]:
    """In Markdown: the medians in ms, with what the load moved in MB a second."""
    lines = [" | ".join(["| beside one", *found]) + " |", "| --- |" + " ---: |" * len(found)]
    for load in ("", *LOADS):
        cells = [f"| {load or 'nothing'}"]
        for rounds in found.values():
            moved = statistics.median(each.rate for each in rounds[load])
            cells.append(f"{middle(rounds, load):.2f}" + (f" ({moved:,.0f})" if load else ""))
        lines.append(" | ".join(cells) + " |")
    return lines


def _beside(port: int, load: str, bulk: str, small: str) -> Figures:
    with _load(port, load, bulk.encode()) as moved:
        before, began = moved.value, time.monotonic()
        median = _median(port, small)
        return Figures(median, (moved.value - before) / 1e6 / (time.monotonic() - began))


def _key(port: int, sink: int, *, theirs: bool) -> str:
    """A key whose requests the sink gets, or one whose requests it does not get."""
    name = str(sink).encode()
    return next(key for key in map(str, itertools.count()) if (name in _get(port, key)) == theirs)


def _get(port: int, key: str) -> bytes:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    client.request("GET", "/home", headers={"X-Request-Id": key})
    with contextlib.closing(client), client.getresponse() as response:
        return response.read()


def _median(port: int, key: str) -> float:
    """Milliseconds."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    took: list[float] = []
    until = time.monotonic() + SECONDS
    with contextlib.closing(client):
        while (began := time.monotonic()) < until:
            client.request("GET", "/home", headers={"X-Request-Id": key})
            client.getresponse().read()
            took.append(1e3 * (time.monotonic() - began))
            time.sleep(_PAUSE)
    return statistics.median(took)


@contextlib.contextmanager
def _load(port: int, load: str, key: bytes) -> Iterator[ctypes.c_uint64]:
    """The bytes that it has moved so far, both ways."""
    moved: ctypes.c_uint64 = multiprocessing.RawValue(ctypes.c_uint64)
    if not load:
        yield moved
        return
    begin, again = (each.replace(b"%b", key) for each in LOADS[load])
    with _process(functools.partial(_push, port, begin, again, moved)):
        time.sleep(0.2)  # until it flows
        yield moved


def _push(port: int, begin: bytes, again: bytes, moved: ctypes.c_uint64) -> None:
    """Send for ever, and read whatever comes."""
    with socket.create_connection(("127.0.0.1", port)) as client, contextlib.suppress(OSError):
        client.sendall(begin)
        threading.Thread(target=_swallow, args=(client, moved), daemon=True).start()
        while again:
            client.sendall(again)
            moved.value += len(again)
        signal.pause()


def _swallow(sock: socket.socket, moved: ctypes.c_uint64 | None = None) -> None:
    buffer = bytearray(4 * _PIECE)
    with contextlib.suppress(OSError):
        while got := sock.recv_into(buffer):
            if moved is not None:
                moved.value += got


@contextlib.contextmanager
def _sink() -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", peers.free_port()), backlog=128)
    with listener, _process(functools.partial(_serve, listener)):
        yield listener.getsockname()[1]


def _serve(listener: socket.socket) -> None:
    while True:
        threading.Thread(target=_answer, args=(listener.accept()[0],), daemon=True).start()


def _answer(sock: socket.socket) -> None:
    """`GET /bulk` never ends, nor does a POST; what else is asked is answered with our port."""
    name = b"%d" % sock.getsockname()[1]
    with sock, contextlib.suppress(OSError):
        while head := sock.recv(_PIECE):
            if head.startswith(b"POST "):
                _swallow(sock)
            elif head.startswith(b"GET /bulk "):
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 40))
                while True:
                    sock.sendall(bytes(_PIECE))
            else:
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name))


@contextlib.contextmanager
def _process(work: Callable[[], None]) -> Iterator[None]:
    child = multiprocessing.get_context("fork").Process(target=work, daemon=True)
    child.start()
    try:
        yield
    finally:
        child.kill()
        child.join()
