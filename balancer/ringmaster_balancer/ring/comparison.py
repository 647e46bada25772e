"""What a change of the ring does: which share of the key space moves from whom to whom.

Law: pure, with numpy: it runs in the control process, where tables are compiled. Where two rings
hash a key to the same number, their slots are parts of one key space, whatever the slots' number
or shape; the parts are laid over each other and counted as integers: exact. Where they do not,
nothing is known of a single key, and the shares say what to expect: p of one times q of the other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ringmaster_balancer.ring import table as tables

Pair = tuple[str | None, str | None]
_Numbers = NDArray[np.uint64]
_Indices = NDArray[np.int64]

NOBODY = -1
# The request ids of two classic rings are laid side by side up to this common period.
_LONGEST_PERIOD = 4_194_304
# Bits: 2⁶⁴ in three limbs, of which up to 2³¹ can be added without loss.
_LIMB = 22
_FEW = 1_000_000


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests that were counted by slot of the ring before, and what becomes of them."""

    seconds: float
    requests: int
    moved: float  # a fraction of a slot's requests moves with that fraction of the slot
    needless: float


@dataclass(frozen=True, slots=True)
class Hits:
    """Requests by slot; slots that had none are left out. `seconds` is how long was counted."""

    seconds: float
    slots: NDArray[np.uint32]
    counts: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Shares are 0 to 1 of the key space. `moves` holds what changes hands; None is nobody.

    `exact`: the two share a hash whose every value is counted; otherwise all that follows is
    expected, not known. `needless` is
    what moves between members that both rings have with the same weight.
    """

    exact: bool
    before: Mapping[str, float]
    after: Mapping[str, float]
    moves: Mapping[Pair, float]
    needless: float
    slots_moved: NDArray[np.float64]  # of each slot before: the fraction that leaves a member
    slots_needless: NDArray[np.float64]

    @property
    def moved(self) -> float:
        """The share that leaves a member. What nobody served before does not move."""
        return math.fsum(share for pair, share in self.moves.items() if _leaves(pair))

    def traffic(self, hits: Hits) -> Traffic:
        """What becomes of requests that were counted by slot."""
        counts = hits.counts.astype(np.float64)
        return Traffic(
            seconds=hits.seconds,
            requests=int(hits.counts.sum(dtype=np.int64)),
            moved=float(counts @ self.slots_moved[hits.slots]),
            needless=float(counts @ self.slots_needless[hits.slots]),
        )


def compare(before: tables.Table, after: tables.Table, *, same_keys: bool = True) -> Comparison:
    """What changes hands. Not `same_keys`: requests will have other keys, so no key can be followed."""
    shares = _shares(before), _shares(after)
    stays = _stays(before, after)
    sides = (_Side.of(before), _Side.of(after)) if same_keys else None
    common = _common_size(sides) if sides else None
    if sides is None or common is None:
        return _expected(before, shares=shares, stays=stays)
    return _overlaid(sides, size=common, shares=shares, stays=stays, slots=before.slots)


@dataclass(frozen=True, slots=True)
class _Side:
    """A ring as parts of its key space: the last number, slot and owner of each."""

    ids: tuple[str, ...]
    space: str
    size: int
    counted: bool
    lasts: _Numbers
    slots: _Indices
    owners: _Indices

    @classmethod
    def of(cls, compiled: tables.Table) -> _Side:
        bounds = compiled.bounds()
        slots = np.arange(compiled.slots) if bounds.slots is None else np.array(bounds.slots)
        lasts = _equal_lasts(compiled.slots) if bounds.lasts is None else _numbers(bounds.lasts)
        owners = _owners(compiled)
        return cls(
            ids=compiled.ids,
            space=bounds.space,
            size=bounds.size,
            counted=bounds.counted,
            lasts=lasts,
            slots=slots,
            owners=owners[slots],
        )

    def repeated(self, size: int) -> _Side:
        """The same over a space that is several times as large."""
        times = size // self.size
        if times == 1:
            return self
        shifts = (np.arange(times, dtype=np.uint64) * np.uint64(self.size))[:, None]
        return _Side(
            ids=self.ids,
            space=self.space,
            size=size,
            counted=self.counted,
            lasts=(shifts + self.lasts[None, :]).ravel(),
            slots=np.tile(self.slots, times),
            owners=np.tile(self.owners, times),
        )


@dataclass(frozen=True, slots=True)
class _Overlay:
    """Two rings' parts laid over each other. Pieces rise; each has one slot and owner of both."""

    lengths: _Numbers  # less one: the whole space of 2⁶⁴ numbers is one too many for 64 bits
    slots: _Indices  # of the first ring
    kinds: _Indices  # index into `pairs`
    pairs: tuple[Pair, ...]

    @classmethod
    def of(cls, one: _Side, other: _Side) -> _Overlay:
        lasts = _merged(one.lasts, other.lasts)
        here, there = np.searchsorted(one.lasts, lasts), np.searchsorted(other.lasts, lasts)
        lengths = np.diff(lasts, prepend=lasts[:1]) - np.uint64(1)
        lengths[0] = lasts[0]
        width = len(other.ids) + 1
        codes, kinds = _numbered((one.owners[here] + 1) * width + other.owners[there] + 1)
        pairs = tuple(
            (_id(one.ids, code // width - 1), _id(other.ids, code % width - 1))
            for code in codes.tolist()
        )
        return cls(lengths, one.slots[here], kinds, pairs)

    def totals(self) -> list[int]:
        """The length of each kind, exactly: summed in three limbs that a float holds."""
        count = len(self.pairs)
        sums: list[int] = np.bincount(self.kinds, minlength=count).tolist()
        for shift in range(0, 64, _LIMB):
            limbs = (self.lengths >> np.uint64(shift)) & np.uint64((1 << _LIMB) - 1)
            part = np.bincount(self.kinds, weights=limbs.astype(np.float64), minlength=count)
            sums = [total + (int(each) << shift) for total, each in zip(sums, part, strict=True)]
        return sums

    def fractions(self, chosen: Sequence[bool], *, slots: int) -> NDArray[np.float64]:
        """Of each slot, the part that lies in pieces of the chosen kinds."""
        lengths = self.lengths.astype(np.float64) + 1
        whole = np.bincount(self.slots, weights=lengths, minlength=slots)
        part = np.bincount(
            self.slots, weights=np.where(np.array(chosen)[self.kinds], lengths, 0), minlength=slots
        )
        return np.divide(part, whole, out=np.zeros(slots), where=whole > 0)


def _overlaid(
    sides: tuple[_Side, _Side],
    *,
    size: int,
    shares: tuple[Mapping[str, float], Mapping[str, float]],
    stays: frozenset[str],
    slots: int,
) -> Comparison:
    """Sums of whole numbers, divided once; exact unless the numbers are a sample."""
    overlay = _Overlay.of(sides[0].repeated(size), sides[1].repeated(size))
    leaving = [_leaves(pair) for pair in overlay.pairs]
    idle = [_needless(pair, stays) for pair in overlay.pairs]
    totals = overlay.totals()
    return Comparison(
        exact=not any(side.counted for side in sides),
        before=shares[0],
        after=shares[1],
        moves={
            pair: total / size
            for pair, total in zip(overlay.pairs, totals, strict=True)
            if pair[0] != pair[1]
        },
        needless=sum(itertools.compress(totals, idle)) / size,
        slots_moved=overlay.fractions(leaving, slots=slots),
        slots_needless=overlay.fractions(idle, slots=slots),
    )


def _expected(
    before: tables.Table,
    *,
    shares: tuple[Mapping[str, float], Mapping[str, float]],
    stays: frozenset[str],
) -> Comparison:
    """Each key meets a member of the one with its share, and independently one of the other."""
    sources, targets = (dict[str | None, float](side.items()) or {None: 1.0} for side in shares)
    moves = {
        (source, target): p * q
        for source, p in sources.items()
        for target, q in targets.items()
        if source != target and p * q
    }
    leaving = {source: 1.0 - targets.get(source, 0.0) for source in before.ids}
    idle = {
        source: math.fsum(q for target, q in targets.items() if _needless((source, target), stays))
        for source in before.ids
    }
    owners = _owners(before)
    ids = before.ids
    by_owner = np.array([*(leaving[each] for each in ids), 0.0])  # NOBODY is the last
    idle_by_owner = np.array([*(idle[each] for each in ids), 0.0])
    return Comparison(
        exact=False,
        before=shares[0],
        after=shares[1],
        moves=moves,
        needless=math.fsum(share for pair, share in moves.items() if _needless(pair, stays)),
        slots_moved=by_owner[owners],
        slots_needless=idle_by_owner[owners],
    )


def _leaves(pair: Pair) -> bool:
    """Whether a member loses a key: what counts as moved, of the key space and of requests."""
    source, target = pair
    return source is not None and source != target


def _needless(pair: Pair, stays: frozenset[str]) -> bool:
    source, target = pair
    return source != target and source in stays and target in stays


def _stays(before: tables.Table, after: tables.Table) -> frozenset[str]:
    """The members that both have with the same weight."""
    weights = dict(zip(before.ids, before.places.weights, strict=True))
    return frozenset(
        member
        for member, weight in zip(after.ids, after.places.weights, strict=True)
        if weights.get(member) == weight
    )


def _common_size(sides: tuple[_Side, _Side]) -> int | None:
    """The key space in which both can be laid over each other; None if there is none."""
    one, other = sides
    if one.space != other.space:
        return None
    if one.size != other.size and (one.counted or other.counted):
        return None  # a sample does not go on as it began
    size = math.lcm(one.size, other.size)
    return size if one.size == other.size or size <= _LONGEST_PERIOD else None


def _owners(compiled: tables.Table) -> _Indices:
    """The owner's index of each slot; NOBODY in a ring without members."""
    if not compiled.width:
        return np.full(compiled.slots, NOBODY, dtype=np.int64)
    flat = np.frombuffer(compiled.candidates, dtype=np.uint16)
    return flat[:: compiled.width].astype(np.int64)


def _shares(compiled: tables.Table) -> dict[str, float]:
    """As `tables.shares`, which millions of slots would keep busy for seconds."""
    hits, total = compiled.weight()
    owners, count = _owners(compiled) + 1, len(compiled.ids) + 1
    weights = np.array(hits, dtype=np.float64)
    sums = np.bincount(owners, weights=weights, minlength=count)
    return {
        each: float(part) / total
        for each, part in zip(compiled.ids, sums[1:].tolist(), strict=True)
    }


def _numbered(values: _Indices) -> tuple[_Indices, _Indices]:
    """Which values there are, and each one's place among them."""
    highest = int(values.max())
    if highest > len(values) + _FEW:
        return np.unique(values, return_inverse=True)
    there = np.zeros(highest + 1, dtype=bool)
    there[values] = True
    return np.flatnonzero(there), (np.cumsum(there) - 1)[values]


def _merged(one: _Numbers, other: _Numbers) -> _Numbers:
    """The numbers of both, rising, each once. A stable sort merges what is sorted already."""
    every = np.concatenate((one, other))
    every.sort(kind="stable")
    first = np.append(every[1:] != every[:-1], True)
    merged: _Numbers = every[first]
    return merged


def _equal_lasts(slots: int) -> _Numbers:
    """The last of the 2⁶⁴ numbers that belong to each of `slots` equal parts: ⌈(s+1)·2⁶⁴/n⌉ - 1."""
    quotient, rest = divmod(1 << 64, slots)
    ordinal = np.arange(1, slots, dtype=np.uint64)
    ceiling = (ordinal * np.uint64(rest) + np.uint64(slots - 1)) // np.uint64(slots)
    inner = ordinal * np.uint64(quotient % (1 << 64)) + ceiling - np.uint64(1)
    return np.append(inner, np.uint64((1 << 64) - 1))


def _numbers(values: Sequence[int]) -> _Numbers:
    return np.array(values, dtype=np.uint64)


def _id(ids: tuple[str, ...], index: int) -> str | None:
    return None if index == NOBODY else ids[index]


def to_document(found: Comparison, *, hits: Hits | None = None) -> dict[str, Any]:
    """As JSON takes it; the largest moves first."""
    moves = sorted(found.moves.items(), key=lambda move: (-move[1], str(move[0])))
    return {
        "exact": found.exact,
        "moved": found.moved,
        "needless": found.needless,
        "members": [
            {"id": each, "before": found.before.get(each, 0.0), "after": found.after.get(each, 0.0)}
            for each in sorted({*found.before, *found.after})
        ],
        "moves": [
            {"from": source, "to": target, "share": share} for (source, target), share in moves
        ],
        "traffic": _traffic(found, hits) if hits is not None else None,
    }


def _traffic(found: Comparison, hits: Hits) -> dict[str, Any]:
    counted = found.traffic(hits)
    return {
        "seconds": round(counted.seconds, 1),
        "requests": counted.requests,
        "moved": counted.moved,
        "needless": counted.needless,
    }
