"""Keys as they come: what a custom hash function is tried on, the same in every process.

Law: pure. Four kinds of real keys, and odd ones that no function may stumble over.
"""

from __future__ import annotations

import types
import uuid
from collections.abc import Callable, Mapping

from ringmaster_balancer.ring import hashing

COUNT = 16_384  # of each kind
_SECTIONS = ("products", "users", "articles", "images")


def integers(count: int = COUNT) -> list[bytes]:
    """Request ids that count up."""
    return [b"%d" % number for number in range(count)]


def uuids(count: int = COUNT) -> list[bytes]:
    """UUIDs of version 4."""
    return [
        str(uuid.UUID(int=_random128(number), version=4)).encode() for number in range(1, count + 1)
    ]


def addresses(count: int = COUNT) -> list[bytes]:
    """Clients of a few networks: IPv4, and IPv6 every eighth time."""
    return [
        b"2001:db8:%x::%x" % (number % 5, number)
        if number % 8 == 7  # noqa: PLR2004 – every eighth
        else b"10.%d.%d.%d" % (number % 3, number >> 8 & 255, number & 255)
        for number in range(count)
    ]


def urls(count: int = COUNT) -> list[bytes]:
    """Paths with a common beginning or end."""
    return [
        b"/%b/%d?page=%d" % (_SECTIONS[number % 4].encode(), number // 4, number % 4)
        for number in range(count)
    ]


KINDS: Mapping[str, Callable[[], list[bytes]]] = types.MappingProxyType(
    {"integers": integers, "UUIDs": uuids, "IP addresses": addresses, "URLs": urls}
)
ODD = (
    b"\0",
    b" ",
    b"\xff\xfe\xfd",
    "Grüße, 世界".encode(),
    b"0",
    b"-1",
    b"1" * 40,
    b"k" * 4_096,
    bytes(range(256)),
)


def golden() -> list[bytes]:
    """What every process hashes before it serves: some of each kind, and all that is odd."""
    return [*(key for kind in KINDS.values() for key in kind()[:: COUNT // 64]), *ODD]


def _random128(number: int) -> int:
    high = hashing.mix64(number)
    return high << 64 | hashing.mix64(high ^ number)
