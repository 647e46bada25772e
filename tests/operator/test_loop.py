"""The loop around a reconciler that the test scripts; a clock that only the test moves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from ringmaster_operator import errors, loop, observed

WEB = observed.Owner(namespace="default", name="web", uid="u-web")
API = observed.Owner(namespace="default", name="api", uid="u-api")


@dataclass
class Done:
    requeue_after: float | None = None


@dataclass
class Scripted:
    """Does what the script says, one step a reconcile; afterwards everything is well."""

    script: list[Exception | float | Callable[[], None] | None] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    def reconcile(self, namespace: str, name: str) -> Done:
        self.seen.append(f"{namespace}/{name}")
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        if callable(step):
            step()
            return Done()
        return Done(requeue_after=step)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Quiet:
    """A runtime that never has a hint."""

    def watch(self, notify, stop: threading.Event) -> None:
        stop.wait()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def made(reconciler: Scripted, clock: Clock, *owners: observed.Owner) -> loop.Loop:
    return loop.Loop(reconciler=reconciler, owners=lambda: owners, clock=clock, jitter=lambda: 1.0)


def test_a_full_pass_looks_at_every_set_once(clock) -> None:
    reconciler = Scripted()
    subject = made(reconciler, clock, WEB, API)
    subject.full_pass()
    subject.full_pass()
    assert subject.run_due() == 2
    assert sorted(reconciler.seen) == ["default/api", "default/web"]


def test_a_hint_that_cannot_be_placed_is_lost_without_harm_to_who_gives_it(clock) -> None:
    def unreachable() -> list[observed.Owner]:
        raise errors.RetryLater("the store is away")

    reconciler = Scripted()
    subject = loop.Loop(reconciler=reconciler, owners=unreachable, clock=clock)
    subject.hint("u-web")
    subject.hint(WEB)  # that needs no list
    assert subject.run_due() == 1


def test_a_hint_names_the_set_by_uid_and_none_means_all(clock) -> None:
    reconciler = Scripted()
    subject = made(reconciler, clock, WEB, API)
    subject.hint("u-api")
    subject.run_due()
    assert reconciler.seen == ["default/api"]
    clock.now += 1
    subject.hint(None)
    assert subject.run_due() == 2


def test_a_hint_that_names_the_set_in_full_asks_nobody_who_there_is(clock) -> None:
    reconciler = Scripted()
    # One that is gone is no longer listed, and its ring is to end.
    work = made(reconciler, clock)
    work.hint(WEB)
    assert work.run_due() == 1
    assert reconciler.seen == ["default/web"]


def test_a_fence_that_the_full_pass_meets_ends_it_as_well(clock) -> None:
    def owners() -> list[observed.Owner]:
        raise errors.FencedError("another operator acts")

    work = loop.Loop(reconciler=Scripted(), owners=owners, clock=clock)
    with pytest.raises(errors.FencedError):
        work.run(Quiet())


def test_a_hint_for_an_unknown_uid_is_nothing(clock) -> None:
    subject = made(Scripted(), clock, WEB)
    subject.hint("u-gone")
    assert subject.run_due() == 0


def test_a_reconcile_comes_again_when_it_asked_to(clock) -> None:
    reconciler = Scripted(script=[2.5])
    subject = made(reconciler, clock, WEB)
    subject.enqueue("default", "web")
    assert subject.run_due() == 1
    clock.now += 2.4
    assert subject.run_due() == 0
    clock.now += 0.2
    assert subject.run_due() == 1


@pytest.mark.parametrize("failure", [errors.RetryLater("not now"), ValueError("a bug")])
def test_a_failure_of_any_kind_is_tried_again_with_backoff(clock, failure: Exception) -> None:
    reconciler = Scripted(script=[failure, failure])
    subject = made(reconciler, clock, WEB)
    subject.enqueue("default", "web")
    counts = []
    for _ in range(4):
        counts.append(subject.run_due())
        clock.now += 0.21
    assert counts == [1, 1, 0, 1]


def test_a_fence_stops_everything_and_is_what_run_raises(clock) -> None:
    reconciler = Scripted(script=[errors.FencedError("epoch 9")])
    subject = made(reconciler, clock, WEB)
    with pytest.raises(errors.FencedError, match="epoch 9"):
        subject.run(Quiet())
    subject.enqueue("default", "web")
    assert subject.run_due() == 0


def test_liveness_is_the_last_success(clock) -> None:
    subject = made(Scripted(script=[None, ValueError("a bug")]), clock, WEB)
    assert not subject.healthy()
    subject.enqueue("default", "web")
    subject.run_due()
    assert subject.healthy()
    assert subject.last_success == 100.0
    clock.now += 61
    subject.enqueue("default", "web")
    subject.run_due()
    assert not subject.healthy()


def test_having_nothing_to_do_is_healthy(clock) -> None:
    subject = made(Scripted(), clock)
    subject.full_pass()
    assert subject.healthy()


def test_different_sets_are_reconciled_side_by_side_and_one_set_never_twice_at_once() -> None:
    together = threading.Barrier(2, timeout=20)
    lock, busy, clashes, done = threading.Lock(), set(), [], threading.Event()

    class Watched:
        def reconcile(self, namespace: str, name: str) -> Done:
            with lock:
                clashes.extend({name} & busy)
                busy.add(name)
            subject.enqueue(namespace, name)
            if not done.is_set():
                together.wait()  # passes only with both sets inside
                done.set()
            with lock:
                busy.discard(name)
            return Done()

    subject = loop.Loop(reconciler=Watched(), owners=lambda: (WEB, API))
    runner = threading.Thread(target=subject.run, args=(Quiet(),))
    runner.start()
    try:
        assert done.wait(20)
    finally:
        subject.stop()
        runner.join(20)
    assert clashes == []
    assert not runner.is_alive()


def test_a_hint_of_the_runtime_wakes_a_sleeping_worker() -> None:
    second = threading.Event()
    reconciler = Scripted(script=[None, second.set])

    class Hinting:
        def watch(self, notify, stop: threading.Event) -> None:
            while not stop.wait(0.01):
                notify("u-web")

    subject = loop.Loop(reconciler=reconciler, owners=lambda: (WEB,))
    runner = threading.Thread(target=subject.run, args=(Hinting(),))
    runner.start()
    try:
        assert second.wait(20)
    finally:
        subject.stop()
        runner.join(20)


def test_a_watch_that_breaks_is_begun_again() -> None:
    again = threading.Event()
    calls = []

    class Breaking:
        def watch(self, notify, stop: threading.Event) -> None:
            calls.append(1)
            if len(calls) == 1:
                raise errors.RetryLater("connection lost")
            again.set()
            stop.wait()

    settings = loop.Settings(watch_again_seconds=0.0)
    subject = loop.Loop(reconciler=Scripted(), owners=lambda: (), settings=settings)
    runner = threading.Thread(target=subject.run, args=(Breaking(),))
    runner.start()
    try:
        assert again.wait(20)
    finally:
        subject.stop()
        runner.join(20)
