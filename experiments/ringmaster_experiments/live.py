"""A trial on a real stack: arrange it, send its requests, say who answered.

Law: shell; the order of effects and nothing else. What it means is judged in `trials`.
"""

from __future__ import annotations

import collections
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ringmaster_experiments import draws, load, results, rings, stacks, trials

_SETTLE_SECONDS = 15.0  # for every worker to find every member healthy
_WITNESSES = 300  # keys that are asked
_ROUNDS = 3  # that they must all be answered as the table says
_PAUSE = 0.1


@dataclass(frozen=True, slots=True)
class Run:
    """A trial as it went."""

    ids: tuple[str, ...]
    measured: trials.Measured
    timings: results.Timings


@dataclass(frozen=True, slots=True)
class Settled:
    """Whether keys are answered as the table says, and what was sent to find out."""

    good: bool
    rounds: tuple[load.Outcome, ...]


def run(
    stack: stacks.Stack,
    trial: trials.Trial,
    *,
    seed: int,
    connections: int,
    progress: Callable[[int], None],
) -> Run:
    """Do a trial."""
    ids = stack.arrange(trial.variant.ring, trial.servers)
    keys = draws.keys(seed, servers=trial.servers, count=trial.requests)
    settle(stack, ids, keys, variant=trial.variant)
    outcome = load.run(stack.target, keys, connections=connections, progress=progress)
    return Run(ids=ids, measured=measured(outcome, ids), timings=timings(outcome))


def settle(
    stack: stacks.Stack, ids: Sequence[str], keys: Sequence[bytes], *, variant: rings.Variant
) -> Settled:
    """Wait until some keys are answered as the table says, over new connections, thrice in a row.

    The operator says that the ring is in force, not that each worker has found each member healthy.
    A stack that never gets there is measured all the same: that is what the verdict is for.
    """
    witnesses = keys[:_WITNESSES]
    owners = array("i", rings.owners(rings.compiled(variant, ids), ids, witnesses))
    deadline = time.monotonic() + _SETTLE_SECONDS
    rounds: list[load.Outcome] = []
    good = 0
    while good < _ROUNDS and time.monotonic() < deadline:
        rounds.append(load.run(stack.target, witnesses, seconds=_SETTLE_SECONDS))
        good = good + 1 if measured(rounds[-1], ids).answers == owners else 0
        time.sleep(0 if good else _PAUSE)
    return Settled(good=good == _ROUNDS, rounds=tuple(rounds))


def measured(outcome: load.Outcome, ids: Sequence[str]) -> trials.Measured:
    """Answers by member; one that names none, or one unknown, has failed."""
    place = [
        ids.index(server.member) if server.member in ids else load.NOBODY
        for server in outcome.servers
    ]
    answers = array("i", (who if who == load.NOBODY else place[who] for who in outcome.answers))
    failures = collections.Counter(outcome.failures)
    strange = outcome.answers.count(load.NOBODY)
    if unknown := answers.count(load.NOBODY) - strange:
        failures["answered by no member of this ring"] += unknown
    return trials.Measured(answers, failures=failures, shared_names=_shared(outcome.servers))


def timings(outcome: load.Outcome) -> results.Timings:
    """How fast it went."""
    took = sorted(
        seconds
        for seconds, who in zip(outcome.took, outcome.answers, strict=True)
        if who != load.NOBODY
    ) or [0.0]
    return results.Timings(
        seconds=outcome.seconds,
        rate=len(outcome.answers) / outcome.seconds if outcome.seconds else 0.0,
        median=1_000 * took[len(took) // 2],
        p99=1_000 * took[int(len(took) * 0.99)],
        largest=1_000 * took[-1],
    )


def _shared(servers: Sequence[load.Server]) -> tuple[str, ...]:
    """Names of servers that answered for more than one member."""
    names = collections.Counter(server.name for server in servers)
    return tuple(sorted(name for name, count in names.items() if count > 1))
