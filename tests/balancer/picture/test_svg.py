"""Elements as text: escaped, short, and well-formed."""

from __future__ import annotations

import math
from xml.etree import ElementTree as ET

import pytest
from ringmaster_balancer.picture import svg


@pytest.mark.parametrize(
    ("value", "short"),
    [(0.0, "0"), (-0.001, "0"), (1.0, "1"), (1.5, "1.5"), (2.25, "2.25"), (-3.10, "-3.1")],
)
def test_numbers_are_as_short_as_two_decimals_allow(value, short):
    assert svg.number(value) == short


def test_every_text_is_escaped():
    drawn = svg.picture(
        svg.text("<b>&\"'", x=0, y=0, data_member='"><script>'),
        name="n",
        width=10,
        height=10,
        title="</title><script>",
        description="a & b",
    )
    root = ET.fromstring(drawn)
    assert root.find("{*}title").text == "</title><script>"
    assert root.find("{*}text").text == "<b>&\"'"
    assert root.find("{*}text").get("data-member") == '"><script>'


def test_an_element_leaves_out_what_is_none():
    assert svg.element("rect", x=1, fill=None, class_="a", stroke_width=2.0) == (
        '<rect x="1" class="a" stroke-width="2"/>'
    )


def test_angles_run_clockwise_from_the_top():
    for turn, wanted in ((0, (0, -1)), (0.25, (1, 0)), (0.5, (0, 1)), (0.75, (-1, 0))):
        assert svg.point(turn, 1) == pytest.approx(wanted, abs=1e-12)


def test_a_whole_turn_is_drawn_and_a_large_arc_goes_the_long_way():
    assert "A10 10 0 1 1" in svg.sector(0, 1, inner=5, outer=10)
    assert "A10 10 0 0 1" in svg.sector(0, 0.4, inner=5, outer=10)
    begin, end = svg.sector(0, 1, inner=5, outer=10)[1:].split("A")[0], svg.point(0.999999, 10)
    assert begin.split() == ["0", "-10"]
    assert math.dist(end, (0, -10)) > 0
