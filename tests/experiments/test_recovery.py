"""What must happen when a server is killed, and what is no recovery."""

from __future__ import annotations

from array import array

import pytest
from ringmaster_experiments import recovery, rings, trials

IDS = rings.names("web", 3)
PLAN = recovery.Plan(
    variant=rings.VARIANTS["hrw"], servers=3, requests=4_000, kill_at=2_000, victim=1
)
EXPECTED = recovery.expect(PLAN, seed=1, ids=IDS)
EVENTS = (recovery.Event("detected", "seen", 0.1), recovery.Event("back", "answers", 0.5))


def seen(*, away=range(2_000, 2_500), answers=None, failures=None, events=EVENTS, healed=True):
    """A run at 1,000 requests a second; requests in `away` met no victim."""
    told = array("i", EXPECTED.owners)
    for number in away:
        told[number] = EXPECTED.substitutes[number]
    for number, answer in (answers or {}).items():
        told[number] = answer
    return recovery.Seen(
        measured=trials.Measured(told, failures=failures or {}),
        sent=[(number - 2_000) / 1_000 for number in range(4_000)],
        took=[0.002] * 4_000,
        events=events,
        healed=healed,
    )


def broken(run):
    return [verdict.promise for verdict in recovery.judge(EXPECTED, run) if not verdict.holds]


def of_victim(start=0):
    return next(n for n in range(start, 4_000) if EXPECTED.owners[n] == PLAN.victim)


def test_a_recovery_without_loss_holds():
    assert broken(seen()) == []
    assert recovery.stood_in(EXPECTED, seen()) == sum(
        EXPECTED.owners[number] == PLAN.victim for number in range(2_000, 2_500)
    )


def test_only_the_victims_keys_have_a_substitute_of_another_name():
    for owner, other in zip(EXPECTED.owners, EXPECTED.substitutes, strict=True):
        assert other != PLAN.victim
        assert owner in (other, PLAN.victim)


def test_the_bounds_enclose_what_a_run_can_show():
    assert sum(EXPECTED.undisturbed()) == sum(EXPECTED.never_replaced()) == 4_000
    answers = seen().measured.answers
    for member in range(3):
        bounds = sorted((EXPECTED.undisturbed()[member], EXPECTED.never_replaced()[member]))
        assert bounds[0] <= answers.count(member) <= bounds[1]


def test_a_failed_request_is_a_broken_promise():
    assert broken(seen(answers={9: -1}, failures={"status 502": 1})) == ["no request failed"]


def test_a_key_of_another_member_must_not_move():
    other = next(n for n in range(2_100, 4_000) if EXPECTED.owners[n] == 0)
    assert len(broken(seen(answers={other: 2}))) == 1


def test_a_key_of_the_victim_must_not_move_before_the_kill():
    early = of_victim()
    assert early < 1_900
    assert len(broken(seen(answers={early: EXPECTED.substitutes[early]}))) == 1


def test_a_key_of_the_victim_must_not_go_to_the_wrong_candidate():
    late = of_victim(2_100)
    wrong = 3 - PLAN.victim - EXPECTED.substitutes[late]
    assert len(broken(seen(answers={late: wrong}))) == 1


def test_a_successor_that_never_comes_is_named():
    lost = (EVENTS[0], recovery.Event("back", "answers", None))
    verdict = recovery.judge(EXPECTED, seen(events=lost))[2]
    assert (verdict.holds, verdict.detail) == (False, "not seen: back")


def test_keys_that_do_not_come_home_are_a_broken_promise():
    assert broken(seen(healed=False)) == ["afterwards keys are answered by their owners again"]


def test_the_timeline_counts_every_answer_once_and_shows_pauses():
    run = seen(answers=dict.fromkeys(range(3_000, 3_300), -1))
    pieces = recovery.timeline(EXPECTED, run, width=0.1)
    assert sum(sum(piece.answers) for piece in pieces) == 3_700
    assert [round(piece.start, 6) for piece in pieces][:2] == [-2.0, -1.9]
    silent = [piece for piece in pieces if not any(piece.answers)]
    assert [round(piece.start, 1) for piece in silent] == [1.1, 1.2]
    assert pieces[0].median == pytest.approx(2)
