"""What every write does to a ServerSet's document, as a Kubernetes API server would do it.

Law: pure; documents are plain JSON values, arguments are never changed. Metadata that the server
owns (uid, creationTimestamp, generation, …) cannot be set from outside; the generation rises when
the spec changes and only then; the status is written by the operator alone.
"""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Collection, Sequence
from typing import Any

from ringmaster_operator import conditions, errors, naming

Document = dict[str, Any]

_OWNED = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
_NOT_KEPT = ("managedFields", "selfLink", "generateName", "resourceVersion", "generation")


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC with whole seconds, as Kubernetes writes times."""
    return dt.datetime.fromtimestamp(seconds, tz=dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(text: str) -> float:
    """What `timestamp` wrote, or Kubernetes; seconds since 1970."""
    return dt.datetime.fromisoformat(text).timestamp()


def created(document: Document, *, namespace: str, name: str, uid: str, now: float) -> Document:
    """The document as it is first stored: identity given, generation 1, no status."""
    identity = {
        "name": name,
        "namespace": namespace,
        "uid": uid,
        "creationTimestamp": timestamp(now),
        "generation": 1,
    }
    return _typed(document, _given(document) | identity, status=None)


def revised(current: Document, proposed: Document) -> Document:
    """`current` with what a user may change taken from `proposed`: metadata and spec.

    Raises:
        ConflictError: `proposed` was made from another version, or another object of this name.
    """
    check_origin(current, proposed.get("metadata") or {})
    ours = (*_OWNED, "name", "namespace", "resourceVersion", "generation")
    kept = {field: current["metadata"][field] for field in ours if field in current["metadata"]}
    if proposed.get("spec") != current.get("spec"):
        kept["generation"] += 1
    return _typed(proposed, _given(proposed) | kept, status=current.get("status"))


def restated(current: Document, status: Document) -> Document:
    """`current` with another status, whole; spec and metadata stay."""
    return {**current, "status": copy.deepcopy(status)}


def merged_status(current: Document, ours: Document) -> Document:
    """Our part of the status over the stored one: conditions of types that are not ours stay.

    `ours` was made from an earlier document and may have carried others' along: theirs are what
    is stored by now, also where they changed, came or went meanwhile.
    """
    before = conditions.told(current)
    if "conditions" not in ours and not before:
        return ours
    written = [
        each
        for each in conditions.legible(ours.get("conditions"))
        if each["type"] in conditions.OURS
    ]
    types = {condition["type"] for condition in written}
    others = [condition for condition in before if condition["type"] not in types]
    return {**ours, "conditions": [*written, *others]}


def deleted(current: Document, *, now: float) -> Document:
    """`current` on its way out. A second time changes nothing."""
    if "deletionTimestamp" in current["metadata"]:
        return current
    # Kubernetes raises the generation too: what is desired has changed.
    metadata = current["metadata"] | {
        "deletionTimestamp": timestamp(now),
        "deletionGracePeriodSeconds": 0,
        "generation": current["metadata"]["generation"] + 1,
    }
    return {**current, "metadata": metadata}


def consumed(current: Document, *, names: Collection[str], victims: Collection[str]) -> Document:
    """`current` without names that are in use now and victims that are gone."""
    result = copy.deepcopy(current)
    spec = result.get("spec") or {}
    if spec.get("names"):
        spec["names"] = _without(spec["names"], names)
    scale_down = spec.get("scaleDown") or {}
    if scale_down.get("victims"):
        scale_down["victims"] = _without(scale_down["victims"], victims)
    return result


def rebased(proposed: Document, *, read: Document, now: Document) -> Document | None:
    """`proposed`, which was made from `read`, as a change of `now`; None: it must be made anew.

    Who writes the status and who writes the rest do not meet: an operator that tells often must
    not keep away a change that takes long to judge.
    """
    if now["metadata"]["resourceVersion"] == read["metadata"]["resourceVersion"]:
        return proposed
    if proposed.get("status") == read.get("status") and _rest(now) == _rest(read):
        kept = {"status": now["status"]} if "status" in now else {}
        return {name: value for name, value in proposed.items() if name != "status"} | kept
    if _rest(proposed) == _rest(read) and now.get("status") == read.get("status"):
        return {**now, "status": proposed.get("status")}
    return None


def _rest(document: Document) -> Document:
    """All but the status, and the version, which rises with it."""
    metadata = {k: v for k, v in document["metadata"].items() if k != "resourceVersion"}
    return {k: v for k, v in document.items() if k != "status"} | {"metadata": metadata}


def at_version(document: Document, version: int) -> Document:
    """The document, stamped with the version of the write that stores it."""
    return {**document, "metadata": document["metadata"] | {"resourceVersion": str(version)}}


def check_origin(current: Document, claimed: Document) -> None:
    """Compare what a writer believes (`resourceVersion`, `uid`, where given) with what is stored.

    Raises:
        ConflictError: it is another version, or another object of this name.
    """
    metadata = current["metadata"]
    version = claimed.get("resourceVersion")
    if version and version != metadata["resourceVersion"]:
        raise errors.ConflictError(
            "the object has been modified; please apply your changes to the latest version "
            "and try again"
        )
    uid = claimed.get("uid")
    if uid and uid != metadata["uid"]:
        raise errors.ConflictError(
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: {metadata['uid']}"
        )


def _given(document: Document) -> Document:
    """The metadata that users may set."""
    metadata = document.get("metadata") or {}
    return {
        field: copy.deepcopy(value)
        for field, value in metadata.items()
        if field not in _OWNED and field not in _NOT_KEPT
    }


def _typed(document: Document, metadata: Document, *, status: Document | None) -> Document:
    rest = {
        field: copy.deepcopy(value)
        for field, value in document.items()
        if field not in ("apiVersion", "kind", "metadata", "status")
    }
    result = {"apiVersion": naming.API_VERSION, "kind": naming.KIND, "metadata": metadata, **rest}
    return result if status is None else result | {"status": status}


def _without(values: Sequence[str], gone: Collection[str]) -> list[str]:
    gone = frozenset(gone)
    return [value for value in values if value not in gone]
