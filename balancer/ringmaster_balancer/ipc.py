"""Frames between the control process and its workers: bytes in, frames out.

Law: pure. A frame is `length of header, length of body` (two unsigned 32-bit integers, network
order), a JSON object, and raw bytes (a table). Both lengths are bounded before a byte of either
is kept; after a `FrameError` the stream is lost and its connection must be closed. Who calls:
`hub` and `worker`.
"""

from __future__ import annotations

import enum
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ringmaster_balancer import errors

_LENGTHS = struct.Struct("!II")
# 10,000 members need about 2 MB; the largest table (16,777,216 slots, 3 candidates of 2 bytes)
# needs 101 MB.
MAX_HEADER = 16 * 1024 * 1024
MAX_BODY = 128 * 1024 * 1024


class FrameError(errors.BalancerError):
    """The other side does not speak our language: close the connection."""


class Kind(enum.StrEnum):
    """What a frame says. The first five go up, to the control process; the others down."""

    HELLO = "hello"  # pid, index, membership: who is there and what it serves (or null)
    ACK = "ack"  # seq: everything up to this one is in force
    MARK = "mark"  # replica: a request failed on it
    REPORT = "report"  # ask, stats, inFlight: the answer to ASK
    HITS = "hits"  # space; body: requests by slot since the last HITS, 4 bytes each
    INSTALL = "install"  # seq, space, membership, healthy; body: the table, if it changed
    END = "end"  # seq: no ring any more, answer 503
    HEALTH = "health"  # healthy: by replica, only what changed; erring: all that are out and answer
    ASK = "ask"  # ask, hits: send a REPORT, and HITS before it if they are wanted


@dataclass(frozen=True, slots=True)
class Frame:
    """One message. `fields` is the JSON header without its kind."""

    kind: Kind
    fields: Mapping[str, Any] = field(default_factory=dict)
    body: bytes = b""


def encode(frame: Frame) -> bytes:
    """The bytes of a frame.

    Raises:
        FrameError: it is too large for the other side.
    """
    header = json.dumps({**frame.fields, "kind": frame.kind}, separators=(",", ":")).encode()
    _check(len(header), len(frame.body))
    return _LENGTHS.pack(len(header), len(frame.body)) + header + frame.body


class Decoder:
    """Collects pieces of a stream and gives back whole frames."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Every frame that `data` completes, in order.

        Raises:
            FrameError: too large, or no frame at all.
        """
        self._kept += data
        frames = []
        start = 0
        while (end := self._end(start)) is not None:
            frames.append(self._frame(start, end))
            start = end
        del self._kept[:start]
        return frames

    def _end(self, start: int) -> int | None:
        """Where the frame at `start` ends, None if that has not come yet."""
        if len(self._kept) - start < _LENGTHS.size:
            return None
        header, body = _LENGTHS.unpack_from(self._kept, start)
        _check(header, body)
        end = start + _LENGTHS.size + int(header) + int(body)
        return end if len(self._kept) >= end else None

    def _frame(self, start: int, end: int) -> Frame:
        length, _ = _LENGTHS.unpack_from(self._kept, start)
        middle = start + _LENGTHS.size + length
        try:
            fields = json.loads(self._kept[start + _LENGTHS.size : middle])
            kind = Kind(fields.pop("kind"))
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
            raise FrameError("the header is no JSON object with a known kind") from error
        return Frame(kind=kind, fields=fields, body=bytes(self._kept[middle:end]))


def _check(header: int, body: int) -> None:
    if header > MAX_HEADER or body > MAX_BODY:
        raise FrameError(f"a frame of {header} + {body} bytes is too large")
