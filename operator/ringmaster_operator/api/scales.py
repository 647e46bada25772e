"""`autoscaling/v1` Scale: the replica count of a ServerSet, as `kubectl scale` and HPAs see it.

Law: pure.
"""

from __future__ import annotations

from typing import Any

from ringmaster_operator import errors
from ringmaster_operator.api import admission, problems

Document = dict[str, Any]
_SHOWN = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def of(server_set: Document) -> Document:
    """The Scale of a ServerSet."""
    metadata, status = server_set["metadata"], server_set.get("status") or {}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {field: metadata[field] for field in _SHOWN if field in metadata},
        "spec": {"replicas": server_set["spec"]["replicas"]},
        "status": {
            "replicas": status.get("replicas", 0),
            "selector": status.get("selector") or _selector(server_set),
        },
    }


def onto(server_set: Document, scale: Document) -> Document:
    """The ServerSet with the count (and the version precondition) of a Scale.

    Raises:
        Problem: 400 if it is another's, 422 if the count is no integer of at least 0.
    """
    metadata, wanted = scale.get("metadata") or {}, scale.get("spec") or {}
    admission.refuse_others(metadata, server_set["metadata"])
    replicas = wanted.get("replicas", 0) if isinstance(wanted, dict) else None
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        fault = errors.Fault("spec.replicas", "must be an integer of at least 0")
        raise problems.invalid(server_set["metadata"]["name"], (fault,))
    claimed = {
        field: metadata[field] for field in ("resourceVersion", "uid") if metadata.get(field)
    }
    return {
        **server_set,
        "metadata": server_set["metadata"] | claimed,
        "spec": server_set["spec"] | {"replicas": replicas},
    }


def _selector(server_set: Document) -> str:
    wanted = server_set["spec"].get("selector", {}).get("matchLabels", {})
    return ",".join(f"{key}={value}" for key, value in sorted(wanted.items()))
