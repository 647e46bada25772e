"""Manifests: YAML or JSON text with one or more documents, read as kubectl reads them.

Law: pure. What comes out is JSON's values only. Which text is which value is decided as by
kubectl's readers (k8s.io/apimachinery util/yaml, which cuts a stream into documents, and go-yaml
v2, YAML 1.1): a recorded table of both is in tests/operator/spec/kubectl_manifests.json. Stricter on
purpose: a key that is set twice, what is no UTF-8, tags beyond JSON's, more than MAX_VALUES values
(aliases written out) and 100 levels. Every fault names its line.
"""

from __future__ import annotations

import codecs
import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import yaml

from ringmaster_operator import errors, naming
from ringmaster_operator.spec import shape

_MAX_DEPTH = 100  # a pod template has about 15 levels
_TAG = "tag:yaml.org,2002:"
# libyaml, of which go-yaml is a translation: what is a blank, a comment or an error is the same.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BLANKS = " \t\r\n\v\f\x85\xa0"
_OBJECT_AHEAD = re.compile(r"[ \t\r\n]*(?=\{)")
# A plain scalar as go-yaml v2 resolves it (resolve.go); a number then as Go's JSON writes it.
_WORDS: dict[str, Any] = {
    **dict.fromkeys(
        ("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True
    ),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE"), False),
    **dict.fromkeys(("off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **{sign + word: math.inf for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")},
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
# Bounded lengths: Python refuses to read a number of more than 4,300 digits with a ValueError.
_INT = re.compile(
    r"([-+]?)(?:0[bB]([01]{1,64})|0[oO]?([0-7]{1,40})|0[xX]([0-9a-fA-F]{1,16})|([1-9][0-9]{0,19}|0))",
    re.ASCII,
)
_BASES = (2, 8, 16, 10)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_INTS = range(-(2**63), 2**64)
_EXPONENT_FROM = 1e21  # below, Go writes a whole float without a fraction or exponent


class _RefusedError(yaml.MarkedYAMLError):
    """Something that YAML allows and JSON does not."""

    def __init__(self, problem: str, mark: Any) -> None:
        super().__init__(problem=problem, problem_mark=mark)


def parse_many(
    text: str, *, source: str = "manifest", among_others: bool = False
) -> list[dict[str, Any]]:
    """The ServerSets in a text, as `located`, without their places."""
    return [item for _, item in located(text, source=source, among_others=among_others)]


def located(
    text: str, *, source: str, among_others: bool = False
) -> list[tuple[str, dict[str, Any]]]:
    """The ServerSets in a text, each with its place: `source:line`.

    Empty documents are left out and Lists unpacked. Their insides are not judged here: that is `spec.parse`. `among_others`: objects of other API
    groups are left out, and there may be none of ours.

    Raises:
        SpecInvalidError: the text is no YAML, or holds something else; each path is
            `source:line` or `source:line:column`.
    """
    found: list[tuple[str, dict[str, Any]]] = []
    faults: list[errors.Fault] = []
    for line, document in _documents(text, source):
        for item in _unpacked(document):
            if among_others and _foreign(item):
                continue
            place = f"{source}:{line}"
            fault = _fault_of_kind(item, place=place)
            if fault:
                faults.append(fault)
            else:
                found.append((place, item))
    if not found and not faults and not among_others:
        faults.append(errors.Fault(path=source, message="holds no object"))
    if faults:
        raise errors.SpecInvalidError(tuple(faults))
    return found


@dataclass(frozen=True, slots=True)
class _Part:
    """One document of a stream: its text, and the line before its first one."""

    text: str
    line: int


def decoded(data: bytes) -> str:
    """A file's text: UTF-8, or UTF-16 if a byte order mark says so; the mark goes.

    Raises:
        UnicodeDecodeError: it is neither.
    """
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if marked else "utf-8-sig")


def _documents(text: str, source: str) -> Iterator[tuple[int, Any]]:
    """Every document that is not empty, with the line it begins at."""
    try:
        end = 0
        for line, value, end in _json_documents(text):  # noqa: B007 – where the last one ended
            yield line, value
        for part in _parts(text[end:], first=text.count("\n", 0, end)):
            yield from _yaml_document(part)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise _invalid(place, error.problem or "is no YAML") from error
    except RecursionError as error:
        raise _invalid(source, "is nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:
        raise _invalid(source, f"is no YAML: {str(error).splitlines()[0]}") from error


def _invalid(place: str, message: str) -> errors.SpecInvalidError:
    return errors.SpecInvalidError((errors.Fault(path=place, message=message),))


def _json_documents(text: str) -> Iterator[tuple[int, Any, int]]:
    """The JSON objects that a stream begins with: line, value, end; what follows may be YAML."""
    decoder = json.JSONDecoder(
        parse_constant=_no_json, parse_float=_number, object_pairs_hook=_object
    )
    end = 0
    while match := _OBJECT_AHEAD.match(text, end):
        try:
            value, end = decoder.raw_decode(text, match.end())
        except json.JSONDecodeError:  # YAML may begin with a brace as well
            return
        yield text.count("\n", 0, match.end()) + 1, value, end


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in members:
        if name in found:
            raise json.JSONDecodeError("left to YAML, which knows the line", "", 0)
        found[name] = value
    return found


def _no_json(constant: str) -> NoReturn:
    raise json.JSONDecodeError(f"{constant} is no JSON number", "", 0)


def _parts(text: str, *, first: int) -> Iterator[_Part]:
    """A stream cut at its lines of `---`, as Kubernetes does: before any YAML is read."""
    lines: list[str] = []
    for number, line in enumerate(text.split("\n"), start=first):
        if line.startswith("---"):
            rest = line[3:].strip(_BLANKS)
            if rest and not rest.startswith("#"):
                raise _RefusedError("nothing but a comment may follow ---", _Mark(number, 3))
            if lines:
                yield _Part("\n".join(lines), first)
                lines, first = [], number + 1
                continue
        lines.append(line)
    yield _Part("\n".join(lines), first)


@dataclass(frozen=True, slots=True)
class _Mark:
    """A place, counted from 0."""

    line: int
    column: int


def _yaml_document(part: _Part) -> Iterator[tuple[int, Any]]:
    """The first document of a part; kubectl reads no further, and so do we."""
    try:
        events = yaml.parse(part.text, Loader=_Loader)
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                start: Any = next(events)
                value = _Builder(events).value(start)
                next(events)  # the document's end, or what is wrong before it
                if value is not None:
                    yield part.line + start.start_mark.line + 1, value
                return
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if mark is not None:
            error.problem_mark = _Mark(part.line + mark.line, mark.column)  # type: ignore[assignment]
        raise


@dataclass(slots=True)
class _Builder:
    """Makes the value of a document from its events; counts what is made, aliases written out."""

    events: Iterator[Any]
    anchors: dict[str, tuple[Any, int]] = dataclasses.field(default_factory=dict)
    open: set[str] = dataclasses.field(default_factory=set)
    size: int = 0

    def value(self, event: Any, *, depth: int = 0) -> Any:
        """The value that begins with `event`."""
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        before = self.size
        # Long texts count as several values: an alias repeats them as well.
        self._count(event, 1 + len(getattr(event, "value", "")) // 100)
        if depth > _MAX_DEPTH:
            raise _RefusedError("is nested too deeply", event.start_mark)
        if event.anchor is not None:
            self.open.add(event.anchor)
        made = self._makers[type(event)](self, event, depth)
        if event.anchor is not None:
            self.open.discard(event.anchor)
            self.anchors[event.anchor] = made, self.size - before
        return made

    def _alias(self, event: Any) -> Any:
        if event.anchor in self.open:
            raise _RefusedError("an alias must not refer to what it is part of", event.start_mark)
        if event.anchor not in self.anchors:
            raise _RefusedError(f'anchor "{event.anchor}" is not known', event.start_mark)
        made, size = self.anchors[event.anchor]
        self._count(event, size)
        return made

    def _count(self, event: Any, more: int) -> None:
        self.size += more
        if self.size > shape.MAX_VALUES:
            raise _RefusedError(f"holds more than {shape.MAX_VALUES} values", event.start_mark)

    def _sequence(self, event: Any, depth: int) -> list[Any]:
        _refuse_tag(event, "seq")
        items = []
        while not isinstance(item := next(self.events), yaml.SequenceEndEvent):
            items.append(self.value(item, depth=depth + 1))
        return items

    def _mapping(self, event: Any, depth: int) -> dict[str, Any]:
        """An object. `<<` sets what it merges where it stands: what comes later wins."""
        _refuse_tag(event, "map")
        made: dict[str, Any] = {}
        given: set[str] = set()
        while not isinstance(head := next(self.events), yaml.MappingEndEvent):
            merges = isinstance(head, yaml.ScalarEvent) and head.implicit[0] and head.value == "<<"
            key = "" if merges else self._key(head, depth)
            follows = next(self.events)
            value = self.value(follows, depth=depth + 1)
            if merges:
                made |= _merged(value, follows.start_mark)
            elif key in given:
                raise _RefusedError(f'key "{key}" is already set', head.start_mark)
            else:
                given.add(key)
                made[key] = value
        return made

    def _key(self, event: Any, depth: int) -> str:
        value = self.value(event, depth=depth + 1)
        if isinstance(event, yaml.ScalarEvent) and event.tag is None and event.implicit[0]:
            value = _plain(event.value)
        return _name(value, event.start_mark)

    def _scalar(self, event: Any, _: int) -> Any:
        if event.tag is not None:
            return _tagged(event)
        return _finite(_plain(event.value), event) if event.implicit[0] else event.value

    _makers = {  # noqa: RUF012 – dispatch by kind of event
        yaml.ScalarEvent: _scalar,
        yaml.SequenceStartEvent: _sequence,
        yaml.MappingStartEvent: _mapping,
    }


def _refuse_tag(event: Any, wanted: str) -> None:
    if event.tag not in (None, "!", _TAG + wanted):
        raise _RefusedError(f"tag {event.tag.replace(_TAG, '!!')} is not known", event.start_mark)


def _finite(value: Any, event: Any) -> Any:
    """A value as JSON has it."""
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        raise _RefusedError(f"{event.value} is no JSON number", event.start_mark)
    return _shortened(value)


_TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    _TAG + "int": (lambda value: type(value) is int, "an integer"),
    _TAG + "float": (lambda value: type(value) in (int, float), "a number"),
    _TAG + "bool": (lambda value: type(value) is bool, "true or false"),
    _TAG + "null": (lambda value: value is None, "null"),
}


def _tagged(event: Any) -> Any:
    """A scalar whose type is written before it."""
    if event.tag in ("!", _TAG + "str"):
        return event.value
    _refuse_tag(event, event.tag[len(_TAG) :] if event.tag in _TYPES else "")
    fits, said = _TYPES[event.tag]
    value = _plain(event.value)
    if not fits(value):
        raise _RefusedError(f"must be {said}, not {shape.brief(event.value)}", event.start_mark)
    return _finite(value, event)


def _plain(text: str) -> Any:
    """What an unquoted scalar stands for."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    digits = text.replace("_", "")
    if match := _INT.fullmatch(digits):
        sign, *groups = match.groups()
        number = next(
            int(sign + group, base) for group, base in zip(groups, _BASES, strict=True) if group
        )
        if number in _INTS:
            return number
    if _FLOAT.fullmatch(digits) and math.isfinite(float(digits)):
        return float(digits)
    return text


def _number(digits: str) -> int | float:
    """A number of JSON that has a fraction or an exponent."""
    value = float(digits)
    return _shortened(value) if math.isfinite(value) else _no_json(digits)


def _shortened(value: float) -> int | float:
    """A float as Go's JSON writes it: 3.0 and 1e1 are whole, and then integers."""
    return int(value) if value.is_integer() and abs(value) < _EXPONENT_FROM else value


def _name(value: Any, mark: Any) -> str:
    """The name that a key becomes: `8080`, `true`."""
    match value:
        case str():
            return value
        case bool():
            return str(value).lower()
        case int() if abs(value) < 2**63:
            return str(value)
        case float() if math.isfinite(value) and float(f"{value:g}") == value:
            return f"{value:g}"
    raise _RefusedError("a key must be a string", mark)


def _merged(value: Any, mark: Any) -> dict[str, Any]:
    """What `<<` brings; of several objects the first to have a key gives it."""
    found: dict[str, Any] = {}
    for each in reversed(value if isinstance(value, list) else [value]):
        if not isinstance(each, dict):
            raise _RefusedError("<< must have an object, or a list of objects", mark)
        found |= each
    return found


def _unpacked(document: Any) -> list[Any]:
    """The items of a List, else the document itself."""
    if isinstance(document, dict) and document.get("kind") in ("List", f"{naming.KIND}List"):
        items = document.get("items")
        return items if isinstance(items, list) else [items]
    return [document]


def _foreign(item: Any) -> bool:
    """Whether it is an object of another API group; one of ours with a wrong kind is not."""
    version = item.get("apiVersion") if isinstance(item, dict) else None
    return isinstance(version, str) and version.partition("/")[0] != naming.GROUP


def _fault_of_kind(item: Any, *, place: str) -> errors.Fault | None:
    """Why this is no ServerSet of a version that is known."""
    if not isinstance(item, dict):
        return errors.Fault(path=place, message=f"must be an object, not {shape.brief(item)}")
    for field, wanted in (("kind", naming.KIND), ("apiVersion", naming.API_VERSION)):
        if item.get(field) != wanted:
            given = f", not {shape.brief(item[field])}" if field in item else ""
            return errors.Fault(path=place, message=f'{field} must be "{wanted}"{given}')
    return None
