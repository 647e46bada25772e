"""Which key is to be looked at next, and when: the decisions of `loop`, without its threads.

Law: pure. Adding says only *look again*; any number of adds before a look are one. A key is never
out twice at once: added while out, it comes again afterwards. Times are seconds of any one clock.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a key may come; seconds."""

    gap: float = 0.05  # design: changes within 50 ms become one push
    first_backoff: float = 0.2
    longest_backoff: float = 30.0
    # A fresh hint may cut a backoff short, since it may be the cure; but a failing key whose
    # failure causes hints of its own must not spin.
    hinted_backoff: float = 1.0


class WorkQueue(Generic[Key]):
    """Keys by due time. Not locked: its owner holds the lock."""

    def __init__(
        self, *, pace: Pace | None = None, jitter: Callable[[], float] = lambda: 1.0
    ) -> None:
        """`jitter` is drawn for each backoff: 0 gives half of it, 1 all."""
        self._pace = pace or Pace()
        self._jitter = jitter
        self._due: dict[Key, float] = {}
        self._out: set[Key] = set()
        self._rest: dict[Key, float] = {}  # not before, even when hinted
        self._failures: dict[Key, int] = {}

    def add(self, key: Key, now: float, *, after: float = 0.0) -> None:
        """Ask for a look at `key` in `after` seconds; an earlier appointment stays."""
        at = max(now + after, self._rest.get(key, now))
        self._due[key] = min(at, self._due.get(key, at))

    def take(self, now: float) -> Key | None:
        """The key that has been due the longest, now out; None if nothing is due."""
        ready = [key for key, at in self._due.items() if at <= now and key not in self._out]
        if not ready:
            return None
        key = min(ready, key=self._due.__getitem__)
        del self._due[key]
        self._out.add(key)
        return key

    def done(self, key: Key, now: float, *, again_after: float | None = None) -> None:
        """The look succeeded; `again_after` as the reconcile asked."""
        self._failures.pop(key, None)
        self._back(key, now, rest=self._pace.gap)
        if again_after is not None:
            self.add(key, now, after=again_after)

    def failed(self, key: Key, now: float) -> float:
        """The look failed: again with backoff. Returns the seconds until then."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        backoff = self._backoff(failures)
        self._back(key, now, rest=min(backoff, self._pace.hinted_backoff))
        self.add(key, now, after=backoff)
        return backoff

    def next_due(self) -> float | None:
        """When `take` will have something next, as far as known; None: not without an add."""
        return min((at for key, at in self._due.items() if key not in self._out), default=None)

    def forget(self, keep: set[Key]) -> None:
        """Drop what is remembered of keys that no longer exist; appointments stay."""
        for gone in [key for key in self._rest if key not in keep and key not in self._due]:
            del self._rest[gone]
            self._failures.pop(gone, None)

    def _back(self, key: Key, now: float, *, rest: float) -> None:
        self._out.discard(key)
        self._rest[key] = now + rest
        if key in self._due:
            self._due[key] = max(self._due[key], now + rest)

    def _backoff(self, failures: int) -> float:
        # 2**40 is far beyond the cap; the exponent is bounded against overflow.
        whole = self._pace.first_backoff * 2.0 ** min(failures - 1, 40)
        return min(whole, self._pace.longest_backoff) * (0.5 + 0.5 * self._jitter())
