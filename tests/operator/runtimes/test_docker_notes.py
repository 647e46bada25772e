from __future__ import annotations

from pathlib import Path

import pytest
from ringmaster_operator.runtimes import docker_notes


def test_notes_are_there_for_the_next_operator(tmp_path: Path) -> None:
    notes = docker_notes.Notes(tmp_path / "docker")
    notes.change("c1", "u-1", started_at=5.0, ready=True, ready_changed_at=6.0, ever_ready=True)
    notes.change("c1", "u-1", kill_at=9.0)

    note = docker_notes.Notes(tmp_path / "docker").get("c1")
    assert note == notes.get("c1")
    assert note is not None
    assert (note.kill_at, note.readiness.ready, note.readiness.since) == (9.0, True, 6.0)


def test_readiness_of_a_fresh_start_dates_from_it() -> None:
    note = docker_notes.Note(owner_uid="u-1", started_at=5.0)
    assert (note.readiness.ready, note.readiness.since) == (False, 5.0)


def test_the_notes_of_what_is_gone_are_dropped_and_no_others(tmp_path: Path) -> None:
    notes = docker_notes.Notes(tmp_path)
    for uid, owner in (("c1", "u-1"), ("c2", "u-1"), ("c3", "u-2")):
        notes.change(uid, owner, ready=True)
    assert notes.of("u-1") == {"c1", "c2"}
    notes.drop({"c1", "c9"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c2.json", "c3.json"]
    assert notes.get("c1") is None
    assert notes.get("c3") is not None


def test_a_damaged_note_is_no_note(tmp_path: Path) -> None:
    (tmp_path / "c1.json").write_text("{")
    (tmp_path / "c2.json").write_text('{"unknown": 1}')
    notes = docker_notes.Notes(tmp_path)
    assert (notes.get("c1"), notes.get("c2")) == (None, None)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_known_nevertheless(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = docker_notes.Notes(tmp_path / "docker")
    (tmp_path / "docker").rmdir()
    notes.change("c1", "u-1", ready=True)
    known = notes.get("c1")
    assert known is not None
    assert known.ready
    assert "note not written" in "".join(capsys.readouterr())
