"""The queue's decisions, by a clock that only the test moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringmaster_operator import workqueue


def queue(*, jitter: float = 1.0) -> workqueue.WorkQueue[str]:
    return workqueue.WorkQueue(jitter=lambda: jitter)


def test_nothing_added_is_nothing_due() -> None:
    assert (queue().take(0.0), queue().next_due()) == (None, None)


def test_any_number_of_adds_before_a_look_are_one_look() -> None:
    q = queue()
    for _ in range(5):
        q.add("web", 0.0)
    assert [q.take(0.0), q.take(0.0)] == ["web", None]


def test_a_key_is_never_out_twice_but_comes_again_if_added_meanwhile() -> None:
    q = queue()
    q.add("web", 0.0)
    q.take(0.0)
    q.add("web", 1.0)
    assert q.take(1.0) is None
    q.done("web", 2.0)
    assert q.next_due() == pytest.approx(2.05)
    assert [q.take(2.0), q.take(2.06)] == [None, "web"]


def test_the_longest_due_comes_first_so_none_starves() -> None:
    q = queue()
    for at, key in enumerate(["a", "b", "c"]):
        q.add(key, float(at))
    assert [q.take(9.0), q.take(9.0), q.take(9.0)] == ["a", "b", "c"]


def test_a_requested_look_waits_its_time_and_a_hint_comes_before_it() -> None:
    q = queue()
    q.add("web", 0.0)
    q.take(0.0)
    q.done("web", 0.0, again_after=5.0)
    assert (q.take(4.9), q.next_due()) == (None, 5.0)
    q.add("web", 1.0)
    assert q.take(1.0) == "web"


def test_failures_back_off_from_a_fifth_of_a_second_to_half_a_minute() -> None:
    q = queue()
    waits = []
    for _ in range(10):
        q.add("web", 0.0)
        waits.append(q.failed("web", 0.0))
    assert waits[:3] == pytest.approx([0.2, 0.4, 0.8])
    assert waits[-1] == 30.0


def test_jitter_takes_up_to_half_of_a_backoff() -> None:
    assert queue(jitter=0.0).failed("web", 0.0) == pytest.approx(0.1)


def test_a_success_ends_the_backoff() -> None:
    q = queue()
    for _ in range(6):
        q.failed("web", 0.0)
    q.done("web", 0.0)
    assert q.failed("web", 0.0) == pytest.approx(0.2)


def test_a_hint_cuts_a_long_backoff_to_a_second_but_no_shorter() -> None:
    q = queue()
    for _ in range(8):
        q.failed("web", 0.0)
    q.add("web", 0.1)
    assert [q.take(0.9), q.take(1.0)] == [None, "web"]


def test_one_failing_key_leaves_the_others_alone() -> None:
    q = queue()
    q.failed("bad", 0.0)
    q.add("good", 0.0)
    assert q.take(0.0) == "good"


@given(st.lists(st.sampled_from(["add-a", "add-b", "take", "done", "fail", "wait"]), max_size=60))
def test_whatever_happens_an_added_key_comes_and_none_is_out_twice(steps: list[str]) -> None:
    q = queue()
    now, out, wanted = 0.0, [], set()
    for step in steps:
        if step.startswith("add"):
            q.add(step[-1], now)
            wanted.add(step[-1])
        elif step == "take" and (key := q.take(now)):
            assert key not in out
            out.append(key)
            wanted.discard(key)
        elif step == "done" and out:
            q.done(out.pop(0), now)
        elif step == "fail" and out:
            key = out.pop()
            q.failed(key, now)
            wanted.add(key)
        elif step == "wait":
            now += 0.3
    for key in out:
        q.done(key, now)
    seen = {q.take(now + 31.0), q.take(now + 31.0), q.take(now + 31.0)}
    assert wanted == seen - {None}
