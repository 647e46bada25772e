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
def error(
    status: int, message: str, *, close: bool = False, bodiless: bool = False, minor: int = 1
) -> bytes:
    """The whole response, to a request of HTTP/1.`minor`.

    `bodiless`: it answers HEAD, and only tells the length (9110 §9.3.2).
    """
    body = json.dumps({"message": f"<Error> {message}", "status": "failure"}).encode()
    lines = [
        f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    if status in RETRY_AFTER:
        lines.append("Retry-After: 1")
    lines.extend(_persistence(close=close, minor=minor))
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return head if bodiless else head + body


def options(methods: Iterable[bytes], *, close: bool, minor: int = 1) -> bytes:
    """What we ourselves can do, 9110 §9.3.7; for a request that may go no further."""
    allow = b", ".join(sorted(methods)).decode()
    lines = ["HTTP/1.1 204 No Content", f"Allow: {allow}", *_persistence(close=close, minor=minor)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def _persistence(*, close: bool, minor: int) -> list[str]:
    """9112 §9.3: HTTP/1.1 goes on unless it hears otherwise, HTTP/1.0 ends."""
    if close:
        return ["Connection: close"]
    return [] if minor else ["Connection: keep-alive"]


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
