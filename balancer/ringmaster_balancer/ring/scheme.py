"""What every ring scheme offers, and the places that it ranks.

Law: pure. Members are known by index into `Places`, which are sorted by id: the order in which a
list names them can not matter.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_MEMBERS = 65_535  # a candidate is an unsigned 16-bit index


@dataclass(frozen=True, slots=True)
class Places:
    """The members of a ring, parallel tuples sorted by id; `ordinals` only where a scheme asks."""

    ids: tuple[str, ...]
    weights: tuple[int, ...]
    ordinals: tuple[int, ...] = ()

    def __len__(self) -> int:
        """How many members the ring has."""
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Previous:
    """What an earlier table of the same scheme and slots holds; a start for an incremental one."""

    places: Places
    candidates: array[int]
    width: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """How the numbers that keys are hashed to, 0 to `size` - 1, are divided among the slots.

    Two rings of one `space` hash a key to the same number. `lasts` are the parts' last numbers,
    rising, `slots` their slots; without `lasts` the space is divided into equal parts in slot
    order. `counted`: they are a sample, of a function whose period nobody knows.
    """

    space: str
    size: int
    lasts: Sequence[int] | None = None
    slots: Sequence[int] | None = None
    counted: bool = False


class Scheme(Protocol):
    """A way to rank the members for each slot."""

    @property
    def places(self) -> Places:
        """The members that it ranks."""

    @property
    def slots(self) -> int:
        """How many slots the table has."""

    def slot_of(self) -> Callable[[bytes], int]:
        """The function from a key to its slot, as fast as it can be made."""

    def draw(self) -> Callable[[float], int]:
        """The function from a random number in [0, 1) to a slot, as likely as keys hit it."""

    def first(self, width: int, *, previous: Previous | None) -> array[int]:
        """The first `width` candidates of every slot, flat, slot by slot."""

    def rank(self, slot: int, *, candidates: Sequence[int], width: int) -> Sequence[int]:
        """All members in their order for `slot`; `candidates` is the compiled table, if it helps."""

    def hits(self) -> Sequence[int] | None:
        """How many of equally likely requests reach each slot; None where all are alike."""

    def bounds(self) -> Bounds:
        """What `slot_of` does, as parts of the key space."""

    def hashed(self, key: bytes) -> Mapping[str, str]:
        """What the slot of a key is computed from, by name; as text, since JSON rounds integers."""

    def pack(self) -> bytes:
        """What `slot_of` needs in another process beyond settings and members."""


def by_high_bits(hash64: Callable[[bytes], int], *, slots: int) -> Callable[[bytes], int]:
    """The slot (hash64 × slots) >> 64; a plain shift where `slots` is a power of two."""
    if slots & (slots - 1) == 0:
        shift = 64 - slots.bit_length() + 1
        return lambda key: hash64(key) >> shift
    return lambda key: (hash64(key) * slots) >> 64


def hash64_said(value: int) -> dict[str, str]:
    """`Scheme.hashed` of `by_high_bits`."""
    return {"hash64": f"{value:#018x}"}


def request_said(request: int, value: int) -> dict[str, str]:
    """`Scheme.hashed` where a request id is hashed; hexadecimal beyond 64 bits."""
    return {"request": str(request), "value": str(value) if value >> 64 == 0 else f"{value:#x}"}


def by_hash64() -> Bounds:
    """The parts that belong to `by_high_bits`."""
    return Bounds(space="hash64", size=1 << 64)


def evenly(slots: int) -> Callable[[float], int]:
    """A `draw` where all slots are alike."""
    return lambda number: int(number * slots)
