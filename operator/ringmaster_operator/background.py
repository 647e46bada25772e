"""An asyncio loop in a thread of its own, for work that waits for many things at once.

Law: what runs here never blocks; everybody else calls in from their own threads.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

CLOSE_SECONDS = 5


class Background:
    """A started loop; `close` ends it and cancels what still runs on it."""

    def __init__(self, *, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def post(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function on the loop soon; after `close` nothing happens."""
        try:
            self.loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is closed
            return

    def close(self) -> None:
        """End the loop. Idempotent; not to be called on the loop itself."""
        self.post(self.loop.stop)
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            tasks = asyncio.all_tasks(self.loop)
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()
