"""Waiting on the event loop for writes that happen in other threads.

Law: a wake-up is a hint; whoever waits looks for itself what has changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol


class Source(Protocol):
    """What calls back after each write, in any thread: the store."""

    def subscribe(self, callback: Callable[[Any], None]) -> Callable[[], None]:
        """Begin; returns what ends it."""
        ...


class Wakeup:
    """An event that the store's writes set, from their threads."""

    def __init__(self, source: Source) -> None:
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._unsubscribe = source.subscribe(self._woken)

    def close(self) -> None:
        """Hear nothing more."""
        self._unsubscribe()

    def ring(self) -> None:
        """Wake up without a write."""
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Until a write since the last wait, or for so long."""
        try:
            await asyncio.wait_for(self._event.wait(), timeout=max(0.0, seconds))
        except TimeoutError:
            return
        self._event.clear()

    def _woken(self, _: object) -> None:
        try:
            self._loop.call_soon_threadsafe(self._event.set)
        except RuntimeError:  # the loop has ended, and the watch with it
            return
