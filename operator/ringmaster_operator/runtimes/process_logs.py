"""The output of replicas: one file each, bounded in size and number.

Law: replicas write to files themselves, never into pipes: they outlive the operator.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import BinaryIO

# Bytes. Of a log that grew beyond, so much is copied aside, an older copy lost; it is begun anew.
MAX_BYTES = 16 * 1024 * 1024
# Logs of failed replicas that are kept once those are gone.
KEPT = 20
_PIECE_BYTES = 1024 * 1024  # copied at once
_TAIL_BYTES = 4096
_LINE_CHARACTERS = 200
_SUFFIX = ".log"
_OLDER = ".log.1"


class Logs:
    """The folder of logs; `key` is a record's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._make_folder()

    def open(self, key: str) -> BinaryIO:
        """A new, empty log. Appending, so that it can be cut while it is written to.

        Raises:
            OSError: it cannot be written.
        """
        self._make_folder()  # somebody may have removed it meanwhile
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        return os.fdopen(os.open(self.path(key), flags, 0o600), "wb", buffering=0)

    def last_line(self, key: str) -> str:
        """The last line that says something, shortened; empty if there is none."""
        return last_line(self.path(key))[:_LINE_CHARACTERS]

    def remove(self, key: str) -> None:
        """Delete what an instance wrote."""
        for path in (self.path(key), self._older(key)):
            path.unlink(missing_ok=True)

    def prune(self, *, live: set[str]) -> None:
        """Of the logs that belong to no replica any more, keep the newest."""
        stale = [path for path in self._folder.glob(f"*{_SUFFIX}") if path.stem not in live]
        stale.sort(key=_modified, reverse=True)
        for path in stale[KEPT:]:
            self.remove(path.stem)

    def bound(self) -> None:
        """Begin logs anew that have grown too large."""
        for path in self._folder.glob(f"*{_SUFFIX}"):
            cut(path, most=MAX_BYTES)

    def path(self, key: str) -> Path:
        """Where the log of an instance is."""
        return self._folder / f"{key}{_SUFFIX}"

    def _make_folder(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _older(self, key: str) -> Path:
        return self._folder / f"{key}{_OLDER}"


def last_line(path: Path) -> str:
    """The last line of a log that says something; empty if there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def cut(path: Path, *, most: int) -> None:
    """Begin a log anew that is longer than `most` bytes, which may be written to meanwhile.

    Its last bytes are kept beside it. Where there is no room for them they are lost: the log must
    not fill a disk that others need.
    """
    with contextlib.suppress(OSError):
        size = path.stat().st_size
        if size <= most:
            return
        try:
            _copy(path, path.with_suffix(_OLDER), begin=size - most, count=most)
        finally:
            os.truncate(path, 0)


def identity(path: Path) -> str:
    """Which file this is, whatever its name will be: device and inode; empty if it is not there."""
    try:
        seen = path.stat()
    except OSError:
        return ""
    return f"{seen.st_dev}:{seen.st_ino}"


def cut_lost(path: Path, pid: int, log: str, *, most: int) -> None:
    """Empty the log that process `pid` writes on though it was deleted or moved away from `path`.

    `log` is the `identity` it had, so that no other file of the process is touched. Linux only.
    """
    if not log or identity(path) == log:
        return
    for number in (1, 2):  # standard output and error
        written = Path(f"/proc/{pid}/fd/{number}")
        with contextlib.suppress(OSError):
            if identity(written) == log and written.stat().st_size > most:
                os.truncate(written, 0)


def _copy(path: Path, older: Path, *, begin: int, count: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with path.open("rb") as source, os.fdopen(os.open(older, flags, 0o600), "wb") as copy:
        source.seek(begin)
        while piece := source.read(min(count, _PIECE_BYTES)):
            copy.write(piece)
            count -= len(piece)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0
