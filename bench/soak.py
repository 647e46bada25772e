"""Load for minutes while members come and go, and servers and workers are killed: `make soak`.

`ringmaster up` with two workers and five replicas; 32 connections send keyed GETs throughout. Every
few seconds, on a schedule from a seed, a server or a worker is killed with SIGKILL, or the number of
replicas changes. A client sends a GET again when its connection broke before a byte of the response
(RFC 9110 §9.2.2 lets it, and browsers do): a killed worker takes its connections along. Anything else
is a failed request. At the end: none failed, and the memory of every process that lives through it is
flat (median of the last third within 10 % of the first third's), or exit 1.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import loadgen
import psutil
import requests
import stack as stacks
import yaml

REPLICAS = 5
WORKERS = 2
CONNECTIONS = 32
SLICE = 20_000  # requests; the load runs in slices, each with connections of its own
FLAT = 1.10
EVERY = (2.0, 5.0)  # s between two events
MINIMUM = 3  # replicas that serve; nobody is killed below that
SETTLE = 0.15  # of the time, before memory is looked at: caches fill


class Chaos(threading.Thread):
    """What happens to the stack, until `over`."""

    def __init__(self, stack: stacks.Stack, seed: int) -> None:
        super().__init__()
        self.over = threading.Event()
        self.events: Counter[str] = Counter()
        self._stack = stack
        self._rng = random.Random(seed)

    def run(self) -> None:
        while not self.over.wait(self._rng.uniform(*EVERY)):
            event = self._rng.choice([self.kill_server, self.kill_worker, self.scale])
            with contextlib.suppress(requests.RequestException, LookupError, OSError, psutil.Error):
                event()
                self.events[event.__name__] += 1

    def kill_server(self) -> None:
        active = self._stack.active()
        if len(active) <= MINIMUM:
            raise LookupError("too few serve")
        victim = active[self._rng.choice(sorted(active))]
        os.kill(self._stack.pid_of(victim), signal.SIGKILL)

    def kill_worker(self) -> None:
        """Never the oldest: its memory is watched from the beginning to the end."""
        os.kill(self._rng.choice(self._workers()[1:]), signal.SIGKILL)

    def _workers(self) -> list[int]:
        """Oldest first."""
        found = []
        for process in psutil.Process(self._stack.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if _role(process) == "worker":
                    found.append((process.create_time(), process.pid))
        return [pid for _, pid in sorted(found)]

    def scale(self) -> None:
        count = self._rng.randint(MINIMUM + 1, REPLICAS + 2)
        requests.patch(
            f"{self._stack.api}{stacks.SETS}/web",
            json={"spec": {"replicas": count}},
            headers={"Content-Type": "application/merge-patch+json"},
            timeout=10,
        ).raise_for_status()


def _role(process: psutil.Process) -> str:
    words = " ".join(process.cmdline())
    for name, mark in ROLES.items():
        if mark in words:
            return name
    return ""


ROLES = {
    "worker": "dataplane.worker",
    "control": "control.process",
    "supervisor": "-m ringmaster_balancer ",
    "operator": "-m ringmaster_operator ",
    "server": "ringmaster-server",
}


class Memory(threading.Thread):
    """Resident memory of each process once a second, by (role, pid)."""

    def __init__(self, stack: stacks.Stack) -> None:
        super().__init__()
        self.over = threading.Event()
        self.seen: dict[tuple[str, int], list[tuple[float, int]]] = {}
        self._stack = stack

    def run(self) -> None:
        while not self.over.wait(1):
            with contextlib.suppress(psutil.Error):
                top = psutil.Process(self._stack.process.pid)
                for process in [top, *top.children(recursive=True)]:
                    self._look(process)

    def _look(self, process: psutil.Process) -> None:
        with contextlib.suppress(psutil.Error):
            role = "up" if process.pid == self._stack.process.pid else _role(process)
            if role:
                point = time.monotonic(), process.memory_info().rss
                self.seen.setdefault((role, process.pid), []).append(point)

    def ratios(self, begin: float, end: float) -> dict[str, tuple[float, float, float]]:
        """MB in the first and the last third, and their ratio; those that died as one by role."""
        begin += (end - begin) * SETTLE
        roles: dict[str, list[tuple[float, int]]] = {}
        for (role, pid), points in self.seen.items():
            lived = points[0][0] <= begin and points[-1][0] >= end - 5
            roles.setdefault(f"{role} {pid}" if lived else f"{role}s", []).extend(points)
        third = (end - begin) / 3
        found = {}
        for role, points in sorted(roles.items()):
            first = [rss for at, rss in points if begin <= at < begin + third]
            last = [rss for at, rss in points if at >= end - third]
            if first and last:
                before, after = statistics.median(first) / 1e6, statistics.median(last) / 1e6
                found[role] = before, after, after / before
        return found


def soak(folder: Path, *, seconds: float, seed: int) -> bool:
    """Run it; whether it held."""
    spec = yaml.safe_load(stacks.SPEC.read_text())
    spec["spec"]["replicas"] = REPLICAS
    path = folder / "serverset.yaml"
    path.write_text(yaml.safe_dump(spec))
    requested = retried = 0
    failures: list[str] = []
    flags = ("--workers", str(WORKERS))
    with stacks.running(folder, spec=path, flags=flags, replicas=REPLICAS) as stack:
        chaos, memory = Chaos(stack, seed), Memory(stack)
        begin = time.monotonic()
        chaos.start()
        memory.start()
        try:
            while time.monotonic() < begin + seconds:
                outcome = loadgen.run(
                    stack.port, requests=SLICE, connections=CONNECTIONS, as_browsers=True
                )
                requested += len(outcome.answers) + len(outcome.failures)
                retried += outcome.retried
                failures += outcome.failures
                print(
                    f"{time.monotonic() - begin:6.0f} s  {requested:>9,} requests  {len(failures)} failed  "
                    f"{retried} sent again  {dict(chaos.events)}",
                    flush=True,
                )
        finally:
            end = time.monotonic()
            for thread in (chaos, memory):
                thread.over.set()
                thread.join()
        flat = report(memory.ratios(begin, end))
    for failure in failures[:20]:
        print("  failed:", failure)
    print(f"{requested:,} requests, {len(failures)} failed, {retried} sent again")
    print(", ".join(f"{count} × {name}" for name, count in sorted(chaos.events.items())))
    return flat and not failures


def report(ratios: dict[str, tuple[float, float, float]]) -> bool:
    """Print it; whether all are flat."""
    for role, (before, after, ratio) in ratios.items():
        print(
            f"  {role:18} {before:6.1f} MB in the first third, {after:6.1f} in the last: {ratio:.3f}"
        )
    return bool(ratios) and all(ratio <= FLAT for _, _, ratio in ratios.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ringmaster-soak-") as folder:
        held = soak(Path(folder), seconds=arguments.seconds, seed=arguments.seed)
    print("held" if held else "DID NOT HOLD")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
