"""The server over real sockets: what keeps it serving, and how it ends."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest
from ringmaster_server import app, httpd

GET = b"GET /home HTTP/1.1\r\nHost: a\r\n\r\n"


@contextlib.contextmanager
def serving(application):
    server = httpd.Server(("127.0.0.1", 0), application)
    server.listen()
    stop = threading.Event()
    thread = threading.Thread(target=server.serve_until, args=(stop,))
    thread.start()
    try:
        yield server.bind_addr, stop, thread
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def connect(address):
    connection = socket.create_connection(address, timeout=20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def read_head(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        assert piece, data
        data += piece
    return data


def test_a_connection_serves_one_request_after_the_other():
    with serving(app.create_app("S1")) as (address, _, _), connect(address) as connection:
        for _ in range(3):
            connection.sendall(GET)
            assert read_head(connection).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_response_comes_in_one_piece():
    with serving(app.create_app("S1")) as (address, _, _), connect(address) as connection:
        connection.sendall(GET)

        assert connection.recv(65536).endswith(b'"status":"successful"}\n')


def test_a_handler_that_breaks_is_a_500_and_the_connection_ends():
    def broken(_environ, _start_response):
        raise LookupError("oh")

    with serving(broken) as (address, _, _), connect(address) as connection:
        connection.sendall(GET)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece

    assert answer.startswith(b"HTTP/1.1 500 ")


def test_connections_that_say_nothing_block_nobody():
    with serving(app.create_app("S1")) as (address, _, _), contextlib.ExitStack() as stack:
        for _ in range(httpd.THREADS * 3):
            stack.enter_context(connect(address))
        connection = stack.enter_context(connect(address))
        connection.sendall(GET)

        assert read_head(connection).startswith(b"HTTP/1.1 200 OK\r\n")


def test_idle_connections_stay_open_for_longer_than_a_balancer_keeps_them():
    assert httpd.IDLE_SECONDS == 75
    assert httpd.Server.keep_alive_conn_limit is None


def test_draining_finishes_what_is_in_flight_and_closes_what_is_idle():
    entered, leave = threading.Event(), threading.Event()

    def slow(environ, start_response):
        if environ["PATH_INFO"] == "/home":
            entered.set()
            leave.wait(20)
        start_response("200 OK", [("Content-Length", "4")])
        return [b"done"]

    with (
        serving(slow) as (address, stop, thread),
        connect(address) as busy,
        connect(address) as idle,
    ):
        idle.sendall(GET.replace(b"/home", b"/other"))
        assert b"200 OK" in read_head(idle)
        busy.sendall(GET)
        assert entered.wait(20)
        stop.set()
        assert idle.recv(65536) == b""
        leave.set()

        answer = read_head(busy)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"connection: close" in answer.lower()
        thread.join(30)
        with pytest.raises(OSError):
            connect(address)


def test_a_port_that_is_taken_is_told_with_the_systems_own_words():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = httpd.Server(taken.getsockname(), app.create_app("S1"))

        with pytest.raises(OSError, match="in use"):
            server.listen()


def test_an_ipv6_address_is_written_in_brackets():
    server = httpd.Server(("::1", 5000), app.create_app("S1"))

    assert httpd.address(server) == "[::1]:5000"
