"""Work that may block for long, in a daemon thread of its own.

Law: edge. The event loop's own pool is small and shared: whoever hangs there holds up everybody, and
the process' end too. Who calls: `website` for the app, `prober` for names.
"""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable
from concurrent import futures
from typing import TypeVar

T = TypeVar("T")


async def run(function: Callable[[], T], *, name: str) -> T:
    """What `function` returns or raises; the thread goes on if the caller is cancelled.

    Raises:
        OSError: ENOMEM, no thread is to be had.
    """
    done: futures.Future[T] = futures.Future()
    done.set_running_or_notify_cancel()

    def work() -> None:
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - whatever it is, who waits shall have it
            done.set_exception(error)
        else:
            done.set_result(result)

    try:
        threading.Thread(target=work, name=name, daemon=True).start()
    except RuntimeError as error:
        raise OSError(errno.ENOMEM, str(error)) from error
    return await asyncio.wrap_future(done)
