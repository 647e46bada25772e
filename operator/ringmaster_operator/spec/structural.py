"""From a model to a structural schema: the part of JSON Schema that Kubernetes takes.

Law: pure. No references, no unions, no null: an optional field is simply not required, as the API
server drops nulls. `x-kubernetes-*` fields pass through.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pydantic

Schema = dict[str, Any]

_KEPT = (
    "description",
    "type",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "pattern",
    "required",
)


def schema(model: type[pydantic.BaseModel], *, template: bool = False) -> Schema:
    """The model's structural schema.

    `template`: fields that the model does not know are kept, and no default is filled in, for a
    template's hash is made from what its user wrote.
    """
    document = model.model_json_schema(by_alias=True)
    return _structural(document, document.get("$defs", {}), template=template)


def _structural(given: Schema, definitions: Mapping[str, Schema], *, template: bool) -> Schema:
    given = _resolved(given, definitions)
    result = {field: given[field] for field in _KEPT if field in given}
    result |= {field: given[field] for field in given if field.startswith("x-kubernetes-")}
    if "description" in result:
        result["description"] = " ".join(result["description"].split())
    if "const" in given:
        result["enum"] = [given["const"]]
    if "exclusiveMinimum" in given:  # a number in JSON Schema, a flag in OpenAPI 3.0
        result |= {"minimum": given["exclusiveMinimum"], "exclusiveMinimum": True}
    if not template and given.get("default") is not None:
        result["default"] = default = _default(given)
        if default not in ({}, []) and "description" in result:
            result["description"] += f" Default: {_written(default)}."  # kubectl explain shows none
    if "items" in given:
        result["items"] = _structural(given["items"], definitions, template=template)
    if "properties" in given:
        result["properties"] = {
            name: _structural(field, definitions, template=template)
            for name, field in given["properties"].items()
        }
        if template:
            result["x-kubernetes-preserve-unknown-fields"] = True
    elif isinstance(given.get("additionalProperties"), dict):
        values = _structural(given["additionalProperties"], definitions, template=template)
        result["additionalProperties"] = values
    elif given.get("type") == "object":
        result["x-kubernetes-preserve-unknown-fields"] = True
    return result


def _resolved(given: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """The schema with its reference followed, and `… | None` as what it is when it is there."""
    if "anyOf" in given:
        (there,) = (option for option in given["anyOf"] if option.get("type") != "null")
        return _resolved(there | _besides(given, "anyOf"), definitions)
    if "$ref" in given:
        name = given["$ref"].rpartition("/")[2]
        return _resolved(definitions[name] | _besides(given, "$ref"), definitions)
    return given


def _besides(given: Schema, field: str) -> Schema:
    return {name: value for name, value in given.items() if name != field}


def _default(given: Schema) -> Any:
    """The default; of an object the empty one, since its fields have their own."""
    default = given["default"]
    if isinstance(default, list):
        return [_without_nulls(item) for item in default]
    return {} if given.get("properties") else default


def _written(default: Any) -> str:
    """As one would write it in YAML."""
    return default if isinstance(default, str) else json.dumps(default)


def _without_nulls(item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    return {name: value for name, value in item.items() if value is not None}
