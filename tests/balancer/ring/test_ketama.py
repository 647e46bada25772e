"""Witnesses are the peers themselves: golden/record_*.py say how their answers were recorded."""

from __future__ import annotations

import collections
import json
import pathlib
import zlib
from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringmaster_balancer import errors, members
from ringmaster_balancer.ring import ketama, scheme, table

GOLDEN = pathlib.Path(__file__).parent / "golden"
FLAVOURS = pytest.mark.parametrize("flavour", ["crc32", "md5"])


def recorded(peer: str) -> dict[str, Any]:
    return json.loads((GOLDEN / f"{peer}.json").read_text())


def build(weights: dict[str, int], *, flavour: str = "crc32", **settings: Any) -> table.Table:
    ring = members.Ring(scheme="ketama", hash=flavour, **settings)
    return table.compile(ring, list(weights.items()))


def alike(count: int) -> dict[str, int]:
    return {f"web-{ordinal}": 100 for ordinal in range(count)}


@pytest.mark.parametrize(("peer", "flavour"), [("nginx", "crc32"), ("libmemcached", "md5")])
@pytest.mark.parametrize("case", [0, 1, 2])
def test_every_key_is_where_the_peer_has_it(peer: str, flavour: str, case: int) -> None:
    document = recorded(peer)
    servers, picked = document["cases"][case]["servers"], document["cases"][case]["picked"]
    names = list(servers)
    compiled = build({name: 100 * weight for name, weight in servers.items()}, flavour=flavour)
    owners = table.owners(compiled)
    for number, digit in enumerate(picked):
        assert owners[compiled.slot_of(b"user-%d" % number)] == names[int(digit)]
    assert len(picked) == document["keys"] == 2_000


@FLAVOURS
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_a_table_survives_the_way_to_a_worker(flavour: str, count: int) -> None:
    compiled = build(alike(count), flavour=flavour)
    arrived = table.from_bytes(compiled.to_bytes())
    assert arrived == compiled
    for number in range(100):
        slot = compiled.slot_of(b"%d" % number)
        assert arrived.slot_of(b"%d" % number) == slot
        assert list(arrived.more(slot)) == list(compiled.more(slot))


@FLAVOURS
def test_shares_are_the_lengths_of_arcs(flavour: str) -> None:
    compiled = build(alike(3), flavour=flavour)
    owners = table.owners(compiled)
    found = collections.Counter(owners[compiled.slot_of(b"k%d" % i)] for i in range(50_000))
    for member, share in table.shares(compiled).items():
        assert found[member] / 50_000 == pytest.approx(share, abs=0.012)  # five deviations
    assert sum(table.shares(compiled).values()) == pytest.approx(1)


@given(count=st.integers(min_value=2, max_value=8), gone=st.integers(min_value=0, max_value=7))
def test_only_the_keys_of_a_member_that_goes_move(count: int, gone: int) -> None:
    name = f"web-{gone % count}"
    rest = {member: weight for member, weight in alike(count).items() if member != name}
    many, few = build(alike(count)), build(rest)
    before, after = table.owners(many), table.owners(few)
    for number in range(2_000):
        key = b"user-%d" % number
        old, new = before[many.slot_of(key)], after[few.slot_of(key)]
        assert old in {new, name}


@FLAVOURS
def test_candidates_follow_clockwise_and_are_distinct(flavour: str) -> None:
    compiled = build(alike(5), flavour=flavour)
    owners = table.owners(compiled)
    for slot in range(0, compiled.slots, 7):
        clockwise = dict.fromkeys((*owners[slot:], *owners[:slot]))
        assert [compiled.ids[index] for index in compiled.more(slot)] == list(clockwise)
        assert list(compiled.first(slot)) == list(compiled.more(slot))[:3]


def test_a_member_too_light_for_a_point_still_stands_in() -> None:
    compiled = build({"a": 10_000, "b": 1}, flavour="md5")
    assert table.shares(compiled) == {"a": 1.0, "b": 0.0}
    assert list(compiled.first(0)) == [0, 1]


def test_two_circles_are_not_compared_slot_by_slot() -> None:
    one, other = build(alike(3)), build({f"app-{ordinal}": 100 for ordinal in range(3)})
    with pytest.raises(ValueError, match="different ways"):
        table.difference(one, other)


def test_a_lookup_meets_the_point_itself_and_wraps_after_the_last() -> None:
    low, middle, high = sorted((b"a", b"b", b"c"), key=zlib.crc32)
    places = scheme.Places(ids=("one", "two"), weights=(100, 100))
    points = array("I", map(zlib.crc32, (low, middle)))
    slot_of = ketama.Ketama(places, flavour="crc32", points=points, owners=(0, 1)).slot_of()
    assert [slot_of(key) for key in (low, middle, high)] == [0, 1, 0]


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"hash": "xxh3"}, "ring.hash"),
        ({"hash": "crc32", "slots": 65_536}, "ring.slots"),
        ({"hash": "md5", "virtual_nodes": 3}, "ring.virtualNodes"),
        ({"hash": "crc32", "virtual_nodes": 10_000}, "ring.virtualNodes"),
    ],
)
def test_what_ketama_can_not_do_is_refused(settings: dict[str, Any], path: str) -> None:
    ring = members.Ring(scheme="ketama", **settings)
    weights = {f"web-{ordinal}": 10_000 for ordinal in range(5)}
    with pytest.raises(errors.RingInvalid) as caught:
        table.compile(ring, list(weights.items()))
    assert [fault.path for fault in caught.value.faults] == [path]


@FLAVOURS
def test_a_request_without_a_key_is_drawn_by_the_lengths_of_arcs(flavour: str) -> None:
    compiled = build(alike(3), flavour=flavour)
    owners = table.owners(compiled)
    drawn = collections.Counter(owners[compiled.draw(step / 100_000)] for step in range(100_000))
    for member, share in table.shares(compiled).items():
        assert drawn[member] / 100_000 == pytest.approx(share, abs=0.003)
