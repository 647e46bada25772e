"""Changes of the ring that wait: on a small world with a virtual clock, and decision by decision."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import planning
import pytest
from ringmaster_operator import holding, memory, observed
from simulation import KEY, World

LIMIT = {"maxMovedPercent": 10}
OTHER = {"scheme": "maglev"}


def judgement(**fields: Any) -> observed.Judgement:
    return observed.Judgement(url="http://b", live=True, **fields)


def by_share(change: dict[str, Any]) -> observed.Judgement:
    """As hrw moves: what comes or goes of equal members, all of it for another scheme."""
    there, will = 3, len(change["members"])
    moved = abs(will - there) / max(will, there) if there else 0.0
    if change["ring"].get("scheme", "hrw") != "hrw":
        moved = 1 - 1 / there
    return judgement(moved=moved, requests=200, requests_moved=200 * moved)


def world(**ring: Any) -> World:
    """Three replicas that serve."""
    made = World(replicas=3, ring=ring)
    made.announcer.judgement = by_share
    made.run(15.0)
    made.records.events.clear()
    made.announcer.asked.clear()
    return made


def annotate(made: World, value: str) -> None:
    made.records.documents[KEY]["metadata"]["annotations"] = {"ringmaster.dev/allow-move": value}


def message(made: World) -> str:
    found = next(c for c in made.status["conditions"] if c["type"] == "BalancerSynced")
    return str(found["message"])


@pytest.mark.parametrize("replicas", [5, 2, 0])
def test_a_change_that_moves_too_much_is_held_with_its_numbers(replicas: int) -> None:
    made = world(**LIMIT)
    before = made.announcer.balancers[0].pair
    made.edit(replicas=replicas)
    made.run(30.0)
    assert len(made.runtime.living()) == len(made.ring()) == 3
    assert made.announcer.balancers[0].pair == before
    assert made.condition("BalancerSynced") == ("False", "MoveHeld")
    assert made.condition("Ready") == ("False", "MoveHeld")
    percent = {5: "40.0", 2: "33.3", 0: "100.0"}[replicas]
    assert f"would move {percent} % of the keys" in message(made)
    assert "maxMovedPercent 10: raise it" in message(made)
    assert made.records.reasons().count("MoveHeld") == 1  # one event, however long it waits


@pytest.mark.parametrize("allowed", ["annotation", "generation", "limit"])
def test_it_is_let_go_by_whoever_allows_it(allowed: str) -> None:
    made = world(**LIMIT)
    made.edit(replicas=5)
    made.run(5.0)
    match allowed:
        case "annotation":
            annotate(made, "true")
        case "generation":
            annotate(made, str(made.records.documents[KEY]["metadata"]["generation"]))
        case "limit":
            made.edit(ring={"maxMovedPercent": 50})
    made.run(20.0)
    assert len(made.ring()) == 5
    assert made.condition("Ready") == ("True", "AllReplicasServe")


def test_another_generations_permission_counts_no_more() -> None:
    made = world(**LIMIT)
    annotate(made, str(made.records.documents[KEY]["metadata"]["generation"]))
    made.edit(replicas=5)
    made.run(5.0)
    assert made.condition("Ready") == ("False", "MoveHeld")


def test_a_change_within_the_limit_is_made() -> None:
    made = world(maxMovedPercent=40)
    made.edit(replicas=2)
    made.run(20.0)
    assert len(made.ring()) == 2
    assert made.condition("Ready") == ("True", "AllReplicasServe")


@pytest.mark.parametrize("ring", [LIMIT, {}])
def test_the_dead_are_replaced_while_a_change_is_held(ring: dict[str, Any]) -> None:
    made = world(**ring)
    made.announcer.judgement = lambda change: (
        judgement(refused="HashRefused", message="87 of 512")
        if change["ring"]["hash"] == "m:f"
        else by_share(change)
    )
    made.edit(replicas=5 if ring else 3, ring={**ring, "hash": "m:f"})
    made.run(5.0)
    assert made.condition("Ready")[1] == "HashRefused"
    dead = made.ring()[1]
    made.runtime.kill(dead)
    made.run(5.0)
    assert dead not in made.ring()
    assert len(made.ring()) == 3
    (new,) = [name for name in made.ring() if name.startswith("emergency-")]
    pushed = made.announcer.balancers[0].document
    assert next(m["id"] for m in pushed["members"] if m["replica"] == new) == "web-1"
    assert pushed["ring"]["hash"] == "xxh3"


def test_a_hash_that_did_not_pass_leaves_the_ring_and_lets_members_come_and_go() -> None:
    made = world()
    made.announcer.judgement = lambda _change: judgement(
        refused="HashRefused", message="m:f did not pass the gate: reaches 87 of 512 slots"
    )
    made.edit(replicas=4, ring={"hash": "m:f"})
    made.run(20.0)
    assert made.condition("BalancerSynced") == ("False", "HashRefused")
    assert "reaches 87 of 512 slots" in message(made)
    assert len(made.ring()) == 4
    assert made.announcer.balancers[0].document["ring"]["hash"] == "xxh3"
    # It is mended: asked again within ten seconds, and taken.
    made.announcer.judgement = by_share
    made.run(12.0)
    assert made.announcer.balancers[0].document["ring"]["hash"] == "m:f"
    assert made.condition("Ready") == ("True", "AllReplicasServe")


def test_what_waits_is_remembered_by_the_next_operator() -> None:
    made = world(**LIMIT)
    made.edit(ring={**LIMIT, **OTHER})
    made.run(3.0)
    made.restart()
    made.run(12.0)
    assert made.condition("BalancerSynced") == ("False", "MoveHeld")
    assert made.announcer.balancers[0].document["ring"]["scheme"] == "hrw"


def test_settings_that_move_no_key_are_never_asked_about() -> None:
    made = world(**LIMIT)
    made.edit(ring={**LIMIT, "boundedLoad": 1.25})
    made.run(5.0)
    assert made.announcer.asked == []
    assert made.announcer.balancers[0].document["ring"]["boundedLoad"] == 1.25


def test_without_a_limit_members_come_and_go_unasked() -> None:
    made = world()
    made.edit(replicas=5)
    made.run(15.0)
    assert made.announcer.asked == []
    assert len(made.ring()) == 5


def test_the_first_ring_waits_for_nobody() -> None:
    made = World(replicas=3, ring={**LIMIT, "hash": "m:f"})
    made.announcer.judgement = by_share
    made.run(10.0)
    assert made.announcer.asked == []
    assert len(made.ring()) == 3


def test_a_change_of_the_ring_waits_for_a_balancer_that_can_judge_it() -> None:
    made = world()
    made.announcer.die(0)
    made.edit(ring=OTHER)
    made.run(5.0)
    assert made.condition("BalancerSynced") == ("False", "BalancerUnreachable")
    made.announcer.restart(0)
    made.run(8.0)
    assert made.announcer.balancers[0].document["ring"]["scheme"] == "maglev"


def test_with_no_balancer_at_all_nothing_is_held() -> None:
    made = World(replicas=3, balancers=0, ring=LIMIT)
    made.run(10.0)
    made.edit(replicas=5, ring={**LIMIT, **OTHER})
    made.run(10.0)
    assert len(made.runtime.living()) == 5


def test_a_trial_is_waited_for_without_an_event() -> None:
    made = world()
    made.announcer.judgement = lambda _change: judgement(refused="HashOnTrial", message="tried")
    made.edit(ring={"hash": "m:f"})
    result = made.step()
    assert result.requeue_after is not None
    assert result.requeue_after <= 0.5
    assert made.condition("BalancerSynced") == ("False", "HashOnTrial")
    assert "HashOnTrial" not in made.records.reasons()
    made.announcer.judgement = by_share
    made.run(2.0)
    assert made.announcer.balancers[0].document["ring"]["hash"] == "m:f"


def test_a_deletion_is_never_held() -> None:
    made = world(**LIMIT)
    made.edit(replicas=5)
    made.run(3.0)
    made.records.delete(*KEY)
    made.run(30.0)
    assert made.gone
    assert not made.runtime.living()


def decided(ask: Any, *, replicas: int = 3, **ring: Any) -> tuple[holding.Decision, list[Any]]:
    """A decision about three members under hrw with a limit of 10 %."""
    before = memory.Memory(
        ring={"scheme": "hrw", "maxMovedPercent": 10},
        members=tuple(
            memory.Member(f"web-{n}", f"r{n}", "active", None, f"u{n}", 0.0) for n in range(3)
        ),
    )
    wanted = planning.server_set(replicas, ring={"maxMovedPercent": 10, **ring})
    asked: list[Any] = []

    def recorded(change: dict[str, Any]) -> list[observed.Judgement]:
        asked.append(copy.deepcopy(change))
        return [ask(change)]

    def ids(server_set: Any) -> tuple[str, ...]:
        return tuple(f"web-{n}" for n in range(server_set.spec.replicas))

    return holding.decide(wanted, before, ids=ids, ask=recorded), asked


def test_of_two_changes_the_one_that_moves_little_is_made() -> None:
    def ask(change: dict[str, Any]) -> observed.Judgement:
        return judgement(moved=0.5 if change["ring"]["scheme"] == "maglev" else 0.01)

    made, asked = decided(ask, replicas=4, **OTHER)
    assert made.hold is not None
    assert (made.server_set.spec.ring.scheme, made.server_set.spec.replicas) == ("hrw", 4)
    assert [len(change["members"]) for change in asked] == [4, 4]

    def other(change: dict[str, Any]) -> observed.Judgement:
        return judgement(moved=0.5 if len(change["members"]) == 4 else 0.01)

    made, _ = decided(other, replicas=4, **OTHER)
    assert (made.server_set.spec.ring.scheme, made.server_set.spec.replicas) == ("maglev", 3)
    made, _ = decided(lambda _change: judgement(moved=0.5), replicas=4, **OTHER)
    assert (made.server_set.spec.ring.scheme, made.server_set.spec.replicas) == ("hrw", 3)


def test_an_expected_share_is_said_to_be_one() -> None:
    made, _ = decided(lambda _change: judgement(moved=0.6, exact=False), **OTHER)
    assert made.hold is not None
    assert "would move about 60.0 % of the keys, more than" in made.hold.message


def test_the_traffic_that_would_move_is_told() -> None:
    ask = judgement(moved=0.5, requests=1000, requests_moved=870.0)
    made, _ = decided(lambda _change: ask, **OTHER)
    assert made.hold is not None
    assert "50.0 % of the keys and 87% of the last five minutes' requests" in made.hold.message


def test_the_worst_of_several_balancers_counts_and_the_dead_have_no_say() -> None:
    before = memory.Memory(
        ring={"scheme": "hrw"},
        members=(memory.Member("web-0", "r0", "active", None, "u0", 0.0),),
    )
    wanted = planning.server_set(1, ring={**LIMIT, **OTHER})
    dead = replace(judgement(), live=False)

    def decide(*said: observed.Judgement) -> holding.Hold | None:
        return holding.decide(
            wanted, before, ids=lambda _set: ("web-0",), ask=lambda _change: said
        ).hold

    assert decide(judgement(moved=0.01), dead) is None
    assert decide(judgement(moved=0.01), judgement(moved=0.2)) is not None
    held = decide(judgement(), judgement(refused="Invalid", message="no"))
    assert held == holding.Hold("Invalid", "no")


def test_the_simulations_documents_are_what_the_judge_is_asked_about() -> None:
    made = world(**LIMIT)
    made.edit(replicas=4)
    made.step()
    (change,) = made.announcer.asked
    assert [member["id"] for member in change["members"]] == [f"web-{n}" for n in range(4)]
    assert change["ring"]["maxMovedPercent"] == 10
