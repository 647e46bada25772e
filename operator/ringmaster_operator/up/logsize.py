"""Keeps the logs of what `up` supervises from filling the disk that the database is on.

Law: in a thread of its own, so that a slow disk cannot keep `up` from tending to its children.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from ringmaster_operator.up import children

_SECONDS = 1.0
_GOODBYE = 1.0  # for a copy under way


class Bound:
    """Looks at these logs until it is closed; `written` as of `bound_log`, now."""

    def __init__(
        self,
        paths: Iterable[Path],
        *,
        written: Callable[[], Iterable[tuple[int, str]]] = lambda: (),
    ) -> None:
        self._paths = tuple(paths)
        self._written = written
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="logsize", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether it still looks."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._ended.set()
        if self.alive:
            self._thread.join(_GOODBYE)

    def _run(self) -> None:
        while not self._ended.wait(_SECONDS):
            for path in self._paths:
                children.bound_log(path, written=self._written())
