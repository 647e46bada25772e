"""The listening sockets: opened once by the supervisor, kept by it, inherited by its processes.

Law: edge. Linux gets one SO_REUSEPORT socket a worker, so that the kernel spreads connections;
elsewhere all workers accept from one. A socket outlives the process that serves it, so that what
waits in its queue waits for the successor (closing one of two reset 43 of 100 such connections).
"""

from __future__ import annotations

import errno
import resource
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from ringmaster_balancer import errors

_log = structlog.get_logger()

# Beyond the kernel's somaxconn it is cut down silently.
_BACKLOG = 4096
_DESCRIPTORS = 1_048_576  # as Linux' fs.nr_open has it
# The processes of a supervisor that was killed end within a second.
_TAKEN_SECONDS = 2.0
# What a call can lack that no peer can give. EADDRNOTAVAIL: every local port towards that address
# is in use (connect(2)).
_SHORTAGES = {
    errno.EMFILE: "descriptors",
    errno.ENFILE: "descriptors",
    errno.EADDRNOTAVAIL: "ports",
    errno.ENOBUFS: "memory",
    errno.ENOMEM: "memory",
}
_COMPLAIN_SECONDS = 60.0  # between two log lines about the same shortage


class ListenError(errors.BalancerError):
    """An address cannot be listened on; one line says why."""


def shortage(error: OSError) -> str:
    """What this machine has run out of, if that is why a call failed; else empty.

    Whoever was to be reached must not be blamed for it.
    """
    return _SHORTAGES.get(error.errno or 0, "")


class Shortages:
    """Counts by resource how often this process lacked it, and logs that once a minute."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._complained: dict[str, float] = {}

    def note(self, what: str) -> None:
        """It was lacking once more."""
        count = self.counts[what] = self.counts.get(what, 0) + 1
        now = time.monotonic()
        if now - self._complained.get(what, -_COMPLAIN_SECONDS) >= _COMPLAIN_SECONDS:
            self._complained[what] = now
            _log.error("out of resources, no member is blamed", resource=what, count=count)


def spread() -> bool:
    """Whether several sockets of one port share its connections (not so on macOS)."""
    return sys.platform == "linux"


def open_data(
    host: str, port: int, *, workers: int, reuse_port: bool, patience: float = _TAKEN_SECONDS
) -> list[socket.socket]:
    """One listening socket a worker; the same one several times without `reuse_port`.

    Raises:
        ListenError: taken, not ours, or not allowed.
    """
    if not reuse_port:
        return [open_tcp(host, port, patience=patience)] * workers
    # Without SO_REUSEPORT first: else a second balancer would silently share the port.
    with _patiently(host, port, patience=patience, listen=False) as first:
        port = first.getsockname()[1]
    return [_bound(host, port, reuse_port=True) for _ in range(workers)]


def enough(
    have: Sequence[socket.socket], *, workers: int, reuse_port: bool
) -> Sequence[socket.socket]:
    """Inherited listening sockets, with fresh ones beside them should there be more workers.

    None is closed if there are fewer: what waits in its queue would be reset.

    Raises:
        ListenError: no more of them can be opened.
    """
    if not reuse_port:
        return [have[0]] * workers
    host, port = have[0].getsockname()[:2]
    missing = range(len(have), workers)
    return [*have, *(_bound(host, port, reuse_port=True) for _ in missing)]


def open_tcp(host: str, port: int, *, patience: float = _TAKEN_SECONDS) -> socket.socket:
    """A listening socket; a taken port is tried again for `patience` seconds.

    Raises:
        ListenError: taken, not ours, or not allowed.
    """
    return _patiently(host, port, patience=patience, listen=True)


def open_unix(path: Path) -> socket.socket:
    """A listening Unix socket at a fresh path in a private folder."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise ListenError(f"cannot listen on {path}: {error.strerror or error}") from error
    return sock


def _patiently(host: str, port: int, *, patience: float, listen: bool) -> socket.socket:
    deadline = time.monotonic() + patience
    while True:
        try:
            return _bound(host, port, reuse_port=False, listen=listen)
        except ListenError as error:
            cause = error.__cause__
            taken = isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE
            if not taken or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _bound(host: str, port: int, *, reuse_port: bool, listen: bool = True) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(address)
            if listen:
                sock.listen(_BACKLOG)
        except OSError:
            sock.close()
            raise
    except OSError as error:
        reason = "the port is taken" if error.errno == errno.EADDRINUSE else error.strerror
        raise ListenError(f"cannot listen on {host}:{port}: {reason}") from error
    return sock


def queued(sock: socket.socket) -> list[socket.socket]:
    """Accept all that waits in a listening socket's queue, now."""
    sock.setblocking(False)
    accepted: list[socket.socket] = []
    while True:
        try:
            accepted.append(sock.accept()[0])
        except ConnectionAbortedError:
            continue  # it left while it waited
        except OSError:  # none is left, or no descriptor
            return accepted


def raise_descriptor_limit(wanted: int = _DESCRIPTORS) -> int:
    """Let this process open as many files as it may, up to `wanted`; how many that is.

    A soft limit of 1024 is for programs that call select(2); with two descriptors a request it
    would end far below `maxConnections`.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft == resource.RLIM_INFINITY or soft >= allowed:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (OSError, ValueError):  # macOS has a lower limit than it says
        return soft
    return allowed
