"""Which ServerSets a change concerns.

Law: pure apart from its own table of what was seen. A hint too many costs a look, one too few is
found by the next full pass.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ringmaster_operator import naming, observed

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A ServerSet as far as hints need it."""

    owner: observed.Owner
    selectors: tuple[Mapping[str, str], ...]  # of its replicas, of its balancers
    essence: str  # what a user has changed if it differs


class Hints:
    """Fed with watch events of ServerSets and pods; tells whom to look at. Used by one thread."""

    def __init__(self) -> None:
        # By uid: of two ServerSets of one name kopf may tell the end of the first after the
        # beginning of the second, for it queues by uid.
        self._sets: dict[str, _Seen] = {}

    def of_set(self, document: Document, *, gone: bool) -> observed.Owner | None:
        """The ServerSet itself, unless all that changed is what we write ourselves."""
        metadata = document["metadata"]
        owner = observed.Owner(metadata["namespace"], metadata["name"], metadata["uid"])
        if gone:
            self._sets.pop(owner.uid, None)
            return owner
        seen = _Seen(owner, _selectors(document), _essence(document))
        before, self._sets[owner.uid] = self._sets.get(owner.uid), seen
        return None if before == seen else owner

    def of_pod(self, pod: Document) -> set[observed.Owner]:
        """Those that control a pod, or whose selectors it matches."""
        metadata = pod["metadata"]
        namespace, labels = metadata["namespace"], metadata.get("labels") or {}
        owners = {
            observed.Owner(namespace, str(ref["name"]), str(ref["uid"]))
            for ref in metadata.get("ownerReferences") or ()
            if ref.get("kind") == naming.KIND and ref.get("apiVersion") == naming.API_VERSION
        }
        return owners | {
            seen.owner
            for seen in self._sets.values()
            if seen.owner.namespace == namespace
            and any(_match(each, labels) for each in seen.selectors)
        }


def _selectors(document: Document) -> tuple[Mapping[str, str], ...]:
    spec = document.get("spec") or {}
    found = [spec.get("selector"), (spec.get("balancer") or {}).get("selector")]
    return tuple(each["matchLabels"] for each in found if each and each.get("matchLabels"))


def _match(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.items())


def _essence(document: Document) -> str:
    """All but what the operator itself writes: status, memory, and the traces of both."""
    metadata = document["metadata"]
    annotations = dict(metadata.get("annotations") or {})
    annotations.pop(naming.ANNOTATION_MEMORY, None)
    kept = {key: metadata.get(key) for key in ("uid", "labels", "deletionTimestamp")}
    return json.dumps([document.get("spec"), kept, annotations], sort_keys=True, default=str)
