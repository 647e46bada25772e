from __future__ import annotations

import pytest
from ringmaster_balancer import errors, members
from ringmaster_balancer.ring import hashing, hrw, select


def test_members_are_sorted_by_id_whatever_the_list() -> None:
    places = select.places(members.Ring(), [("b", 2), ("a", 1), ("a-10", 3), ("a-9", 4)])
    assert places.ids == ("a", "a-10", "a-9", "b")
    assert places.weights == (1, 3, 4, 2)
    assert places.ordinals == ()


@pytest.mark.parametrize("count", [65_536, 100_000])
def test_a_ring_has_at_most_as_many_members_as_an_entry_can_name(count: int) -> None:
    with pytest.raises(errors.RingInvalid, match="at most 65535"):
        select.places(members.Ring(), [(str(number), 1) for number in range(count)])


def test_two_members_of_one_id_are_refused() -> None:
    with pytest.raises(errors.RingInvalid, match="same id"):
        select.places(members.Ring(), [("a", 1), ("a", 2)])


def test_an_unknown_hash_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(errors.RingInvalid, match=r"ring\.hash: .*xxh3, xxh64, md5, crc32, fnv1a"):
        select.hash64(members.Ring(hash="sha3"))


@pytest.mark.parametrize("name", sorted(hashing.BY_NAME))
def test_a_hash_is_found_by_name(name: str) -> None:
    assert select.hash64(members.Ring(hash=name)) is hashing.BY_NAME[name]


def test_ordinals_come_from_the_ids_for_classic() -> None:
    ring = members.Ring(scheme="classic")
    assert select.places(ring, [("web-10", 1), ("web-9", 1)]).ordinals == (10, 9)
    assert select.places(ring, [("x", 1)], ordinals={"x": 4}).ordinals == (4,)


def test_hrw_has_65536_slots_unless_told() -> None:
    for asked, got in ((None, 65_536), (1000, 1000)):
        ring = members.Ring(slots=asked)
        chosen = select.scheme_of(ring, select.places(ring, []), hash64=hashing.xxh3)
        assert isinstance(chosen, hrw.Hrw)
        assert chosen.slots == got
