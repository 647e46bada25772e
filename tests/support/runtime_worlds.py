"""Worlds that the contract suite runs a runtime in: how to make one, hurt it, and look behind it."""

from __future__ import annotations

import contextlib
import enum
import os
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import containers
import engines
import fake_runtime
import psutil
import stack
import virtual_clock
from ringmaster_operator import observed, ports
from ringmaster_operator.runtimes import docker, process, process_ledger, process_os

T = TypeVar("T")

# Owners of this run: others may test on the same engine.
OWNERS = tuple(
    observed.Owner(namespace="default", name=name, uid=str(uuid.uuid4())) for name in ("web", "api")
)
_SERVE = """
import os, signal, socket, sys
end = signal.SIG_IGN if "deaf" in sys.argv else lambda *_: os._exit(0)  # PID 1 has no default
signal.signal(signal.SIGTERM, end)
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((os.environ.get("HOST", "0.0.0.0"), int(os.environ["PORT"])))
listener.listen(64)
while True:
    client, _ = listener.accept()
    try:
        client.recv(4096)
        body = os.environ["SERVER_ID"].encode()
        client.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body))
    except OSError:
        pass
    client.close()
"""


class Program(enum.Enum):
    """What a replica does."""

    SERVER = ("python3", "-S", "-c", _SERVE)
    DEAF = ("python3", "-S", "-c", _SERVE, "deaf")  # ignores SIGTERM
    SILENT = ("python3", "-S", "-c", "import time; time.sleep(600)")  # never ready
    BROKEN = ("python3", "-S", "-c", "print('no luck today'); raise SystemExit(3)")
    MISSING = ("no-such-program-anywhere",)


def template(program: Program) -> dict[str, Any]:
    """A PodTemplateSpec with a quick readiness probe."""
    return {
        "metadata": {"labels": {"app": "web"}},
        "spec": {
            "containers": [
                {
                    "name": "server",
                    "image": containers.PYTHON_IMAGE,  # with a python3, where an image is needed
                    "command": list(program.value),
                    "env": [{"name": "PORT", "value": "5000"}],
                    "ports": [{"name": "http", "containerPort": 5000}],
                    "readinessProbe": {
                        "httpGet": {"path": "/heartbeat", "port": "http"},
                        "periodSeconds": 1,
                        "timeoutSeconds": 1,
                        "failureThreshold": 1,
                    },
                }
            ]
        },
    }


def birth(
    owner: observed.Owner, ordinal: int = 0, program: Program = Program.SERVER, **changes: Any
) -> observed.Birth:
    """What the planner would ask for."""
    member = f"{owner.name}-{ordinal}"
    values: dict[str, Any] = {
        "owner": owner,
        "name": f"{member}-{owner.uid[:5]}",
        "display_name": f"S{ordinal}",
        "member_id": member,
        "ordinal": ordinal,
        "attempt": 2,
        "reason": observed.Reason.EMERGENCY,
        "revision": "r1",
        "template": template(program),
    }
    return observed.Birth(**values | changes)


class World(Protocol):
    """One runtime and what surrounds it."""

    runtime: ports.Runtime

    def reopen(self) -> None:
        """A new runtime over what the old one left, as after the operator's kill -9."""

    def crash(self, replica: observed.Replica) -> None:
        """kill -9 of the replica."""

    def freeze(self, replica: observed.Replica) -> None:
        """SIGSTOP of the replica."""

    def hurried(self, replica: observed.Replica) -> None:
        """A second removal shortened its grace: help on an engine that is known to ignore that."""

    def leftovers(self) -> list[Any]:
        """Whatever still runs of it."""

    def wait(self, look: Callable[[], T], *, what: str) -> T:
        """The first true answer of `look`; fails if none comes in time."""

    def close(self) -> None:
        """Leave nothing."""


class FakeWorld:
    """The fake that the reconcile is tested against, in its own time."""

    def __init__(self, _folder: Path) -> None:
        self.clock = virtual_clock.VirtualClock()
        self.runtime = fake_runtime.FakeRuntime(self.clock)

    def reopen(self) -> None:
        """It is the world itself and knows no operator."""

    def crash(self, replica: observed.Replica) -> None:
        self.runtime.kill(replica.name)

    def freeze(self, replica: observed.Replica) -> None:
        self.runtime.freeze(replica.name)

    def hurried(self, replica: observed.Replica) -> None:
        """Nothing to help."""

    def leftovers(self) -> list[Any]:
        return self.runtime.living()

    def wait(self, look: Callable[[], T], *, what: str) -> T:
        for _ in range(100):
            if found := look():
                return found
            self.clock.advance(0.1)
        raise AssertionError(f"{what} did not come about")

    def close(self) -> None:
        self.runtime.bodies.clear()


class ProcessWorld:
    """Local processes over a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runtime = process.ProcessRuntime(folder)

    def reopen(self, *, clock: Callable[[], float] = time.time) -> None:
        self.runtime.close()
        self.runtime = process.ProcessRuntime(self.folder, clock=clock)

    def crash(self, replica: observed.Replica) -> None:
        self._signal(replica, signal.SIGKILL)

    def freeze(self, replica: observed.Replica) -> None:
        self._signal(replica, signal.SIGSTOP)

    def hurried(self, replica: observed.Replica) -> None:
        """Nothing to help."""

    def leftovers(self) -> list[psutil.Process]:
        return [one for some in process_os.marked(self.folder).values() for one in some]

    def wait(self, look: Callable[[], T], *, what: str) -> T:
        return stack.eventually(look, what=what)

    def close(self) -> None:
        self.runtime.close()
        # By record as well: a process that is just being started shows no environment yet.
        pids = {
            record.pid
            for record in self._records().all()
            if record.pid and record.mark and process_os.alive(record.pid, record.mark)
        }
        left = self.leftovers()
        for pid in pids - {one.pid for one in left}:
            with contextlib.suppress(psutil.Error):
                left.append(psutil.Process(pid))
        for one in left:
            with contextlib.suppress(psutil.Error):
                one.kill()
        psutil.wait_procs(left, timeout=5)

    def pid(self, replica: observed.Replica) -> int:
        record = self._records().get(replica.uid)
        assert record is not None
        assert record.pid is not None
        return record.pid

    def _records(self) -> process_ledger.Ledger:
        return process_ledger.Ledger(self.folder / "replicas")

    def _signal(self, replica: observed.Replica, number: int) -> None:
        os.kill(self.pid(replica), number)


class DockerWorld:
    """Containers of a real engine."""

    def __init__(self, folder: Path) -> None:
        engines.require("docker")
        self.folder = folder
        self.runtime = docker.DockerRuntime(folder)

    def reopen(self, *, clock: Callable[[], float] = time.time) -> None:
        self.runtime.close()
        self.runtime = docker.DockerRuntime(self.folder, clock=clock)

    def crash(self, replica: observed.Replica) -> None:
        containers.docker("kill", replica.uid)

    def freeze(self, replica: observed.Replica) -> None:
        containers.docker("pause", replica.uid)

    def hurried(self, replica: observed.Replica) -> None:
        """Nothing to help."""

    def leftovers(self) -> list[str]:
        return [name for owner in OWNERS for name in containers.of(owner)]

    def wait(self, look: Callable[[], T], *, what: str) -> T:
        return stack.eventually(look, what=what)

    def close(self) -> None:
        self.runtime.close()
        left = self.leftovers()
        if left:
            containers.docker("rm", "--force", "--volumes", *left)
