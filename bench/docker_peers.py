"""`make bench-docker`: containers by Ringmaster beside `docker compose` and a Swarm service.

All on one engine, with one image, in turns; only the ratios of one run mean anything. Ready means
to answer `/heartbeat`, for Ringmaster more than that: to be in the balancer's ring. Containers,
networks and the swarm that this makes are gone when it ends.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import peers
import recovery
import requests
import results
import yaml

FEW = 3
POLL = 0.05
SWARM_BRIDGE = "docker_gwbridge"


class Contestant(Protocol):
    """Something that keeps containers of one image."""

    name: str

    def scale(self, count: int) -> None:
        """Ask for so many; returns at once, or when they are made."""
        ...

    def ready(self) -> set[str]:
        """Those that serve, by whatever tells them apart."""
        ...


class Engine(http.client.HTTPConnection):
    """The Docker Engine's API on its socket."""

    def __init__(self) -> None:
        super().__init__("localhost", timeout=60)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect("/var/run/docker.sock")

    def get(self, path: str) -> Any:
        """The document at a path."""
        self.request("GET", path)
        return json.loads(self.getresponse().read())

    def running(self, label: str) -> dict[str, dict[str, Any]]:
        """Running containers with a label, by id."""
        filters = urllib.parse.quote(json.dumps({"label": [label], "status": ["running"]}))
        return {each["Id"]: each for each in self.get(f"/containers/json?filters={filters}")}

    def addresses(self, label: str) -> set[str]:
        """Where running containers with a label are reached."""
        networks = [c["NetworkSettings"]["Networks"] for c in self.running(label).values()]
        return {each["IPAddress"] for found in networks for each in found.values()} - {""}

    def bridged(self) -> set[str]:
        """Where a swarm's tasks are reached from the host: overlay networks lead nowhere there."""
        found = self.get(f"/networks/{SWARM_BRIDGE}")["Containers"].values()
        return {
            each["IPv4Address"].partition("/")[0] for each in found if "ingress" not in each["Name"]
        }


class Answering:
    """Which of the addresses answer; one that did is not asked again."""

    def __init__(self, addresses: Callable[[], set[str]]) -> None:
        self._addresses = addresses
        self._known: set[str] = set()

    def look(self) -> set[str]:
        there = self._addresses()
        self._known &= there
        self._known |= {address for address in there - self._known if _answers(address)}
        return set(self._known)


def _answers(address: str) -> bool:
    connection = http.client.HTTPConnection(address, 5000, timeout=0.3)
    try:
        connection.request("GET", "/heartbeat")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def docker(*words: str, check: bool = True) -> str:
    """`docker …`; its output."""
    done = subprocess.run(["docker", *words], check=False, capture_output=True, text=True)
    if check and done.returncode:
        raise SystemExit(f"docker {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


class Ringmaster:
    """Operator and balancer as processes; replicas are containers."""

    name = "ringmaster"

    def __init__(self, api: str, ring: recovery.View) -> None:
        self._set = f"{api}/apis/ringmaster.dev/v1alpha1/namespaces/default/serversets/web"
        self._ring = ring

    def scale(self, count: int) -> None:
        requests.patch(
            self._set,
            data=json.dumps({"spec": {"replicas": count}}),
            headers={"Content-Type": "application/merge-patch+json"},
            timeout=10,
        ).raise_for_status()

    def ready(self) -> set[str]:
        return {member["replica"] for member in self._ring.active().values()}


class Compose:
    """`docker compose up --scale`."""

    name = "compose up --scale"

    def __init__(self, file: Path, project: str) -> None:
        self._command = ["docker", "compose", "-f", str(file), "-p", project]
        engine = Engine()
        self._answering = Answering(
            lambda: engine.addresses(f"com.docker.compose.project={project}")
        )

    def scale(self, count: int) -> None:
        words = ["up", "--detach", "--no-recreate", "--scale", f"server={count}"]
        subprocess.run([*self._command, *words], check=True, capture_output=True)

    def ready(self) -> set[str]:
        return self._answering.look()

    def down(self) -> None:
        subprocess.run([*self._command, "down", "-t", "0"], check=True, capture_output=True)


class Swarm:
    """A Swarm service with its load balancer (on an overlay network); restarts without delay."""

    name = "swarm service scale"

    def __init__(self, service: str) -> None:
        self._service = service
        self._engine, self._label = Engine(), f"com.docker.swarm.service.name={service}"
        self._answering = Answering(self._engine.bridged)

    def scale(self, count: int) -> None:
        docker("service", "scale", "--detach", f"{self._service}={count}")

    def ready(self) -> set[str]:
        return self._answering.look()

    def running(self) -> set[str]:
        return set(self._engine.running(self._label))


@contextlib.contextmanager
def ringmaster(folder: Path, image: str) -> Iterator[Ringmaster]:
    """Operator, balancer, network, and the example ServerSet."""
    network = f"bench-{uuid.uuid4().hex[:8]}"
    spec = yaml.safe_load(Path("manifests/serverset.yaml").read_text())
    spec["spec"]["template"]["spec"]["containers"][0]["image"] = image
    path, token = folder / "serverset.yaml", folder / "token"
    path.write_text(yaml.safe_dump(spec))
    token.write_text("bench\n")
    port, control, api = (peers.free_port() for _ in range(3))
    balancer = [sys.executable, "-m", "ringmaster_balancer", "--ring", "default/web"]
    balancer += ["--host", "127.0.0.1", "--port", str(port), "--control-port", str(control)]
    balancer += ["--token-file", str(token), "--state-dir", str(folder / "balancer")]
    operator = [sys.executable, "-m", "ringmaster_operator", "--runtime", "docker"]
    operator += ["--docker-network", network, "--state-dir", str(folder / "state")]
    operator += ["--api-port", str(api), "--token-file", str(token), "-f", str(path)]
    operator += ["--balancer-url", f"http://127.0.0.1:{control}"]
    docker("network", "create", network)
    try:
        with (
            peers.child(balancer, log=folder / "balancer.log"),
            peers.child(operator, log=folder / "operator.log"),
        ):
            ring = recovery.View(f"http://127.0.0.1:{control}/v1/rings/default/web", token)
            yield Ringmaster(f"http://127.0.0.1:{api}", ring)
    finally:
        remove(f"network={network}")
        docker("network", "rm", network)


@contextlib.contextmanager
def compose(folder: Path, image: str) -> Iterator[Compose]:
    """A project with one service."""
    file = folder / "compose.yaml"
    file.write_text(yaml.safe_dump({"services": {"server": {"image": image}}}))
    made = Compose(file, f"bench-{uuid.uuid4().hex[:8]}")
    try:
        made.scale(FEW)
        yield made
    finally:
        made.down()


@contextlib.contextmanager
def swarm(_folder: Path, image: str) -> Iterator[Swarm]:
    """A service, in a swarm of one that is made for it unless there is one."""
    service = f"bench-{uuid.uuid4().hex[:8]}"
    ours = docker("info", "--format", "{{.Swarm.LocalNodeState}}") == "inactive"
    bridged = SWARM_BRIDGE in docker("network", "ls", "--format", "{{.Name}}").split()
    if ours:
        docker("swarm", "init", "--advertise-addr", "127.0.0.1")
    try:
        docker("network", "create", "--driver", "overlay", service)
        # With the image's health check a task would count as running after its first interval.
        docker("service", "create", "--quiet", "--detach", "--name", service, "--no-resolve-image",
               "--no-healthcheck", "--restart-delay", "0s", "--network", service,
               "--replicas", str(FEW), image)  # fmt: skip
        yield Swarm(service)
    finally:
        docker("service", "rm", service, check=False)
        label = f"label=com.docker.swarm.service.name={service}"
        with contextlib.suppress(TimeoutError):
            peers.wait_for(
                lambda: not docker("ps", "-aq", "--filter", label), what="the end", seconds=60
            )
        remove(label)
        docker("network", "rm", service, check=False)
        if ours:
            docker("swarm", "leave", "--force")
            if not bridged:
                docker("network", "rm", SWARM_BRIDGE, check=False)


def remove(selection: str) -> None:
    """Remove containers by force."""
    if found := docker("ps", "--all", "--quiet", "--filter", selection).split():
        docker("rm", "--force", "--volumes", *found)


def until(done: Callable[[], bool], *, what: str, seconds: float = 180) -> float:
    """Seconds until `done`."""
    start = time.monotonic()
    while not done():
        if time.monotonic() - start > seconds:
            raise TimeoutError(what)
        time.sleep(POLL)
    return time.monotonic() - start


def scaled(contestant: Contestant, count: int) -> float:
    """Seconds from asking for `count` until all of them serve."""
    start = time.monotonic()
    contestant.scale(count)
    until(lambda: len(_seen(contestant.ready)) >= count, what=f"{contestant.name}: {count} ready")
    return time.monotonic() - start


def replaced(contestant: Ringmaster | Swarm, victim: str) -> float:
    """Seconds from a kill until there are as many again without the victim.

    Ringmaster's successor is in the ring by then, Swarm's runs.
    """
    look = contestant.running if isinstance(contestant, Swarm) else contestant.ready
    count = len(look())
    docker("kill", victim)

    def back() -> bool:
        now = _seen(look)
        return len(now) == count and victim not in now

    return until(back, what=f"{contestant.name}: a replacement", seconds=60)


def _seen(look: Callable[[], set[str]]) -> set[str]:
    try:
        return look()
    except (OSError, KeyError, requests.RequestException, http.client.HTTPException):
        return set()  # not up yet


def one_round(options: argparse.Namespace, found: dict[str, dict[str, list[float]]]) -> None:
    """Each in turn: three that serve, some kills, then many."""
    for start in (ringmaster, compose, swarm):
        with (
            tempfile.TemporaryDirectory(prefix="bench-docker-") as name,
            start(Path(name), options.image) as contestant,
        ):
            times = found.setdefault(contestant.name, {"scale": [], "kill": []})
            _settle(contestant)
            if isinstance(contestant, Ringmaster | Swarm):
                victims = (
                    contestant.running() if isinstance(contestant, Swarm) else contestant.ready()
                )
                for victim in sorted(victims)[: options.kills]:
                    times["kill"].append(replaced(contestant, victim))
                    _settle(contestant)
            times["scale"].append(scaled(contestant, options.count))


def _settle(contestant: Contestant) -> None:
    until(lambda: len(_seen(contestant.ready)) == FEW, what=f"three of {contestant.name}")


@dataclass(frozen=True)
class Row:
    """One contestant's seconds, and its median as a multiple of the base's."""

    name: str
    median: float
    best: float
    worst: float
    ratio: float
    tries: int


@dataclass(frozen=True)
class Table:
    """What was measured, of everybody."""

    title: str
    base: str
    rows: list[Row]


def table(title: str, found: dict[str, list[float]], *, base: str) -> Table:
    """Medians, extremes, and the ratio to `base`."""
    rows = [
        Row(
            name=name,
            median=statistics.median(times),
            best=min(times),
            worst=max(times),
            ratio=statistics.median(times) / statistics.median(found[base]),
            tries=len(times),
        )
        for name, times in found.items()
        if times
    ]
    return Table(title, base, rows)


def text(made: Table) -> str:
    """For the terminal."""
    head = f"  {'':22} {'median s':>9} {'best':>7} {'worst':>7} {'× ' + made.base:>22}"
    rows = [
        f"  {row.name:22} {row.median:9.2f} {row.best:7.2f} {row.worst:7.2f} {row.ratio:22.2f}"
        for row in made.rows
    ]
    return "\n".join([f"\n{made.title}", head, *rows])


def page(tables: list[Table], *, busy: str) -> str:
    """As Markdown."""
    version = docker("version", "--format", "{{.Server.Version}}")
    intro = (
        f"Written by `make bench-docker` on {time.strftime('%Y-%m-%d')}. The machine: "
        f"{results.machine()}, Docker Engine {version}; its load average went from {busy}. All "
        "on one engine, with one image, in turns. Only the ratios of one run mean anything."
    )
    lines = ["# On a Docker Engine", "", intro]
    for made in tables:
        lines += [
            "",
            f"## {made.title}",
            "",
            f"| | tries | median s | best | worst | × {made.base} |",
        ]
        lines.append("| --- | ---: | ---: | ---: | ---: | ---: |")
        lines += [
            f"| {row.name} | {row.tries} | {row.median:.2f} | {row.best:.2f} | {row.worst:.2f} | "
            f"{row.ratio:.2f} |"
            for row in made.rows
        ]
    return "\n".join([*lines, ""])


def main() -> None:
    """Rounds, then two tables, and the page if it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--count", type=int, default=30, help="scale from 3 to so many (30)")
    parser.add_argument("--kills", type=int, default=3, help="per round, at most 3")
    parser.add_argument("--image", default="ringmaster/server:0.1.0")
    parser.add_argument("--out", type=Path, help="write a page, docker.md, there")
    options = parser.parse_args()
    if shutil.which("docker") is None or not docker("images", "--quiet", options.image):
        raise SystemExit(f"a Docker Engine with the image {options.image} is needed: make images")
    found: dict[str, dict[str, list[float]]] = {}
    loads = [os.getloadavg()[0]]
    for _ in range(options.rounds):
        one_round(options, found)
        loads.append(os.getloadavg()[0])
    tables = [
        table(f"{FEW} → {options.count} containers, until all serve (ringmaster: in the ring)",
              {name: times["scale"] for name, times in found.items()}, base=Compose.name),
        table("kill → replaced (ringmaster: in the ring; swarm: running)",
              {name: times["kill"] for name, times in found.items()}, base=Swarm.name),
    ]  # fmt: skip
    print(*map(text, tables), sep="\n")
    if options.out:
        busy = f"{min(loads):.1f} to {max(loads):.1f}"
        (options.out / "docker.md").write_text(page(tables, busy=busy), encoding="utf-8")


if __name__ == "__main__":
    main()
