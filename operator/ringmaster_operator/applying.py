"""What `apply` changes: the three-way comparison of kubectl, as a merge patch.

Law: pure. What the manifest says, the object gets; what the last applied manifest said and this
one no longer does, it loses; what others set besides (a scale of an omitted field, `spec.names`)
stays. Lists are replaced whole, as kubectl does it for custom resources (RFC 7386).
"""

from __future__ import annotations

import copy
import json
from typing import Any

from ringmaster_operator import naming

# kubectl's own annotation, so that both tools may be used on one object.
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
# What encoding/json escapes and Python's json does not, for the sake of HTML and JavaScript.
_ESCAPED_BY_GO = {ord(each): f"\\u{ord(each):04x}" for each in "<>&\u2028\u2029"}

Document = dict[str, Any]


def stamped(manifest: Document) -> Document:
    """The manifest with itself noted in its annotation, as it is to be stored."""
    plain = _without_stamp(manifest)
    noted = copy.deepcopy(plain)
    noted["metadata"]["annotations"][LAST_APPLIED] = _as_go_writes(plain)
    return noted


def patch(manifest: Document, live: Document) -> Document:
    """The merge patch that makes `live` what the manifest says; empty if it is so already."""
    wanted = stamped(manifest)
    last = last_applied(live)
    changes = _difference(last=last, wanted=wanted, live=live)
    # A note that says the same in other words (another tool's, an older Ringmaster's) is no change.
    if set(changes) == {"metadata"} and _without_stamp(last) == _without_stamp(manifest):
        return {} if _is_stamp_only(changes["metadata"]) else changes
    return changes


def last_applied(live: Document) -> Document:
    """The manifest that was applied last, empty if none or if its note is damaged."""
    note = (live.get("metadata", {}).get("annotations") or {}).get(LAST_APPLIED, "")
    try:
        value = json.loads(note)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def merged(live: Any, change: Any) -> Any:
    """RFC 7386: `live` after the merge patch `change`; it shares with both what stays the same.

    A copy of the whole at each level would cost the object's size times the patch's depth.
    """
    if not isinstance(change, dict):
        return change
    result = dict(live) if isinstance(live, dict) else {}
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def resource(document: Document) -> str:
    """`serverset.ringmaster.dev/web`, as kubectl names an object."""
    return f"{naming.SINGULAR}.{naming.GROUP}/{document['metadata']['name']}"


def _difference(*, last: Any, wanted: Document, live: Document) -> Document:
    changes: Document = {}
    for key, value in wanted.items():
        there = live.get(key)
        before = last.get(key) if isinstance(last, dict) else None
        if isinstance(value, dict) and isinstance(there, dict):
            if inner := _difference(last=before, wanted=value, live=there):
                changes[key] = inner
        elif there != value or key not in live:
            changes[key] = value
    for key in last if isinstance(last, dict) else ():
        if key not in wanted and key in live:
            changes[key] = None
    return changes


def _is_stamp_only(metadata: Document) -> bool:
    return set(metadata) == {"annotations"} and set(metadata["annotations"]) == {LAST_APPLIED}


def _without_stamp(manifest: Document) -> Document:
    """The manifest as kubectl notes it: with a namespace, and with annotations, be there none."""
    plain = copy.deepcopy(manifest)
    metadata = plain["metadata"] = plain.get("metadata") or {}
    metadata["namespace"] = metadata.get("namespace") or "default"
    annotations = metadata["annotations"] = metadata.get("annotations") or {}
    annotations.pop(LAST_APPLIED, None)
    return plain


def _as_go_writes(document: Document) -> str:
    """JSON as kubectl writes it (encoding/json): it takes a note of other bytes for a change."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.translate(_ESCAPED_BY_GO) + "\n"
