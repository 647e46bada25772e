"""The Ringmaster under experiment, and one that runs already (`own` starts others).

Law: edge. What was changed is put back, however the block is left.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ringmaster_experiments import errors, load, server

ARRANGE_SECONDS = 120.0  # six servers, and the ring acknowledged, on a busy machine
_POLL = 0.05

_RING_FIELDS = (
    "scheme", "slots", "hash", "key", "virtualNodes", "probing", "boundedLoad", "maxMovedPercent",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stack:
    """A running Ringmaster: where its balancer listens, its operator's API, where replicas live."""

    target: load.Target
    api: server.Server
    runtime: str

    def arrange(self, ring: Mapping[str, str], servers: int) -> tuple[str, ...]:
        """Have so many servers under this ring, all in it; their member ids by ordinal.

        ExperimentError says what the operator waits for if it does not come about.
        """
        exactly = dict.fromkeys(_RING_FIELDS) | dict(ring)
        proxy = {"memberHeader": True}
        self.api.patch(
            {"spec": {"replicas": servers, "ring": exactly, "balancer": {"proxy": proxy}}}
        )
        deadline = time.monotonic() + ARRANGE_SECONDS
        while not _settled(document := self.api.get(), servers):
            if time.monotonic() > deadline:
                raise errors.ExperimentError(
                    f"{servers} servers are not in the ring after {ARRANGE_SECONDS:g} s: "
                    f"{_complaint(document)}"
                )
            time.sleep(_POLL)
        return tuple(replica.member for replica in self.api.replicas() if replica.in_ring)


@contextlib.contextmanager
def running(url: str, *, api: str, serverset: str, runtime: str) -> Iterator[Stack]:
    """A Ringmaster that runs already; afterwards its ServerSet is as it was."""
    target = load.Target.of(url)
    namespace, _, name = serverset.rpartition("/")
    kept = server.Server(api, namespace=namespace or "default", name=name)
    try:
        before = kept.get()["spec"]
        try:
            yield Stack(target=target, api=kept, runtime=runtime)
        finally:
            kept.patch({"spec": _as_it_was(before)})
    finally:
        kept.close()


def _settled(document: Mapping[str, Any], servers: int) -> bool:
    """Whether the spec as it is now is in force on servers and balancers."""
    status = document.get("status") or {}
    return (
        status.get("observedGeneration") == document["metadata"]["generation"]
        and status.get("replicas") == status.get("inRing") == servers
        and all(
            server.condition(document, kind).get("status") == "True"
            for kind in ("Ready", "BalancerSynced")
        )
    )


def _complaint(document: Mapping[str, Any]) -> str:
    conditions = (document.get("status") or {}).get("conditions") or ()
    said = [
        f"{each.get('reason')}: {each.get('message')}"
        for each in conditions
        if (each.get("status") == "True") == (each.get("type") == "ReplicaFailure")
    ]
    return "; ".join(said) or "the operator has not looked at it yet"


def _as_it_was(before: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that undoes `arrange`."""
    ring = before.get("ring") or {}
    proxy = (before.get("balancer") or {}).get("proxy") or {}
    return {
        "replicas": before.get("replicas"),
        "ring": {field: ring.get(field) for field in _RING_FIELDS},
        "balancer": {"proxy": {"memberHeader": proxy.get("memberHeader")}},
    }
