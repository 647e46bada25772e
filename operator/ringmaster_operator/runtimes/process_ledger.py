"""What the process runtime remembers: one small file a replica, replaced whole.

Law: a record is on disk before its process exists, and until that process is known to be dead. No
fsync: when the machine goes down, so do the processes, and only then could a write be lost.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib import parse

import structlog

from ringmaster_operator import errors, naming, observed, readiness

SUFFIX = ".json"
_NAME_CHARACTERS = 150  # of a file's name, which file systems bound at 255 bytes


@dataclass(frozen=True, slots=True)
class Record:
    """One replica. Times are seconds since 1970.

    `uid` is this instance's, made up before it is started. `pid` and `mark` name the process, both
    None while it is only intended; `log` is the file it writes to (`process_logs.identity`), empty
    in a record of before that was kept. `kill_at` is when grace ends, `grace` the seconds that were
    given, `signalled` whether SIGTERM was sent; `exit` says in words how it ended.
    """

    uid: str
    namespace: str
    owner_uid: str
    name: str
    display_name: str
    member_id: str
    ordinal: int
    attempt: int
    reason: str
    revision: str
    template: dict[str, Any]
    created_at: float
    port: int
    pid: int | None = None
    mark: str | None = None
    log: str = ""
    ready: bool = False
    ready_changed_at: float = 0
    ever_ready: bool = False
    kill_at: float | None = None
    grace: float | None = None
    signalled: bool = False
    exit: str | None = None

    @property
    def key(self) -> str:
        """A file's name, whatever the replica's name is; a namespace has no dot."""
        quoted = parse.quote(self.name, safe="")
        if len(quoted) > _NAME_CHARACTERS:
            quoted = f"{quoted[:_NAME_CHARACTERS]}~{naming.short_hash(self.name, length=10)}"
        return f"{self.namespace}.{quoted}"

    @property
    def readiness(self) -> readiness.Readiness:
        """What was last known of its readiness."""
        since = self.ready_changed_at or self.created_at
        return readiness.Readiness(ready=self.ready, since=since, proven=self.ever_ready)

    def replica(self, *, unready: str = "") -> observed.Replica:
        """As the planner sees it; `unready` says why it is not ready, if that is known."""
        alive = self.exit is None
        ready = alive and self.ready
        return observed.Replica(
            name=self.name,
            uid=self.uid,
            owner_uid=self.owner_uid,
            member_id=self.member_id,
            ordinal=self.ordinal,
            attempt=self.attempt,
            reason=observed.Reason(self.reason),
            revision=self.revision,
            display_name=self.display_name,
            phase=self._phase(),
            created_at=self.created_at,
            ready=ready,
            ready_since=self.readiness.since if ready else None,
            unready_since=None if ready else self.readiness.since,
            address=f"127.0.0.1:{self.port}",
            message=unready if alive else self.exit or "",
        )

    def _phase(self) -> observed.Phase:
        if self.kill_at is not None:
            return observed.Phase.TERMINATING
        if self.exit is not None:
            return observed.Phase.FAILED
        return observed.Phase.STARTING if self.pid is None else observed.Phase.RUNNING


class Ledger:
    """Every record, in memory and on disk alike. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._log = structlog.get_logger()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._records = {record.uid: record for record in self._load()}

    def all(self) -> list[Record]:
        """Every record, oldest first."""
        with self._lock:
            return sorted(self._records.values(), key=lambda record: record.created_at)

    def get(self, uid: str) -> Record | None:
        """The record of an instance, None if it is gone."""
        with self._lock:
            return self._records.get(uid)

    def uses(self, port: int) -> bool:
        """Whether a replica was given this port."""
        with self._lock:
            return any(record.port == port for record in self._records.values())

    def claim(self, record: Record) -> None:
        """Add a record whose name is not taken.

        Raises:
            AlreadyExistsError: it is.
            RetryLater: the state folder cannot be written.
        """
        with self._lock:
            if any(other.key == record.key for other in self._records.values()):
                raise errors.AlreadyExistsError(f"replica {record.name} exists")
            self._write(record)
            self._records[record.uid] = record

    def change(self, uid: str, **changes: Any) -> Record | None:
        """Change a record; the new one, or None if there is none any more.

        Raises:
            RetryLater: the state folder cannot be written; memory has the change nevertheless.
        """
        with self._lock:
            before = self._records.get(uid)
            if before is None:
                return None
            record = dataclasses.replace(before, **changes)
            self._records[uid] = record
            self._write(record)
            return record

    def drop(self, uid: str) -> Record | None:
        """Forget an instance; what was known of it."""
        with self._lock:
            record = self._records.pop(uid, None)
            if record is not None:
                with contextlib.suppress(OSError):
                    self._path(record).unlink(missing_ok=True)
            return record

    def _path(self, record: Record) -> Path:
        return self._folder / f"{record.key}{SUFFIX}"

    def _write(self, record: Record) -> None:
        path = self._path(record)
        temporary = path.with_suffix(".tmp")
        try:
            temporary.write_text(json.dumps(dataclasses.asdict(record)))
            temporary.replace(path)
        except OSError as error:
            raise errors.RetryLater(f"cannot write {path}: {error.strerror}") from error

    def _load(self) -> Iterator[Record]:
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            try:
                yield Record(**json.loads(path.read_text()))
            except (OSError, ValueError, TypeError) as error:
                # Its process, if there is one, carries our mark without a record: it is ended.
                self._log.warning("record unreadable", path=str(path), error=str(error))
                path.rename(path.with_suffix(".broken"))
