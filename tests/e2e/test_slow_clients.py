"""Clients that stall, on a whole balancer: the others are served on, and memory is bounded.

slowhttptest makes its attacks (slow heads, slow bodies, slow reading, overlapping ranges) with 300
connections for ten seconds, against short times.
"""

from __future__ import annotations

import contextlib
import re
import resource
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import balancer_process as balancers
import engines
import psutil
import pytest
import requests

pytestmark = pytest.mark.slow

MB = 1_048_576
TIMEOUTS = {
    "headSeconds": 2,
    "bodySeconds": 2,
    "idleSeconds": 2,
    "totalSeconds": 8,
    "connectSeconds": 5,  # the server is Python threads, and in the test's own process
}
ATTACKS = {
    "slow heads": ["-H", "-i", "1"],
    "slow bodies": ["-B", "-i", "3"],
    "slow reading": ["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32"],
    "ranges": ["-R", "-a", "1", "-b", "3000"],
}
STALLED = 2_000


class Others:
    """Four clients with keep-alive connections; whatever is not 200 is a failure."""

    def __init__(self, url: str, length: int) -> None:
        self.served = 0
        self.failures: list[object] = []
        self._length = length
        self._url = url
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(4)]

    def _ask(self, number: int) -> None:
        with requests.Session() as session:
            while not self._end.wait(0.02):
                headers = {"X-Request-Id": f"{number}-{self.served}"}
                try:
                    answer = session.get(self._url, headers=headers, timeout=10)
                except requests.RequestException as error:
                    self.failures.append(error)
                    continue
                if (answer.status_code, len(answer.content)) != (200, self._length):
                    self.failures.append(answer)
                self.served += 1

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()


def memory(balancer: balancers.Balancer) -> int:
    """Of its worker."""
    return int(psutil.Process(balancer.pid("worker-0")).memory_info().rss)


def own_answers(balancer: balancers.Balancer) -> dict[str, int]:
    """How many the balancer gave itself, by status."""
    text = balancer.ask("GET", f"{balancer.control}/metrics").text
    found = re.findall(
        r'^ringmaster_\w*own\w*\{[^}]*code="(\d+)"[^}]*\} ([\d.]+)', text, re.MULTILINE
    )
    return {code: int(float(count)) for code, count in found}


@contextlib.contextmanager
def serving(folder: Path, *, length: int = 5) -> Iterator[balancers.Balancer]:
    with balancers.upstreams("a" * length) as (server,), balancers.running(folder) as balancer:
        document = balancers.document(("web-0", server.address), proxy={"timeouts": TIMEOUTS})
        balancer.push(document)
        yield balancer


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_with_slowness_costs_the_others_nothing(attack: str, tmp_path: Path) -> None:
    engines.require("slowhttptest")
    length = MB // 2 if attack == "slow reading" else 5
    with serving(tmp_path, length=length) as balancer, Others(balancer.url, length) as others:
        balancers.eventually(lambda: others.served > 20, what="service")
        before, served = memory(balancer), others.served
        command = ["slowhttptest", *ATTACKS[attack], "-c", "300", "-r", "150", "-l", "10"]
        attacking = subprocess.Popen(
            [*command, "-u", balancer.url + "/", "-p", "5"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        most = before
        while attacking.poll() is None:
            most = max(most, memory(balancer))
            with contextlib.suppress(subprocess.TimeoutExpired):
                attacking.wait(0.2)
        output, _ = attacking.communicate()
        assert others.failures == []
        assert others.served > served + 50
        assert "service available:" in output
        assert not re.search(r"service available:\S*\s+\S*NO", output)
        # Two write buffers of 64 KB and a read of 256 KB for each slow reader.
        assert most - before < 120 * MB
        if attack in ("slow heads", "slow bodies"):
            assert own_answers(balancer)["408"] >= 250
        balancers.eventually(lambda: _connections(balancer) <= 8, what="the end of the attackers")


def _connections(balancer: balancers.Balancer) -> int:
    """That clients hold open."""
    port = balancer.ports[0]
    found = psutil.Process(balancer.pid("worker-0")).net_connections("tcp")
    return sum(c.laddr[1] == port and c.status == psutil.CONN_ESTABLISHED for c in found)


def test_two_thousand_stalled_clients_cost_little_memory_and_are_closed(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < STALLED + 500:
        pytest.skip(f"at most {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, STALLED + 500), hard))
    with serving(tmp_path) as balancer, Others(balancer.url, 5) as others:
        balancers.eventually(lambda: others.served > 20, what="service")
        before = memory(balancer)
        with contextlib.ExitStack() as opened:
            stalled = []
            for number in range(STALLED):
                client = socket.create_connection(("127.0.0.1", balancer.ports[0]), timeout=10)
                stalled.append(opened.enter_context(client))
                client.sendall(
                    (
                        b"GET / HTTP/1.1\r\nHost: h\r\nX-Never-",
                        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf",
                        b"",
                    )[number % 3]
                )
            # 4 KB for an idle connection is the bar; a request that waits has a server's besides.
            assert memory(balancer) - before < 40 * MB
            ends = [client.recv(65_536) for client in stalled]
        for number, end in enumerate(ends):
            assert end == b"" if number % 3 == 2 else b" 408 " in end.partition(b"\r\n")[0]
        assert others.failures == []
