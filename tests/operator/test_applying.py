"""Three-way merges, by documents alone."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from ringmaster_operator import applying


def manifest(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "web", "namespace": "default", "annotations": {}}
    return {"kind": "ServerSet", "metadata": metadata, "spec": spec}


def live_after(document: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """As the server has it once `document` was applied and others changed `spec`."""
    live = applying.stamped(document)
    live["metadata"] |= {"uid": "u", "resourceVersion": "5"}
    live["spec"] = live["spec"] | spec
    return live


def test_what_was_applied_and_not_touched_needs_no_patch() -> None:
    document = manifest(replicas=3)
    assert applying.patch(document, live_after(document)) == {}


def test_what_another_set_in_a_field_that_the_manifest_omits_stays() -> None:
    document = manifest(paused=True)
    assert applying.patch(document, live_after(document, replicas=7, names=["S5"])) == {}


def test_what_another_changed_in_a_field_that_the_manifest_names_is_set_back() -> None:
    document = manifest(replicas=3)
    assert applying.patch(document, live_after(document, replicas=7)) == {"spec": {"replicas": 3}}


def test_a_field_that_left_the_manifest_leaves_the_object() -> None:
    live = live_after(manifest(replicas=3, paused=True))
    change = applying.patch(manifest(replicas=3), live)
    assert change["spec"] == {"paused": None}


def test_a_list_is_replaced_whole() -> None:
    live = live_after(manifest(names=["a", "b"]))
    assert applying.patch(manifest(names=["b"]), live)["spec"] == {"names": ["b"]}


def test_an_object_that_was_never_applied_gets_the_note_and_loses_nothing() -> None:
    live = {
        "metadata": {"name": "web", "labels": {"a": "b"}},
        "spec": {"replicas": 3, "paused": True},
    }
    merged = applying.merged(live, applying.patch(manifest(replicas=3), live))
    assert merged["spec"] == live["spec"]
    assert merged["metadata"]["labels"] == {"a": "b"}
    assert applying.last_applied(merged) == manifest(replicas=3)


def test_the_note_is_kubectls_and_holds_no_note_itself() -> None:
    twice = applying.stamped(applying.stamped(manifest(replicas=3)))
    note = twice["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
    assert "last-applied" not in note
    assert json.loads(note)["spec"] == {"replicas": 3}


def test_a_note_that_says_the_same_in_other_words_is_no_change() -> None:
    document = manifest(replicas=3)
    live = live_after(document)
    bare = {"kind": "ServerSet", "metadata": {"name": "web"}, "spec": {"replicas": 3}}
    live["metadata"]["annotations"][applying.LAST_APPLIED] = json.dumps(bare)
    assert applying.patch(document, live) == applying.patch(bare, live) == {}
    assert applying.patch(bare | {"metadata": {"name": "web", "annotations": None}}, live) == {}


def test_a_damaged_note_counts_as_none() -> None:
    live = live_after(manifest(replicas=3))
    live["metadata"]["annotations"][applying.LAST_APPLIED] = "{"
    assert applying.last_applied(live) == {}


_VALUES = st.recursive(
    st.integers(0, 3) | st.text("ab", max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=8,
)
_SPECS = st.dictionaries(st.sampled_from("pqr"), _VALUES, max_size=3)


@given(first=_SPECS, second=_SPECS, others=_SPECS)
def test_after_an_apply_all_the_manifest_says_is_so_and_a_second_one_changes_nothing(
    first: dict[str, Any], second: dict[str, Any], others: dict[str, Any]
) -> None:
    live = live_after(manifest(**first), **others)
    before = copy.deepcopy(live)
    document = manifest(**second)
    merged = applying.merged(live, applying.patch(document, live))
    assert live == before
    assert applying.patch(document, merged) == {}
    assert applying.merged(merged["spec"], document["spec"]) == merged["spec"]
