"""The test that says whether counts can be a draw from shares."""

from __future__ import annotations

import math
import random

import pytest
from ringmaster_experiments import chance


@pytest.mark.parametrize(
    ("statistic", "freedom", "p"),
    [  # critical values as every table of the chi-square distribution has them
        (3.841, 1, 0.05),
        (6.635, 1, 0.01),
        (5.991, 2, 0.05),
        (11.070, 5, 0.05),
        (16.812, 6, 0.01),
        (18.307, 10, 0.05),
        (124.342, 100, 0.05),
    ],
)
def test_the_tail_is_that_of_the_tables(statistic, freedom, p):
    assert chance.tail(statistic, freedom) == pytest.approx(p, rel=2e-3)


def test_the_tail_begins_at_one_and_falls():
    for freedom in range(1, 12):
        values = [chance.tail(x / 4, freedom) for x in range(200)]
        assert values[0] == 1
        assert values == sorted(values, reverse=True)


def test_a_fair_draw_fits_and_a_biased_one_does_not():
    source = random.Random(5)
    draw = source.choices(range(3), weights=(5, 3, 2), k=30_000)
    counts = [draw.count(value) for value in range(3)]
    assert chance.fit(counts, (0.5, 0.3, 0.2)).holds
    assert not chance.fit(counts, (0.45, 0.33, 0.22)).holds


def test_the_p_of_fair_draws_is_spread_evenly():
    source = random.Random(1)
    shares = (0.5, 0.3, 0.15, 0.05)
    found = []
    for _ in range(400):
        draw = source.choices(range(4), weights=shares, k=2_000)
        found.append(chance.fit([draw.count(value) for value in range(4)], shares).p)
    assert 0.4 < sum(found) / len(found) < 0.6
    assert 0.02 < sum(p < 0.1 for p in found) / len(found) < 0.2


def test_a_count_where_nothing_may_be_is_impossible():
    assert chance.fit((10, 1), (1.0, 0.0)) == chance.Fit(math.inf, 1, 0.0)


def test_classes_with_few_expected_are_pooled():
    assert chance.fit((97, 1, 1, 1), (0.97, 0.01, 0.01, 0.01)).freedom == 0
    assert chance.fit((940, 20, 20, 20), (0.94, 0.02, 0.02, 0.02)).freedom == 3
