"""Whether counts can be a draw from given shares: Pearson's chi-square test, exact tail included.

Law: pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

THRESHOLD = 0.0001  # one right build in ten thousand seeds is doubted
_EXPECTED = 5.0  # below it a class is pooled with the next (Cochran's rule)


@dataclass(frozen=True, slots=True)
class Fit:
    """How well counts fit shares. `p`: how likely chance alone deviates at least as much."""

    statistic: float
    freedom: int
    p: float

    @property
    def holds(self) -> bool:
        """Whether chance explains the deviation."""
        return self.p >= THRESHOLD


def fit(counts: Sequence[int], shares: Sequence[float]) -> Fit:
    """Counts against shares (which sum to 1). A count where the share is 0 is impossible: p = 0."""
    total = sum(counts)
    if any(count and not share for count, share in zip(counts, shares, strict=True)):
        return Fit(math.inf, len(counts) - 1, 0.0)
    classes = _pooled([(share * total, count) for share, count in zip(shares, counts, strict=True)])
    freedom = len(classes) - 1
    if freedom < 1:
        return Fit(0.0, 0, 1.0)
    statistic = sum((count - expected) ** 2 / expected for expected, count in classes)
    return Fit(statistic, freedom, tail(statistic, freedom))


def tail(statistic: float, freedom: int) -> float:
    """P(chi-square ≥ statistic): the regularised upper gamma function, in closed form.

    Q(a + 1, x) = Q(a, x) + x^a e^-x / Γ(a + 1), from Q(1, x) = e^-x or Q(½, x) = erfc(√x).
    """
    half = statistic / 2
    if half <= 0:
        return 1.0
    start = 1.0 if freedom % 2 == 0 else 0.5
    total = math.exp(-half) if freedom % 2 == 0 else math.erfc(math.sqrt(half))
    steps = int(freedom / 2 - start)
    for step in range(steps):
        order = start + step
        total += math.exp(order * math.log(half) - half - math.lgamma(order + 1))
    return min(1.0, total)


def _pooled(classes: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
    """Classes of at least five expected each, as far as there are so many; empty ones fall out."""
    pooled: list[tuple[float, int]] = []
    expected, count = 0.0, 0
    for here, counted in sorted(classes):
        expected, count = expected + here, count + counted
        if expected >= _EXPECTED:
            pooled.append((expected, count))
            expected, count = 0.0, 0
    if expected and pooled:
        last = pooled.pop()
        pooled.append((last[0] + expected, last[1] + count))
    return pooled
