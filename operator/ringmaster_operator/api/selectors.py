"""Label and field selectors, as kubectl's `-l` and `--field-selector` send them.

Law: pure. A selector becomes a predicate on documents; one that cannot be read is a 400.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

from ringmaster_operator.api import problems

Predicate = Callable[[dict[str, Any]], bool]

_KEY = r"(?:[A-Za-z0-9.-]+/)?[A-Za-z0-9]+(?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_VALUE = r"[A-Za-z0-9._-]*"
_EQUAL = re.compile(rf"({_KEY})\s*(=|==|!=)\s*({_VALUE})", re.ASCII)
_SET = re.compile(rf"({_KEY})\s+(in|notin)\s*\(([^()]*)\)", re.ASCII)
_EXISTS = re.compile(rf"(!?)\s*({_KEY})", re.ASCII)
# Commas separate requirements, but not within the parentheses of a set.
_COMMA = re.compile(r",(?![^(]*\))")
_FIELD = re.compile(r"([A-Za-z][A-Za-z.]*)(=|==|!=)([^=!,]*)", re.ASCII)


def labels(text: str) -> Predicate:
    """`a=b,c!=d,e in (f,g),h notin (i),j,!k` on `metadata.labels`."""
    requirements = [_label(part.strip()) for part in _COMMA.split(text) if part.strip()]

    def matches(document: dict[str, Any]) -> bool:
        present = document["metadata"].get("labels") or {}
        return all(requirement(present) for requirement in requirements)

    return matches


def fields(text: str, *, known: Collection[str]) -> Predicate:
    """`metadata.name=web,type!=Normal`; only the fields in `known` may be asked for."""
    requirements = [_field(part.strip(), known) for part in text.split(",") if part.strip()]

    def matches(document: dict[str, Any]) -> bool:
        return all(requirement(document) for requirement in requirements)

    return matches


def _label(part: str) -> Callable[[dict[str, str]], bool]:
    if match := _EQUAL.fullmatch(part):
        key, operator, value = match.groups()
        if operator == "!=":
            return lambda present: present.get(key) != value
        return lambda present: present.get(key) == value
    if match := _SET.fullmatch(part):
        key, operator, listed = match.groups()
        values = {value.strip() for value in listed.split(",")}
        if operator == "in":
            return lambda present: key in present and present[key] in values
        return lambda present: present.get(key) not in values
    if match := _EXISTS.fullmatch(part):
        absent, key = match.groups()
        return lambda present: (key in present) != bool(absent)
    raise problems.bad_request(f"unable to parse requirement: {part!r}")


def _field(part: str, known: Collection[str]) -> Predicate:
    match = _FIELD.fullmatch(part)
    if match is None:
        raise problems.bad_request(f"invalid field selector: {part!r}")
    path, operator, value = match.groups()
    if path not in known:
        raise problems.bad_request(f"field label not supported: {path}")
    wanted = operator != "!="

    def matches(document: dict[str, Any]) -> bool:
        found: Any = document
        for step in path.split("."):
            found = found.get(step, "") if isinstance(found, dict) else ""
        return (str(found) == value) is wanted

    return matches
