"""waitress in a thread, on an inherited socket: its life from the first connection to the last.

Law: edge. waitress reads a request whole before a thread sees it, so a slow client holds up
nobody's push. It knows no end but the process': `leave` adds one that cuts no answer. Who calls:
`process`.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import Any

import waitress.server
from waitress import wasyncore

_POLL_SECONDS = 0.02
# A client that sends its request slower than this asks the next process.
_PATIENCE_SECONDS = 5.0


class Website:
    """Serves `app`, in a daemon thread: the process' end is its end."""

    def __init__(self, app: Any, *, sock: socket.socket, threads: int, body_bytes: int) -> None:
        self._server: Any = waitress.server.create_server(
            app,
            sockets=[sock],
            threads=threads,
            ident=None,
            max_request_body_size=body_bytes,
            connection_limit=1_000,
            channel_timeout=60,
            asyncore_use_poll=True,
            clear_untrusted_proxy_headers=True,
        )

    def start(self) -> None:
        """Accept from now on."""
        threading.Thread(target=self._server.run, name="web", daemon=True).start()

    async def leave(self) -> None:
        """Accept no more; return once every request is answered and every connection closed.

        The listening socket's queue stays, as long as another process has it.
        """
        server, until = self._server, time.monotonic() + _PATIENCE_SECONDS
        server.trigger.pull_trigger(lambda: wasyncore.dispatcher.close(server))
        while server.active_channels:
            late = time.monotonic() > until
            server.trigger.pull_trigger(lambda late=late: self._close(late=late))
            await asyncio.sleep(_POLL_SECONDS)

    def _close(self, *, late: bool) -> None:
        """In waitress' own thread: close the connections that have nothing to do."""
        for channel in tuple(self._server.active_channels.values()):
            if channel.requests or channel.total_outbufs_len:
                continue
            if channel.request is None or late:
                channel.handle_close()
