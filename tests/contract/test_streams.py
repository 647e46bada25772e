"""A stream means the same however it is cut: RFC 9112 §2.2, §11.2. In memory, so at every byte."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from unittest import mock

import memory_plane
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringmaster_balancer.dataplane import turns

BODIES = st.binary(max_size=40)
SMALLEST = mock.patch.multiple(turns, LARGE=1, LINES=1, MESSAGES=1)
TARGETS = st.sampled_from([b"/", b"/a?b=c", b"http://x/abs", b"/%0d%0a"])


def _chunked(body: bytes, sizes: Sequence[int], end: bytes) -> bytes:
    out, rest = b"", body
    for size in sizes:
        piece, rest = rest[:size], rest[size:]
        if piece:
            out += b"%x;e=f\r\n%b\r\n" % (len(piece), piece)
    if rest:
        out += b"%X\r\n%b\r\n" % (len(rest), rest)
    return out + b"0\r\n" + end + b"\r\n"


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from(["GET", "HEAD", "length", "chunks", "PUT"]))
    target = draw(TARGETS)
    key = b"X-Request-Id: %d\r\n" % draw(st.integers(0, 3))
    empty = draw(st.sampled_from([b"", b"\r\n"]))
    if kind in ("GET", "HEAD"):
        return empty + b"%b %b HTTP/1.1\r\nHost: h\r\n%b\r\n" % (kind.encode(), target, key)
    body = draw(BODIES)
    method = b"PUT" if kind == "PUT" else b"POST"
    head = empty + b"%b %b HTTP/1.1\r\nHost: h\r\n%b" % (method, target, key)
    if kind == "chunks":
        sizes = draw(st.lists(st.integers(1, 9), max_size=4))
        end = draw(st.sampled_from([b"", b"T: t\r\n", b"Host: evil\r\n"]))
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + _chunked(body, sizes, end)
    return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def cut(raw: bytes, at: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted({n for n in at if 0 < n < len(raw)}), len(raw)]
    return [raw[a:b] for a, b in itertools.pairwise(edges)]


def served(pieces: Sequence[bytes]) -> tuple[list[memory_plane.Message], bytes]:
    """What the servers got, and the client."""
    world = memory_plane.World()
    world.feed(*pieces)
    return world.messages, world.output


@given(
    st.lists(requests(), min_size=1, max_size=5),
    st.lists(st.integers(1, 1500), max_size=60),
    st.integers(1, 40),
)
def test_requests_mean_the_same_however_their_stream_is_cut(
    stream: list[bytes], cuts: list[int], step: int
) -> None:
    raw = b"".join(stream)
    messages, output = served([raw])
    assert [message.complete for message in messages] == [True] * len(stream)
    assert output.count(b"HTTP/1.1 200") == len(stream)
    for at in (cuts, range(step, len(raw), step), range(len(raw))):
        assert served(cut(raw, at)) == (messages, output)


@given(st.lists(requests(), min_size=1, max_size=5), st.lists(st.integers(1, 1500), max_size=9))
def test_requests_mean_the_same_in_however_many_turns_they_are_read(
    stream: list[bytes], cuts: list[int]
) -> None:
    """In the smallest shares. How a body is cut into chunks on its way says nothing (9112 §7.1)."""
    raw = b"".join(stream)
    whole = served([raw])
    with SMALLEST:
        assert served([raw]) == served(cut(raw, cuts)) == whole


STREAM = (
    b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\n\r\nHEAD /2 HTTP/1.1\r\nHost: h\r\n\r\n"
    b"POST /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"4;x=y\r\na\r\n0\r\n4\r\n\r\n\r\n\r\n0\r\nT: t\r\n\r\n"
    b"POST /4 HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\nGET / H"
    b"GET /5 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
)


def test_requests_mean_the_same_cut_at_any_byte() -> None:
    whole = served([STREAM])
    assert [message.body for message in whole[0]] == [b"", b"", b"a\r\n0\r\n\r\n", b"GET / H", b""]
    for first, second in itertools.combinations(range(1, len(STREAM)), 2):
        if second - first < 4 or not first % 41:  # near each other, and a sample of the others
            assert served(cut(STREAM, (first, second))) == whole


RESPONSES = [
    (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde"),
    (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
    (
        b"GET",
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"5;x=y\r\nabc\r\n\r\n3\r\nxyz\r\n0\r\nT: t\r\n\r\n"
        ),
    ),
    (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n"),
    (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
    (b"GET", b"HTTP/1.0 200 OK\r\n\r\nuntil the close"),
    (b"GET", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"),
]


def relayed(method: bytes, pieces: Sequence[bytes]) -> list[memory_plane.Reply]:
    """What a client reads, twice on one connection."""
    closes = b"".join(pieces).startswith(b"HTTP/1.0")

    def answer(_: memory_plane.Message) -> Iterable[bytes | None]:
        return [*pieces, *([None] if closes else [])]

    world = memory_plane.World(answer)
    request = b"%b / HTTP/1.1\r\nHost: h\r\n\r\n" % method
    world.feed(request, request)
    return memory_plane.replies(world.output, [method, method], ended=world.wire.ended)


@pytest.mark.parametrize(("method", "raw"), RESPONSES, ids=range(len(RESPONSES)))
def test_responses_mean_the_same_cut_at_any_byte(method: bytes, raw: bytes) -> None:
    whole = relayed(method, [raw])
    assert [reply.complete for reply in whole] == [True, True]
    cuts = [(n,) for n in range(1, len(raw))] + [tuple(range(len(raw)))]
    for at in cuts:
        assert relayed(method, cut(raw, at)) == whole
    with SMALLEST:
        for at in [(), *cuts]:
            assert relayed(method, cut(raw, at)) == whole
