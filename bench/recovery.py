"""How long a killed replica stays in the ring, and how long until its place is filled again.

Runs the whole of Ringmaster on the process runtime in a folder of its own, kills replicas with
SIGKILL one after another and reads the balancer's own view of the ring every few milliseconds.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peers
import psutil
import requests
import yaml


@dataclass(frozen=True, slots=True)
class Recovery:
    """Seconds from the kill."""

    out_of_ring: float
    replaced: float


def measure(folder: Path, *, rounds: int) -> list[Recovery]:
    """Start everything, kill `rounds` replicas one by one, stop everything."""
    # As many replicas as kills: the second failure of the same place waits on purpose (backoff).
    spec = yaml.safe_load(Path("manifests/serverset.yaml").read_text())
    spec["spec"]["replicas"] = rounds
    path = folder / "serverset.yaml"
    path.write_text(yaml.safe_dump(spec))
    state = folder / "up-state"
    ports = [peers.free_port() for _ in range(3)]
    command = [sys.executable, "-m", "ringmaster_operator.cli", "up"]
    command += ["-f", str(path), "--state-dir", str(state)]
    command += ["--port", str(ports[0]), "--control-port", str(ports[1])]
    command += ["--api-port", str(ports[2])]
    with peers.child(command, log=folder / "up.log"):
        view = View(f"http://127.0.0.1:{ports[1]}/v1/rings/default/web", state / "token")
        peers.wait_for(lambda: len(view.active()) == rounds, what="the start", seconds=60)
        return [one(view, victim=f"web-{number}") for number in range(rounds)]


class View:
    """The balancer's own account of its ring."""

    def __init__(self, url: str, token: Path) -> None:
        self.url, self.token = url, token
        self.session = requests.Session()

    def active(self) -> dict[str, dict[str, Any]]:
        """Active and healthy members by id."""
        headers = {"Authorization": f"Bearer {self.token.read_text().strip()}"}
        members = self.session.get(self.url, headers=headers, timeout=2).json()["members"]
        return {m["id"]: m for m in members if m["state"] == "active" and m["healthy"]}


def one(view: View, *, victim: str) -> Recovery:
    """Kill the replica of a place and watch."""
    before = view.active()
    entry = before[victim]
    pid = listener(int(entry["address"].rpartition(":")[2]))
    os.kill(pid, signal.SIGKILL)
    start = time.monotonic()
    peers.wait_for(
        lambda: view.active().get(victim, {}).get("replica") != entry["replica"],
        what="the exit from the ring",
    )
    out = time.monotonic() - start
    peers.wait_for(lambda: len(view.active()) == len(before), what="the replacement", seconds=30)
    return Recovery(out_of_ring=out, replaced=time.monotonic() - start)


def listener(port: int) -> int:
    """The process that listens on a loopback port."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1] == port:
            assert connection.pid
            return connection.pid
    raise LookupError(f"nobody listens on {port}")


def report(found: list[Recovery]) -> str:
    """Two lines with medians and worst cases."""
    out = [r.out_of_ring for r in found]
    back = [r.replaced for r in found]
    return (
        f"kill -9 to out of the ring:     median {statistics.median(out):.3f} s, "
        f"worst {max(out):.3f} s of {len(found)} (bar: 0.3 s)\n"
        f"kill -9 to replaced in the ring: median {statistics.median(back):.3f} s, "
        f"worst {max(back):.3f} s of {len(found)} (bar: 2 s)"
    )
