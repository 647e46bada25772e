"""One process that serves a WSGI app over HTTP/1.1 and drains when it is told to stop.

cheroot rather than waitress: 0.32 ms of CPU a request whether 1 or 200 connections are open, where
waitress, which polls them all in Python, needs 0.24 ms with one and 1.0 ms with 64.
"""

from __future__ import annotations

import logging
import socket
import threading
from typing import TYPE_CHECKING

from cheroot import server as cheroot_server
from cheroot import wsgi

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

# Four to eight threads cost the same, ten cost 15 % more CPU a request (one interpreter lock).
THREADS = 8
# Seconds. Longer than the 60 s for which a balancer keeps an idle connection, so that it is always
# the balancer who closes first, and no request meets a connection that is going away.
IDLE_SECONDS = 75
# Seconds for what is in flight; below Kubernetes' default terminationGracePeriodSeconds of 30.
DRAIN_SECONDS = 20
# Connections that wait to be accepted; the kernel's own limit (somaxconn) may be lower.
BACKLOG = 1024


class Request(cheroot_server.HTTPRequest):
    """Sends a response in one piece; cheroot sends its head and its body apart.

    Half the packets, and half the reads of whoever proxies. Our responses are small.
    """

    def respond(self) -> None:
        """Answer, with what is written gathered."""
        output, pieces = self.conn.wfile, _Pieces()
        self.conn.wfile = pieces
        try:
            super().respond()
        finally:
            self.conn.wfile = output
            output.write(b"".join(pieces))


class _Pieces(list[bytes]):
    def write(self, piece: bytes) -> int:
        self.append(piece)
        return len(piece)


class Connection(cheroot_server.HTTPConnection):
    """A connection whose requests are ours."""

    RequestHandlerClass = Request


class Server(wsgi.Server):
    """cheroot's WSGI server with our settings.

    A new connection waits in the selector for its first byte: cheroot would hand it to a thread at
    once, and a few silent ones would then block every thread.
    """

    # Seconds between looks at idle connections, and the longest that a drain waits to begin.
    expiration_interval = 0.1
    ConnectionClass = Connection
    keep_alive_conn_limit = None  # type: ignore[assignment]  # its stub forbids what its doc allows

    def __init__(self, address: tuple[str, int], app: WSGIApplication) -> None:
        super().__init__(
            address,
            app,
            numthreads=THREADS,
            server_name="ringmaster-server",
            request_queue_size=BACKLOG,
            timeout=IDLE_SECONDS,
            shutdown_timeout=DRAIN_SECONDS,
        )
        self._bind_error: OSError | None = None

    def process_conn(self, conn: cheroot_server.HTTPConnection) -> None:
        """Serve a connection that has something to read, park one that is new."""
        if conn.last_used is None and self.ready:
            self.put_conn(conn)
        else:
            super().process_conn(conn)

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        """Drop the informational lines: a client that hangs up is nobody's error."""
        if level >= logging.WARNING:
            super().error_log(msg, level, traceback)

    def listen(self) -> None:
        """Listen on the address; connections wait until `serve_until`.

        Raises:
            OSError: the address cannot be listened on.
        """
        try:
            self.prepare()
        except OSError as error:
            raise self._bind_error or error from error

    def bind(self, family: int, type: int, proto: int = 0) -> socket.socket:  # noqa: A002 – its name in cheroot
        """Keep the error: cheroot reports all of them in one string."""
        try:
            bound: socket.socket = super().bind(family, type, proto)
        except OSError as error:
            self._bind_error = error
            raise
        return bound

    def serve_until(self, stop: threading.Event) -> None:
        """Serve until `stop` is set, then drain: nothing new, what is in flight is finished."""
        loop = threading.Thread(target=self.serve, name="serve", daemon=True)
        loop.start()
        stop.wait()
        self.stop()
        loop.join(timeout=DRAIN_SECONDS)


def address(server: Server) -> str:
    """`host:port` as it is listened on, or as it was asked for before `listen`."""
    host, port = server.bind_addr[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
