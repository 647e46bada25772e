"""Manifests: YAML or JSON text with one or more documents, read as kubectl reads them.

Law: pure. What comes out is JSON's values only: a timestamp stays the string that was written, a
repeated key is an error, aliases cannot multiply without bound. Every fault names its line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterator
from typing import Any

import yaml

from ringmaster_operator import errors, naming
from ringmaster_operator.spec import shape

_MAX_NODES = 100_000  # with every alias written out; a ServerSet has about a hundred
_TAG = "tag:yaml.org,2002:"
_JSON_TAGS = frozenset(
    _TAG + name for name in ("str", "int", "float", "bool", "null", "map", "seq", "merge")
)
# Bounded lengths: Python refuses to read a number of more than 4,300 digits with a ValueError.
_INT = re.compile(
    r"[-+]?(?:0b[01]{1,64}|0x[0-9a-fA-F]{1,16}|0[0-7]{0,21}|[1-9][0-9]{0,19})$", re.ASCII
)
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]{1,40}|[0-9]{1,40}(?:\.[0-9]{0,40})?)(?:[eE][-+]?[0-9]{1,2})?$", re.ASCII
)


class _RefusedError(yaml.MarkedYAMLError):
    """Something that YAML allows and JSON does not."""

    def __init__(self, problem: str, mark: Any) -> None:
        super().__init__(problem=problem, problem_mark=mark)


class _Loader(yaml.SafeLoader):
    """YAML's JSON-like part. Plain scalars become numbers where Go's YAML makes them numbers."""

    # Only true/false, null and `<<` of PyYAML's own: it would read 1:30 as 90, 1e3 as a string.
    yaml_implicit_resolvers = {  # noqa: RUF012 – PyYAML's name and kind of table
        first: [(tag, regexp) for tag, regexp in resolvers if tag[len(_TAG) :] in _KEPT]
        for _KEPT in (("bool", "null", "merge"),)
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """An object; a key is the text that was written."""
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _RefusedError("a key must be a string", key.start_mark)
            if key.value in seen:
                raise _RefusedError(f'key "{key.value}" is already set', key.start_mark)
            seen.add(key.value)
        self.flatten_mapping(node)  # `<<: *defaults`
        return {key.value: self.construct_object(item, deep=deep) for key, item in node.value}


_Loader.add_implicit_resolver(_TAG + "int", _INT, list("-+0123456789"))
_Loader.add_implicit_resolver(_TAG + "float", _FLOAT, list("-+.0123456789"))


def parse_many(
    text: str, *, source: str = "manifest", among_others: bool = False
) -> list[dict[str, Any]]:
    """The ServerSets in a text, empty documents left out and Lists unpacked.

    Their insides are not judged here: that is `spec.parse`. `among_others`: objects of other API
    groups are left out, and there may be none of ours.

    Raises:
        SpecInvalidError: the text is no YAML, or holds something else; each path is
            `source:line` or `source:line:column`.
    """
    found: list[dict[str, Any]] = []
    faults: list[errors.Fault] = []
    for line, document in _documents(text, source):
        for item in _unpacked(document):
            if among_others and _foreign(item):
                continue
            fault = _fault_of_kind(item, place=f"{source}:{line}")
            if fault:
                faults.append(fault)
            else:
                found.append(item)
    if not found and not faults and not among_others:
        faults.append(errors.Fault(path=source, message="holds no object"))
    if faults:
        raise errors.SpecInvalidError(tuple(faults))
    return found


def _documents(text: str, source: str) -> Iterator[tuple[int, Any]]:
    """Every document that is not empty, with the line it begins at."""
    loader = None
    try:
        loader = _Loader(text.replace("\t", " ") if _is_json(text) else text)
        while loader.check_node():
            node = loader.get_node()
            assert node is not None
            _measure(node, sizes={})
            value = loader.construct_document(node)
            json.dumps(value, allow_nan=False)
            if value is not None:
                yield node.start_mark.line + 1, value
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise errors.SpecInvalidError(
            (errors.Fault(path=place, message=error.problem or "is no YAML"),)
        ) from error
    except RecursionError as error:
        raise errors.SpecInvalidError((errors.Fault(source, "is nested too deeply"),)) from error
    except (yaml.YAMLError, ValueError) as error:
        message = f"is no YAML: {str(error).splitlines()[0]}"
        raise errors.SpecInvalidError((errors.Fault(path=source, message=message),)) from error
    finally:
        if loader is not None:
            loader.dispose()


def _is_json(text: str) -> bool:
    """Whether a text is JSON, whose tabs (never inside a string) YAML does not take."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _measure(node: yaml.Node, *, sizes: dict[int, int]) -> int:
    """How many nodes there are below, aliases written out; refuses what is not JSON's."""
    if id(node) in sizes:
        if sizes[id(node)] == 0:
            raise _RefusedError("an alias must not refer to what it is part of", node.start_mark)
        return sizes[id(node)]
    if node.tag not in _JSON_TAGS:
        raise _RefusedError(f"tag {node.tag.replace(_TAG, '!!')} is not known", node.start_mark)
    sizes[id(node)] = 0  # under way
    size = 1
    if isinstance(node, yaml.SequenceNode):
        size += sum(_measure(item, sizes=sizes) for item in node.value)
    elif isinstance(node, yaml.MappingNode):
        size += sum(_measure(part, sizes=sizes) for pair in node.value for part in pair)
    if size > _MAX_NODES:
        raise _RefusedError(f"holds more than {_MAX_NODES} values", node.start_mark)
    sizes[id(node)] = size
    return size


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
