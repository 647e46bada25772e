"""What an experiment says on the terminal: tables and verdicts.

Law: values in, lines out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ringmaster_experiments import recovery, results, trials

Say = Callable[[str], None]


def ran(found: results.Ran, folder: Path, *, say: Say) -> None:
    """The outcomes as a table, and the verdicts."""
    say(f"{'ring':<12}{'servers':>8}{'requests':>10}{'max/mean':>10}{'std dev':>9}  per server")
    for outcome in found.outcomes:
        spread, trial = outcome.spread, outcome.trial
        say(
            f"{trial.variant.name:<12}{trial.servers:>8}{trial.requests:>10,}{spread.peak:>10.3f}"
            f"{spread.deviation:>9.1f}  {' '.join(map(str, outcome.counts))}"
        )
    _verdicts(found.verdicts, say=say)
    say(f"written to {folder}")


def recovered(done: results.Recovered, folder: Path, *, say: Say) -> None:
    """Who would answer, what happened when, and the verdicts."""
    expected = done.expected
    say(f"{'member':<10}{'undisturbed':>13}{'never replaced':>16}")
    for row in zip(expected.ids, expected.undisturbed(), expected.never_replaced(), strict=True):
        say(f"{row[0]:<10}{row[1]:>13,}{row[2]:>16,}")
    if done.live is not None:
        for event in done.live.seen.events:
            when = "not seen" if event.seconds is None else f"{event.seconds:.3f} s"
            say(f"{when:>9}  {event.name}: {event.what}")
        say(f"{recovery.stood_in(expected, done.live.seen):,} requests were answered in its place")
    _verdicts(done.verdicts, say=say)
    say(f"written to {folder}")


def _verdicts(verdicts: Sequence[trials.Verdict], *, say: Say) -> None:
    """Each promise once, with how often it was kept; what was broken, one by one."""
    for promise in dict.fromkeys(verdict.promise for verdict in verdicts):
        same = [verdict for verdict in verdicts if verdict.promise == promise]
        broken = [verdict for verdict in same if not verdict.holds]
        often = f" ({len(same)} times)" if len(same) > 1 else f": {same[0].detail}"
        say(f"{'DISAGREES' if broken else 'agrees'}  {promise}{often}")
        for verdict in broken:
            say(f"    {verdict.detail}")
