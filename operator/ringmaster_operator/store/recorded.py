"""Kubernetes-style events: what is written down of one, and when two count as the same.

Law: pure. As in Kubernetes, the same reason and message about the same object is one event whose
count and last time rise.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import Any

from ringmaster_operator import naming, observed
from ringmaster_operator.store import stored

COMPONENT = "ringmaster-operator"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a ServerSet; `kind` is Normal or Warning."""

    owner: observed.Owner
    kind: str
    reason: str
    message: str

    def sameness(self) -> str:
        """Equal for events that are counted together."""
        parts = (self.owner.uid, self.kind, self.reason, self.message)
        text = "\0".join(parts).encode(errors="surrogatepass")
        return hashlib.blake2b(text, digest_size=16).hexdigest()


def first(event: Event, *, now: float) -> dict[str, Any]:
    """The `core/v1` Event document of the first occurrence."""
    at = stored.timestamp(now)
    owner = event.owner
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{owner.name}.{event.sameness()[:16]}",
            "namespace": owner.namespace,
            "uid": str(uuid.UUID(event.sameness())),
            "creationTimestamp": at,
        },
        "involvedObject": {
            "apiVersion": naming.API_VERSION,
            "kind": naming.KIND,
            "namespace": owner.namespace,
            "name": owner.name,
            "uid": owner.uid,
        },
        "type": event.kind,
        "reason": event.reason,
        "message": event.message,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": "",
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }


def again(before: dict[str, Any], *, now: float) -> dict[str, Any]:
    """The document after one more occurrence."""
    return {**before, "count": before["count"] + 1, "lastTimestamp": stored.timestamp(now)}
