"""The JSON merge patch (RFC 7386) that turns one document into another.

Law: pure. Patches, not replacements, so that the operator needs no right to update, and touches
nothing that it does not know.
"""

from __future__ import annotations

from typing import Any

Document = dict[str, Any]


def difference(before: Document, after: Document) -> Document:
    """What to merge into `before`; empty if nothing differs. Lists are taken whole."""
    patch: Document = {key: None for key in before if key not in after}
    for key, value in after.items():
        old = before.get(key)
        if key in before and old == value:
            continue
        if isinstance(old, dict) and isinstance(value, dict):
            patch[key] = difference(old, value)
        else:
            patch[key] = value
    return patch
