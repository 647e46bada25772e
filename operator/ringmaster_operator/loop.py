"""Runs reconciles without a cluster: what kopf does on one.

Law: level-triggered. Store changes, the runtime's hints, the full pass at start and every 15 s and
a reconcile's own `requeue_after` all say only *look again*. One reconcile per ServerSet at a time,
different sets side by side. No failure ends the loop but a fence.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from ringmaster_operator import errors, observed, ports, workqueue

Key = tuple[str, str]  # namespace, name


class Outcome(Protocol):
    """What a reconcile returns: `reconcile.Result`."""

    @property
    def requeue_after(self) -> float | None:
        """Seconds; None: not before something changes."""
        ...


class Reconciles(Protocol):
    """What the loop runs: `reconcile.Reconciler`."""

    def reconcile(self, namespace: str, name: str) -> Outcome:
        """Look at one ServerSet and act once."""
        ...


class Watches(Protocol):
    """The part of `ports.Runtime` that the loop uses."""

    def watch(self, notify: ports.Notify, stop: threading.Event) -> None:
        """See `ports.Runtime.watch`."""
        ...


@dataclass(frozen=True, slots=True)
class Settings:
    """Times in seconds."""

    workers: int = 4
    full_pass_seconds: float = 15.0
    goodbye_seconds: float = 10.0  # for reconciles under way when the loop is to end
    watch_again_seconds: float = 1.0  # after a watch that broke
    pace: workqueue.Pace = field(default_factory=workqueue.Pace)


class Loop:
    """The work queue with its threads. `owners` lists every ServerSet there is now."""

    def __init__(
        self,
        *,
        reconciler: Reconciles,
        owners: Callable[[], Sequence[observed.Owner]],
        settings: Settings | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._reconciler = reconciler
        self._owners = owners
        self._settings = settings or Settings()
        self._clock = clock
        self._queue: workqueue.WorkQueue[Key] = workqueue.WorkQueue(
            pace=self._settings.pace, jitter=jitter
        )
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._fence: errors.FencedError | None = None
        self._last_success: float | None = None
        self._log = structlog.get_logger()

    @property
    def last_success(self) -> float | None:
        """When, by the loop's clock, a reconcile or an empty full pass last went well."""
        return self._last_success

    def healthy(self, *, within: float = 60.0) -> bool:
        """Whether anything has succeeded lately: what a liveness probe asks."""
        last = self._last_success
        return last is not None and self._clock() - last <= within

    def enqueue(self, namespace: str, name: str) -> None:
        """Something about this ServerSet may have changed. Any thread may say so."""
        self._add([(namespace, name)])

    def hint(self, about: str | observed.Owner | None) -> None:
        """A runtime saw something: of this set, of the one with this UID, or (None) of any."""
        if self._stop.is_set():
            return
        if isinstance(about, observed.Owner):
            self.enqueue(about.namespace, about.name)
            return
        try:
            owners = self._owners()
        except errors.FencedError as error:
            self._fenced(error)
            return
        except errors.RetryLater as error:
            # It is a runtime's thread that calls, and must live: the next pass looks at all.
            self._log.warning("hint-lost", why=str(error))
            return
        self._add(
            (owner.namespace, owner.name) for owner in owners if about is None or owner.uid == about
        )

    def full_pass(self) -> None:
        """Look again at every ServerSet."""
        keys = [(owner.namespace, owner.name) for owner in self._owners()]
        with self._changed:
            self._queue.forget(set(keys))
        if not keys:
            self._last_success = self._clock()
        self._add(keys)

    def run_due(self) -> int:
        """Reconcile, in this thread, until nothing is due now; how many. For tests."""
        count = 0
        while not self._stop.is_set() and (key := self._take()) is not None:
            self._look(key)
            count += 1
        return count

    def stop(self) -> None:
        """Begin no further reconcile; `run` returns when those under way have ended."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    def run(self, runtime: Watches) -> None:
        """Work until `stop`. Blocks.

        Raises:
            FencedError: another operator acts; this one has stopped.
        """
        threads = [self._thread(f"reconcile-{n}", self._work) for n in range(self._workers())]
        threads.append(self._thread("watch", lambda: self._watch(runtime)))
        for thread in threads:
            thread.start()
        self._pass_until_stopped()
        self._join(threads)
        if self._fence is not None:
            raise self._fence

    def _workers(self) -> int:
        return max(1, self._settings.workers)

    @staticmethod
    def _thread(name: str, target: Callable[[], None]) -> threading.Thread:
        # Daemons, so that a call that hangs in a runtime cannot keep an ending operator alive.
        return threading.Thread(target=target, name=name, daemon=True)

    def _join(self, threads: Iterable[threading.Thread]) -> None:
        deadline = time.monotonic() + self._settings.goodbye_seconds
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                self._log.warning("thread-left-behind", thread=thread.name)

    def _pass_until_stopped(self) -> None:
        while not self._stop.is_set():
            try:
                self.full_pass()
            except errors.FencedError as error:
                self._fenced(error)
            except errors.RetryLater as error:
                self._log.warning("full-pass-failed", why=str(error))
            except Exception:  # noqa: BLE001 – nothing ends the loop; the next pass tries again
                self._log.exception("full-pass-failed")
            self._stop.wait(self._settings.full_pass_seconds)

    def _watch(self, runtime: Watches) -> None:
        while not self._stop.is_set():
            try:
                runtime.watch(self.hint, self._stop)
            except Exception:  # noqa: BLE001 – hints are optional, the loop goes on
                self._log.exception("watch-failed")
            self._stop.wait(self._settings.watch_again_seconds)

    def _work(self) -> None:
        while not self._stop.is_set():
            key = self._take()
            if key is not None:
                self._look(key)
                continue
            with self._changed:
                if not self._stop.is_set():
                    self._changed.wait(self._until_due())

    def _until_due(self) -> float | None:
        due = self._queue.next_due()
        return None if due is None else max(0.0, due - self._clock())

    def _take(self) -> Key | None:
        with self._changed:
            return self._queue.take(self._clock())

    def _add(self, keys: Iterable[Key]) -> None:
        now = self._clock()
        with self._changed:
            for key in keys:
                self._queue.add(key, now)
            self._changed.notify_all()

    def _look(self, key: Key) -> None:
        namespace, name = key
        log = self._log.bind(serverset=f"{namespace}/{name}")
        try:
            outcome = self._reconciler.reconcile(namespace, name)
        except errors.FencedError as error:
            self._fenced(error)
        except errors.RetryLater as error:
            log.warning("retry", why=str(error), after=f"{self._failed(key):.1f}s")
        except Exception:
            log.exception("reconcile-failed", after=f"{self._failed(key):.1f}s")
        else:
            with self._changed:
                self._last_success = self._clock()
                self._queue.done(key, self._last_success, again_after=outcome.requeue_after)
                self._changed.notify_all()

    def _fenced(self, error: errors.FencedError) -> None:
        self._log.error("fenced", why=str(error))
        self._fence = error
        self.stop()

    def _failed(self, key: Key) -> float:
        with self._changed:
            backoff = self._queue.failed(key, self._clock())
            self._changed.notify_all()
            return backoff
