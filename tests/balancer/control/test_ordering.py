"""Which push is taken, which is refused, and why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringmaster_balancer import members
from ringmaster_balancer.control import ordering

Verdict = ordering.Verdict


def membership(epoch=5, generation=5, uid="u"):
    return members.Membership(epoch=epoch, generation=generation, uid=uid, replicas=0)


def held(epoch=5, generation=5, *, uid="u", checksum="c", pushed_at=100.0):
    return ordering.Held(
        membership=membership(epoch, generation, uid),
        checksum=checksum,
        source=ordering.Source.PUSH,
        pushed_at=pushed_at,
    )


@pytest.mark.parametrize(
    ("pair", "checksum", "verdict"),
    [
        ((5, 6), "d", Verdict.INSTALL),
        ((6, 0), "d", Verdict.INSTALL),
        ((5, 5), "c", Verdict.SAME),
        ((5, 5), "d", Verdict.CONFLICT),
        ((5, 4), "c", Verdict.OLDER),
        ((4, 99), "d", Verdict.OLDER),
    ],
)
def test_epoch_and_generation_are_compared_as_a_pair(pair, checksum, verdict):
    assert ordering.judge(held(), membership(*pair), checksum=checksum, now=101) is verdict


def test_the_first_membership_is_taken():
    assert ordering.judge(None, membership(), checksum="c", now=0) is Verdict.INSTALL


@pytest.mark.parametrize(
    ("now", "verdict"), [(129.9, Verdict.OTHER_HOLDER), (130, Verdict.INSTALL)]
)
def test_another_serverset_takes_over_once_the_holder_was_silent_for_30_seconds(now, verdict):
    other = membership(epoch=1, generation=1, uid="v")
    assert ordering.judge(held(), other, checksum="d", now=now) is verdict


@given(st.tuples(st.integers(0, 9), st.integers(0, 9)), st.tuples(*[st.integers(0, 9)] * 2))
def test_of_two_memberships_of_one_set_exactly_the_newer_replaces_the_other(one, two):
    def judged(mine, offered):
        return ordering.judge(held(*mine), membership(*offered), checksum="d", now=0)

    replaced = [judged(one, two), judged(two, one)].count(Verdict.INSTALL)
    assert replaced == (1 if one != two else 0)


def test_a_worker_knows_better_than_the_disk_only_if_it_serves_something_newer():
    assert ordering.newer(None, membership())
    assert ordering.newer(held(), membership(generation=6))
    assert not ordering.newer(held(), membership())
    assert not ordering.newer(held(), membership(epoch=9, uid="v"))
