"""Operators and balancers as plain processes over a real Docker Engine: compose without compose.

What runs in containers is the replicas, in a network of the test's own.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import containers
import requests
import stack as stacks
import yaml

SETS = stacks.SETS


@dataclass
class Part:
    """A process of ours, and what it said."""

    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def end(self) -> int:
        """SIGTERM; the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(40)


@dataclass
class Operator(Part):
    """A running `ringmaster-operator --runtime docker`."""

    state: Path
    port: int

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def serverset(self, name: str = "web") -> dict[str, Any]:
        answer = requests.get(f"{self.api}{SETS}/{name}", timeout=5)
        answer.raise_for_status()
        return dict(answer.json())

    def condition(self, kind: str) -> dict[str, Any]:
        conditions = self.serverset()["status"]["conditions"]
        return next(each for each in conditions if each["type"] == kind)

    def containers(self) -> dict[str, str]:
        """The replicas' names by container id."""
        uid = self.serverset()["metadata"]["uid"]
        return listed(f"label=ringmaster.dev/serverset-uid={uid}")


@dataclass
class Balancer(Part):
    """A running `ringmaster-balancer` of the ring default/web."""

    port: int
    control_port: int
    token: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def control(self) -> str:
        return f"http://127.0.0.1:{self.control_port}"

    def ring(self) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = requests.get(self.control + stacks.RING, headers=headers, timeout=5)
        answer.raise_for_status()
        return dict(answer.json())

    def active(self) -> dict[str, dict[str, Any]]:
        """Members that serve, by member id."""
        members = self.ring()["members"]
        return {m["id"]: m for m in members if m["state"] == "active" and m["healthy"]}

    def wait_active(self, count: int, *, seconds: float = 60) -> dict[str, dict[str, Any]]:
        def look() -> dict[str, dict[str, Any]]:
            found = self.active()
            return found if len(found) == count else {}

        return stacks.eventually(look, what=f"{count} active members", seconds=seconds)


@dataclass
class Place:
    """A folder and a network of a test's own; what is started here is ended with it."""

    folder: Path
    network: str
    parts: list[Part] = field(default_factory=list)
    balancers: list[Balancer] = field(default_factory=list)

    @property
    def token_file(self) -> Path:
        return self.folder / "token"

    def operator(
        self, name: str, *words: str, state: Path | None = None, engine: str | None = None
    ) -> Operator:
        """Start one; it pushes to every balancer of the place. `engine`: another DOCKER_HOST."""
        port = stacks.free_port()
        folder = state or self.folder / f"state-{name}"
        command = [sys.executable, "-m", "ringmaster_operator", "--runtime", "docker"]
        command += ["--docker-network", self.network, "--state-dir", str(folder)]
        command += ["--api-port", str(port), "--token-file", str(self.token_file), *words]
        for balancer in self.balancers:
            command += ["--balancer-url", balancer.control]
        process, log = self._start(name, command, engine=engine)
        made = Operator(process, log, state=folder, port=port)
        self.parts.append(made)
        return made

    def balancer(self, *words: str) -> Balancer:
        """Start one."""
        port, control = stacks.free_port(), stacks.free_port()
        command = [sys.executable, "-m", "ringmaster_balancer", "--ring", "default/web"]
        command += ["--host", "127.0.0.1", "--port", str(port), "--control-port", str(control)]
        command += ["--token-file", str(self.token_file), "--drain-seconds", "2"]
        command += ["--state-dir", str(self.folder / f"balancer-{port}"), *words]
        process, log = self._start(f"balancer-{port}", command)
        token = self.token_file.read_text().strip()
        made = Balancer(process, log, port=port, control_port=control, token=token)
        self.parts.append(made)
        self.balancers.append(made)
        return made

    def spec(self, **changes: Any) -> dict[str, Any]:
        """The example with an image that is here and a server that needs no other; as asked."""
        document: dict[str, Any] = yaml.safe_load(stacks.SPEC.read_text())
        document["spec"] |= {"drainSeconds": 1, **changes}
        return document

    def create(self, operator: Operator, document: dict[str, Any]) -> dict[str, Any]:
        stacks.eventually(lambda: requests.get(operator.api + "/healthz", timeout=5), what="API")
        answer = requests.post(operator.api + SETS, json=document, timeout=10)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def _start(
        self, name: str, command: list[str], *, engine: str | None = None
    ) -> tuple[subprocess.Popen[bytes], Path]:
        log = self.folder / f"{name}.log"
        environment = os.environ | ({} if engine is None else {"DOCKER_HOST": engine})
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                start_new_session=True, env=environment,
            )  # fmt: skip
        return process, log


def listed(*filters: str) -> dict[str, str]:
    """Containers that match, dead ones too: names by id."""
    words = [word for each in filters for word in ("--filter", each)]
    found = containers.docker("ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}}", *words)
    return dict(line.split(" ", 1) for line in found.splitlines())


@contextlib.contextmanager
def place(folder: Path) -> Iterator[Place]:
    """A network of one's own; afterwards nothing is left in it, or of it."""
    name = f"ringmaster-test-{uuid.uuid4().hex[:10]}"
    containers.docker("network", "create", name)
    made = Place(folder, name)
    made.token_file.write_text("a-token-of-the-test\n")
    made.token_file.chmod(0o600)
    failed = True
    try:
        yield made
        failed = False
    finally:
        for part in reversed(made.parts):
            with contextlib.suppress(subprocess.TimeoutExpired):
                part.end()
            if part.process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(part.process.pid, 9)
                part.process.wait()
        if left := listed(f"network={name}"):
            containers.docker("rm", "--force", "--volumes", *left)
        containers.docker("network", "rm", name)
        if failed:
            for part in made.parts:
                print(f"--- {part.log_file.name}\n{part.log[-4000:]}")
