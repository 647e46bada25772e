"""Notices at once when a process ends, also one that is nobody's child of ours.

Law: runs on the background loop; a hint may come twice or for one that is gone, the one who is
called looks again.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from ringmaster_operator import background, errors
from ringmaster_operator.runtimes import process_os

# Seconds between looks where the kernel offers no descriptor for a process (macOS).
POLL_SECONDS = 0.1


class Exits:
    """Calls `on_exit(uid)` on the loop once for every process that was added and ended."""

    def __init__(self, loop: background.Background, on_exit: Callable[[str], None]) -> None:
        self._background = loop
        self._on_exit = on_exit
        self._descriptors: dict[str, int] = {}

    def add(self, uid: str, *, pid: int, mark: str) -> None:
        """Watch the process of that pid and mark; one that is dead already counts as ended."""
        self._background.post(self._add, uid, pid, mark)

    def close(self) -> None:
        """Let go of everything; after the loop has ended."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    def _add(self, uid: str, pid: int, mark: str) -> None:
        try:
            descriptor = process_os.pidfd(pid)
        except OSError:
            self._poll(uid, pid, mark)
            return
        if descriptor is None:
            self._poll(uid, pid, mark)
            return
        self._descriptors[uid] = descriptor
        self._background.loop.add_reader(descriptor, self._readable, uid)
        if not _alive(pid, mark):  # the descriptor may be that of a later process
            self._readable(uid)

    def _readable(self, uid: str) -> None:
        descriptor = self._descriptors.pop(uid, None)
        if descriptor is not None:
            self._background.loop.remove_reader(descriptor)
            os.close(descriptor)
            self._on_exit(uid)

    def _poll(self, uid: str, pid: int, mark: str) -> None:
        if _alive(pid, mark):
            self._background.loop.call_later(POLL_SECONDS, self._poll, uid, pid, mark)
        else:
            self._on_exit(uid)


def _alive(pid: int, mark: str) -> bool:
    """Whether it may still run: what cannot be told now is asked again, or its descriptor tells."""
    try:
        return process_os.alive(pid, mark)
    except errors.RetryLater:
        return True
