"""Images: which have to be fetched before a container is made, and that nobody waits for one.

Law: a pull takes minutes and other replicas need the reconcile meanwhile, so it runs beside it;
who needs the image asks again (`PendingError`). Pulls of one image at a time are one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent import futures
from typing import Protocol

from ringmaster_operator import errors

WAIT_SECONDS = 1.0  # most failures are known by then, and images that are there already


FRESH_SECONDS = 5.0  # so long a pull is not repeated: replicas come in waves, of one image


class Puller(Protocol):
    """The part of the engine that is needed."""

    def pull(self, image: str) -> None:
        """Fetch it, however long that takes."""
        ...


class Images:
    """Sees to it that images are there."""

    def __init__(
        self,
        engine: Puller,
        *,
        wait_seconds: float = WAIT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._wait = wait_seconds
        self._clock = clock
        self._pulled: dict[str, float] = {}  # when, by image
        self._lock = threading.Lock()
        self._pulls: dict[str, futures.Future[None]] = {}

    def before_create(self, image: str, *, policy: str) -> None:
        """What the policy wants fetched whether it is there or not.

        Raises:
            RefusedError, PendingError, RetryLater
        """
        if self._under_way(image) or (policy == "Always" and not self._is_fresh(image)):
            self._pull(image)

    def missing(self, image: str, *, policy: str) -> None:
        """The engine says that it does not have it.

        Raises:
            RefusedError: it shall not be fetched, or cannot.
            PendingError: it is on its way.
        """
        if policy == "Never":
            raise errors.RefusedError(
                "ErrImageNeverPull", f"{image}: not there, and imagePullPolicy is Never"
            )
        self._pull(image)

    def _is_fresh(self, image: str) -> bool:
        with self._lock:
            return self._clock() - self._pulled.get(image, float("-inf")) < FRESH_SECONDS

    def _under_way(self, image: str) -> bool:
        with self._lock:
            return image in self._pulls

    def _pull(self, image: str) -> None:
        with self._lock:
            pull = self._pulls.get(image)
            if pull is None:
                pull = self._pulls[image] = self._begin(image)
        try:
            pull.result(timeout=self._wait)
            with self._lock:
                self._pulled[image] = self._clock()
        except TimeoutError as error:
            raise errors.PendingError(f"the image {image} is being pulled") from error
        finally:
            if pull.done():
                self._forget(image, pull)

    def _begin(self, image: str) -> futures.Future[None]:
        """Fetch it in a daemon thread, for which an ending operator does not wait."""
        pull: futures.Future[None] = futures.Future()

        def fetch() -> None:
            try:
                self._engine.pull(image)
            except BaseException as error:  # noqa: BLE001 – told to whoever asks
                pull.set_exception(error)
            else:
                pull.set_result(None)

        threading.Thread(target=fetch, name=f"pull {image}", daemon=True).start()
        return pull

    def _forget(self, image: str, pull: futures.Future[None]) -> None:
        """Its outcome has been told; the next who asks begins anew."""
        with self._lock:
            if self._pulls.get(image) is pull:
                del self._pulls[image]
