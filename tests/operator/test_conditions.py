from __future__ import annotations

from typing import Any

import pytest
from ringmaster_operator import conditions

YES = conditions.Fact("Ready", status=True, reason="AllServe", message="3 serve")
# What an earlier local API took as conditions, and more.
STRANGE = (
    *({}, "Ready", 5, {"type": "Ready"}),
    *([entry] for entry in (None, 5, "Ready", [], {}, {"status": "True"}, {"type": None})),
    *([{"type": kind, "status": "True"}] for kind in (5, [], {}, True)),
)
NO = conditions.Fact("Ready", status=False, reason="Starting", message="2 of 3")


def merged(before: Any, fact: conditions.Fact, now: float) -> list[dict[str, Any]]:
    return conditions.merged(before, [fact], generation=7, now=now)


def test_a_condition_has_every_field_of_the_convention() -> None:
    assert merged(None, YES, now=0) == [
        {
            "type": "Ready",
            "status": "True",
            "reason": "AllServe",
            "message": "3 serve",
            "lastTransitionTime": "1970-01-01T00:00:00Z",
            "observedGeneration": 7,
        }
    ]


def test_what_the_counts_do_not_say_is_told() -> None:
    def told(*facts: conditions.Fact) -> list[str]:
        merged = conditions.merged(None, facts, generation=7, now=0)
        return conditions.troubles({"status": {"conditions": merged}})

    held = conditions.Fact("Ready", status=False, reason="MoveHeld", message="too much")
    crash = conditions.Fact("ReplicaFailure", status=True, reason="CrashLoop", message="web-0")
    assert told(held, crash) == ["MoveHeld: too much", "CrashLoop: web-0"]
    for reason in ("NotInRing", "ReplicasNotAvailable"):
        assert told(conditions.Fact("Ready", status=False, reason=reason, message="2 of 3")) == []
    fine = conditions.Fact("ReplicaFailure", status=False, reason="NoFailure", message="none")
    assert told(YES, fine) == []
    assert conditions.troubles({}) == []


def test_the_transition_time_moves_only_with_the_status() -> None:
    first = merged(None, NO, now=0)
    same = merged(first, conditions.Fact("Ready", status=False, reason="B", message="c"), now=60)
    assert same[0]["lastTransitionTime"] == "1970-01-01T00:00:00Z"
    assert merged(same, YES, now=60)[0]["lastTransitionTime"] == "1970-01-01T00:01:00Z"


def test_conditions_of_others_stay_behind_ours() -> None:
    foreign = {"type": "Cost", "status": "False", "anything": "else"}
    assert merged([foreign], YES, now=0)[1:] == [foreign]


@pytest.mark.parametrize("status", [None, "True", "False", "maybe", 5])
@pytest.mark.parametrize("since", [None, "", 5, []])
def test_a_condition_of_ours_that_others_wrote_in_part_is_written_whole(
    status: Any, since: Any
) -> None:
    theirs = {"type": "Ready", "status": status, "lastTransitionTime": since}
    told = {field: value for field, value in theirs.items() if value is not None}
    assert merged([told], YES, now=0) == merged(None, YES, now=0)


@pytest.mark.parametrize("stored", STRANGE)
def test_what_is_no_condition_is_left_out_wherever_conditions_are_read(stored: Any) -> None:
    assert merged(stored, YES, now=0) == merged(None, YES, now=0)
    document = {"status": {"conditions": stored}}
    assert conditions.told(document) == []
    assert conditions.troubles(document) == []


def test_merging_twice_changes_nothing() -> None:
    once = merged([{"type": "Cost", "status": "False"}], YES, now=0)
    assert merged(once, YES, now=99) == once
