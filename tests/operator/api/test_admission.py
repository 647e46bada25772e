from __future__ import annotations

from collections.abc import Callable
from typing import Any

import local_api
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringmaster_operator import spec
from ringmaster_operator.api import admission, lab, patches, problems, scales
from ringmaster_operator.store import stored

NAMES = st.sampled_from(
    [
        *("apiVersion", "kind", "metadata", "name", "namespace", "labels", "annotations"),
        *("spec", "replicas", "names", "scaleDown", "victims", "selector", "matchLabels"),
        *("template", "containers", "strategy", "balancer", "urls", "status", "conditions"),
        *("uid", "resourceVersion", "generateName", "finalizers", "", "a/b", "\ud800"),
    ]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["web", "default", "ServerSet", "ringmaster.dev/v1alpha1", "\ud800", "1"])
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)
OBJECTS = st.dictionaries(NAMES, JSON, max_size=5)
POINTERS = st.lists(NAMES | st.sampled_from(["0", "-", "9", "~1"]), max_size=4).map(
    lambda steps: "".join(f"/{step}" for step in steps)
)
OPERATIONS = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]) | JSON},
    optional={"path": POINTERS | JSON, "from": POINTERS | JSON, "value": JSON},
)


def judged(decide: Callable[[], dict[str, Any]]) -> None:
    """What is admitted can be parsed; what is not is the client's fault."""
    code = 422
    try:
        spec.parse(decide())
    except problems.Problem as problem:
        code = problem.code
    assert code in (400, 422)


def unchecked(_: Any) -> tuple[()]:
    return ()


def current() -> dict[str, Any]:
    made = stored.created(local_api.server_set(), namespace="default", name="web", uid="u", now=0.0)
    return stored.at_version(made, 7)


@given(OBJECTS)
def test_whatever_is_sent_is_admitted_whole_or_refused(document: dict[str, Any]) -> None:
    judged(lambda: admission.new(document, namespace="default", check=unchecked))


@given(OBJECTS)
def test_whatever_is_merged_leads_to_a_valid_set_or_a_refusal(change: dict[str, Any]) -> None:
    before = current()

    def merged(document: dict[str, Any]) -> dict[str, Any]:
        return patches.apply(document, change, media_type=patches.MERGE)

    def rescaled() -> dict[str, Any]:
        scaled = scales.onto(before, merged(scales.of(before)))
        return admission.changed(before, scaled, check=unchecked)

    judged(lambda: admission.changed(before, merged(before), check=unchecked))
    judged(rescaled)
    assert before == current()


@given(st.lists(OPERATIONS, max_size=4) | JSON)
def test_whatever_the_operations_they_lead_to_a_valid_set_or_a_refusal(patch: Any) -> None:
    before = current()

    def patched() -> dict[str, Any]:
        return patches.apply(before, patch, media_type=patches.JSON)

    judged(lambda: admission.changed(before, patched(), check=unchecked))
    judged(
        lambda: {**before, "status": admission.restated(patched(), name="web").get("status") or {}}
    )
    assert before == current()


@given(n=st.integers(1, 5), names=st.lists(st.text(max_size=8), max_size=5))
def test_whatever_names_are_asked_for_the_set_stays_valid(n: int, names: list[str]) -> None:
    try:
        after = lab.added(current(), lab.Request(n=n, names=tuple(names)), ())
    except lab.LabError:
        return
    parsed = spec.parse(after)
    assert (parsed.spec.replicas, parsed.spec.names) == (3 + n, tuple(names))


def test_a_set_of_older_rules_can_still_be_changed_for_the_better() -> None:
    before = current()
    before["spec"]["nonsense"] = True
    fixed = {**before, "spec": {k: v for k, v in before["spec"].items() if k != "nonsense"}}
    assert admission.changed(before, fixed, check=unchecked)["spec"] == fixed["spec"]
    with pytest.raises(problems.Problem):
        admission.changed(before, before, check=unchecked)
