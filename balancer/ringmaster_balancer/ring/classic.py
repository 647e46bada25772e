"""classic: the ring of the assignment, faithful to the letter, for the experiments.

Law: pure. 512 slots, 9 virtual servers a member, H(i) = i² + 2i + 17 for requests,
Φ(i, j) = i² + j² + 2j + 25 for virtual server j of member i = ordinal + 1; all modulo the slots.
Members are put in by rising i, all j of one member first; a taken slot is probed past. A request
belongs to the nearest virtual server clockwise, its own slot counting as nearest.

H reaches 87 of the 512 slots and Φ packs a member's points close together, so the shares are
uneven by construction: that is what there is to see. Variants by `spec.ring.hash`: `modulo` is
i mod slots; the other names hash the key well, Φ stays. Members keep no weights here.
"""

from __future__ import annotations

import types
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ringmaster_balancer.ring import circle, hashing, scheme

DEFAULT_SLOTS = 512
DEFAULT_POINTS = 9
MAX_SLOTS = 65_536  # built slot by slot in Python
REQUEST_IDS = 1_000_000  # a key that is no number becomes one below this
_MAX_DIGITS = 4_000  # below the limit of Python's int(): longer digits are any other text

FREE = -1


def h(request: int) -> int:
    """The assignment's hash of a request id."""
    return request * request + 2 * request + 17


def modulo(request: int) -> int:
    """The assignment's hash, changed: the id itself."""
    return request


def phi(server: int, virtual: int) -> int:
    """The assignment's hash of a virtual server; `server` counts from 1, `virtual` from 0."""
    return server * server + virtual * virtual + 2 * virtual + 25


def number(key: bytes) -> int:
    """The request id that a key stands for: itself if it is decimal digits, else a hash of it."""
    if key.isdigit() and len(key) <= _MAX_DIGITS:
        return int(key)
    return hashing.xxh64(key) % REQUEST_IDS


def reach(key_hash: Callable[[int], int], slots: int) -> int:
    """How many of the slots any request id reaches, of a function that repeats after `slots`."""
    return len({key_hash(request) % slots for request in range(slots)})


# By `spec.ring.hash`. `xxh3` is what a ring has that names no hash: it keeps the assignment's own.
KEY_HASHES: Mapping[str, Callable[[int], int]] = types.MappingProxyType(
    {"assignment": h, "xxh3": h, "modulo": modulo}
)


@dataclass(frozen=True, slots=True)
class Classic:
    """The assignment's ring over `places`, which carry ordinals; satisfies `scheme.Scheme`."""

    places: scheme.Places
    key_hash: Callable[[int], int] | None  # of a request id; None: by `hash64`'s high bits
    hash64: hashing.Hash64
    slots: int = DEFAULT_SLOTS
    points: int = DEFAULT_POINTS
    probing: Literal["linear", "quadratic"] = "linear"
    period: int = (
        0  # 0: `key_hash` repeats itself after `slots` ids; else: count so many, it is a guess
    )

    def slot_of(self) -> Callable[[bytes], int]:
        """The slot of a key, by the assignment's hash or the one chosen instead."""
        key_hash, slots = self.key_hash, self.slots
        if key_hash is None:
            return scheme.by_high_bits(self.hash64, slots=slots)
        return lambda key: key_hash(number(key)) % slots

    def draw(self) -> Callable[[float], int]:
        """The slot of a random request id, as the assignment draws one."""
        key_hash, slots = self.key_hash, self.slots
        if key_hash is None:
            return scheme.evenly(slots)
        return lambda random: key_hash(int(random * REQUEST_IDS)) % slots

    def first(self, width: int, *, previous: scheme.Previous | None) -> array[int]:  # noqa: ARG002
        """The first `width` members clockwise of every slot; always built anew, it is small."""
        return circle.first(self.owners(), members=len(self.places), width=width)

    def rank(self, slot: int, *, candidates: Sequence[int], width: int) -> Sequence[int]:
        """All members in the order in which they are met clockwise of `slot`."""
        return circle.rank(slot, candidates, members=len(self.places), width=width)

    def hits(self) -> Sequence[int] | None:
        """The requests of one period, ids from 0 on, that reach each slot: H skips most."""
        if self.key_hash is None:
            return None
        counts = [0] * self.slots
        for slot in self._reached(self.key_hash):
            counts[slot] += 1
        return counts

    def bounds(self) -> scheme.Bounds:
        """The request ids of one period, each by itself, or the parts of a good hash."""
        if self.key_hash is None:
            return scheme.by_hash64()
        reached = list(self._reached(self.key_hash))
        return scheme.Bounds(
            space="request",
            size=len(reached),
            lasts=range(len(reached)),
            slots=reached,
            counted=bool(self.period),
        )

    def _reached(self, key_hash: Callable[[int], int]) -> Iterator[int]:
        """The slots of the requests of one period."""
        return (key_hash(request) % self.slots for request in range(self.period or self.slots))

    def hashed(self, key: bytes) -> Mapping[str, str]:
        """The request id and what its hash makes of it, before the modulo; or the chosen hash."""
        if self.key_hash is None:
            return scheme.hash64_said(self.hash64(key))
        request = number(key)
        return scheme.request_said(request, self.key_hash(request))

    def pack(self) -> bytes:
        """Nothing beyond the settings."""
        return b""

    def owners(self) -> Sequence[int]:
        """The member that serves each slot: the nearest clockwise, its own counting as nearest."""
        points = self.servers()
        if not len(self.places):
            return ()
        nearest = next(member for member in points if member != FREE)
        owners = [nearest] * self.slots
        for slot in range(self.slots - 1, -1, -1):
            nearest = points[slot] if points[slot] != FREE else nearest
            owners[slot] = nearest
        return owners

    def servers(self) -> list[int]:
        """The member whose virtual server is at each slot, FREE where there is none."""
        points = [FREE] * self.slots
        for member in sorted(range(len(self.places)), key=self.places.ordinals.__getitem__):
            server = self.places.ordinals[member] + 1
            for virtual in range(self.points):
                home = phi(server, virtual) % self.slots
                points[next(slot for slot in self._probes(home) if points[slot] == FREE)] = member
        return points

    def _probes(self, home: int) -> Iterator[int]:
        """The slots to try, the home first. k² steps do not reach every slot: then one by one."""
        if self.probing == "quadratic":
            for step in range(self.slots):
                yield (home + step * step) % self.slots
        for step in range(self.slots):
            yield (home + step) % self.slots
