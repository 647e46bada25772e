from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from ringmaster_operator import readiness
from ringmaster_operator.spec import pod

PROBES = st.builds(
    pod.Probe,
    period_seconds=st.integers(1, 60),
    success_threshold=st.integers(1, 5),
    failure_threshold=st.integers(1, 5),
)
FRESH = readiness.Readiness(ready=False, since=100.0)


def play(results, probe, state=FRESH):
    """Every state that a row of results leads through, one result a second."""
    states = [state]
    for second, good in enumerate(results, start=1):
        states.append(readiness.after(states[-1], good=good, now=100.0 + second, probe=probe))
    return states


@given(PROBES, st.lists(st.booleans(), max_size=60))
def test_it_turns_exactly_when_the_threshold_in_a_row_is_reached(probe, results):
    states = play(results, probe)

    for index, good in enumerate(results):
        before, now = states[index], states[index + 1]
        needed = probe.success_threshold if good else probe.failure_threshold
        row = results[: index + 1][-needed:]
        since_turn = sum(1 for state in states[1 : index + 1] if state.since == before.since)
        turned = now.ready is not before.ready
        assert turned == (
            good is not before.ready
            and len(row) == needed
            and set(row) == {good}
            # results from before the last turn agreed with it, so they cannot count against it
            and (since_turn >= needed - 1 or needed == 1)
        )


@given(PROBES, st.lists(st.booleans(), max_size=60))
def test_since_is_the_moment_of_the_last_turn_and_never_falls(probe, results):
    states = play(results, probe)

    turns = [100.0] + [
        100.0 + index
        for index in range(1, len(states))
        if states[index].ready is not states[index - 1].ready
    ]
    assert states[-1].since == turns[-1]


@given(PROBES, st.lists(st.booleans(), max_size=60))
def test_it_is_proven_once_it_was_ready_and_for_ever(probe, results):
    states = play(results, probe)

    for index, state in enumerate(states):
        assert state.proven == any(earlier.ready for earlier in states[: index + 1])


@given(PROBES, st.floats(0, 10_000))
def test_a_start_is_watched_closely_but_never_more_often_than_every_100_ms(probe, age):
    delay = readiness.delay(FRESH, age=age, probe=probe)

    assert 0.1 <= delay <= probe.period_seconds
    assert delay <= max(0.1, age * 0.0501)


@given(PROBES, st.floats(0, 10_000))
def test_one_that_was_ready_is_probed_once_a_period(probe, age):
    proven = readiness.Readiness(ready=False, since=0, proven=True)

    assert readiness.delay(proven, age=age, probe=probe) == probe.period_seconds


def test_a_result_that_changes_nothing_gives_the_same_object():
    state = readiness.Readiness(ready=True, since=1.0, proven=True)

    assert readiness.after(state, good=True, now=2.0, probe=pod.Probe()) is state
