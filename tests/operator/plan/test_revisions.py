from __future__ import annotations

from dataclasses import replace

import planning
import pytest
import simulation
from planning import NOW, V1, V2, V3
from ringmaster_operator import memory
from ringmaster_operator.plan import revisions


def hashes(value: memory.Memory) -> list[str]:
    return [r.hash for r in sorted(value.revisions, key=lambda r: r.number)]


def test_a_template_is_recorded_once_and_is_the_newest_when_it_comes_back() -> None:
    value = planning.decide(planning.server_set(0)).memory
    value = planning.decide(planning.server_set(0), before=value).memory
    assert [r.number for r in value.revisions] == [1]
    value = planning.decide(planning.server_set(0, image="v2"), before=value).memory
    value = planning.decide(planning.server_set(0), before=value).memory
    assert hashes(value) == [V2, V1]


def test_a_corrected_template_is_tried_without_the_backoff_of_the_one_before() -> None:
    value = planning.decide(planning.server_set(1)).memory
    refused = replace(value.places[0], failures=7, not_before=NOW + 60)
    value = replace(value, places={0: refused})
    again = planning.decide(planning.server_set(1), before=value)
    corrected = planning.decide(planning.server_set(1, image="v2"), before=value)
    assert again.memory.places[0].not_before == NOW + 60
    assert corrected.memory.places[0].not_before == 0
    assert len(corrected.stages) == 1


def test_only_so_many_old_templates_are_kept() -> None:
    value = memory.Memory()
    for number in range(9):
        wanted = planning.server_set(0, image=f"v{number}", revisionHistoryLimit=2)
        value = planning.decide(wanted, before=value).memory
    # The two newest old ones, besides the target and the one that is current.
    assert 3 <= len(value.revisions) <= 4
    assert max(r.number for r in value.revisions) == 9


def test_what_runs_is_kept_whatever_the_limit() -> None:
    replicas = [planning.replica(0)]
    value = planning.at_rest(planning.server_set(1), replicas)
    for image in ("v2", "v3"):
        wanted = planning.server_set(1, image=image, revisionHistoryLimit=0)
        value = planning.decide(wanted, replicas, before=value).memory
    assert hashes(value) == [V1, V3]


def test_a_rollout_is_complete_when_every_place_has_the_new_template_and_nothing_else() -> None:
    old, new = planning.replica(0), planning.replica(0, attempt=2, revision=V2)
    value = planning.at_rest(planning.server_set(1), [old])
    wanted = planning.server_set(1, image="v2")
    both = planning.decide(wanted, [old, new], before=value).memory
    assert both.current == V1
    assert planning.decide(wanted, [new], before=both).memory.current == V2


def test_progress_is_what_was_never_reached_before() -> None:
    def progressed_at(best: memory.Progress) -> float:
        before = memory.Memory(
            current=V1,
            progress=best,
            places={0: memory.Place(attempt=2, due=False, seen=True)},
            revisions=(memory.Revision(V1, 1, simulation.template()),),
        )
        starting = planning.unready(0, attempt=2, revision=V2)
        wanted = planning.server_set(1, image="v2")
        return planning.decide(wanted, [starting], before=before).memory.progress.at

    reached = memory.Progress(target=V2, updated=1, available=1, old=0, at=NOW - 99)
    assert progressed_at(reached) == NOW - 99
    assert progressed_at(replace(reached, updated=0)) == NOW
    assert progressed_at(replace(reached, old=1)) == NOW
    assert progressed_at(replace(reached, target=V3)) == NOW


def test_stalled_is_no_progress_for_the_deadline() -> None:
    progress = memory.Progress(target=V2, at=NOW)
    assert not revisions.stalled(progress, target=V2, current=V1, deadline=10, now=NOW + 9)
    assert revisions.stalled(progress, target=V2, current=V1, deadline=10, now=NOW + 10)
    assert not revisions.stalled(progress, target=V2, current=V2, deadline=10, now=NOW + 10)


def test_a_first_rollout_has_nothing_to_go_back_to() -> None:
    world = simulation.World(
        image="broken", progressDeadlineSeconds=5, strategy={"onFailure": "Rollback"}
    )
    world.run(20.0)
    assert world.condition("Progressing") == ("False", "ProgressDeadlineExceeded")


@pytest.mark.parametrize("failing", ["Pause", "Rollback"])
def test_a_template_that_comes_back_has_its_whole_deadline_again(failing: str) -> None:
    world = simulation.World(progressDeadlineSeconds=5, strategy={"onFailure": failing})
    world.run(4.0)
    world.edit(template=simulation.template("broken"))
    world.run(8.0)
    world.edit(template=simulation.template())
    world.run(20.0)
    assert world.condition("Progressing") == ("True", "RolloutComplete")
    world.edit(template=simulation.template("broken"))
    world.run(4.0)
    assert world.condition("Progressing") == ("True", "RolloutUnderWay")
    world.run(3.0)
    assert world.condition("Progressing")[0] == "False"


def test_the_deadline_does_not_run_while_paused() -> None:
    world = simulation.World(progressDeadlineSeconds=5)
    world.run(4.0)
    world.edit(template=simulation.template("broken"), paused=True)
    world.run(20.0)
    assert world.condition("Progressing") == ("True", "RolloutPaused")
    world.edit(paused=False)
    world.run(4.0)
    assert world.condition("Progressing") == ("True", "RolloutUnderWay")
    world.run(3.0)
    assert world.condition("Progressing") == ("False", "ProgressDeadlineExceeded")
