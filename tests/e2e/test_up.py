"""`ringmaster up` as a foreground command: its end, its second beginning, and its heirs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading

import containers
import project_images
import psutil
import pytest
import requests
import stack as stacks
import unwritable
import yaml


@pytest.fixture
def folder(tmp_path):
    """Nothing of its state folder is left running, whatever the test did."""
    yield tmp_path
    for process in stacks.marked(tmp_path / "state"):
        process.kill()


# A process of its own, since a fork of this one would copy its threads' locks.
IN_A_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


def read_until(process, text):
    seen = b""
    while text not in seen and (piece := os.read(process.stdout.fileno(), 4096)):
        seen += piece
    return seen


def again(stack):
    """The same command once more."""
    with stack.log.open("ab") as log:
        process = subprocess.Popen(
            stack.process.args, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    return stacks.Stack(
        process, stack.state, stack.port, stack.control_port, stack.api_port, log=stack.log
    )


def names(stack, count=3):
    return {member["replica"] for member in stack.wait_active(count).values()}


def test_a_scale_survives_the_end_and_nothing_comes_back_as_an_emergency(folder):
    first = stacks.start(folder)
    names(first)
    first.cli("scale", "serverset/web", "--replicas=4")
    names(first, 4)
    assert stacks.stop(first) == 0
    assert stacks.marked(first.state) == []
    second = again(first)
    assert not [name for name in names(second, 4) if name.startswith("emergency")]
    assert stacks.stop(second) == 0


def test_the_next_up_takes_over_without_losing_a_request(folder):
    first = stacks.start(folder)
    before = names(first)
    (balancer,) = first.children("ringmaster_balancer")
    failed, ended, count = [], threading.Event(), 0

    def load():
        nonlocal count
        with requests.Session() as session:
            while not ended.is_set():
                try:
                    session.get(first.url + "/home", timeout=10).raise_for_status()
                    count += 1
                except requests.RequestException as error:
                    failed.append(error)

    loading = threading.Thread(target=load)
    loading.start()
    try:
        first.process.kill()
        first.process.wait()
        second = again(first)
        stacks.eventually(
            lambda: second.children("ringmaster_operator"), what="the heir's own operator"
        )
        stacks.eventually(second.serverset, what="its API")
        assert names(second) == before
        assert balancer.is_running()
    finally:
        ended.set()
        loading.join()
    assert failed == []
    assert count > 0
    assert stacks.stop(second) == 0
    assert stacks.marked(first.state) == []


@pytest.mark.parametrize("kind", unwritable.KINDS)
def test_an_output_that_cannot_be_written_keeps_up_from_nothing(folder, kind):
    with unwritable.opened(kind) as descriptor:
        stack = stacks.start(folder, output=descriptor)
        names(stack)
        for module in ("ringmaster_operator", "ringmaster_balancer"):
            (victim,) = stack.children(module)
            victim.kill()
            stacks.eventually(
                lambda victim=victim, module=module: (
                    [each for each in stack.children(module) if each != victim]
                ),
                what=f"another {module}",
            )
        names(stack)
        assert stacks.stop(stack) == 0
    assert stacks.marked(stack.state) == []


def test_what_was_deleted_stays_so_when_the_operator_dies_and_comes_back_with_up(folder):
    first = stacks.start(folder)
    names(first)
    first.cli("delete", "serverset/web")
    (operator,) = first.children("ringmaster_operator")
    operator.kill()
    stacks.eventually(
        lambda: [p for p in first.children("ringmaster_operator") if p.pid != operator.pid],
        what="another operator",
    )
    gone = lambda: "No resources found" in first.cli("get", check=False).stderr  # noqa: E731
    stacks.eventually(gone, what="an operator without the set")
    assert stacks.stop(first) == 0
    second = again(first)
    names(second)
    assert stacks.stop(second) == 0


def test_a_second_ctrl_c_does_not_wait(folder):
    stack = stacks.start(folder)
    names(stack)
    replicas = [psutil.Process(stack.pid_of(m)) for m in stack.active().values()]
    for replica in replicas:
        replica.suspend()  # they would take their grace of 30 s
    stack.process.send_signal(signal.SIGINT)
    stacks.eventually(lambda: "stopping" in stack.log.read_text(), what="the first one's effect")
    stack.process.send_signal(signal.SIGINT)
    assert stack.process.wait(timeout=25) == 130
    assert stacks.marked(stack.state) == []


def test_a_terminals_ctrl_c_ends_all_in_order(folder):
    ports = [str(stacks.free_port()) for _ in range(3)]
    command = [sys.executable, "-m", "ringmaster_operator.cli", "up", "-f", str(stacks.SPEC)]
    command += ["--state-dir", str(folder / "state"), "--port", ports[0]]
    command += ["--control-port", ports[1], "--api-port", ports[2]]
    with subprocess.Popen(
        [sys.executable, "-c", IN_A_TERMINAL, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as terminal:
        seen = read_until(terminal, b"Ctrl-C ends everything")
        terminal.stdin.write(b"\x03")
        terminal.stdin.flush()
        seen += terminal.stdout.read()
        code = terminal.wait()
    text = seen.decode()
    order = [text.index(line) for line in ("balancer stopped", "operator stopped", "3 replicas")]
    assert order == sorted(order)
    assert code == 0
    assert "Traceback" not in text
    assert stacks.marked(folder / "state") == []


def test_without_files_the_set_that_is_kept_is_served_again(folder):
    spec = folder / "api.yaml"
    spec.write_text(stacks.SPEC.read_text().replace("name: web", "name: api", 1))
    served = lambda stack: requests.get(stack.url + "/home", timeout=5).ok  # noqa: E731
    first = stacks.start(folder, spec=spec)
    stacks.eventually(lambda: served(first), what="the first answer")
    assert stacks.stop(first) == 0
    second = stacks.start(folder, spec=None)
    stacks.eventually(lambda: served(second), what="an answer without a file")
    stacks.eventually(lambda: "serverset/api" in second.log.read_text(), what="the hint")
    assert stacks.stop(second) == 0


def test_a_good_server_that_dies_beside_a_successor_that_never_serves_is_made_anew(folder):
    stack = stacks.start(folder)
    good = stack.wait_active(3)
    document = yaml.safe_load(stacks.SPEC.read_text())
    document["spec"]["template"]["spec"]["containers"][0]["command"] = ["sleep", "600"]
    changed = folder / "changed.yaml"
    changed.write_text(yaml.safe_dump(document))
    stack.cli("apply", "-f", str(changed))
    stacks.eventually(
        lambda: stack.serverset()["status"]["updatedReplicas"] == 1, what="a successor"
    )
    os.kill(stack.pid_of(good["web-0"]), signal.SIGKILL)
    stacks.eventually(
        lambda: len(found := stack.active()) == 3 and found["web-0"] != good["web-0"],
        what="another one in its place",
    )
    assert stacks.stop(stack) == 0


def left_alone(stack):
    """`up` is killed: balancer, operator and replicas go on."""
    names(stack)
    stack.process.kill()
    stack.process.wait()


@pytest.mark.parametrize("ends", ["Ctrl-C", "down"])
def test_a_state_folder_that_was_removed_keeps_nothing_alive(folder, ends):
    stack = stacks.start(folder)
    names(stack)
    shutil.rmtree(stack.state)
    stacks.eventually(lambda: "was removed" in stack.log.read_text(), what="the news")
    if ends == "down":
        said = stack.cli("down").stdout
        assert f"stopping `ringmaster up` (pid {stack.process.pid})" in said
    assert stacks.stop(stack) == 0
    text = stack.log.read_text()
    for line in ("balancer stopped", "operator stopped", "3 replicas stopped"):
        assert line in text
    assert stacks.marked(stack.state) == []


@pytest.mark.docker
@pytest.mark.timeout(600)  # it may be the first that needs the images
@pytest.mark.parametrize("ends", ["Ctrl-C", "down"])
def test_the_containers_of_a_state_folder_that_was_removed_are_ended(folder, ends):
    project_images.build()
    stack = stacks.start(folder, flags=("--runtime", "docker"))
    names(stack)
    ours = f"label=ringmaster.dev/serverset-uid={stack.serverset()['metadata']['uid']}"
    try:
        if ends == "down":
            left_alone(stack)
        shutil.rmtree(stack.state)
        if ends == "down":
            assert "3 replicas stopped" in stack.cli("down").stdout
        else:
            assert stacks.stop(stack) == 0
            assert "3 replicas stopped" in stack.log.read_text()
        assert containers.docker("ps", "-aq", "--filter", ours) == ""
        assert stacks.marked(stack.state) == []
    finally:
        for left in containers.docker("ps", "-aq", "--filter", ours).split():
            containers.docker("rm", "-f", left)


def test_down_finds_what_runs_on_a_folder_that_is_gone(folder):
    stack = stacks.start(folder)
    left_alone(stack)
    shutil.rmtree(stack.state)
    said = stack.cli("down").stdout.splitlines()
    assert said == ["balancer stopped", "operator stopped", "3 replicas stopped"]
    assert stacks.marked(stack.state) == []
    assert stack.cli("down").stdout.startswith("nothing runs")


def test_another_up_on_a_folder_made_anew_is_told_of_the_first(folder):
    stack = stacks.start(folder)
    names(stack)
    shutil.rmtree(stack.state)
    second = stacks.start(folder)
    assert second.process.wait(timeout=30) == 1
    assert f"another `ringmaster up` (pid {stack.process.pid})" in stack.log.read_text()
    assert stacks.stop(stack) == 0
    assert [p for p in stacks.marked(stack.state) if p.is_running()] == []


@pytest.mark.parametrize("damage", [b"", b"certainly no database"])
def test_a_damaged_database_is_told_and_down_ends_all_that_runs(folder, damage):
    stack = stacks.start(folder)
    left_alone(stack)
    database = stack.state / "ringmaster.db"
    database.write_bytes(damage)
    second = stacks.start(folder, spec=None)  # with a file it would serve on, and say the same
    assert second.process.wait(timeout=30) == 1
    assert "move it away" in stack.log.read_text()
    assert database.read_bytes() == damage
    said = stack.cli("down", "--purge").stdout
    for line in ("cannot be used", "balancer stopped", "operator stopped", "3 replicas stopped"):
        assert line in said
    assert stacks.marked(stack.state) == []
    assert not stack.state.exists()


def test_an_up_that_finds_a_damaged_database_serves_on_and_ends_all(folder):
    stack = stacks.start(folder)
    left_alone(stack)
    (stack.state / "ringmaster.db").write_bytes(b"")
    second = again(stack)
    stacks.eventually(lambda: "move it away" in stack.log.read_text(), what="what is told")
    assert requests.get(stack.url + "/home", timeout=5).ok
    assert stacks.stop(second) == 0
    assert stacks.marked(stack.state) == []


def test_what_a_lost_database_leaves_behind_is_ended_with_the_rest(folder):
    stack = stacks.start(folder)
    left_alone(stack)
    for kept in stack.state.glob("ringmaster.db*"):
        kept.unlink()
    second = again(stack)
    stacks.eventually(
        lambda: "replicas-of-no-serverset" in stack.log.read_text(), what="what is told of them"
    )
    assert stacks.stop(second) == 0
    assert stacks.marked(stack.state) == []


def test_a_watch_goes_on_with_the_operator_that_up_starts_again(folder):
    stack = stacks.start(folder)
    names(stack)
    command = [sys.executable, "-u", "-m", "ringmaster_operator.cli", "get", "-w"]
    environment = os.environ | {"RINGMASTER_SERVER": stack.api}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as watching:
        try:
            read_until(watching, b"web")
            (operator,) = stack.children("ringmaster_operator")
            operator.kill()
            operator.wait()
            stacks.eventually(stack.serverset, what="another operator")
            stack.cli("scale", "serverset/web", "--replicas=4")
            assert b"web    4" in read_until(watching, b"web    4")
            assert watching.poll() is None
        finally:
            watching.kill()
    assert stacks.stop(stack) == 0
