"""The whole of Ringmaster as `docker compose` runs it, from a fresh clone, under a name of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import containers
import engines
import requests
import stack
import yaml


@dataclass(frozen=True)
class Compose:
    """A running compose project. `folder` is the clone, `specs` what the operator reads."""

    folder: Path
    specs: Path
    name: str
    port: int
    api_port: int
    control_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    def run(self, *words: str, check: bool = True, seconds: float = 400) -> str:
        """A command in the clone with the project's variables; its output."""
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=os.environ
            | {
                "RINGMASTER_NAME": self.name,
                "RINGMASTER_PORT": str(self.port),
                "RINGMASTER_API_PORT": str(self.api_port),
                "RINGMASTER_CONTROL_PORT": str(self.control_port),
                "RINGMASTER_SPECS": str(self.specs),
                "PYTHON_IMAGE": containers.PYTHON_IMAGE,
            },
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
        )
        assert not check or done.returncode == 0, f"{' '.join(words)}:\n{done.stdout[-4000:]}"
        return done.stdout

    def compose(self, *words: str, check: bool = True) -> str:
        """`docker compose …`."""
        return self.run("docker", "compose", *words, check=check)

    def kubectl(self, *words: str, check: bool = True) -> str:
        """`kubectl …` against the published API."""
        return self.run("kubectl", "--server", self.api, *words, check=check)

    def patch(self, spec: dict[str, Any]) -> None:
        """Change the ServerSet's spec (a merge patch)."""
        answer = requests.patch(
            f"{self.api}{stack.SETS}/web",
            json={"spec": spec},
            headers={"Content-Type": "application/merge-patch+json"},
            timeout=10,
        )
        assert answer.ok, answer.text

    def serverset(self) -> dict[str, Any]:
        answer = requests.get(f"{self.api}{stack.SETS}/web", timeout=5)
        answer.raise_for_status()
        return dict(answer.json())

    def condition(self, kind: str) -> dict[str, Any]:
        found = [c for c in self.serverset()["status"]["conditions"] if c["type"] == kind]
        return dict(found[0])

    def rep(self) -> list[str]:
        """Who is active in the balancer's ring."""
        answer = requests.get(f"{self.url}/rep", timeout=5)
        answer.raise_for_status()
        return list(answer.json()["message"]["replicas"])

    def members(self) -> dict[str, str]:
        """Active replicas by member id, as the operator has them."""
        answer = requests.get(f"{self.api}{stack.SETS}/web/replicas", timeout=5)
        answer.raise_for_status()
        return {
            item["status"]["memberId"]: item["metadata"]["name"]
            for item in answer.json()["items"]
            if item["status"]["ring"] == "active"
        }

    def wait_active(self, count: int, *, seconds: float = 60) -> dict[str, str]:
        """So many in the ring, ready and nothing else left; by member id."""

        def settled() -> dict[str, str]:
            active, rep, there = self.members(), self.rep(), self.shown()
            ready = self.condition("Ready")
            if len(active) == len(rep) == len(there) == count and ready["status"] == "True":
                return active
            raise ValueError(f"{active}; /rep: {rep}; {there}; Ready: {ready}")

        return stack.eventually(settled, what=f"{count} active members", seconds=seconds)

    def replicas(self) -> list[str]:
        """Ids of all containers of the ServerSet, running or not."""
        return [line.split()[0] for line in self.shown()]

    def shown(self) -> list[str]:
        """Id, name and state of all containers of the ServerSet, running or not."""
        return containers.docker(
            "ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.Status}}",
            "--filter", f"label=com.docker.compose.project={self.name}",
            "--filter", "label=ringmaster.dev/serverset=web",
        ).splitlines()  # fmt: skip

    def left(self) -> str:
        """Containers and networks of the project, volumes left out."""
        names = containers.docker(
            "ps", "--all", "--filter", f"label=com.docker.compose.project={self.name}",
            "--format", "{{.Names}}",
        ).split()  # fmt: skip
        # The images bear compose's labels, and a kubelet on this engine may have run one meanwhile.
        ours = [name for name in names if not name.startswith("k8s_")]
        networks = containers.docker("network", "ls", "--filter", f"name={self.name}", "--quiet")
        return " ".join([*ours, *networks.split()])


@contextlib.contextmanager
def running(folder: Path, *, replicas: int = 3, **spec: Any) -> Iterator[Compose]:
    """Clone, `make docker-up`, and afterwards `make docker-down`, which has to leave nothing.

    `spec` replaces fields of the example's.
    """
    engines.require("docker")
    engines.require("kubectl")
    clone, specs = folder / "clone", folder / "specs"
    subprocess.run(["git", "clone", "--quiet", stack.ROOT, clone], check=True, timeout=60)
    specs.mkdir()
    document = yaml.safe_load(stack.SPEC.read_text())
    document["spec"] |= {"replicas": replicas, **spec}
    (specs / "serverset.yaml").write_text(yaml.safe_dump(document))
    name = f"rm-{uuid.uuid4().hex[:8]}"
    ports = [stack.free_port() for _ in range(3)]
    made = Compose(clone, specs, name, *ports)
    failed = True
    try:
        made.run("make", "docker-up")
        made.wait_active(replicas)
        yield made
        failed = False
    finally:
        if failed:
            print(made.compose("logs", "--tail", "60", check=False)[-12_000:])
        down = made.run("make", "docker-down", "DOWN_FLAGS=--volumes", check=False)
        left = made.left()
        if left:
            containers.docker("rm", "--force", *made.replicas(), check=False)
            made.compose("down", "--remove-orphans", "--volumes", check=False)
        shutil.rmtree(clone, ignore_errors=True)
    assert not left, f"make docker-down left {left}:\n{down}"
