"""hrw: every slot ranks the members by a score of its own (rendezvous hashing, Thaler 1996).

Law: pure, no numpy. A slot's order depends on slot, id and weight alone, so a member that comes
or goes takes or leaves its own places in the rankings and shifts nobody else's.

score = mix64(mix64(slot) ^ xxh64(id)), unsigned, the highest first, ties by id. With weights the
members race: the lowest -ln((score + ½) / 2⁶⁴) / weight first (the weighted form of Schindelhauer
and Schomaker 2005). It is computed from the score's complement, where the winners' digits are.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ringmaster_balancer.ring import hashing, scheme

DEFAULT_SLOTS = 65_536
TWO_TO_MINUS_64 = 2.0**-64


@dataclass(frozen=True, slots=True)
class Hrw:
    """Rendezvous ranking of `places`; satisfies `scheme.Scheme`."""

    places: scheme.Places
    hash64: hashing.Hash64
    slots: int = DEFAULT_SLOTS

    def slot_of(self) -> Callable[[bytes], int]:
        """The slot of a key, by the high bits of its hash."""
        return scheme.by_high_bits(self.hash64, slots=self.slots)

    def draw(self) -> Callable[[float], int]:
        """Every slot is as likely as any other."""
        return scheme.evenly(self.slots)

    def first(self, width: int, *, previous: scheme.Previous | None) -> array[int]:
        """The first candidates of every slot; from `previous` where that is less work."""
        # Workers rank single slots and never build: numpy's 20 MB stay out of them.
        from ringmaster_balancer.ring import hrw_build  # noqa: PLC0415

        return hrw_build.first(self.places, slots=self.slots, width=width, previous=previous)

    def rank(self, slot: int, *, candidates: Sequence[int], width: int) -> list[int]:  # noqa: ARG002
        """All members, the one that serves `slot` first; costs about 1 µs a member."""
        mixed = hashing.mix64(slot)
        losses = [
            hashing.mix64(mixed ^ hashing.xxh64(member.encode())) ^ hashing.MASK64
            for member in self.places.ids
        ]
        weights = self.places.weights
        if len(set(weights)) <= 1:
            return sorted(range(len(losses)), key=losses.__getitem__)
        return sorted(
            range(len(losses)),
            key=lambda index: (cost(losses[index], weights[index]), losses[index]),
        )

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


def cost(loss: int, weight: int) -> float:
    """-ln((score + ½) / 2⁶⁴) / weight of a score's complement `loss` = 2⁶⁴ - 1 - score."""
    share = (loss + 0.5) * TWO_TO_MINUS_64
    return -math.log1p(-share) / weight if share < 1 else math.inf
