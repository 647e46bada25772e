from __future__ import annotations

import copy

import planning
from planning import NOW
from ringmaster_operator import memory, observed
from ringmaster_operator.plan import world


def look(*replicas: observed.Replica, **fields: object) -> world.World:
    seen = observed.Observed(at=NOW, replicas=replicas, balancers=())
    return world.look(planning.server_set(**fields), seen, memory.Memory(), NOW)  # type: ignore[arg-type]


def test_available_is_ready_for_min_ready_seconds() -> None:
    young = planning.replica(0, ready_since=NOW - 4)
    assert look(young).available(young)
    assert not look(young, minReadySeconds=5).available(young)
    assert look(young, minReadySeconds=5).available_at(young) == NOW + 1
    assert look(young, minReadySeconds=4).available(young)


def test_without_an_address_nobody_is_available() -> None:
    hidden = planning.replica(0, address=None)
    assert not look(hidden).available(hidden)


def test_one_that_is_going_is_not_available_though_it_is_ready() -> None:
    going = planning.replica(0, phase=observed.Phase.TERMINATING)
    assert not look(going).available(going)


def test_sick_is_what_was_ready_once_and_is_unready_for_too_long() -> None:
    hanging = planning.unready(0, seconds=10)
    seen = observed.Observed(at=NOW, replicas=(hanging,))
    before = memory.Memory(proven=(hanging.uid,))
    there = world.look(planning.server_set(), seen, before, NOW)
    assert there.sick(hanging)
    assert not look(hanging).sick(hanging)


def test_a_start_gets_the_progress_deadline_and_at_least_what_its_own_probes_allow() -> None:
    starting = planning.unready(0, seconds=0)
    assert look(starting).sick_at(starting) == NOW + 600
    wanted = planning.server_set(progressDeadlineSeconds=50)
    template = copy.deepcopy(wanted.spec.template)
    container = template["spec"]["containers"][0]
    container["startupProbe"] = {"failureThreshold": 30, "periodSeconds": 2}
    container["readinessProbe"] = {"tcpSocket": {"port": 5000}, "initialDelaySeconds": 7}
    own = memory.Revision(hash=starting.revision, number=1, template=template)
    seen = observed.Observed(at=NOW, replicas=(starting,))
    there = world.look(wanted, seen, memory.Memory(revisions=(own,)), NOW)
    assert there.sick_at(starting) == NOW + 60 + 7
    assert world.look(wanted, seen, memory.Memory(), NOW).sick_at(starting) == NOW + 50


def test_one_whose_program_does_not_run_yet_is_never_sick() -> None:
    pulling = planning.unready(0, seconds=9_999, phase=observed.Phase.STARTING)
    assert not look(pulling).sick(pulling)


def test_what_a_lagging_worker_may_still_send_to_is_held_as_active() -> None:
    ours = planning.replica(0)
    for state, held in {"active": True, "unconfirmed": True, "draining": False}.items():
        balancer = planning.balancer({ours.display_name: state})
        seen = observed.Observed(at=NOW, replicas=(ours,), balancers=(balancer,))
        there = world.look(planning.server_set(), seen, memory.Memory(), NOW)
        assert there.held_active(ours) is held


def test_strangers_and_dead_balancers_are_left_out() -> None:
    ours, stranger = planning.replica(0), planning.replica(1, owner_uid="another")
    dead = observed.BalancerView(url="http://b", live=False)
    seen = observed.Observed(at=NOW, replicas=(ours, stranger), balancers=(dead,))
    there = world.look(planning.server_set(), seen, memory.Memory(), NOW)
    assert there.replicas == (ours,)
    assert there.balancers == ()


def test_who_was_ready_is_known_until_it_is_gone() -> None:
    ours = planning.replica(0, uid="a")
    seen = observed.Observed(at=NOW, replicas=(ours,))
    before = memory.Memory(proven=("b",))
    assert world.look(planning.server_set(), seen, before, NOW).proven == {"a"}
