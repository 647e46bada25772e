"""Follows a child's log file and picks the lines that its user should see."""

from __future__ import annotations

import re
from pathlib import Path

_QUIET = re.compile(r"^\{|\blevel=(debug|info)\b")  # the former is the access log's
_LONGEST = 400  # characters; the whole line is in the file


class Tail:
    """New lines of a file, from its present end on. It may be cut, or put aside and made anew."""

    def __init__(self, name: str, path: Path) -> None:
        self._name = name
        self._path = path
        self._rest = b""
        self._inode, self._position = self._where()

    def lines(self, *, everything: bool = False) -> list[str]:
        """What was added: warnings and worse, and what is no log line; or everything.

        What came between the last look and a cut is only in the file beside it.
        """
        inode, size = self._where()
        if inode != self._inode or size < self._position:
            self._inode, self._position, self._rest = inode, 0, b""
        if size == self._position:
            return []
        return [
            f"{self._name}: {line[:_LONGEST]}"
            for line in self._added()
            if line.strip() and (everything or not _QUIET.search(line))
        ]

    def _added(self) -> list[str]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                raw = file.read()
        except OSError:  # it may not be read; `up` has more to do
            return []
        self._position += len(raw)
        *whole, self._rest = (self._rest + raw).split(b"\n")
        return [line.decode(errors="replace") for line in whole]

    def _where(self) -> tuple[int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return 0, 0
        return found.st_ino, found.st_size
