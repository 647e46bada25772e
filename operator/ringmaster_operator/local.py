"""What a Ringmaster without a cluster consists of: the store and the runtime of one folder.

Law: whoever opens this holds the folder's lock `operator`; nobody else acts on its replicas.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ringmaster_operator import conditions, errors, memory, observed, statedir, store
from ringmaster_operator.api import views
from ringmaster_operator.runtimes import choice

_POLL = 0.05
_GRACE = 30  # terminationGracePeriodSeconds' default
_AFTER_GRACE = 10.0  # for the kernel to end what got SIGKILL

Document = dict[str, Any]


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


@contextmanager
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


def stop_replicas(world: World, *, hurry: Callable[[], bool] = lambda: False) -> int:
    """Stop every replica of every ServerSet and wait for their end; how many there were.

    The ServerSets stay: the next operator brings their replicas back. In a hurry, no grace.
    """
    documents = world.records.list().items
    count = 0
    for document in documents:
        count += _stop(world, owner(document), grace=_grace(document))
    deadline = time.monotonic() + max(map(_grace, documents), default=0) + _AFTER_GRACE
    hurried = False
    while left := [each for key in map(owner, documents) for each in world.runtime.observe(key)]:
        if time.monotonic() > deadline:
            raise errors.RetryLater(f"{len(left)} replicas do not end, the first is {left[0].name}")
        if hurry() and not hurried:
            hurried = True
            for document in documents:
                _stop(world, owner(document), grace=0)
        # A replica that failed at this very moment is listed until it is removed.
        for each in left:
            if each.phase is observed.Phase.FAILED:
                world.runtime.remove(each, grace_seconds=0)
        time.sleep(_POLL)
    for document in documents:
        _close_places(world, owner(document))
        world.records.write_status(owner(document), _stopped(document.get("status") or {}))
    return count


def _stop(world: World, key: observed.Owner, *, grace: float) -> int:
    replicas = world.runtime.observe(key)
    for replica in replicas:
        world.runtime.remove(replica, grace_seconds=grace)
    return len(replicas)


def _grace(document: Document) -> float:
    template = document["spec"].get("template") or {}
    grace = (template.get("spec") or {}).get("terminationGracePeriodSeconds", _GRACE)
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
