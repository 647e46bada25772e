"""A trial: so many requests on so many servers under one ring, simulated, measured, judged.

Law: pure. Experiments 1, 2 and 4 are nothing but lists of trials. What a live run measured comes in
as plain values; that it took time is not known here, so a result is the same whenever it is made.
"""

from __future__ import annotations

import hashlib
import statistics
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ringmaster_experiments import chance, draws, rings


@dataclass(frozen=True, slots=True)
class Trial:
    """What to do."""

    variant: rings.Variant
    servers: int
    requests: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What a live run showed: by request, who answered as an index into the ids, -1 for nobody."""

    answers: array[int]
    failures: Mapping[str, int] = field(default_factory=dict)  # what went wrong -> how often
    shared_names: tuple[str, ...] = ()  # server names that answered for more than one member


@dataclass(frozen=True, slots=True)
class Spread:
    """How a trial's requests spread over its servers."""

    mean: float
    smallest: int
    largest: int
    deviation: float  # standard deviation

    @property
    def peak(self) -> float:
        """The largest load as a multiple of the mean; 1 is perfectly even."""
        return self.largest / self.mean if self.mean else 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """One promise, whether it was kept, and the numbers."""

    promise: str
    holds: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """A trial's theory, simulation and, if there was one, live run. Counts are in order of ids."""

    trial: Trial
    ids: tuple[str, ...]
    shares: tuple[float, ...]
    simulated: tuple[int, ...]
    simulated_digest: str
    live: tuple[int, ...] | None
    live_digest: str | None
    verdicts: tuple[Verdict, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Requests per server: as measured, if they were."""
        return self.simulated if self.live is None else self.live

    @property
    def spread(self) -> Spread:
        """Of `counts`."""
        return spread(self.counts)

    @property
    def holds(self) -> bool:
        """Whether every promise was kept."""
        return all(verdict.holds for verdict in self.verdicts)


def run(
    trial: Trial, *, seed: int, ids: Sequence[str], measured: Measured | None = None
) -> Outcome:
    """Simulate a trial over these members, and judge what was measured beside it."""
    ring = rings.compiled(trial.variant, ids)
    keys = draws.keys(seed, servers=trial.servers, count=trial.requests)
    expected = rings.owners(ring, ids, keys)
    shares = rings.shares(ring, ids)
    simulated = _counts(expected, len(ids))
    verdicts = [fits(simulated, shares)]
    if measured is not None:
        verdicts += judge(expected, measured)
    return Outcome(
        trial=trial,
        ids=tuple(ids),
        shares=shares,
        simulated=simulated,
        simulated_digest=digest(expected),
        live=None if measured is None else _counts(measured.answers, len(ids)),
        live_digest=None if measured is None else digest(measured.answers),
        verdicts=tuple(verdicts),
    )


def judge(expected: Sequence[int], measured: Measured) -> list[Verdict]:
    """A live run against the simulation of the same keys: nothing is left to chance here."""
    failed = sum(measured.failures.values())
    kinds = "; ".join(f"{count} × {kind}" for kind, count in sorted(measured.failures.items()))
    wrong = sum(
        answer not in (-1, owner) for answer, owner in zip(measured.answers, expected, strict=True)
    )
    total = len(expected)
    return [
        Verdict("every request was answered", not failed, kinds or f"{total:,} of {total:,}"),
        Verdict(
            "each was answered by the member that the table names",
            not wrong and not failed,
            f"{total - wrong - failed:,} of {total:,} requests",
        ),
        Verdict(
            "each server answered for one member only",
            not measured.shared_names,
            ", ".join(measured.shared_names) or "as the servers name themselves",
        ),
    ]


def spread(counts: Sequence[int]) -> Spread:
    """Mean, extremes and standard deviation of the requests per server."""
    return Spread(
        mean=statistics.fmean(counts),
        smallest=min(counts),
        largest=max(counts),
        deviation=statistics.pstdev(counts),
    )


def digest(owners: Sequence[int]) -> str:
    """Who answers each request, in order of the requests, as SHA-256 over little-endian int16."""
    packed = array("h", owners)
    if sys.byteorder == "big":
        packed.byteswap()
    return hashlib.sha256(packed).hexdigest()


def fits(counts: Sequence[int], shares: Sequence[float]) -> Verdict:
    """The simulated counts against theory."""
    fit = chance.fit(counts, shares)
    return Verdict(
        "the simulation is a fair draw from the table's shares",
        fit.holds,
        f"chi-square {fit.statistic:.2f} with {fit.freedom} degrees of freedom, "
        f"p = {fit.p:.4f} (threshold {chance.THRESHOLD})",
    )


def _counts(owners: array[int], members: int) -> tuple[int, ...]:
    return tuple(owners.count(member) for member in range(members))
