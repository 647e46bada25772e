"""Whether the ports are free, and who has them if not."""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection, Mapping

import psutil

from ringmaster_operator import errors


def check(flags: Mapping[str, int], *, host: str, ours: Collection[int] = ()) -> None:
    """Make sure that every port can be listened on; `flags` are the options that choose them.

    Raises:
        UsageError: one is taken, or not ours to take, or named twice; one line.
    """
    seen: dict[int, str] = {}
    for flag, port in flags.items():
        if port in seen:
            raise errors.UsageError(f"{seen[port]} and {flag} are both {port}: choose two ports")
        seen[port] = flag
        if port in ours:
            continue
        fault = _fault(host if flag == "--port" else "127.0.0.1", port)
        if fault:
            raise errors.UsageError(f"{fault}: choose another with {flag}")


def _fault(host: str, port: int) -> str | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            # Two sockets with SO_REUSEADDR may bind one port; only one of them may listen.
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"port {port} is taken{_holder(port)}"
            return f"port {port} on {host} cannot be used ({error.strerror})"
    return None


def _holder(port: int) -> str:
    """` by NAME (pid N)` as far as this user may know."""
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.pid
            if listens and tuple(connection.laddr)[1:2] == (port,):
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except psutil.Error:
        pass  # macOS tells only root; there AirPlay Receiver has 5000
    return " by another program"
