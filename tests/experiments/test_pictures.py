"""Pictures of trials and of recoveries: the same values give the same bytes."""

from __future__ import annotations

import struct

import pytest
from ringmaster_experiments import anatomy, pictures, rings, trials


def outcome(name, servers, requests=2_000):
    return trials.run(
        trials.Trial(rings.VARIANTS[name], servers, requests),
        seed=1,
        ids=rings.names("web", servers),
    )


EACH = [outcome(name, 3) for name in rings.VARIANTS]
OVER = {name: [outcome(name, servers) for servers in range(2, 7)] for name in rings.VARIANTS}
DRAW = {
    "distribution": lambda path: pictures.distribution(EACH[0], path),
    "scaling": lambda path: pictures.scaling(OVER["hrw"], path),
    "distributions": lambda path: pictures.distributions(EACH, path),
    "scalings": lambda path: pictures.scalings(OVER, path),
    "slots": lambda path: pictures.slots(
        [anatomy.of(rings.VARIANTS[name], 3) for name in ("assignment", "modulo")], path
    ),
}


@pytest.mark.parametrize("name", DRAW)
def test_a_picture_is_a_png_of_a_legible_size_and_the_same_each_time(name, tmp_path):
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    DRAW[name](first)
    DRAW[name](second)
    data = first.read_bytes()
    assert data == second.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    assert 900 <= width <= 1_600
    assert 500 <= height <= 1_000
    assert b"Software" not in data  # no version of matplotlib, no date


def test_more_servers_than_colours_are_drawn_all_the_same(tmp_path):
    strips = [anatomy.of(rings.VARIANTS["modulo"], 11)]
    pictures.slots(strips, tmp_path / "many.png")
    assert (tmp_path / "many.png").stat().st_size > 1_000
