"""ServerSets and what the operator must remember, kept in SQLite: `ports.Records` without a cluster.

Law: every write is one transaction, durable when it returns; it takes the next resourceVersion of
one counter, and a write that changes nothing takes none. Callers: the API, the lab routes, the
loop and the reconcile, from any thread. The lock is held to read and to write rows, never while a
caller's function decides what to write (see `update`). Subscribers are told after the write,
outside the lock, in the writer's thread: they only say "look again".
"""

from __future__ import annotations

import contextlib
import copy
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from ringmaster_operator import errors, memory, observed
from ringmaster_operator.store import database, recorded, stored, watchlog, writes

Document = dict[str, Any]
Clock = Callable[[], float]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Listing:
    """A consistent list, and the version from which a watch continues it."""

    items: tuple[Document, ...]
    version: int


class Store:
    """The local operator's state. `path` is the SQLite file; its folder is made if need be.

    Raises:
        UsageError: the file cannot be used, said in one line.
    """

    def __init__(self, path: Path, *, clock: Clock = time.time, kept_events: int = 1_000) -> None:
        self._database = database.Database(path)
        self._clock = clock
        self._kept_events = kept_events
        self._subscribers: list[Callable[[watchlog.Change], None]] = []
        with self._database.reading() as connection:
            version = writes.counter(connection, "version")
        self._changes = watchlog.WatchLog(version=version)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    # What the API does.

    def list(self, namespace: str | None = None) -> Listing:
        """All ServerSets, of one namespace or of every one, by namespace and name."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT document FROM sets WHERE ?1 IS NULL OR namespace = ?1"
                " ORDER BY namespace, name",
                (namespace,),
            ).fetchall()
            version = writes.counter(connection, "version")
        return Listing(tuple(map(writes.document, rows)), version)

    def get(self, namespace: str, name: str) -> Document | None:
        """The ServerSet as stored now, None if there is none."""
        with self._database.reading() as connection:
            return writes.load(connection, namespace, name)

    def create(
        self, namespace: str, name: str, document: Document, *, dry_run: bool = False
    ) -> Document:
        """Store a new ServerSet and give it its identity.

        Raises:
            AlreadyExistsError: the name is taken.
        """
        uid = str(uuid.uuid4())
        fresh = stored.created(document, namespace=namespace, name=name, uid=uid, now=self._clock())
        with self._writing() as write:
            if write.load(namespace, name) is not None:
                raise errors.AlreadyExistsError(f'{writes.RESOURCE} "{name}" already exists')
            return fresh if dry_run else write.put("ADDED", fresh, None)

    def update(
        self,
        namespace: str,
        name: str,
        change: Callable[[Document], Document],
        *,
        dry_run: bool = False,
    ) -> Document:
        """Read, change and write; `change` gets a copy and returns the new one.

        Nobody waits for `change`: it is called outside the lock, and again with the newer document
        where somebody else has written the same part meanwhile (the status, or the rest). What it
        raises is passed on and nothing is written.

        Raises:
            NotFoundError: there is no such ServerSet.
            ConflictError: the new document names another resourceVersion or uid.
        """
        return self._change(
            namespace,
            name,
            lambda now: stored.revised(now, change(copy.deepcopy(now))),
            dry_run=dry_run,
        )

    def update_status(
        self,
        namespace: str,
        name: str,
        change: Callable[[Document], Document],
        *,
        dry_run: bool = False,
    ) -> Document:
        """As `update`, for the status alone."""

        def restate(now: Document) -> Document:
            proposed = change(copy.deepcopy(now))
            stored.revised(now, proposed)  # for its check of version and uid
            return stored.restated(now, proposed.get("status") or {})

        return self._change(namespace, name, restate, dry_run=dry_run)

    def delete(
        self,
        namespace: str,
        name: str,
        *,
        precondition: Callable[[Document], None] = lambda _: None,
        dry_run: bool = False,
    ) -> Document:
        """Set the deletionTimestamp: the loop drains the replicas, then `forget` ends it.

        Raises:
            NotFoundError: there is no such ServerSet.
        """

        def mark(now: Document) -> Document:
            precondition(now)
            return stored.deleted(now, now=self._clock())

        return self._change(namespace, name, mark, dry_run=dry_run)

    def events(self, namespace: str | None = None) -> Listing:
        """The events that are kept, oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT document FROM events WHERE ?1 IS NULL OR namespace = ?1 ORDER BY id",
                (namespace,),
            ).fetchall()
            version = writes.counter(connection, "version")
        return Listing(tuple(map(writes.document, rows)), version)

    def changes(self, resource: str, since: int) -> Sequence[watchlog.Change]:
        """What was written after version `since` to `serversets` or `events`.

        Raises:
            ExpiredError: that is too long ago.
        """
        with self._database.reading():
            return self._changes.since(resource, since)

    def subscribe(self, callback: Callable[[watchlog.Change], None]) -> Callable[[], None]:
        """Have `callback` called after every write; returns what ends that.

        It must be quick and must not raise. Two writers may call it in either order: take it as
        a hint, and read `changes` or `get`.
        """
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            with contextlib.suppress(ValueError):
                self._subscribers.remove(callback)

        return unsubscribe

    # The operator's life.

    def epoch(self) -> int:
        """The highest epoch stored; one above ours means that another operator acts."""
        with self._database.reading() as connection:
            return writes.counter(connection, "epoch")

    def raise_epoch(self, known: int = 0) -> int:
        """Begin an operator's life: above now in ms, above the stored one, and above `known`."""
        with self._database.writing() as connection:
            epoch = max(int(self._clock() * 1000), writes.counter(connection, "epoch"), known) + 1
            connection.execute("UPDATE counters SET value = ? WHERE name = 'epoch'", (epoch,))
            return epoch

    # ports.Records.

    def load_memory(self, owner: observed.Owner) -> memory.Memory:
        """What was saved for this uid, or an empty memory."""
        with self._database.reading() as connection:
            text = database.scalar(connection, "SELECT value FROM memory WHERE uid = ?", owner.uid)
        return memory.Memory() if text is None else memory.Memory.from_json(text)

    def save_memory(self, owner: observed.Owner, value: memory.Memory) -> None:
        """Keep it for as long as the ServerSet is there; of one that is gone nothing is kept."""
        with self._database.writing() as connection:
            connection.execute(
                "INSERT INTO memory SELECT uid, ?2 FROM sets WHERE uid = ?1"
                " ON CONFLICT (uid) DO UPDATE SET value = excluded.value"
                " WHERE memory.value IS NOT excluded.value",
                (owner.uid, value.to_json()),
            )

    def write_status(self, owner: observed.Owner, status: Document) -> None:
        """Replace our part of the status; a status that is the same already is not written.

        Raises:
            NotFoundError: this very ServerSet (its uid) is gone.
        """
        self._change_ours(
            owner, lambda now: stored.restated(now, stored.merged_status(now, status))
        )

    def consume(
        self, owner: observed.Owner, *, names: Sequence[str] = (), victims: Sequence[str] = ()
    ) -> None:
        """Take used names and gone victims out of the spec.

        Raises:
            NotFoundError: this very ServerSet (its uid) is gone.
        """
        self._change_ours(
            owner,
            lambda now: stored.revised(now, stored.consumed(now, names=names, victims=victims)),
        )

    def forget(self, owner: observed.Owner) -> None:
        """Remove a deleted ServerSet and what was remembered of it; one not deleted stays."""
        with self._writing() as write:
            current = write.load(owner.namespace, owner.name)
            if current is None or current["metadata"]["uid"] != owner.uid:
                return
            if "deletionTimestamp" in current["metadata"]:
                write.remove(current)

    def event(self, owner: observed.Owner, *, kind: str, reason: str, message: str) -> None:
        """Record an event, or count one more of the same. Never raises."""
        try:
            with self._writing() as write:
                write.event(
                    recorded.Event(owner=owner, kind=kind, reason=reason, message=message),
                    now=self._clock(),
                    kept=self._kept_events,
                )
        except errors.RingmasterError as error:
            _log.warning("event_lost", reason=reason, message=message, error=str(error))

    def _change_ours(
        self, owner: observed.Owner, change: Callable[[Document], Document]
    ) -> Document:
        def checked(now: Document) -> Document:
            if now["metadata"]["uid"] != owner.uid:
                raise errors.NotFoundError(
                    f'{writes.RESOURCE} "{owner.name}" of uid {owner.uid} is gone'
                )
            return change(now)

        return self._change(owner.namespace, owner.name, checked)

    def _change(
        self,
        namespace: str,
        name: str,
        change: Callable[[Document], Document],
        *,
        dry_run: bool = False,
    ) -> Document:
        """Compare and swap, as often as it takes: a conflict means that another writer came through.

        So does Kubernetes' GuaranteedUpdate.
        """
        while True:
            current = self.get(namespace, name)
            if current is None:
                raise errors.NotFoundError(f'{writes.RESOURCE} "{name}" not found')
            proposed = change(current)
            if dry_run or proposed == current:
                return proposed
            with self._writing() as write:
                now = write.load(namespace, name)
                fresh = now and stored.rebased(proposed, read=current, now=now)
                if now and fresh:
                    return write.put("MODIFIED", fresh, now)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[writes.Write]:
        with self._database.reading():
            with self._database.writing() as connection:
                write = writes.Write(connection)
                yield write
            # Committed, and still under the lock: the log is in order of versions.
            for change in write.changes:
                self._changes.append(change)
        for change in write.changes:
            for callback in tuple(self._subscribers):
                callback(change)
