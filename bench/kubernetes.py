"""`make bench-kubernetes`: a ServerSet beside an apps/v1 ReplicaSet of the same template.

On the cluster that kubectl talks to, in a namespace that is removed afterwards; the three images
must be there. Measured in alternating rounds of one run, since only ratios of one run mean
anything: from the change of 3 to 30 replicas until 30 pods are ready, and from the deletion of a
pod until its replacement is ready, for the ServerSet until it is in the ring of every balancer.
Ready is what the pods say themselves, not what a controller reports. Ends with 1 above the bar.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import results
import yaml

ROOT = Path(__file__).resolve().parents[1]
BAR = 1.2
FEW, MANY = 3, 30


def kubectl(*words: str, given: Any = None) -> str:
    """`kubectl …`; its output."""
    done = subprocess.run(
        ["kubectl", *words],
        input=None if given is None else json.dumps(given),
        check=True,
        capture_output=True,
        text=True,
        timeout=180,
    )
    return done.stdout


class Pods:
    """The pods of one app, as a watch tells them."""

    def __init__(self, namespace: str, app: str) -> None:
        row = (
            "{.type},{.object.metadata.name},{.object.metadata.deletionTimestamp},"
            '{.object.status.conditions[?(@.type=="Ready")].status}{"\\n"}'
        )
        self._process = subprocess.Popen(
            ["kubectl", "-n", namespace, "get", "pods", "-l", f"app={app}", "-w",
             "--output-watch-events", "-o", f"jsonpath={row}"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._ready: set[str] = set()
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            kind, name, ends, ready = line.strip().split(",")
            with self._changed:
                good = kind != "DELETED" and not ends and ready == "True"
                (self._ready.add if good else self._ready.discard)(name)
                self._changed.notify_all()

    def ready(self) -> set[str]:
        """The names of those that are ready and stay."""
        with self._changed:
            return set(self._ready)

    def wait(self, good: Callable[[set[str]], bool], *, what: str, seconds: float = 180) -> None:
        """Until the ready ones are as they should be."""
        with self._changed:
            if not self._changed.wait_for(lambda: good(self._ready), timeout=seconds):
                sys.exit(f"{what} did not come about within {seconds:g} s: {sorted(self._ready)}")

    def close(self) -> None:
        """End the watch."""
        self._process.terminate()
        self._process.wait()


class Set:
    """A ReplicaSet or a ServerSet named after its app."""

    def __init__(self, namespace: str, document: dict[str, Any], kind: str) -> None:
        self.kind = kind
        self.name = document["metadata"]["name"]
        self._namespace = namespace
        kubectl("-n", namespace, "apply", "-f", "-", given=document)
        self.pods = Pods(namespace, self.name)
        self.settle(FEW)

    def scale(self, count: int) -> None:
        """Ask for so many."""
        kubectl("-n", self._namespace, "scale", f"{self.kind}/{self.name}", f"--replicas={count}")

    def settle(self, count: int) -> None:
        """Wait until so many are ready, and nothing else is left of earlier ones."""
        self.pods.wait(lambda ready: len(ready) == count, what=f"{count} ready pods")
        self.pods.wait(lambda _: len(self._all()) == count, what="the others' end")

    def _all(self) -> list[str]:
        selector = f"app={self.name}"
        return kubectl("-n", self._namespace, "get", "pods", "-l", selector, "-o", "name").split()

    def in_ring(self) -> bool:
        """Whether every balancer serves exactly the ready ones; a ReplicaSet has no ring."""
        return True

    def up(self) -> float:
        """Seconds from the change until all are ready."""
        start = time.monotonic()
        self.scale(MANY)
        self.pods.wait(lambda ready: len(ready) == MANY, what=f"{MANY} ready pods")
        return time.monotonic() - start

    def heal(self) -> float:
        """Seconds from the deletion of a pod until its replacement serves."""
        victim = min(self.pods.ready())
        start = time.monotonic()
        kubectl("-n", self._namespace, "delete", "pod", victim, "--wait=false")
        self.pods.wait(
            lambda ready: victim not in ready and len(ready) == FEW, what="the replacement"
        )
        while not self.in_ring():
            time.sleep(0.02)
        return time.monotonic() - start


class ServerSet(Set):
    """One whose ring counts."""

    def in_ring(self) -> bool:
        selector = "app=ringmaster-balancer"
        where = ("-n", self._namespace)
        ready = self.pods.ready()
        for pod in kubectl(*where, "get", "pods", "-l", selector, "-o", "name").split():
            name = pod.removeprefix("pod/")
            path = f"/api/v1/namespaces/{self._namespace}/pods/{name}:5000/proxy/rep"
            held = set(json.loads(kubectl("get", "--raw", path))["message"]["replicas"])
            if held != ready:
                return False
        return True


def replica_set(template: dict[str, Any]) -> dict[str, Any]:
    """The template of the ServerSet in an apps/v1 ReplicaSet."""
    labels = {"app": "peer"}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "peer"},
        "spec": {
            "replicas": FEW,
            "selector": {"matchLabels": labels},
            "template": {**template, "metadata": {"labels": labels}},
        },
    }


@contextlib.contextmanager
def installed() -> Iterator[str]:
    """Ringmaster in a namespace of its own."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    command = [sys.executable, "-B", str(ROOT / "scripts" / "deploy.py")]
    flags = ["--namespace", name, "--node-port", "0"]
    try:
        subprocess.run([*command, "up", *flags], check=True, stdout=subprocess.DEVNULL)
        yield name
    finally:
        subprocess.run([*command, "down", *flags], check=True, stdout=subprocess.DEVNULL)
        kubectl("delete", "namespace", name, "--wait=false")


@dataclass(frozen=True, slots=True)
class Race:
    """Seconds of both, round by round."""

    what: str
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    def add(self, kind: str, seconds: float) -> None:
        """Note a round."""
        (self.ours if kind == "serverset" else self.theirs).append(seconds)

    @property
    def ratios(self) -> list[float]:
        """Ours to theirs."""
        return [a / b for a, b in zip(self.ours, self.theirs, strict=True)]

    @property
    def met(self) -> bool:
        """Whether the middle one is within the bar."""
        return statistics.median(self.ratios) <= BAR

    @property
    def row(self) -> str:
        """Of a table."""
        middle, ratios = statistics.median, self.ratios
        return (
            f"| {self.what} | {middle(self.ours):.2f} s | {middle(self.theirs):.2f} s | "
            f"{middle(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f}) | ≤ {BAR} | "
            f"{'met' if self.met else 'missed'} | {len(ratios)} |"
        )


def page(races: list[Race], version: str) -> str:
    """What was measured, in Markdown."""
    return "\n".join(
        [
            "# Beside a ReplicaSet\n",
            (
                f"Written by `make bench` or `make bench-kubernetes` on {time.strftime('%Y-%m-%d')}. "
                f"The machine: {results.machine()}; on it a Kubernetes {version} of one node. A "
                "ServerSet beside an apps/v1 ReplicaSet of the same template, in alternating rounds "
                "of one run; only ratios of one run mean anything.\n"
            ),
            "| | ServerSet | ReplicaSet | ratio (least–most) | bar | | rounds |",
            "| --- | ---: | ---: | ---: | --- | --- | ---: |",
            *(race.row for race in races),
            "",
        ]
    )


def version() -> str:
    """That of the cluster that answers; empty if none does."""
    try:
        told = json.loads(kubectl("get", "--raw", "/version", "--request-timeout=5s"))
    except (OSError, subprocess.SubprocessError):
        return ""
    return f"{told['major']}.{told['minor']}"


def measure(*, rounds: int, kills: int) -> list[Race]:
    """Both, in alternating rounds."""
    document = yaml.safe_load((ROOT / "manifests" / "serverset.yaml").read_text())
    up = Race(f"{FEW} to {MANY} ready pods")
    heal = Race("a pod deleted to its successor serving")
    with installed() as namespace, contextlib.ExitStack() as stack:
        sets = [
            ServerSet(namespace, document, "serverset"),
            Set(namespace, replica_set(document["spec"]["template"]), "replicaset"),
        ]
        for each in sets:
            stack.callback(each.pods.close)
        for _ in range(kills):
            for each in sets:
                heal.add(each.kind, each.heal())
                each.settle(FEW)
        for _ in range(rounds):
            for each in sets:
                up.add(each.kind, each.up())
                each.scale(FEW)
                each.settle(FEW)
        kubectl("-n", namespace, "delete", "replicaset/peer")
    return [up, heal]


def main() -> int:
    """Everything; 1 if a bar was missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=2, help="of 3 to 30 (2)")
    parser.add_argument("--kills", type=int, default=4, help="deletions (4)")
    parser.add_argument("--if-any", action="store_true", help="no cluster is no failure")
    parser.add_argument("--out", type=Path, help="write a page there")
    options = parser.parse_args()
    found = version()
    if not found:
        print("left out: Kubernetes: no cluster answers kubectl", file=sys.stderr)
        return 0 if options.if_any else 1
    races = measure(rounds=options.rounds, kills=options.kills)
    text = page(races, found)
    print(text)
    if options.out:
        (options.out / "kubernetes.md").write_text(text)
    return 0 if all(race.met for race in races) else 1


if __name__ == "__main__":
    sys.exit(main())
