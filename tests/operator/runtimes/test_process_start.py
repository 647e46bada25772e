from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ringmaster_operator import errors, observed
from ringmaster_operator.runtimes import process_ledger, process_start
from runtime_worlds import Program, birth, template

OWNER = observed.Owner(namespace="default", name="web", uid="aaaaa-1")


def record(**container):
    made = template(Program.SILENT)
    made["spec"]["containers"][0] |= container
    asked = birth(OWNER, template=made)
    return process_ledger.Record(
        uid="instance",
        namespace="default",
        owner_uid=OWNER.uid,
        name=asked.name,
        display_name="S_5",
        member_id=asked.member_id,
        ordinal=0,
        attempt=0,
        reason="scale-up",
        revision="r1",
        template=made,
        created_at=1.0,
        port=23_456,
    )


def environment(made):
    return process_start.environment(
        made, process_start.container(made), state=Path("/somewhere/state")
    )


def test_a_process_is_handed_its_name_its_port_and_loopback():
    env = environment(record())

    assert (env["SERVER_ID"], env["PORT"], env["HOST"]) == ("S_5", "23456", "127.0.0.1")


def test_a_template_may_choose_the_host_but_neither_the_port_nor_the_marks():
    forged = {"HOST": "0.0.0.0", "PORT": "1", "RINGMASTER_REPLICA_UID": "another"}
    env = environment(record(env=[{"name": key, "value": value} for key, value in forged.items()]))

    assert (env["HOST"], env["PORT"], env["RINGMASTER_REPLICA_UID"]) == (
        "0.0.0.0",
        "23456",
        "instance",
    )
    assert env["RINGMASTER_REPLICA_OF"] == "/somewhere/state"


def test_output_goes_to_the_log_and_nothing_is_read_from_our_terminal(tmp_path):
    code = "import sys; print(sys.stdin.read() == '', flush=True); print('oh', file=sys.stderr)"
    made = record(command=[sys.executable, "-S", "-c", code])
    with (tmp_path / "log").open("wb") as log:
        process_start.spawn(made, state=tmp_path, log=log).wait(timeout=20)

    assert (tmp_path / "log").read_text() == "True\noh\n"


def test_a_missing_program_is_refused_by_its_name(tmp_path):
    with (
        (tmp_path / "log").open("wb") as log,
        pytest.raises(errors.RefusedError, match="'nope': No such file or directory") as caught,
    ):
        process_start.spawn(record(command=["nope"]), state=tmp_path, log=log)

    assert caught.value.reason == "InvalidCommand"
