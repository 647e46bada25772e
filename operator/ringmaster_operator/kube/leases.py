"""Which operator life acts: an epoch kept in a Lease.

Law: the epoch only rises, by compare and swap; whoever finds a higher one than its own stops. It
is a fence and no election: nothing is renewed, so at rest nothing is written.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from typing import Any

from ringmaster_operator import errors, naming
from ringmaster_operator.kube import client, paths

NAME = "ringmaster-operator"
_TRIES = 10


class Epochs:
    """The Lease `ringmaster-operator` of one namespace. `holder` is for people who look."""

    def __init__(
        self,
        api: client.Api,
        *,
        namespace: str,
        holder: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._holder = holder
        self._clock = clock

    def current(self) -> int:
        """The highest epoch that any operator raised; 0 before the first."""
        return _epoch(self._read())

    def raise_above(self, known: int) -> int:
        """Begin an operator's life: above now in ms, above the Lease's, and above `known`.

        Raises:
            RetryLater: the Lease cannot be written.
        """
        for _ in range(_TRIES):
            before = self._read()
            epoch = max(int(self._clock() * 1000), _epoch(before), known) + 1
            try:
                self._write(before, epoch)
            except (errors.ConflictError, errors.AlreadyExistsError):
                continue
            except errors.NotFoundError:
                if before is None:  # there is no such namespace
                    raise
                continue  # deleted since it was read
            except errors.RefusedError as error:
                raise errors.RetryLater(f"the epoch cannot be raised: {error}") from error
            return epoch
        raise errors.RetryLater(f"the Lease {self._namespace}/{NAME} changes all the time")

    def check(self, epoch: int) -> None:
        """Go on acting, if no later operator has begun.

        Raises:
            FencedError: one has.
        """
        highest = self.current()
        if highest > epoch:
            raise errors.FencedError(
                f"the Lease {self._namespace}/{NAME} knows epoch {highest}, ours is {epoch}"
            )

    def _read(self) -> dict[str, Any] | None:
        try:
            return self._api.get(paths.leases(self._namespace, NAME))
        except errors.NotFoundError:
            return None

    def _write(self, before: dict[str, Any] | None, epoch: int) -> None:
        now = dt.datetime.fromtimestamp(self._clock(), tz=dt.UTC).isoformat(timespec="microseconds")
        spec = {"holderIdentity": self._holder, "acquireTime": now.replace("+00:00", "Z")}
        annotations = {naming.ANNOTATION_EPOCH: str(epoch)}
        if before is None:
            self._api.create(
                paths.leases(self._namespace),
                {
                    "apiVersion": "coordination.k8s.io/v1",
                    "kind": "Lease",
                    "metadata": {"name": NAME, "annotations": annotations},
                    "spec": spec,
                },
            )
            return
        version = before["metadata"]["resourceVersion"]
        self._api.patch(
            paths.leases(self._namespace, NAME),
            {"metadata": {"resourceVersion": version, "annotations": annotations}, "spec": spec},
        )


def _epoch(lease: dict[str, Any] | None) -> int:
    annotations = ((lease or {}).get("metadata") or {}).get("annotations") or {}
    text = str(annotations.get(naming.ANNOTATION_EPOCH, "0"))
    return int(text) if text.isdecimal() else 0
