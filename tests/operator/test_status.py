from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import planning
from planning import NOW, V1, V2
from ringmaster_operator import holding, memory, observed, status

THREE = tuple(planning.replica(o) for o in range(3))


def report(
    *replicas: observed.Replica,
    views: tuple[observed.BalancerView, ...] = (),
    before: dict[str, Any] | None = None,
    **fields: Any,
) -> status.Report:
    """The status of replicas that have been there for long."""
    wanted = planning.server_set(**fields)
    value = planning.decide(wanted, replicas).memory
    made = planning.decide(wanted, replicas, before=value)
    stamped = status.stamp(wanted, made.memory, target=made.target, epoch=9)
    views = tuple(replace(view, epoch=9, generation=1) for view in views)
    return status.Report(
        server_set=wanted,
        seen=observed.Observed(at=NOW, replicas=replicas, balancers=views),
        memory=stamped,
        target=made.target,
        now=NOW,
        before=before or {},
    )


def conditions(made: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in made["conditions"]}


HELD = planning.balancer({f"r{o}-1": "active" for o in range(3)})


def test_the_counts_are_those_of_living_replicas() -> None:
    old = planning.unready(2, revision=V2)
    dead = planning.failed(1, attempt=0, name="dead")
    made = status.calculate(report(*THREE[:2], old, dead, views=(HELD,)))
    counts = {k: v for k, v in made.items() if k != "conditions"}
    assert counts == {
        "observedGeneration": 1,
        "replicas": 3,
        "readyReplicas": 2,
        "availableReplicas": 2,
        "updatedReplicas": 2,
        "inRing": 2,
        "selector": "app=web",
        "updateRevision": V1,
    }


def test_all_is_well() -> None:
    assert conditions(status.calculate(report(*THREE, views=(HELD,)))) == {
        "Ready": ("True", "AllReplicasServe"),
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "RolloutComplete"),
        "ReplicaFailure": ("False", "NoFailure"),
        "BalancerSynced": ("True", "Synced"),
    }


def test_too_few_are_available() -> None:
    made = conditions(status.calculate(report(*THREE[:2], views=(HELD,))))
    assert made["Ready"] == ("False", "ReplicasNotAvailable")
    assert made["Available"] == ("False", "MinimumReplicasUnavailable")


def test_ready_is_in_every_live_balancers_ring() -> None:
    elsewhere = planning.balancer({"r0-1": "active"})
    made = status.calculate(report(*THREE, views=(HELD, elsewhere)))
    assert made["inRing"] == 1
    assert conditions(made)["Ready"] == ("False", "NotInRing")


def test_one_dead_balancer_beside_a_live_one_is_told_and_no_obstacle() -> None:
    dead = observed.BalancerView(url="http://gone", live=False)
    base = report(*THREE, views=(HELD,))
    seen = replace(base.seen, balancers=(*base.seen.balancers, dead))
    made = conditions(status.calculate(replace(base, seen=seen)))
    assert made["Ready"] == ("True", "AllReplicasServe")
    assert made["BalancerSynced"] == ("False", "BalancerUnreachable")
    alone = replace(base, seen=replace(seen, balancers=(dead,)))
    assert conditions(status.calculate(alone))["Ready"] == ("False", "BalancerUnreachable")


def test_no_balancer_is_said_and_an_obstacle_if_one_was_named() -> None:
    alone = report(*THREE)
    made = conditions(status.calculate(alone))
    assert made["BalancerSynced"] == ("False", "NoBalancer")
    assert made["Ready"] == ("True", "AllReplicasServe")
    named = replace(alone, seen=replace(alone.seen, missing="no pod with app=lb runs"))
    made = conditions(status.calculate(named))
    assert made["BalancerSynced"] == made["Ready"] == ("False", "NoBalancer")


def test_a_balancer_that_is_behind_is_named_with_what_it_said() -> None:
    behind = replace(HELD, message="503 no worker", url="http://late:5001")
    base = report(*THREE)
    seen = replace(base.seen, balancers=(behind,))
    (synced,) = [
        c
        for c in status.calculate(replace(base, seen=seen))["conditions"]
        if c["type"] == "BalancerSynced"
    ]
    assert synced["message"] == "http://late:5001 refuses it: 503 no worker"


def test_a_balancer_that_serves_another_set_of_this_name_is_said_to() -> None:
    theirs = observed.BalancerView(url="http://b", live=True, holder="u-2", message="409")
    base = report(*THREE)
    made = status.calculate(replace(base, seen=replace(base.seen, balancers=(theirs,))))
    (synced,) = [c for c in made["conditions"] if c["type"] == "BalancerSynced"]
    assert (synced["status"], synced["reason"]) == ("False", "OtherHolder")
    assert "another ServerSet of this name (UID u-2)" in synced["message"]
    assert conditions(made)["Ready"] == ("False", "OtherHolder")


def test_a_hash_that_did_not_pass_is_the_reason_when_there_is_no_ring_to_stay_with() -> None:
    refusing = replace(HELD, refused="HashRefused", message="refuses (422): 87 of 512 slots")
    base = report(*THREE)
    seen = replace(base.seen, balancers=(replace(refusing, epoch=1, generation=0),))
    made = status.calculate(replace(base, seen=seen))
    (synced,) = [c for c in made["conditions"] if c["type"] == "BalancerSynced"]
    assert (synced["status"], synced["reason"]) == ("False", "HashRefused")
    assert "87 of 512 slots" in synced["message"]


def test_a_change_that_is_held_back_is_the_reason_for_both_conditions() -> None:
    hold = holding.Hold("MoveHeld", "would move 40 %")
    made = status.calculate(replace(report(*THREE, views=(HELD,)), hold=hold))
    assert conditions(made)["BalancerSynced"] == ("False", "MoveHeld")
    assert conditions(made)["Ready"] == ("False", "MoveHeld")
    assert conditions(made)["Available"][0] == "True"


def test_what_a_dead_balancer_failed_with_is_left_out_since_it_varies() -> None:
    dead = observed.BalancerView(url="http://b", live=False, message="socket 0x7f")
    made = status.calculate(report(*THREE, views=(dead,)))
    (synced,) = [c for c in made["conditions"] if c["type"] == "BalancerSynced"]
    assert (synced["reason"], synced["message"]) == (
        "BalancerUnreachable",
        "http://b does not answer",
    )


def test_calculating_twice_changes_nothing_and_foreign_conditions_stay() -> None:
    foreign = {"type": "Cost", "status": "True"}
    once = status.calculate(report(*THREE, before={"conditions": [foreign], "mine": 1}))
    assert foreign in once["conditions"]
    assert once["mine"] == 1
    later = replace(report(*THREE, before=once), now=NOW + 99)
    assert status.calculate(later) == once


def test_the_last_failed_create_is_told() -> None:
    base = report(*THREE)
    value = replace(base.memory, failure=("Quota", "no more"))
    made = conditions(status.calculate(replace(base, memory=value)))
    assert made["ReplicaFailure"] == ("True", "Quota")


def test_a_status_is_plain_json() -> None:
    made = status.calculate(report(*THREE, views=(HELD,)))
    assert json.loads(json.dumps(made)) == made


def test_the_membership_is_the_wires_document() -> None:
    wanted = planning.server_set()
    base = report(*THREE)
    made = status.membership(wanted, base.memory, target=V1)
    assert (made["epoch"], made["generation"], made["uid"], made["replicas"]) == (
        9,
        1,
        planning.UID,
        3,
    )
    assert made["members"][0] == {
        "id": "web-0",
        "replica": "r0-1",
        "address": "127.0.0.1:9000",
        "state": "active",
        "weight": 100,
    }
    assert set(made["health"]) == {"path", "intervalSeconds", "timeoutSeconds", "fall", "rise"}


def test_the_generation_rises_with_the_content_and_only_then() -> None:
    wanted, value = planning.server_set(), report(*THREE).memory

    def stamp(server_set: Any, before: memory.Memory, *, epoch: int = 9, known: int = 0) -> int:
        return status.stamp(server_set, before, target=V1, epoch=epoch, known=known).generation

    assert stamp(wanted, value) == 1
    assert stamp(wanted, value, epoch=10) == 1
    assert stamp(wanted, replace(value, members=value.members[1:])) == 2
    assert stamp(planning.server_set(ring={"scheme": "classic"}), value) == 2
    assert stamp(wanted, value, known=5) == 6


def test_a_document_that_cannot_be_acted_on_only_loses_its_readiness() -> None:
    base = status.calculate(report(*THREE, views=(HELD,)))
    document = {"metadata": {"generation": 4}, "status": base}
    made = status.refused(document, reason="InvalidSpec", message="spec.x: no", now=NOW)
    assert conditions(made)["Ready"] == ("False", "InvalidSpec")
    assert {k: v for k, v in made.items() if k != "conditions"} == {
        k: v for k, v in base.items() if k != "conditions"
    } | {"observedGeneration": 4}
    assert len(made["conditions"]) == 5
