"""What a Ringmaster without a cluster consists of: the store and the runtime of one folder.

Law: whoever opens this holds the folder's lock `operator`; nobody else acts on its replicas.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from ringmaster_operator import conditions, errors, memory, observed, statedir, store
from ringmaster_operator.api import views
from ringmaster_operator.runtimes import choice

_POLL = 0.05
STRAYS_SECONDS = 60.0
_STRAYS_AGAIN = 10.0  # where they could not be looked for
GRACE = 30  # terminationGracePeriodSeconds' default
_AFTER_GRACE = 10.0  # for the kernel to end what got SIGKILL

Document = dict[str, Any]

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class World:
    """An opened state folder."""

    records: store.Store
    runtime: choice.Runtime

    def owners(self) -> list[observed.Owner]:
        """Every ServerSet there is."""
        return [owner(document) for document in self.records.list().items]

    def views(self, namespace: str, name: str) -> list[views.ReplicaView]:
        """The replicas of a ServerSet and where they stand in the ring, in order of creation."""
        document = self.records.get(namespace, name)
        if document is None:
            return []
        key = owner(document)
        states = {each.uid: each.state for each in self.records.load_memory(key).members}
        return [
            views.ReplicaView(replica=replica, state=states.get(replica.uid, ""))
            for replica in sorted(self.runtime.look(key), key=lambda each: each.created_at)
        ]


@contextlib.contextmanager
def opened(state: statedir.StateDir, chosen: choice.Choice | None = None) -> Iterator[World]:
    """Open the folder's store and runtime; replicas go on when the block ends.

    Without a choice it is the runtime that the folder's last operator chose.

    Raises:
        UsageError: the folder cannot be used; one line.
    """
    records = store.Store(state.database)
    try:
        if chosen is not None:
            choice.check(state, chosen, empty=not records.list().items)
        runtime = choice.opened(state, chosen or choice.recorded(state))
        try:
            if chosen is not None:
                choice.record(state, chosen)
            yield World(records=records, runtime=runtime)
        finally:
            runtime.close()
    finally:
        records.close()


def owner(document: Document) -> observed.Owner:
    """Whose a ServerSet's replicas are."""
    metadata = document["metadata"]
    return observed.Owner(
        namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"]
    )


def strays(runtime: choice.Runtime, known: Iterable[observed.Owner]) -> list[observed.Owner]:
    """Whose replicas are there though they are not `known`: their ServerSets are lost.

    Such as with a database that was moved away. Only their UIDs are left.
    """
    return _lost(runtime.owners(), known)


def _lost(there: frozenset[str], known: Iterable[observed.Owner]) -> list[observed.Owner]:
    lost = there - {each.uid for each in known}
    return [observed.Owner(namespace="", name=uid, uid=uid) for uid in sorted(lost)]


class Strays:
    """Replicas of ServerSets that are stored no more: told when the operator starts, ended later.

    A balancer that holds them takes another ServerSet's only when their own has been silent for
    30 s, and serves them meanwhile.
    """

    def __init__(self, world: World, *, after: float = STRAYS_SECONDS) -> None:
        self._world = world
        self._after = after
        self._told = self._over = False
        self._next = time.monotonic()

    def look(self) -> None:
        """Tell of them, and end them once it is time; to be called again and again."""
        if self._over or time.monotonic() < self._next:
            return
        try:
            found = self._found()
            for replica in found if self._told else ():
                self._world.runtime.remove(replica, grace_seconds=GRACE)
        except errors.RetryLater as error:
            _log.warning("replicas-of-no-serverset", why=str(error))
            self._next = time.monotonic() + _STRAYS_AGAIN
            return
        if found and not self._told:
            names = [replica.name for replica in found]
            _log.warning(
                "replicas-of-no-serverset", replicas=names, ended_after=f"{self._after:g}s"
            )
            self._told = True
            self._next = time.monotonic() + self._after
        self._over = not found

    def _found(self) -> list[observed.Replica]:
        runtime = self._world.runtime
        there = runtime.owners()  # first: a set that is made meanwhile is stored before it has any
        owners = _lost(there, self._world.owners())
        return [replica for owner in owners for replica in runtime.look(owner)]


def stop_replicas(world: World, *, hurry: Callable[[], bool] = lambda: False) -> int:
    """Stop every replica there is, and wait for their end; how many there were.

    The ServerSets stay: the next operator brings their replicas back. In a hurry, no grace.

    Raises:
        RetryLater: one does not end.
    """
    documents = world.records.list().items
    count = _stop(world.runtime, documents, hurry=hurry)
    for document in documents:
        _close_places(world, owner(document))
        world.records.write_status(owner(document), _stopped(document.get("status") or {}))
    return count


def stop_all(
    state: statedir.StateDir,
    chosen: choice.Choice | None,
    *,
    say: Callable[[str], None],
    hurry: Callable[[], bool] = lambda: False,
) -> int:
    """As `stop_replicas`, of a state folder, also of one whose database is damaged or gone.

    Raises:
        UsageError: the runtime cannot be used.
        RetryLater: one does not end.
    """
    with contextlib.ExitStack() as opening:
        runtime = choice.opened(state, chosen or choice.recorded(state))
        opening.callback(runtime.close)
        records = _readable(state, say=say)
        if records is None:
            return _stop(runtime, (), hurry=hurry)
        opening.callback(records.close)
        return stop_replicas(World(records=records, runtime=runtime), hurry=hurry)


def _readable(state: statedir.StateDir, *, say: Callable[[str], None]) -> store.Store | None:
    """The store if there is one; a damaged one is told."""
    if not state.database.exists():
        return None
    try:
        records = store.Store(state.database)
        try:
            records.list()
        except BaseException:
            records.close()
            raise
    except errors.RingmasterError as error:
        say(f"{error}; what runs is stopped all the same")
        return None
    return records


def _stop(
    runtime: choice.Runtime, documents: Sequence[Document], *, hurry: Callable[[], bool]
) -> int:
    """Stop the replicas of these sets and of none, and wait."""
    graces = {owner(document): _grace(document) for document in documents}
    graces |= dict.fromkeys(strays(runtime, graces), GRACE)
    count = sum(_remove(runtime, key, grace=grace) for key, grace in graces.items())
    deadline = time.monotonic() + max(graces.values(), default=0) + _AFTER_GRACE
    hurried = False
    while left := [each for key in graces for each in runtime.observe(key)]:
        if time.monotonic() > deadline:
            raise errors.RetryLater(f"{len(left)} replicas do not end, the first is {left[0].name}")
        if hurry() and not hurried:
            hurried = True
            for key in graces:
                _remove(runtime, key, grace=0)
        # A replica that failed at this very moment is listed until it is removed.
        for each in left:
            if each.phase is observed.Phase.FAILED:
                runtime.remove(each, grace_seconds=0)
        time.sleep(_POLL)
    return count


def _remove(runtime: choice.Runtime, key: observed.Owner, *, grace: float) -> int:
    replicas = runtime.observe(key)
    for replica in replicas:
        runtime.remove(replica, grace_seconds=grace)
    return len(replicas)


def _grace(document: Document) -> float:
    template = document["spec"].get("template") or {}
    grace = (template.get("spec") or {}).get("terminationGracePeriodSeconds", GRACE)
    return float(grace)


def _stopped(status: Document) -> Document:
    """The status once nothing runs: whoever reads it before the next operator does is not misled."""
    counts = ("replicas", "readyReplicas", "availableReplicas", "updatedReplicas", "inRing")
    return {
        **status,
        **dict.fromkeys((name for name in counts if name in status), 0),
        "conditions": [
            {**each, "status": "False", "reason": "Stopped", "message": "stopped with its operator"}
            if each["type"] in {"Ready", "Available"}
            else each
            for each in conditions.legible(status.get("conditions"))
        ],
    }


def _close_places(world: World, key: observed.Owner) -> None:
    """Remember that these replicas were stopped on purpose: their successors are no emergency."""
    known = world.records.load_memory(key)
    places = {
        ordinal: memory.Place(
            attempt=memory.last_attempt(place, known.successors.get(ordinal)) + 1,
            wanted=place.wanted,
            due=place.wanted,
            name=place.name,
            revision=place.revision,  # one that serves comes back, whatever a rollout was about
        )
        for ordinal, place in known.places.items()
    }
    world.records.save_memory(
        key,
        dataclasses.replace(known, places=places, successors={}, drains={}, proven=(), members=()),
    )
