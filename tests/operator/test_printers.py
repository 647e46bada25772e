"""Text from documents."""

from __future__ import annotations

import json
from typing import Any

import hypothesis
import pytest
import yaml
from hypothesis import strategies as st
from ringmaster_operator import printers
from ringmaster_operator.spec import manifest

TABLE: dict[str, Any] = {
    "columnDefinitions": [
        {"name": "Name", "priority": 0},
        {"name": "Ready", "priority": 0},
        {"name": "Selector", "priority": 1},
    ],
    "rows": [
        {"cells": ["web", 3, "app=web"], "object": {"metadata": {"namespace": "default"}}},
        {"cells": ["a-longer-one", None, ""], "object": {"metadata": {"namespace": "prod"}}},
    ],
}


@hypothesis.given(st.text(alphabet=st.sampled_from("0123456789+-._eExXoObByYnN~<=: "), max_size=6))
@hypothesis.example("y")
@hypothesis.example("08")
@hypothesis.example("0o17")
@hypothesis.example("1e3")
@hypothesis.example("+_0_1")
@hypothesis.example("0_x1")
def test_a_text_comes_back_from_yaml_as_the_text_that_it_was(text: str) -> None:
    """Read as kubectl reads it (tests/operator/spec/kubectl_manifests.json), not as PyYAML."""
    given = {"apiVersion": "ringmaster.dev/v1alpha1", "kind": "ServerSet", "x": text, text: 1}
    assert manifest.parse_many(printers.to_yaml(given)) == [given]


def document(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "web", "namespace": "default", "generation": 2},
        "spec": {"replicas": 3},
        "status": status,
    }


def test_a_table_is_aligned_as_kubectl_aligns_it() -> None:
    assert printers.Table().lines(TABLE) == [
        "NAME           READY",
        "web            3",
        "a-longer-one   <none>",
    ]


def test_wide_shows_what_has_a_lower_priority() -> None:
    assert printers.Table(wide=True).lines(TABLE)[0].split() == ["NAME", "READY", "SELECTOR"]


def test_all_namespaces_have_a_column() -> None:
    lines = printers.Table(namespaces=True).lines(TABLE)
    assert [line.split()[0] for line in lines] == ["NAMESPACE", "default", "prod"]


def test_later_rows_of_a_watch_line_up_with_the_first_ones() -> None:
    table = printers.Table()
    table.lines(TABLE)
    later = {"rows": [{"cells": ["x", 1, "y"], "object": {}}]}
    assert table.lines(later, headings=False) == ["x              1"]


def test_a_table_without_rows_has_its_headings_only() -> None:
    assert printers.Table().lines(TABLE | {"rows": []}) == ["NAME   READY"]


def test_yaml_and_json_read_back_to_the_document() -> None:
    found = document(message="ä: #1\nzwei")
    assert yaml.safe_load(printers.to_yaml(found)) == found
    assert json.loads(printers.to_json(found)) == found


def test_progress_says_what_keeps_it() -> None:
    failing = {"type": "ReplicaFailure", "status": "True", "reason": "Bad", "message": "no image"}
    line = printers.progress(document(readyReplicas=1, inRing=0, conditions=[failing]))
    assert line == "web: 1 of 3 ready, 0 in the ring (Bad: no image)"


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("NoBalancer", True),
        ("MoveHeld", True),
        ("NotInRing", False),
        ("ReplicasNotAvailable", False),
    ],
)
def test_progress_says_why_it_is_not_ready_where_the_counts_do_not(
    reason: str, shown: bool
) -> None:
    ready = {"type": "Ready", "status": "False", "reason": reason, "message": "such and such"}
    line = printers.progress(document(readyReplicas=3, inRing=0, conditions=[ready]))
    why = f" ({reason}: such and such)" if shown else ""
    assert line == f"web: 3 of 3 ready, 0 in the ring{why}"


def test_settled_is_all_ready_in_the_ring_and_of_this_generation() -> None:
    whole = {"replicas": 3, "readyReplicas": 3, "inRing": 3, "observedGeneration": 2}
    assert printers.settled(document(**whole))
    assert not printers.settled(document(**whole | {"inRing": 2}))
    assert not printers.settled(document(**whole | {"observedGeneration": 1}))
    assert not printers.settled(document())


def test_a_condition_that_is_not_there_is_unknown() -> None:
    found = document(conditions=[{"type": "Ready", "status": "True"}])
    assert printers.condition(found, "ready") == "True"
    assert printers.condition(found, "Available") == "Unknown"


@pytest.mark.parametrize(
    ("told", "status", "seen"),
    [
        (1, 2, "Unknown"),
        (2, 1, "True"),
        (None, 1, "Unknown"),
        (None, 2, "True"),
        (None, None, "True"),
    ],
)
def test_a_condition_of_an_earlier_generation_is_unknown(told, status, seen) -> None:
    ready = {"type": "Ready", "status": "True"} | ({"observedGeneration": told} if told else {})
    known = {"observedGeneration": status} if status else {}
    assert printers.condition(document(conditions=[ready], **known), "Ready") == seen


@pytest.mark.parametrize("strange", [5, "Ready", [], {}, {"type": []}, {"status": "False"}])
def test_what_is_no_condition_is_not_shown(strange: Any) -> None:
    found = document(conditions=[strange])
    assert printers.condition(found, "Ready") == "Unknown"
    assert printers.standing(found, "Ready") == "Ready is not there"
    assert printers.progress(found) == "web: 0 of 3 ready, 0 in the ring"
    text = printers.describe(found, replicas=[], events=[])
    assert "Conditions:           <none>" in text


@pytest.mark.parametrize("strange", ["x", [], None, 1.5])
def test_a_generation_that_is_no_number_counts_as_not_told(strange: Any) -> None:
    ready = {"type": "Ready", "status": "True", "observedGeneration": strange}
    for told, seen in ((1, "Unknown"), (2, "True"), (strange, "True")):
        found = document(conditions=[ready], observedGeneration=told)
        assert printers.condition(found, "Ready") == seen


def test_a_condition_is_told_with_its_reason() -> None:
    ready = {"type": "Ready", "status": "False", "reason": "MoveHeld", "message": "too much"}
    assert printers.standing(document(conditions=[ready]), "ready") == (
        "Ready is False: MoveHeld: too much"
    )
    stale = {"type": "Ready", "status": "True", "observedGeneration": 1}
    found = document(conditions=[stale])
    assert printers.standing(found, "Ready") == "Ready is True, of an earlier generation"
    assert printers.standing(found, "Love") == "Love is not there"


def test_a_description_of_almost_nothing_says_none() -> None:
    text = printers.describe({"metadata": {"name": "web"}}, replicas=[], events=[])
    assert "Conditions:           <none>" in text
    assert "Events:               <none>" in text


def test_a_description_has_conditions_replicas_and_events() -> None:
    found = document(
        conditions=[{"type": "Ready", "status": "True", "reason": "R", "message": "m"}]
    )
    replica = {
        "status": {"displayName": "S5", "memberId": "web-0", "ready": True, "ring": "active"}
    }
    events = printers.events([{"type": "Normal", "reason": "Created", "count": 1, "message": "x"}])
    text = printers.describe(found, replicas=[replica], events=events)
    for part in ("Ready   True     R        m", "S5     web-0", "Normal   Created"):
        assert part in text


def test_an_explanation_says_where_a_key_goes_and_who_stands_behind() -> None:
    told = {
        "key": "alice", "replica": "web-1-abc", "member": "web-1", "scheme": "hrw", "hash": "xxh3",
        "hash64": "0x1", "slot": 7, "slots": 65536, "epoch": 5, "generation": 2,
        "candidates": [{"rank": 1, "id": "web-1", "replica": "web-1-abc", "address": "a:1",
                        "state": "active", "healthy": False, "why": "taken"}],
    }  # fmt: skip
    lines = printers.explain(told).splitlines()
    assert lines[0] == "'alice' goes to web-1-abc (member web-1)"
    assert lines[-1].split() == ["1", "web-1", "web-1-abc", "a:1", "active", "no", "taken"]


def test_an_explanation_says_what_was_hashed_whatever_the_scheme() -> None:
    for told, words in (
        ({"hash64": "0x0a"}, "hash 0x0a,"),
        ({"hash32": "0x0b"}, "hash 0x0b,"),
        ({"request": "3", "value": "32"}, "hash request 3 → 32,"),
    ):
        text = printers.explain({"key": "k", "scheme": "s", "hash": "", **told})
        assert words in " ".join(text.split())


def test_an_explanation_without_a_member_says_none() -> None:
    assert printers.explain({"key": "k"}).startswith("'k' goes to <none>")
