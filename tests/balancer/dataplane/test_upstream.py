"""The upstream's side on real sockets: how responses are framed, and what is not believed.

Sections are of RFC 9110 and RFC 9112.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import itertools
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import scripted
import websockets.asyncio.client
import websockets.asyncio.server
from hypothesis import given, settings
from hypothesis import strategies as st
from ringmaster_balancer import members
from ringmaster_balancer.dataplane import proxy

CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def says(response: str, *, close: bool = False) -> scripted.Play:
    async def play(peer: scripted.Peer) -> None:
        while await peer.head():
            peer.send(response.encode("latin-1"))
            if close:
                return

    return play


async def relayed(
    response: str, *, request: bytes | None = None, close: bool = False, count: int = 2
) -> tuple[list[bytes], int]:
    """What a client gets, `count` times; and how many connections the server saw.

    A second request proves that the first response left nothing behind.
    """
    async with scripted.stand(says(response, close=close)) as stand:
        client = await stand.connect()
        got = []
        for _ in range(count):
            client.send(request or scripted.get())
            client.received = b""
            if request is not None and request.startswith(b"HEAD"):
                await client.head()
            else:
                await client.response()
            got.append(client.received)
        return got, len(stand.upstreams["web-0"].peers)


RELAYED = [
    # untouched
    ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", None, 1),
    ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", None, 1),
    ("HTTP/1.1 404 Nope\r\nA:  b \r\nContent-Length: 1\r\n\r\nx", None, 1),
    ("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", None, 1),
    # 9110 §7.6.1: hop-by-hop and named fields go
    (
        (
            "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Own\r\nKeep-Alive: timeout=5\r\nx-own: 1\r\n"
            "Content-Length: 2\r\n\r\nok"
        ),
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        1,
    ),
    # the server's close is not the client's
    (
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        2,
    ),
    # 9112 §2.3: our own version
    (
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        2,
    ),
    # §7.1: framed anew, extensions and trailers dropped
    (
        CHUNKED + "2;a=b\r\nab\r\n1\r\nc\r\n0\r\nT: t\r\n\r\n",
        CHUNKED + "3\r\nabc\r\n0\r\n\r\n",
        1,
    ),
    (CHUNKED + "0\r\n\r\n", CHUNKED + "0\r\n\r\n", 1),
    # §6.3 (1): no body, whatever the fields say; 9110 §8.6: 204 has no length
    (
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        1,
    ),
    ("HTTP/1.1 304 Not Modified\r\nETag: a\r\n\r\n", None, 1),
    # 9110 §15.2: interim ones pass
    (
        "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n",
        1,
    ),
]


@pytest.mark.parametrize(("response", "expected", "connections"), RELAYED[:-1])
def test_a_response_is_relayed_as_it_came_but_for_what_is_the_connections_own(
    response: str, expected: str | None, connections: int
) -> None:
    async def scenario() -> None:
        got, used = await relayed(response)
        assert [scripted.undated(raw) for raw in got] == [(expected or response).encode()] * 2
        assert used == connections

    scripted.run(scenario())


def test_interim_responses_pass_before_the_final_one() -> None:
    """9110 §15.2; HTTP/1.0 does not know them."""

    async def scenario() -> None:
        response, hints, _ = RELAYED[-1]
        async with scripted.stand(says(response)) as stand:
            client = await stand.connect()
            client.send(scripted.get())
            assert hints is not None
            assert await client.head() == hints.encode()
            assert (await client.response())[0] == 200
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert (await client.response())[0] == 200

    scripted.run(scenario())


@pytest.mark.parametrize(
    "fields", ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "", "A: b\r\n"]
)
def test_a_response_to_head_ends_at_its_head(fields: str) -> None:
    """9112 §6.3 (1)."""

    async def scenario() -> None:
        response = f"HTTP/1.1 200 OK\r\n{fields}\r\n"
        got, used = await relayed(response, request=b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert [scripted.undated(raw) for raw in got] == [response.encode()] * 2
        assert used == 1

    scripted.run(scenario())


@pytest.mark.parametrize("length", ["Content-Length: 2\r\n\r\nok", "\r\nok"])
def test_a_date_of_the_servers_own_is_left_alone(length: str) -> None:
    """9110 §6.6.1; time and again, since heads that recur are remembered."""

    async def scenario() -> None:
        close = length.startswith("\r\n")
        date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        async with scripted.stand(says(f"HTTP/1.1 200 OK\r\n{date}{length}", close=close)) as stand:
            for _ in range(4):
                client = await stand.connect()
                client.send(scripted.get())
                head = await client.head()
                assert head.count(b"Date: ") == 1
                assert date.encode() in head
                await client.close()

    scripted.run(scenario())


def test_a_response_without_a_date_gets_the_time_of_ours() -> None:
    """9110 §6.6.1: each time it is forwarded, from memory or not."""

    async def scenario() -> None:
        async with scripted.stand(says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) as stand:
            client = await stand.connect()
            for _ in range(4):
                client.send(scripted.get())
                _, fields, _ = await client.response()
                sent = email.utils.parsedate_to_datetime(fields["date"]).timestamp()
                assert abs(time.time() - sent) < 3
            stand.plane.date = b"Date: then\r\n"
            client.send(scripted.get())
            assert (await client.response())[1]["date"] == "then"
            await scripted.eventually(lambda: stand.plane.date != b"Date: then\r\n")

    scripted.run(scenario())


def test_a_body_that_ends_with_its_connection_becomes_chunks() -> None:
    """9112 §6.3 (8)."""

    async def scenario() -> None:
        got, used = await relayed("HTTP/1.1 200 OK\r\nA: b\r\n\r\nall of it", close=True)
        assert all(
            scripted.undated(raw).startswith(
                b"HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            and raw.endswith(b"0\r\n\r\n")
            for raw in got
        )
        assert used == 2

    scripted.run(scenario())


@pytest.mark.parametrize(
    "response",
    [CHUNKED + "2\r\nab\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nab"],
)
def test_http_1_0_gets_a_body_without_length_up_to_the_close(response: str) -> None:
    """9112 §6.1: no chunks for HTTP/1.0."""

    async def scenario() -> None:
        async with scripted.stand(says(response, close="chunked" not in response)) as stand:
            client = await stand.connect()
            client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            got = scripted.undated(await client.rest())
            assert got == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nab"

    scripted.run(scenario())


BAD = [
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA: b\nB: c\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA: \x00\r\nContent-Length: 0\r\n\r\n",
    "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n",
    "no HTTP at all\r\n\r\n",
    "HTTP/1.1 200 OK\nContent-Length: 2\n\nok\r\n\r\n",
    "HTTP/1.1 1000 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
    "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "ICY 200 OK\r\nContent-Length: 0\r\n\r\n",
    # without an end: no further byte can mend them, and the server may say no more
    "SSH-2.0-OpenSSH_9.2\r\n",
    "\x15\x03\x03\x00\x02\x02\x46",  # a TLS alert: a server that speaks TLS only
    "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\n\nok",
    # 9112 §11.1: splitting
    "HTTP/1.1 200 OK\r\nLocation: /\rSet-Cookie: evil=1\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nLocation: /\nContent-Length: 5\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 O\x00K\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA\x00: b\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\n\r\n",
    # 9112 §6.3
    "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
        "0\r\n\r\n"
    ),
    "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 0\r\n\r\n",
    # 9112 §7.1: nothing of it was relayed, so that it can still be refused
    *(CHUNKED + chunks for chunks in ("zz\r\n", "-1\r\n", "4\r\nhalf!0\r\n\r\n", "\n\r\n")),
    "HTTP/1.1 200 OK\r\n" + "A: b\r\n" * 9000 + "\r\n",
    "HTTP/1.1 200 OK\r\nA: " + "b" * 70_000,
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: " + "b" * 40_000 + "\r\n\r\n",  # in one read
]


@pytest.mark.parametrize("response", BAD)
def test_a_response_that_cannot_be_trusted_is_502_and_tried_nowhere_else(response: str) -> None:
    async def scenario() -> None:
        async with scripted.stand(says(response), says(response)) as stand:
            status, _, body = await stand.get()
            assert status == 502
            assert body.startswith(b'{"message": "<Error> ')
            assert len(stand.failures) == 1

    scripted.run(scenario())


def test_bytes_beyond_a_response_never_answer_the_next_request() -> None:
    """9112 §9.2: response splitting, or a server that lies about its length."""

    async def scenario() -> None:
        evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
        for response in (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + evil,
            CHUNKED + "2\r\nok\r\n0\r\n\r\n" + evil,
            "HTTP/1.1 204 No Content\r\n\r\n" + evil,
        ):
            got, used = await relayed(response)
            assert not any(b"evil" in raw for raw in got)
            assert used == 2

    scripted.run(scenario())


def test_a_response_that_nobody_asked_for_closes_its_connection() -> None:
    async def scenario() -> None:
        go = asyncio.Event()

        async def talks(peer: scripted.Peer) -> None:
            await peer.head()
            peer.send(scripted.OK)
            await go.wait()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            await peer.rest()

        async with scripted.stand(talks) as stand:
            client = await stand.connect()
            client.send(scripted.get())
            await client.response()
            go.set()
            (pool,) = stand.plane.pools.values()
            await scripted.eventually(lambda: not pool.idle)
            client.send(scripted.get())
            assert (await client.response())[2] == b"ok"

    scripted.run(scenario())


@pytest.mark.parametrize(
    "body",
    [
        "Content-Length: 10\r\n\r\nhalf",
        "Content-Length: 10\r\n\r\n",
        *(
            f"Transfer-Encoding: chunked\r\n\r\n{chunks}"
            for chunks in (
                "",
                "9\r\nhalf",
                "4\r\nhalf\r\n",
                "4\r\nhalf\r\n0\r\n",
                "4\r\nhalf\r\n0\r\nA: b\r\n",
                "4\r\nhalf\r\nwhat\r\n",
                "4\r\nhalf!0\r\n\r\n",
                "4\r\nhalf\r\n-1\r\n\r\n",
            )
        ),
    ],
)
def test_a_body_that_stops_short_is_cut_short(body: str) -> None:
    """9112 §8: the client must see that it is incomplete, and gets what came of it."""
    head, _, rest = f"HTTP/1.1 200 OK\r\n{body}".partition("\r\n\r\n")
    relayed = asyncio.Event()

    async def halves(peer: scripted.Peer) -> None:
        await peer.head()
        peer.send(f"{head}\r\n\r\n".encode())
        await relayed.wait()
        peer.send(rest.encode())

    async def scenario() -> None:
        async with scripted.stand(halves) as stand:
            client = await stand.connect()
            client.send(scripted.get())
            await client.head()
            relayed.set()
            got = await client.rest()
            assert got in (b"", b"half", b"4\r\nhalf\r\n")
            assert (b"half" in got) == ("half" in rest)

    scripted.run(scenario())


@pytest.mark.parametrize(("version", "path", "resets"), scripted.BREAKS_OFF)
def test_all_that_came_before_a_server_broke_off_is_delivered(
    version: str, path: str, resets: bool
) -> None:
    """9112 §8, as HAProxy and nginx do; a reset only where an orderly end would look whole."""

    async def scenario() -> None:
        async with scripted.stand(scripted.breaks_off) as stand:
            assert await scripted.broken_off(stand, version, path) == (400_000, not resets)
            await scripted.eventually(lambda: not stand.plane.clients)
            assert stand.plane.cuts == 1

    scripted.run(scenario())


@pytest.mark.parametrize(("version", "path", "resets"), scripted.BREAKS_OFF)
def test_a_client_that_never_reads_what_a_server_broke_off_is_cut(
    version: str, path: str, resets: bool
) -> None:
    async def scenario() -> None:
        rules = {"timeouts": {"bodySeconds": 0.3}}
        async with scripted.stand(scripted.breaks_off, rules=rules) as stand:
            client = await scripted.SlowReader.connect(stand.port)
            client.writer.transport.pause_reading()
            client.writer.write(f"GET {path} HTTP/{version}\r\nHost: h\r\n\r\n".encode())
            await scripted.eventually(lambda: stand.plane.accepted == 1)
            await scripted.eventually(lambda: not stand.plane.clients)
            client.writer.close()

    scripted.run(scenario())


def test_a_reset_is_not_the_end_of_a_body_that_ends_with_its_connection() -> None:
    """9112 §8: only an orderly end is one; for HTTP/1.0 the cut is a reset."""

    async def resets(peer: scripted.Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await peer.writer.drain()
        await peer.until(b"go")
        peer.reset()

    async def scenario() -> None:
        for version in ("1.1", "1.0"):
            async with scripted.stand(resets) as stand:
                client = await stand.connect()
                client.send(
                    f"POST / HTTP/{version}\r\nHost: h\r\nContent-Length: 2\r\n\r\n".encode()
                )
                await client.until(b"half")
                client.send(b"go")
                if version == "1.1":
                    assert await client.rest() == b"\r\n"  # of the chunk, and no last one
                    continue
                with pytest.raises(ConnectionError):
                    await client.rest()

    scripted.run(scenario())


def test_http_1_0_hears_of_no_transfer_coding_even_without_a_body() -> None:
    """9112 §6.1."""

    async def scenario() -> None:
        for response in (CHUNKED, CHUNKED.replace("200 OK", "304 Not Modified")):
            async with scripted.stand(says(response)) as stand:
                client = await stand.connect()
                client.send(b"HEAD / HTTP/1.0\r\n\r\n")
                assert b"transfer-encoding" not in (await client.rest()).lower()

    scripted.run(scenario())


def test_what_follows_the_answer_to_a_head_is_no_answer_to_the_next() -> None:
    """9110 §9.3.2: a server that sends the body all the same is not believed again."""

    async def scenario() -> None:
        response = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
        request = b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"
        got, used = await relayed(response, request=request, count=3)
        assert not any(b"evil" in raw for raw in got)
        assert used == 3

    scripted.run(scenario())


def test_an_interim_response_carries_no_framing() -> None:
    """9110 §8.6, 9112 §6.1."""

    async def scenario() -> None:
        early = "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\nLink: a\r\n\r\n"
        ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        async with scripted.stand(says(early + early + ok)) as stand:
            client = await stand.connect()
            client.send(scripted.get())
            for _ in range(2):
                assert await client.head() == b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
            assert (await client.response())[2] == b"ok"

    scripted.run(scenario())


@contextlib.contextmanager
def answering_unread(*answers: bytes) -> Iterator[str]:
    """The address of a server that reads little before each answer, and closes after the last."""

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                for answer in answers:
                    connection.recv(200)
                    connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(scripted.PATIENCE)


def test_an_answer_before_the_end_of_the_upload_survives_the_servers_close() -> None:
    """9112 §9.5: it closes with our bytes unread, so that a reset follows its answer."""
    answer = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"

    async def scenario() -> None:
        statuses = []
        with answering_unread(answer) as address:
            async with scripted.stand(says("")) as stand:
                stand.install(addresses={"web-0": address})
                for _ in range(20):
                    client = await stand.connect()
                    head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n"
                    client.send(head + b"x" * 3_000_000)
                    statuses.append((await client.response())[0])
                    await client.close()
                assert statuses == [413] * 20
                assert stand.failures == []

    scripted.run(scenario())


def test_a_tunnels_last_words_survive_its_servers_close() -> None:
    """As above: a server that closes a WebSocket does not wait for what is on its way."""
    switch = b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"

    async def scenario() -> None:
        with answering_unread(switch, b"bye") as address:
            async with scripted.stand(says("")) as stand:
                stand.install(addresses={"web-0": address})
                for _ in range(5):
                    client = await tunnel(stand)
                    client.send(b"x" * 3_000_000)
                    await client.until(b"bye")
                    await client.close()

    scripted.run(scenario())


def test_a_body_that_stalls_is_cut_after_its_time() -> None:
    async def stalls(peer: scripted.Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await peer.rest()

    async def scenario() -> None:
        async with scripted.stand(stalls, rules={"timeouts": {"bodySeconds": 0.2}}) as stand:
            client = await stand.connect()
            client.send(scripted.get())
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await client.response()

    scripted.run(scenario())


RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
    (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5;x=y\r\nabc\r\n\r\n3\r\nxyz\r\n0\r\nT: t\r\n\r\n"
    ),
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nuntil the close",
]


async def _cut_into(pieces: Sequence[bytes], number: int) -> tuple[int, bytes]:
    async def plays(peer: scripted.Peer) -> None:
        await peer.head()
        for piece in pieces:
            peer.send(piece)
            await peer.writer.drain()
            await asyncio.sleep(0)
        if number != 3:
            await peer.head()

    async with scripted.stand(plays) as stand:
        client = await stand.connect()
        client.send(scripted.get())
        if number == 1:
            await client.head()
        status, _, body = await asyncio.wait_for(
            client.response() if number != 2 else _bodiless(client), scripted.PATIENCE
        )
        return status, body


async def _bodiless(client: scripted.Peer) -> tuple[int, dict[str, str], bytes]:
    head = await client.head()
    return int(head.split(b" ")[1]), {}, b""


EXPECTED = [(200, b"abcde"), (200, b"abc\r\nxyz"), (304, b""), (200, b"until the close")]


@settings(max_examples=20)
@given(st.integers(0, 3), st.sets(st.integers(1, 120), max_size=30))
def test_responses_mean_the_same_however_the_stream_is_cut(number: int, cuts: set[int]) -> None:
    raw = RESPONSES[number]
    edges = [0, *(cut for cut in sorted(cuts) if cut < len(raw)), len(raw)]
    pieces = [raw[a:b] for a, b in itertools.pairwise(edges)]

    async def scenario() -> None:
        assert await _cut_into(pieces, number) == EXPECTED[number]

    scripted.run(scenario())


@pytest.mark.parametrize("number", range(4))
def test_responses_that_come_byte_by_byte(number: int) -> None:
    raw = RESPONSES[number]

    async def scenario() -> None:
        pieces = [raw[n : n + 1] for n in range(len(raw))]
        assert await _cut_into(pieces, number) == EXPECTED[number]

    scripted.run(scenario())


SIZE = 64 * 1024 * 1024


def test_a_slow_reader_of_a_large_response_holds_up_the_server_and_no_memory() -> None:
    async def scenario() -> None:
        sent = 0

        async def large(peer: scripted.Peer) -> None:
            nonlocal sent
            await peer.head()
            peer.send(f"HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n".encode())
            piece = bytes(65_536)
            while sent < SIZE:
                peer.send(piece)
                sent += len(piece)
                await peer.writer.drain()
            await peer.head()

        async with scripted.stand(large) as stand:
            client = await stand.connect(limit=65_536)
            client.send(scripted.get())
            await client.head()
            (connection,) = stand.plane.clients
            await scripted.eventually(lambda: connection.choked)
            assert connection.transport.get_write_buffer_size() <= 65_536 + 262_144
            assert sent < SIZE // 2  # the kernel's buffers, and ours
            got = 0
            while got < SIZE:
                data = await client.reader.read(1_048_576)
                assert data
                got += len(data)
                assert connection.transport.get_write_buffer_size() <= 65_536 + 262_144
            client.send(scripted.get())  # and the connection goes on

    scripted.run(scenario())


def fill_before(plane: proxy.DataPlane, target: bytes, size: int) -> None:
    """Have the client be full, of an earlier answer's rest, before a member is connected for it."""
    connect = plane.connect

    def full(exchange: Any, pool: Any) -> None:
        if exchange.request.target == target:
            exchange.client.transport.write(bytes(size))
            assert exchange.client.choked
        connect(exchange, pool)

    plane.connect = full  # type: ignore[method-assign]


def test_a_client_that_is_full_holds_up_a_server_that_is_reached_afterwards() -> None:
    """Its transport says so once, and that was while the next connection was still opened."""
    size = 64 * 1024 * 1024

    async def last(peer: scripted.Peer) -> None:
        path = (await peer.head()).split(b" ")[1]
        length = size if path == b"/large" else 2
        peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % length)
        peer.send(bytes(length))
        await peer.writer.drain()

    async def scenario() -> None:
        async with scripted.stand(last) as stand:
            plane = stand.plane
            fill_before(plane, b"/large", size // 4)
            client = await stand.connect(limit=1024)
            client.send(scripted.get() + scripted.get("/large"))
            await scripted.eventually(lambda: len(stand.upstreams["web-0"].peers) == 2)
            (connection,) = plane.clients

            def stopped() -> bool:
                """Whether the server was, or it was not and has said all."""
                current = connection.exchange
                if current is None or current.upstream is None:
                    return current is None
                return not current.upstream.transport.is_reading()

            await scripted.eventually(stopped)
            assert connection.transport.get_write_buffer_size() < size // 2

    scripted.run(scenario())


def test_a_client_that_reads_nothing_is_cut_and_is_no_fault_of_its_member() -> None:
    async def scenario() -> None:
        rules = {"timeouts": {"responseSeconds": 0.2, "bodySeconds": 0.2}}
        async with scripted.stand(*[scripted.answering()] * 2, rules=rules) as stand:
            plane = stand.plane
            fill_before(plane, b"/", 16 * 1024 * 1024)
            client = await stand.connect(limit=1024)
            client.send(scripted.get())
            await scripted.eventually(lambda: plane.cuts == 1)
            assert stand.failures == []
            assert plane.stats()["retries"] == 0

    scripted.run(scenario())


def test_a_slow_server_holds_up_the_client_and_no_memory() -> None:
    async def scenario() -> None:
        go = asyncio.Event()

        async def slow(peer: scripted.Peer) -> None:
            await peer.head()
            await go.wait()
            left = SIZE
            while left:
                left -= len(await peer.reader.read(min(left, 1_048_576)))
            peer.send(scripted.OK)
            await peer.head()

        async with scripted.stand(slow) as stand:
            client = await stand.connect()
            client.send(f"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {SIZE}\r\n\r\n".encode())

            uploading = asyncio.create_task(_upload(client))
            (connection,) = await _one(stand)
            await scripted.eventually(lambda: connection.exchange is not None)
            current = connection.exchange
            # While it connects it is held as well.
            await scripted.eventually(lambda: connection.held and current.upstream is not None)
            assert current.kept is None
            assert current.upstream.transport.get_write_buffer_size() <= 65_536 + 262_144
            go.set()
            await uploading
            assert (await client.response())[0] == 200

    scripted.run(scenario())


def small() -> socket.socket:
    """A listening socket whose connections hold next to nothing that is not read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    return sock


@pytest.mark.parametrize("kind", ["body", "tunnel"])
def test_a_server_that_takes_only_part_of_the_first_piece_holds_up_the_client(kind: str) -> None:
    """What came while it was connected to, or before it switched, is sent in one large write."""
    switch = "Connection: upgrade\r\nUpgrade: websocket\r\n"
    first = 260_000

    async def scenario() -> None:
        go = asyncio.Event()

        async def unread(peer: scripted.Peer) -> None:
            if kind == "tunnel":
                await peer.head()
                peer.send(f"HTTP/1.1 101 Switching Protocols\r\n{switch}\r\n".encode())
            peer.writer.transport.pause_reading()
            await go.wait()

        async with scripted.stand(unread) as stand:
            upstream = stand.upstreams["web-0"]
            server = await asyncio.start_server(upstream._serve, sock=small())
            port = server.sockets[0].getsockname()[1]
            stand.install(addresses={"web-0": f"127.0.0.1:{port}"})
            client = await stand.connect()
            head = f"Content-Length: {SIZE}\r\n" if kind == "body" else switch
            method = "POST" if kind == "body" else "GET"
            client.send(f"{method} / HTTP/1.1\r\nHost: h\r\n{head}\r\n".encode() + bytes(first))

            uploading = asyncio.create_task(_upload(client))
            (connection,) = await _one(stand)
            await scripted.eventually(
                lambda: connection.exchange is not None and connection.exchange.asked > 0
            )
            transport = connection.exchange.upstream.transport
            await scripted.eventually(lambda: transport.get_write_buffer_size() > 65_536)
            await asyncio.sleep(0.2)
            held, waiting = connection.held, transport.get_write_buffer_size()
            uploading.cancel()
            client.reset()
            go.set()
            server.close()
            assert held
            assert waiting <= first + 65_536 + 262_144

    scripted.run(scenario())


async def _upload(client: scripted.Peer) -> None:
    for _ in range(SIZE // 65_536):
        client.send(bytes(65_536))
        await client.writer.drain()


async def _one(stand: scripted.Stand) -> list[object]:
    await scripted.eventually(lambda: len(stand.plane.clients) == 1)
    return list(stand.plane.clients)


def test_websockets_pass_both_ways_and_outlive_a_change_of_membership() -> None:
    """9110 §7.8."""

    async def scenario() -> None:
        async def echo(connection: websockets.asyncio.server.ServerConnection) -> None:
            async for message in connection:
                await connection.send(message)

        async with (
            websockets.asyncio.server.serve(echo, "127.0.0.1", 0) as server,
            scripted.stand(scripted.answering()) as stand,
        ):
            port = server.sockets[0].getsockname()[1]
            stand.install(addresses={"web-0": f"127.0.0.1:{port}"})
            url = f"ws://127.0.0.1:{stand.port}/chat"
            async with websockets.asyncio.client.connect(url, proxy=None) as client:
                for size in (1, 1000, 300_000):
                    await client.send("x" * size)
                    assert await client.recv() == "x" * size
                stand.install(states={"web-0": members.State.DRAINING})
                await client.send("still there")
                assert await client.recv() == "still there"

    scripted.run(scenario())


def test_an_upgrade_is_read_as_well_after_plain_requests() -> None:
    """One parser serves all connections of a worker, as long as its last head did not spend it."""

    async def play(peer: scripted.Peer) -> None:
        while head := await peer.head():
            switch = "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
            switched = f"HTTP/1.1 101 Switching Protocols\r\n{switch}".encode()
            peer.send(switched if b"Upgrade" in head else scripted.OK)

    async def scenario() -> None:
        async with scripted.stand(play) as stand:
            for _ in range(3):
                assert (await stand.get())[0] == 200
                client = await stand.connect()
                client.send(scripted.get(extra=["Connection: Upgrade", "Upgrade: websocket"]))
                assert (await client.head()).startswith(b"HTTP/1.1 101 ")

    scripted.run(scenario())


async def echoes(peer: scripted.Peer) -> None:
    """A server that switches to what it was asked for and says everything back."""
    await peer.head()
    peer.send(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    while data := await peer.reader.read(65_536):
        peer.send(data)


async def tunnel(stand: scripted.Stand) -> scripted.Peer:
    client = await stand.connect()
    client.send(scripted.get(extra=["Connection: upgrade", "Upgrade: websocket"]))
    assert (await client.head()).startswith(b"HTTP/1.1 101 ")
    return client


async def heard(client: scripted.Peer, word: bytes) -> None:
    client.send(word)
    assert await client.exactly(len(word)) == word


def test_an_open_tunnel_passes_on_while_all_is_drained_and_ends_the_drain_with_its_end() -> None:
    async def scenario() -> None:
        async with scripted.stand(echoes) as stand:
            client = await tunnel(stand)
            draining = asyncio.create_task(stand.plane.drain(scripted.PATIENCE))
            await scripted.eventually(lambda: stand.plane.draining)
            await heard(client, b"still there")
            assert not draining.done()
            client.writer.write_eof()
            assert await client.rest() == b""
            await draining
            assert stand.plane.in_flight() == {"web-0-r": 0}

    scripted.run(scenario())


def test_a_server_that_reads_nothing_keeps_no_connection_of_a_client_that_broke_off() -> None:
    reads = asyncio.Event()

    async def deaf(peer: scripted.Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await reads.wait()

    async def scenario() -> None:
        async with scripted.stand(deaf, rules={"timeouts": {"bodySeconds": 0.3}}) as stand:
            client = await tunnel(stand)
            (current,) = [each.exchange for each in stand.plane.clients]
            assert current is not None
            assert current.upstream is not None
            wire = current.upstream.transport
            while wire.get_write_buffer_size() < 32_768:
                client.send(bytes(4_000 if wire.get_write_buffer_size() else 16_000))
                await asyncio.sleep(0.005)
            reset = struct.pack("ii", 1, 0)
            sock = client.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            client.writer.transport.abort()  # type: ignore[attr-defined]
            await scripted.eventually(lambda: not stand.plane.clients)
            await scripted.eventually(lambda: not wire.get_write_buffer_size())
            reads.set()

    scripted.run(scenario())


def test_a_tunnel_that_outlasts_the_drain_is_cut_on_both_sides() -> None:
    async def scenario() -> None:
        async with scripted.stand(echoes) as stand:
            client = await tunnel(stand)
            await stand.plane.drain(0.1)
            with contextlib.suppress(ConnectionError):
                assert await client.rest() == b""
            (peer,) = stand.upstreams["web-0"].peers
            await scripted.eventually(peer.writer.transport.is_closing)
            assert stand.plane.in_flight() == {"web-0-r": 0}

    scripted.run(scenario())


def test_a_silent_tunnel_ends_after_its_time_and_one_in_use_does_not() -> None:
    """What the lesser limits say is not about tunnels."""

    async def scenario() -> None:
        times = {
            "tunnelSeconds": 0.6,
            "bodySeconds": 0.1,
            "responseSeconds": 0.1,
            "idleSeconds": 0.1,
        }
        async with scripted.stand(echoes, rules={"timeouts": times}) as stand:
            silent, used = await tunnel(stand), await tunnel(stand)
            for _ in range(12):
                await heard(used, b"a")
                await asyncio.sleep(0.1)  # twice the time in all
            with contextlib.suppress(ConnectionError):
                assert await silent.rest() == b""
            await scripted.eventually(lambda: stand.plane.in_flight() == {"web-0-r": 1})
            await heard(used, b"b")

    scripted.run(scenario())


@pytest.mark.parametrize("first", ["client", "server"])
def test_a_tunnel_of_which_one_side_has_ended_is_not_kept_by_the_other(first: str) -> None:
    """Half of it may go on, but for bodySeconds of silence instead of tunnelSeconds."""

    async def switches(peer: scripted.Peer) -> None:
        await peer.head()
        head = "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        peer.send(head.encode())
        if first == "server":
            peer.writer.write_eof()
        await peer.until(b"half")
        await forever.wait()

    forever = asyncio.Event()

    async def scenario() -> None:
        times = {"tunnelSeconds": 3600, "bodySeconds": 0.5}
        async with scripted.stand(switches, rules={"timeouts": times}) as stand:
            client = await tunnel(stand)
            client.send(b"half")
            await scripted.eventually(lambda: stand.upstreams["web-0"].received.endswith(b"half"))
            assert stand.plane.in_flight() == {"web-0-r": 1}
            if first == "client":
                client.writer.write_eof()
            await scripted.eventually(lambda: stand.plane.in_flight() == {"web-0-r": 0})
            await scripted.eventually(lambda: not stand.plane.clients)

    scripted.run(scenario())


@pytest.mark.parametrize("ahead", [b"", b"hello"])
def test_a_client_that_said_all_before_the_switch_has_the_server_hear_its_end(ahead: bytes) -> None:
    async def scenario() -> None:
        ended = asyncio.Event()

        async def switches_late(peer: scripted.Peer) -> None:
            await peer.head()
            await ended.wait()
            head = "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
            peer.send(head.encode())
            peer.send(b"said " + await peer.rest())

        async with scripted.stand(switches_late) as stand:
            client = await stand.connect()
            client.send(scripted.get(extra=["Connection: upgrade", "Upgrade: websocket"]) + ahead)
            client.writer.write_eof()
            await scripted.eventually(lambda: any(each.eof for each in stand.plane.clients))
            ended.set()
            await client.head()
            assert await client.rest() == b"said " + ahead
            assert stand.plane.in_flight() == {"web-0-r": 0}

    scripted.run(scenario())


def test_a_switch_to_another_protocol_than_asked_for_is_502() -> None:
    """9110 §7.8; an `h2c` would pass every rule of ours."""
    switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"

    async def scenario() -> None:
        async with scripted.stand(says(switch)) as stand:
            client = await stand.connect()
            client.send(scripted.get(extra=["Connection: upgrade", "Upgrade: websocket"]))
            assert (await client.response())[0] == 502

    scripted.run(scenario())


def test_an_upgrade_that_is_declined_ends_the_connection() -> None:
    async def scenario() -> None:
        async with scripted.stand(scripted.answering()) as stand:
            client = await stand.connect()
            client.send(
                scripted.get(extra=["Connection: Upgrade", "Upgrade: websocket"])
                + scripted.get("/smuggled")
            )
            status, fields, _ = await client.response()
            assert (status, fields["connection"]) == (200, "close")
            assert await client.rest() == b""
            received = stand.upstreams["web-0"].received
            assert b"Connection: Upgrade\r\nUpgrade: websocket\r\n" in received
            assert b"smuggled" not in received

    scripted.run(scenario())
