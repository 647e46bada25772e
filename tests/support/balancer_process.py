"""A whole balancer as a user starts it, with small upstreams beside it, on free ports."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import psutil
import requests

T = TypeVar("T")
TOKEN = "secret"


def refused(port: int) -> bool:
    """Whether nobody listens there any more."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def eventually(look: Callable[[], T], *, what: str, seconds: float = 20) -> T:
    """The first true answer of `look`; what is not reachable yet counts as false."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = look()
        except (requests.RequestException, OSError, psutil.Error) as error:
            last = error
        else:
            if last:
                return last
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come about within {seconds} s; last seen: {last!r}")


class Upstream:
    """An HTTP server in a thread. `gate` holds back `/slow` until it is set."""

    def __init__(self, name: str, *, port: int = 0) -> None:
        self.name = name
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.status = 200
        self.breaks = False  # off every request but probes
        self.asked: list[str] = []
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.upstream = self
        self.port = self._server.server_port
        self.address = f"127.0.0.1:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self._thread.start()

    def close(self) -> None:
        self.gate.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    upstream: Upstream

    def handle_error(self, *_args: object) -> None:
        """A client that hung up is the test's intention."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        upstream = self.server.upstream
        upstream.asked.append(self.path)
        if upstream.breaks and self.path != "/heartbeat":
            self.close_connection = True
            return
        if self.path.startswith("/slow"):
            upstream.entered.set()
            upstream.gate.wait(30)
        body = upstream.name.encode()
        self.send_response(upstream.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        """With its whole body first; one without a length is taken in, and never answered."""
        if "Content-Length" not in self.headers:
            while self.rfile.read1(65_536):
                pass
            self.close_connection = True
            return
        left = int(self.headers["Content-Length"])
        if len(self.rfile.read(left)) == left:
            self.do_GET()
        else:
            self.close_connection = True

    def log_message(self, *_args: object) -> None:
        pass


class Balancer:
    """A running `ringmaster-balancer`; `flags` go to its command line.

    `stderr`: a descriptor for its log in place of the file; then `ports` must be given.
    """

    def __init__(
        self,
        folder: Path,
        *flags: str,
        ports: tuple[int, int] = (0, 0),
        stderr: int = subprocess.STDOUT,
    ) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.log = folder / "balancer.log"
        token = folder / "token"
        token.write_text(TOKEN + "\n")
        self._from = self.log.stat().st_size if self.log.exists() else 0
        command = [sys.executable, "-m", "ringmaster_balancer", "--ring", "default/web"]
        command += ["--host", "127.0.0.1", "--port", str(ports[0])]
        command += ["--control-port", str(ports[1]), "--token-file", str(token)]
        command += ["--state-dir", str(self.state), *flags]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=stderr
            )
        if stderr == subprocess.STDOUT:
            self.url, self.control = eventually(self._urls, what="the listening balancer")
        else:
            self.url, self.control = (f"http://127.0.0.1:{port}" for port in ports)

    def _urls(self) -> tuple[str, str] | None:
        assert self.process.poll() is None, self.log.read_text()
        found = re.search(r"data=(\S+) control=(\S+)", self.text())
        return (found[1], found[2]) if found else None

    def text(self) -> str:
        """What this one has logged."""
        return self.log.read_text()[self._from :]

    @property
    def ports(self) -> tuple[int, int]:
        return int(self.url.rpartition(":")[2]), int(self.control.rpartition(":")[2])

    @property
    def ring(self) -> str:
        return f"{self.control}/v1/rings/default/web"

    def ask(self, method: str, url: str | None = None, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {TOKEN}"} | options.pop("headers", {})
        return requests.request(method, url or self.ring, headers=headers, timeout=10, **options)

    def push(self, document: dict[str, Any], *, accepted: bool = True) -> requests.Response:
        """Push; with `accepted` until it is confirmed, as an operator would."""
        if not accepted:
            return self.ask("PUT", json=document)

        def confirmed() -> requests.Response | None:
            answer = self.ask("PUT", json=document)
            assert answer.status_code in {200, 503}, answer.text
            return answer if answer.status_code == 200 else None

        return eventually(confirmed, what="the confirmation")

    def held(self) -> dict[str, Any]:
        answer = self.ask("GET")
        answer.raise_for_status()
        return dict(answer.json())

    def ready(self) -> bool:
        return requests.get(f"{self.control}/readyz", timeout=5).status_code == 200

    def home(self) -> str:
        answer = requests.get(f"{self.url}/home", timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.text

    def pid(self, role: str) -> int:
        """The newest process of a role (`control`, `worker-0`) that was logged."""
        found = re.findall(rf'event="process started" role={role} pid=(\d+)', self.text())
        return int(found[-1]) if found else 0

    def child(self, role: str) -> psutil.Process | None:
        """The process of a role that runs now, whatever was logged."""
        module = "control.process" if role == "control" else "dataplane.worker"
        index = role.rpartition("-")[2]
        for process in psutil.Process(self.process.pid).children():
            words = process.cmdline()
            if any(word.endswith(module) for word in words) and (
                role == "control" or json.loads(words[-1])["index"] == int(index)
            ):
                return process
        return None

    def processes(self) -> list[psutil.Process]:
        """All that belong to this state folder, the supervisor too."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                alive = process.status() != psutil.STATUS_ZOMBIE
                if alive and any(str(self.state) in word for word in process.cmdline()):
                    found.append(process)
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=30)


def allow_descriptors(pid: int, more: int) -> None:
    """Let a running process open at most so many files beyond those that it has."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    have = {int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir()}
    free = (number for number in itertools.count() if number not in have)
    limit = next(itertools.islice(free, more, None))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, hard))


@contextlib.contextmanager
def running(
    folder: Path, *flags: str, ports: tuple[int, int] = (0, 0), stderr: int = subprocess.STDOUT
) -> Iterator[Balancer]:
    """A balancer that has ended afterwards, with nothing left behind, or the test fails."""
    balancer = Balancer(folder, *flags, ports=ports, stderr=stderr)
    passed = False
    try:
        yield balancer
        passed = True
    finally:
        try:
            balancer.stop()
        finally:
            left = balancer.processes()
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            if not passed:
                print(balancer.text()[-5000:])
    assert not left, f"left behind: {left}"


@contextlib.contextmanager
def upstreams(*names: str) -> Iterator[list[Upstream]]:
    """Running upstreams."""
    servers = [Upstream(name) for name in names]
    try:
        yield servers
    finally:
        for server in servers:
            server.close()


def document(*members: tuple[str, str], generation: int = 1, **fields: Any) -> dict[str, Any]:
    """A membership of active members, each (id, address)."""
    return {
        "epoch": 1,
        "generation": generation,
        "uid": "u",
        "replicas": len(members),
        "health": {"path": "/heartbeat", "intervalSeconds": 0.2, "timeoutSeconds": 0.5},
        "members": [
            {"id": name, "replica": f"{name}-r", "address": address, "state": "active"}
            for name, address in members
        ],
        **fields,
    }


def free_ports() -> tuple[int, int]:
    """Two ports that were free just now."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as two:
        return one.getsockname()[1], two.getsockname()[1]


def ended(pid: int) -> bool:
    """Whether a process is gone, a zombie counts as gone."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
