from __future__ import annotations

import threading
from concurrent import futures
from dataclasses import replace
from typing import Any

import planning
import pytest
from fake_runtime import FakeRuntime
from planning import NOW
from ringmaster_operator import errors, execute, memory, observed
from ringmaster_operator.plan import actions
from virtual_clock import InlineExecutor, VirtualClock


def births(count: int) -> tuple[tuple[actions.Action, ...], ...]:
    return planning.decide(planning.server_set(count)).stages


def run(
    runtime: Any, stages: tuple[tuple[actions.Action, ...], ...], **place: Any
) -> execute.Outcome:
    count = len(execute.creates(stages))
    value = memory.Memory(places={o: memory.Place(**place) for o in range(count)})
    value = execute.announced(value, stages, NOW)
    return execute.Executor(runtime, InlineExecutor()).run(stages, value, NOW)


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime(VirtualClock(NOW))


def test_every_create_may_have_taken_effect_before_it_is_called() -> None:
    stages = births(2)
    value = memory.Memory(places={0: memory.Place(), 1: memory.Place()})
    assert [p.tried_at for p in execute.announced(value, stages, NOW).places.values()] == [NOW, NOW]


def test_success_is_told_and_ends_an_earlier_failure(runtime: FakeRuntime) -> None:
    outcome = run(runtime, births(1))
    assert not outcome.failed
    assert [note.reason for note in outcome.notes] == ["SuccessfulCreate"]
    assert outcome.memory.failure == ("", "")


def test_a_failure_pauses_its_place_and_skips_the_later_stages(runtime: FakeRuntime) -> None:
    runtime.create_faults = [None, errors.RetryLater("busy")]
    outcome = run(runtime, births(7))
    assert len(runtime.bodies) == 2
    tried = {o: place.tried_at for o, place in outcome.memory.places.items()}
    assert [o for o, at in tried.items() if at] == [0, 2]
    assert (outcome.memory.places[1].failures, outcome.memory.places[1].not_before) == (1, NOW + 1)
    assert outcome.memory.failure[0] == "FailedCreate"


def test_an_ambiguous_failure_leaves_the_place_as_it_is(runtime: FakeRuntime) -> None:
    runtime.create_faults = [errors.AmbiguousError("timed out")]
    outcome = run(runtime, births(1))
    assert outcome.failed
    assert outcome.memory.places[0] == memory.Place(tried_at=NOW)


def test_what_an_earlier_create_may_have_done_still_counts_when_this_one_had_no_effect(
    runtime: FakeRuntime,
) -> None:
    stages = births(4)  # stages of 1, 2 and 1
    before = {0: memory.Place(), 1: memory.Place(tried_at=NOW - 5), 2: memory.Place()}
    before[3] = memory.Place(tried_at=NOW - 5)
    value = execute.announced(memory.Memory(places=before), stages, NOW)
    runtime.create_faults = [None, errors.RetryLater("busy")]
    outcome = execute.Executor(runtime, InlineExecutor()).run(
        stages, value, NOW, before=memory.Memory(places=before)
    )
    tried = {o: place.tried_at for o, place in outcome.memory.places.items()}
    assert tried == {0: NOW, 1: NOW - 5, 2: NOW, 3: NOW - 5}


def test_a_name_taken_by_itself_counts_as_created(runtime: FakeRuntime) -> None:
    run(runtime, births(1))
    outcome = run(runtime, births(1))
    assert not outcome.failed
    assert len(runtime.bodies) == 1


def test_a_name_that_a_stranger_keeps_is_given_up_after_a_second_try(runtime: FakeRuntime) -> None:
    runtime.create_faults = [errors.AlreadyExistsError("S5")] * 2
    first = run(runtime, births(1), name="S5").memory.places[0]
    assert (first.name, first.attempt) == ("S5", 1)
    second = run(runtime, births(1), name="S5", failures=1).memory.places[0]
    assert (second.name, second.attempt, second.tried_at) == ("", 2, 0.0)


def test_a_failed_removal_is_told_and_stops_nothing(runtime: FakeRuntime) -> None:
    runtime.remove_faults = [errors.RetryLater("busy")]
    removal = actions.Remove(planning.replica(9), 30.0, "not wanted")
    outcome = run(runtime, ((removal,), *births(1)))
    assert [note.reason for note in outcome.notes] == ["FailedDelete", "SuccessfulCreate"]
    assert outcome.failed


def test_a_fence_stops_everything(runtime: FakeRuntime) -> None:
    runtime.create_faults = [errors.FencedError("a higher epoch")]
    with pytest.raises(errors.FencedError):
        run(runtime, births(3))
    assert runtime.bodies == {}


def test_the_actions_of_a_stage_run_at_once() -> None:
    together = threading.Barrier(4)

    class Meeting(FakeRuntime):
        def remove(self, replica: observed.Replica, *, grace_seconds: float) -> None:
            together.wait(timeout=30)  # all four, or none gets past

    removals = tuple(
        actions.Remove(replace(planning.replica(o)), 1.0, "not wanted") for o in range(4)
    )
    with futures.ThreadPoolExecutor(8) as pool:
        executor = execute.Executor(Meeting(VirtualClock()), pool)
        outcome = executor.run((removals,), memory.Memory(), NOW)
    assert len(outcome.notes) == 4
