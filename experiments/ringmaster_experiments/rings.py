"""The rings under experiment, and what their tables say: who serves a key, exact shares.

Law: pure; the balancer's own tables, compiled as its control process does, so a live run can agree
with them key by key.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ringmaster_balancer import members
from ringmaster_balancer.ring import table

WEIGHT = 100  # every member's, as the operator announces them


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to spread keys. `title` is for pictures, `ring` what `spec.ring` says."""

    name: str
    title: str
    ring: Mapping[str, str]


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("assignment", "assignment: H and Φ", {"scheme": "classic", "hash": "assignment"}),
        Variant("modulo", "i % 512 for H, Φ as is", {"scheme": "classic", "hash": "modulo"}),
        Variant("xxh64", "xxh64 for H, Φ as is", {"scheme": "classic", "hash": "xxh64"}),
        Variant("ketama", "ketama, crc32", {"scheme": "ketama", "hash": "crc32"}),
        Variant("maglev", "maglev, xxh3", {"scheme": "maglev", "hash": "xxh3"}),
        Variant("hrw", "hrw, xxh3 (default)", {"scheme": "hrw", "hash": "xxh3"}),
    )
}
DEFAULT = "hrw"


def names(set_name: str, servers: int) -> tuple[str, ...]:
    """The member ids of a set that has never been scaled down."""
    return tuple(f"{set_name}-{ordinal}" for ordinal in range(servers))


def compiled(variant: Variant, ids: Iterable[str]) -> table.Table:
    """The table over these members."""
    ring = members.Ring.model_validate(dict(variant.ring))
    return table.compile(ring, [(member, WEIGHT) for member in ids])


def owners(ring: table.Table, ids: Sequence[str], keys: Iterable[bytes]) -> array[int]:
    """Which of `ids`, by index, serves each key while all are in the ring."""
    place = [ids.index(member) for member in ring.ids]
    candidates, width, slot_of = ring.candidates, ring.width, ring.slot_of
    return array("H", (place[candidates[slot_of(key) * width]] for key in keys))


def substitutes(
    ring: table.Table, ids: Sequence[str], keys: Iterable[bytes], *, without: str
) -> array[int]:
    """As `owners` while the member `without` is not in the ring: the next candidate takes over."""
    place = [ids.index(member) for member in ring.ids]
    gone = ring.ids.index(without)
    found = array("H")
    for key in keys:
        order = ring.more(ring.slot_of(key))
        found.append(place[order[0] if order[0] != gone else order[1]])
    return found


def shares(ring: table.Table, ids: Sequence[str]) -> tuple[float, ...]:
    """Each member's share of the key space, exact."""
    found = table.shares(ring)
    return tuple(found[member] for member in ids)
