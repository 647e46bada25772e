"""A scheme of the user's own, from its function to the workers."""

from __future__ import annotations

import own_hashes
import pytest
from ringmaster_balancer import codes, errors, members
from ringmaster_balancer.ring import custom, table

RING = members.Ring(scheme="custom", hash="schemes:round_robin", slots=64)


def loaded(reference):
    function, kind = codes.function(reference, own_hashes.SCHEMES)
    code = custom.Code(reference=reference, source=own_hashes.SCHEMES, digest="d", kind=kind)
    return custom.Custom(code=code, function=function)


def build(count, own=None):
    places = [(f"web-{ordinal}", 100) for ordinal in range(count)]
    return table.compile(RING, places, own=own or loaded("schemes:round_robin"))


def test_the_function_says_who_owns_a_slot_and_the_next_ones_follow():
    compiled = build(3)
    assert list(compiled.first(0)) == [0, 1, 2]
    assert list(compiled.first(1)) == [1, 2, 0]
    assert table.shares(compiled) == pytest.approx(dict.fromkeys(compiled.ids, 1 / 3), abs=0.02)
    assert list(compiled.more(5)) == compiled.ranked(5)


def test_workers_get_the_owners_and_hash_keys_as_hrw_does():
    compiled = build(3)
    arrived = table.from_bytes(compiled.to_bytes(), load=codes.load)
    assert arrived == compiled
    plain = table.compile(members.Ring(slots=64), [("web-0", 100)])
    assert [arrived.slot_of(b"%d" % n) for n in range(50)] == [
        plain.slot_of(b"%d" % n) for n in range(50)
    ]
    assert arrived.bounds() == plain.bounds()


def test_a_ring_without_members_asks_nobody():
    assert build(0).width == 0


def test_a_function_of_another_kind_is_refused():
    hashes = custom.Custom(
        code=custom.Code("schemes:f", "", "d", custom.Kind.KEY), function=lambda _key: 0
    )
    with pytest.raises(errors.RingInvalid, match="members, slots"):
        build(2, own=hashes)
    ring = members.Ring(hash="schemes:round_robin")
    with pytest.raises(errors.RingInvalid, match="needs scheme custom"):
        table.compile(ring, [("a", 1)], own=loaded("schemes:round_robin"))
    with pytest.raises(errors.RingInvalid, match="module:name"):
        table.compile(members.Ring(scheme="custom"), [("a", 1)])
