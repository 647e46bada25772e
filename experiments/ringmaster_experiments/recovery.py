"""Experiment 3: a server is killed in the middle of the load. What must happen, and did it?

Law: pure. When things happen cannot be computed, but who may answer can: the table names each key's
owner, and the candidate that stands in while the victim is not in the ring. No request may fail.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from ringmaster_experiments import draws, rings, trials

NOBODY = -1


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: kill the server of place `victim` (from 0) when request `kill_at` is sent."""

    variant: rings.Variant
    servers: int
    requests: int
    kill_at: int
    victim: int


@dataclass(frozen=True, slots=True)
class Expected:
    """By request: the owner, and who answers while the victim is away; indices into `ids`."""

    plan: Plan
    ids: tuple[str, ...]
    shares: tuple[float, ...]
    owners: array[int]
    substitutes: array[int]

    @property
    def victim(self) -> str:
        """The member whose server is killed."""
        return self.ids[self.plan.victim]

    def undisturbed(self) -> tuple[int, ...]:
        """Requests per member if nothing happened: one bound of what a live run shows."""
        return tuple(self.owners.count(member) for member in range(len(self.ids)))

    def never_replaced(self) -> tuple[int, ...]:
        """Requests per member if the victim were away from the kill on: the other bound."""
        late = self.owners[: self.plan.kill_at] + self.substitutes[self.plan.kill_at :]
        return tuple(late.count(member) for member in range(len(self.ids)))


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, in seconds after the kill; None: it did not."""

    name: str
    what: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Seen:
    """A live run; times are in seconds after the kill, `sent` and `took` by request."""

    measured: trials.Measured
    sent: Sequence[float]
    took: Sequence[float]
    events: tuple[Event, ...]
    healed: bool  # afterwards keys were answered by their owners again


@dataclass(frozen=True, slots=True)
class Bin:
    """A piece of the timeline. `answers` by member; latencies in milliseconds."""

    start: float
    answers: tuple[int, ...]
    median: float
    p99: float
    largest: float


def expect(plan: Plan, *, seed: int, ids: Sequence[str]) -> Expected:
    """Compute who may answer what."""
    ring = rings.compiled(plan.variant, ids)
    keys = draws.keys(seed, servers=plan.servers, count=plan.requests)
    return Expected(
        plan=plan,
        ids=tuple(ids),
        shares=rings.shares(ring, ids),
        owners=rings.owners(ring, ids, keys),
        substitutes=rings.substitutes(ring, ids, keys, without=ids[plan.victim]),
    )


def judge(expected: Expected, seen: Seen) -> tuple[trials.Verdict, ...]:
    """Every promise of a recovery, held against each single request."""
    total, failures = len(expected.owners), seen.measured.failures
    failed = sum(failures.values())
    kinds = "; ".join(f"{count} × {kind}" for kind, count in sorted(failures.items()))
    others = foreign(expected, seen)
    missing = [event.name for event in seen.events if event.seconds is None]
    return (
        trials.Verdict(
            "no request failed", not failed, kinds or f"{total:,} of {total:,} answered"
        ),
        trials.Verdict(
            "every request was answered by its key's owner or, the victim's after the kill, by the "
            "candidate that the table names next",
            not others,
            f"{others:,} of {total:,} by another" if others else f"{total:,} requests",
        ),
        trials.Verdict(
            "the dead server was replaced and its place in the ring taken again",
            not missing,
            f"not seen: {', '.join(missing)}" if missing else "every step was seen",
        ),
        trials.Verdict(
            "afterwards keys are answered by their owners again",
            seen.healed,
            "three times in a row" if seen.healed else "they are not",
        ),
    )


def foreign(expected: Expected, seen: Seen) -> int:
    """Requests that a member answered which the table does not name for them."""
    victim = expected.plan.victim
    count = 0
    for number, answer in enumerate(seen.measured.answers):
        owner = expected.owners[number]
        if answer in (NOBODY, owner):
            continue
        done = seen.sent[number] + seen.took[number]
        if owner != victim or answer != expected.substitutes[number] or done < 0:
            count += 1
    return count


def stood_in(expected: Expected, seen: Seen) -> int:
    """How many requests another member answered in the victim's place."""
    return sum(
        answer not in (NOBODY, owner)
        for answer, owner in zip(seen.measured.answers, expected.owners, strict=True)
    )


def timeline(expected: Expected, seen: Seen, *, width: float = 0.1) -> list[Bin]:
    """The run in pieces of `width` seconds, by when an answer was complete."""
    members = len(expected.ids)
    pieces: dict[int, tuple[list[int], list[float]]] = {}
    for sent, took, who in zip(seen.sent, seen.took, seen.measured.answers, strict=True):
        if who == NOBODY:
            continue
        counts, latencies = pieces.setdefault(
            math.floor((sent + took) / width), ([0] * members, [])
        )
        counts[who] += 1
        latencies.append(1_000 * took)
    if not pieces:
        return []
    return [
        _bin(number * width, *pieces.get(number, ([0] * members, [])))
        for number in range(min(pieces), max(pieces) + 1)
    ]


def _bin(start: float, counts: Sequence[int], latencies: list[float]) -> Bin:
    took = sorted(latencies) or [math.nan]
    return Bin(
        start=start,
        answers=tuple(counts),
        median=took[len(took) // 2],
        p99=took[int(len(took) * 0.99)],
        largest=took[-1],
    )
