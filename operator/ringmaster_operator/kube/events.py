"""Kubernetes Events about ServerSets, posted beside the work.

Law: never raises and never holds up a reconcile: one thread posts, what piles up is dropped. The
same reason and message again is the same event, counted (`recorded`).
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog

from ringmaster_operator import errors, observed
from ringmaster_operator.kube import client, paths
from ringmaster_operator.store import recorded

_LONGEST_QUEUE = 1_000
_LONGEST_MESSAGE = 1_024  # core/v1 Event's own limit
_MOST_KNOWN = 1_000
_GOODBYE_SECONDS = 2.0


class Poster:
    """Posts events from a thread of its own until it is closed."""

    def __init__(self, api: client.Api, *, clock: Callable[[], float] = time.time) -> None:
        self._api = api
        self._clock = clock
        self._queue: queue.Queue[recorded.Event | None] = queue.Queue(_LONGEST_QUEUE)
        self._log = structlog.get_logger()
        self._posted: dict[str, dict[str, Any]] = {}  # by sameness
        self._thread = threading.Thread(target=self._work, name="events", daemon=True)
        self._thread.start()

    def post(self, owner: observed.Owner, *, kind: str, reason: str, message: str) -> None:
        """Have an event posted soon."""
        event = recorded.Event(
            owner=owner, kind=kind, reason=reason, message=message[:_LONGEST_MESSAGE]
        )
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self._log.warning("event-lost", reason=reason, message=message, why="too many")

    def close(self) -> None:
        """Post what is queued, if that is quickly done."""
        try:
            self._queue.put(None, timeout=_GOODBYE_SECONDS)
        except queue.Full:
            return
        self._thread.join(_GOODBYE_SECONDS)

    def _work(self) -> None:
        while (event := self._queue.get()) is not None:
            try:
                self._post(event)
            except errors.RingmasterError as error:
                self._log.warning(
                    "event-lost", reason=event.reason, message=event.message, why=str(error)
                )

    def _post(self, event: recorded.Event) -> None:
        now, known = self._clock(), self._posted.get(event.sameness())
        if known is not None:
            try:
                self._again(event, known, now)
            except errors.NotFoundError:  # it has expired
                known = None
        if known is None:
            self._first(event, now)

    def _first(self, event: recorded.Event, now: float) -> None:
        # As client-go names them: another one for each life of the operator.
        name = f"{event.owner.name}.{event.sameness()[:8]}{int(now * 1e6):x}"
        document = recorded.first(event, now=now)
        metadata = {"name": name, "namespace": event.owner.namespace}
        self._api.create(paths.events(event.owner.namespace), {**document, "metadata": metadata})
        if len(self._posted) >= _MOST_KNOWN:
            del self._posted[next(iter(self._posted))]
        self._posted[event.sameness()] = {**document, "metadata": metadata}

    def _again(self, event: recorded.Event, known: dict[str, Any], now: float) -> None:
        after = recorded.again(known, now=now)
        path = paths.events(event.owner.namespace, known["metadata"]["name"])
        self._api.patch(path, {key: after[key] for key in ("count", "lastTimestamp")})
        self._posted[event.sameness()] = after
