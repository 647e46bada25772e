from __future__ import annotations

import pytest
from ringmaster_operator import errors, observed
from ringmaster_operator.runtimes import process_ledger


def record(uid="u", **changes):
    values = {
        "uid": uid,
        "namespace": "default",
        "owner_uid": "o",
        "name": f"web-{uid}",
        "display_name": "S1",
        "member_id": "web-0",
        "ordinal": 0,
        "attempt": 0,
        "reason": "rollout",
        "revision": "r",
        "template": {"spec": {"containers": [{"name": "ü"}]}},
        "created_at": 10.0,
        "port": 20_000,
    }
    return process_ledger.Record(**values | changes)


def test_what_was_claimed_and_changed_is_there_after_a_restart(tmp_path):
    ledger = process_ledger.Ledger(tmp_path)
    ledger.claim(record())
    ledger.change("u", pid=7, mark="9@boot", ready=True, ready_changed_at=12.5)
    kept = process_ledger.Ledger(tmp_path).get("u")

    assert kept == record(pid=7, mark="9@boot", ready=True, ready_changed_at=12.5)


def test_what_was_dropped_is_gone_for_good(tmp_path):
    ledger = process_ledger.Ledger(tmp_path)
    ledger.claim(record())
    ledger.drop("u")

    assert ledger.all() == process_ledger.Ledger(tmp_path).all() == []
    assert ledger.change("u", pid=1) is None
    assert ledger.drop("u") is None


def test_a_name_is_given_once_in_a_namespace(tmp_path):
    ledger = process_ledger.Ledger(tmp_path)
    ledger.claim(record("a", name="S1"))
    ledger.claim(record("b", name="S1", namespace="other"))

    with pytest.raises(errors.AlreadyExistsError):
        ledger.claim(record("c", name="S1"))


def test_a_failed_write_changes_no_claim_and_says_where(tmp_path):
    ledger = process_ledger.Ledger(tmp_path / "x")
    (tmp_path / "x").rmdir()

    with pytest.raises(errors.RetryLater, match="No such file"):
        ledger.claim(record())
    assert ledger.all() == []


def test_a_half_written_file_is_no_record(tmp_path):
    (tmp_path / "default.web.tmp").write_text('{"uid"')

    assert process_ledger.Ledger(tmp_path).all() == []


def test_records_come_oldest_first(tmp_path):
    ledger = process_ledger.Ledger(tmp_path)
    ledger.claim(record("young", created_at=2.0))
    ledger.claim(record("old", created_at=1.0))

    assert [one.uid for one in ledger.all()] == ["old", "young"]


@pytest.mark.parametrize(
    ("changes", "phase"),
    [
        ({}, observed.Phase.STARTING),
        ({"pid": 1, "mark": "m"}, observed.Phase.RUNNING),
        ({"pid": 1, "mark": "m", "exit": "exited"}, observed.Phase.FAILED),
        ({"pid": 1, "mark": "m", "kill_at": 5.0}, observed.Phase.TERMINATING),
    ],
)
def test_the_phase_follows_from_what_is_on_record(changes, phase):
    assert record(**changes).replica().phase is phase


def test_readiness_and_its_since_are_either_or():
    ready = record(pid=1, ready=True, ready_changed_at=12.0).replica()
    unready = record(pid=1).replica()

    assert (ready.ready_since, ready.unready_since) == (12.0, None)
    assert (unready.ready_since, unready.unready_since) == (None, 10.0)
