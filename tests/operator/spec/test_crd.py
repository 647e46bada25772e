"""The CustomResourceDefinition says what the model says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import serversets
import yaml
from ringmaster_operator import spec
from ringmaster_operator.spec import crd, manifest

# Fields of apiextensions.k8s.io/v1 JSONSchemaProps that a structural schema of ours may use.
ALLOWED = {
    "additionalProperties",
    "default",
    "description",
    "enum",
    "exclusiveMinimum",
    "items",
    "maximum",
    "maxItems",
    "maxLength",
    "maxProperties",
    "minimum",
    "minItems",
    "minLength",
    "minProperties",
    "pattern",
    "properties",
    "required",
    "type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
}


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema below, with its path."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from nodes(field, f"{path}.{name}")
    for below in ("items", "additionalProperties"):
        if below in schema:
            yield from nodes(schema[below], f"{path}[]")


def defaulted(value: Any, schema: dict[str, Any]) -> Any:
    """What the API server makes of a value: defaults filled in, unknown fields dropped."""
    if isinstance(value, list):
        return [defaulted(item, schema["items"]) for item in value]
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    result = {}
    for name, field in schema["properties"].items():
        if value.get(name) is not None:
            result[name] = defaulted(value[name], field)
        elif "default" in field:
            result[name] = defaulted(field["default"], field)
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        result |= {name: item for name, item in value.items() if name not in result}
    return result


def test_the_file_in_manifests_is_current() -> None:
    written = (serversets.ROOT / "manifests" / "crd.yaml").read_text(encoding="utf-8")
    assert written == crd.text(), (
        "stale: run `python -m ringmaster_operator.spec.crd > manifests/crd.yaml`"
    )


def test_the_definition_is_far_below_what_client_side_apply_can_hold() -> None:
    assert len(crd.text()) < 262_144 / 4


def test_the_yaml_has_no_aliases_and_reads_back() -> None:
    assert yaml.safe_load(crd.text(cel=False)) == crd.document(cel=False)
    assert "&id" not in crd.text()


@pytest.mark.parametrize("cel", [True, False])
def test_the_schema_is_structural(cel: bool) -> None:
    for path, schema in nodes(crd.schema(cel=cel)):
        assert set(schema) <= ALLOWED, path
        untyped = "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"
        assert ("type" in schema) or any(schema.get(name) for name in untyped), path
        assert schema.get("type") != "null", path
        assert set(schema.get("required", ())) <= set(schema.get("properties", {})), path


def test_every_field_is_described_in_one_line() -> None:
    for path, schema in nodes(crd.schema()):
        if path and not path.endswith("[]") and not path.startswith(".metadata"):
            assert schema.get("description"), path
            assert len(schema["description"].partition(" Default: ")[0]) <= 100, path


def test_a_default_is_told_by_kubectl_explain_which_shows_descriptions_only() -> None:
    for path, schema in nodes(crd.schema()):
        if schema.get("default") not in (None, {}, []) and schema.get("description"):
            assert " Default: " in schema["description"], path


def test_old_clusters_get_no_rules() -> None:
    assert "x-kubernetes-validations" not in crd.text(cel=False)
    assert "x-kubernetes-validations" in crd.text()


def test_every_rule_has_a_place_and_a_message() -> None:
    rules = [
        rule
        for _, schema in nodes(crd.schema(cel=True))
        for rule in schema.get("x-kubernetes-validations", ())
    ]
    assert len(rules) == 6
    assert all(rule["rule"] and rule["message"] for rule in rules)


@pytest.mark.parametrize(
    "strategy", [{}, {"type": "Recreate"}, {"rollingUpdate": {"maxSurge": "25%"}}]
)
def test_an_object_with_the_servers_defaults_parses_to_the_same_value(
    strategy: dict[str, Any],
) -> None:
    document = serversets.changed(("spec.strategy", strategy))
    served = defaulted(document, crd.schema())
    served["metadata"] = document["metadata"]
    assert spec.parse(served) == spec.parse(document)


def test_the_server_adds_nothing_to_a_template() -> None:
    document = serversets.changed(("spec.template.spec.volumes", [{"name": "a"}]))
    served = defaulted(document, crd.schema())
    assert served["spec"]["template"] == document["spec"]["template"]


def test_the_server_takes_no_readiness_by_tls_on_clusters_without_rules_either() -> None:
    places = dict(nodes(crd.schema(cel=False)))
    get = places[".spec.template.spec.containers[].readinessProbe.httpGet.scheme"]
    assert get["enum"] == ["HTTP"]


def test_a_scaler_finds_what_it_reads() -> None:
    (version,) = crd.document()["spec"]["versions"]
    assert version["subresources"]["scale"] == {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }


def test_every_column_shows_a_field_of_the_schema() -> None:
    known = {path for path, _ in nodes(crd.schema())} | {".metadata.creationTimestamp"}
    assert {column["jsonPath"] for column in crd.COLUMNS} <= known
    plain = [column["name"].upper() for column in crd.COLUMNS if not column.get("priority")]
    assert plain == ["DESIRED", "READY", "AVAILABLE", "IN-RING", "AGE"]


def test_a_model_that_grows_a_field_grows_the_schema() -> None:
    full = spec.document(spec.parse(serversets.example()))
    known = {path for path, _ in nodes(crd.schema())}
    assert {f".spec.{name}" for name in full["spec"]} <= known


def test_manifests_hold_the_definition_of_what_they_read() -> None:
    names = crd.document()["spec"]["names"]
    assert manifest.parse_many(f"kind: {names['kind']}\napiVersion: ringmaster.dev/v1alpha1\n")
