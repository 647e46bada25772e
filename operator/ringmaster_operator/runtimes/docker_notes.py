"""What the Docker runtime knows of a container and its labels cannot say: one small file each.

Law: labels are fixed when a container is made; this is what changes. A lost note costs a new
judgement of readiness or a termination that the planner repeats, nothing else; so no fsync, and
what cannot be written is kept in memory only.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from ringmaster_operator import readiness

_SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class Note:
    """Times are seconds since 1970.

    `started_at` is the start (of several, maybe) that the readiness belongs to; `kill_at` is when
    the grace of a termination ends, `grace` the seconds that were given, `signalled` whether the
    signal that asks for it was sent.
    """

    owner_uid: str
    started_at: float = 0
    ready: bool = False
    ready_changed_at: float = 0
    ever_ready: bool = False
    kill_at: float | None = None
    grace: float | None = None
    signalled: bool = False

    @property
    def readiness(self) -> readiness.Readiness:
        """What was last known of its readiness."""
        return readiness.Readiness(
            ready=self.ready,
            since=self.ready_changed_at or self.started_at,
            proven=self.ever_ready,
        )


class Notes:
    """Every note by container id, in memory and on disk. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        """Read the notes of an earlier operator.

        Raises:
            OSError: the folder cannot be made.
        """
        self._folder = folder
        self._lock = threading.Lock()
        self._log = structlog.get_logger()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._notes = dict(self._load())

    def get(self, uid: str) -> Note | None:
        """The note of a container."""
        with self._lock:
            return self._notes.get(uid)

    def change(self, uid: str, owner_uid: str, **changes: Any) -> Note:
        """Change or begin a note; the new one."""
        with self._lock:
            before = self._notes.get(uid) or Note(owner_uid=owner_uid)
            note = self._notes[uid] = dataclasses.replace(before, **changes)
            if note != before:
                self._write(uid, note)
            return note

    def of(self, owner_uid: str) -> frozenset[str]:
        """The ids of an owner's containers that there are notes of."""
        with self._lock:
            return frozenset(
                uid for uid, note in self._notes.items() if note.owner_uid == owner_uid
            )

    def owners(self) -> frozenset[str]:
        """Whose containers there are notes of."""
        with self._lock:
            return frozenset(note.owner_uid for note in self._notes.values())

    def drop(self, uids: Collection[str]) -> None:
        """Drop the notes of containers that are gone."""
        with self._lock:
            for uid in uids:
                if self._notes.pop(uid, None) is not None:
                    self._path(uid).unlink(missing_ok=True)

    def _path(self, uid: str) -> Path:
        return self._folder / f"{uid}{_SUFFIX}"

    def _write(self, uid: str, note: Note) -> None:
        path = self._path(uid)
        temporary = path.with_suffix(".tmp")
        try:
            temporary.write_text(json.dumps(dataclasses.asdict(note)))
            temporary.replace(path)
        except OSError as error:
            self._log.warning("note not written", path=str(path), error=str(error))

    def _load(self) -> list[tuple[str, Note]]:
        found = []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            try:
                found.append((path.stem, Note(**json.loads(path.read_text()))))
            except (OSError, ValueError, TypeError):
                path.unlink(missing_ok=True)
        return found
