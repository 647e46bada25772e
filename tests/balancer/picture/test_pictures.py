"""Whatever the ring, the pictures are well-formed, load nothing, and say in words what they show."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringmaster_balancer.picture import change, ring, scene, shares, sheet

RECT = "{http://www.w3.org/2000/svg}rect"
NAMES = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=63
)


@st.composite
def scenes(draw):
    ids = draw(st.lists(NAMES, unique=True, max_size=30))
    parts = [draw(st.floats(0, 1)) for _ in ids]
    total = sum(parts) or 1.0
    seats = tuple(
        scene.Seat(
            id=each,
            share=part / total,
            ideal=1 / len(ids),
            colour="#123456",
            state=draw(st.sampled_from(["active", "draining", "absent"])),
            healthy=draw(st.booleans()),
        )
        for each, part in zip(ids, parts, strict=True)
    )
    seat = st.integers(0, len(seats) - 1) if seats else st.just(-1)
    runs = (scene.Run(0, 0.5, draw(seat)), scene.Run(0.5, 1, draw(seat)))
    return scene.Scene("a/b", "hrw", "xxh3", 65_536, 7, seats, runs, sampled=720)


@st.composite
def changes(draw):
    ids = draw(st.lists(NAMES, unique=True, min_size=1, max_size=20))
    pair = st.tuples(st.sampled_from([*ids, None]), st.sampled_from([*ids, None]))
    moves = draw(
        st.dictionaries(pair.filter(lambda p: p[0] != p[1]), st.floats(1e-6, 0.1), max_size=9)
    )
    even = dict.fromkeys(ids, 1 / len(ids))
    exact = draw(st.booleans())
    return change.Change("a/b", ("generation 1", "generation 2"), even, even, moves, 0.0, exact)


def checked(drawn):
    root = ET.fromstring(drawn)
    assert root.get("role") == "img"
    assert root.find("{*}title").text
    assert root.find("{*}desc").text
    plain = drawn.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"<(script|style|image|use|a|foreignObject)[\s>]", plain)
    for each in root.iter():
        assert not any(name.startswith("on") or "href" in name for name in each.attrib)
        for value in each.attrib.values():
            assert not {"nan", "inf", "-inf"} & set(value.split())
    return root


@given(scenes())
def test_any_ring_can_be_drawn(made):
    for drawn in (ring.draw(made), shares.draw(made), sheet.draw(made)):
        root = checked(drawn)
        description = root.find("{*}desc").text
        assert all(
            " ".join(seat.id.split()) in " ".join(description.split()) for seat in made.seats
        )


@given(changes())
def test_any_change_can_be_drawn(made):
    root = checked(change.draw(made))
    said = root.find("{*}desc").text
    assert ("about" in said) is not made.exact


def test_states_are_told_by_more_than_colour():
    seats = tuple(
        scene.Seat(name, 0.25, 0.25, "#3b6fb6", state, healthy)
        for name, state, healthy in [
            ("a", "active", True), ("b", "active", False), ("c", "draining", True),
            ("d", "absent", True),
        ]
    )  # fmt: skip
    made = scene.Scene("a/b", "hrw", "xxh3", 64, 1, seats, (scene.Run(0, 1, 0),))
    said = "".join(ET.fromstring(shares.draw(made)).itertext())
    assert all(word in said for word in ("unhealthy", "draining", "absent"))
    bars = {e.get("data-member"): e for e in ET.fromstring(shares.draw(made)).iter(RECT)}
    assert bars["b"].get("stroke-dasharray")
    assert bars["a"].get("fill-opacity") is None
    assert float(bars["d"].get("fill-opacity")) < 0.5


def test_bars_are_as_long_as_the_shares():
    seats = tuple(scene.Seat(n, s, 0.5, "#000000") for n, s in (("a", 0.75), ("b", 0.25)))
    made = scene.Scene("a/b", "hrw", "xxh3", 64, 1, seats, ())
    bars = {
        e.get("data-member"): float(e.get("width"))
        for e in ET.fromstring(shares.draw(made)).iter(RECT)
        if e.get("data-member")
    }
    assert bars["a"] / bars["b"] == pytest.approx(3, rel=0.01)


def test_many_members_become_a_skyline_and_small_moves_become_one():
    ids = [f"web-{n}" for n in range(60)]
    seats = tuple(scene.Seat(each, 1 / 60, 1 / 60, "#000000") for each in ids)
    made = scene.Scene("a/b", "hrw", "xxh3", 64, 1, seats, ())
    assert "the line is what is due" in shares.draw(made)
    moves = {(each, "web-60"): 0.0003 for each in ids}
    even = dict.fromkeys(ids, 1 / 60)
    drawn = change.draw(
        change.Change("a/b", ("generation 1", "generation 2"), even, even, moves, 0.0, True)
    )
    assert "47 others" in drawn or "48 others" in drawn


def test_a_change_of_nothing_says_so():
    made = change.Change("a/b", ("generation 1", "generation 2"), {}, {}, {}, 0.0, True)
    assert "nothing moved" in change.draw(made)
