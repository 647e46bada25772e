"""A web server that leaves answers what it was asked and loses nobody who waits."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading

import pytest
from ringmaster_balancer.control import website


def test_leaving_answers_what_was_asked_closes_what_is_idle_and_keeps_the_queue():
    entered, gate = threading.Event(), threading.Event()

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            entered.set()
            gate.wait(20)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        idle, slow, late = (
            http.client.HTTPConnection("127.0.0.1", port, timeout=10) for _ in range(3)
        )

        def ask():
            idle.request("GET", "/")
            assert idle.getresponse().read() == b"ok"
            slow.request("GET", "/slow")
            assert entered.wait(10)

        async def scenario():
            limits = website.Limits(body_bytes=1_000)
            site = website.Website(
                app, sock=listener, threads=2, limits=limits, trusts=lambda _: False
            )
            site.start()
            await asyncio.to_thread(ask)
            leaving = asyncio.create_task(site.leave())
            assert await asyncio.to_thread(idle.sock.recv, 1) == b""
            late.connect()
            assert not leaving.done()
            gate.set()
            await asyncio.wait_for(leaving, 10)

        asyncio.run(scenario())
        assert slow.getresponse().read() == b"ok"
        listener.settimeout(10)
        waiting, _ = listener.accept()
        waiting.close()
        for connection in (idle, slow, late):
            connection.close()


TOKEN = "Bearer t"
HEAD = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n"
TRUSTED = HEAD + b"Authorization: Bearer t\r\n\r\n"


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def serving(scenario, app=echo, **limits):
    """Run `scenario(connect)` beside a server; `connect` gives a reader and a writer."""

    async def run():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            chosen = website.Limits(**{"body_bytes": 1_000, **limits})
            site = website.Website(
                app, sock=listener, threads=1, limits=chosen, trusts=TOKEN.__eq__
            )
            site.start()
            writers = []

            async def connect(words=b""):
                reader, writer = await asyncio.open_connection(*listener.getsockname())
                writers.append(writer)
                writer.write(words)
                return reader, writer

            try:
                async with asyncio.timeout(20):
                    await scenario(connect)
            finally:
                for writer in writers:
                    writer.transport.abort()
                await site.leave()

    asyncio.run(run())


@pytest.mark.parametrize("words", [b"PUT / HT", HEAD, TRUSTED, TRUSTED + b"abc"])
def test_a_request_that_does_not_come_to_its_end_is_answered_with_408(words):
    async def scenario(connect):
        reader, _ = await connect(words)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"\r\nConnection: close\r\n" in answer

    serving(scenario, head_seconds=0.05, body_seconds=0.05)


def test_a_head_that_comes_byte_by_byte_has_no_more_time_than_another():
    async def scenario(connect):
        reader, writer = await connect()

        async def drip():
            while True:
                writer.write(b"x")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        dripping.cancel()

    serving(scenario, head_seconds=0.2)


def test_a_connection_that_asks_nothing_is_closed_without_a_word():
    async def scenario(connect):
        reader, _ = await connect()
        assert await reader.read() == b""

    serving(scenario, idle_seconds=0.05)


def test_of_too_many_connections_the_longest_waiting_goes_but_none_with_the_token():
    async def scenario(connect):
        pushing, push = await connect(TRUSTED)
        kept, again = await connect(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await kept.readline()) == b"HTTP/1.1 200 OK\r\n"
        oldest, _ = await connect()
        again.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")  # its next request begins now
        await kept.readuntil(b"\r\n\r\n")
        await kept.readuntil(b"\r\n\r\n")
        await connect()
        await connect()
        assert await oldest.read() == b""
        push.write(b"abcd")
        assert (await pushing.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        assert await pushing.readexactly(4) == b"abcd"

    serving(scenario, connections=4)


def test_requests_that_wait_for_a_thread_keep_out_nobody_with_the_token():
    entered, gate = threading.Event(), threading.Event()

    def app(environ, start_response):
        if not environ.get("HTTP_AUTHORIZATION"):
            entered.set()
            gate.wait(20)
        return echo(environ, start_response)

    async def scenario(connect):
        strangers = [await connect(HEAD + b"\r\nabcd") for _ in range(6)]
        assert await asyncio.to_thread(entered.wait, 10)
        reader, _ = await connect(TRUSTED + b"abcd")
        assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
        gate.set()
        assert len(strangers) == 6

    serving(scenario, app, connections=4)


def test_a_strangers_long_body_is_not_kept():
    async def scenario(connect):
        for head, kept in ((HEAD + b"\r\n", b""), (TRUSTED, b"abcd")):
            reader, writer = await connect(head + b"abcd")
            writer.write_eof()
            assert (await reader.read()).partition(b"\r\n\r\n")[2] == kept

    serving(scenario, stranger_bytes=3)


def test_a_body_in_chunks_and_100_continue_are_understood():
    async def scenario(connect):
        fields = b"Host: x\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
        reader, writer = await connect(b"POST / HTTP/1.1\r\n" + fields)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        assert await reader.readexactly(4) == b"abcd"

    serving(scenario)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (b"GET / HTTP/1.1\n\n\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # RFC 9112 §3.2: no Host
        (b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n", 413),
        (b"GET /" + b"x" * 40_000, 431),
        (b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
    ],
)
def test_what_is_no_request_is_refused_in_json(words, status):
    async def scenario(connect):
        reader, _ = await connect(words)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(f"HTTP/1.1 {status} ".encode())
        assert json.loads(body).keys() == {"message", "reason"}

    serving(scenario)
