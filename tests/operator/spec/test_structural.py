"""A model becomes a schema that Kubernetes takes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from ringmaster_operator.spec import shape, structural


class Inner(shape.Value):
    """Inside."""

    share: Annotated[float, Field(gt=0)] = 1
    """Its share."""


class Outer(shape.Value):
    """Outside."""

    inner: Inner = Inner()
    """The inner one."""
    maybe: Inner | None = None
    flag: Literal[True] | None = None
    labels: dict[str, str] = Field(default_factory=dict)


INNER = {
    "type": "object",
    "properties": {
        "share": {
            "type": "number",
            "description": "Its share. Default: 1.",
            "minimum": 0,
            "exclusiveMinimum": True,
            "default": 1,
        }
    },
}


def test_references_unions_and_nulls_are_gone() -> None:
    assert structural.schema(Outer) == {
        "type": "object",
        "description": "Outside.",
        "properties": {
            "inner": INNER | {"description": "The inner one.", "default": {}},
            "maybe": INNER | {"description": "Inside."},
            "flag": {"type": "boolean", "enum": [True]},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    }


def test_a_template_keeps_what_is_not_known_and_gets_no_defaults() -> None:
    schema = structural.schema(Outer, template=True)
    assert schema["x-kubernetes-preserve-unknown-fields"]
    assert "default" not in schema["properties"]["inner"]
    assert "default" not in schema["properties"]["inner"]["properties"]["share"]
