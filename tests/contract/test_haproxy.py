"""A second opinion: what we forward, HAProxy forwards too, and means the same by it.

The same bytes go through both to servers that record what arrives. We may refuse more; what we let
pass and HAProxy does not, or reads in another way, is a finding, but for the few that are listed.
"""

from __future__ import annotations

import contextlib
import random
import re
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import engines
import fuzz
import h11
import memory_plane
import pytest
import stack as stacks
import strictness
from hypothesis import given
from hypothesis import strategies as st
from ringmaster_balancer.dataplane import http1

CONFIG = """
defaults
    mode http
    timeout connect 2s
    timeout client 2s
    timeout server 2s
    timeout http-request 2s
    http-reuse never
frontend data
    bind 127.0.0.1:{port}
    default_backend servers
backend servers
    server recorder 127.0.0.1:{upstream}
"""


class Meaning(NamedTuple):
    """A request, as far as two proxies must agree on it."""

    method: bytes
    target: bytes
    host: bytes
    framing: str
    body: bytes
    fields: Counter[tuple[bytes, bytes]]


class Recorder:
    """A server in threads, as strict as h11, that answers each request with 200."""

    def __init__(self) -> None:
        self.servers: list[memory_plane.Server] = []
        self._closing = False
        self._sock = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._sock.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._sock.accept()
            if self._closing:
                connection.close()
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            thread.start()
            self._threads.append(thread)

    def _serve(self, connection: socket.socket) -> None:
        server = memory_plane.Server(memory_plane.plain, trailers=True)
        self.servers.append(server)
        with connection, contextlib.suppress(OSError, h11.RemoteProtocolError):
            while data := connection.recv(65_536):
                for answer in server.receive(data):
                    connection.sendall(answer or b"")

    def close(self) -> None:
        self._closing = True
        socket.create_connection(("127.0.0.1", self.port)).close()
        for thread in self._threads:
            thread.join()
        self._sock.close()


class Witness:
    """HAProxy before its recorder."""

    def __init__(self, port: int, recorder: Recorder) -> None:
        self.port = port
        self.recorder = recorder

    def forwards(self, raw: bytes) -> list[Meaning]:
        """What its server gets of a client that sends this and then ends."""
        self.recorder.servers = []
        address = ("127.0.0.1", self.port)
        with socket.create_connection(address, timeout=10) as client, contextlib.suppress(OSError):
            client.sendall(raw)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65_536):
                pass
        messages = [message for server in self.recorder.servers for message in server.messages]
        return [_meaning(message) for message in messages if message.complete]


@pytest.fixture(scope="module")
def haproxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witness]:
    engines.require("haproxy")
    folder: Path = tmp_path_factory.mktemp("haproxy")
    recorder = Recorder()
    port = stacks.free_port()
    config = folder / "haproxy.cfg"
    config.write_text(CONFIG.format(port=port, upstream=recorder.port))
    with subprocess.Popen(["haproxy", "-db", "-f", str(config)]) as process:
        try:
            stacks.eventually(lambda: _listens(port), what="HAProxy")
            yield Witness(port, recorder)
        finally:
            process.terminate()
            process.wait(10)
            recorder.close()


def _listens(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def _meaning(message: memory_plane.Message) -> Meaning:
    fields = dict(message.fields)
    absolute = re.fullmatch(rb"(?i)https?://([^/?#]+)([^#]*)", message.target)
    target, host = message.target, fields.get(b"host", b"")
    if absolute is not None:  # HAProxy leaves it in that form
        host, target = absolute[1], absolute[2]
        if not target.startswith(b"/"):
            target = (
                (b"*" if message.method == b"OPTIONS" else b"/") if not target else b"/" + target
            )
    framing = "none"
    if b"transfer-encoding" in fields:
        framing = "chunks"
    elif b"content-length" in fields:
        framing = str(int(fields[b"content-length"]))
    ours = (http1.REQUEST_FIELDS | {b"via"}) - {b"authorization"}
    others = Counter((name, value.strip()) for name, value in message.fields if name not in ours)
    return Meaning(message.method, target, host, framing, message.body, others)


def ours(raw: bytes) -> list[Meaning]:
    """What a server of ours gets."""
    world = memory_plane.World()
    world.feed(raw, eof=True)
    return [_meaning(message) for message in world.messages if message.complete]


# What HAProxy refuses and we forward, each on purpose.
LISTED = {
    # 9112 §3.2.2: a proxy ignores Host and takes the target's authority; HAProxy wants them equal,
    # and a path to be there.
    "absolute form": re.compile(rb" https?://", re.IGNORECASE),
    # RFC 6455 §4.2.1: a handshake without its key is for the server to refuse.
    "no Sec-WebSocket-Key": re.compile(rb"Upgrade:[^\r]*websocket", re.IGNORECASE),
}


def difference(raw: bytes, haproxy: Witness) -> str:
    """What is wrong with what becomes of it, or nothing."""
    theirs = haproxy.forwards(raw)
    for number, mine in enumerate(ours(raw)):
        if number >= len(theirs):
            listed = any(pattern.search(raw) for pattern in LISTED.values())
            return "" if listed else f"HAProxy refuses {mine}"
        other = theirs[number]
        if not other.host:  # HTTP/1.0 needs none; what we send on says 1.1, and has one
            other = other._replace(host=mine.host)
        if mine[:5] != other[:5]:
            return f"{mine} is for HAProxy {other}"
        if more := mine.fields - other.fields:
            return f"HAProxy drops {more}"
    return ""


STREAMS = [
    *(case.raw.encode("latin-1") for case in strictness.REFUSED + strictness.UNFINISHED),
    *fuzz.REQUESTS,
    b"".join(fuzz.GOOD[:8]),
]


@pytest.mark.parametrize("raw", STREAMS, ids=range(len(STREAMS)))
def test_what_we_forward_haproxy_forwards_with_the_same_meaning(
    haproxy: Witness, raw: bytes
) -> None:
    assert not difference(raw, haproxy)


@given(st.randoms(use_true_random=False))
def test_mutated_requests_mean_the_same_to_haproxy(haproxy: Witness, rng: random.Random) -> None:
    for _ in range(5):
        raw = fuzz.mutated(rng, rng.choice(fuzz.GOOD), fuzz.REQUESTS)
        assert not difference(raw, haproxy), raw
