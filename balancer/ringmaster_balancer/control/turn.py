"""Whose turn it is to serve the control port: one process at a time, whatever dies when.

Law: edge. A lock on a file in the state folder, which its holder's end gives back. The next one
asks again and again: a thread that waits for the lock could not be cancelled.
"""

from __future__ import annotations

import asyncio
import fcntl
from pathlib import Path
from typing import IO

_POLL_SECONDS = 0.02


class Turn:
    """The right to serve. `path` is the lock's file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)  # somebody may have removed it meanwhile
        self._file: IO[str] = path.open("w")

    def take(self) -> bool:
        """Whether it is ours from now on."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    async def wait(self) -> None:
        """Return once it is ours."""
        while not self.take():  # noqa: ASYNC110 - a lock has no event
            await asyncio.sleep(_POLL_SECONDS)

    def give(self) -> None:
        """It is another one's."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Ask no more; gives it too."""
        self._file.close()
