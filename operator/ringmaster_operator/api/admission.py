"""What a ServerSet must be before it is stored, by whichever way it comes.

Law: pure. A document is taken whole or refused with every fault (422); what is stored has no nulls
and always says how many replicas there shall be, so that tables and `/scale` need no default.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from ringmaster_operator import errors, naming, spec
from ringmaster_operator.api import bodies, problems
from ringmaster_operator.spec import shape

Document = dict[str, Any]
_MAX_BYTES = 1536 * 1024  # as etcd's --max-request-bytes, the bound of a cluster
# What a runtime cannot honour in a template.
Check = Callable[[dict[str, Any]], Sequence[errors.Fault]]


def new(document: Document, *, namespace: str, check: Check) -> Document:
    """A document for creation, its name and namespace settled.

    Raises:
        Problem: 400 if it belongs elsewhere, 413 if it is too large, 422 if it is invalid.
    """
    metadata = metadata_of(document)
    prefix = metadata.get("generateName")
    if prefix and not metadata.get("name"):
        metadata["name"] = f"{prefix}{naming.short_hash(secrets.token_hex(16))}"
    fresh = {**document, "metadata": metadata}
    _place(fresh, namespace=namespace, name=None)
    return _valid({**fresh, "status": None}, check=check, before=None)


def changed(current: Document, proposed: Document, *, check: Check) -> Document:
    """A document that is to replace `current`.

    Raises:
        Problem: 400 if it is another's, 413 if it is too large, 422 if it is invalid or touches
            what is immutable.
    """
    fresh = {**proposed, "metadata": metadata_of(proposed), "status": current.get("status")}
    metadata = current["metadata"]
    _place(fresh, namespace=metadata["namespace"], name=metadata["name"])
    # Its own fields come from the store whatever was sent, so they are not worth a fault.
    for field in ("generation", "creationTimestamp", "deletionTimestamp"):
        fresh["metadata"].pop(field, None)
    return _valid(fresh, check=check, before=current)


def _valid(document: Document, *, check: Check, before: Document | None) -> Document:
    bodies.refuse_excess(document)
    name = str(document["metadata"].get("name", ""))
    try:
        parsed = spec.parse_sent(document)
    except errors.SpecInvalidError as error:
        raise problems.invalid(name, error.faults) from error
    document, _ = shape.plain(document)
    faults = _finalizers(document)
    if before is None or before["spec"].get("template") != document["spec"]["template"]:
        faults += check(document["spec"]["template"])
    if before is not None:
        faults += _touched(before, parsed)
    if faults:
        raise problems.invalid(name, shape.first(faults))
    document["spec"].setdefault("replicas", parsed.spec.replicas)
    if bodies.size(document) > _MAX_BYTES:
        raise problems.Problem(413, f"the object is too large: limit is {_MAX_BYTES} bytes")
    return document


def warnings(document: Document, *, balancers: bool) -> Sequence[str]:
    """What is allowed but hardly meant in a stored ServerSet; `balancers` as in `spec.warnings`."""
    return spec.warnings(spec.parse(document), balancers=balancers)


def _finalizers(document: Document) -> list[errors.Fault]:
    if not document["metadata"].get("finalizers"):
        return []
    words = "not supported without a cluster: a deleted ServerSet would not wait for them"
    return [errors.Fault("metadata.finalizers", words)]


def _touched(before: Document, after: spec.ServerSet) -> Sequence[errors.Fault]:
    try:
        return spec.faults_of_change(spec.parse(before), after)
    except errors.SpecInvalidError:
        return ()  # stored by an older Ringmaster with other rules: any valid change is welcome


def metadata_of(document: Document) -> Document:
    """The metadata that was sent; 400 if it is no object."""
    metadata = document.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise problems.bad_request("metadata must be an object")
    return {field: value for field, value in metadata.items() if field != "managedFields"}


def _place(document: Document, *, namespace: str, name: str | None) -> None:
    """Name and namespace of the address, which the document may repeat but not contradict."""
    metadata = document["metadata"]
    here = {"namespace": namespace} if name is None else {"namespace": namespace, "name": name}
    refuse_others(metadata, here)
    metadata["namespace"] = namespace
    if name is not None:
        metadata["name"] = name


def refuse_others(claimed: Document, addressed: Document) -> None:
    """400 for the metadata of another object than the one at the address."""
    namespace, name = addressed["namespace"], addressed.get("name")
    if (claimed.get("namespace") or namespace) != namespace:
        raise problems.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if name is not None and (claimed.get("name") or name) != name:
        raise problems.bad_request(
            f"the name of the object ({claimed['name']}) does not match the name on the URL ({name})"
        )


def restated(proposed: Document, *, name: str) -> Document:
    """A document whose status is to be stored; `name` is the object's.

    Raises:
        Problem: 422, the status is not what the definition says.
    """
    try:
        return {**proposed, "status": spec.parse_status(proposed.get("status"))}
    except errors.SpecInvalidError as error:
        raise problems.invalid(name, error.faults) from error
