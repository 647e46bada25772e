"""A ServerSet is taken whole, or refused with every fault at once."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import hypothesis
import pytest
import serversets
from hypothesis import strategies as st
from ringmaster_operator import errors, spec
from serversets import changed, faults

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["25%", "0%", "hrw", "Recreate", "http://a:1"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=10,
)


def paths(value: Any, prefix: str = "") -> list[str]:
    """Every dotted path in a document, as `serversets.changed` takes it."""
    found = [prefix] if prefix else []
    items = value.items() if isinstance(value, dict) else ()
    for key, item in enumerate(value) if isinstance(value, list) else items:
        found += paths(item, f"{prefix}.{key}" if prefix else str(key))
    return found


FULL = spec.document(spec.parse(serversets.example()))
PLACES = [path for path in paths(FULL) if "ringmaster.dev/" not in path]


def test_a_spec_with_five_faults_gets_all_five() -> None:
    document = changed(
        ("spec.replicas", "three"),
        ("spec.selector.matchLabels", {"app": "other"}),
        ("spec.strategy.rollingUpdate", {"maxSurge": 0, "maxUnavailable": 0}),
        ("spec.drainSecond", 5),
        ("spec.template.spec.containers.0.readinessProbe.periodSeconds", True),
    )
    assert faults(document) == [
        'spec.replicas: must be an integer, not "three"',
        'spec.drainSecond: unknown field; did you mean "drainSeconds"?',
        "spec.strategy.rollingUpdate: maxSurge and maxUnavailable must not both be 0",
        "spec.template.spec.containers[0].readinessProbe.periodSeconds: must be an integer, not true",
        'spec.template.metadata.labels: must hold spec.selector.matchLabels {"app": "other"}',
    ]


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("spec.replicas", True, "must be an integer, not true"),
        ("spec.replicas", 3.0, "must be an integer, not 3.0"),
        ("spec.replicas", -1, "must be at least 0, not -1"),
        ("spec.paused", "true", 'must be true or false, not "true"'),
        ("spec.ring.boundedLoad", "1.25", 'must be a number, not "1.25"'),
        ("spec.ring.boundedLoad", 1, "must be greater than 1, not 1"),
        (
            "spec.ring.scheme",
            "hwr",
            'must be "hrw", "ketama", "maglev", "classic" or "custom", not "hwr"',
        ),
        ("spec.names", "S5", 'must be a list, not "S5"'),
        ("spec.template", [], "must be an object, not []"),
        ("spec.selector", ..., "required"),
        ("spec.template.spec", ..., "required"),
        ("spec.template.spec.containers", [], "must not be empty, not []"),
        ("spec", ..., "required"),
        ("metadata.name", ..., "required"),
        ("kind", "Pod", 'must be "ServerSet", not "Pod"'),
        ("metadata.labels", {"a": 1}, ""),
        ("spec.strategy.rollingUpdate.maxSurge", "25", ""),
        ("spec.strategy.rollingUpdate.maxSurge", "-25%", ""),
        ("spec.strategy.rollingUpdate.maxUnavailable", "150%", "must be at most 100%, not 150%"),
        ("spec.balancer.proxy.trustedProxies", ["10.0.0.0/99"], ""),
        ("spec.balancer.proxy.trustedProxies", [5], "must be a string, not 5"),
    ],
)
def test_a_sloppy_value_is_refused_with_its_path(path: str, value: object, fault: str) -> None:
    (found,) = faults(changed((path, value)))
    assert found.startswith(path)
    assert fault in found


def test_a_fault_of_shape_hides_no_other() -> None:
    document = changed(
        ("spec.template.spec.containers.0.ports.0", {"name": "http"}),
        ("spec.template.spec.containers.0.env", [{"value": "nameless"}]),
        ("spec.template.spec.volumes", []),
        ("spec.names", ["a b", 7]),
        ("spec.maxReplicas", 2),
        ("spec.balancer.selector", {}),
    )
    assert {fault.split(": ")[0] for fault in faults(document)} == {
        "spec.template.spec.containers[0].ports[0].containerPort",
        "spec.template.spec.containers[0].env[0].name",
        "spec.names[1]",
        "spec.replicas",
        "spec.balancer.selector.matchLabels",
    }


@pytest.mark.parametrize("document", [None, [], "web", 3, {}, {"spec": None}])
def test_what_is_no_serverset_at_all_is_refused(document: object) -> None:
    assert faults(document)


def test_what_is_no_json_is_refused_where_it_lies() -> None:
    document = changed(
        ("spec.template.spec.x", {1, 2}),
        ("spec.template.spec.y", float("nan")),
        ("spec.template.spec.z", "\ud800"),
        ("spec.template.spec.i", 2**64),
        ("spec.template.spec.k", {1: "a"}),
    )
    assert {fault.split(": ")[0] for fault in faults(document)} == {
        f"spec.template.spec.{name}" for name in "xyzik"
    }


def test_a_number_beyond_64_bits_is_one_fault() -> None:
    assert faults(changed(("spec.replicas", 10**20))) == [
        "spec.replicas: must be an integer of 64 bits"
    ]


def test_a_document_without_a_bottom_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5_000):
        deep = {"a": deep}
    assert "nested deeper" in faults(changed(("spec.template.spec.x", deep)))[0]


def test_python_names_of_fields_are_not_taken() -> None:
    assert faults(changed(("spec.max_replicas", 5))) == [
        'spec.max_replicas: unknown field; did you mean "maxReplicas"?'
    ]


def test_nulls_are_the_same_as_absent_fields() -> None:
    plain = spec.parse(serversets.example())
    document = changed(("spec.names", None), ("spec.template.spec.volumes", None))
    assert spec.parse(document) == plain


def test_parsing_changes_nothing_of_its_document() -> None:
    document = changed(("spec.names", None), ("spec.replicas", "x"))
    before = json.dumps(document)
    faults(document)
    assert json.dumps(document) == before


@pytest.mark.parametrize("strategy", [{"type": "Recreate"}, {"rollingUpdate": {"maxSurge": "50%"}}])
def test_the_full_document_reads_back_to_an_equal_value(strategy: dict[str, Any]) -> None:
    document = changed(
        ("spec.strategy", strategy),
        ("spec.balancer.proxy.trustedProxies", ["10.0.0.0/8"]),
        ("metadata.finalizers", ["a/b"]),
    )
    parsed = spec.parse(document)
    full = spec.document(parsed)
    assert spec.document(spec.parse(full)) == full
    assert spec.parse(json.loads(json.dumps(full))) == spec.parse(full)


@hypothesis.given(JSON)
def test_arbitrary_json_raises_nothing_but_faults(document: Any) -> None:
    with contextlib.suppress(errors.SpecInvalidError):
        spec.parse(document)


def condition(kind: Any = "Theirs", status: Any = "True", **fields: Any) -> dict[str, Any]:
    return {"type": kind, "status": status, **fields}


def test_a_status_is_read_as_a_cluster_would_store_it() -> None:
    told = {"replicas": 3, "conditions": [condition(reason="Why", observedGeneration=2)]}
    assert spec.parse_status(told) == told
    assert spec.parse_status(None) == spec.parse_status({}) == {}
    unknown = {"replicas": 3, "selector": None, "colour": "blue"}
    assert spec.parse_status(unknown) == {"replicas": 3}
    strange = {"conditions": [condition(message=None, colour="blue")]}
    assert spec.parse_status(strange) == {"conditions": [condition()]}


def test_a_status_that_a_cluster_refuses_is_refused_with_every_fault() -> None:
    with pytest.raises(errors.SpecInvalidError) as refused:
        spec.parse_status(
            {
                "replicas": "3",
                "conditions": [
                    {"type": "Ready"},
                    condition(5, "maybe"),
                    "Ready",
                    condition("A", lastTransitionTime=7),
                    condition("B", observedGeneration="1"),
                ],
            }
        )
    assert [fault.path for fault in refused.value.faults] == [
        "status.replicas",
        "status.conditions[0].status",
        "status.conditions[1].type",
        "status.conditions[1].status",
        "status.conditions[2]",
        "status.conditions[3].lastTransitionTime",
        "status.conditions[4].observedGeneration",
    ]
    for strange in (5, [], "x", {"conditions": {}}, {"conditions": "x"}):
        with pytest.raises(errors.SpecInvalidError, match=r"^status(\.conditions)?: must be"):
            spec.parse_status(strange)
    with pytest.raises(errors.SpecInvalidError, match=r"conditions\[1\]: must be unique"):
        spec.parse_status({"conditions": [condition("A"), condition("A", "False")]})


@hypothesis.given(
    st.dictionaries(
        st.sampled_from(["replicas", "selector", "conditions", "x"]),
        JSON | st.lists(st.fixed_dictionaries({"type": JSON}, optional={"status": JSON})),
    )
)
def test_an_arbitrary_status_raises_nothing_but_faults(status: Any) -> None:
    with contextlib.suppress(errors.SpecInvalidError):
        parsed = spec.parse_status(status)
        assert spec.parse_status(parsed) == parsed


@hypothesis.given(st.lists(st.tuples(st.sampled_from(PLACES), JSON), min_size=1, max_size=4))
def test_a_spec_that_is_broken_anywhere_raises_nothing_but_faults(
    changes: list[tuple[str, Any]],
) -> None:
    document = FULL
    for change in changes:
        with contextlib.suppress(AttributeError, KeyError, IndexError, TypeError):
            document = changed(change, document=document)
    try:
        parsed = spec.parse(document)
    except errors.SpecInvalidError as error:
        assert error.faults  # noqa: PT017 – both ends are fine
        return
    full = spec.document(parsed)
    assert spec.document(spec.parse(full)) == full
    for runtime in ("docker", "process"):
        spec.unsupported(parsed.spec.template, runtime=runtime)
    spec.container(parsed.spec.template)
    spec.health(parsed.spec.template)
    spec.warnings(parsed)
