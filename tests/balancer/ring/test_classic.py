"""Golden figures of the assignment's ring; the small circles are worked out by hand."""

from __future__ import annotations

import collections
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringmaster_balancer import errors, members
from ringmaster_balancer.ring import classic, hashing, scheme, table


def ring(count: int, **settings: Any) -> table.Table:
    return table.compile(
        members.Ring(scheme="classic", **settings), [(f"web-{i}", 100) for i in range(count)]
    )


def circle(ordinals: tuple[int, ...], **settings: Any) -> list[int]:
    places = scheme.Places(
        ids=tuple(map(str, ordinals)), weights=(1,) * len(ordinals), ordinals=ordinals
    )
    settings = {"key_hash": classic.h, "hash64": hashing.xxh64} | settings
    return classic.Classic(places, **settings).servers()


@pytest.mark.parametrize(
    ("count", "percent"),
    [
        (3, (84.375, 4.6875, 10.9375)),
        (6, (78.90625, 3.125, 9.375, 3.125, 4.6875, 0.78125)),
    ],
)
def test_the_shares_are_the_assignments_exact_ones(count: int, percent: tuple[float, ...]) -> None:
    assert [100 * share for share in table.shares(ring(count)).values()] == list(percent)


def test_ten_thousand_consecutive_requests_are_counted_as_the_assignment_does() -> None:
    # Worked out here from the text of the assignment, without the code under test.
    slots: list[int | None] = [None] * 512
    for server in (1, 2, 3):
        for virtual in range(9):
            slot = (server**2 + virtual**2 + 2 * virtual + 25) % 512
            while slots[slot] is not None:
                slot = (slot + 1) % 512
            slots[slot] = server
    expected: collections.Counter[str] = collections.Counter()
    for request in range(10_000):
        slot = (request**2 + 2 * request + 17) % 512
        while slots[slot] is None:
            slot = (slot + 1) % 512
        expected[f"web-{slots[slot] - 1}"] += 1  # type: ignore[operator]
    compiled = ring(3)
    owners = table.owners(compiled)
    found = collections.Counter(owners[compiled.slot_of(b"%d" % i)] for i in range(10_000))
    assert found == expected


def test_h_reaches_87_of_512_slots() -> None:
    hits, total = ring(3).weight()
    assert sum(count > 0 for count in hits) == 87
    assert total == 512


def test_one_members_points_lie_where_phi_puts_them() -> None:
    expected = {26 + virtual * virtual + 2 * virtual for virtual in range(9)}
    assert {slot for slot, member in enumerate(circle((0,))) if member == 0} == expected
    assert max(expected) - min(expected) + 1 == 81


@pytest.mark.parametrize(
    ("probing", "expected"), [("linear", [9, 10, 11, 12]), ("quadratic", [9, 10, 13, 2])]
)
def test_a_taken_slot_is_probed_past(probing: str, expected: list[int]) -> None:
    # One slot a member and 16 slots: ordinals 3, 7, 11, 15 are i = 4, 8, 12, 16, and
    # Φ(i, 0) = i² + 25 is 9 modulo 16 for all of them.
    filled = circle((3, 7, 11, 15), slots=16, points=1, probing=probing)
    slots = [filled.index(member) for member in range(4)]
    assert slots == expected


def test_quadratic_probing_falls_back_to_the_next_free_slot() -> None:
    # Squares modulo 16 are only 0, 1, 4, 9: the fifth member at home 9 finds none of those free.
    filled = circle((3, 7, 11, 15, 19), slots=16, points=1, probing="quadratic")
    assert filled.index(4) == 11


def test_members_are_put_in_by_rising_ordinal_whatever_their_ids() -> None:
    settings = members.Ring(scheme="classic")
    named = table.compile(settings, [("b", 1), ("a", 1)], ordinals={"b": 0, "a": 1})
    plain = ring(2)
    translated = [{"a": "web-1", "b": "web-0"}[str(owner)] for owner in table.owners(named)]
    assert translated == list(table.owners(plain))


def test_its_own_slot_counts_as_nearest() -> None:
    compiled = ring(1, slots=512)
    assert list(compiled.more(26)) == [0]
    two = ring(2)
    assert two.ids[two.first(26)[0]] == "web-0"  # Φ(1, 0) = 26
    assert two.ids[two.first(30)[0]] == "web-1"  # Φ(2, 0) = 29 is web-0's: on to 30


@pytest.mark.parametrize(
    ("key", "number"),
    [
        (b"0", 0),
        (b"132574", 132_574),
        (b"007", 7),
        (b"9" * 100, int("9" * 100)),
        (b"abc", hashing.xxh64(b"abc") % 1_000_000),
        (b"-1", hashing.xxh64(b"-1") % 1_000_000),
        ("٣".encode(), hashing.xxh64("٣".encode()) % 1_000_000),
        (b"9" * 30_000, hashing.xxh64(b"9" * 30_000) % 1_000_000),
    ],
)
def test_decimal_digits_are_their_integer_and_all_else_is_hashed(key: bytes, number: int) -> None:
    assert classic.number(key) == number
    assert ring(3).slot_of(key) == classic.h(number) % 512


def test_the_modified_hash_takes_the_id_itself() -> None:
    compiled = ring(3, hash="modulo")
    assert [compiled.slot_of(b"%d" % i) for i in (0, 511, 512, 1000)] == [0, 511, 0, 488]
    assert table.shares(compiled)["web-0"] == 457 / 512


def test_another_hash_spreads_the_keys_and_leaves_the_points() -> None:
    compiled = ring(3, hash="xxh64")
    assert compiled.slot_of(b"7") == hashing.xxh64(b"7") >> 55
    assert table.owners(compiled) == table.owners(ring(3))


@given(
    count=st.integers(min_value=1, max_value=12),
    probing=st.sampled_from(["linear", "quadratic"]),
    slot=st.integers(min_value=0, max_value=511),
)
def test_candidates_are_the_next_members_clockwise(count: int, probing: str, slot: int) -> None:
    compiled = ring(count, probing=probing)
    ranked = list(compiled.more(slot))
    assert sorted(ranked) == list(range(count))
    filled = circle(tuple(range(count)), probing=probing)
    # Ids sort as text, ordinals as numbers: compare by ordinal.
    clockwise = dict.fromkeys(each for each in filled[slot:] + filled[:slot] if each >= 0)
    assert [compiled.places.ordinals[index] for index in ranked] == list(clockwise)
    assert list(compiled.first(slot)) == ranked[: compiled.width]


@pytest.mark.parametrize(
    ("ids", "settings", "path"),
    [
        ([("web", 1)], {}, "members"),
        ([("web-0", 1), ("web-1", 2)], {}, "members"),
        ([(f"web-{i}", 1) for i in range(57)], {}, "ring.slots"),
        ([("web-0", 1)], {"slots": 1_000_000}, "ring.slots"),
        ([("web-0", 1)], {"hash": "nothing"}, "ring.hash"),
    ],
)
def test_what_classic_can_not_do_is_refused(
    ids: list[tuple[str, int]], settings: dict[str, Any], path: str
) -> None:
    with pytest.raises(errors.RingInvalid) as caught:
        table.compile(members.Ring(scheme="classic", **settings), ids)
    assert [fault.path for fault in caught.value.faults] == [path]


def test_fifty_six_members_fill_the_circle() -> None:
    assert sum(each >= 0 for each in circle(tuple(range(56)))) == 504


def test_a_request_without_a_key_gets_a_random_request_id() -> None:
    compiled = ring(3)
    assert compiled.draw(0.123456789) == classic.h(123_456) % 512
    assert 0 <= ring(3, hash="xxh64").draw(0.999999) < 512
