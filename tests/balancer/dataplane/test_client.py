"""The client's side on real sockets: strictness, pipelining, bodies, time, the end of connections.

Sections are of RFC 9110 and RFC 9112.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import time
from pathlib import Path

import pytest
import scripted
import strictness
from hypothesis import given, settings
from hypothesis import strategies as st
from ringmaster_balancer import members
from ringmaster_balancer.dataplane import client as clients
from ringmaster_balancer.dataplane import proxy

H = strictness.H
MANY = 3000


def named(name: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\n\r\n{name}".encode()


@pytest.mark.parametrize("case", strictness.REFUSED, ids=lambda case: case.clause)
def test_what_is_ambiguous_or_too_much_is_refused_and_reaches_no_server(
    case: strictness.Case,
) -> None:
    async def scenario() -> None:
        async with scripted.stand(scripted.answering()) as stand:
            client = await stand.connect()
            client.send(case.raw.encode("latin-1"))
            client.send(scripted.get("/smuggled"))
            got, fields, body = await client.response()
            assert got in case.status
            assert fields["connection"] == "close"
            assert fields["content-type"] == "application/json"
            assert body.startswith(b'{"message": "<Error> ')
            assert await client.rest() == b""
            assert stand.upstreams["web-0"].received == b""

    scripted.run(scenario())


@pytest.mark.parametrize("case", strictness.UNFINISHED, ids=lambda case: case.clause)
@pytest.mark.parametrize("in_pieces", [False, True])
def test_what_no_further_byte_can_mend_is_refused_at_once(
    case: strictness.Case, in_pieces: bool
) -> None:
    """Its sender may say no more and wait: it is not the one who is slow."""

    async def scenario() -> None:
        hour = {"timeouts": {"headSeconds": 3600, "idleSeconds": 3600}}
        async with scripted.stand(scripted.answering(), rules=hour) as stand:
            client = await stand.connect()
            raw = case.raw.encode("latin-1")
            for piece in [raw[n : n + 1] for n in range(len(raw))] if in_pieces else [raw]:
                client.send(piece)
                await asyncio.sleep(0)
            status, fields, _ = await client.response()
            assert status in case.status
            assert fields["connection"] == "close"
            assert stand.upstreams["web-0"].received == b""

    scripted.run(scenario())


@pytest.mark.parametrize("chunks", strictness.BAD_CHUNKS)
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


@pytest.mark.parametrize(("raw", "expected"), strictness.FORWARDED)
def test_a_head_is_forwarded_as_it_came_but_for_what_is_the_connections_own(
    raw: str, expected: str
) -> None:
    async def scenario() -> None:
        said = b"1.0" if " HTTP/1.0\r\n" in raw else b"1.1"  # 9110 §7.6.3: as it came
        added = ADDED.replace(b"Via: 1.1", b"Via: " + said)
        assert await forwarded(raw.encode("latin-1")) == expected.encode("latin-1") + added

    scripted.run(scenario())


def test_http_1_0_leaves_as_our_own_version_and_via_says_what_came() -> None:
    """9112 §2.3; 9110 §7.6.3. The same connection may speak both."""

    async def scenario() -> None:
        async with scripted.stand(scripted.answering()) as stand:
            client = await stand.connect()
            for version in (1, 0, 1):
                head = f"GET / HTTP/1.{version}\r\nHost: h\r\n"
                client.send(
                    f"{head}Connection: keep-alive\r\nExpect: 100-continue\r\n\r\n".encode()
                )
                assert (await client.response())[0] == 200
            heads = stand.upstreams["web-0"].received.split(b"\r\n\r\n")[:-1]
            assert [head.rpartition(b"Via: ")[2] for head in heads] == [
                b"1.1 ringmaster",
                b"1.0 ringmaster",
                b"1.1 ringmaster",
            ]
            assert all(head.startswith(b"GET / HTTP/1.1\r\nHost: h\r\n") for head in heads)
            assert [b"Expect" in head for head in heads] == [True, False, True]

    scripted.run(scenario())


def test_over_ipv6_the_address_that_was_asked_stands_in_brackets() -> None:
    """9110 §7.2, RFC 3986 §3.2.2."""

    async def scenario() -> None:
        async with scripted.stand(scripted.answering()) as stand:
            with socket.create_server(("::1", 0), family=socket.AF_INET6) as sock:
                await stand.plane.listen(sock)
                port = sock.getsockname()[1]
                client = scripted.Peer(*await asyncio.open_connection("::1", port))
                client.send(b"GET / HTTP/1.0\r\n\r\n")
                assert (await client.response())[0] == 200
                await client.close()
            assert f"\r\nHost: [::1]:{port}\r\n".encode() in stand.upstreams["web-0"].received

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


def test_empty_elements_and_fields_of_a_trusted_peer_go_no_further() -> None:
    """9110 §5.6.1.2; an empty X-Forwarded-Proto would tell a server less than we know."""

    async def scenario() -> None:
        got = await forwarded(
            b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: ,1.1.1.1,, 2.2.2.2 ,\r\n"
            b"X-Forwarded-For:\r\nX-Forwarded-Proto: \r\nX-Forwarded-Host:\r\n\r\n",
            {"trustedProxies": ["127.0.0.0/8"]},
        )
        chain = b"X-Forwarded-For: 1.1.1.1, 2.2.2.2, 127.0.0.1\r\n"
        assert got == b"GET / HTTP/1.1\r\nHost: h\r\n" + chain + ADDED.partition(b"\r\n")[2]

    scripted.run(scenario())


def test_a_client_behind_a_trusted_proxy_keeps_its_member_whatever_its_port() -> None:
    async def scenario() -> None:
        ring = members.Ring(slots=4096, key=(members.KeySource(client_address=True),))
        plays = [scripted.answering(named(f"web-{n}")) for n in range(3)]
        rules = {"trustedProxies": ["127.0.0.0/8"]}
        async with scripted.stand(*plays, rules=rules, ring=ring) as stand:
            client = await stand.connect()
            for hop in (*(f"203.0.113.9:{port}" for port in range(40_000, 40_010)), "203.0.113.9"):
                client.send(scripted.get(key=None, extra=[f"X-Forwarded-For: {hop}"]))
                assert (await client.response())[2].decode() == stand.owner("203.0.113.9")

    scripted.run(scenario())


def test_the_host_of_an_absolute_target_is_the_key_where_host_is() -> None:
    """9112 §3.2.2: a proxy ignores the Host that came with it, and so does whoever hashes it."""

    async def scenario() -> None:
        ring = members.Ring(slots=4096, key=(members.KeySource(header="Host"),))
        plays = [scripted.answering(named(f"web-{n}")) for n in range(3)]
        async with scripted.stand(*plays, ring=ring) as stand:
            client = await stand.connect()
            for n in range(10):
                for version, host in (("1.1", "Host: other\r\n"), ("1.0", "")):
                    line = f"GET http://h{n}/ HTTP/{version}\r\n"
                    client.send(f"{line}{host}Connection: keep-alive\r\n\r\n".encode())
                    assert (await client.response())[2].decode() == stand.owner(f"h{n}")

    scripted.run(scenario())


@pytest.mark.parametrize("trusted", [["127.0.0.0/8"], []])
def test_the_clients_address_as_the_key_is_the_one_that_a_trusted_proxy_vouches_for(
    trusted: list[str],
) -> None:
    """Whoever may write its own X-Forwarded-For would choose its member, and others' load."""

    async def scenario() -> None:
        ring = members.Ring(slots=4096, key=(members.KeySource(client_address=True),))
        plays = [scripted.answering(named(f"web-{n}")) for n in range(3)]
        async with scripted.stand(*plays, rules={"trustedProxies": trusted}, ring=ring) as stand:
            client = await stand.connect()
            served = {}
            for n in range(20):
                address = f"203.0.113.{n}"
                chain = f"X-Forwarded-For: 192.0.2.{n * 7}, {address}, 127.0.0.9"
                client.send(scripted.get(key=None, extra=[chain]))
                served[address] = (await client.response())[2].decode()
            if trusted:
                assert served == {address: stand.owner(address) for address in served}
                assert len(set(served.values())) == 3
            else:
                assert set(served.values()) == {stand.owner("127.0.0.1")}

    scripted.run(scenario())


def test_chunks_are_framed_anew_and_extensions_and_trailers_dropped() -> None:
    """9112 §7.1.1, §7.1.2; a Host among the trailers becomes nobody's."""

    async def scenario() -> None:
        got = await forwarded(
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n"
            b'3;a="b;\\" c" ; d\r\nabc\r\n002\r\nde\r\n0\r\nHost: evil\r\nA: b\r\n\r\n'
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


def test_a_body_that_flows_is_in_time_although_the_response_has_begun() -> None:
    """The time between two pieces of a body counts either way, the end of the upload included."""

    async def scenario() -> None:
        async def early(peer: scripted.Peer) -> None:
            await peer.head()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
            await peer.until(b"0\r\n\r\n")
            await asyncio.sleep(0.4)
            peer.send(b"ok")

        async with scripted.stand(early, rules={"timeouts": {"bodySeconds": 0.6}}) as stand:
            client = await stand.connect()
            client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(8):
                client.send(b"1\r\nx\r\n")
                await asyncio.sleep(0.2)
            client.send(b"0\r\n\r\n")
            assert (await client.response())[2] == b"ok"
            assert stand.failures == []

    scripted.run(scenario())


def test_a_client_that_stalls_in_its_body_is_not_the_members_fault() -> None:
    async def early(peer: scripted.Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        await peer.rest()

    async def scenario() -> None:
        async with scripted.stand(early, rules={"timeouts": {"bodySeconds": 0.2}}) as stand:
            client = await stand.connect()
            client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc")
            with pytest.raises(asyncio.IncompleteReadError):
                await client.response()
            assert stand.plane.cuts == 1
            assert stand.failures == []

    scripted.run(scenario())


@pytest.mark.parametrize(
    ("framing", "then"),
    [
        pytest.param("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "zz\r\n", id="a bad chunk"),
        pytest.param("Transfer-Encoding: chunked\r\n\r\n", "b\r\n12345678901\r\n", id="too much"),
        pytest.param("Content-Length: 10\r\n\r\nabc", None, id="an early end"),
    ],
)
def test_no_second_response_is_written_into_one_that_runs(framing: str, then: str | None) -> None:
    """9112 §9.2: inside the first one's length it would be taken for its body."""

    async def early(peer: scripted.Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\nhalf")
        await peer.rest()

    async def scenario() -> None:
        async with scripted.stand(early, rules={"limits": {"bodyBytes": 10}}) as stand:
            client = await stand.connect()
            client.send(f"POST / HTTP/1.1\r\nHost: h\r\n{framing}".encode())
            await client.until(b"half")
            if then is None:
                client.writer.write_eof()
            else:
                client.send(then.encode())
            assert await client.rest() == b""
            await scripted.eventually(lambda: not stand.plane.clients)
            assert stand.plane.cuts == 1
            assert stand.plane.in_flight() == {"web-0-r": 0}

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


@pytest.mark.parametrize("pieces", [["\r\n"], ["\r", "\n"], ["\r\n", "GET / HT"]])
def test_one_empty_line_before_a_request_is_ignored_however_it_comes(pieces: list[str]) -> None:
    """9112 §2.2. It begins no request: the idle time goes on."""

    async def scenario() -> None:
        request = scripted.get().decode()
        rules = {"timeouts": {"idleSeconds": 0.3, "headSeconds": 0.3}}
        async with scripted.stand(scripted.answering(), rules=rules) as stand:
            client = await stand.connect()
            for _ in range(3):
                for piece in pieces:
                    client.send(piece.encode())
                    await asyncio.sleep(0.02)
                begun = pieces[-1] if pieces[-1].startswith("GET") else ""
                client.send(request.removeprefix(begun).encode())
                assert (await client.response())[0] == 200
            client.send(b"\r\n")
            assert await client.rest() == b""  # no 408: nothing was asked
            assert stand.plane.stats()["own"] == {}

    scripted.run(scenario())


def test_two_empty_lines_before_a_request_are_refused_however_they_come() -> None:
    async def scenario() -> None:
        async with scripted.stand(scripted.answering()) as stand:
            for pieces in (["\r\n\r\n"], ["\r\n", "\r\n"], ["\r", "\n\r", "\n"]):
                client = await stand.connect()
                client.send(scripted.get())
                assert (await client.response())[0] == 200
                for piece in [*pieces, scripted.get().decode()]:
                    client.send(piece.encode())
                    await asyncio.sleep(0.02)
                assert (await client.response())[0] == 400

    scripted.run(scenario())


def test_an_empty_line_and_the_end_is_no_incomplete_request() -> None:
    async def scenario() -> None:
        async with scripted.stand(scripted.answering()) as stand:
            client = await stand.connect()
            client.send(scripted.get() + b"\r\n")
            client.writer.write_eof()
            assert (await client.response())[0] == 200
            assert await client.rest() == b""

    scripted.run(scenario())


def test_a_request_refused_for_its_bodys_first_piece_took_no_time() -> None:
    async def scenario() -> None:
        async with scripted.stand(scripted.answering()) as stand:
            client = await stand.connect()
            client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
            assert (await client.response())[0] == 400
            assert stand.plane.stats()["durations"]["sum"] < scripted.PATIENCE

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


async def takes(peer: scripted.Peer) -> None:
    """A server that reads what comes and says nothing."""
    while data := await peer.reader.read(65_536):
        peer.received += data


@pytest.mark.parametrize("framing", ["Content-Length: 9000", "Transfer-Encoding: chunked"])
def test_a_body_that_drips_is_408_and_one_that_comes_is_not(framing: str) -> None:
    """Each piece is in time, the whole would take hours; Apache's MinRate is the precedent."""

    def piece(size: int) -> bytes:
        data = b"x" * size
        return b"%x\r\n%b\r\n" % (size, data) if "chunked" in framing else data

    async def scenario() -> None:
        async with scripted.stand(takes) as stand:
            server = stand.upstreams["web-0"]
            good, bad = await stand.connect(), await stand.connect()
            for client in (good, bad):
                client.send(f"POST / HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n".encode() + piece(1))
            await scripted.eventually(lambda: server.received.count(b"x") == 2)
            begun = time.monotonic()
            stand.plane.sweep(begun + 9)  # a time of grace
            good.send(piece(3000))
            bad.send(piece(10))
            await scripted.eventually(lambda: server.received.count(b"x") == 3012)
            stand.plane.sweep(begun + 11)
            stand.plane.sweep(begun + 22)
            assert (await bad.response())[0] == 408
            assert stand.plane.in_flight() == {"web-0-r": 1}
            good.send(piece(5999) + b"0\r\n\r\n" * ("chunked" in framing))
            await scripted.eventually(lambda: server.received.count(b"x") >= 9011)
            (alive,) = [peer for peer in server.peers if not peer.writer.transport.is_closing()]
            alive.send(scripted.OK)
            assert (await good.response())[0] == 200

    scripted.run(scenario())


def test_a_client_that_waits_for_the_server_is_not_slow() -> None:
    """9110 §10.1.1: it waits for a 100; the server has its own time for that."""

    async def scenario() -> None:
        async with scripted.stand(takes) as stand:
            client = await stand.connect()
            client.send(
                b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
            )
            await scripted.eventually(lambda: stand.upstreams["web-0"].received != b"")
            begun = time.monotonic()
            for seconds in (11, 22, 29):
                stand.plane.sweep(begun + seconds)
            client.send(b"abc")
            await scripted.eventually(lambda: stand.upstreams["web-0"].received.endswith(b"abc"))
            stand.upstreams["web-0"].peers[0].send(scripted.OK)
            assert (await client.response())[0] == 200

    scripted.run(scenario())


class _Waiting:
    """A transport from which `size` bytes have not been taken."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.aborted = False

    def get_extra_info(self, _name: str) -> None:
        return None

    def get_write_buffer_size(self) -> int:
        return self.size

    def abort(self) -> None:
        self.aborted = True


@pytest.mark.parametrize(
    ("taken", "kept"), [(200, True), (50, False), (0, False)], ids=["slow", "drips", "silent"]
)
def test_a_reader_that_chokes_must_take_so_much_in_its_time(taken: int, kept: bool) -> None:
    """Bytes a second, of 100 that are asked for; what is read is acknowledged in large steps."""
    client = clients.Client(proxy.DataPlane())
    waiting = _Waiting(60_000)
    client.connection_made(waiting)  # type: ignore[arg-type] # all of one that is asked
    for _ in range(60):  # one look every 2 s
        if waiting.aborted:
            break
        client.expired(client.deadline)
        waiting.size -= 2 * taken
    assert waiting.aborted != kept


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


def test_a_response_that_comes_together_with_the_clients_end_arrives() -> None:
    """Both are found in one turn of the loop; the transport closes at the end of the second."""
    asked: list[scripted.Peer] = []

    async def holds(peer: scripted.Peer) -> None:
        await peer.head()
        asked.append(peer)
        await peer.rest()

    async def scenario() -> None:
        for _ in range(5):
            asked.clear()
            async with scripted.stand(holds) as stand:
                with socket.create_connection(("127.0.0.1", stand.port)) as client:
                    client.sendall(scripted.get())
                    await scripted.eventually(lambda: bool(asked))
                    # Past the loop's back, so that one poll finds both.
                    os.write(asked[0].writer.get_extra_info("socket").fileno(), scripted.OK)
                    client.shutdown(socket.SHUT_WR)
                    await scripted.eventually(lambda plane=stand.plane: not plane.clients)
                    client.settimeout(scripted.PATIENCE)
                    assert scripted.undated(client.recv(1000)) == scripted.OK

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
            status, fields, _ = await second.response()
            assert (status, fields["retry-after"], fields["connection"]) == (503, "1", "close")
            assert await second.rest() == b""
            first.send(scripted.get())
            assert (await first.response())[0] == 200

    scripted.run(scenario())


@pytest.mark.parametrize("wanted", [0, 100])
def test_more_connections_than_there_are_descriptors_for_get_503_and_are_counted(
    wanted: int,
) -> None:
    async def scenario() -> None:
        rules = {"limits": {"maxConnections": wanted}}
        settings = proxy.Settings(descriptors=64 + 21)  # ten clients, one of a crowd, ten members
        async with scripted.stand(scripted.answering(), rules=rules, settings=settings) as stand:
            for count in range(1, 11):
                await stand.connect()
                await scripted.eventually(lambda n=count: stand.plane.accepted == n)
            assert stand.plane.stats()["shortages"] == {}
            status, _, body = await (await stand.connect()).response()
            assert (status, b"descriptors" in body) == (503, True)
            assert stand.plane.stats()["shortages"] == {"descriptors": 1}

    scripted.run(scenario())


def test_far_beyond_the_allowed_connections_they_are_reset_unanswered() -> None:
    """What lingers holds a descriptor: 503s alone would be no bound."""

    async def scenario() -> None:
        rules = {"limits": {"maxConnections": 10}}
        async with scripted.stand(scripted.answering(), rules=rules) as stand:
            for count in range(1, 13):
                await stand.connect()
                await scripted.eventually(lambda n=count: stand.plane.accepted == n)
            assert stand.plane.stats()["own"] == {"503": 2}
            with pytest.raises(ConnectionError):
                await (await stand.connect()).response()
            assert len(stand.plane.clients) == 12
            assert stand.plane.stats()["own"] == {"503": 2}

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
