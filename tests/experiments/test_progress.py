"""The progress bar."""

from __future__ import annotations

import io
import sys

from ringmaster_experiments import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def use(file, monkeypatch):
    monkeypatch.setattr(sys, "stderr", file)
    with progress.shown(30, label="requests") as bar:
        for _ in range(3):
            with bar.part() as part:
                part(4)
                part(10)
    return file.getvalue()


def test_nothing_is_shown_where_nobody_looks(monkeypatch):
    assert use(io.StringIO(), monkeypatch) == ""


def test_several_runs_fill_one_bar_on_a_terminal(monkeypatch):
    shown = use(Terminal(), monkeypatch)
    assert "requests" in shown
    assert shown.rstrip().rpartition("\r")[2].count("100%") == 1
