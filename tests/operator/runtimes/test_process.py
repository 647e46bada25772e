"""What is special about local processes; what every runtime promises is in tests/contract."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
import stack
from ringmaster_operator import errors, observed
from ringmaster_operator.runtimes import process, process_ledger, process_logs, process_os
from runtime_worlds import ProcessWorld, Program, birth, template

OWNER = observed.Owner(namespace="default", name="web", uid="aaaaa-1")
SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]


@pytest.fixture
def world(tmp_path):
    made = ProcessWorld(tmp_path)
    yield made
    made.close()


def only(world):
    (replica,) = world.runtime.observe(OWNER)
    return replica


def command(*words, **container):
    made = template(Program.SILENT)
    made["spec"]["containers"][0] |= {"command": list(words), **container}
    return made


def python(code, **container):
    return command("python3", "-S", "-c", code, **container)


def output(world, made, *, lines=1):
    """What a replica of this template prints."""
    world.runtime.create(birth(OWNER, template=made))
    log = world.folder / "logs" / "default.web-0-aaaaa.log"

    def look():
        text = log.read_text().splitlines()
        return len(text) >= lines and text

    return stack.eventually(look, what="the replica's output")


def stranger(world, uid):
    """A process as an operator leaves it that dies between starting and recording it."""
    child = subprocess.Popen(
        SLEEP, env=os.environ | process_os.marks(world.folder, uid), start_new_session=True
    )
    # Its environment shows a moment after its start.
    stack.eventually(lambda: uid in process_os.marked(world.folder), what="the stranger shows")
    return child


@contextlib.contextmanager
def ending(child):
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def write_record(world, **changes):
    values = {
        "uid": "forged",
        "namespace": "default",
        "owner_uid": OWNER.uid,
        "name": "web-0-aaaaa",
        "display_name": "web-0-aaaaa",
        "member_id": "web-0",
        "ordinal": 0,
        "attempt": 0,
        "reason": "scale-up",
        "revision": "r1",
        "template": template(Program.SILENT),
        "created_at": 1.0,
        "port": 20_000,
    }
    record = process_ledger.Record(**values | changes)
    folder = world.folder / "replicas"
    (folder / f"{record.key}.json").write_text(json.dumps(dataclasses.asdict(record)))


def test_a_record_whose_pid_is_another_process_by_now_never_touches_it(world):
    with ending(subprocess.Popen(SLEEP, start_new_session=True)) as innocent:
        write_record(world, pid=innocent.pid, mark="1@another-boot")
        world.reopen()
        failed = stack.eventually(
            lambda: only(world).phase is observed.Phase.FAILED and only(world), what="failed"
        )
        world.runtime.remove(failed, grace_seconds=0)

        assert world.runtime.observe(OWNER) == []
        assert innocent.poll() is None


def test_a_forged_record_of_this_very_process_ends_nothing(world):
    write_record(world, pid=os.getpid(), mark="1@another-boot", kill_at=1.0)
    world.reopen()

    stack.eventually(lambda: world.runtime.observe(OWNER) == [], what="the record is gone")


def test_one_that_was_started_but_not_put_on_record_is_found_by_its_mark(world):
    with ending(stranger(world, "intended")) as child:
        write_record(world, uid="intended")
        world.reopen()
        adopted = only(world)
        world.runtime.remove(adopted, grace_seconds=10)
        child.wait(timeout=20)

    assert (adopted.uid, adopted.phase) == ("intended", observed.Phase.RUNNING)


def test_one_that_was_intended_but_never_started_leaves_no_trace(world):
    write_record(world, uid="intended")
    world.reopen()

    assert world.runtime.observe(OWNER) == []
    assert list((world.folder / "replicas").iterdir()) == []


def test_a_marked_process_without_a_record_is_ended(world):
    with ending(stranger(world, "unknown")) as child:
        world.reopen()

        assert child.wait(timeout=20) == -signal.SIGKILL


def test_a_process_of_another_state_folder_is_left_alone(world, tmp_path):
    env = os.environ | process_os.marks(tmp_path / "another", "unknown")
    with ending(subprocess.Popen(SLEEP, env=env, start_new_session=True)) as child:
        world.reopen()

        assert child.poll() is None


def test_an_unreadable_record_is_set_aside_and_its_process_ended(world):
    world.runtime.create(birth(OWNER, program=Program.SILENT))
    stack.eventually(world.leftovers, what="it shows as running")
    (file,) = (world.folder / "replicas").glob("*.json")
    file.write_text('{"uid": ')
    world.reopen()

    stack.eventually(lambda: not world.leftovers(), what="the process ended")
    assert world.runtime.observe(OWNER) == []
    assert file.with_suffix(".broken").exists()


def test_what_a_dead_replica_left_in_its_group_is_killed(world):
    made = python(
        "import subprocess, time; subprocess.Popen(['sleep', '600']); print('up', flush=True);"
        "time.sleep(600)"
    )
    output(world, made)
    stack.eventually(lambda: len(world.leftovers()) == 2, what="its child shows")
    world.crash(only(world))

    stack.eventually(lambda: not world.leftovers(), what="the whole group is gone")


def test_termination_reaches_the_whole_group(world):
    made = python(
        "import subprocess, time; subprocess.Popen(['sleep', '600']); print('up', flush=True);"
        "time.sleep(600)"
    )
    output(world, made)
    world.runtime.remove(only(world), grace_seconds=10)

    stack.eventually(lambda: not world.leftovers(), what="the whole group is gone")


DAEMON = "setsid sleep 600 & "


def with_daemon(world):
    """A replica and its daemon, once both show, each a leader of its own session."""
    made = command("sh", "-c", DAEMON + "exec sleep 601")
    world.runtime.create(birth(OWNER, template=made))

    def look():
        return len({os.getsid(one.pid) for one in world.leftovers()}) == 2

    stack.eventually(look, what="its daemon shows")
    return only(world)


def assert_daemon_gone(world):
    stack.eventually(lambda: not world.leftovers(), what="its daemon is gone")


def test_what_a_dead_replica_left_outside_of_its_group_is_killed(world):
    world.crash(with_daemon(world))

    assert_daemon_gone(world)


def test_termination_ends_with_what_left_the_group(world):
    world.runtime.remove(with_daemon(world), grace_seconds=10)

    assert_daemon_gone(world)


def test_a_daemon_is_found_though_the_operator_closes_at_once(world):
    world.runtime.remove(with_daemon(world), grace_seconds=10)
    stack.eventually(lambda: not world.runtime.observe(OWNER), what="the record is gone")
    world.runtime.close()

    assert_daemon_gone(world)


def test_a_daemon_of_a_failed_replica_is_found_by_the_next_operator(world):
    world.runtime.create(birth(OWNER, program=Program.BROKEN))
    failed = stack.eventually(
        lambda: only(world).phase is observed.Phase.FAILED and only(world), what="failed"
    )
    world.runtime.close()
    with ending(stranger(world, failed.uid)) as child:
        world.reopen()

        assert child.wait(timeout=20) == -signal.SIGKILL
        assert only(world).phase is observed.Phase.FAILED


def test_a_replica_has_a_session_of_its_own(world):
    world.runtime.create(birth(OWNER, program=Program.SILENT))
    pid = world.pid(only(world))

    assert os.getsid(pid) == os.getpgid(pid) == pid


def test_our_own_programs_come_first_in_path_and_our_settings_stay_with_us(world, monkeypatch):
    monkeypatch.setenv("RINGMASTER_TOKEN", "secret")
    monkeypatch.setenv("PORT", "1")
    code = "import os; e = os.environ; print(e['PATH'], e.get('RINGMASTER_TOKEN'), e['PORT'], flush=True)"
    path, token, port = output(world, python(f"{code}; import time; time.sleep(600)"))[0].split()

    assert path.split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert token == "None"
    assert port == only(world).address.rpartition(":")[2]


def test_the_template_decides_on_its_variables_but_not_on_the_port(world):
    made = python(
        "import os, sys; print(os.environ['SERVER_ID'], os.environ['PORT'], *sys.argv[1:])",
        args=["at-$(PORT)", "$(NOBODY)"],
        env=[{"name": "SERVER_ID", "value": "mine"}, {"name": "PORT", "value": "1"}],
    )
    words = output(world, made)[0].split()
    port = only(world).address.rpartition(":")[2]

    assert words == ["mine", port, f"at-{port}", "$(NOBODY)"]


def test_words_of_a_command_are_data_and_never_a_shells(world):
    made = python("import sys; print(sys.argv[1])", args=["$(touch x); `id` | 'ü'"])

    assert output(world, made) == ["$(touch x); `id` | 'ü'"]


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (command(), "needs a command"),
        (command("/etc"), "Permission denied"),
        (command("no\0pe"), "null byte"),
        (command("python3", workingDir="/nowhere"), "/nowhere"),
    ],
)
def test_a_command_that_can_never_work_is_refused_in_clear_words(world, made, words):
    with pytest.raises(errors.RefusedError, match=words) as caught:
        world.runtime.create(birth(OWNER, template=made))

    assert caught.value.reason == "InvalidCommand"
    assert list((world.folder / "replicas").iterdir()) == []
    assert list((world.folder / "logs").iterdir()) == []


def test_a_replica_starts_in_the_same_folder_wherever_the_operator_was_started(
    world, tmp_path, monkeypatch
):
    """As a container whose image has no WORKDIR."""
    monkeypatch.chdir(tmp_path)

    assert output(world, python("import os; print(os.getcwd())")) == ["/"]


def test_a_relative_command_and_probe_are_those_of_their_working_dir(world, tmp_path):
    script = tmp_path / "server"
    script.write_text("#!/bin/sh\ntouch ready; exec sleep 600\n")
    script.chmod(0o755)
    probe = {"exec": {"command": ["test", "-e", "ready"]}, "periodSeconds": 1}
    made = command("./server", workingDir=str(tmp_path), readinessProbe=probe)
    world.runtime.create(birth(OWNER, template=made))

    stack.eventually(lambda: only(world).ready, what="ready")


def test_an_executable_that_is_no_program_is_refused(world, tmp_path):
    script = tmp_path / "script"
    script.write_bytes(b"\x00\x01\x02")
    script.chmod(0o755)

    with pytest.raises(errors.RefusedError, match="format"):
        world.runtime.create(birth(OWNER, template=command(str(script))))


@pytest.mark.parametrize("name", ["S_5", "..", "a/b", "ü", "con", "a" * 63, "ü" * 63])
def test_any_name_is_data_and_stays_within_the_folder(world, name):
    before = set(world.folder.parent.iterdir())
    world.runtime.create(birth(OWNER, name=name, program=Program.SILENT))
    world.reopen()

    assert only(world).name == name
    assert set(world.folder.parent.iterdir()) == before
    assert len(list((world.folder / "replicas").iterdir())) == 1


def test_the_same_name_may_live_in_two_namespaces(world):
    elsewhere = observed.Owner(namespace="other", name="web", uid="ccccc")
    world.runtime.create(birth(OWNER, program=Program.SILENT, name="S1"))
    world.runtime.create(birth(elsewhere, program=Program.SILENT, name="S1"))

    assert len(world.runtime.observe(OWNER)) == len(world.runtime.observe(elsewhere)) == 1


def test_an_exec_probe_runs_with_the_replicas_environment(world):
    made = template(Program.SILENT)
    probe = {"exec": {"command": ["sh", "-c", 'test "$SERVER_ID" = S0']}, "periodSeconds": 1}
    made["spec"]["containers"][0]["readinessProbe"] = probe
    world.runtime.create(birth(OWNER, template=made))

    stack.eventually(lambda: only(world).ready, what="ready")


def test_without_a_probe_a_running_replica_is_ready(world):
    made = template(Program.SILENT)
    del made["spec"]["containers"][0]["readinessProbe"]
    world.runtime.create(birth(OWNER, template=made))

    assert only(world).ready


def test_a_failed_replica_says_what_killed_it_and_since_when_it_is_unready(world):
    made = template(Program.SILENT)
    del made["spec"]["containers"][0]["readinessProbe"]
    world.runtime.create(birth(OWNER, template=made))
    ready = only(world)
    world.crash(ready)
    failed = stack.eventually(
        lambda: only(world).phase is observed.Phase.FAILED and only(world), what="failed"
    )

    assert failed.message == "killed by SIGKILL"
    assert failed.unready_since > ready.ready_since


def test_closing_leaves_replicas_running(world):
    world.runtime.create(birth(OWNER, program=Program.SILENT))
    world.runtime.close()
    world.runtime.close()

    stack.eventually(lambda: len(world.leftovers()) == 1, what="it shows as running")


def test_the_log_of_a_failed_replica_is_kept_and_that_of_a_removed_one_is_not(world):
    world.runtime.create(birth(OWNER, 0, Program.BROKEN))
    world.runtime.create(birth(OWNER, 1, Program.SILENT))

    def look():
        phases = {one.ordinal: one for one in world.runtime.observe(OWNER)}
        return phases[0].phase is observed.Phase.FAILED and phases.values()

    for replica in stack.eventually(look, what="one failed"):
        world.runtime.remove(replica, grace_seconds=0)
    stack.eventually(lambda: not world.runtime.observe(OWNER), what="both gone")

    assert [log.name for log in (world.folder / "logs").iterdir()] == ["default.web-0-aaaaa.log"]


def test_logs_are_bounded_from_the_start_and_never_on_the_loop_that_probes(tmp_path, monkeypatch):
    threads = []
    look = threading.Event()

    def bound(_logs):
        threads.append(threading.current_thread().name)
        if len(threads) > 1:
            look.set()

    monkeypatch.setattr(process_logs.Logs, "bound", bound)
    monkeypatch.setattr(process, "LOG_CHECK_SECONDS", 0.01)
    made = ProcessWorld(tmp_path)

    assert look.wait(30)
    made.close()
    assert "process-runtime" not in threads


def test_a_server_that_makes_itself_a_daemon_is_given_a_hint(world):
    daemon = "import os, time; os.fork() or (os.setsid(), time.sleep(600))"
    world.runtime.create(birth(OWNER, template=python(daemon)))
    failed = stack.eventually(
        lambda: only(world).phase is observed.Phase.FAILED and only(world), what="failed"
    )
    assert failed.message.endswith("(a server must stay in the foreground: no daemon mode)")


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc shows a deleted file")
@pytest.mark.parametrize("lose", [Path.unlink, lambda path: path.rename(path.with_name("moved"))])
def test_a_log_that_was_deleted_or_moved_is_bounded_too(world, monkeypatch, lose):
    output(world, python("import time; print('x' * 5_000, flush=True); time.sleep(600)"))
    (record,) = world.runtime._ledger.all()
    lose(world.folder / "logs" / f"{record.key}.log")
    world.reopen()
    monkeypatch.setattr(process_logs, "MAX_BYTES", 1_000)
    written = Path(f"/proc/{record.pid}/fd/1")
    stack.eventually(lambda: written.stat().st_size == 0, what="the cut", seconds=30)


def test_the_bounding_of_logs_goes_on_though_there_was_no_thread_for_it(tmp_path, monkeypatch):
    looks = threading.Semaphore(0)

    def bound(_logs):
        looks.release()
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(process_logs.Logs, "bound", bound)
    monkeypatch.setattr(process, "LOG_CHECK_SECONDS", 0.01)
    made = ProcessWorld(tmp_path)

    assert looks.acquire(timeout=30)
    assert looks.acquire(timeout=30)
    made.close()


@pytest.mark.parametrize("grace", [0.3, 30.0])
def test_a_removal_goes_on_though_the_disk_is_full(world, grace):
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    patient = "import time; print(1, flush=True)"
    code = (deaf if grace < 1 else patient) + "; time.sleep(600)"
    output(world, python(code))
    replica = only(world)
    with full_disk(world):
        world.runtime.remove(replica, grace_seconds=grace)
        stack.eventually(lambda: not world.runtime.observe(OWNER), what="its end")


@contextlib.contextmanager
def full_disk(world):
    """Nothing can be written where the records are."""
    folder, away = world.folder / "replicas", world.folder / "away"
    folder.rename(away)
    folder.write_text("")
    yield
    folder.unlink()
    away.rename(folder)


def test_a_folder_that_cannot_be_written_is_a_usage_error(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")

    with pytest.raises(errors.UsageError, match="file"):
        process.ProcessRuntime(blocked)


def test_a_zombie_is_dead(world):
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    stack.eventually(
        lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE, what="a zombie"
    )
    mark = process_os.mark(child.pid)
    child.wait()

    assert mark is None
