"""How a child notices that its supervisor is gone, however it went.

Law: edge. The supervisor holds the only writing end of a pipe and never writes: end of file means
that it has ended. A kill -9 of the supervisor thus ends the whole balancer, and its ports are free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def watch(descriptor: int, gone: Callable[[], None]) -> None:
    """Call `gone` once when the supervisor ends. Within a running event loop."""
    loop = asyncio.get_running_loop()

    def readable() -> None:
        loop.remove_reader(descriptor)
        gone()

    loop.add_reader(descriptor, readable)
