"""Who is in the ring, read from the memory of plans."""

from __future__ import annotations

from dataclasses import replace

import planning
from planning import NOW, V2
from ringmaster_operator import memory, observed


def states(value: memory.Memory) -> list[tuple[str, str, str]]:
    return [(m.id, m.replica, m.state) for m in value.members]


def three() -> list[observed.Replica]:
    return [planning.replica(o, created_at=NOW - 90 + o) for o in range(3)]


def hangs(replica: observed.Replica, *, seconds: float = 1.0) -> observed.Replica:
    return replace(replica, ready=False, ready_since=None, unready_since=NOW - seconds)


def test_members_are_listed_in_order_of_creation() -> None:
    replicas = [planning.replica(o, created_at=NOW - 90 - o) for o in range(3)]
    made = planning.decide(planning.server_set(), replicas)
    assert [m.id for m in made.memory.members] == ["web-2", "web-1", "web-0"]


def test_one_that_starts_has_its_place_but_no_requests() -> None:
    made = planning.decide(
        planning.server_set(2), [planning.replica(0), planning.unready(1, created_at=NOW)]
    )
    assert states(made.memory) == [("web-0", "r0-1", "active"), ("web-1", "r1-1", "absent")]


def test_a_place_without_a_replica_keeps_its_id() -> None:
    made = planning.decide(planning.server_set(1))
    (entry,) = made.memory.members
    assert (entry.id, entry.state, entry.address) == ("web-0", "absent", None)


def test_with_nobody_ready_the_last_set_stays() -> None:
    wanted, replicas = planning.server_set(), three()
    before = planning.at_rest(wanted, replicas)
    made = planning.decide(wanted, [hangs(r) for r in replicas], before=before)
    assert [state for _, _, state in states(made.memory)] == ["active"] * 3


def test_of_the_last_set_only_those_stay_that_live() -> None:
    wanted, replicas = planning.server_set(), three()
    before = planning.at_rest(wanted, replicas)
    dead = replace(hangs(replicas[0]), phase=observed.Phase.FAILED)
    made = planning.decide(wanted, [dead, *map(hangs, replicas[1:])], before=before)
    active = [name for _, name, state in states(made.memory) if state == "active"]
    assert active == ["r1-1", "r2-1"]


def test_the_last_set_goes_as_soon_as_somebody_is_ready() -> None:
    wanted, replicas = planning.server_set(), three()
    before = planning.at_rest(wanted, replicas)
    none = planning.decide(wanted, [hangs(r) for r in replicas], before=before).memory
    made = planning.decide(wanted, [*map(hangs, replicas[:2]), replicas[2]], before=none)
    assert [state for _, _, state in states(made.memory)] == ["absent", "absent", "active"]


def test_one_that_is_taken_away_by_others_drains_and_its_id_stays_in_the_table() -> None:
    wanted, replicas = planning.server_set(), three()
    before = planning.at_rest(wanted, replicas)
    going = replace(replicas[0], phase=observed.Phase.TERMINATING, ready=False)
    made = planning.decide(wanted, [going, *replicas[1:]], before=before)
    entries = [state for member, _, state in states(made.memory) if member == "web-0"]
    assert sorted(entries) == ["absent", "draining"]


def test_a_swap_is_one_document() -> None:
    replicas = three()
    before = planning.at_rest(planning.server_set(), replicas)
    wanted = planning.server_set(image="v2")
    begun = planning.decide(wanted, replicas, before=before).memory
    new = planning.replica(0, attempt=2, revision=V2, created_at=NOW)
    made = planning.decide(wanted, [*replicas, new], before=begun)
    entries = {name: state for member, name, state in states(made.memory) if member == "web-0"}
    assert entries == {"r0-1": "draining", "r0-2": "active"}


def test_one_that_was_never_in_the_ring_is_no_member_when_it_goes() -> None:
    replicas = [*three()[:2], planning.unready(2)]
    before = planning.at_rest(planning.server_set(), replicas)
    held = planning.balancer({"r2-1": "active"})  # says a balancer with an old membership
    made = planning.decide(planning.server_set(2), replicas, before=before, balancers=[held])
    assert [name for _, name, _ in states(made.memory)] == ["r0-1", "r1-1"]


def test_a_longer_min_ready_seconds_takes_nobody_out_of_the_ring() -> None:
    """Without the old hand the last set would stay anyway."""
    replicas = [planning.replica(0, ready_since=NOW - 900), *three()[1:]]
    before = planning.at_rest(planning.server_set(), replicas)
    slower = planning.server_set(minReadySeconds=300)
    made = planning.decide(slower, replicas, before=before)
    assert [state for _, _, state in states(made.memory)] == ["active"] * 3
    assert made.memory.members == before.members


def test_min_ready_seconds_gates_who_comes_new_and_who_comes_back() -> None:
    replicas = [planning.replica(0, ready_since=NOW - 900), *three()[1:]]
    slower = planning.server_set(minReadySeconds=300)
    before = planning.at_rest(planning.server_set(), replicas)
    new = planning.replica(1, attempt=2, ready_since=NOW - 5)
    made = planning.decide(slower, [replicas[0], new, hangs(replicas[2])], before=before)
    assert [state for _, _, state in sorted(states(made.memory))] == ["active", "absent", "absent"]
    later = planning.decide(slower, [replicas[0], new, replicas[2]], before=made.memory)
    assert [state for _, _, state in sorted(states(later.memory))] == ["active", "absent", "absent"]


def test_one_that_stays_in_the_ring_gives_way_to_an_available_successor() -> None:
    old = planning.replica(0, ready_since=NOW - 20)
    before = planning.at_rest(planning.server_set(1), [old])
    wanted = planning.server_set(1, image="v2", minReadySeconds=30)
    begun = planning.decide(wanted, [old], before=before).memory
    new = planning.replica(0, attempt=2, revision=V2, ready_since=NOW - 2)
    both = planning.decide(wanted, [old, new], before=begun)
    assert states(both.memory) == [("web-0", "r0-1", "active")]
    proven = replace(new, ready_since=NOW - 30)
    swapped = planning.decide(wanted, [old, proven], before=both.memory)
    entries = {name: state for _, name, state in states(swapped.memory)}
    assert entries == {"r0-1": "draining", "r0-2": "active"}
