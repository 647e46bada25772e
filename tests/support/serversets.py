"""ServerSet documents for tests."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from ringmaster_operator import errors, spec
from ringmaster_operator.spec import manifest

ROOT = Path(__file__).parents[2]


def example() -> dict[str, Any]:
    """The example of manifests/, as its user wrote it."""
    path = ROOT / "manifests" / "serverset.yaml"
    (document,) = manifest.parse_many(path.read_text(encoding="utf-8"), source=str(path))
    return document


def changed(*changes: tuple[str, Any], document: dict[str, Any] | None = None) -> dict[str, Any]:
    """The example with values set at dotted paths; a list's entry is its index; ... deletes."""
    result = copy.deepcopy(document or example())
    for path, value in changes:
        *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        place: Any = result
        for part in way:
            place = place[part] if isinstance(part, int) else place.setdefault(part, {})
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return result


def faults(document: Any) -> list[str]:
    """Every fault that parsing finds, as its user reads it."""
    try:
        spec.parse(document)
    except errors.SpecInvalidError as error:
        return [str(fault) for fault in error.faults]
    return []
