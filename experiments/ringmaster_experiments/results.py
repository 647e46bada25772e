"""What an experiment has found: values that files, pictures and the page are made of.

Law: pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ringmaster_experiments import recovery, trials


@dataclass(frozen=True, slots=True)
class Timings:
    """What cannot be replayed: a run's speed. Latencies in milliseconds, of answered requests."""

    seconds: float
    rate: float
    median: float
    p99: float
    largest: float


@dataclass(frozen=True, slots=True)
class Ran:
    """Trials with their outcomes and, if they were live, how fast each went."""

    outcomes: tuple[trials.Outcome, ...]
    timings: tuple[Timings, ...] = ()

    @property
    def verdicts(self) -> tuple[trials.Verdict, ...]:
        """Of all trials."""
        return tuple(verdict for each in self.outcomes for verdict in each.verdicts)


@dataclass(frozen=True, slots=True)
class Live:
    """A recovery as it went."""

    seen: recovery.Seen
    timings: Timings

    @property
    def failed(self) -> int:
        """Requests without an answer."""
        return sum(self.seen.measured.failures.values())


@dataclass(frozen=True, slots=True)
class Recovered:
    """A recovery; without `live` only its simulation."""

    expected: recovery.Expected
    live: Live | None = None

    @property
    def verdicts(self) -> tuple[trials.Verdict, ...]:
        """Of the simulation and, if there was one, the live run."""
        drawn = trials.fits(self.expected.undisturbed(), self.expected.shares)
        return (drawn, *(recovery.judge(self.expected, self.live.seen) if self.live else ()))


def holds(verdicts: Sequence[trials.Verdict]) -> bool:
    """Whether all was as promised: the exit code."""
    return all(verdict.holds for verdict in verdicts)
