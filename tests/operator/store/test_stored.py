from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringmaster_operator import errors
from ringmaster_operator.store import stored

OWNED = ("uid", "creationTimestamp", "deletionTimestamp", "namespace", "name")
PARTS = st.fixed_dictionaries(
    {},
    optional={
        "spec": st.dictionaries(st.sampled_from("ab"), st.integers(0, 2), max_size=2),
        "status": st.dictionaries(st.sampled_from("ab"), st.integers(0, 2), max_size=2),
        "metadata": st.dictionaries(
            st.sampled_from([*OWNED[1:], "generation", "labels", "managedFields", "selfLink"]),
            st.text(max_size=2),
        ),
    },
)


def current() -> dict[str, Any]:
    made = stored.created(
        {"spec": {"a": 1}}, namespace="default", name="web", uid="the-uid", now=0.0
    )
    return stored.at_version(made, 7)


@given(PARTS)
def test_what_the_server_owns_survives_whatever_is_proposed(proposed: dict[str, Any]) -> None:
    before, kept = current(), copy.deepcopy(proposed)
    after = stored.revised(before, proposed)
    owned = {field: value for field, value in before["metadata"].items() if field in OWNED}
    assert owned.items() <= after["metadata"].items()
    assert after.get("status") == before.get("status")
    assert after.get("spec") == proposed.get("spec")
    risen = after["metadata"]["generation"] - before["metadata"]["generation"]
    assert risen == (proposed.get("spec") != before["spec"])
    assert (before, proposed) == (current(), kept)


def test_a_writer_that_means_another_object_or_version_is_refused() -> None:
    before = current()
    stored.check_origin(before, {})
    stored.check_origin(before, {"resourceVersion": "7", "uid": "the-uid"})
    for claim in ({"resourceVersion": "6"}, {"uid": "another"}, {"resourceVersion": "07"}):
        with pytest.raises(errors.ConflictError):
            stored.check_origin(before, claim)


def test_a_deletion_is_marked_once() -> None:
    marked = stored.deleted(current(), now=60.0)
    assert marked["metadata"]["deletionTimestamp"] == "1970-01-01T00:01:00Z"
    assert marked["metadata"]["generation"] == 2
    assert stored.deleted(marked, now=999.0) == marked


def test_what_is_used_up_leaves_the_spec_and_nothing_else_does() -> None:
    before = current()
    before["spec"] = {"names": ["a", "b"], "scaleDown": {"victims": ["c", "d"]}, "x": 1}
    after = stored.consumed(before, names=["b", "z"], victims=["c"])
    assert after["spec"] == {"names": ["a"], "scaleDown": {"victims": ["d"]}, "x": 1}
    assert stored.consumed(current(), names=["a"], victims=["b"]) == current()


def test_conditions_of_others_are_those_that_are_stored_by_now() -> None:
    def condition(kind: str, status: str) -> dict[str, str]:
        return {"type": kind, "status": status}

    ours = {
        "conditions": [condition("Ready", "True"), condition("A", "old"), condition("B", "old")]
    }
    now = [condition("Ready", "False"), condition("A", "new"), condition("C", "new")]
    merged = stored.merged_status({"status": {"conditions": now}}, ours)
    assert merged["conditions"] == [condition("Ready", "True"), *now[1:]]
    assert stored.merged_status({}, {"replicas": 1}) == {"replicas": 1}


def test_what_is_no_condition_goes_with_the_next_status() -> None:
    strange = [5, {"status": "True"}, {"type": []}]
    theirs = {"type": "A", "status": "True"}
    now = {"status": {"conditions": [*strange, theirs]}}
    assert stored.merged_status(now, {"replicas": 1})["conditions"] == [theirs]
    assert stored.merged_status({}, {"conditions": [*strange, theirs]})["conditions"] == []
