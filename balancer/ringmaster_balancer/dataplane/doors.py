"""Accepts by hand what must be known before its handshake is over: connections that begin with TLS.

Law: edge. An event loop's own server tells of such a connection only once its handshake has ended,
so that no limit counts it and no drain waits for it. Who calls: the data plane. Plain ports have no
use for it; a loop's own server accepts faster.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

_log = structlog.get_logger()

_BURST = 64  # connections in one turn of the event loop; others have work there as well
_RETRY_SECONDS = 1.0  # as asyncio's own server waits for a descriptor to come free


class Door:
    """Hands each connection of a listening socket to `enter` until it is closed.

    The socket stays the caller's, and so does what waits in its queue.
    """

    def __init__(self, sock: socket.socket, enter: Callable[[socket.socket], None]) -> None:
        self._sock = sock.dup()
        self._sock.setblocking(False)
        self._enter = enter
        self._retry: asyncio.TimerHandle | None = None
        self._open()

    def _open(self) -> None:
        asyncio.get_running_loop().add_reader(self._sock, self._accept)

    def _accept(self) -> None:
        for _ in range(_BURST):
            try:
                accepted = self._sock.accept()[0]
            except (BlockingIOError, ConnectionError, InterruptedError):
                return  # none is left, or one left while it waited; the loop calls again for more
            except OSError as error:
                _log.error("cannot accept", reason=error.strerror or str(error))
                loop = asyncio.get_running_loop()
                loop.remove_reader(self._sock)  # it stays readable
                self._retry = loop.call_later(_RETRY_SECONDS, self._open)
                return
            self._enter(accepted)

    def close(self) -> None:
        """Accept no more."""
        if self._retry is not None:
            self._retry.cancel()
        asyncio.get_running_loop().remove_reader(self._sock)
        self._sock.close()
