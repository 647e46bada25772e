"""Two rings laid over each other: sums, symmetry, and every key counted one by one."""

from __future__ import annotations

import math
import random
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringmaster_balancer import members
from ringmaster_balancer.ring import comparison, custom, hashing, table

HASH_FAMILIES = [
    [
        {"scheme": scheme, "hash": name, **slots}
        for scheme, sizes in [
            ("hrw", (1, 7, 512, 1_000)),
            ("maglev", (101, 251)),
            ("classic", (512, 600)),
        ]
        for slots in [{"slots": size} for size in sizes]
    ]
    for name in ("xxh64", "md5")
]
KETAMA = [
    {"scheme": "ketama", "hash": "crc32", "virtual_nodes": points} for points in (1, 2, 40, 160)
]
REQUESTS = [
    {"scheme": "classic", "slots": slots, "probing": probing}
    for slots in (256, 512, 768)
    for probing in ("linear", "quadratic")
]
FAMILIES = [*HASH_FAMILIES, KETAMA, REQUESTS]


def build(ring, weights):
    names = [(f"web-{ordinal}", weight) for ordinal, weight in weights.items()]
    if ring["scheme"] == "classic":
        names = [(name, 100) for name, _ in names]
    return table.compile(members.Ring(**ring), names)


WEIGHTS = st.dictionaries(st.integers(0, 9), st.sampled_from([100, 100, 50, 250]), max_size=6)
NOT_EMPTY = WEIGHTS.filter(bool)
PAIRS = st.sampled_from(FAMILIES).flatmap(
    lambda family: st.tuples(st.sampled_from(family), st.sampled_from(family))
)


def balanced(found):
    """What each member had, less what it loses, more what it wins, is what it has."""
    for member in {*found.before, *found.after}:
        loses = math.fsum(share for (source, _), share in found.moves.items() if source == member)
        wins = math.fsum(share for (_, target), share in found.moves.items() if target == member)
        had, has = found.before.get(member, 0), found.after.get(member, 0)
        assert had - loses + wins == pytest.approx(has, abs=1e-9)


@given(PAIRS, NOT_EMPTY, NOT_EMPTY)
def test_nothing_is_lost_and_nothing_is_invented(rings, before, after):
    found = comparison.compare(build(rings[0], before), build(rings[1], after))
    assert found.exact
    assert math.fsum(found.before.values()) == pytest.approx(1)
    assert math.fsum(found.after.values()) == pytest.approx(1)
    assert all(share > 0 and pair[0] != pair[1] for pair, share in found.moves.items())
    assert 0 <= found.needless <= found.moved + 1e-12 <= 1 + 1e-9
    balanced(found)


@given(PAIRS, NOT_EMPTY, NOT_EMPTY)
def test_the_way_back_moves_the_same_the_other_way(rings, before, after):
    one, other = build(rings[0], before), build(rings[1], after)
    there, back = comparison.compare(one, other), comparison.compare(other, one)
    assert {(b, a): share for (a, b), share in back.moves.items()} == there.moves
    assert there.needless == back.needless
    assert (there.before, there.after) == (back.after, back.before)


@given(PAIRS, NOT_EMPTY)
def test_a_ring_compared_with_itself_moves_nothing(rings, weights):
    same = build(rings[0], weights)
    found = comparison.compare(same, same)
    assert (found.moves, found.moved, found.needless) == ({}, 0, 0)
    assert not found.slots_moved.any()


@pytest.mark.parametrize("family", range(len(FAMILIES)))
def test_the_shares_are_those_of_many_keys(family):
    chance = random.Random(family)
    keys = [b"%d" % chance.randrange(10**6) for _ in range(20_000)]
    for ring, other in zip(FAMILIES[family], FAMILIES[family][1:], strict=False):
        before = build(ring, {0: 100, 1: 100, 2: 100})
        after = build(other, {0: 100, 1: 250, 3: 100})
        owners = table.owners(before), table.owners(after)
        counted = Counter(
            (owners[0][before.slot_of(key)], owners[1][after.slot_of(key)]) for key in keys
        )
        found = comparison.compare(before, after)
        for pair in {*counted, *found.moves}:
            if pair[0] != pair[1]:
                share = found.moves.get(pair, 0)
                deviation = math.sqrt(len(keys) * share * (1 - share)) + 1
                assert abs(counted[pair] - share * len(keys)) < 5 * deviation


def test_the_parts_are_the_very_numbers_that_find_a_slot():
    # Exact at every border: the last number of a slot and the one after it.
    for slots in (1, 3, 7, 512, 65_537):
        lasts = comparison._equal_lasts(slots).tolist()
        assert len(lasts) == slots
        assert lasts[-1] == hashing.MASK64
        for slot in {0, 1, slots // 2, slots - 2, slots - 1} & set(range(slots)):
            assert (lasts[slot] * slots) >> 64 == slot
            assert slot == slots - 1 or ((lasts[slot] + 1) * slots) >> 64 == slot + 1


def test_another_number_of_slots_is_compared_as_intervals():
    # One member owns slot s of n: its part is [s/n, (s+1)/n); the overlaps are fractions by hand.
    one = table.compile(members.Ring(slots=2), [("a", 100), ("b", 100)])
    other = table.compile(members.Ring(slots=3), [("a", 100), ("b", 100)])
    overlaps = {(0, 0): 2, (0, 1): 1, (1, 1): 1, (1, 2): 2}  # of sixths
    moved = sum(
        Fraction(sixths, 6)
        for (here, there), sixths in overlaps.items()
        if table.owners(one)[here] != table.owners(other)[there]
    )
    assert comparison.compare(one, other).moved == pytest.approx(float(moved), abs=1e-15)


@given(NOT_EMPTY, NOT_EMPTY)
def test_a_change_of_members_with_hrw_moves_nothing_needlessly(before, after):
    ring = {"scheme": "hrw", "slots": 512}
    assert comparison.compare(build(ring, before), build(ring, after)).needless == 0


@given(NOT_EMPTY, NOT_EMPTY)
def test_ketama_moves_nothing_needlessly_either(before, after):
    ring = {"scheme": "ketama", "hash": "crc32"}
    assert comparison.compare(build(ring, before), build(ring, after)).needless == 0


@given(NOT_EMPTY, NOT_EMPTY)
def test_between_two_hashes_the_shares_are_expected_and_said_to_be(before, after):
    one = build({"scheme": "hrw", "slots": 512}, before)
    other = build({"scheme": "hrw", "slots": 512, "hash": "md5"}, after)
    found = comparison.compare(one, other)
    assert not found.exact
    stays = math.fsum(found.before.get(each, 0) * share for each, share in found.after.items())
    assert found.moved == pytest.approx(1 - stays)
    balanced(found)


def test_other_keys_can_be_followed_no_more_than_another_hash():
    same = build({"scheme": "hrw", "slots": 512}, {0: 100, 1: 100})
    found = comparison.compare(same, same, same_keys=False)
    assert not found.exact
    assert found.moved == pytest.approx(0.5, abs=0.01)


def test_classic_is_compared_over_the_requests_that_its_hash_reaches():
    one = build({"scheme": "classic"}, {0: 100, 1: 100, 2: 100})
    other = build({"scheme": "classic"}, {0: 100, 1: 100, 2: 100, 3: 100})
    found = comparison.compare(one, other)
    assert found.exact
    assert (
        found.before
        == table.shares(one)
        == {"web-0": 0.84375, "web-1": 0.046875, "web-2": 0.109375}
    )
    by_hand = table.difference(one, other)
    assert found.moves == by_hand.moves
    assert found.needless == by_hand.needless


def test_from_nobody_and_to_nobody():
    ring = {"scheme": "hrw", "slots": 512}
    nobody, two = build(ring, {}), build(ring, {0: 100, 1: 100})
    begins, ends = comparison.compare(nobody, two), comparison.compare(two, nobody)
    assert begins.moved == 0  # nobody has lost anything
    assert set(begins.moves) == {(None, "web-0"), (None, "web-1")}
    assert ends.moved == pytest.approx(1)
    assert comparison.compare(nobody, nobody).moves == {}
    other = build({**ring, "hash": "md5"}, {0: 100})
    assert comparison.compare(nobody, other).moves == {(None, "web-0"): 1.0}
    assert comparison.compare(other, nobody).moves == {("web-0", None): 1.0}


@given(PAIRS, WEIGHTS, WEIGHTS, st.booleans())
def test_traffic_by_slot_follows_the_slots_that_move(rings, before, after, same_keys):
    one, other = build(rings[0], before), build(rings[1], after)
    found = comparison.compare(one, other, same_keys=same_keys)
    # As many requests in each slot as the slot is long: the moved share of the traffic is that of
    # the key space.
    hits, total = one.weight()
    counts = np.array(hits, dtype=np.float64) / total * 1e9
    slots = np.arange(one.slots, dtype=np.uint32)
    told = found.traffic(comparison.Hits(300, slots, counts.astype(np.uint32)))
    assert told.moved / max(told.requests, 1) == pytest.approx(found.moved, abs=1e-4)
    assert told.needless <= told.moved + 1e-6


def own(name, function, *, kind=custom.Kind.KEY):
    """A function of the one file that all of them are in."""
    code = custom.Code(reference=f"file:{name}", source="", digest="one file's", kind=kind)
    return custom.Custom(code=code, function=function)


def with_own(mine, *, count=3, **ring):
    names = [(f"web-{ordinal}", 100) for ordinal in range(count)]
    return table.compile(members.Ring(hash=mine.code.reference, **ring), names, own=mine)


def test_two_functions_of_one_file_are_two_hashes():
    one, other = own("one", hashing.xxh64), own("other", hashing.md5)
    found = comparison.compare(with_own(one), with_own(other))
    assert (found.exact, found.moved) == (False, pytest.approx(2 / 3, abs=0.02))
    again = comparison.compare(with_own(one), with_own(own("one", hashing.xxh64), count=4))
    assert (again.exact, again.needless) == (True, 0)


def test_a_hash_of_requests_is_another_one_with_another_number_of_slots():
    mine = own("f", lambda request: request * 0x9E3779B97F4A7C15 >> 7, kind=custom.Kind.REQUEST)
    one, other = with_own(mine, slots=512), with_own(mine, slots=1_024)
    assert not comparison.compare(one, other).exact
    same = comparison.compare(one, with_own(mine, slots=512, count=4))
    assert (same.exact, same.needless) == (True, 0)


def test_classic_with_a_function_of_ones_own_is_counted_and_not_called_exact():
    mine = own("f", lambda request: request >> 20, kind=custom.Kind.REQUEST)  # no period that short
    one, more = with_own(mine, scheme="classic"), with_own(mine, scheme="classic", count=4)
    assert not comparison.compare(one, more).exact
    assert not comparison.compare(one, with_own(mine, scheme="classic", slots=600)).exact
    assert table.same_slots(one, more)  # what was counted by slot still counts


def test_traffic_of_one_slot_moves_with_it_or_stays():
    ring = {"scheme": "hrw", "slots": 512}
    one, other = build(ring, {0: 100, 1: 100}), build(ring, {0: 100})
    found = comparison.compare(one, other)
    owners = table.owners(one)
    for slot in (owners.index("web-0"), owners.index("web-1")):
        told = found.traffic(comparison.Hits(10, np.array([slot]), np.array([30])))
        assert (told.requests, told.moved) == (30, 30 if owners[slot] == "web-1" else 0)


def test_the_document_lists_the_largest_moves_first():
    ring = {"scheme": "hrw", "slots": 512}
    found = comparison.compare(build(ring, {0: 100, 1: 100}), build(ring, {0: 100, 1: 100, 2: 100}))
    said = comparison.to_document(found)
    assert [move["share"] for move in said["moves"]] == sorted(
        (move["share"] for move in said["moves"]), reverse=True
    )
    assert {member["id"] for member in said["members"]} == {"web-0", "web-1", "web-2"}
    assert said["traffic"] is None
    assert said["moved"] == found.moved
