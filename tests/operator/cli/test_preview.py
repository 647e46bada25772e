"""What a plan asks about, and how its answer reads."""

from __future__ import annotations

from typing import Any

import planning
import pytest
import serversets
import simulation
from ringmaster_operator import applying, errors
from ringmaster_operator.api import views
from ringmaster_operator.cli import preview


def held(*ordinals: int, **states: str) -> dict[str, Any]:
    entries = [
        {"id": f"web-{n}", "replica": f"web-{n}-x", "state": "active", "weight": 100}
        for n in ordinals
    ]
    entries += [
        {"id": name.replace("_", "-"), "replica": name, "state": state, "weight": 100}
        for name, state in states.items()
    ]
    return {"members": entries}


def document(replicas: int | None = 3, **fields: Any) -> dict[str, Any]:
    made = simulation.document(replicas or 0, **fields)
    if replicas is None:
        del made["spec"]["replicas"]
    return made


def ids(made: preview.Preview) -> list[str]:
    return [member["id"] for member in made.change["members"]]


def test_new_members_take_the_lowest_free_places() -> None:
    made = preview.of(document(5), held(0, 2, 3))
    assert ids(made) == ["web-0", "web-2", "web-3", "web-1", "web-4"]
    assert (made.come, made.go) == (("web-1", "web-4"), ())


def test_members_go_from_the_highest_ordinal_down_victims_first() -> None:
    assert preview.of(document(2), held(0, 1, 2, 10)).go == ("web-10", "web-2")
    down = {"victims": ["web-0-x"]}
    made = preview.of(document(2, scaleDown=down), held(0, 1, 2, 10))
    assert made.go == ("web-0", "web-10")


def seen(ordinal: int, *, state: str = "active", **values: Any) -> views.ReplicaView:
    """A replica of `held`, as the operator shows it."""
    return views.ReplicaView(planning.replica(ordinal, name=f"web-{ordinal}-x", **values), state)


def gone(*views_: views.ReplicaView, replicas: int = 2, **fields: Any) -> tuple[str, ...]:
    made = preview.of(document(replicas, **fields), held(0, 1, 2), views_)
    assert not made.guessed
    return made.go


def test_who_goes_is_what_the_operator_would_choose() -> None:
    now = planning.NOW
    assert gone(seen(0), seen(1), seen(2)) == ("web-2",)
    assert gone(seen(0), seen(1, ready_since=now - 5), seen(2)) == ("web-1",)
    assert gone(seen(0), seen(1, restarts=3), seen(2)) == ("web-1",)
    assert gone(seen(0, deletion_cost=-1), seen(1), seen(2)) == ("web-0",)
    assert gone(seen(0, state="absent"), seen(1), seen(2)) == ("web-0",)
    assert gone(seen(0), seen(1), seen(2), scaleDown={"victims": ["web-1-x"]}) == ("web-1",)


def test_a_place_stands_by_the_best_of_its_replicas() -> None:
    old = seen(1)
    starting = views.ReplicaView(planning.unready(1, attempt=2, member_id="web-1"))
    assert gone(seen(0), old, starting, seen(2)) == ("web-2",)
    dead = views.ReplicaView(planning.failed(0, attempt=2, member_id="web-0", name="web-0-x"))
    assert gone(dead, seen(1), seen(2)) == ("web-0",)


def test_without_the_operators_word_it_is_a_guess() -> None:
    assert preview.of(document(2), held(0, 1, 2)).guessed
    assert preview.of(document(2), held(0, 1, 2), [seen(0)]).guessed  # of another world
    assert not preview.of(document(4), held(0, 1, 2)).guessed
    assert preview.of(document(2), held(1, 2, web_0="absent")).go == ("web-0",)


def test_a_guess_is_not_called_exact() -> None:
    made = preview.of(document(2), held(0, 1, 2))
    text = preview.text(TOLD, made)
    assert "its choice may differ" in text
    assert "exact" not in text


def test_a_manifest_that_names_no_number_keeps_the_one_there_is() -> None:
    assert ids(preview.of(document(None), held(0, 1, 2, 3))) == [f"web-{n}" for n in range(4)]
    assert ids(preview.of(document(None), held())) == ["web-0"]


def live(replicas: int = 4, *, applied: dict[str, Any] | None = None, **fields: Any) -> Any:
    """What the operator has, and the manifest that was applied last."""
    made = applying.stamped(applied or document(None))
    made["metadata"] |= {"generation": 6, "uid": "uid-1"}
    made["spec"] |= {"replicas": replicas, **fields}
    return made


def test_what_the_manifest_never_named_stays_as_it_is() -> None:
    there = live(ring={"scheme": "maglev"}, scaleDown={"victims": ["web-0-x"]})
    made = preview.of(document(2), held(0, 1, 2, 3), live=there)
    assert made.change["ring"]["scheme"] == "maglev"
    assert made.go == ("web-0", "web-3")
    assert ids(preview.of(document(None), held(0, 1), live=there))[2:] == ["web-2", "web-3"]
    made = preview.of(document(4, ring={"hash": "md5"}), held(0), live=there)
    assert (made.change["ring"]["scheme"], made.change["ring"]["hash"]) == ("maglev", "md5")


def test_what_the_manifest_names_no_more_is_the_default_again() -> None:
    there = live(applied=document(4, ring={"scheme": "maglev"}))
    assert preview.of(document(4), held(0), live=there).change["ring"]["scheme"] == "hrw"
    assert ids(preview.of(document(None), held(0, 1), live=there)) == ["web-0"]


def test_what_apply_would_be_refused_for_is_refused() -> None:
    there = live(ring={"slots": 512})
    with pytest.raises(errors.SpecInvalidError, match="a prime for maglev, not 512"):
        preview.of(document(4, ring={"scheme": "maglev"}), held(0), live=there)


def test_draining_members_are_gone_already_and_absent_ones_are_there() -> None:
    made = preview.of(document(2), held(0, web_1="absent", web_2="draining"))
    assert ids(made) == ["web-0", "web-1"]


def test_the_ring_is_that_of_the_manifest_and_weights_are_kept() -> None:
    current = held(0)
    current["members"][0]["weight"] = 250
    made = preview.of(document(2, ring={"scheme": "maglev"}), current)
    assert made.change["ring"]["scheme"] == "maglev"
    assert [member["weight"] for member in made.change["members"]] == [250, 100]


def test_a_wrong_manifest_is_refused_with_every_fault() -> None:
    with pytest.raises(errors.SpecInvalidError):
        preview.of(serversets.changed(("spec.replicas", -1)), held(0))


SIDE = {"scheme": "hrw", "hash": "xxh3", "slots": 65_536}
TOLD: dict[str, Any] = {
    "exact": True,
    "moved": 0.2475,
    "needless": 0.0,
    "ring": {"before": {**SIDE, "members": 3}, "after": {**SIDE, "members": 4}},
    "members": [
        {"id": "web-0", "before": 0.33, "after": 0.25},
        {"id": "web-3", "before": 0.0, "after": 0.2475},
    ],
    "moves": [{"from": "web-0", "to": "web-3", "share": 0.08}],
    "traffic": {"seconds": 300.0, "requests": 12_000, "moved": 3_000.4, "needless": 0.0},
}


def told(limit: float | None = None, there: Any = None, **fields: Any) -> str:
    ring = {} if limit is None else {"ring": {"maxMovedPercent": limit}}
    made = preview.of(document(4, **ring), held(0, 1, 2), live=there)
    return preview.text({**TOLD, **fields}, made)


def test_a_plan_reads_as_a_few_lines_and_two_tables() -> None:
    lines = told().splitlines()
    assert lines[:3] == [
        "3 → 4 members, web-3 comes",
        "moves 24.75 % of the key space, 0.00 % needlessly (exact: both rings share a hash)",
        "of 12,000 requests in the last 300 s, 3,000 (25.00 %) would have met another member",
    ]
    assert "web-3    0.00 %    24.75 %   +24.75" in lines
    assert "web-0   web-3   8.00 %" in lines


def test_what_is_expected_is_not_told_as_known() -> None:
    after = {**SIDE, "members": 4, "hash": "md5"}
    text = told(exact=False, ring={"before": {**SIDE, "members": 3}, "after": after})
    assert "hash xxh3 → md5" in text
    assert "moves about 24.75 % of the key space, about 0.00 % needlessly (expected:" in text
    assert "about 3,000 (25.00 %)" in text


def test_a_change_that_would_be_held_says_so_and_how_to_let_it_go() -> None:
    assert "would be held back: maxMovedPercent is 10" in told(limit=10)
    assert "allow-move=<its generation by then>" in told(limit=10)
    assert "held" not in told(limit=25)


def test_the_advice_allows_this_change_alone() -> None:
    limit = {"maxMovedPercent": 10}
    assert "ringmaster.dev/allow-move=7\n" in told(limit=10, there=live(3))
    applied = live(applied=document(4, ring=limit), ring=limit)  # and held back ever since
    assert "ringmaster.dev/allow-move=6\n" in told(limit=10, there=applied)


@pytest.mark.parametrize(
    ("allowed", "holds"), [("true", False), ("7", False), ("6", True), (None, True)]
)
def test_what_the_live_set_allows_is_not_held_back(allowed, holds) -> None:
    there = live(3, ring={"maxMovedPercent": 10})
    if allowed:
        there["metadata"]["annotations"]["ringmaster.dev/allow-move"] = allowed
    assert ("would be held back" in told(there=there)) is holds


def test_nothing_counted_and_nothing_moved_are_said() -> None:
    assert "no request was counted" in told(traffic={"seconds": 5.0, "requests": 0, "moved": 0})
    assert "nothing moves" in told(moves=[])
    assert "requests" not in told(traffic=None)


def test_a_first_ring_takes_no_key_from_anybody() -> None:
    before = {**SIDE, "members": 0}
    text = told(
        limit=10, moved=0.0, ring={"before": before, "after": {**SIDE, "members": 3}},
        moves=[{"from": None, "to": "web-0", "share": 0.33}],
        traffic={"seconds": 300.0, "requests": 16, "moved": 0.0, "needless": 0.0},
    )  # fmt: skip
    assert text.splitlines()[1] == "first ring: no key had a member"
    assert "<nobody>   web-0   33.00 %" in text
    for word in ("moves 0", "requests", "held"):
        assert word not in text


def test_long_lists_are_cut_and_it_is_said() -> None:
    many = [{"id": f"web-{n}", "before": 0.01, "after": 0.0} for n in range(100)]
    assert "… and 80 more members (-o json lists all)" in told(members=many)
