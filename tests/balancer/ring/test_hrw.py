"""The definition, written down a second time from design.md, and what follows from it."""

from __future__ import annotations

import collections
import math
from fractions import Fraction

import numpy as np
import pytest
import xxhash
from ringmaster_balancer import members
from ringmaster_balancer.ring import hashing, hrw, scheme, table

SLOTS = 65_536


def ring(ids: list[tuple[str, int]], *, slots: int = SLOTS) -> hrw.Hrw:
    places = scheme.Places(
        ids=tuple(member for member, _ in sorted(ids)),
        weights=tuple(weight for _, weight in sorted(ids)),
    )
    return hrw.Hrw(places, hash64=hashing.xxh3, slots=slots)


def score(slot: int, member: str) -> int:
    return hashing.mix64(hashing.mix64(slot) ^ xxhash.xxh64(member.encode()).intdigest())


@pytest.mark.parametrize("slot", [0, 1, 1000, 65_535])
def test_members_are_ranked_by_score_the_highest_first(slot: int) -> None:
    ids = [f"web-{ordinal}" for ordinal in range(50)]
    chosen = ring([(member, 100) for member in ids])
    ranked = [chosen.places.ids[index] for index in chosen.rank(slot, candidates=(), width=0)]
    assert ranked == sorted(ids, key=lambda member: score(slot, member), reverse=True)


@pytest.mark.parametrize("slot", [0, 1, 1000, 65_535])
def test_weighted_members_are_ranked_by_the_formula(slot: int) -> None:
    weights = {f"web-{ordinal}": 10 + 37 * ordinal % 101 for ordinal in range(50)}
    chosen = ring(list(weights.items()))
    ranked = [chosen.places.ids[index] for index in chosen.rank(slot, candidates=(), width=0)]

    def merit(member: str) -> float:
        return weights[member] / -math.log(float((score(slot, member) + Fraction(1, 2)) / 2**64))

    assert ranked == sorted(weights, key=merit, reverse=True)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (0, 2.0**-65),  # the best of all scores: -ln(1 - ε) is ε
        (2**63, math.log(2)),
        (2**64 - 1, math.inf),  # the worst: so dear that rounding makes it infinite
    ],
)
def test_a_cost_is_exact_where_the_winners_are(loss: int, expected: float) -> None:
    assert hrw.cost(loss, 1) == pytest.approx(expected, rel=1e-15)


def test_equal_weights_rank_alike_whatever_they_are() -> None:
    one, hundred = ring([("a", 1), ("b", 1), ("c", 1)]), ring([("a", 100), ("b", 100), ("c", 100)])
    assert [one.rank(slot, candidates=(), width=0) for slot in range(200)] == [
        hundred.rank(slot, candidates=(), width=0) for slot in range(200)
    ]


def test_shares_follow_weights() -> None:
    weights = [("a", 100), ("b", 200), ("c", 300)]
    shares = table.shares(table.compile(members.Ring(), weights))
    # The standard deviation of a share p is √(p(1-p)/slots): 0.2 % at most; the ids are fixed.
    assert shares == pytest.approx({"a": 1 / 6, "b": 2 / 6, "c": 3 / 6}, abs=0.006)


def test_a_thousand_sets_are_as_even_as_theory_says() -> None:
    """1,000 names, 2 to 6 members each: 5,000 rings, by score alone, without the code under test.

    A ring's largest share over the mean is 1 + about 2.3 standard deviations of √((N-1)/slots) at
    worst, 0.87 % at N = 6.
    """
    mixed = _mixed(np.arange(SLOTS, dtype=np.uint64))
    ratios = collections.defaultdict(list)
    for name in range(1000):
        best, owner = np.zeros(SLOTS, np.uint64), np.zeros(SLOTS, np.uint8)
        for ordinal in range(6):
            member = np.uint64(xxhash.xxh64(f"set-{name}-{ordinal}".encode()).intdigest())
            scores = _mixed(mixed ^ member)
            owner[scores > best] = ordinal
            np.maximum(best, scores, out=best)
            if ordinal:
                count = ordinal + 1
                ratios[count].append(np.bincount(owner, minlength=count).max() * count / SLOTS)
    everything = np.concatenate(list(ratios.values()))
    assert (everything <= 1.02).mean() >= 0.94
    assert everything.max() <= 1.035
    compiled = table.compile(members.Ring(), [(f"set-7-{i}", 100) for i in range(6)])
    assert table.evenness(compiled).largest == pytest.approx(ratios[6][7], rel=1e-12)


def _mixed(values: np.ndarray) -> np.ndarray:
    return hashing.mix64_in_place(values, np.empty_like(values))
