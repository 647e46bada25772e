"""The operator's API, as far as an experiment needs it: read and change one ServerSet, list replicas.

Law: edge; the wire only (any API that serves ServerSets will do, `kubectl proxy` too). A refusal or
silence is one ExperimentError.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

from ringmaster_experiments import errors

Document = dict[str, Any]
_GROUP = "/apis/ringmaster.dev/v1alpha1"
_SECONDS = 10.0
_NOT_FOUND = 404
_LABEL = "ringmaster.dev"


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica as the operator sees it."""

    name: str  # as the server calls itself
    member: str
    ordinal: int
    uid: str
    address: str
    ready: bool
    in_ring: bool


class Server:
    """One ServerSet behind one API."""

    def __init__(self, url: str, *, namespace: str, name: str) -> None:
        self.name = name
        self._namespace = namespace
        self.url = url.rstrip("/")
        self._set = f"{self.url}{_GROUP}/namespaces/{namespace}/serversets/{name}"
        self._session = requests.Session()
        self._session.trust_env = False

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()

    def get(self) -> Document:
        """The ServerSet."""
        return self._json("GET", self._set)

    def find(self) -> Document | None:
        """The ServerSet, None if there is none."""
        answer = self._send("GET", self._set)
        return None if answer.status_code == _NOT_FOUND else _document(answer)

    def delete(self) -> None:
        """Begin its deletion."""
        self._json("DELETE", self._set)

    def patch(self, change: Document) -> Document:
        """The ServerSet after a merge patch."""
        return self._json("PATCH", self._set, change)

    def replicas(self) -> list[Replica]:
        """The replicas, sorted by ordinal; a cluster is asked for its pods."""
        answer = self._send("GET", f"{self._set}/replicas")
        if answer.status_code != _NOT_FOUND:
            found = [_replica(item) for item in _document(answer)["items"]]
        else:
            path = f"{self.url}/api/v1/namespaces/{self._namespace}/pods"
            pods = self._json("GET", f"{path}?labelSelector={_LABEL}/serverset%3D{self.name}")
            found = [_pod(item) for item in pods["items"]]
        return sorted(found, key=lambda replica: (replica.ordinal, replica.name))

    def _json(self, method: str, url: str, body: Document | None = None) -> Document:
        return _document(self._send(method, url, body))

    def _send(self, method: str, url: str, body: Document | None = None) -> requests.Response:
        try:
            return self._session.request(
                method,
                url,
                data=None if body is None else json.dumps(body).encode(),
                headers={"Content-Type": "application/merge-patch+json"} if body else {},
                timeout=_SECONDS,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise errors.ExperimentError(
                f"the operator's API at {self.url} does not answer: --server names another"
            ) from error


def condition(document: Mapping[str, Any], kind: str) -> Document:
    """A condition of a ServerSet as it is now; empty if it is about an older generation."""
    generation = document["metadata"].get("generation")
    for found in (document.get("status") or {}).get("conditions") or ():
        if found.get("type") == kind and found.get("observedGeneration") == generation:
            return dict(found)
    return {}


def _document(answer: requests.Response) -> Document:
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not answer.ok or not isinstance(document, dict):
        message = document.get("message") if isinstance(document, dict) else ""
        raise errors.ExperimentError(
            f"the operator's API refuses: {message or f'HTTP {answer.status_code}'}"
        )
    return document


def _replica(item: Document) -> Replica:
    status = item["status"]
    return Replica(
        name=status["displayName"],
        member=status["memberId"],
        ordinal=status["ordinal"],
        uid=item["metadata"]["uid"],
        address=status.get("address", ""),
        ready=status["ready"] and status["phase"] == "Running",
        in_ring=status.get("ring") == "active",
    )


def _pod(item: Document) -> Replica:
    """A pod of the set; what is ready there counts as in the ring, the operator sees to it."""
    labels, status = item["metadata"]["labels"], item.get("status") or {}
    ready = "deletionTimestamp" not in item["metadata"] and any(
        found["type"] == "Ready" and found["status"] == "True"
        for found in status.get("conditions") or ()
    )
    return Replica(
        name=labels[f"{_LABEL}/name"],
        member=labels[f"{_LABEL}/member-id"],
        ordinal=int(labels[f"{_LABEL}/ordinal"]),
        uid=item["metadata"]["uid"],
        address=status.get("podIP", ""),
        ready=ready,
        in_ring=ready,
    )
