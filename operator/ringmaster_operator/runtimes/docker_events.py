"""The engine's events, over every restart of the engine.

Law: hints. Whoever listens must look at everything whenever a stream begins, for nobody knows what
was missed before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from ringmaster_operator import errors, naming

_PAUSE_SECONDS = 0.2  # between two tries while the engine is away


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to one of our containers."""

    action: str
    container: str
    owner_uid: str


class Stream(Protocol):
    """An open stream."""

    def __iter__(self) -> Any:
        """Each event as the engine writes it, until the stream breaks."""
        ...

    def shut(self) -> None:
        """End it from another thread."""
        ...


class Source(Protocol):
    """The part of the engine that is needed."""

    def events(self, label: str) -> Stream:
        """Events of the containers with a label, from now on."""
        ...


class Events:
    """Reads events in a thread of its own and passes each on; None: a stream began."""

    def __init__(self, engine: Source, heard: Callable[[Event | None], None]) -> None:
        self._engine = engine
        self._heard = heard
        self._ended = threading.Event()
        self._stream: Stream | None = None
        self._log = structlog.get_logger()
        self._thread = threading.Thread(target=self._listen, name="docker-events", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it. Idempotent."""
        self._ended.set()
        if self._stream is not None:
            self._stream.shut()
        self._thread.join(5)

    def _listen(self) -> None:
        away = False
        while not self._ended.is_set():
            try:
                away = self._follow(away=away)
            except Exception:  # noqa: BLE001 – without this thread the operator would be deaf
                self._log.exception("events failed")
            self._ended.wait(_PAUSE_SECONDS)

    def _follow(self, *, away: bool) -> bool:
        """One stream from its beginning to its end; whether the engine is away."""
        try:
            self._stream = self._engine.events(naming.LABEL_SET_UID)
        except errors.RetryLater as error:
            if not away:
                self._log.warning("engine away", why=str(error))
            return True
        if away:
            self._log.info("engine back")
        if self._ended.is_set():
            self._stream.shut()
        try:
            self._read(self._stream)
        finally:
            self._stream.shut()
        return False

    def _read(self, stream: Iterable[Mapping[str, Any]]) -> None:
        self._heard(None)
        for raw in stream:
            actor = raw.get("Actor") or {}
            owner_uid = (actor.get("Attributes") or {}).get(naming.LABEL_SET_UID)
            if owner_uid:
                self._heard(Event(raw.get("Action", ""), actor.get("ID", ""), owner_uid))
