"""What a connection costs that does nothing: memory with 0, 1,000 and 10,000 idle clients."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import contest

COUNTS = (0, 1_000, 10_000)
REQUEST = b"GET /home HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: idle\r\n\r\n"
CONTESTANTS = (contest.RINGMASTER, contest.HAPROXY, contest.NGINX, contest.ENVOY, contest.CADDY)
_SETTLE = 1.0  # s; for what is freed a moment later


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of unique memory of the whole process tree, by number of connections."""

    name: str
    used: dict[int, int]

    @property
    def per_connection(self) -> float:
        """Bytes, from no connection to the most."""
        most = max(self.used)
        return (self.used[most] - self.used[0]) / most


def measure(contestant: contest.Contestant, folder: Path, ports: list[int]) -> Memory:
    """Start the proxy, open connections that each make one request, and read its memory."""
    _raise_limit()
    used = {}
    with contestant.start(folder, ports) as running, contextlib.ExitStack() as opened:
        connections = _connections(running.port, opened)
        next(connections)  # what is made once is no connection's
        opened_so_far = 0
        for count in COUNTS:
            while opened_so_far < count:
                next(connections)
                opened_so_far += 1
            time.sleep(_SETTLE)
            used[count] = running.memory_bytes()
    return Memory(contestant.name, used)


def _connections(port: int, opened: contextlib.ExitStack) -> Iterator[None]:
    """Each step is one more idle connection."""
    while True:
        client = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        client.sendall(REQUEST)
        if not client.recv(65_536).startswith(b"HTTP/1.1 200"):
            raise OSError("an idle connection was refused")
        yield


def _raise_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def table(found: list[Memory]) -> str:
    """Megabytes, and kilobytes a connection."""
    lines = [
        "\nMemory with idle connections, MB",
        f"  {'':24}" + "".join(f"{count:>9,}" for count in COUNTS) + f"{'KB each':>10}",
    ]
    for memory in found:
        cells = "".join(f"{memory.used[count] / 1e6:9.1f}" for count in COUNTS)
        lines.append(f"  {memory.name:24}{cells}{memory.per_connection / 1e3:10.2f}")
    return "\n".join(lines)
