"""The state folder: where everything of one local Ringmaster is kept, and who may act on it.

Law: all of a Ringmaster that runs without a cluster is in this one folder; whoever acts on its
replicas holds the lock `operator`, whoever supervises holds `up`. Locks are flock's: the kernel
frees them when their holder dies. The folder and its files are their owner's alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringmaster_operator import errors

AUTHORITY = "ca.crt"  # in the folder of the API's certificate
_TOKEN = re.compile(rb"[!-~]+")  # what a header takes: a line of it cannot be sent, nor a blank


def default(environment: Mapping[str, str]) -> Path:
    """Where the state is kept unless the user says otherwise."""
    if own := environment.get("RINGMASTER_STATE_DIR"):
        return Path(own)
    if base := environment.get("XDG_STATE_HOME"):
        return Path(base) / "ringmaster"
    return Path.home() / ".local" / "state" / "ringmaster"


@dataclass(frozen=True, slots=True)
class StateDir:
    """One state folder; nothing is touched before `prepare`."""

    root: Path

    @property
    def database(self) -> Path:
        """The operator's SQLite file."""
        return self.root / "ringmaster.db"

    @property
    def token_file(self) -> Path:
        """The bearer token that operator, balancer and CLI share."""
        return self.root / "token"

    @property
    def applied_file(self) -> Path:
        """Hashes of what spec files said when they were applied last."""
        return self.root / "applied.json"

    @property
    def ring_file(self) -> Path:
        """Which ring the balancer of `up` served last."""
        return self.root / "ring.json"

    @property
    def balancer(self) -> Path:
        """The balancer's own folder."""
        return self.root / "balancer"

    @property
    def runtime(self) -> Path:
        """The process runtime's own folder."""
        return self.root / "process"

    @property
    def docker(self) -> Path:
        """The Docker runtime's own folder."""
        return self.root / "docker"

    @property
    def runtime_file(self) -> Path:
        """Which runtime the replicas live in."""
        return self.root / "runtime.json"

    @property
    def tls(self) -> Path:
        """The API's certificate and its authority, if it is served beyond loopback."""
        return self.root / "tls"

    @property
    def authority_file(self) -> Path:
        """The certificate of that authority, for clients on this machine."""
        return self.tls / AUTHORITY

    @property
    def api_file(self) -> Path:
        """How to reach the API of the operator that acts here, if it says so."""
        return self.root / "run" / "api.json"

    def log_file(self, name: str) -> Path:
        """The output of a child of `up`."""
        return self.root / "logs" / f"{name}.log"

    def run_file(self, name: str) -> Path:
        """The record of a running process."""
        return self.root / "run" / f"{name}.json"

    def prepare(self) -> None:
        """Make the folder.

        Raises:
            UsageError: it cannot be made or written; one line.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in ("logs", "run"):
                (self.root / folder).mkdir(mode=0o700, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise errors.UsageError(
                f"the state folder {self.root} cannot be written ({error.strerror}); "
                "choose another with --state-dir or RINGMASTER_STATE_DIR"
            ) from error

    def token(self) -> str:
        """The token, made on first use; readable by its owner only."""
        with contextlib.suppress(FileNotFoundError):
            return read_token(self.token_file)
        make_token(self.token_file)
        return read_token(self.token_file)

    @contextlib.contextmanager
    def lock(self, name: str, *, busy: str) -> Iterator[None]:
        """Hold the lock `name` for the block.

        Raises:
            UsageError: somebody else holds it; `busy` is the line that says so.
        """
        # Not inherited: a replica or child that outlives us must not keep the lock.
        descriptor = os.open(
            self.root / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise errors.UsageError(busy) from error
            yield
        finally:
            os.close(descriptor)

    def purge(self) -> None:
        """Delete what Ringmaster keeps here, by its names; the user's own files stay."""
        folders = (self.balancer, self.runtime, self.docker, self.tls)
        for path in (self.root / "logs", self.root / "run", *folders):
            shutil.rmtree(path, ignore_errors=True)
        files = [
            self.token_file,
            self.applied_file,
            self.ring_file,
            self.runtime_file,
            *self.root.glob("ringmaster.db*"),
        ]
        for path in [*files, *self.root.glob("*.lock")]:
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.root.rmdir()


def read_token(path: Path) -> str:
    """The token in a file.

    Raises:
        FileNotFoundError: there is no such file.
        UsageError: it cannot be read, is empty or holds something else.
    """
    try:
        token = path.read_bytes().strip()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise errors.UsageError(f"the token file {path} cannot be read: {error}") from error
    if not token:
        raise errors.UsageError(f"the token file {path} is empty")
    if not _TOKEN.fullmatch(token):
        raise errors.UsageError(f"the token file {path} holds more than a token")
    return token.decode("ascii")


def make_token(path: Path, *, mode: int = 0o600) -> None:
    """Make a token unless there is one.

    Raises:
        UsageError: the file cannot be written; one line.
    """
    if path.exists():
        return
    try:
        write_atomically(path, secrets.token_urlsafe(32) + "\n", once=True, mode=mode)
    except OSError as error:
        raise errors.UsageError(
            f"the token file {path} cannot be written: {error.strerror}"
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """A small JSON object; a missing or damaged one is empty, since all of them can be made anew."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write_atomically(path: Path, text: str, *, once: bool = False, mode: int = 0o600) -> None:
    """Write a file so that no reader and no crash ever meets half of it.

    `once`: an existing file stays as it is.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), mode)
        if once:
            with contextlib.suppress(FileExistsError):
                os.link(name, path)
        else:
            Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
