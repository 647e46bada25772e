"""What a measurement needs of the world: processes, upstreams, and our own balancer.

The proxies that it is compared with are in `proxies`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

TOKEN = "bench"


@dataclass(frozen=True, slots=True)
class Running:
    """A proxy under test: its name, the port that clients use and its root process."""

    name: str
    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """User and system time of the whole process tree so far.

        By each process' own clock, in nanoseconds: what `ps` reads has ticks of 10 ms.
        """
        root = psutil.Process(self.pid)
        total = 0.0
        for process in [root, *root.children(recursive=True)]:
            with contextlib.suppress(OSError):
                total += time.clock_gettime(_cpu_clock(process.pid))
        return total

    def memory_bytes(self) -> int:
        """Unique memory (USS) of the whole process tree."""
        root = psutil.Process(self.pid)
        return sum(
            process.memory_full_info().uss for process in [root, *root.children(recursive=True)]
        )


def _cpu_clock(pid: int) -> int:
    """The clock of another process' CPU time, ended threads included: clock_getcpuclockid(3)."""
    return (~pid << 3) | 2


def free_port() -> int:
    """A loopback port that was free a moment ago, of those that no outgoing connection takes."""
    while True:
        port = random.randint(10_000, 32_000)  # Linux hands out those from 32,768 on
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_for(answers: Callable[[], bool], *, what: str, seconds: float = 20) -> None:
    """Poll until `answers()`; raise after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.RequestException, OSError):
            if answers():
                return
        time.sleep(0.02)
    raise TimeoutError(f"{what} did not answer within {seconds} s")


def serves(port: int) -> bool:
    """Whether `/home` answers 200 there."""
    return requests.get(f"http://127.0.0.1:{port}/home", timeout=2).status_code == 200


@contextlib.contextmanager
def child(arguments: list[str], *, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended, with its group, when the block is left."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextlib.contextmanager
def upstreams(folder: Path, *, count: int) -> Iterator[list[int]]:
    """`count` upstream ports, answered by one nginx: `/home`, `/10k`, `/1m`, and POST anywhere."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "10k").write_bytes(b"x" * 10_240)
    (folder / "1m").write_bytes(b"x" * 1_048_576)
    ports: list[int] = []
    while len(ports) < count:
        ports += {free_port()} - {*ports}
    servers = "\n".join(
        f"""server {{ listen 127.0.0.1:{port} backlog=4096; root {folder};
        location = /home {{ default_type application/json;
          return 200 '{{"message": "Hello from Server: {port}", "status": "successful"}}'; }}
        location = /heartbeat {{ return 200; }}
        location = /post {{ return 200 'ok'; }} }}"""
        for port in ports
    )
    config = folder / "upstreams.conf"
    config.write_text(nginx_config(folder, name="upstreams", http=servers))
    with child(["nginx", "-e", f"{folder}/error.log", "-c", str(config)], log=folder / "up.log"):
        wait_for(lambda: all(map(serves, ports)), what="the upstreams")
        yield ports


def nginx_config(folder: Path, *, name: str, http: str, workers: int = 1) -> str:
    """A self-contained nginx configuration with everything it writes below `folder`."""
    temporary = "\n".join(
        f"{kind}_temp_path {folder}/{name}-{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""daemon off; pid {folder}/{name}.pid; worker_processes {workers};
error_log {folder}/{name}.log; worker_rlimit_nofile 20000;
events {{ worker_connections 19000; }}
http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 75s;
client_max_body_size 10m;
{temporary}
{http}
}}"""


def membership(ports: list[int], **proxy: object) -> dict[str, object]:
    """The document an operator would push for these upstreams; `proxy`: its settings."""
    return {
        "epoch": time.time_ns() // 1_000_000,
        "generation": 1,
        "uid": "bench",
        "replicas": len(ports),
        "health": {"path": "/heartbeat"},
        "proxy": proxy,
        "members": [
            {
                "id": f"web-{index}",
                "replica": f"web-{index}-bench",
                "address": f"127.0.0.1:{port}",
                "state": "active",
            }
            for index, port in enumerate(ports)
        ],
    }


@contextlib.contextmanager
def ringmaster(
    folder: Path, *, ports: list[int], workers: int, access_log: bool = False
) -> Iterator[Running]:
    """Our balancer, as it is run for real: every process, metrics and health checks on."""
    port, control = free_port(), free_port()
    token = folder / "token"
    token.write_text(TOKEN)
    command = [sys.executable, "-m", "ringmaster_balancer", "--ring", "default/web"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
    command += ["--control-host", "127.0.0.1", "--control-port", str(control)]
    command += ["--token-file", str(token), "--state-dir", str(folder / f"state-{port}")]

    def pushed() -> bool:
        answer = requests.put(
            f"http://127.0.0.1:{control}/v1/rings/default/web",
            data=json.dumps(membership(ports, accessLog=access_log)),
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
            timeout=5,
        )
        return answer.status_code == 200

    with child(command, log=folder / f"ringmaster-{port}.log") as process:
        wait_for(pushed, what="the balancer's control port")
        wait_for(lambda: serves(port), what="the balancer")
        yield Running("ringmaster", port, process.pid)
