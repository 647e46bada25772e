"""What 2,000 stalled clients do to the others: their latency with and without, in turns.

A stalled client has begun a request's head and sends no more of it. The others are eight busy
connections; a few, so that latency is the proxy's and not the queue's in front of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import contest
import load
import peers

STALLED = 2_000
OTHERS = dataclasses.replace(load.SCENARIOS["small"], connections=8)
BEGUN = b"GET /home HTTP/1.1\r\nHost: localhost\r\nX-Never-"


@dataclass(frozen=True, slots=True)
class Pair:
    """The others' figures in one round."""

    without: load.Figures
    among: load.Figures


def measure(
    contestant: contest.Contestant, folder: Path, ports: list[int], *, rounds: int, seconds: int
) -> list[Pair]:
    """Alternate: without them, among them."""
    found = []
    with contestant.start(folder, ports) as running:
        load.run(running, OTHERS, seconds=1, folder=folder)
        for _ in range(rounds):
            without = load.run(running, OTHERS, seconds=seconds, folder=folder)
            with _stalled(running):
                among = load.run(running, OTHERS, seconds=seconds, folder=folder)
            found.append(Pair(without, among))
    return found


@contextlib.contextmanager
def _stalled(target: peers.Running) -> Iterator[None]:
    with contextlib.ExitStack() as opened:
        for _ in range(STALLED):
            address = ("127.0.0.1", target.port)
            client = opened.enter_context(socket.create_connection(address, timeout=10))
            client.sendall(BEGUN)
        yield


def ratios(found: list[Pair]) -> list[float]:
    """The others' p99 among stalled clients to that without, sorted."""
    return sorted(pair.among.p99 / pair.without.p99 for pair in found)


def table(name: str, found: list[Pair]) -> str:
    """One line."""
    without = statistics.median(pair.without.p99 for pair in found)
    among = statistics.median(pair.among.p99 for pair in found)
    return (
        f"  {name:24} p99 of the others {without:.2f} ms without, {among:.2f} ms among "
        f"{STALLED:,} stalled clients: × {contest.spread(ratios(found))}"
    )
