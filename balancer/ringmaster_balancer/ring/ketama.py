"""ketama: points on a circle of 2³², a key belongs to the next one; agrees with existing peers.

Law: pure, no numpy. `crc32` places points and keys as nginx's `hash … consistent` does
(ngx_http_upstream_hash_module: crc32 over name, zero byte, port and the previous point, chained),
`md5` as libmemcached's weighted ketama does (four points a digest). The peer's name of a server is
here the member's id; a weight of 100 is the peer's weight 1.

A slot is the arc that ends in a point, so that a lookup is exact: a bisection instead of the shift
of other schemes. Slots are as many as there are points.
"""

from __future__ import annotations

import bisect
import hashlib
import math
import re
import zlib
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ringmaster_balancer.ring import circle, scheme

DEFAULT_POINTS = 160  # both peers': MEMCACHED_POINTS_PER_SERVER_KETAMA, nginx's weight * 160
WEIGHT_ONE = 100
POINTS_OF_A_DIGEST = 4
MAX_POINTS = 4_194_304

_CIRCLE = 2**32
_PORT = re.compile(rb"(.*):([0-9]*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Ketama:
    """A circle of points; `points` are their sorted values. Satisfies `scheme.Scheme`."""

    places: scheme.Places
    flavour: Literal["crc32", "md5"]
    points: array[int]
    owners: Sequence[int]  # of each point; empty in a process that only looks up

    @property
    def _hash32(self) -> Callable[[bytes], int]:
        return zlib.crc32 if self.flavour == "crc32" else _md5_32

    @property
    def slots(self) -> int:
        """The arcs; one, without an owner, in a ring without members."""
        return max(1, len(self.points))

    def slot_of(self) -> Callable[[bytes], int]:
        """The first point at or after the key's hash, from the last one on to the first."""
        points, count, find = self.points, len(self.points), bisect.bisect_left
        hash32 = self._hash32

        def slot_of(key: bytes) -> int:
            slot = find(points, hash32(key))
            return slot if slot < count else 0

        return slot_of

    def draw(self) -> Callable[[float], int]:
        """The arc that a random place on the circle lies in."""
        points, count, find = self.points, len(self.points), bisect.bisect_left

        def draw(number: float) -> int:
            slot = find(points, int(number * _CIRCLE))
            return slot if slot < count else 0

        return draw

    def first(self, width: int, *, previous: scheme.Previous | None) -> array[int]:  # noqa: ARG002
        """The next `width` members clockwise of every point; always built anew."""
        return circle.first(self.owners, members=len(self.places), width=width)

    def rank(self, slot: int, *, candidates: Sequence[int], width: int) -> Sequence[int]:
        """All members in the order in which their points follow."""
        return circle.rank(slot, candidates, members=len(self.places), width=width)

    def hits(self) -> Sequence[int] | None:
        """The arcs' lengths, of 2³²."""
        if not self.points:
            return None
        before = (self.points[-1] - _CIRCLE, *self.points[:-1])
        return [end - start for start, end in zip(before, self.points, strict=True)]

    def bounds(self) -> scheme.Bounds:
        """The arcs; what lies beyond the last point belongs to the first."""
        ends, slots = [*self.points], [*range(len(self.points))]
        if not ends or ends[-1] < _CIRCLE - 1:
            ends.append(_CIRCLE - 1)
            slots.append(0)
        return scheme.Bounds(space=self.flavour, size=_CIRCLE, lasts=ends, slots=slots)

    def hashed(self, key: bytes) -> Mapping[str, str]:
        """The place on the circle."""
        return {"hash32": f"{self._hash32(key):#010x}"}

    def pack(self) -> bytes:
        """The points: what a worker needs to find a slot."""
        return self.points.tobytes()


def place(places: scheme.Places, *, flavour: Literal["crc32", "md5"], points: int) -> Ketama:
    """The circle with all members' points, `points` for a member of mean weight (md5) or 100."""
    total = sum(places.weights)
    owner_of: dict[int, int] = {}
    for index, (member, weight) in enumerate(zip(places.ids, places.weights, strict=True)):
        if flavour == "crc32":
            count = max(1, round(points * weight / WEIGHT_ONE))
            values = _crc32_points(member.encode(), count)
        else:
            # libmemcached's own rounding, which may leave a very light member without a point.
            digests = math.floor(points / POINTS_OF_A_DIGEST * len(places) * weight / total + 1e-10)
            values = _md5_points(member.encode(), digests)
        for value in values:
            owner_of.setdefault(value, index)  # where two meet, the first id keeps the point
    sorted_points = array("I", sorted(owner_of))
    return Ketama(
        places,
        flavour=flavour,
        points=sorted_points,
        owners=[owner_of[point] for point in sorted_points],
    )


def unpack(places: scheme.Places, data: bytes, *, flavour: Literal["crc32", "md5"]) -> Ketama:
    """The circle as a worker needs it, from `pack`."""
    points = array("I")
    points.frombytes(data)
    return Ketama(places, flavour=flavour, points=points, owners=())


def _crc32_points(name: bytes, count: int) -> list[int]:
    with_port = _PORT.fullmatch(name)
    host, port = with_port.groups() if with_port else (name, b"")
    base = zlib.crc32(host + b"\0" + port)
    values, previous = [], 0
    for _ in range(count):
        previous = zlib.crc32(previous.to_bytes(4, "little"), base)
        values.append(previous)
    return values


def _md5_points(name: bytes, digests: int) -> list[int]:
    values: list[int] = []
    for number in range(digests):
        digest = hashlib.md5(b"%b-%d" % (name, number), usedforsecurity=False).digest()
        values.extend(
            int.from_bytes(digest[start : start + 4], "little") for start in (0, 4, 8, 12)
        )
    return values


def _md5_32(key: bytes) -> int:
    return int.from_bytes(hashlib.md5(key, usedforsecurity=False).digest()[:4], "little")
