"""The certificate that a port shows, and its replacement without a restart.

Law: edge. One context for the life of a process: connections that stand keep the certificate they
began with, new ones get the one loaded last. What cannot be used is refused whole. Who calls: the
data port's worker and the control port's web server.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path

import structlog

from ringmaster_balancer import errors

_log = structlog.get_logger()

_WATCH_SECONDS = 2.0
_PAUSE_SECONDS = 0.2  # after a renewal: of a thousand SIGHUPs a second not each is worth one
HANDSHAKE_SECONDS = 10.0  # a handshake takes three round trips at most


class TlsError(errors.BalancerError):
    """A certificate or key cannot be used; one line says why."""


class Certificate:
    """A PEM chain and its key.

    Raises:
        TlsError: missing, unreadable, or not a pair.
    """

    def __init__(self, cert: str, key: str) -> None:
        self._files = (cert, key)
        self._seen = self._stamps()
        self._asked = asyncio.Event()
        self.context = self._load()

    def changed(self) -> bool:
        """Whether a file is another one since it was last asked."""
        before, self._seen = self._seen, self._stamps()
        return before != self._seen

    def ask(self) -> None:
        """Let `watch` read the files though they look as before."""
        self._asked.set()

    async def asked(self, *, within: float) -> bool:
        """Whether `ask` was called since this last returned; waited for so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._asked.wait()
        asked = self._asked.is_set()
        self._asked.clear()
        return asked

    async def reload(self) -> None:
        """New connections get what the files have now.

        Raises:
            TlsError: it cannot be used; the one before stays.
        """
        # Tried first, as half a pair would stay in the context, and in a thread. What is tried is
        # then taken here: a handshake must not read the context while another thread changes it.
        await asyncio.to_thread(self._load)
        self._take(self.context)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        for path in self._files:
            try:
                with Path(path).open("rb"):
                    pass
            except OSError as error:
                raise TlsError(f"cannot read {path}: {error.strerror}") from error
        self._take(context)
        return context

    def _take(self, context: ssl.SSLContext) -> None:
        cert, key = self._files
        try:
            context.load_cert_chain(cert, key, password=_none)
        except (ssl.SSLError, OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or str(error)
            raise TlsError(f"{cert} and {key} are no certificate and its key: {reason}") from error

    def _stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in self._files)


async def renew(certificate: Certificate) -> None:
    """Take what the files have now; what cannot be used is said, and the one before stays."""
    try:
        await certificate.reload()
    except TlsError as error:
        _log.error("certificate ignored, the one before stays", reason=str(error))
    else:
        _log.info("certificate loaded")


async def watch(certificate: Certificate) -> None:
    """Renew it whenever its files have changed, or somebody asks. Ends by being cancelled."""
    while True:
        asked = await certificate.asked(within=_WATCH_SECONDS)
        if await asyncio.to_thread(certificate.changed) or asked:
            await renew(certificate)
            await asyncio.sleep(_PAUSE_SECONDS)


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _none() -> str:
    raise ValueError("the key is encrypted")
