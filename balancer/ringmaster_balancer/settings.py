"""Everything that is decided when the balancer starts, read once, handed on to its processes.

Law: pure values; a process gets its own as one JSON argument, sockets as inherited descriptors.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

WORKERS_SOCKET, LAB_SOCKET = "workers.sock", "lab.sock"
ALIVE = "alive"  # what `ready_fd` takes every second, from the control process


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says; `ringmaster-balancer --help` explains each."""

    namespace: str
    name: str
    host: str
    port: int
    control_host: str
    control_port: int
    workers: int
    token_file: str
    state_dir: str
    lab_api: bool
    operator_url: str | None
    operator_token_file: str | None
    drain_seconds: float
    upgrade_seconds: float = 30.0
    access_log: str = "-"  # standard output
    tls_cert: str | None = None
    tls_key: str | None = None
    control_tls_cert: str | None = None
    control_tls_key: str | None = None
    hash_path: str | None = None
    hash_module: tuple[str, ...] = ()

    @property
    def hash_cache(self) -> Path:
        """What trials of hash functions have found, and the one that serves."""
        return Path(self.state_dir) / f"{self.namespace}.{self.name}.hashes"

    @property
    def state_file(self) -> Path:
        """The last good membership; a namespace has no dot, so no two rings share a file."""
        return Path(self.state_dir) / f"{self.namespace}.{self.name}.json"


@dataclass(frozen=True, slots=True)
class Child:
    """What the control process or a worker gets. `*_fd` are descriptors that it inherits.

    `lifeline_fd` reads end of file when the supervisor is gone; `run_dir` holds `workers.sock` and
    `lab.sock`, on which the control process listens. `ready_fd` takes a process' name once it
    serves. `more_fds`: sockets of workers that there were once, whose queues must not be lost.
    """

    settings: Settings
    run_dir: str
    lifeline_fd: int
    data_fd: int = -1
    control_fd: int = -1
    workers_fd: int = -1
    lab_fd: int = -1
    ready_fd: int = -1
    more_fds: tuple[int, ...] = ()
    index: int = 0

    @property
    def workers_path(self) -> str:
        """Where workers find the control process."""
        return str(Path(self.run_dir) / WORKERS_SOCKET)

    @property
    def lab_path(self) -> str:
        """Where the data plane hands over `/rep`, `/add` and `/rm`."""
        return str(Path(self.run_dir) / LAB_SOCKET)

    def paths(self) -> tuple[str, ...]:
        """Where others find the control process."""
        return self.workers_path, self.lab_path

    def descriptors(self) -> tuple[int, ...]:
        """Those that the process inherits."""
        every = (
            self.lifeline_fd,
            self.data_fd,
            self.control_fd,
            self.workers_fd,
            self.lab_fd,
            self.ready_fd,
            *self.more_fds,
        )
        return tuple(fd for fd in every if fd >= 0)

    def say_ready(self, name: str) -> None:
        """Tell the supervisor that `name` serves; one that was replaced meanwhile knows."""
        self._say(name)

    def say_alive(self) -> None:
        """Tell the supervisor that the control process' event loop turns."""
        self._say(ALIVE)

    def _say(self, word: str) -> None:
        if self.ready_fd >= 0:
            with contextlib.suppress(OSError):
                os.write(self.ready_fd, f"{word}\n".encode())

    def to_json(self) -> str:
        """For the command line."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        chosen = fields["settings"]
        chosen["hash_module"] = tuple(chosen["hash_module"])
        more = tuple(fields["more_fds"])
        return cls(**{**fields, "more_fds": more, "settings": Settings(**chosen)})
