"""The API server's promises that the operator rests on, in memory: `kube.client.Api` without HTTP.

Optimistic concurrency by resourceVersion, preconditions by uid, label selectors, merge patches,
and of the strategic ones what owner references need.
"""

from __future__ import annotations

import copy
import itertools
import threading
from typing import Any

from ringmaster_operator import applying, errors
from ringmaster_operator.api import selectors
from ringmaster_operator.kube import client

Document = dict[str, Any]


class FakeApi(client.Api):
    """Objects by path. `faults` are raised by the next writes, None lets one pass."""

    def __init__(self) -> None:
        self.objects: dict[str, Document] = {}
        self.log: list[str] = []  # every write that was asked for
        self.reads: list[str] = []
        self.queries: list[Document] = []
        self.faults: list[Exception | None] = []
        self.late_faults: list[Exception | None] = []  # raised though the write was done
        self.meanwhile: list[Any] = []  # called, one before each write
        self._versions = itertools.count(1)
        self._lock = threading.RLock()

    def put(self, collection: str, document: Document) -> Document:
        """Somebody else's create."""
        with self._lock:
            metadata = document["metadata"]
            place = collection.partition("/namespaces/")[2].partition("/")[0]
            metadata.setdefault("namespace", place)
            metadata.setdefault("uid", f"uid-{next(self._versions)}")
            metadata.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
            metadata["resourceVersion"] = str(next(self._versions))
            self.objects[f"{collection}/{metadata['name']}"] = document
            return copy.deepcopy(document)

    def edit(self, path: str, change: Document) -> Document:
        """Somebody else's merge patch."""
        with self._lock:
            merged = applying.merged(self.objects[path], change)
            merged["metadata"]["resourceVersion"] = str(next(self._versions))
            self.objects[path] = merged
            return copy.deepcopy(merged)

    # client.Api.

    def get(self, path: str, **query: str | int) -> Document:
        with self._lock:
            self.reads.append(path)
            self.queries.append(query)
            if "labelSelector" in query or self._is_collection(path):
                matches = selectors.labels(str(query.get("labelSelector", "")))
                found = [o for p, o in sorted(self.objects.items()) if _parent(p) == path]
                return {"items": [copy.deepcopy(each) for each in found if matches(each)]}
            return copy.deepcopy(self._at(path))

    def create(self, path: str, body: Document) -> Document:
        self._write(f"POST {path}/{body['metadata']['name']}")
        with self._lock:
            if f"{path}/{body['metadata']['name']}" in self.objects:
                raise errors.AlreadyExistsError(f"{body['metadata']['name']} already exists")
            return self._done(self.put(path, copy.deepcopy(body)))

    def patch(self, path: str, body: Document, *, kind: str = client.MERGE) -> Document:
        self._write(f"PATCH {path}")
        with self._lock:
            status = path.endswith("/status")
            path = path.removesuffix("/status")
            now = self._at(path)
            self._check(now, body.get("metadata", {}))
            body = {key: value for key, value in body.items() if status == (key == "status")}
            if kind == client.STRATEGIC:
                body = _plain(now, body)
            merged = applying.merged(now, body)
            if merged == now:
                return copy.deepcopy(now)
            merged["metadata"]["resourceVersion"] = str(next(self._versions))
            self.objects[path] = merged
            return self._done(copy.deepcopy(merged))

    def delete(
        self, path: str, *, uid: str | None = None, grace_seconds: int | None = None
    ) -> Document:
        self._write(f"DELETE {path} grace={grace_seconds}")
        with self._lock:
            self._check(self._at(path), {"uid": uid} if uid else {})
            return self._done(self.objects.pop(path))

    def close(self) -> None:
        pass

    def _write(self, what: str) -> None:
        if self.meanwhile:
            self.meanwhile.pop(0)()
        self.log.append(what)
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            raise fault

    def _done(self, document: Document) -> Document:
        fault = self.late_faults.pop(0) if self.late_faults else None
        if fault is not None:
            raise fault
        return document

    def _at(self, path: str) -> Document:
        if path not in self.objects:
            raise errors.NotFoundError(f"{path} not found")
        return self.objects[path]

    @staticmethod
    def _check(now: Document, claimed: Document) -> None:
        for field in ("uid", "resourceVersion"):
            if field in claimed and claimed[field] != now["metadata"][field]:
                raise errors.ConflictError(f"{field} is another one")

    @staticmethod
    def _is_collection(path: str) -> bool:
        return path.endswith(("/serversets", "/pods", "/events", "/controllerrevisions"))


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _plain(now: Document, patch: Document) -> Document:
    """A strategic patch as a merge patch: owner references are merged by uid."""
    given = patch.get("metadata", {}).get("ownerReferences")
    if given is None:
        return patch
    owners = {ref["uid"]: ref for ref in now["metadata"].get("ownerReferences", [])}
    for ref in given:
        if ref.get("$patch") == "delete":
            owners.pop(ref["uid"], None)
        else:
            owners[ref["uid"]] = ref
    return {**patch, "metadata": {**patch["metadata"], "ownerReferences": list(owners.values())}}
