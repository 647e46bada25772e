from __future__ import annotations

import dataclasses
import json
from typing import Any

import local_api
import pytest
from ringmaster_operator import observed
from ringmaster_operator.api import lab, views

THREE = [local_api.view(name, at=at) for at, name in enumerate(("S1", "S2", "S3"))]
MORE = "<Error> Length of hostname list is more than newly added instances"
FEWER = "<Error> Length of hostname list is more than removable instances"


def body(n: Any, *names: Any) -> bytes:
    return json.dumps({"n": n, "hostnames": list(names)}).encode()


def refusal(
    body: bytes,
    *,
    more: bool,
    document: dict[str, Any] | None = None,
    seen: list[views.ReplicaView] | None = None,
) -> str:
    rule = lab.added if more else lab.removed
    with pytest.raises(lab.LabError) as said:
        rule(document or local_api.server_set(), lab.parse(body, more=more), seen or THREE)
    return str(lab.failure(str(said.value))["message"])


def grown(document: dict[str, Any], body: bytes) -> dict[str, Any]:
    return lab.added(document, lab.parse(body, more=True), THREE)


def shrunk(document: dict[str, Any], body: bytes) -> dict[str, Any]:
    return lab.removed(document, lab.parse(body, more=False), THREE)


def test_more_names_than_servers_are_refused_in_the_assignments_words() -> None:
    assert refusal(body(1, "a", "b"), more=True) == MORE
    assert refusal(body(1, "S1", "S2"), more=False) == FEWER


@pytest.mark.parametrize("more", [True, False])
@pytest.mark.parametrize("n", [0, -1, True, False, "3", 1.0, 1.5, None, [], 10**30])
def test_n_must_be_a_positive_integer_in_reach(n: Any, more: bool) -> None:
    assert refusal(body(n), more=more).startswith("<Error> ")


@pytest.mark.parametrize("more", [True, False])
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"n=3",
        b"[]",
        b"{}",
        b'{"n": NaN}',
        b'{"n": 1e999}',
        b"3",
        b"\xff",
        b"[" * 100_000,
        b'{"n": 2, "hostnames": "S5"}',
        b'{"n": 2, "hostnames": null}',
        b'{"n": 2, "hostnames": {"a": 1}}',
        b'{"n": 2, "hostnames": [1]}',
        b'{"n": 2, "hostnames": [["S1"]]}',
        b'{"n": 2, "hostnames": ["S1", "S1"]}',
    ],
)
def test_a_body_of_another_form_is_refused(raw: bytes, more: bool) -> None:
    assert refusal(raw, more=more).startswith("<Error> ")


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "-a", "ü", "a/b", "$(reboot)", "a;b", "x" * 64, "\ud800", ".a", "a\n"]
)
def test_a_name_that_docker_would_not_take_is_refused(name: str) -> None:
    assert (
        refusal(body(1, name), more=True) == f"<Error> Hostname '{name}' cannot be a server's name"
    )


def test_the_bad_name_among_good_ones_is_named() -> None:
    document = local_api.server_set(names=["S8"])
    assert "'a b'" in refusal(body(3, "S4", "a b", "S5"), document=document, more=True)


def test_a_name_in_use_is_refused_whoever_uses_it() -> None:
    leaving = local_api.view("S7", state=views.DRAINING, phase=observed.Phase.TERMINATING)
    document = local_api.server_set(names=["S8"])
    for name in ("S1", "s2", "S7", "S8", "web-s3"):
        said = refusal(body(2, name), more=True, document=document, seen=[*THREE, leaving])
        assert said.endswith("is already in use")


def test_an_unknown_name_is_refused_and_so_is_one_that_goes_already() -> None:
    leaving = local_api.view("S7", state=views.DRAINING)
    document = local_api.server_set(replicas=2, scaleDown={"victims": ["S3"]})
    for name in ("S9", "s1", "S7", "S3", ""):
        said = refusal(body(1, name), more=False, document=document, seen=[*THREE, leaving])
        assert said == f"<Error> Hostname '{name}' is not that of a server"


def test_a_victim_that_nobody_removes_may_be_named_again() -> None:
    document = local_api.server_set(scaleDown={"victims": ["S3"]})
    after = shrunk(document, body(1, "S3"))["spec"]
    assert (after["replicas"], after["scaleDown"]) == (2, {"victims": ["S3"]})


def test_the_name_of_one_that_is_leaving_is_free_in_a_moment() -> None:
    leaving = local_api.view("S7", state=views.DRAINING)
    wish = lab.parse(body(1, "S7"), more=True)
    with pytest.raises(lab.NotYetError):
        lab.added(local_api.server_set(), wish, [*THREE, leaving])
    assert lab.added(local_api.server_set(), wish, THREE)["spec"]["names"] == ["S7"]


def test_there_are_never_more_than_max_replicas_nor_fewer_than_none() -> None:
    document = local_api.server_set(maxReplicas=5)
    assert grown(document, body(2))["spec"]["replicas"] == 5
    assert "at most 5" in refusal(body(3), document=document, more=True)
    assert shrunk(document, body(3))["spec"]["replicas"] == 0
    assert "only 3" in refusal(body(4), document=document, more=False)


def test_add_asks_for_more_and_puts_names_behind_those_that_wait() -> None:
    before = local_api.server_set(names=["S8"])
    after = grown(before, body(4, "S5", "S4"))
    assert (after["spec"]["replicas"], after["spec"]["names"]) == (7, ["S8", "S5", "S4"])
    assert before == local_api.server_set(names=["S8"])
    assert grown(before, b'{"n": 1}')["spec"]["names"] == ["S8"]


def test_rm_names_victims_and_takes_back_names_that_wait() -> None:
    before = local_api.server_set(replicas=4, names=["S8"], scaleDown={"victims": ["S2"]})
    after = shrunk(before, body(3, "S1", "S8"))["spec"]
    assert (after["replicas"], after["names"]) == (1, [])
    assert after["scaleDown"] == {"victims": ["S2", "S1"]}


def test_names_are_shown_in_order_of_creation_and_only_those_in_the_ring() -> None:
    seen = [
        local_api.view("late", at=9),
        local_api.view("early", at=1),
        local_api.view("draining", state="draining"),
        local_api.view("absent", state="absent"),
        local_api.view("new", state=""),
    ]
    assert lab.answer(seen) == {
        "message": {"N": 2, "replicas": ["early", "late"]},
        "status": "successful",
    }


def test_an_add_is_done_when_its_names_and_its_count_are_in_the_ring() -> None:
    before = local_api.server_set()
    wish = lab.parse(body(2, "S5"), more=True)
    after = lab.added(before, wish, THREE)
    five, other = local_api.view("S5"), local_api.view("web-3-abcde")
    done = [
        lab.is_added(after, wish, seen, wanted=5)
        for seen in (THREE, [*THREE, five], [*THREE, other, other], [*THREE, five, other])
    ]
    assert done == [False, False, False, True]


def test_an_add_does_not_wait_for_what_was_taken_back_meanwhile() -> None:
    wish = lab.parse(body(2, "S5"), more=True)
    lowered = local_api.server_set(replicas=3)  # somebody removed two again, S5 among them
    assert lab.is_added(lowered, wish, THREE, wanted=5)


def test_a_rm_is_done_when_its_names_have_left_the_ring() -> None:
    wish = lab.parse(body(1, "S1"), more=False)
    after = lab.removed(local_api.server_set(), wish, THREE)
    draining = local_api.view("S1", state=views.DRAINING)
    assert not lab.is_removed(after, wish, THREE, wanted=2)
    assert not lab.is_removed(after, wish, THREE[:2], wanted=2)
    assert lab.is_removed(after, wish, [draining, *THREE[1:]], wanted=2)


def test_a_rm_is_done_when_another_went_and_its_name_is_no_victim_any_more() -> None:
    wish = lab.parse(body(1, "S3"), more=False)
    after = lab.removed(local_api.server_set(), wish, THREE)
    unready = local_api.view("S2", state="absent")
    consumed = local_api.server_set(replicas=2)
    others = [THREE[0], THREE[2]]
    assert not lab.is_removed(after, wish, [*others, unready], wanted=2)  # nobody has looked yet
    assert not lab.is_removed(after, wish, others, wanted=2)
    assert not lab.is_removed(consumed, wish, [*others, unready], wanted=2)
    assert lab.is_removed(consumed, wish, others, wanted=2)


def test_a_rm_does_not_wait_for_fewer_than_are_wanted_by_then() -> None:
    wish = lab.parse(body(1), more=False)
    grown_meanwhile = local_api.server_set(replicas=3)
    assert lab.is_removed(grown_meanwhile, wish, THREE, wanted=2)


def test_a_name_that_nobody_will_bear_since_the_set_was_scaled_down_is_told() -> None:
    wish = lab.parse(body(2, "S5", "S4"), more=True)

    def unused(replicas: int, *names: str, seen: list[views.ReplicaView] = THREE) -> str:
        document = local_api.server_set(replicas=replicas, names=list(names))
        return lab.unused(document, wish, seen, wanted=5)

    assert unused(5, "S5", "S4") == ""
    assert unused(3, "S5", "S4") == "S5"
    assert unused(4, "S5", "S4") == "S4"
    assert unused(4, "S8", "S5") == "S5"
    assert unused(3, "S8") == ""
    leaving = [*THREE[:2], local_api.view("S3", state=views.DRAINING)]
    assert unused(3, "S5", seen=leaving) == ""


def held_document(replicas: int, *, generation: int = 2, reason: str = "MoveHeld") -> Any:
    document = local_api.server_set(replicas=replicas)
    document["metadata"]["generation"] = 2
    fact = {"status": "False", "reason": reason, "message": "40 % of the keys"}
    fact["observedGeneration"] = generation
    document["status"] = {"conditions": [{"type": "BalancerSynced", **fact}]}
    return document


def test_what_is_held_back_is_told_once_the_operator_has_judged_this_very_wish() -> None:
    assert lab.held(held_document(5), THREE) == "40 % of the keys"
    assert lab.held(held_document(2), THREE) == "40 % of the keys"
    assert lab.held(held_document(5, generation=1), THREE) == ""
    assert lab.held(held_document(5, reason="PushFailed"), THREE) == ""
    assert lab.held(local_api.server_set(replicas=5), THREE) == ""


def test_a_hold_of_something_else_ends_no_wish_that_is_under_way() -> None:
    assert lab.held(held_document(3), THREE) == ""  # they exist, so the operator lets them


def test_partly_in_the_ring_is_neither_added_nor_removed() -> None:
    partly = dataclasses.replace(local_api.view("S5"), held=views.PARTLY)
    more, fewer = lab.parse(body(1, "S5"), more=True), lab.parse(body(1, "S5"), more=False)
    assert not lab.is_added(local_api.server_set(replicas=4), more, [*THREE, partly], wanted=4)
    assert not lab.is_removed(local_api.server_set(), fewer, [*THREE, partly], wanted=3)
