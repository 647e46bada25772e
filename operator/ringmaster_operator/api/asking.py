"""Threads for questions to the outside world: to an engine or a cluster, which may be slow.

Law: what waits here keeps nobody else waiting. The store's calls have asyncio's own threads, which
would be used up by a handful of questions to an engine that hangs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent import futures
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

_AT_ONCE = 16  # questions; a thread that waits costs next to nothing


class Threads:
    """A few threads; `close` gives them up without waiting for what is under way."""

    def __init__(self) -> None:
        self._pool = futures.ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="asking")

    async def ask(self, question: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """The answer, however long it takes."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, question, *arguments)

    async def close(self, _: object = None) -> None:
        """To be called when the application ends (`on_cleanup`)."""
        self._pool.shutdown(wait=False, cancel_futures=True)
