"""Our own errors, in the form that every client of ours gets: JSON with a message.

Law: pure; the bytes of an answer, built once for each text.
"""

from __future__ import annotations

import email.utils
import functools
import http
import json
from collections.abc import Iterable
from typing import Final

RETRY_AFTER: Final = frozenset({503})  # 9110 §10.2.3: seconds until it is worth another try


@functools.lru_cache(maxsize=256)
def error(status: int, message: str, *, close: bool = False, bodiless: bool = False) -> bytes:
    """The whole response. `bodiless`: it answers HEAD, and only tells the length (9110 §9.3.2)."""
    body = json.dumps({"message": f"<Error> {message}", "status": "failure"}).encode()
    lines = [
        f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    if status in RETRY_AFTER:
        lines.append("Retry-After: 1")
    if close:
        lines.append("Connection: close")
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return head if bodiless else head + body


def options(methods: Iterable[bytes], *, close: bool) -> bytes:
    """What we ourselves can do, 9110 §9.3.7; for a request that may go no further."""
    allow = b", ".join(sorted(methods))
    end = b"Connection: close\r\n" if close else b""
    return b"HTTP/1.1 204 No Content\r\nAllow: " + allow + b"\r\n" + end + b"\r\n"


def date(now: float) -> bytes:
    """The line that says when a response was made, 9110 §6.6.1, §5.6.7; `now`: Unix time."""
    return f"Date: {email.utils.formatdate(now, usegmt=True)}\r\n".encode()


def dated(wire: bytes, line: bytes) -> bytes:
    """The response with that line first in its head."""
    at = wire.index(b"\r\n") + 2
    return b"".join((wire[:at], line, wire[at:]))


def no_endpoint(target: bytes) -> str:
    """The lab API's words for a path that the replicas do not have."""
    path = target.partition(b"?")[0].decode("latin-1")
    return f"'{path}' endpoint does not exist in server replicas"
