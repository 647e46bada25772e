from __future__ import annotations

from typing import Any

import planning
import pytest
from planning import NOW, V1, V2
from ringmaster_operator import memory, observed, plan
from ringmaster_operator.plan import actions, births


def born(made: plan.Plan) -> list[observed.Birth]:
    return [a.birth for stage in made.stages for a in stage if isinstance(a, actions.Create)]


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        (0, []),
        (1, [1]),
        (2, [1, 1]),
        (7, [1, 2, 4]),
        (16, [1, 2, 4, 8, 1]),
        (24, [1, 2, 4, 8, 8, 1]),
    ],
)
def test_a_slow_start_doubles_up_to_eight(count: int, sizes: list[int]) -> None:
    items: list[Any] = [actions.Wait("x", "y")] * count
    assert [len(stage) for stage in births.stages(items)] == sizes


def test_a_birth_has_all_that_a_runtime_needs() -> None:
    wanted = planning.server_set(1)
    (birth,) = born(planning.decide(wanted))
    assert birth.owner == observed.Owner("default", "web", planning.UID)
    assert (birth.member_id, birth.ordinal, birth.attempt) == ("web-0", 0, 1)
    assert birth.name == birth.display_name
    assert birth.name.startswith("web-0-")
    assert (birth.revision, birth.template) == (V1, wanted.spec.template)


def test_a_create_that_may_have_worked_is_repeated_under_its_own_name_after_a_moment() -> None:
    wanted = planning.server_set(1)
    first = planning.decide(wanted)
    places = {0: memory.Place(tried_at=NOW)}
    before = memory.Memory(places=places, revisions=first.memory.revisions)
    soon = planning.decide(wanted, before=before, now=NOW + 0.5)
    assert planning.lines(soon) == ["wait web-0: just created, not seen yet"]
    later = planning.decide(wanted, before=before, now=NOW + 1)
    assert born(later)[0].name == born(first)[0].name


def test_what_may_exist_unseen_leaves_no_room_for_another() -> None:
    """A rollout's successor was tried; the next place has to wait for it."""
    replicas = [planning.replica(o) for o in range(3)]
    before = planning.at_rest(planning.server_set(), replicas)
    wanted = planning.server_set(image="v2")
    begun = planning.decide(wanted, replicas, before=before).memory
    places = begun.places | {
        0: memory.Place(attempt=2, tried_at=NOW, reason=observed.Reason.ROLLOUT)
    }
    tried = memory.Memory(places=places, revisions=begun.revisions, current=V1)
    assert born(planning.decide(wanted, replicas, before=tried)) == []
    again = planning.decide(wanted, replicas, before=tried, now=NOW + 2)
    assert [b.member_id for b in born(again)] == ["web-0"]


def test_empty_places_are_served_before_successors() -> None:
    replicas = [planning.replica(o) for o in range(3)]
    before = planning.at_rest(planning.server_set(), replicas)
    wanted = planning.server_set(image="v2")
    made = planning.decide(wanted, replicas[:2], before=before)
    assert [b.member_id for b in born(made)] == ["web-2", "web-0"]


def test_once_the_new_template_is_proven_replacements_run_it() -> None:
    replicas = [planning.replica(0, attempt=2, revision=V2), *map(planning.replica, (1, 2))]
    before = planning.at_rest(planning.server_set(), list(map(planning.replica, range(3))))
    made = planning.decide(planning.server_set(image="v2"), replicas[:2], before=before)
    assert {b.member_id: b.revision for b in born(made)}["web-2"] == V2


@pytest.mark.parametrize("phase", [observed.Phase.RUNNING, observed.Phase.TERMINATING])
def test_recreate_waits_for_the_old_one_of_a_closed_place_too(phase: observed.Phase) -> None:
    """The same edit scaled down: what it sent away is of the old template all the same."""
    recreate = {"type": "Recreate"}
    replicas = list(map(planning.replica, range(3)))
    before = planning.at_rest(planning.server_set(strategy=recreate), replicas)
    wanted = planning.server_set(2, image="v2", strategy=recreate)
    begun = planning.decide(wanted, replicas, before=before).memory
    (closed,) = (r for r in replicas if not begun.places[r.ordinal].wanted)
    going = planning.replica(closed.ordinal, uid=closed.uid, phase=phase)
    made = planning.decide(wanted, [going], before=begun)
    assert born(made) == []
    assert "wait the new replicas: the old ones are not all gone" in planning.lines(made)
    gone = planning.decide(wanted, [planning.failed(closed.ordinal)], before=begun)
    assert [b.revision for b in born(gone)] == [V2, V2]
