"""The SQLite file under the store: opening, its schema's version, transactions, foreign errors.

Law: a transaction is durable when its block ends, or it never happened. One connection, one
lock; nothing here knows what is stored.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ringmaster_operator import errors

SCHEMA_VERSION = 1
_WAIT_SECONDS = 10.0  # for another process that has the file
_LOCKED = (
    "another process has locked the database and keeps it so (`fuser` names it): nothing is "
    "healed until it lets go"
)
_SCHEMA = """
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
INSERT INTO counters VALUES ('version', 0), ('epoch', 0);
CREATE TABLE sets (
    uid TEXT PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL,
    UNIQUE (namespace, name)) STRICT;
CREATE TABLE memory (
    uid TEXT PRIMARY KEY REFERENCES sets (uid) ON DELETE CASCADE, value TEXT NOT NULL) STRICT;
CREATE TABLE events (
    id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, sameness TEXT NOT NULL UNIQUE,
    document TEXT NOT NULL) STRICT;
"""


class Database:
    """One open file. Every method may be called from any thread.

    Raises:
        UsageError: the folder cannot be written, the file is no database of ours or damaged, or
            a newer Ringmaster wrote it.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not path.exists():
                _make(path)
            os.close(os.open(path, os.O_RDWR))
            self._connection = _connect(path)
        except OSError as error:
            raise errors.UsageError(
                f"cannot write the state file {path}: {error.strerror}"
            ) from error
        except sqlite3.Error as error:
            if _is_locked(error):
                raise errors.UsageError(f"the state file {path}: {_LOCKED}") from error
            raise errors.UsageError(
                f"the state file {path} cannot be used: {error}; move it away, and what begins "
                "with its name, to start anew"
            ) from error

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A consistent view: no write happens meanwhile."""
        with self._lock, _mapped():
            yield self._connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: committed and on disk when the block ends, undone if it raises."""
        with self._lock, _mapped():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def scalar(connection: sqlite3.Connection, query: str, *parameters: Any) -> Any:
    """The first column of the first row, None if there is none."""
    row = connection.execute(query, parameters).fetchone()
    return None if row is None else row[0]


def _make(path: Path) -> None:
    """Make the file under another name first: under its own it is never empty.

    An empty one was cut off, and held ServerSets.
    """
    fresh = path.with_name(path.name + ".new")
    # SQLite would take what is left of an earlier database of this name for the new one's.
    for suffix in ("-wal", "-shm", ".new", ".new-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    # A template's environment may hold secrets: the file is its owner's alone.
    os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    with contextlib.closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
        connection.executescript(
            f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        )
    fresh.replace(path)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=_WAIT_SECONDS
    )
    try:
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    if not path.stat().st_size:
        raise sqlite3.DatabaseError("it is empty")
    version = scalar(connection, "PRAGMA user_version")
    if version == 0:
        raise sqlite3.DatabaseError("it is none of Ringmaster's")
    if version > SCHEMA_VERSION:
        raise errors.UsageError(
            f"the state file {path} was written by a newer Ringmaster (schema {version}, this one "
            f"knows {SCHEMA_VERSION}): run that one, or move the file away to start anew"
        )
    fault = scalar(connection, "PRAGMA quick_check(1)")
    if fault != "ok":
        raise sqlite3.DatabaseError(str(fault).splitlines()[0])
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


@contextlib.contextmanager
def _mapped() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        why = _LOCKED if _is_locked(error) else error
        raise errors.RetryLater(f"the state file failed: {why}") from error


def _is_locked(error: sqlite3.Error) -> bool:
    """Whether SQLite waited in vain; of the code's extensions the last byte is the code."""
    code = getattr(error, "sqlite_errorcode", None)  # our own errors have none
    return code is not None and code & 0xFF == sqlite3.SQLITE_BUSY
