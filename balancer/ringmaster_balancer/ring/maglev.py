"""maglev: members take turns to take the next free slot of their own permutation of all slots.

Law: pure, no numpy. Eisenbud et al. 2016, section 3.4: offset and skip from two hashes of the id,
a prime number of slots. Shares differ by one slot at most among equals; the price is that a change
also moves a few keys of members that it does not concern. With weights a member takes part in as
many turns as its weight is of the heaviest. Fail-over goes to the owners of the next slots, which
neighbour by chance and so share a lost member's keys evenly.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ringmaster_balancer.ring import circle, hashing, scheme

DEFAULT_SLOTS = 65_537  # the paper's small table


@dataclass(frozen=True, slots=True)
class Maglev:
    """Google's permutation fill over `places`; `slots` is prime. Satisfies `scheme.Scheme`."""

    places: scheme.Places
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
        return circle.first(self.fill(), members=len(self.places), width=width)

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

    def fill(self) -> array[int]:
        """The owner of every slot."""
        slots, weights = self.slots, self.places.weights
        heaviest = max(weights)
        hashes = [hashing.xxh64(member.encode()) for member in self.places.ids]
        positions = [value % slots for value in hashes]
        skips = [hashing.mix64(value) % (slots - 1) + 1 for value in hashes]
        merits = [0] * len(hashes)
        owners, taken, free = array("H", bytes(2 * slots)), bytearray(slots), slots
        while True:
            for member, skip in enumerate(skips):
                merits[member] += weights[member]
                if merits[member] < heaviest:
                    continue
                merits[member] -= heaviest
                position = positions[member]
                while taken[position]:
                    position = (position + skip) % slots
                positions[member] = position
                owners[position], taken[position] = member, 1
                free -= 1
                if not free:
                    return owners


def is_prime(number: int) -> bool:
    """Whether a number of slots is prime, by trial division: slots are at most 2²⁴."""
    if number < 2 or number % 2 == 0:  # noqa: PLR2004 – the definition
        return number == 2  # noqa: PLR2004 – the definition
    return all(number % divisor for divisor in range(3, int(number**0.5) + 1, 2))
