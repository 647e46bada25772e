"""A scheme of the user's own: a function names each slot's owner, the rest is as in maglev.

Law: pure, no numpy. Fail-over goes to the next different owners clockwise. The function runs where
a table is compiled and nowhere else: a worker gets the owners.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ringmaster_balancer.ring import circle, custom, hashing, scheme

DEFAULT_SLOTS = 65_536


@dataclass(frozen=True, slots=True)
class Filled:
    """The owners that `fill` gives over `places`; satisfies `scheme.Scheme`."""

    places: scheme.Places
    fill: custom.Fill
    hash64: hashing.Hash64
    slots: int = DEFAULT_SLOTS

    def slot_of(self) -> Callable[[bytes], int]:
        """The slot of a key, by the high bits of its hash."""
        return scheme.by_high_bits(self.hash64, slots=self.slots)

    def draw(self) -> Callable[[float], int]:
        """Every slot is as likely as any other."""
        return scheme.evenly(self.slots)

    def first(self, width: int, *, previous: scheme.Previous | None) -> array[int]:  # noqa: ARG002
        """Each slot's owner and the next different ones; always filled anew."""
        if not width:
            return array("H")
        members = list(zip(self.places.ids, self.places.weights, strict=True))
        owners = custom.filled(self.fill, members, slots=self.slots)
        return circle.first(owners, members=len(self.places), width=width)

    def rank(self, slot: int, *, candidates: Sequence[int], width: int) -> Sequence[int]:
        """All members in the order in which they own the slots from `slot` on."""
        return circle.rank(slot, candidates, members=len(self.places), width=width)

    def hits(self) -> None:
        """Every slot is as likely as any other."""

    def bounds(self) -> scheme.Bounds:
        """Equal parts of the hash's 64 bits."""
        return scheme.by_hash64()

    def hashed(self, key: bytes) -> Mapping[str, str]:
        """The hash whose high bits choose the slot."""
        return scheme.hash64_said(self.hash64(key))

    def pack(self) -> bytes:
        """Nothing beyond the settings."""
        return b""
