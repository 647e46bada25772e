"""Kills what replicas leave behind outside of their group: daemons with a session of their own.

Law: a look at every process is dear. It is a thread's, never the loop's, and many exits share one.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path

from ringmaster_operator import background
from ringmaster_operator.runtimes import process_os

# A process that is just being started shows no environment: one look may miss it.
LOOKS = 2
PAUSE_SECONDS = 0.2  # before a look; what ends within is looked for together


class Rest:
    """Finds by its mark what is left of replicas that ended. Safe to use from several threads."""

    def __init__(self, loop: background.Background, state: Path) -> None:
        self._background = loop
        self._state = state
        self._lock = threading.Lock()
        self._looks: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def pending(self) -> bool:
        """Whether there is still to be looked for something."""
        return bool(self._looks)

    def add(self, uid: str) -> None:
        """That replica's first process is dead: kill soon what is left of it."""
        with self._lock:
            self._looks[uid] = LOOKS
        self._background.post(self._begin)

    def close(self) -> None:
        """Look a last time if something ended just now; after the loop has ended. Idempotent."""
        if self._looks:
            self._look()
            self._looks.clear()

    def _begin(self) -> None:
        if self._task is None or self._task.done():
            self._task = self._background.loop.create_task(self._run())

    async def _run(self) -> None:
        while self._looks:
            await asyncio.sleep(PAUSE_SECONDS)
            with contextlib.suppress(OSError, RuntimeError):  # no thread to be had: a pause later
                await asyncio.to_thread(self._look)

    def _look(self) -> None:
        with self._lock:
            due = tuple(self._looks)
        found = process_os.marked(self._state)
        for uid in due:
            for process in found.get(uid, ()):
                process_os.kill(process)
        with self._lock:
            for uid in due:
                looks = self._looks.pop(uid, 0) - 1  # none: closing did not wait for this one
                if looks > 0:
                    self._looks[uid] = looks
