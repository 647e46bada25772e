"""The inside of the assignment's ring: where its virtual servers are, who owns what, what H meets.

Law: pure; taken from the balancer's own `classic` scheme, nothing is computed a second time.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from ringmaster_balancer.ring import classic, scheme, table

from ringmaster_experiments import rings


@dataclass(frozen=True, slots=True)
class Anatomy:
    """A classic ring. Servers count from 0."""

    title: str
    slots: int
    points: tuple[tuple[int, ...], ...]  # by server: the slots of its virtual servers
    arcs: tuple[tuple[int, int, int], ...]  # start, length, server
    owned: tuple[int, ...]  # slots by server
    shares: tuple[float, ...]  # of the requests, by server
    reached: tuple[int, ...]  # slots that some request meets

    @property
    def lowest(self) -> int:
        """The first virtual server's slot."""
        return min(map(min, self.points))

    @property
    def highest(self) -> int:
        """The last virtual server's slot."""
        return max(map(max, self.points))

    @property
    def gap(self) -> int:
        """How many slots lie outside of all virtual servers."""
        return self.slots - (self.highest - self.lowest + 1)


def of(variant: rings.Variant, servers: int) -> Anatomy:
    """The ring of so many servers; `variant` is one of the classic ones."""
    ids = rings.names("web", servers)
    ring = rings.compiled(variant, ids)
    hits, _ = ring.weight()
    owners = [ids.index(owner or "") for owner in table.owners(ring)]
    return Anatomy(
        title=variant.title,
        slots=ring.slots,
        points=_points(ring.places, ring.slots),
        arcs=_arcs(owners),
        owned=tuple(owners.count(server) for server in range(servers)),
        shares=rings.shares(ring, ids),
        reached=tuple(slot for slot, count in enumerate(hits) if count),
    )


def _points(places: scheme.Places, slots: int) -> tuple[tuple[int, ...], ...]:
    layout = classic.Classic(places, key_hash=None, hash64=lambda _: 0, slots=slots).servers()
    by_ordinal = sorted(range(len(places)), key=places.ordinals.__getitem__)
    return tuple(
        tuple(slot for slot, member in enumerate(layout) if member == wanted)
        for wanted in by_ordinal
    )


def _arcs(owners: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
    """Runs of slots with one owner."""
    start = 0
    found = []
    for owner, run in itertools.groupby(owners):
        length = sum(1 for _ in run)
        found.append((start, length, owner))
        start += length
    return tuple(found)
