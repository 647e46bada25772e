"""Pools: idle connections, ejection, the retry budget."""

from __future__ import annotations

import fractions
import math
from dataclasses import dataclass

import hypothesis
from hypothesis import strategies
from ringmaster_balancer import members
from ringmaster_balancer.dataplane import upstreams

OUTLIER = members.Outlier(consecutive_failures=2, eject_seconds=1, max_eject_seconds=3)


@dataclass(eq=False)
class Connection:
    idle_since: float = 0.0


def pool() -> upstreams.Pool[Connection]:
    return upstreams.Pool(upstreams.Identity("a", "a-1", "h:1"), host="h", port=1)


def test_the_connection_used_last_is_taken_first() -> None:
    it, one, two = pool(), Connection(), Connection()
    it.give(one, 1.0)
    it.give(two, 2.0)
    assert it.take(9.0, replayable=True) is two
    assert it.take(9.0, replayable=True) is one
    assert it.take(9.0, replayable=True) is None


def test_what_cannot_be_replayed_takes_none_that_was_idle_for_a_second() -> None:
    it = pool()
    it.give(Connection(), 1.0)
    assert it.take(2.1, replayable=False) is None
    assert it.take(1.9, replayable=False) is not None


def test_what_is_surplus_or_stale_or_retired_is_handed_back_to_be_closed() -> None:
    it = pool()
    oldest = Connection()
    assert it.give(oldest, 0.0) is None
    for n in range(1, upstreams.MAX_IDLE):
        assert it.give(Connection(), float(n)) is None
    assert it.give(Connection(), 1000.0) is oldest
    assert len(it.stale(11.0)) == 10
    assert len(it.retire()) == upstreams.MAX_IDLE - 10
    assert not it.open


def test_a_lost_connection_is_forgotten() -> None:
    it, one = pool(), Connection()
    it.give(one, 0.0)
    it.lost(one)
    it.lost(one)
    assert it.take(0.0, replayable=True) is None


def test_ejection_takes_failures_in_a_row_and_lasts_longer_each_time() -> None:
    it = pool()
    assert not it.failed(OUTLIER)
    it.succeeded(1.0)
    assert not it.failed(OUTLIER)
    assert it.failed(OUTLIER)
    for start, seconds in ((10.0, 1.0), (20.0, 2.0), (30.0, 3.0), (40.0, 3.0)):
        it.eject(start, OUTLIER)
        assert not it.open
        assert not it.readmit(start + seconds - 0.1)
        assert it.readmit(start + seconds)
        assert it.open
    it.succeeded(45.0)
    it.eject(45.0, OUTLIER)
    assert not it.readmit(47.9)
    assert it.readmit(48.0)


def test_a_member_that_flaps_is_not_forgiven_at_its_first_success() -> None:
    it = pool()
    it.eject(0.0, OUTLIER)
    it.readmit(1.0)
    it.succeeded(1.1)
    it.eject(1.2, OUTLIER)
    assert not it.readmit(3.1)
    assert it.readmit(3.2)
    it.succeeded(5.2)  # as long as the last one lasted
    it.eject(6.0, OUTLIER)
    assert it.readmit(7.0)


def test_who_waits_no_more_may_have_stood_before_somebody() -> None:
    woken: list[int] = []
    load = upstreams.Load(lambda: woken.append(len(load.waiting)))
    load.waiting.extend("ab")
    load.left("a")
    load.left("b")
    assert woken == [1]


def test_few_that_answer_with_errors_stay_out_and_many_serve_again() -> None:
    assert not upstreams.panic(1, 2, OUTLIER)
    assert upstreams.panic(2, 3, OUTLIER)
    assert not upstreams.panic(9, 9, members.Outlier(max_ejected_percent=100))
    silent, erring, ejected = pool(), pool(), pool()
    silent.healthy = erring.healthy = False
    erring.erring = True
    ejected.eject(0.0, OUTLIER)
    for it, during in ((silent, False), (erring, True), (ejected, True)):
        it.judge()
        assert not it.open
        it.panic = True
        it.judge()
        assert it.open is during


@hypothesis.given(
    data=strategies.data(),
    bounded=strategies.floats(1.01, 4),
    count=strategies.integers(1, 9),
)
def test_no_member_is_given_more_than_its_bound(
    data: strategies.DataObject, bounded: float, count: int
) -> None:
    """At most c times the even share, rounded up; and there is always one that has room."""
    load = upstreams.Load()
    pools = [pool() for _ in range(count)]
    for it in pools:
        it.join(load)
        load.weight += it.weight
    for _ in range(data.draw(strategies.integers(1, 60))):
        if load.total and data.draw(strategies.booleans()):
            data.draw(strategies.sampled_from([it for it in pools if it.inflight])).leave()
            continue
        free = [it for it in pools if it.within(bounded)]
        assert free
        it = data.draw(strategies.sampled_from(free))
        it.enter()
        assert it.inflight <= math.ceil(fractions.Fraction(bounded) * load.total / count)


def test_the_bound_follows_the_weights() -> None:
    load = upstreams.Load()
    small, large = pool(), pool()
    small.weight, large.weight = 100, 300
    for it in (small, large):
        it.join(load)
        load.weight += it.weight
    for _ in range(100):
        (small if small.within(1.2) else large).enter()
    assert (small.inflight, large.inflight) == (30, 70)


def test_what_leaves_the_ring_takes_its_load_along() -> None:
    load = upstreams.Load()
    it = pool()
    it.join(load)
    it.enter()
    it.enter()
    it.retire()
    assert load.total == 0
    it.leave()
    it.join(load)
    assert load.total == 1


@hypothesis.given(seed=strategies.integers(0, 2**40), slot=strategies.integers(0, 65_535))
def test_a_warming_member_keeps_the_slots_that_it_has_got(seed: int, slot: int) -> None:
    it = pool()
    it.warm_up(100.0, seconds=10, seed=seed)
    served = [it.warm_for(slot, 100.0 + tenth) for tenth in range(11)]
    assert served == sorted(served)
    assert served[-1]


def test_a_warming_member_gets_its_slots_at_an_even_pace() -> None:
    it = pool()
    it.warm_up(0.0, seconds=10, seed=7)
    for second in range(11):
        share = sum(it.warm_for(slot, float(second)) for slot in range(10_000)) / 10_000
        assert abs(share - second / 10) < 0.02


def test_zero_failures_switch_ejection_off() -> None:
    it = pool()
    assert not any(it.failed(members.Outlier(consecutive_failures=0)) for _ in range(99))


def test_no_more_than_the_share_is_ejected() -> None:
    assert upstreams.may_eject(0, 3, OUTLIER)
    assert not upstreams.may_eject(1, 3, OUTLIER)
    assert upstreams.may_eject(0, 2, OUTLIER)
    assert not upstreams.may_eject(0, 1, OUTLIER)


def _spends(budget: upstreams.Budget, retries: members.Retries) -> bool:
    allowed = budget.allows(retries)
    assert budget.allows(retries) == allowed  # to look costs nothing
    if allowed:
        budget.spend()
    return allowed


def test_few_retries_are_always_allowed_and_many_are_a_share() -> None:
    budget = upstreams.Budget.new()
    retries = members.Retries(budget_percent=20, budget_minimum=3)
    # 3 a second for 10 s, from the first moment on.
    assert sum(_spends(budget, retries) for _ in range(100)) == 30
    budget.requests += 200
    assert sum(_spends(budget, retries) for _ in range(100)) == 10  # 40 in all
    for _ in range(10):
        budget.tick()
    assert sum(_spends(budget, retries) for _ in range(100)) == 30
