"""What we set out to reach beside the others, and whether this run did."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import contest
import fairness
import stalled

if TYPE_CHECKING:
    import results

OURS, HAPROXY, ENVOY = contest.RINGMASTER, contest.HAPROXY, contest.ENVOY
# Section, our contestant, whom beside, at most so many times its CPU.
RATIOS = (
    ("small", OURS, HAPROXY, 1.4, "CPU of a small GET, × HAProxy"),
    ("browser", OURS, HAPROXY, 1.6, "with ten header fields, × HAProxy"),
    ("10k", OURS, HAPROXY, 1.3, "of a response of 10 KB, × HAProxy"),
    ("small", OURS, ENVOY, 0.6, "CPU of a small GET, × Envoy"),
    (
        "log",
        contest.Contestant("ringmaster", access_log=True),
        HAPROXY,
        1.8,
        "with our access log, × HAProxy without one",
    ),
    (
        "workers",
        contest.Contestant("ringmaster", workers=2),
        OURS,
        1.25,
        "with two workers, × one worker",
    ),
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One line."""

    what: str
    bar: str
    measured: str
    met: bool

    @property
    def verdict(self) -> str:
        """In a word."""
        return "met" if self.met else "missed"


def judge(run: results.Run) -> list[Bar]:
    """Those for which there are figures."""
    return [
        *_ratios(run),
        *_throughput(run),
        *_members(run),
        *_memory(run),
        *_stalls(run),
        *_fairness(run),
        *_recoveries(run),
        *_faultless(run),
    ]


def _most(what: str, bar: float, ratios: list[float]) -> Bar:
    met = statistics.median(ratios) <= bar
    return Bar(what, f"≤ {bar:g}", contest.spread(ratios), met)


def _ratios(run: results.Run) -> Iterator[Bar]:
    for section, ours, theirs, bar, what in RATIOS:
        mine, base = run.of(section, ours), run.of(section, theirs)
        if mine and base:
            yield _most(what, bar, mine.ratios(base))


def _throughput(run: results.Run) -> Iterator[Bar]:
    mine, base = run.of("1m", OURS), run.of("1m", HAPROXY)
    if mine and base:
        ratios = mine.ratios(base, "rate")
        met = statistics.median(ratios) >= 0.9
        yield Bar("throughput at 1 MB, × HAProxy", "≥ 0.9", contest.spread(ratios), met)


def _members(run: results.Run) -> Iterator[Bar]:
    steps = []
    for few in (OURS, HAPROXY):
        many = run.of("members", contest.Contestant(few.proxy, members=100))
        base = run.of("members", few)
        if many is None or base is None:
            return
        steps.append(many.ratios(base))
    ours, theirs = map(statistics.median, steps)
    what = "CPU from 3 to 100 members, × the same step of HAProxy"
    measured = f"{ours / theirs:.2f} ({ours:.2f} and {theirs:.2f})"
    yield Bar(what, "≤ 1", measured, ours <= theirs)


def _memory(run: results.Run) -> Iterator[Bar]:
    for memory in run.memory:
        if memory.name == OURS.name:
            each = memory.per_connection / 1e3
            yield Bar("KB for an idle connection", "≤ 4", f"{each:.2f}", each <= 4)


def _stalls(run: results.Run) -> Iterator[Bar]:
    if OURS.name in run.stalls:
        what = f"p99 of the others among {stalled.STALLED:,} stalled clients, × without them"
        yield _most(what, 1.5, stalled.ratios(run.stalls[OURS.name]))


def _fairness(run: results.Run) -> Iterator[Bar]:
    """Honest transfers beside nginx; floods by what they add, as nginx refuses some of them."""
    ours, nginx = (run.fairness.get(each.name) for each in (OURS, contest.NGINX))
    for load in fairness.LOADS if ours else ():
        if load not in fairness.BULK:
            added = fairness.middle(ours, load) - fairness.middle(ours, "")
            yield Bar(
                f"ms that one {load} adds to the others' median",
                "≤ 50",
                f"{added:.1f}",
                added <= 50,
            )
        elif nginx:
            what = f"the others' median beside one {load}, × nginx"
            yield _most(what, 1, fairness.ratios(ours, nginx, load))


def _recoveries(run: results.Run) -> Iterator[Bar]:
    for what, bar, seconds in (
        (
            "s from a kill -9 to the exit from the ring",
            0.3,
            [r.out_of_ring for r in run.recoveries],
        ),
        (
            "s from a kill -9 to its replacement in the ring",
            2.0,
            [r.replaced for r in run.recoveries],
        ),
    ):
        if seconds:
            middle = statistics.median(seconds)
            measured = f"{middle:.3f}, worst {max(seconds):.3f}"
            yield Bar(what, f"≤ {bar:g}", measured, middle <= bar)


def _faultless(run: results.Run) -> Iterator[Bar]:
    """A ratio of a contestant whose requests failed is worth nothing."""
    ours = [r for r in run.results if r.contestant.proxy == OURS.proxy]
    if ours:
        failed = sum(each.errors for result in ours for each in result.rounds)
        yield Bar("our requests that failed, in all rounds", "0", str(failed), failed == 0)
