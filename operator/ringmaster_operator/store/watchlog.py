"""The latest changes, for those who watch: what happened after a resourceVersion.

Law: pure and bounded. Whoever asks for more than is kept is told to list again; nothing is ever
skipped. Versions are those of the store's one counter, so a list and a watch fit together. The
log lives in memory: a restarted operator starts it anew at the store's version.
"""

from __future__ import annotations

import collections
from dataclasses import dataclass
from typing import Any

from ringmaster_operator import errors


class ExpiredError(errors.RetryLater):
    """The version asked for is older than the log, or not of this store: list again (410)."""


@dataclass(frozen=True, slots=True)
class Change:
    """One write. `document` and `previous` are shared: read them, never change them.

    `resource` is the plural (`serversets`, `events`), `type` ADDED, MODIFIED or DELETED.
    """

    version: int
    resource: str
    type: str
    document: dict[str, Any]
    previous: dict[str, Any] | None = None


class WatchLog:
    """The last `size` changes of each resource. Not thread-safe: the store's lock guards it."""

    def __init__(self, *, version: int, size: int = 1_000) -> None:
        self._version = version
        self._size = size
        self._start = version
        self._forgotten: dict[str, int] = {}
        self._changes: dict[str, collections.deque[Change]] = {}

    def append(self, change: Change) -> None:
        """Add the newest change, and let go of the oldest of its kind if there are too many."""
        kept = self._changes.setdefault(change.resource, collections.deque())
        kept.append(change)
        if len(kept) > self._size:
            self._forgotten[change.resource] = kept.popleft().version
        self._version = change.version

    def since(self, resource: str, version: int) -> list[Change]:
        """The changes after `version`, oldest first.

        Raises:
            ExpiredError: some of them are not known any more, or `version` lies in the future.
        """
        oldest = self._forgotten.get(resource, self._start)
        if version < oldest or version > self._version:
            raise ExpiredError(f"too old resource version: {version} ({oldest})")
        newer: list[Change] = []
        for change in reversed(self._changes.get(resource, ())):
            if change.version <= version:
                break
            newer.append(change)
        newer.reverse()
        return newer
