"""Tables, as kubectl asks for them: the server says what the columns are.

Law: pure. Columns are `additionalPrinterColumns` of the CustomResourceDefinition, so that a table
looks the same with and without a cluster; times are shown as ages, as the API server does it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ringmaster_operator.store import stored

Column = Mapping[str, Any]  # name, type, jsonPath, and maybe format, priority, description

NAME: Column = {
    "name": "Name",
    "type": "string",
    "format": "name",
    "jsonPath": ".metadata.name",
    "description": "Name of the object, unique in its namespace.",
}
_STEP = re.compile(r"""\.([A-Za-z_]\w*)|\[\?\(@\.(\w+)\s*==\s*["'](.*?)["']\)\]|\[(\d+)\]""")
_MINUTE, _HOUR, _DAY, _YEAR = 60, 3_600, 86_400, 365 * 86_400
_UNITS = {1: "s", _MINUTE: "m", _HOUR: "h", _DAY: "d", _YEAR: "y"}
# Below so many seconds: counted in this unit, the rest in that one (k8s.io/apimachinery,
# util/duration HumanDuration).
_AGES = (
    (2 * _MINUTE, 1, None),
    (10 * _MINUTE, _MINUTE, 1),
    (3 * _HOUR, _MINUTE, None),
    (8 * _HOUR, _HOUR, _MINUTE),
    (48 * _HOUR, _HOUR, None),
    (8 * _DAY, _DAY, _HOUR),
    (2 * _YEAR, _DAY, None),
    (8 * _YEAR, _YEAR, _DAY),
    (float("inf"), _YEAR, None),
)


def table(
    columns: Sequence[Column],
    documents: Sequence[Mapping[str, Any]],
    *,
    now: float,
    version: int | str,
    include: str = "Metadata",
) -> dict[str, Any]:
    """A `meta.k8s.io/v1` Table; `include` (None, Metadata, Object): what of each object goes along."""
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": str(version)},
        "columnDefinitions": [_definition(column) for column in columns],
        "rows": [
            {
                "cells": [_cell(column, document, now) for column in columns],
                "object": _included(document, include),
            }
            for document in documents
        ],
    }


def lookup(document: Any, path: str) -> Any:
    """The value at a simple JSONPath (`.a.b`, `[0]`, `[?(@.type=="Ready")]`), None if missing."""
    found = document
    for step in _STEP.finditer(path):
        name, key, value, index = step.groups()
        match found:
            case dict() if name is not None:
                found = found.get(name)
            case list() if key is not None:
                found = next((item for item in found if item.get(key) == value), None)
            case list() if index is not None:
                found = found[int(index)] if int(index) < len(found) else None
            case _:
                return None
    return found


def age(seconds: float) -> str:
    """A duration as kubectl shows it: `45s`, `3m12s`, `18m`, `5h3m`, `2d4h`, `19d`."""
    left = max(0, int(seconds))
    _, size, finer = next(row for row in _AGES if left < row[0])
    count, rest = divmod(left, size)
    tail = f"{rest // finer}{_UNITS[finer]}" if finer and rest >= finer else ""
    return f"{count}{_UNITS[size]}{tail}"


def _definition(column: Column) -> dict[str, Any]:
    return {
        "name": column["name"],
        "type": column["type"],
        "format": column.get("format", ""),
        "description": column.get("description", ""),
        "priority": column.get("priority", 0),
    }


def _cell(column: Column, document: Mapping[str, Any], now: float) -> Any:
    value = lookup(document, column["jsonPath"])
    if column["type"] == "date":
        return "<unknown>" if value is None else age(now - stored.seconds(value))
    return value


def _included(document: Mapping[str, Any], include: str) -> Any:
    if include == "Object":
        return document
    if include == "None":
        return None
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": document["metadata"],
    }
