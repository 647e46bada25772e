"""The client's side on real sockets: strictness, pipelining, bodies, time, the end of connections.

Sections are of RFC 9110 and RFC 9112.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from pathlib import Path

import pytest
import scripted
from hypothesis import given, settings
from hypothesis import strategies as st
from ringmaster_balancer.dataplane import proxy

H = "Host: h\r\n"
MANY = 3000

# (what comes, the status that answers it). None of them may reach a server.
REFUSED = [
    # 9112 §3: the request line
    ("GET\r\n\r\n", 400),
    ("GET /\r\n\r\n", 400),  # HTTP/0.9
    (f"GET /  HTTP/1.1\r\n{H}\r\n", 400),
    (f"GET /a b HTTP/1.1\r\n{H}\r\n", 400),
    (f"GET / HTTP/1.1 \r\n{H}\r\n", 400),
    (f"GET\t/ HTTP/1.1\r\n{H}\r\n", 400),
    (f"GET / HTTP/1.1\n{H}\r\n\r\n", 400),  # §2.2: a bare LF
    (f"\r\n\r\nGET / HTTP/1.1\r\n{H}\r\n", 400),  # one empty line is ignored, two are not
    # §2.3: versions
    (f"GET / HTTP/0.9\r\n{H}\r\n", 505),
    (f"GET / HTTP/2.0\r\n{H}\r\n", 505),
    (f"GET / HTTP/1.2\r\n{H}\r\n", 505),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),  # RFC 9113 §3.4: the preface
    (f"GET / http/1.1\r\n{H}\r\n", 400),
    (f"SETUP / RTSP/1.0\r\n{H}\r\n", 400),
    (f"SOURCE / ICE/1.0\r\n{H}\r\n", 400),
    # §3.2: targets
    (f"GET /a#b HTTP/1.1\r\n{H}\r\n", 400),
    (f"GET * HTTP/1.1\r\n{H}\r\n", 400),
    (f"GET a HTTP/1.1\r\n{H}\r\n", 400),
    (f"GET h:80 HTTP/1.1\r\n{H}\r\n", 400),
    (f"GET http:///a HTTP/1.1\r\n{H}\r\n", 400),
    (f"GET http://u@h/a HTTP/1.1\r\n{H}\r\n", 400),
    (f"GET ftp://h/a HTTP/1.1\r\n{H}\r\n", 400),
    (f"GET /\x80 HTTP/1.1\r\n{H}\r\n", 400),
    (f"GET /\x00 HTTP/1.1\r\n{H}\r\n", 400),
    # 9110 §9: methods
    (f"CONNECT h:80 HTTP/1.1\r\n{H}\r\n", 501),
    (f"TRACE / HTTP/1.1\r\n{H}\r\n", 501),
    (f"BREW / HTTP/1.1\r\n{H}\r\n", 501),
    (f"get / HTTP/1.1\r\n{H}\r\n", 501),
    # 9112 §3.2: Host
    ("GET / HTTP/1.1\r\n\r\n", 400),
    (f"GET / HTTP/1.1\r\n{H}{H}\r\n", 400),
    (f"GET / HTTP/1.1\r\n{H}host: other\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a:port\r\n\r\n", 400),
    # §5: fields
    (f"GET / HTTP/1.1\r\n{H}A : b\r\n\r\n", 400),  # §5.1: a space before the colon
    (f"GET / HTTP/1.1\r\n{H}A: b\r\n c\r\n\r\n", 400),  # §5.2: obs-fold
    (f"GET / HTTP/1.1\r\n A: b\r\n{H}\r\n", 400),
    (f"GET / HTTP/1.1\r\n{H}A: b\rc\r\n\r\n", 400),  # a bare CR
    (f"GET / HTTP/1.1\r\n{H}A: b\nc: d\r\n\r\n", 400),
    (f"GET / HTTP/1.1\r\n{H}A: \x00\r\n\r\n", 400),
    (f"GET / HTTP/1.1\r\n{H}A: \x7f\r\n\r\n", 400),
    (f"GET / HTTP/1.1\r\n{H}A\x80: b\r\n\r\n", 400),
    (f"GET / HTTP/1.1\r\n{H}: b\r\n\r\n", 400),
    (f"GET / HTTP/1.1\r\n{H}A b\r\n\r\n", 400),
    (f"POST / HTTP/1.1\r\n{H}Content_Length: 4\r\n\r\n", 400),
    (f"GET / HTTP/1.1\r\n{H}X_Forwarded_For: 1.1.1.1\r\n\r\n", 400),
    (f"GET / HTTP/1.1\r\n{H}X-Forwarded_For: 1.1.1.1\r\n\r\n", 400),
    # §6: framing
    (f"POST / HTTP/1.1\r\n{H}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", 400),
    (f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc", 400),
    (f"POST / HTTP/1.1\r\n{H}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (f"POST / HTTP/1.1\r\n{H}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
    (f"POST / HTTP/1.1\r\n{H}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
    (f"POST / HTTP/1.1\r\n{H}Content-Length: 3, 3\r\n\r\nabc", 400),
    (f"POST / HTTP/1.1\r\n{H}Content-Length: +3\r\n\r\nabc", 400),
    (f"POST / HTTP/1.1\r\n{H}Content-Length: -3\r\n\r\nabc", 400),
    (f"POST / HTTP/1.1\r\n{H}Content-Length: 0x3\r\n\r\nabc", 400),
    (f"POST / HTTP/1.1\r\n{H}Content-Length: \r\n\r\n", 400),
    (f"POST / HTTP/1.1\r\n{H}Content-Length: 99999999999999999999\r\n\r\n", 400),
    ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    (f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", (400, 501)),
    (f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: identity\r\n\r\n", (400, 501)),
    (f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: xchunked\r\n\r\n", (400, 501)),
    (f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: \x0bchunked\r\n\r\n", 400),
    (f"POST / HTTP/1.1\r\n{H}Transfer_Encoding: chunked\r\n\r\n", 400),
    (
        f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        (400, 501),
    ),
    # 9110 §7.6.1: Connection names what is not its own
    (f"GET / HTTP/1.1\r\n{H}Connection: host\r\n\r\n", 400),
    (f"POST / HTTP/1.1\r\n{H}Connection: content-length\r\nContent-Length: 1\r\n\r\na", 400),
    # 9110 §7.8: an upgrade with a body
    (
        (
            f"POST / HTTP/1.1\r\n{H}Connection: upgrade\r\nUpgrade: websocket\r\n"
            "Content-Length: 1\r\n\r\na"
        ),
        400,
    ),
    # 9110 §10.1.1
    (f"POST / HTTP/1.1\r\n{H}Expect: a-miracle\r\nContent-Length: 1\r\n\r\n", 417),
    # sizes: 9110 §15.5.15, RFC 6585 §5
    (f"GET /{'a' * 9000} HTTP/1.1\r\n{H}\r\n", 414),
    ("GET /" + "a" * 9000, (400, 414)),  # with what follows, two lines in one
    (f"GET / HTTP/1.1\r\n{H}A: {'a' * 33_000}\r\n\r\n", 431),
    (f"GET / HTTP/1.1\r\n{H}A: {'a' * 33_000}", 431),
    (f"GET / HTTP/1.1\r\n{H}" + "A: a\r\n" * 101 + "\r\n", 431),
]


@pytest.mark.parametrize(("raw", "status"), REFUSED)
def test_what_is_ambiguous_or_too_much_is_refused_and_reaches_no_server(
    raw: str, status: int | tuple[int, ...]
) -> None:
    async def scenario() -> None:
        async with scripted.stand(scripted.answering()) as stand:
            client = await stand.connect()
            client.send(raw.encode("latin-1"))
            client.send(scripted.get("/smuggled"))
            got, fields, body = await client.response()
            assert got in (status if isinstance(status, tuple) else (status,))
            assert fields["connection"] == "close"
            assert fields["content-type"] == "application/json"
            assert body.startswith(b'{"message": "<Error> ')
            assert await client.rest() == b""
            assert stand.upstreams["web-0"].received == b""

    scripted.run(scenario())


BAD_CHUNKS = [
    "g\r\na\r\n0\r\n\r\n",
    "0x1\r\na\r\n0\r\n\r\n",
    " 1\r\na\r\n0\r\n\r\n",
    "1 \r\na\r\n0\r\n\r\n",
    "+1\r\na\r\n0\r\n\r\n",
    "1\na\r\n0\r\n\r\n",
    "1\r\nab\r\n0\r\n\r\n",
    "1\r\na\n0\r\n\r\n",
    "\r\n",
    "ffffffffffffffffff\r\n",
    "1;\x00\r\na\r\n0\r\n\r\n",
    "0\r\nA : b\r\n\r\n",
    "0\r\nno colon\r\n\r\n",
    "0\r\n folded: a\r\n\r\n",
    "1" + ";e" * 4000 + "\r\na\r\n0\r\n\r\n",
    "1;eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee\r\na\r\n" * 2000,
]


@pytest.mark.parametrize("chunks", BAD_CHUNKS)
def test_a_body_whose_chunks_are_malformed_is_refused(chunks: str) -> None:
    """9112 §7.1; the server sees an unfinished body and its connection end, never a whole one."""

    async def scenario() -> None:
        async def reads(peer: scripted.Peer) -> None:
            await peer.rest()

        async with scripted.stand(reads) as stand:
            client = await stand.connect()
            head = f"POST / HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n"
            client.send((head + chunks).encode("latin-1"))
            assert (await client.response())[0] == 400
            assert not stand.upstreams["web-0"].received.endswith(b"0\r\n\r\n")

    scripted.run(scenario())


async def forwarded(raw: bytes, rules: dict[str, object] | None = None) -> bytes:
    """What a server gets for these bytes."""

    async def play(peer: scripted.Peer) -> None:
        head = await peer.head()
        if b"chunked" in head.lower():
            await peer.until(b"0\r\n\r\n")
        elif b"content-length: " in head.lower():
            await peer.exactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
        peer.send(scripted.OK)
        await peer.head()

    async with scripted.stand(play, rules=rules) as stand:
        client = await stand.connect()
        client.send(raw)
        status, _, body = await client.response()
        assert (status, body) == (200, b"ok")
        return stand.upstreams["web-0"].received


ADDED = (
    b"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n"
    b"X-Forwarded-Host: h\r\nVia: 1.1 ringmaster\r\n\r\n"
)

FORWARDED = [
    # as it came, with who asked
    (
        "GET /a?b=c HTTP/1.1\r\nHost: h\r\nA:  b \r\n\r\n",
        "GET /a?b=c HTTP/1.1\r\nHost: h\r\nA:  b \r\n",
    ),
    # 9112 §2.2: an empty line before
    ("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n"),
    # §3.2.2: the absolute form; its authority wins over Host
    ("GET http://h/a?b HTTP/1.1\r\nHost: x\r\n\r\n", "GET /a?b HTTP/1.1\r\nHost: h\r\n"),
    ("GET HTTP://h HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n"),
    ("GET http://h?q HTTP/1.1\r\nHost: h\r\n\r\n", "GET /?q HTTP/1.1\r\nHost: h\r\n"),
    # §3.2.4: the asterisk form
    ("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: h\r\n"),
    ("OPTIONS http://h HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: h\r\n"),
    # 9110 §7.6.2
    (
        "OPTIONS / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 3\r\n\r\n",
        "OPTIONS / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 2\r\n",
    ),
    # 9110 §7.6.1: hop-by-hop, and what Connection names
    (
        (
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, X-Own\r\nx-own: 1\r\nTE: trailers\r\n"
            "Keep-Alive: 5\r\nProxy-Connection: a\r\nProxy-Authorization: b\r\nTrailer: c\r\nD: d\r\n\r\n"
        ),
        "GET / HTTP/1.1\r\nHost: h\r\nD: d\r\n",
    ),
    # 9110 §7.8: an upgrade that is not passed on is not mentioned
    (
        (
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            "HTTP2-Settings: AAA\r\n\r\n"
        ),
        "GET / HTTP/1.1\r\nHost: h\r\n",
    ),
    ("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n"),
    # where it came from is ours to say
    (
        (
            "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Host: evil\r\n"
            "Forwarded: for=1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\nX-Forwarded-Prefix: /p\r\n\r\n"
        ),
        "GET / HTTP/1.1\r\nHost: h\r\n",
    ),
    # 9112 §2.3: HTTP/1.0 leaves as our own version
    ("GET / HTTP/1.0\r\nHost: h\r\nExpect: any\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n"),
]


@pytest.mark.parametrize(("raw", "expected"), FORWARDED)
def test_a_head_is_forwarded_as_it_came_but_for_what_is_the_connections_own(
    raw: str, expected: str
) -> None:
    async def scenario() -> None:
        assert await forwarded(raw.encode()) == expected.encode() + ADDED

    scripted.run(scenario())


def test_http_1_0_without_host_gets_the_address_that_was_asked() -> None:
    """9112 §3.2 wants a Host of us; §3.3 says which."""

    async def scenario() -> None:
        got = await forwarded(b"GET / HTTP/1.0\r\n\r\n")
        assert got.startswith(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:")

    scripted.run(scenario())


def test_a_trusted_peer_is_believed_and_added_to() -> None:
    async def scenario() -> None:
        got = await forwarded(
            b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\n"
            b"x-forwarded-for: 2.2.2.2\r\nForwarded: for=1.1.1.1\r\n\r\n",
            {"trustedProxies": ["127.0.0.0/8"]},
        )
        assert got == (
            b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2, 127.0.0.1\r\n"
            b"X-Forwarded-Proto: https\r\nX-Forwarded-Host: h\r\nForwarded: for=1.1.1.1\r\n"
            b"Via: 1.1 ringmaster\r\n\r\n"
        )

    scripted.run(scenario())


def test_chunks_are_framed_anew_and_extensions_and_trailers_dropped() -> None:
    """9112 §7.1.1, §7.1.2; a Host among the trailers becomes nobody's."""

    async def scenario() -> None:
        got = await forwarded(
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n"
            b"3;a=b\r\nabc\r\n002\r\nde\r\n0\r\nHost: evil\r\nA: b\r\n\r\n"
        )
        head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n"
        assert got == head + ADDED + b"5\r\nabcde\r\n0\r\n\r\n"

    scripted.run(scenario())


def test_trailers_do_not_reach_the_next_request() -> None:
    async def reads(peer: scripted.Peer) -> None:
        while head := await peer.head():
            if b"chunked" in head:
                await peer.until(b"0\r\n\r\n")
            peer.send(scripted.OK)

    async def scenario() -> None:
        async with scripted.stand(reads) as stand:
            client = await stand.connect()
            client.send(
                b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"1\r\na\r\n0\r\nX-Leak: 1\r\nContent-Length: 5\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"
            )
            for _ in range(2):
                assert (await client.response())[0] == 200
            assert b"X-Leak" not in stand.upstreams["web-0"].received

    scripted.run(scenario())


def test_a_get_with_a_body_is_forwarded_with_it() -> None:
    """9110 §9.3.1: it has no meaning, and still is the message's body."""

    async def scenario() -> None:
        got = await forwarded(b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
        assert got.endswith(b"\r\n\r\nabc")

    scripted.run(scenario())


def test_options_that_may_go_no_further_are_answered_here() -> None:
    """9110 §7.6.2."""

    async def scenario() -> None:
        async with scripted.stand(scripted.answering()) as stand:
            client = await stand.connect()
            client.send(b"OPTIONS / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n")
            status, fields, body = await client.response()
            assert (status, body) == (204, b"")
            assert "GET" in fields["allow"]
            assert stand.upstreams["web-0"].received == b""

    scripted.run(scenario())


def test_thousands_of_pipelined_requests_are_answered_in_order() -> None:
    """9112 §9.3.2."""

    async def echoes(peer: scripted.Peer) -> None:
        while head := await peer.head():
            path = head.split(b" ")[1]
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

    async def scenario() -> None:
        async with scripted.stand(echoes, echoes) as stand:
            client = await stand.connect()
            client.send(b"".join(scripted.get(f"/{n}", key=str(n)) for n in range(MANY)))
            for n in range(MANY):
                status, _, body = await client.response()
                assert (status, body) == (200, f"/{n}".encode())

    scripted.run(scenario())


def test_thousands_of_pipelined_requests_that_we_answer_ourselves() -> None:
    async def scenario() -> None:
        async with scripted.stand(install=False) as stand:
            client = await stand.connect()
            client.send(scripted.get() * MANY)
            for _ in range(MANY):
                assert (await client.response())[0] == 503

    scripted.run(scenario())


def test_a_client_that_pipelines_and_never_reads_is_not_answered_without_bound() -> None:
    async def scenario() -> None:
        async with scripted.stand(install=False) as stand:
            client = await stand.connect(limit=1024)
            client.writer.transport.set_write_buffer_limits(high=1)

            async def send_forever() -> None:
                while True:
                    client.send(scripted.get() * MANY)
                    await client.writer.drain()

            sending = asyncio.create_task(send_forever())
            await scripted.eventually(lambda: any(c.held for c in stand.plane.clients))
            (connection,) = stand.plane.clients
            assert connection.choked
            assert connection.transport.get_write_buffer_size() < 1_000_000
            assert len(connection.pending) < 1_000_000
            sending.cancel()
            client.reset()

    scripted.run(scenario())


REQUESTS = (
    b"GET /1 HTTP/1.1\r\nHost: h\r\nX-Request-Id: a\r\n\r\n"
    b"POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde"
    b"POST /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;x=y\r\nabc\r\n\r\n3\r\nxyz\r\n0\r\nT: t\r\n\r\n"
    b"\r\nGET /4 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
)


async def _cut_into(pieces: list[bytes]) -> None:
    bodies = []

    async def reads(peer: scripted.Peer) -> None:
        while head := await peer.head():
            body = b""
            if b"chunked" in head:
                body = await peer._chunks()
            elif b"Content-Length: 5" in head:
                body = await peer.exactly(5)
            bodies.append((head.split(b" ")[1], body))
            peer.send(scripted.OK)

    async with scripted.stand(reads) as stand:
        client = await stand.connect()
        for piece in pieces:
            client.send(piece)
            await client.writer.drain()
            await asyncio.sleep(0)
        statuses = [(await client.response())[0] for _ in range(4)]
        assert statuses == [200] * 4
        assert await client.rest() == b""
        assert bodies == [(b"/1", b""), (b"/2", b"abcde"), (b"/3", b"abc\r\nxyz"), (b"/4", b"")]


@settings(max_examples=20)
@given(st.sets(st.integers(1, len(REQUESTS) - 1), max_size=40))
def test_requests_mean_the_same_however_the_stream_is_cut(cuts: set[int]) -> None:
    edges = [0, *sorted(cuts), len(REQUESTS)]
    pieces = [REQUESTS[a:b] for a, b in itertools.pairwise(edges)]
    scripted.run(_cut_into(pieces))


def test_requests_that_come_byte_by_byte() -> None:
    scripted.run(_cut_into([REQUESTS[n : n + 1] for n in range(len(REQUESTS))]))


def test_100_continue_is_forwarded_and_its_answer_relayed() -> None:
    """9110 §10.1.1."""

    async def waits(peer: scripted.Peer) -> None:
        head = await peer.head()
        assert b"Expect: 100-continue\r\n" in head
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await peer.exactly(3)
        peer.send(scripted.OK)
        await peer.head()

    async def scenario() -> None:
        async with scripted.stand(waits) as stand:
            client = await stand.connect()
            client.send(
                b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
            )
            assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.send(b"abc")
            assert (await client.response())[0] == 200

    scripted.run(scenario())


def test_an_early_response_ends_the_connection_after_it() -> None:
    """9112 §9.3, §9.6: the rest of the body is no request, and the response still arrives."""

    async def refuses(peer: scripted.Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await peer.rest()

    async def scenario() -> None:
        async with scripted.stand(refuses) as stand:
            client = await stand.connect()
            client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000\r\n\r\nGET / HT")
            status, fields, body = await client.response()
            assert (status, body, fields["connection"]) == (403, b"no", "close")
            client.send(b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n" * 1000)
            assert await client.rest() == b""
            assert b"smuggled" not in stand.upstreams["web-0"].received

    scripted.run(scenario())


def test_a_body_beyond_the_limit_is_413() -> None:
    async def scenario() -> None:
        rules = {"limits": {"bodyBytes": 10}}
        for framing in ("Content-Length: 11\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\nb\r\n"):
            async with scripted.stand(scripted.answering(), rules=rules) as stand:
                client = await stand.connect()
                client.send(
                    f"POST / HTTP/1.1\r\n{H}{framing}".encode() + b"12345678901\r\n0\r\n\r\n"
                )
                assert (await client.response())[0] == 413

    scripted.run(scenario())


def test_slow_heads_and_bodies_are_408_and_idle_connections_just_end() -> None:
    """9110 §15.5.9; 9112 §9.5: an idle connection may close at any time."""

    async def scenario() -> None:
        rules = {"timeouts": {"headSeconds": 0.2, "bodySeconds": 0.2, "idleSeconds": 0.2}}
        async with scripted.stand(scripted.answering(), rules=rules) as stand:
            head, body, idle, mute = [await stand.connect() for _ in range(4)]
            head.send(b"GET / HT")
            body.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na")
            idle.send(scripted.get())
            assert (await head.response())[0] == 408
            assert (await idle.response())[0] == 200
            assert await idle.rest() == b""
            assert await mute.rest() == b""

    scripted.run(scenario())


def test_a_body_that_stalls_is_408() -> None:
    async def reads(peer: scripted.Peer) -> None:
        await peer.rest()

    async def scenario() -> None:
        async with scripted.stand(reads, rules={"timeouts": {"bodySeconds": 0.2}}) as stand:
            client = await stand.connect()
            client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na")
            assert (await client.response())[0] == 408

    scripted.run(scenario())


def test_a_client_that_sends_no_more_still_gets_its_response() -> None:
    """9112 §9.6: half a close is no leave."""

    async def scenario() -> None:
        async with scripted.stand(scripted.answering()) as stand:
            client = await stand.connect()
            client.send(scripted.get() * 3)
            client.writer.write_eof()
            for _ in range(3):
                assert (await client.response())[0] == 200
            assert await client.rest() == b""

    scripted.run(scenario())


def test_an_incomplete_request_is_not_forwarded_as_if_whole() -> None:
    """9112 §8."""

    async def reads(peer: scripted.Peer) -> None:
        await peer.rest()

    async def scenario() -> None:
        async with scripted.stand(reads) as stand:
            client = await stand.connect()
            client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\na")
            client.writer.write_eof()
            assert (await client.response())[0] == 400
            client = await stand.connect()
            client.send(b"GET / HTTP/1.1\r\nHost")
            client.writer.write_eof()
            assert (await client.response())[0] == 400

    scripted.run(scenario())


def test_http_1_0_is_kept_alive_only_if_it_asks() -> None:
    """9112 §9.3."""

    async def scenario() -> None:
        async with scripted.stand(scripted.answering()) as stand:
            client = await stand.connect()
            client.send(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
            assert (await client.response())[1]["connection"] == "keep-alive"
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert (await client.response())[1]["connection"] == "close"
            assert await client.rest() == b""

    scripted.run(scenario())


def test_more_connections_than_allowed_get_503() -> None:
    async def scenario() -> None:
        rules = {"limits": {"maxConnections": 1}}
        async with scripted.stand(scripted.answering(), rules=rules) as stand:
            first = await stand.connect()
            first.send(scripted.get())
            assert (await first.response())[0] == 200
            second = await stand.connect()
            assert (await second.response())[0] == 503
            first.send(scripted.get())
            assert (await first.response())[0] == 200

    scripted.run(scenario())


def test_the_lab_api_turns_404_into_400_and_keeps_the_connection() -> None:
    async def scenario() -> None:
        missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone"
        for lab, status, words in (
            ("/nowhere.sock", 400, b"<Error> '/other' endpoint does not exist in server replicas"),
            (None, 404, b"gone"),
        ):
            settings = proxy.Settings(lab_socket=lab)
            async with scripted.stand(scripted.answering(missing), settings=settings) as stand:
                client = await stand.connect()
                for _ in range(2):
                    client.send(scripted.get("/other?a=b"))
                    got, _, body = await client.response()
                    assert got == status
                    assert words in body
                assert len(stand.upstreams["web-0"].peers) == 1

    scripted.run(scenario())


def test_a_lab_request_that_changes_something_is_never_sent_twice(tmp_path: Path) -> None:
    """A DELETE is idempotent by its method, and `/rm` with n is not."""

    async def scenario() -> None:
        asked: list[bytes] = []

        async def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(scripted.OK)
            with contextlib.suppress(asyncio.IncompleteReadError):
                asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.close()

        path = str(tmp_path / "lab.sock")
        server = await asyncio.start_unix_server(dies, path)
        settings = proxy.Settings(lab_socket=path)
        try:
            async with scripted.stand(scripted.answering(), settings=settings) as stand:
                client = await stand.connect()
                for method, target, status in (("DELETE", "/rm", 502), ("GET", "/rep", 200)):
                    client.send(scripted.get("/rep"))
                    assert (await client.response())[0] == 200
                    client.send(f"{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                    assert (await client.response())[0] == status
                    assert len(asked) == 1  # the second time, GET was the first on a fresh one
                    asked.clear()
        finally:
            server.close()

    scripted.run(scenario())
