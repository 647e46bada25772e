"""`ringmaster-operator` as a process, with a scripted balancer and replicas that only sleep."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import http_balancer
import local_api
import psutil
import pytest
import requests
import stack
import unwritable
import yaml
from ringmaster_operator import statedir, store
from ringmaster_operator.up import shutdown

SLEEP = "import time; time.sleep(600)"


class Operator:
    """A running operator; its log is its standard error."""

    def __init__(self, state: statedir.StateDir, *words: str) -> None:
        command = [sys.executable, "-m", "ringmaster_operator", "--state-dir", str(state.root)]
        self.log_file = state.root.parent / "log"
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--api-port", "0", *words], stderr=log, stdin=subprocess.DEVNULL
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def until(self, look: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + 40
        while not (found := look()):
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)
        return found

    def said(self, text: str) -> None:
        self.until(lambda: text in self.log)

    def api(self) -> str:
        line = self.until(
            lambda: next((x for x in self.log.splitlines() if "operator-started" in x), None)
        )
        return str(line.rpartition("api=")[2])

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[statedir.StateDir]:
    made = statedir.StateDir(tmp_path / "state")
    made.prepare()
    yield made
    shutdown.end_all(made, say=lambda _line: None, hurry=lambda: True)


@contextlib.contextmanager
def running(state: statedir.StateDir, *words: str) -> Iterator[Operator]:
    operator = Operator(state, *words)
    try:
        yield operator
    finally:
        operator.process.kill()
        operator.process.wait()


def document(**spec: Any) -> dict[str, Any]:
    made = local_api.server_set(**{"replicas": 1, **spec})
    (container,) = made["spec"]["template"]["spec"]["containers"]
    container["command"] = [sys.executable, "-c", SLEEP]
    del container["readinessProbe"]
    made["spec"]["balancer"] = {}
    return made


def file(tmp_path: Path, made: dict[str, Any]) -> str:
    path = tmp_path / "web.yaml"
    path.write_text(yaml.safe_dump(made))
    return str(path)


def replicas(api: str) -> list[dict[str, Any]]:
    answer = requests.get(f"{api}{local_api.SETS}/web/replicas", timeout=5)
    return list(answer.json()["items"]) if answer.ok else []


def test_replicas_whose_set_is_lost_with_the_database_are_told(state, tmp_path) -> None:
    words = ("-f", file(tmp_path, document()))
    with running(state, *words) as operator:
        api = operator.api()
        (before,) = operator.until(lambda: replicas(api))
        assert operator.end() == 0
    for kept in state.root.glob("ringmaster.db*"):
        kept.unlink()
    with running(state, *words, "--create-missing") as operator:
        operator.said("replicas-of-no-serverset")
        (line,) = [x for x in operator.log.splitlines() if "replicas-of-no-serverset" in x]
        assert before["metadata"]["name"] in line
        assert "level=warning" in line  # what `up` shows
        assert operator.end() == 0


def test_a_stored_set_that_todays_rules_refuse_keeps_nobody_from_starting(state) -> None:
    wrong = document(replicas=-1)
    kept = store.Store(state.database)
    kept.create("default", "web", wrong)
    kept.create("default", "other", document() | {"metadata": {"name": "other"}})
    kept.close()
    with running(state) as operator:
        api = operator.api()

        def conditions() -> list[tuple[str, str]]:
            status = requests.get(f"{api}{local_api.SETS}/web", timeout=5).json().get("status", {})
            return [(c["type"], c["reason"]) for c in status.get("conditions", ())]

        operator.until(lambda: ("Ready", "InvalidSpec") in conditions())
        assert operator.end() == 0


def test_it_serves_what_the_file_says_and_leaves_replicas_alive_when_it_ends(
    state, tmp_path
) -> None:
    with running(state, "-f", file(tmp_path, document())) as first:
        api = first.api()
        (before,) = first.until(lambda: replicas(api))
        first.until(lambda: replicas(api)[0]["status"]["phase"] == "Running")
        assert first.end() == 0
    with running(state) as second:
        (after,) = second.until(lambda: replicas(second.api()))
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        assert second.end() == 0


@pytest.mark.parametrize("words", [(), ("--balancer-url", "http://127.0.0.1:9")])
def test_it_warns_of_no_balancer_only_where_it_has_none_itself(state, words) -> None:
    with running(state, *words) as operator:
        sets = f"{operator.api()}{local_api.SETS}"
        made = requests.post(sets, json=document(replicas=0), timeout=5)
        merge = {"Content-Type": "application/merge-patch+json"}
        changed = requests.patch(
            f"{sets}/web", data='{"spec": {"paused": true}}', headers=merge, timeout=5
        )
        for answer in (made, changed):
            assert answer.ok
            assert ("no balancer will know" in answer.headers["Warning"]) is (not words)
        assert operator.end() == 0


def test_a_changed_file_is_applied_and_a_wrong_one_is_refused_and_said(state, tmp_path) -> None:
    path = file(tmp_path, document())
    with running(state, "-f", path) as operator:
        api = operator.api()
        operator.until(lambda: len(replicas(api)) == 1)
        file(tmp_path, document(replicas=-1))
        operator.said("spec-file-refused")
        file(tmp_path, document(replicas=2))
        operator.until(lambda: len(replicas(api)) == 2)
        assert operator.end() == 0


@pytest.mark.parametrize("kind", unwritable.KINDS)
def test_a_log_that_cannot_be_written_stops_no_healing_and_no_end(state, tmp_path, kind) -> None:
    port = stack.free_port()
    words = ["--state-dir", str(state.root), "--api-port", str(port)]
    words += ["-f", file(tmp_path, document())]
    with (
        unwritable.opened(kind) as descriptor,
        subprocess.Popen(
            [sys.executable, "-m", "ringmaster_operator", *words], stderr=descriptor
        ) as process,
    ):
        try:

            def running() -> str:
                found = replicas(f"http://127.0.0.1:{port}")
                phases = [each["status"]["phase"] for each in found]
                return str(found[0]["metadata"]["uid"]) if phases == ["Running"] else ""

            first = stack.eventually(running, what="a replica")
            (victim,) = psutil.Process(process.pid).children()
            victim.kill()
            stack.eventually(lambda: running() not in {"", first}, what="its replacement")
            file(tmp_path, document(replicas=2))
            stack.eventually(
                lambda: len(replicas(f"http://127.0.0.1:{port}")) == 2, what="what the file says"
            )
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()


def test_a_second_operator_on_one_folder_exits_with_one_line(state) -> None:
    with state.lock("operator", busy=""), running(state) as operator:
        assert operator.process.wait(30) == 1
    (line,) = operator.log.splitlines()
    assert line.startswith("ringmaster-operator: another operator acts on the state folder")


def test_a_wrong_spec_file_ends_it_with_all_faults(state, tmp_path) -> None:
    with running(state, "-f", file(tmp_path, document(replicas=-1, surprise=1))) as operator:
        assert operator.process.wait(30) == 1
    assert "spec.replicas" in operator.log
    assert "spec.surprise" in operator.log


def test_a_file_that_got_wrong_meanwhile_keeps_nobody_from_starting(state, tmp_path) -> None:
    path = file(tmp_path, document())
    with running(state, "-f", path) as first:
        first.until(lambda: replicas(first.api()))
        assert first.end() == 0
    file(tmp_path, document(replicaz=2))
    with running(state, "-f", path) as second:
        second.until(lambda: replicas(second.api()))
        second.said("spec-file-refused")
        assert second.end() == 0


def test_a_path_that_cannot_be_looked_at_ends_no_operator_that_has_sets(state, tmp_path) -> None:
    path, failing = tmp_path / "specs", "x" * 300  # as a link's target: too long for a name
    specs = tmp_path / "kept"
    specs.mkdir()
    path.symlink_to(specs)
    file(specs, document())
    with running(state, "-f", str(path)) as first:
        api = first.api()
        first.until(lambda: replicas(api))
        point(path, failing)
        first.said("spec-file-refused")
        assert first.end() == 0
    with running(state, "-f", str(path)) as second:
        api = second.api()
        second.said("spec-file-refused")
        assert len(replicas(api)) == 1
        file(specs, document(replicas=2))
        point(path, str(specs))
        second.until(lambda: len(replicas(api)) == 2)
        assert second.end() == 0


def point(link: Path, target: str) -> None:
    """Let a link lead elsewhere, at once."""
    fresh = link.with_name("fresh")
    fresh.symlink_to(target)
    fresh.replace(link)


def test_a_file_that_cannot_be_read_is_said_once_and_read_once_it_can(state, tmp_path) -> None:
    path = tmp_path / "web.yaml"
    whole = yaml.safe_dump(document()).encode()
    path.write_bytes(b"\xff" + whole[1:])
    written = path.stat().st_mtime_ns
    with running(state) as operator:
        requests.post(f"{operator.api()}{local_api.SETS}", json=document(replicas=0), timeout=5)
        assert operator.end() == 0
    with running(state, "-f", str(path)) as operator:
        api = operator.api()
        operator.said("spec-file-refused")
        time.sleep(2.5)  # some looks
        assert operator.log.count("spec-file-refused") == 1
        fresh = tmp_path / "fresh"
        fresh.write_bytes(whole)
        os.utime(fresh, ns=(written, written))  # as if what failed had been the disk
        fresh.replace(path)
        operator.until(lambda: len(replicas(api)) == 1)
        assert operator.end() == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--api-host", "192.0.2.1"), "the API cannot listen on 192.0.2.1"),
        (("--token-file", "/no/such/file"), "there is no token file /no/such/file"),
        (("-f", "/no/such/file"), 'the path "/no/such/file" does not exist'),
        (("-f", "x" * 300), f'"{"x" * 300}" cannot be read: File name too long'),
    ],
)
def test_what_it_cannot_do_it_says_in_one_line(state, words, says) -> None:
    with running(state, *words) as operator:
        assert operator.process.wait(30) == 1
    assert says in operator.log
    assert "Traceback" not in operator.log


def test_its_epoch_is_above_every_balancers_and_a_higher_one_ends_it(state, tmp_path) -> None:
    kept = store.Store(state.database)
    kept.create("default", "web", document())
    kept.close()
    far = 10**15  # ms: in the year 33658
    with http_balancer.HttpBalancer(token=state.token(), epoch=far).running() as balancer:
        with running(state, "--balancer-url", balancer.url) as operator:
            operator.until(lambda: balancer.held["epoch"] == far + 1)
            balancer.held = {**balancer.held, "epoch": far + 2}
            assert operator.process.wait(40) == 1
        assert "fenced" in operator.log
        assert f"knows epoch {far + 2}" in operator.log


def test_ctrl_c_ends_it_as_sigterm_does(state) -> None:
    with running(state) as operator:
        operator.api()
        operator.process.send_signal(signal.SIGINT)
        assert operator.process.wait(30) == 0
    assert not psutil.pid_exists(operator.process.pid)
