"""Results as files; that two runs write the same is in `test_cli` and `test_live`."""

from __future__ import annotations

import csv
import json
from array import array

from ringmaster_experiments import files, recovery, results, rings, trials

IDS = rings.names("web", 3)
TIMINGS = results.Timings(seconds=2.0, rate=500.0, median=3.0, p99=9.0, largest=12.3456)


def done():
    plan = recovery.Plan(rings.VARIANTS["hrw"], servers=3, requests=400, kill_at=200, victim=1)
    expected = recovery.expect(plan, seed=3, ids=IDS)
    seen = recovery.Seen(
        measured=trials.Measured(array("i", expected.owners)),
        sent=[(number - 200) / 100 for number in range(400)],
        took=[0.001] * 400,
        events=(recovery.Event("back", "it answers", 0.51234), recovery.Event("x", "y", None)),
        healed=True,
    )
    return results.Recovered(expected, results.Live(seen, TIMINGS))


def rows(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_what_can_be_replayed_is_apart_from_what_cannot(tmp_path):
    found = done()
    files.of_recovery(found, seed=3, folder=tmp_path)
    files.timings_of_recovery(found.expected, found.live, folder=tmp_path)
    replayed = json.loads((tmp_path / "recovery.json").read_text())
    assert replayed["live"] == {"failed": 0}
    assert "0.51" not in (tmp_path / "recovery.json").read_text()
    timed = json.loads((tmp_path / "recovery.timings.json").read_text())
    assert timed["secondsAfterTheKill"] == {"back": 0.5123, "x": None}
    assert timed["latencyMilliseconds"]["largest"] == 12.346


def test_a_timeline_has_every_answer(tmp_path):
    found = done()
    files.timings_of_recovery(found.expected, found.live, folder=tmp_path)
    header, *lines = rows(tmp_path / "recovery.timings.csv")
    assert header == ["second", *IDS, "median ms", "p99 ms", "largest ms"]
    assert sum(int(cell) for line in lines for cell in line[1:4]) == 400


def test_a_trial_is_a_row_a_member(tmp_path):
    trial = trials.Trial(rings.VARIANTS["assignment"], servers=3, requests=500)
    ran = results.Ran((trials.run(trial, seed=1, ids=IDS),), (TIMINGS,))
    files.of_trials("one", ran.outcomes, seed=1, folder=tmp_path)
    files.timings_of_trials("one", ran, folder=tmp_path)
    _, *lines = rows(tmp_path / "one.csv")
    assert [line[:5] for line in lines] == [
        ["assignment", "3", "500", "web-0", "0.84375"],
        ["assignment", "3", "500", "web-1", "0.046875"],
        ["assignment", "3", "500", "web-2", "0.109375"],
    ]
    assert all(line[6] == "" for line in lines)  # nothing was measured
    timed = json.loads((tmp_path / "one.timings.json").read_text())
    assert timed["trials"][0]["requestsPerSecond"] == 500.0
