"""A memory as the text of one annotation: plain JSON while it is small, compressed beyond.

Law: pure. Templates are not in it: they are kept as ControllerRevisions.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import replace
from typing import Any

from ringmaster_operator import errors, memory, naming

Document = dict[str, Any]

READABLE_BYTES = 16 * 1024  # `kubectl describe` shows it whole
# Kubernetes: all annotations of an object together have at most 256 KiB (TotalAnnotationSizeLimitB).
LONGEST_BYTES = 192 * 1024


def text(document: Document) -> str:
    """The annotation of a ServerSet; empty if it has none."""
    annotations = document["metadata"].get("annotations") or {}
    return str(annotations.get(naming.ANNOTATION_MEMORY, ""))


def encode(value: memory.Memory) -> str:
    """The text of a memory.

    Raises:
        RetryLater: it is too large to be kept.
    """
    bare = replace(value, revisions=tuple(replace(r, template={}) for r in value.revisions))
    plain = bare.to_json()
    if len(plain) <= READABLE_BYTES:
        return plain
    packed = base64.b64encode(zlib.compress(plain.encode(), level=6)).decode()
    if len(packed) > LONGEST_BYTES:
        raise errors.RetryLater(f"the memory is too large for an annotation: {len(packed)} bytes")
    return packed


def decode(text: str) -> memory.Memory:
    """Read what `encode` wrote, templates empty; what is illegible counts as lost."""
    if not text:
        return memory.Memory()
    try:
        plain = text if text.startswith("{") else zlib.decompress(base64.b64decode(text)).decode()
        return memory.Memory.from_json(plain)
    except (ValueError, TypeError, AttributeError, zlib.error):
        return memory.Memory()
