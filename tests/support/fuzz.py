"""Fuzz both sides of the data plane in memory: `python fuzz.py --seconds 120 [--seed N]`.

Each round mutates a row of the strictness table, or a response, cuts it at random and holds the
plane to what must be true whatever came. A finding ends the run with the seed that shows it again.
"""

from __future__ import annotations

import argparse
import functools
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterable

import h11
import memory_plane
import strictness
from ringmaster_balancer import members

_GROWTH = 16 * 1024  # KB, after the first fifth: memory is bounded

_TOKENS = [
    *(
        line.encode("latin-1")
        for line in ("\r\n", "\n", "\r", "\r\n\r\n", " ", "\t", "\x00", "\x0b")
    ),
    *(
        b":",
        b",",
        b";",
        b"_",
        b"-",
        b"+",
        b"0",
        b"0x",
        b"\x80",
        b"\xff",
        b"#",
        b"*",
        b"/",
        b"http://",
    ),
    *(b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Host: x\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Connection: "),
    *(b"Upgrade: websocket\r\n", b"Expect: 100-continue\r\n", b"HTTP/1.0", b"HTTP/1.1", b"HEAD "),
    *(b"0\r\n\r\n", b"3\r\nabc\r\n", b"X-Request-Id: k\r\n", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
]

UPGRADE = b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
GOOD = [
    *(raw.encode("latin-1") for raw, _ in strictness.FORWARDED),
    *(
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunks.encode("latin-1")
        for chunks in ["3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nT: t\r\n\r\n", "0\r\n\r\n"]
    ),
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
    b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
    b"HEAD /h HTTP/1.1\r\nHost: h\r\nX-Request-Id: k\r\n\r\n",
    UPGRADE,
]

REQUESTS = [
    *GOOD,
    *(case.raw.encode("latin-1") for case in strictness.REFUSED if len(case.raw) < 2000),
    *(
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunks.encode("latin-1")
        for chunks in strictness.BAD_CHUNKS[:-2]
    ),
]

_C = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
RESPONSES = [
    memory_plane.OK,
    b"HTTP/1.1 200 OK\r\nServer: s\r\nContent-Length: 5\r\nConnection: close\r\n\r\nabcde",
    b"HTTP/1.1 200 OK\r\nConnection: keep-alive, X\r\nX: 1\r\nContent-Length: 0\r\n\r\n",
    _C + b"5;x=y\r\nabc\r\n\r\n3\r\nxyz\r\n0\r\nT: t\r\n\r\n",
    _C + b"0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + memory_plane.OK,
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the close",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nraw",
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nx" + memory_plane.OK,
]


def mutated(rng: random.Random, raw: bytes, others: list[bytes]) -> bytes:
    """Up to four changes; none at all in one of nine."""
    data = bytearray(raw)
    for _ in range(rng.choice((0, 1, 1, 1, 1, 2, 2, 3, 4))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(7):
            case 0:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 1 | 2:
                data[at:at] = rng.choice(_TOKENS)
            case 3:
                del data[at : at + rng.choice((1, 1, 2, 8))]
            case 4:
                data[at:at] = data[at : at + rng.randrange(1, 40)]
            case 5:
                lines = bytes(data).split(b"\r\n")
                lines.insert(rng.randrange(len(lines)), rng.choice(lines))
                data[:] = b"\r\n".join(lines)
            case _:
                other = rng.choice(others)
                data[at:] = other[rng.randrange(len(other)) :]
    return bytes(data)


def pieces(rng: random.Random, raw: bytes) -> list[bytes]:
    """Cut at up to six places, or at every byte."""
    if not rng.randrange(8):
        return [raw[n : n + 1] for n in range(len(raw))]
    edges = sorted({rng.randrange(1, max(len(raw), 2)) for _ in range(rng.randrange(7))})
    return [raw[a:b] for a, b in zip([0, *edges], [*edges, len(raw)], strict=True)]


def ask(rng: random.Random, plane: memory_plane.Plane) -> str:
    """One client's stream. Raises AssertionError or h11.RemoteProtocolError for a finding."""
    stream = b"".join(
        mutated(rng, rng.choice(rng.choice((GOOD, GOOD, REQUESTS))), REQUESTS)
        for _ in range(rng.choice((1, 1, 2, 3)))
    )
    world = memory_plane.World(plane=plane)
    for piece in pieces(rng, stream):
        world.feed(piece)
        assert len(world.client.pending) - world.client.at <= plane.rules.head_bytes + len(stream)
        assert not world.client.exchange or world.client.exchange.kept_bytes <= len(stream) * 8
    if rng.randrange(2):
        world.feed(eof=True)
    accepted = len(world.client.methods) - world.client.refusals
    assert len(world.messages) <= accepted
    for server, _, _ in world.servers:
        assert server.raw.count(b" ringmaster\r\n\r\n") >= len(server.messages)
    for message in world.messages:
        names = [name for name, _ in message.fields]
        assert names.count(b"host") == 1
        assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
        assert message.target.startswith((b"/", b"*"))
    ended = world.wire.ended or (world.wire.closing and not world.wire.aborted)
    answers = memory_plane.replies(world.output, world.client.methods, ended=ended)
    _leave(world)
    return "refused" if world.client.refusals else "answered" if answers else "waiting"


def answer(rng: random.Random, plane: memory_plane.Plane) -> str:
    """One server's responses, to two requests."""
    raw = mutated(rng, rng.choice(RESPONSES), RESPONSES)
    ends: list[bytes | None] = [None] if rng.randrange(2) else []
    cut = pieces(rng, raw)
    method = rng.choice((b"GET", b"GET", b"GET", b"HEAD", b"POST"))

    def play(_: memory_plane.Message) -> Iterable[bytes | None]:
        return [*cut, *ends]

    world = memory_plane.World(play, plane)
    version = rng.choice((b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"))
    request = b"%b / %b\r\nHost: h\r\nContent-Length: 0\r\n\r\n" % (method, version)
    world.feed(request)
    first = [method]
    ended = world.wire.ended or (world.wire.closing and not world.wire.aborted)
    got = memory_plane.replies(world.output, first, ended=ended)
    _leave(world)
    if not got or not got[0].complete:
        return "cut or waiting"
    if got[0].status == 502:  # our own words for what cannot be trusted
        return "refused"
    try:
        seen = memory_plane.replies(raw, first, ended=bool(ends))
    except AssertionError:
        return "relayed, more came"
    except h11.RemoteProtocolError as error:
        # It judges trailers as if they were fields of the head; here they are dropped unread.
        if b"chunked" in raw.lower() and ("-Encoding" in str(error) or "-Length" in str(error)):
            return "relayed, without its trailers"
        error.add_note(repr(raw))
        raise
    # What was relayed whole is whole, and the same, to another reader.
    assert seen, raw
    assert (seen[0].complete, seen[0].status) == (True, got[0].status), raw
    assert seen[0].body == got[0].body, raw
    return "relayed"


def disturb(rng: random.Random, plane: memory_plane.Plane) -> str:
    """Requests, tunnels and streams among stalls, resets, expiry and changes of membership.

    What is answered is not compared: no exception may escape, and nobody may stay behind.
    """
    raw = mutated(rng, rng.choice(RESPONSES), RESPONSES)
    ends: list[bytes | None] = [None] if not rng.randrange(3) else []
    cut = pieces(rng, raw)

    def play(_: memory_plane.Message) -> Iterable[bytes | None]:
        return [*cut, *ends] if rng.randrange(4) else []

    world = memory_plane.World(play, plane)
    sides = [True, False]
    happenings = [
        *(functools.partial(world.choke, client=side) for side in sides),
        *(functools.partial(world.relieve, client=side) for side in sides),
        *(functools.partial(world.lose_server, reset=side) for side in sides),
        *(functools.partial(plane.push, state) for state in members.State),
        world.expire,
        functools.partial(plane.set_health, {"web-0-r": bool(rng.randrange(2))}),
        plane.clear,
    ]
    stream = [rng.choice(GOOD) for _ in range(rng.choice((1, 2, 4)))]
    if rng.randrange(2):
        stream.append(UPGRADE + rng.randbytes(9))
    for piece in pieces(rng, b"".join(stream)):
        world.feed(piece)
        if not rng.randrange(2) and not world.wire.closing:
            rng.choice(happenings)()
            world.settle()
    if rng.randrange(2):
        world.feed(eof=True)
    _leave(world)
    plane.push(members.State.ACTIVE)
    return "ended"


def _leave(world: memory_plane.World) -> None:
    """The client goes: nobody may be counted as busy any more, and nothing waits."""
    if not world.wire.closing:
        world.wire.abort()
    world.settle()
    plane = world.plane
    assert not plane.clients
    assert not any(plane.in_flight().values())
    for pool in plane.pools.values():
        for connection in [*pool.idle]:
            connection.close()
            pool.lost(connection)
        assert not pool.idle


def run(seed: int, *, seconds: float = 0.0, rounds: int = 0) -> Counter[str]:
    """As many rounds, or for as long; how they came out. A finding is raised with its seed."""
    counts: Counter[str] = Counter()
    deadline = time.monotonic() + seconds
    number = 0
    plane = memory_plane.Plane()
    while number < rounds or time.monotonic() < deadline:
        rng = random.Random(f"{seed}:{number}")
        side = (ask, answer, disturb, ask)[number % 4]
        if not number % 50:
            # Heads are remembered and members marked: some rounds share them, and all end.
            plane = memory_plane.Plane()
        try:
            counts[f"{side.__name__}: {side(rng, plane)}"] += 1
        except (AssertionError, h11.ProtocolError, Exception) as error:
            error.add_note(f"seed {seed}, round {number}, the 50 before it included")
            raise
        number += 1
    return counts


def main() -> int:
    """Fuzz for a while; exit 1 and a traceback for a finding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}, {arguments.seconds:g} s", flush=True)
    counts = run(arguments.seed, seconds=arguments.seconds / 5)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts += run(arguments.seed + 1, seconds=arguments.seconds * 4 / 5)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    for name, count in sorted(counts.items()):
        print(f"  {name:36} {count:>9,}")
    print(f"{counts.total():,} streams, no finding; memory grew by {grown / 1024:.1f} MB")
    return 0 if grown < _GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())
