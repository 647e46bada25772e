"""Whole hrw tables at once, with numpy; the order is defined in `hrw`.

Law: pure. `loss` is a score's complement (the lowest wins), `cost` its weighted form; both exactly
as in `hrw`. A change of few members is merged into the previous table: its candidates' losses are
computed again from slot and id, so nothing but the table itself is kept between two builds.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ringmaster_balancer.ring import hashing, hrw, scheme

_Losses = NDArray[np.uint64]
_Indices = NDArray[np.int64]

_BLOCK = 65_536  # scores at once, 512 KB: what a core's second-level cache holds
_MERGE_FRACTION = 8  # merging pays while fewer than one in eight members change


def first(
    places: scheme.Places, *, slots: int, width: int, previous: scheme.Previous | None = None
) -> array[int]:
    """The first `width` candidates of every slot, flat, as `array('H')`."""
    race = _Race.of(places, slots=slots)
    change = _Change.between(previous, places) if previous is not None else None
    if previous is None or change is None or previous.width != width or width == 0:
        table = race.best(np.arange(slots), width=width)
    else:
        table = _merge(race, previous, change)
    flat = array("H")
    flat.frombytes(np.ascontiguousarray(table, dtype=np.uint16).tobytes())
    return flat


@dataclass(frozen=True, slots=True)
class _Race:
    """The members' losses and costs in every slot."""

    slots: _Losses  # mix64(slot)
    members: _Losses  # xxh64(id)
    weights: NDArray[np.float64] | None  # None: all weigh the same, losses decide alone

    @classmethod
    def of(cls, places: scheme.Places, *, slots: int) -> _Race:
        numbers = np.arange(slots, dtype=np.uint64)
        hashes = [hashing.xxh64(member.encode()) for member in places.ids]
        even = len(set(places.weights)) <= 1
        return cls(
            slots=hashing.mix64_in_place(numbers, np.empty_like(numbers)),
            members=np.array(hashes, dtype=np.uint64),
            weights=None if even else np.array(places.weights, dtype=np.float64),
        )

    def losses(self, slots: _Indices, members: _Indices) -> _Losses:
        """Losses of `members` in `slots`, which are broadcast against each other."""
        values: _Losses = self.slots[slots] ^ self.members[members]
        hashing.mix64_in_place(values, np.empty_like(values))
        return np.invert(values, out=values)

    def costs(self, losses: _Losses, members: _Indices) -> NDArray[np.float64] | _Losses:
        """What is compared first: the losses themselves as long as all weigh the same."""
        if self.weights is None:
            return losses
        shares = (losses.astype(np.float64) + 0.5) * -hrw.TWO_TO_MINUS_64
        with np.errstate(divide="ignore"):  # a share of 1 costs infinitely much, as in `hrw`
            np.log1p(shares, out=shares)
        shares /= -self.weights[members]
        return shares

    def best(self, slots: _Indices, *, width: int) -> _Indices:
        """The `width` best members of each of `slots`, by full comparison."""
        table = np.empty((len(slots), width), dtype=np.int64)
        everyone = np.arange(len(self.members))
        rows = max(1, _BLOCK // max(1, len(everyone)))
        for start in range(0, len(slots), rows):
            block = slots[start : start + rows]
            costs = self.costs(self.losses(block[:, None], everyone[None, :]), everyone)
            worst = np.inf if self.weights is not None else hashing.MASK64
            for rank in range(width):
                winners = costs.argmin(axis=1)  # the first of equals: ids are sorted
                table[start : start + rows, rank] = winners
                costs[np.arange(len(block)), winners] = worst
        return table


@dataclass(frozen=True, slots=True)
class _Change:
    """What lies between two sets of places; a changed weight is gone and came."""

    index: _Indices  # old index -> new index, -1 for gone
    came: tuple[int, ...]  # new indices

    @classmethod
    def between(cls, previous: scheme.Previous, places: scheme.Places) -> _Change | None:
        """The change, or None if it is so large that a full build is less work."""
        old = dict(zip(previous.places.ids, previous.places.weights, strict=True))
        new = {member: index for index, member in enumerate(places.ids)}
        stays = {
            member
            for member, weight in zip(places.ids, places.weights, strict=True)
            if old.get(member) == weight
        }
        moved = len(places) + len(old) - 2 * len(stays)
        if moved * _MERGE_FRACTION > max(len(places), _MERGE_FRACTION):
            return None
        index = [new[member] if member in stays else -1 for member in previous.places.ids]
        came = [new[member] for member in places.ids if member not in stays]
        return cls(index=np.array(index, dtype=np.int64), came=tuple(came))


def _merge(race: _Race, previous: scheme.Previous, change: _Change) -> _Indices:
    """The previous table without those that are gone, and with those that came."""
    width = previous.width
    old = np.frombuffer(previous.candidates, dtype=np.uint16).reshape(-1, width)
    table = change.index[old]
    torn = np.flatnonzero((table < 0).any(axis=1))
    table[torn] = race.best(torn, width=width)
    whole = np.ones(len(table), dtype=bool)
    whole[torn] = False
    rest = np.flatnonzero(whole)
    for newcomer in change.came:
        table[rest] = _insert(race, rest, table[rest], newcomer)
    return table


def _insert(race: _Race, slots: _Indices, table: _Indices, newcomer: int) -> _Indices:
    """`table` with `newcomer` put where it belongs in each row, the last one dropped."""
    loss = race.losses(slots, np.array([newcomer]))
    cost = race.costs(loss, np.array([newcomer]))
    losses = race.losses(slots[:, None], table)
    costs = race.costs(losses, table)
    beats = _before((cost[:, None], loss[:, None], np.array(newcomer)), (costs, losses, table))
    result = table.copy()
    for rank in range(table.shape[1]):
        ahead = beats[:, rank]
        pushed = table[:, rank - 1] if rank else table[:, 0]
        from_above = beats[:, rank - 1] if rank else np.zeros(len(table), dtype=bool)
        result[:, rank] = np.where(from_above, pushed, np.where(ahead, newcomer, table[:, rank]))
    return result


_Key = tuple[NDArray[np.float64] | _Losses, _Losses, _Indices]


def _before(one: _Key, other: _Key) -> NDArray[np.bool_]:
    """Whether `one` ranks before `other`: by cost, then loss, then index (ids are sorted)."""
    by_index = one[2] < other[2]
    by_loss = (one[1] < other[1]) | ((one[1] == other[1]) & by_index)
    before: NDArray[np.bool_] = (one[0] < other[0]) | ((one[0] == other[0]) & by_loss)
    return before
