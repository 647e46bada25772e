from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from ringmaster_operator import errors
from ringmaster_operator.store import database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "state.db"


def test_the_file_is_its_owners_alone(path: Path) -> None:
    database.Database(path).close()
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


def test_a_file_that_is_no_database_is_refused_in_one_line(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"certainly no database, but long enough to look at" * 100)
    with pytest.raises(
        errors.UsageError, match=r"state\.db cannot be used.*not a database"
    ) as said:
        database.Database(path)
    assert "\n" not in str(said.value)


def test_an_empty_file_was_cut_off_and_is_no_new_one(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    log = path.with_name(path.name + "-wal")
    log.write_bytes(b"what may still be saved")
    with pytest.raises(errors.UsageError, match=r"cannot be used: it is empty; move it away"):
        database.Database(path)
    assert log.read_bytes() == b"what may still be saved"


def test_a_new_file_takes_nothing_of_an_earlier_ones(path: Path) -> None:
    made = database.Database(path)
    with made.writing() as connection:
        connection.execute("UPDATE counters SET value = 9")
    log = path.with_name(path.name + "-wal")
    kept = log.read_bytes()
    made.close()
    path.unlink()
    log.write_bytes(kept)
    again = database.Database(path)
    with again.reading() as connection:
        assert database.scalar(connection, "SELECT max(value) FROM counters") == 0
    again.close()


def test_another_process_that_keeps_the_lock_is_told_and_no_damage(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_WAIT_SECONDS", 0.01)
    made = database.Database(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(errors.RetryLater, match="another process has locked"), made.writing():
        pass
    other.execute("ROLLBACK")
    with made.writing():
        pass
    made.close()
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    other.execute("UPDATE counters SET value = 1")
    with pytest.raises(errors.UsageError, match="another process has locked") as said:
        database.Database(path)
    assert "move it away" not in str(said.value)
    other.close()


def test_a_damaged_file_is_refused(path: Path) -> None:
    made = database.Database(path)
    with made.writing() as connection:
        for number in range(200):
            connection.execute(
                "INSERT INTO sets VALUES (?, ?, ?, ?)", (number, "default", number, "x" * 500)
            )
    made.close()
    data = bytearray(path.read_bytes())
    for start in range(8192, len(data), 4096):
        data[start : start + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(errors.UsageError, match="cannot be used"):
        database.Database(path)


def test_a_newer_schema_is_refused(path: Path) -> None:
    database.Database(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {database.SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(errors.UsageError, match="newer Ringmaster"):
        database.Database(path)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    with pytest.raises(errors.UsageError, match="cannot write the state file"):
        database.Database(tmp_path / "state" / "state.db")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(errors.UsageError, match="cannot write the state file"):
        database.Database(tmp_path / "state.db")


def test_a_block_that_raises_leaves_nothing_behind(path: Path) -> None:
    made = database.Database(path)

    def fail() -> None:
        with made.writing() as connection:
            connection.execute("UPDATE counters SET value = 9")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with made.reading() as connection:
        assert database.scalar(connection, "SELECT max(value) FROM counters") == 0
    made.close()
    made.close()
    with pytest.raises(errors.RetryLater, match="state file failed"), made.reading() as connection:
        connection.execute("SELECT 1")


def test_a_commit_survives_a_crash(path: Path) -> None:
    made = database.Database(path)
    with made.writing() as connection:
        connection.execute("UPDATE counters SET value = 9")
        pragmas = [
            database.scalar(connection, f"PRAGMA {p}") for p in ("journal_mode", "synchronous")
        ]
    assert pragmas == ["wal", 2]  # 2: FULL
    # What another process would find after ours was killed: the files as they are now.
    again = database.Database(path)
    with again.reading() as connection:
        assert database.scalar(connection, "SELECT max(value) FROM counters") == 9
    again.close()
    made.close()
