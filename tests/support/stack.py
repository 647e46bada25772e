"""The whole of Ringmaster, started as a user starts it: `ringmaster up` in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import requests

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
SPEC = ROOT / "manifests" / "serverset.yaml"
RING = "/v1/rings/default/web"
SETS = "/apis/ringmaster.dev/v1alpha1/namespaces/default/serversets"


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """This process cannot open one more file; what it closes meanwhile is taken at once."""
    taken = [os.open(os.devnull, os.O_RDONLY)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0], hard))
    end = threading.Event()

    def take() -> None:
        while not end.wait(0.001):
            with contextlib.suppress(OSError):
                taken.append(os.open(os.devnull, os.O_RDONLY))

    taker = threading.Thread(target=take)
    taker.start()
    try:
        yield
    finally:
        end.set()
        taker.join()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)


def eventually(look: Callable[[], T], *, what: str, seconds: float = 60) -> T:
    """The first true answer of `look`; what is not reachable yet counts as false."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = look()
        except (requests.RequestException, OSError, KeyError, ValueError) as error:
            last = error
        else:
            if last:
                return last
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come about within {seconds} s; last seen: {last!r}")


@dataclass
class Stack:
    """A running `ringmaster up`. `process` is the foreground command."""

    process: subprocess.Popen[bytes]
    state: Path
    port: int
    control_port: int
    api_port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    def ring(self) -> dict[str, Any]:
        """What the balancer holds."""
        token = (self.state / "token").read_text().strip()
        answer = requests.get(
            f"http://127.0.0.1:{self.control_port}{RING}",
            headers={"Authorization": f"Bearer {token}"},
            timeout=5,
        )
        answer.raise_for_status()
        return dict(answer.json())

    def active(self) -> dict[str, dict[str, Any]]:
        """Members that serve, by member id."""
        return {
            member["id"]: member
            for member in self.ring()["members"]
            if member["state"] == "active" and member["healthy"]
        }

    def wait_active(self, count: int, *, seconds: float = 60) -> dict[str, dict[str, Any]]:
        def look() -> dict[str, dict[str, Any]]:
            found = self.active()
            return found if len(found) == count else {}

        return eventually(look, what=f"{count} active members", seconds=seconds)

    def serverset(self) -> dict[str, Any]:
        answer = requests.get(f"{self.api}{SETS}/web", timeout=5)
        answer.raise_for_status()
        return dict(answer.json())

    def cli(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`ringmaster …` against this stack."""
        environment = os.environ | {
            "RINGMASTER_SERVER": self.api,
            "RINGMASTER_STATE_DIR": str(self.state),
        }
        return subprocess.run(
            [sys.executable, "-m", "ringmaster_operator.cli", *arguments],
            check=check,
            capture_output=True,
            text=True,
            env=environment,
            timeout=90,
        )

    def home(self, key: str) -> str:
        """The id of the server that answers a key."""
        answer = requests.get(f"{self.url}/home", headers={"X-Request-Id": key}, timeout=10)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["message"]).removeprefix("Hello from Server: ")

    def children(self, module: str) -> list[psutil.Process]:
        """Children of `up` whose command line names a module."""
        found = []
        for process in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                if module in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def pid_of(self, member: dict[str, Any]) -> int:
        """The process that listens on a member's address."""
        return listener(int(member["address"].rpartition(":")[2]))


def listener(port: int) -> int:
    """The process that listens on a loopback port."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1] == port:
            assert connection.pid
            return connection.pid
    raise LookupError(f"nobody listens on {port}")


def marked(state: Path) -> list[psutil.Process]:
    """Every live process whose environment or command line names this state folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                continue
            words = [*process.cmdline(), *process.environ().values()]
            if any(str(state) in word for word in words):
                found.append(process)
    return found


def start(
    folder: Path,
    *,
    spec: Path | None = SPEC,
    flags: tuple[str, ...] = (),
    output: int | None = None,
) -> Stack:
    """Start `up` and return at once. `folder` may hold the state of an earlier one.

    `output`: a descriptor in place of the log file.
    """
    ports = [free_port() for _ in range(3)]
    log = folder / "up.log"
    state = folder / "state"
    command = [sys.executable, "-m", "ringmaster_operator.cli", "up"]
    command += [] if spec is None else ["-f", str(spec)]
    command += ["--state-dir", str(state), "--port", str(ports[0])]
    command += ["--control-port", str(ports[1]), "--api-port", str(ports[2]), *flags]
    with log.open("ab") as file:
        process = subprocess.Popen(
            command,
            stdout=file if output is None else output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    return Stack(process, state, *ports, log=log)


def stop(stack: Stack) -> int:
    """Ctrl-C, as a user ends it. Returns the exit code; kills what does not end in 40 s."""
    if stack.process.poll() is None:
        stack.process.send_signal(signal.SIGINT)
    try:
        return stack.process.wait(timeout=40)
    except subprocess.TimeoutExpired:
        stack.process.kill()
        stack.process.wait()
        raise


@contextlib.contextmanager
def running(
    folder: Path, *, spec: Path = SPEC, flags: tuple[str, ...] = (), replicas: int = 3
) -> Iterator[Stack]:
    """A stack with all its replicas in the ring; afterwards nothing of it is left, or it fails."""
    stack = start(folder, spec=spec, flags=flags)
    failed = True
    try:
        stack.wait_active(replicas)
        yield stack
        failed = False
    finally:
        try:
            code = stop(stack)
        finally:
            left = marked(stack.state)
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
        if failed:
            print(stack.log.read_text(errors="replace")[-6000:])
        else:
            assert not left, f"left behind: {[p.cmdline() for p in left]}"
            assert code == 0, stack.log.read_text(errors="replace")[-3000:]
