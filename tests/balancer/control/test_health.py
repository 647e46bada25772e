"""fall bad results in a row take a member out, rise good ones bring it back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from ringmaster_balancer import members
from ringmaster_balancer.control import health

SETTINGS = members.Health(fall=3, rise=2)


def after(results, start=health.TRUSTED, settings=SETTINGS):
    state = start
    for good in results:
        state = health.heard(state, good=good, settings=settings)
    return state


def test_a_member_goes_out_with_the_last_of_fall_bad_results():
    assert after([False, False]).healthy
    assert not after([False, False, False]).healthy


def test_a_good_result_in_between_starts_the_count_anew():
    assert after([False, False, True, False, False]).healthy


def test_a_member_comes_back_with_the_last_of_rise_good_results():
    out = after([False] * 3)
    assert not after([True], start=out).healthy
    assert after([True, True], start=out).healthy


def test_the_first_result_decides_about_a_member_from_disk():
    assert after([True], start=health.UNKNOWN).healthy
    assert after([False], start=health.UNKNOWN).healthy is False


def test_a_member_is_doubtful_while_something_speaks_against_its_judgement():
    assert after([False]).doubtful
    assert not after([False, True]).doubtful
    assert not after([False] * 3).doubtful


@given(
    st.lists(st.booleans(), min_size=1, max_size=40),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_a_judgement_changes_only_after_a_whole_row_against_it(results, fall, rise):
    settings = members.Health(fall=fall, rise=rise)
    state = health.TRUSTED
    for index, good in enumerate(results):
        before = state
        state = health.heard(state, good=good, settings=settings)
        if state.healthy != before.healthy:
            needed = rise if good else fall
            assert results[index + 1 - needed : index + 1] == [good] * needed
