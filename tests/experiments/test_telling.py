"""What is said on the terminal."""

from __future__ import annotations

from array import array
from pathlib import Path

from ringmaster_experiments import results, rings, telling, trials

IDS = rings.names("web", 3)


def said(failures=None):
    trial = trials.Trial(rings.VARIANTS["hrw"], servers=3, requests=300)
    measured = trials.Measured(array("i", [0] * 300), failures=failures or {})
    outcome = trials.run(trial, seed=1, ids=IDS, measured=measured)
    lines = []
    telling.ran(results.Ran((outcome, outcome)), Path("there"), say=lines.append)
    return lines


def test_each_trial_is_a_line_under_headings():
    head, first, second, *_ = said()
    assert head.split()[:3] == ["ring", "servers", "requests"]
    assert first == second
    assert first.split() == ["hrw", "3", "300", "3.000", "141.4", "300", "0", "0"]


def test_a_promise_is_said_once_and_what_broke_it_in_full():
    lines = said(failures={"status 503": 2})
    assert lines.count("DISAGREES  every request was answered (2 times)") == 1
    assert lines.count("    2 × status 503") == 2
    assert lines.count("agrees  each server answered for one member only (2 times)") == 1
    assert lines[-1] == "written to there"
