from __future__ import annotations

from dataclasses import replace

import planning
import pytest
from planning import NOW
from ringmaster_operator import memory, observed, plan
from ringmaster_operator.plan import actions


def closing(
    *views: observed.BalancerView, before: memory.Memory | None = None, now: float = NOW
) -> plan.Plan:
    """One of one replica is no longer wanted."""
    replicas = [planning.replica(0, uid="u")]
    before = before or planning.at_rest(planning.server_set(1), replicas)
    return planning.decide(
        planning.server_set(0, drainSeconds=5), replicas, before=before, balancers=views, now=now
    )


def removed(made: plan.Plan) -> bool:
    return "remove r0-1: 0 wanted" in planning.lines(made)


ACTIVE = planning.balancer({"r0-1": "active"})
BUSY = planning.balancer({"r0-1": "draining"}, in_flight=2)
IDLE = planning.balancer({"r0-1": "draining"})


def test_one_balancer_that_has_not_let_go_is_enough_to_wait() -> None:
    assert not removed(closing(IDLE, ACTIVE))
    assert not removed(closing(ACTIVE, before=closing(ACTIVE).memory, now=NOW + 999))


def test_one_balancer_with_requests_in_flight_is_enough_to_wait() -> None:
    assert not removed(closing(IDLE, BUSY))
    assert removed(closing(IDLE, IDLE))


def test_the_drain_seconds_begin_when_the_last_balancer_has_let_go() -> None:
    begun = closing(ACTIVE).memory
    released = closing(BUSY, before=begun, now=NOW + 60)
    assert not removed(released)
    assert not removed(closing(BUSY, before=released.memory, now=NOW + 64.9))
    assert removed(closing(BUSY, before=released.memory, now=NOW + 65))


def test_a_balancer_that_comes_back_with_an_old_ring_begins_the_drain_anew() -> None:
    released = closing(BUSY).memory
    back = closing(BUSY, ACTIVE, before=released, now=NOW + 9)
    assert not removed(back)
    assert back.memory.drains["u"].released_at is None


def test_a_dead_balancer_is_not_waited_for() -> None:
    assert removed(closing(replace(ACTIVE, live=False)))


def test_a_live_balancer_that_does_not_say_what_it_holds_is_waited_for() -> None:
    silent = replace(planning.balancer(), known=False, message="refuses the token (401)")
    begun = closing(silent)
    assert planning.lines(begun) == [
        "drain r0-1: 0 wanted",
        "wait r0-1: a balancer does not say what it holds (http://b:5001: refuses the token (401))",
    ]
    assert not removed(closing(silent, before=begun.memory, now=NOW + 999))
    assert removed(closing(IDLE, before=begun.memory, now=NOW + 999))


def test_the_plan_asks_again_soon_and_at_the_end_of_the_drain() -> None:
    assert closing(BUSY).requeue_after == pytest.approx(0.2)
    begun = closing(BUSY).memory
    assert round(closing(BUSY, before=begun, now=NOW + 4.9).requeue_after or 0, 3) == 0.1


def test_the_grace_is_the_templates_and_a_dead_one_needs_none() -> None:
    wanted = planning.server_set(1)
    replicas = [planning.replica(0)]
    before = planning.at_rest(wanted, replicas)
    (stage,) = planning.decide(planning.server_set(0), replicas, before=before).stages
    assert [a.grace_seconds for a in stage if isinstance(a, actions.Remove)] == [30.0]
    wanted.spec.template["spec"]["terminationGracePeriodSeconds"] = 7
    graceful = planning.replica(0, revision=planning.naming.template_hash(wanted.spec.template))
    before = planning.at_rest(wanted, [graceful])
    (stage,) = planning.decide(planning.server_set(0), [graceful], before=before).stages
    assert [a.grace_seconds for a in stage if isinstance(a, actions.Remove)] == [7.0]
    (stage,) = planning.decide(planning.server_set(0), [planning.failed(0)]).stages
    assert [a.grace_seconds for a in stage if isinstance(a, actions.Remove)] == [0.0]


def test_what_is_being_deleted_already_is_left_alone() -> None:
    going = planning.replica(0, phase=observed.Phase.TERMINATING)
    assert str(planning.decide(planning.server_set(0), [going])) == ""
