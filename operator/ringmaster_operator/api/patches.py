"""Patches: a document and a patch, a new document.

Law: pure; the document given is not changed. Merge patch is RFC 7396, JSON patch RFC 6902.
Strategic and apply patches need a schema of every list's keys, which custom resources do not
have: Kubernetes answers 415 for the former too, and kubectl then falls back or says what to do.
"""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import jsonpointer

from ringmaster_operator import applying, errors
from ringmaster_operator.api import bodies, problems

MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"
ACCEPTED = (JSON, MERGE)
_MAX_OPERATIONS = 10_000  # as Kubernetes
_UNFIT = (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException)


def apply(document: dict[str, Any], patch: Any, *, media_type: str) -> dict[str, Any]:
    """The patched document.

    Raises:
        Problem: the patch is malformed (400), does not fit the document (422), or would take more
            work than a patch is worth (413).
    """
    if media_type == MERGE:
        if not isinstance(patch, dict):
            raise problems.bad_request("a merge patch must be a JSON object")
        patched = applying.merged(document, patch)
    else:
        patched = _operations(document, patch)
    if not isinstance(patched, dict) or not isinstance(patched.get("metadata"), dict):
        name = document["metadata"]["name"]
        raise problems.invalid(name, (errors.Fault("metadata", "required"),))
    return patched


def _operations(document: dict[str, Any], patch: Any) -> Any:
    if not isinstance(patch, list) or not all(isinstance(each, dict) for each in patch):
        raise problems.bad_request("a JSON patch must be a list of operations")
    if len(patch) > _MAX_OPERATIONS:
        raise problems.Problem(413, f"a JSON patch may hold at most {_MAX_OPERATIONS} operations")
    try:
        jsonpatch.JsonPatch(patch)
        return _applied(copy.deepcopy(document), patch)
    except jsonpatch.InvalidJsonPatch as error:
        raise problems.bad_request(f"the JSON patch cannot be read: {error}") from error
    except RecursionError as error:
        raise problems.Problem(422, "the JSON patch nests the object too deeply") from error
    # The library also meets a path that does not fit with errors of Python's own.
    except (*_UNFIT, TypeError, ValueError, LookupError, AttributeError) as error:
        raise problems.Problem(422, f"the server rejected our request: {error}") from error


def _applied(document: Any, patch: list[dict[str, Any]]) -> Any:
    """`document` after every operation.

    A copy is the one operation whose result may be longer than what was sent, and a copy of copies
    doubles it each time: Kubernetes bounds the sum by a request's size as well (CVE-2019-1002100).
    """
    copied = 0
    for operation in patch:
        if operation["op"] == "copy" and isinstance(operation.get("from"), str):
            copied += bodies.size(jsonpointer.resolve_pointer(document, operation["from"]))
            if copied > bodies.MAX_BYTES:
                raise problems.Problem(
                    413, f"a JSON patch may copy at most {bodies.MAX_BYTES} bytes"
                )
        document = jsonpatch.JsonPatch([operation]).apply(document, in_place=True)
    return document
