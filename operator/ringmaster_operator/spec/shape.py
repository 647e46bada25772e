"""Shape: documents of plain JSON values against typed models, every fault with kubectl's path.

Law: pure. A model here is a frozen value that takes no sloppy types: a boolean is no integer, a
string is no number. A null counts as absent, as the API server prunes it before it fills in
defaults.
"""

from __future__ import annotations

import copy
import difflib
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pydantic
from pydantic.alias_generators import to_camel

from ringmaster_operator import errors

Loc = tuple[int | str, ...]
Model = TypeVar("Model", bound=pydantic.BaseModel)

MAX_VALUES = 100_000  # of a document, everything counted; a ServerSet has about a hundred
MAX_FAULTS = 100  # that are told; to find and to word one costs more than to read a value
_INT_BOUND = 2**63  # what Kubernetes and SQLite can hold
_MAX_DEPTH = 64
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_MESSAGES = {
    "missing": "required",
    "int_type": "must be an integer",
    "int_from_float": "must be an integer",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "too_long": "must have at most {max_length} entries",
    "literal_error": "must be {expected}",
    "ip_any_network": "must be an address or a network such as 10.0.0.0/8",
}


class Value(pydantic.BaseModel):
    """A frozen value that refuses unknown fields; camelCase in documents, snake_case in Python."""

    model_config = pydantic.ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
    )


def path(loc: Loc, *, prefix: str = "") -> str:
    """The field's path as kubectl writes it: `spec.containers[0].image`, `labels[a/b]`."""
    text = prefix
    for part in loc:
        if isinstance(part, str) and _PLAIN_KEY.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{part}]"
    return text


def plain(value: Any) -> tuple[Any, tuple[errors.Fault, ...]]:
    """A deep copy that is JSON, objects' nulls left out; and what was no JSON."""
    faults: list[errors.Fault] = []
    return _plain(value, (), faults), tuple(faults)


def _plain(value: Any, loc: Loc, faults: list[errors.Fault]) -> Any:
    problem = None
    match value:
        case None | bool():
            return value
        case str():
            problem = None if _encodes(value) else "must be valid Unicode"
        case int():
            problem = None if abs(value) < _INT_BOUND else "must be an integer of 64 bits"
        case float():
            problem = None if math.isfinite(value) else "must be a finite number"
        case dict() | list() if len(loc) >= _MAX_DEPTH:
            problem = f"must not be nested deeper than {_MAX_DEPTH} levels"
        case dict():
            if all(isinstance(key, str) and _encodes(key) for key in value):
                items = ((key, item) for key, item in value.items() if item is not None)
                return {key: _plain(item, (*loc, key), faults) for key, item in items}
            problem = "must have keys of valid Unicode"
        case list():
            return [_plain(item, (*loc, index), faults) for index, item in enumerate(value)]
        case _:
            problem = f"must be a JSON value, not a {type(value).__name__}"
    if problem is None:
        return value
    faults.append(errors.Fault(path=path(loc), message=problem))
    return None


def _encodes(text: str) -> bool:
    """Whether no surrogate is alone: such a text can be neither sent nor stored."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


@dataclass(frozen=True, slots=True)
class Broken:
    """Where a document is at fault. A rule that reads such a place has nothing to say."""

    places: tuple[Loc, ...] = ()

    def touches(self, *locs: Loc) -> bool:
        """Whether a fault lies in, or around, any of these places."""
        return any(place[: len(loc)] == loc[: len(place)] for place in self.places for loc in locs)


def read(
    model: type[Model], document: Any, *, placeholders: Mapping[Loc, Any], prefix: str = ""
) -> tuple[Model, tuple[errors.Fault, ...], Broken]:
    """Read a document, whatever is wrong with it.

    Returns the value, the faults, and where they lie. What is at fault is left out of the value
    (a required field becomes its placeholder; `*` stands for any index), so that rules across
    fields can still look at all the rest.

    Raises:
        SpecInvalidError: there are more than MAX_FAULTS, and nothing else is looked at.
    """
    try:
        return model.model_validate(document, by_alias=True, by_name=False), (), Broken()
    except pydantic.ValidationError as error:
        found = error.errors(include_url=False)
    if len(found) > MAX_FAULTS:
        told = (_fault(model, detail, prefix=prefix) for detail in found)
        raise errors.SpecInvalidError(first(told, prefix=prefix))
    found = _told(found)
    faults = tuple(_fault(model, detail, prefix=prefix) for detail in found)
    broken = Broken(tuple(detail["loc"] for detail in found))
    return _repaired(model, document, placeholders), faults, broken


def first(faults: Iterable[errors.Fault], *, prefix: str = "") -> tuple[errors.Fault, ...]:
    """As many faults as are told, and that there are more."""
    told = tuple(itertools.islice(faults, MAX_FAULTS + 1))
    if len(told) <= MAX_FAULTS:
        return told
    more = f"has more than {MAX_FAULTS} faults: these are the first"
    return (*told[:MAX_FAULTS], errors.Fault(path=prefix or "spec", message=more))


def null_strangers(
    model: type[pydantic.BaseModel], value: Any, loc: Loc = (), *, prefix: str = ""
) -> Iterator[errors.Fault]:
    """Fields that are unknown and null: `plain` leaves them out, before the model could tell."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from null_strangers(model, item, (*loc, index), prefix=prefix)
    if not isinstance(value, dict):
        return
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    for name, item in value.items():
        inner = _model_in(fields[name].annotation) if name in fields else None
        if inner is not None:
            yield from null_strangers(inner, item, (*loc, name), prefix=prefix)
        elif item is None and name not in fields and model.model_config.get("extra") == "forbid":
            yield errors.Fault(path((*loc, name), prefix=prefix), unknown(name, [*fields]))


def _told(found: Sequence[Any]) -> list[Any]:
    """What pydantic found, but for a list being too short because of the entries at fault."""
    return [
        detail
        for detail in found
        if detail["type"] != "too_short"
        or not any(other["loc"][:-1][: len(detail["loc"])] == detail["loc"] for other in found)
    ]


def _repaired(model: type[Model], document: Any, placeholders: Mapping[Loc, Any]) -> Model:
    """The document without its faulty parts, and placeholders where a required one is missing."""
    document = copy.deepcopy(document) if isinstance(document, dict) else {}
    while True:
        try:
            return model.model_validate(document, by_alias=True, by_name=False)
        except pydantic.ValidationError as error:
            # The last first: taking an entry out of a list moves those behind it.
            found = _told(error.errors(include_url=False))
            places = sorted({detail["loc"] for detail in found}, key=_order, reverse=True)
            gone: Loc | None = None
            for place in places:
                # An entry that went with one fault took its others along; its index is another's.
                if gone is None or place[: len(gone)] != gone:
                    gone = _cut(document, place, placeholders)


def _order(loc: Loc) -> list[tuple[int, str]]:
    return [(part, "") if isinstance(part, int) else (-1, part) for part in loc]


def _cut(document: Any, loc: Loc, placeholders: Mapping[Loc, Any]) -> Loc:
    """Take the value at `loc` out, or put its placeholder there; returns what is gone."""
    parent = document
    for depth, part in enumerate(loc[:-1]):
        try:
            parent = parent[part]
        except (KeyError, IndexError, TypeError):
            return _cut(document, loc[: depth + 1], placeholders)
    pattern = tuple("*" if isinstance(part, int) else part for part in loc)
    if pattern in placeholders:
        parent[loc[-1]] = copy.deepcopy(placeholders[pattern])
    elif isinstance(parent, list):
        del parent[loc[-1]]  # type: ignore[arg-type]  # a list's part is an index
    elif loc[-1] in parent:
        del parent[loc[-1]]
    else:  # a required field of an entry is missing: the entry goes
        return _cut(document, loc[:-1], placeholders)
    return loc


def _fault(model: type[pydantic.BaseModel], detail: Any, *, prefix: str) -> errors.Fault:
    loc: Loc = detail["loc"]
    where = path(loc, prefix=prefix)
    kind: str = detail["type"]
    if kind == "extra_forbidden":
        return errors.Fault(path=where, message=unknown(str(loc[-1]), _fields_at(model, loc[:-1])))
    if kind == "missing":
        return errors.Fault(path=where, message="required")
    context = detail.get("ctx", {})
    if kind in _MESSAGES:
        message = _MESSAGES[kind].format(**{name: _neat(item) for name, item in context.items()})
    else:
        message = str(context["error"]) if "error" in context else str(detail["msg"])
    return errors.Fault(path=where, message=f"{message}, not {brief(detail['input'])}")


def _neat(bound: Any) -> Any:
    """A bound as it is written in a document: 1, not 1.0; "a" or "b", not 'a' or 'b'."""
    if isinstance(bound, str):
        return bound.replace("'", '"')
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def unknown(name: str, known: Sequence[str]) -> str:
    """What to say of a field that nobody knows; names a near miss."""
    near = difflib.get_close_matches(name, known, n=1)
    return f'unknown field; did you mean "{near[0]}"?' if near else "unknown field"


def brief(value: Any) -> str:
    """A value as JSON, cut to a line."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 – a readable line


def _fields_at(model: type[pydantic.BaseModel], loc: Loc) -> list[str]:
    """The aliases of the fields of the model that lies at `loc`."""
    current: type[pydantic.BaseModel] | None = model
    for part in loc:
        if isinstance(part, int) or current is None:
            continue
        field = next((f for f in current.model_fields.values() if f.alias == part), None)
        current = _model_in(field.annotation) if field else None
    return [f.alias or name for name, f in current.model_fields.items()] if current else []


def _model_in(annotation: Any) -> type[pydantic.BaseModel] | None:
    """The model in an annotation such as `tuple[Model, ...]` or `Model | None`."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return annotation
    inner = (_model_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((model for model in inner if model), None)
