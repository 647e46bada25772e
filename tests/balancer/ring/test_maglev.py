from __future__ import annotations

import collections
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringmaster_balancer import errors, members
from ringmaster_balancer.ring import hashing, maglev, table


def build(weights: dict[str, int], *, slots: int | None = None) -> table.Table:
    ring = members.Ring(scheme="maglev", slots=slots)
    return table.compile(ring, list(weights.items()))


def alike(count: int) -> dict[str, int]:
    return {f"web-{ordinal}": 100 for ordinal in range(count)}


@pytest.mark.parametrize("count", [1, 2, 3, 6, 50])
def test_equals_differ_by_one_slot_at_most(count: int) -> None:
    counts = collections.Counter(table.owners(build(alike(count))))
    assert len(counts) == count
    assert max(counts.values()) - min(counts.values()) <= 1
    assert counts.total() == 65_537


def test_the_fill_is_the_papers() -> None:
    # Section 3.4's pseudocode, written down with permutations in full.
    slots, ids = 13, ["a", "b", "c"]
    permutations = []
    for member in ids:
        value = hashing.xxh64(member.encode())
        offset, skip = value % slots, hashing.mix64(value) % (slots - 1) + 1
        permutations.append([(offset + step * skip) % slots for step in range(slots)])
    expected: dict[int, str] = {}
    while len(expected) < slots:
        for member, permutation in zip(ids, permutations, strict=True):
            if len(expected) < slots:
                expected[next(slot for slot in permutation if slot not in expected)] = member
    owners = table.owners(build(dict.fromkeys(ids, 1), slots=slots))
    assert owners == [expected[slot] for slot in range(slots)]


def test_shares_follow_weights_to_the_slot() -> None:
    shares = table.shares(build({"a": 100, "b": 200, "c": 300}))
    assert shares == pytest.approx({"a": 1 / 6, "b": 2 / 6, "c": 3 / 6}, abs=1e-4)


def test_the_order_of_the_list_does_not_matter() -> None:
    listed = list(alike(20).items())
    shuffled = dict(random.Random(3).sample(listed, k=20))
    assert build(shuffled, slots=1009) == build(alike(20), slots=1009)


def test_a_change_moves_few_keys_that_it_does_not_concern() -> None:
    change = table.difference(build(alike(5)), build(alike(6)))
    assert 0 < change.needless < 0.05
    assert change.moved >= 1 / 6 - 1e-4


@given(
    weights=st.dictionaries(
        st.text(min_size=1, max_size=4), st.integers(1, 10_000), min_size=1, max_size=12
    )
)
def test_candidates_are_distinct_and_the_way_to_a_worker_is_safe(weights: dict[str, int]) -> None:
    compiled = build(weights, slots=101)
    assert table.from_bytes(compiled.to_bytes()) == compiled
    for slot in range(101):
        ranked = compiled.more(slot)
        assert sorted(ranked) == list(range(len(weights)))
        assert list(compiled.first(slot)) == list(ranked)[: compiled.width]


def test_no_members_serve_nobody() -> None:
    assert table.owners(build({})) == (None,) * 65_537


@pytest.mark.parametrize(
    ("number", "prime"),
    [(1, False), (2, True), (3, True), (4, False), (9, False), (65_536, False), (65_537, True)],
)
def test_primes_are_told_from_others(number: int, prime: bool) -> None:
    assert maglev.is_prime(number) is prime


@pytest.mark.parametrize(
    ("count", "slots"), [(1, 65_536), (13, 13)], ids=["not prime", "too few for the members"]
)
def test_unfit_slots_are_refused(count: int, slots: int) -> None:
    with pytest.raises(errors.RingInvalid) as caught:
        build(alike(count), slots=slots)
    assert _paths(caught.value) == ["ring.slots"]


def _paths(error: Any) -> list[str]:
    return [fault.path for fault in error.faults]
