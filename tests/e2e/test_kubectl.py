"""The real kubectl against the local operator, on processes and on containers.

Every test begins with `web` at three that serve, and knows no server of Ringmaster's but the one
that kubectl is pointed at.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import engines
import hosted
import project_images
import psutil
import pytest
import requests
import stack as stacks
import yaml
from kubectl_tool import Kubectl

ONE = "serverset.ringmaster.dev/web"


@dataclass
class World:
    """kubectl, the balancer's URL, and what really runs: a count of replicas."""

    kubectl: Kubectl
    url: str
    running: Callable[[], int]


@contextlib.contextmanager
def processes(folder) -> Iterator[World]:
    stack = stacks.start(folder, spec=None)
    try:
        stacks.eventually(lambda: requests.get(stack.api + "/readyz", timeout=5).ok, what="API")

        def running() -> int:
            return sum(
                "ringmaster-server" in " ".join(p.cmdline()) for p in stacks.marked(stack.state)
            )

        yield World(Kubectl(folder, (f"--server={stack.api}",)), stack.url, running)
    finally:
        stacks.stop(stack)
    assert not stacks.marked(stack.state)


@contextlib.contextmanager
def docker(folder) -> Iterator[World]:
    project_images.build()
    with hosted.place(folder) as place:
        balancer = place.balancer("--lab-api")
        operator = place.operator("operator")
        stacks.eventually(lambda: requests.get(operator.api + "/readyz", timeout=5).ok, what="API")

        def running() -> int:
            return len(hosted.listed(f"network={place.network}", "status=running"))

        kubectl = Kubectl(folder, (f"--server={operator.api}",))
        yield World(kubectl, balancer.url, running)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(processes, id="processes"),
        pytest.param(docker, id="docker", marks=pytest.mark.docker),
    ],
)
def world(request, tmp_path_factory) -> Iterator[World]:
    engines.require("kubectl")
    if request.param is docker:
        engines.require("docker")
    with request.param(tmp_path_factory.mktemp("kubectl")) as made:
        yield made


@pytest.fixture
def kubectl(world) -> Kubectl:
    """With `web` as the example has it, and serving; what a test before had more of is gone."""
    world.kubectl.run("apply", "-f", str(stacks.SPEC))
    world.kubectl.run(
        "wait", "--for=jsonpath={.status.readyReplicas}=3", "sset/web", "--timeout=60s"
    )
    world.kubectl.run("wait", "--for=condition=Ready", "sset/web", "--timeout=60s")
    return world.kubectl


def live(kubectl):
    return yaml.safe_load(kubectl.run("get", "serverset", "web", "-o", "yaml"))


def changed(**spec):
    document = yaml.safe_load(stacks.SPEC.read_text())
    document["spec"] |= spec
    return document


def test_apply_creates_it_and_wait_returns_when_all_serve(world):
    world.kubectl.run("delete", "sset", "web", "--ignore-not-found")
    assert world.kubectl.run("apply", "-f", str(stacks.SPEC)) == f"{ONE} created\n"
    said = world.kubectl.run("wait", "--for=condition=Ready", "sset/web", "--timeout=60s")
    assert said == f"{ONE} condition met\n"
    with requests.Session() as session:
        answers = [session.get(world.url + "/home", timeout=10) for _ in range(40)]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 3
    assert world.running() == 3
    assert world.kubectl.run("apply", "-f", str(stacks.SPEC)) == f"{ONE} unchanged\n"


def test_a_watch_sees_a_scale_up_step_by_step(kubectl):
    with kubectl.start("get", "sset", "web", "-w") as watch:
        try:
            heading, first = watch.stdout.readline(), watch.stdout.readline()
            assert heading.split() == ["NAME", "DESIRED", "READY", "AVAILABLE", "IN-RING", "AGE"]
            assert first.split()[:5] == ["web", "3", "3", "3", "3"]
            assert kubectl.run("scale", ONE, "--replicas=5") == f"{ONE} scaled\n"
            rows = [watch.stdout.readline().split()[1:5]]
            while rows[-1] != ["5", "5", "5", "5"]:
                rows.append(watch.stdout.readline().split()[1:5])
        finally:
            watch.kill()
    assert rows[0][0] == "5"
    for _, ready, available, ring in rows:
        assert int(ring) <= int(available) <= int(ready)
    counts = [int(row[3]) for row in rows]
    assert counts == sorted(counts)


def test_scale_down_is_followed_and_guarded_by_the_current_count(world, kubectl):
    kubectl.run("scale", "sset/web", "--replicas=2", "--current-replicas=3")
    kubectl.run("wait", "--for=jsonpath={.status.replicas}=2", "sset/web", "--timeout=60s")
    kubectl.run("wait", "--for=condition=Ready", "sset/web", "--timeout=60s")
    assert live(kubectl)["status"]["inRing"] == 2
    # Those that are told to end count no more, and take their time.
    stacks.eventually(lambda: world.running() == 2, what="the end of the others")
    said = kubectl.run("scale", "sset/web", "--replicas=4", "--current-replicas=3", code=1)
    assert "Expected replicas to be 3, was 2" in said


def test_yaml_shows_spec_and_status(kubectl):
    document = live(kubectl)
    status = document["status"]
    assert document["spec"]["template"] == changed()["spec"]["template"]
    assert status["observedGeneration"] == document["metadata"]["generation"]
    assert [status[name] for name in ("replicas", "readyReplicas", "inRing")] == [3, 3, 3]
    conditions = {each["type"]: each["status"] for each in status["conditions"]}
    assert (conditions["Ready"], conditions["BalancerSynced"]) == ("True", "True")


def test_describe_shows_conditions_and_events(kubectl):
    shown = " ".join(kubectl.run("describe", "sset", "web").split())
    for words in ("Ready Replicas: 3", "AllReplicasServe", "SuccessfulCreate", "RingUpdated"):
        assert words in shown
    assert "SuccessfulCreate" in kubectl.run("events", "--for", "serverset/web")
    events = json.loads(kubectl.run("get", "events", "-o", "json"))["items"]
    assert {each["involvedObject"]["kind"] for each in events} == {"ServerSet"}


def test_diff_tells_equal_from_changed_and_writes_nothing(kubectl):
    before = live(kubectl)
    assert kubectl.run("diff", "-f", str(stacks.SPEC)) == ""
    shown = kubectl.run("diff", "-f", "-", code=1, stdin=yaml.safe_dump(changed(replicas=9)))
    assert "-  replicas: 3\n+  replicas: 9\n" in shown
    after = live(kubectl)
    assert (after["spec"], after["metadata"]["generation"]) == (
        before["spec"],
        before["metadata"]["generation"],
    )


def test_edit_changes_what_runs(world, kubectl, tmp_path):
    script = tmp_path / "editor.py"
    script.write_text(
        "import pathlib, sys\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "path.write_text(path.read_text().replace('replicas: 3', 'replicas: 4', 1))\n"
    )
    editor = shlex.join([sys.executable, str(script)])
    assert "edited" in kubectl.run("edit", "sset", "web", KUBE_EDITOR=editor)
    kubectl.run("wait", "--for=jsonpath={.status.inRing}=4", "sset/web", "--timeout=60s")
    stacks.eventually(lambda: world.running() == 4, what="four that run")


def test_a_wrong_change_is_refused_with_every_fault(kubectl):
    said = kubectl.apply(changed(replicas=-1, drainSeconds="soon"), code=1)
    assert "spec.replicas" in said
    assert "spec.drainSeconds" in said
    assert live(kubectl)["spec"]["replicas"] == 3


def test_what_the_runtime_cannot_honour_is_refused_with_the_fields_path(kubectl):
    document = changed()
    document["spec"]["template"]["spec"]["nodeSelector"] = {"disk": "ssd"}
    assert "spec.template.spec.nodeSelector" in kubectl.apply(document, code=1)


def test_explain_knows_the_fields(kubectl):
    assert "How many replicas shall serve." in kubectl.run("explain", "serverset.spec.replicas")
    assert "unhealthyAfterSeconds" in kubectl.run("explain", "sset.spec")


def test_delete_returns_when_the_last_replica_is_gone(world, kubectl):
    said = kubectl.run("delete", "sset", "web", "--timeout=60s")
    assert said == 'serverset.ringmaster.dev "web" deleted\n'
    assert world.running() == 0
    assert requests.get(world.url + "/home", timeout=10).status_code == 503
    assert "NotFound" in kubectl.run("get", "sset", "web", code=1)


@pytest.fixture
def elsewhere():
    """An address of this machine that is not loopback's."""
    for addresses in psutil.net_if_addrs().values():
        for each in addresses:
            if each.family is socket.AF_INET and not ipaddress.ip_address(each.address).is_loopback:
                return each.address
    pytest.skip("this machine has no address but loopback's")


def test_from_another_machine_a_kubeconfig_brings_tls_and_the_token(elsewhere, tmp_path):
    engines.require("kubectl")
    token, state, port = tmp_path / "token", tmp_path / "state", stacks.free_port()
    token.write_text("s3cret\n")
    command = [sys.executable, "-m", "ringmaster_operator", "--state-dir", str(state)]
    command += ["--api-host", "0.0.0.0", "--api-port", str(port), "--token-file", str(token)]
    command += ["--api-name", elsewhere]
    log = tmp_path / "log"
    with log.open("wb") as output, subprocess.Popen(command, stderr=output) as operator:
        try:
            stacks.eventually(lambda: "operator-started" in log.read_text(), what="the API")
            cli = [sys.executable, "-m", "ringmaster_operator.cli", "--state-dir", str(state)]
            config = tmp_path / "config"
            subprocess.run([*cli, "kubeconfig", "-o", str(config)], check=True, timeout=60)
            assert f"https://{elsewhere}:{port}" in config.read_text()

            kubectl = Kubectl(tmp_path, (f"--kubeconfig={config}",))
            assert kubectl.apply(changed(replicas=0)) == f"{ONE} created\n"
            assert kubectl.run("scale", ONE, "--replicas=0") == f"{ONE} scaled\n"
            kubectl.run("wait", "--for=condition=Available", ONE, "--timeout=60s")
            stranger = Kubectl(tmp_path, (f"--kubeconfig={config}", "--token=guessed"))
            assert "You must be logged in" in stranger.run("get", "sset", code=1)

            local = subprocess.run(
                [*cli, "get", "-o", "name"], check=True, timeout=60, capture_output=True, text=True
            )
            assert local.stdout == f"{ONE}\n"
            kubectl.run("delete", ONE, "--timeout=60s")
        finally:
            operator.terminate()
            assert operator.wait(30) == 0
