"""TLS before the web server: bytes in, bytes out, to its private Unix socket.

Law: edge. waitress knows no TLS. A handshake is bounded; what is slow after it is waitress' to
bound. A new certificate is taken when its files change. Who calls: `process`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

from ringmaster_balancer import tls

_PIECE = 65_536


class Front:
    """Accepts on `listener`, which stays the caller's, and passes on to the socket at `path`."""

    def __init__(self, certificate: tls.Certificate, *, path: str) -> None:
        self._certificate = certificate
        self._path = path
        self._server: asyncio.Server | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self, listener: socket.socket) -> None:
        """Accept from now on."""
        self._server = await asyncio.start_server(
            self._pass_on,
            sock=listener.dup(),
            ssl=self._certificate.context,
            ssl_handshake_timeout=tls.HANDSHAKE_SECONDS,
        )
        self._watching = asyncio.create_task(tls.watch(self._certificate))

    def close(self) -> None:
        """Accept no more; what stands goes on."""
        if self._server is not None:
            self._server.close()
        if self._watching is not None:
            self._watching.cancel()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            try:
                inner, out = await asyncio.open_unix_connection(self._path)
            except OSError:
                return  # it has left: the next process is asked
            with contextlib.closing(out):
                ways = {
                    asyncio.create_task(_copy(reader, out)),
                    asyncio.create_task(_copy(inner, writer)),
                }
                # TLS knows no half-closed connection: one end is the other's.
                _, rest = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in rest:
                    way.cancel()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_PIECE):
            writer.write(data)
            await writer.drain()
