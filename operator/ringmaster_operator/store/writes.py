"""The rows of the store: ServerSets and events as JSON, each write with its version.

Law: used inside a transaction only. Every put, event and removal takes the next version of the
one counter and is listed in `changes`, for the log to take over once it is committed.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from ringmaster_operator import naming
from ringmaster_operator.store import database, recorded, stored, watchlog

Document = dict[str, Any]

RESOURCE = f"{naming.PLURAL}.{naming.GROUP}"
SETS = naming.PLURAL
EVENTS = "events"


def load(connection: sqlite3.Connection, namespace: str, name: str) -> Document | None:
    """One ServerSet's document."""
    row = connection.execute(
        "SELECT document FROM sets WHERE namespace = ? AND name = ?", (namespace, name)
    ).fetchone()
    return None if row is None else document(row)


def document(row: tuple[str]) -> Document:
    """What a row holds."""
    result: Document = json.loads(row[0])
    return result


def counter(connection: sqlite3.Connection, name: str) -> int:
    """A counter's value: `version` or `epoch`."""
    value = database.scalar(connection, "SELECT value FROM counters WHERE name = ?", name)
    return int(value)


class Write:
    """One transaction's writes."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.changes: list[watchlog.Change] = []

    def load(self, namespace: str, name: str) -> Document | None:
        """One ServerSet's document as this transaction sees it."""
        return load(self._connection, namespace, name)

    def put(self, kind: str, fresh: Document, previous: Document | None) -> Document:
        """Store a ServerSet; `kind` is ADDED or MODIFIED. Returns it with its version."""
        stamped = self._changed(SETS, kind, fresh, previous)
        metadata = stamped["metadata"]
        self._connection.execute(
            "INSERT INTO sets VALUES (?, ?, ?, ?)"
            " ON CONFLICT (uid) DO UPDATE SET document = excluded.document",
            (metadata["uid"], metadata["namespace"], metadata["name"], json.dumps(stamped)),
        )
        return stamped

    def remove(self, current: Document) -> None:
        """Remove a ServerSet, and its memory with it."""
        self._changed(SETS, "DELETED", current, current)
        self._connection.execute("DELETE FROM sets WHERE uid = ?", (current["metadata"]["uid"],))

    def event(self, event: recorded.Event, *, now: float, kept: int) -> None:
        """Count the event, or store it as a new one and let the oldest beyond `kept` go."""
        key = event.sameness()
        row = self._connection.execute(
            "SELECT document FROM events WHERE sameness = ?", (key,)
        ).fetchone()
        if row is None:
            fresh = self._changed(EVENTS, "ADDED", recorded.first(event, now=now), None)
        else:
            before = document(row)
            fresh = self._changed(EVENTS, "MODIFIED", recorded.again(before, now=now), before)
            self._connection.execute("DELETE FROM events WHERE sameness = ?", (key,))
        # The latest has the highest id: what has been silent for longest goes first.
        self._connection.execute(
            "INSERT INTO events (namespace, sameness, document) VALUES (?, ?, ?)",
            (event.owner.namespace, key, json.dumps(fresh)),
        )
        self._trim_events(kept)

    def _trim_events(self, kept: int) -> None:
        rows = self._connection.execute(
            "SELECT id, document FROM events ORDER BY id DESC LIMIT -1 OFFSET ?", (kept,)
        ).fetchall()
        for identity, text in rows:
            gone = document((text,))
            self._changed(EVENTS, "DELETED", gone, gone)
            self._connection.execute("DELETE FROM events WHERE id = ?", (identity,))

    def _changed(
        self, resource: str, kind: str, fresh: Document, previous: Document | None
    ) -> Document:
        version = self._next_version()
        stamped = stored.at_version(fresh, version)
        self.changes.append(watchlog.Change(version, resource, kind, stamped, previous))
        return stamped

    def _next_version(self) -> int:
        self._connection.execute("UPDATE counters SET value = value + 1 WHERE name = 'version'")
        return counter(self._connection, "version")
