"""Results as files: JSON, CSV; what can be replayed apart from what cannot.

Law: edge. A file of results holds nothing that differs between two runs of the same seed; speed is
in `*.timings.json`, which says so.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ringmaster_experiments import errors, recovery, results, trials

_DIGITS = 8  # of a share in a file
_NOTE = "Speed differs from run to run and machine to machine; the results themselves do not."


def prepare(folder: Path, names: Iterable[str]) -> None:
    """Make the folder, and see that these files can be written: known before minutes of load.

    Raises:
        ExperimentError: they cannot; one line.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        for path in (folder / name for name in names):
            if path.exists():
                path.open("ab").close()
    except OSError as error:
        raise errors.ExperimentError(
            f"the results cannot be written: {error.filename or folder}: {error.strerror}"
        ) from error


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """A document, indented."""
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows under a header; RFC 4180, with plain line ends."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")


def of_trials(name: str, outcomes: Sequence[trials.Outcome], *, seed: int, folder: Path) -> None:
    """`<name>.json` and `<name>.csv`."""
    document = {"experiment": name, "seed": seed, "trials": [_trial(each) for each in outcomes]}
    write_json(folder / f"{name}.json", document)
    header = ("ring", "servers", "requests", "member", "share in theory", "simulated", "live")
    write_csv(folder / f"{name}.csv", header, (row for each in outcomes for row in _rows(each)))


def timings_of_trials(name: str, ran: results.Ran, *, folder: Path) -> None:
    """`<name>.timings.json`."""
    entries = [
        {
            "ring": outcome.trial.variant.name,
            "servers": outcome.trial.servers,
            "requests": outcome.trial.requests,
            **_timings(timings),
        }
        for outcome, timings in zip(ran.outcomes, ran.timings, strict=True)
    ]
    write_json(folder / f"{name}.timings.json", {"note": _NOTE, "trials": entries})


def of_recovery(done: results.Recovered, *, seed: int, folder: Path) -> None:
    """`recovery.json` and `recovery.csv`."""
    expected = done.expected
    plan = expected.plan
    bounds = zip(
        expected.ids,
        expected.shares,
        expected.undisturbed(),
        expected.never_replaced(),
        strict=True,
    )
    rows = [(member, round(share, _DIGITS), most, least) for member, share, most, least in bounds]
    document = {
        "experiment": "recovery",
        "seed": seed,
        "ring": dict(plan.variant.ring),
        "servers": plan.servers,
        "requests": plan.requests,
        "killAt": plan.kill_at,
        "victim": expected.victim,
        "simulated": {
            "undisturbed": dict(zip(expected.ids, expected.undisturbed(), strict=True)),
            "neverReplaced": dict(zip(expected.ids, expected.never_replaced(), strict=True)),
            "owners": trials.digest(expected.owners),
            "substitutes": trials.digest(expected.substitutes),
        },
        "live": {"failed": done.live.failed} if done.live else None,
        "verdicts": [dataclasses.asdict(verdict) for verdict in done.verdicts],
    }
    write_json(folder / "recovery.json", document)
    header = ("member", "share in theory", "requests if undisturbed", "if never replaced")
    write_csv(folder / "recovery.csv", header, rows)


def timings_of_recovery(expected: recovery.Expected, run: results.Live, *, folder: Path) -> None:
    """`recovery.timings.json`, and the timeline as `recovery.timings.csv`."""
    seen = run.seen
    document = {
        "note": _NOTE,
        **_timings(run.timings),
        "answeredInTheVictimsPlace": recovery.stood_in(expected, seen),
        "secondsAfterTheKill": {
            event.name: None if event.seconds is None else round(event.seconds, 4)
            for event in seen.events
        },
        "meaning": {event.name: event.what for event in seen.events},
    }
    write_json(folder / "recovery.timings.json", document)
    header = ("second", *expected.ids, "median ms", "p99 ms", "largest ms")
    rows = (
        (
            round(piece.start, 3),
            *piece.answers,
            *(round(value, 3) for value in (piece.median, piece.p99, piece.largest)),
        )
        for piece in recovery.timeline(expected, seen)
    )
    write_csv(folder / "recovery.timings.csv", header, rows)


def _trial(outcome: trials.Outcome) -> dict[str, Any]:
    measured = None
    if outcome.live is not None:
        measured = _counted(outcome, outcome.live) | {"answers": outcome.live_digest}
    return {
        "ring": dict(outcome.trial.variant.ring),
        "name": outcome.trial.variant.name,
        "servers": outcome.trial.servers,
        "requests": outcome.trial.requests,
        "theory": {
            member: round(share, _DIGITS)
            for member, share in zip(outcome.ids, outcome.shares, strict=True)
        },
        "simulated": _counted(outcome, outcome.simulated) | {"answers": outcome.simulated_digest},
        "live": measured,
        "verdicts": [dataclasses.asdict(verdict) for verdict in outcome.verdicts],
    }


def _counted(outcome: trials.Outcome, counts: Sequence[int]) -> dict[str, Any]:
    spread = trials.spread(counts)
    return {
        "requests": dict(zip(outcome.ids, counts, strict=True)),
        "mean": round(spread.mean, 3),
        "smallest": spread.smallest,
        "largest": spread.largest,
        "standardDeviation": round(spread.deviation, 3),
    }


def _rows(outcome: trials.Outcome) -> Iterable[Sequence[object]]:
    measured: Sequence[object] = outcome.live or ("",) * len(outcome.ids)
    columns = zip(outcome.ids, outcome.shares, outcome.simulated, measured, strict=True)
    for member, share, simulated, live_count in columns:
        yield (
            outcome.trial.variant.name,
            outcome.trial.servers,
            outcome.trial.requests,
            member,
            round(share, _DIGITS),
            simulated,
            live_count,
        )


def _timings(timings: results.Timings) -> dict[str, Any]:
    return {
        "seconds": round(timings.seconds, 3),
        "requestsPerSecond": round(timings.rate, 1),
        "latencyMilliseconds": {
            "median": round(timings.median, 3),
            "p99": round(timings.p99, 3),
            "largest": round(timings.largest, 3),
        },
    }
