"""Quantities are read as Kubernetes reads them."""

from __future__ import annotations

import pytest
from ringmaster_operator.spec import quantity


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("500m", 0.5), ("2", 2.0), (2, 2.0), (0.5, 0.5), ("1.5", 1.5), ("1k", 1000.0), (".5", 0.5)],
)
def test_cores(text: object, wanted: float) -> None:
    assert quantity.cores(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("64Mi", 64 * 1024**2),
        ("1G", 10**9),
        ("128974848", 128_974_848),
        ("129e6", 129_000_000),
        ("1E", 10**18),
        ("1E3", 1000),
        ("1.5Gi", 3 * 2**29),
        ("1m", 1),  # rounded up
        (1024, 1024),
    ],
)
def test_sizes(text: object, wanted: int) -> None:
    assert quantity.size(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Mi",
        "1 Mi",
        "1mi",
        "1KiB",
        "-1",
        True,
        False,
        None,
        [],
        float("nan"),
        "1e999",
        "١",
        "1e",
    ],
)
def test_what_is_none_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="must"):
        quantity.parse(text)
