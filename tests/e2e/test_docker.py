"""The main job on a real Docker Engine, brought up by compose from a fresh clone.

One project for all tests of this file; each begins and ends with three replicas that serve.
"""

from __future__ import annotations

import json
import threading
import time

import compose
import containers
import loadgen
import pytest
import requests
import stack as stacks
import yaml

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compose")
    with compose.running(folder, unhealthyAfterSeconds=2, drainSeconds=1) as running:
        yield running


@pytest.fixture
def stack(project):
    project.wait_active(3)
    yield project
    project.wait_active(3, seconds=90)


@pytest.fixture
def foreign():
    """The id of somebody else's container, which has the name that a test gives it."""
    made = []

    def run(name):
        made.append(containers.docker("run", "--detach", "--name", name, containers.PYTHON_IMAGE, "sleep", "600"))  # fmt: skip
        return made[-1]

    yield run
    for one in made:
        containers.docker("rm", "--force", one)


def owners(stack, keys=500):
    """Which server answers each key, at rest."""
    outcome = loadgen.run(stack.port, requests=keys, keys=keys, connections=8)
    assert outcome.failures == []
    return {key: server for _, key, server in outcome.answers}


def replaced(stack, member, *, victim):
    """The name of the replica that took the victim's place."""

    def look():
        name = stack.wait_active(3)[member]
        return name if name != victim else None

    return stacks.eventually(look, what=f"a replacement of {victim}")


def test_a_fresh_clone_serves_and_compose_shows_its_replicas(stack):
    answer = requests.get(f"{stack.url}/home", timeout=5)
    assert answer.json()["message"].startswith("Hello from Server: web-")

    shown = [json.loads(line) for line in stack.compose("ps", "--format", "json").splitlines()]
    assert sorted(one["Service"] for one in shown) == [
        "balancer", "operator", "serverset-web", "serverset-web", "serverset-web",
    ]  # fmt: skip
    assert {one["Name"] for one in shown if one["Service"] == "serverset-web"} == set(stack.rep())


def test_nothing_is_published_beyond_loopback(stack):
    published = {
        words.split("->")[0]
        for words in stack.compose("ps", "--format", "{{.Ports}}").replace(",", "\n").split()
        if "->" in words
    }
    ports = (stack.port, stack.api_port, stack.control_port)
    assert published == {f"127.0.0.1:{port}" for port in ports}


def test_a_replica_reaches_neither_the_control_port_nor_the_api(stack):
    networks = [
        network
        for service in ("operator", "balancer")
        for network in containers.inspect(stack.compose("ps", "--quiet", service).strip())[
            "NetworkSettings"
        ]["Networks"].values()
    ]
    assert len(networks) == 5
    inside, published = (5000, 5001, 7070, 7071), (stack.port, stack.api_port, stack.control_port)
    tried = [(one["IPAddress"], port) for one in networks for port in inside]
    # The host, as the replicas see it.
    tried += [(address, port) for address in {one["Gateway"] for one in networks} for port in published]  # fmt: skip
    code = (
        "import socket, sys, concurrent.futures as f\n"
        "def open_(to):\n"
        "    try: socket.create_connection(to, 1).close()\n"
        "    except OSError: return None\n"
        "    return to[1]\n"
        f"print(*filter(None, f.ThreadPoolExecutor(20).map(open_, {tried!r})))"
    )
    reached = containers.docker("exec", stack.replicas()[0], "python3", "-c", code)
    assert reached == "5000"  # the balancer's, on the network that they share


def test_the_ring_can_be_looked_at_and_asked(stack):
    page = requests.get(f"http://127.0.0.1:{stack.control_port}/", timeout=10)
    assert page.status_code == 200
    assert "<svg" in page.text
    assert requests.get(f"http://127.0.0.1:{stack.control_port}/v1/rings/default/web", timeout=10).status_code == 401  # fmt: skip

    told = stack.compose(
        "exec", "-T", "operator", "ringmaster", "explain", "--key", "some-user",
        "--balancer", "http://balancer-control:5001", "--token-file", "/run/ringmaster/token",
    )  # fmt: skip
    assert any(name in told for name in stack.rep())


def test_the_example_of_a_hash_function_of_ones_own_is_taken(stack):
    before = stack.serverset()["spec"].get("ring", {}).get("hash")
    stack.patch({"ring": {"hash": "example:blake"}})

    def held():
        synced = stack.condition("BalancerSynced")
        assert synced["reason"] != "HashRefused", synced
        page = requests.get(f"http://127.0.0.1:{stack.control_port}/page.json", timeout=5)
        return "example:blake" in page.text

    stacks.eventually(held, what="the ring with another hash")
    stack.wait_active(3)
    stack.patch({"ring": {"hash": before}})


def test_what_runs_has_no_rights_that_it_does_not_need(stack):
    for service in ("operator", "balancer"):
        given = containers.inspect(stack.compose("ps", "--quiet", service).strip())["HostConfig"]
        assert given["CapDrop"] == ["ALL"]
        assert given["ReadonlyRootfs"]
        assert given["SecurityOpt"] == ["no-new-privileges:true"]
        assert not given["Privileged"]
    for part in ("operator", "balancer", "server"):
        image = json.loads(containers.docker("image", "inspect", f"ringmaster/{part}:0.1.0"))[0]
        assert image["Config"]["User"] == "10001:10001"
        assert image["Config"]["Healthcheck"]["Test"][0] == "CMD"


def test_kubectl_apply_of_another_count_is_followed_and_outlives_the_operator(stack):
    document = yaml.safe_load((stack.specs / "serverset.yaml").read_text())
    document["spec"]["replicas"] = 5
    changed = stack.folder / "five.yaml"
    changed.write_text(yaml.safe_dump(document))

    assert "configured" in stack.kubectl("apply", "-f", str(changed))
    stack.kubectl("wait", "--for=condition=Ready", "serverset/web", "--timeout=60s")
    before = stack.wait_active(5)
    stack.compose("restart", "operator")
    assert stack.wait_active(5) == before  # the same containers, and the file did not win

    # The file wins when it says something new.
    document["spec"]["replicas"] = 4
    (stack.specs / "serverset.yaml").write_text(yaml.safe_dump(document))
    stack.wait_active(4)
    stack.kubectl("scale", "serverset/web", "--replicas=3")
    stack.wait_active(3)


def test_a_container_killed_under_load_costs_no_request_and_keeps_its_keys(stack):
    victim = stack.members()["web-1"]
    before = owners(stack)

    outcome = loadgen.run(
        stack.port, keys=500, at={10_000: lambda: containers.docker("kill", victim)}
    )

    assert outcome.failures == []
    assert len(outcome.answers) == 40_000
    moved = {
        key: server
        for _, key, server in outcome.answers
        if server != before[key] and before[key] != victim
    }
    assert moved == {}
    successor = replaced(stack, "web-1", victim=victim)
    assert successor.startswith("emergency-web-1-")
    assert owners(stack) == {
        key: successor if was == victim else was for key, was in before.items()
    }


def test_a_killed_container_has_a_successor_in_the_ring_within_half_a_minute(stack):
    victim = stack.members()["web-1"]
    containers.docker("kill", victim)

    def whole():
        now = stack.rep()
        return len(now) == 3 and victim not in now

    stacks.eventually(whole, what="three in the ring again", seconds=30)


def test_a_container_that_somebody_removed_is_replaced(stack):
    victim = stack.members()["web-2"]
    containers.docker("rm", "--force", victim)

    assert replaced(stack, "web-2", victim=victim).startswith("emergency-web-2-")


def test_a_paused_container_is_replaced_and_removed(stack):
    victim = stack.members()["web-0"]
    container = containers.inspect(victim)["Id"]
    owned = owners(stack)

    outcome = loadgen.run(
        stack.port, requests=5_000, keys=500, at={500: lambda: containers.docker("pause", victim)}
    )

    assert outcome.failures == []
    assert all(server == owned[key] for _, key, server in outcome.answers if owned[key] != victim)
    successor = replaced(stack, "web-0", victim=victim)
    assert successor.startswith("emergency-web-0-")
    assert container not in stack.replicas()


def test_a_name_that_another_container_has_is_a_clear_400(stack, foreign):
    name = f"{stack.name}-S5"
    foreign(name)

    answer = requests.post(f"{stack.url}/add", json={"n": 1, "hostnames": [name]}, timeout=65)

    assert answer.status_code == 400
    assert answer.json()["message"] == f"<Error> Hostname '{name}' is already in use by a container"
    assert len(stack.rep()) == 3


def test_a_name_asked_for_becomes_the_containers_name(stack):
    name = f"{stack.name}_S6"
    answer = requests.post(f"{stack.url}/add", json={"n": 1, "hostnames": [name]}, timeout=65)
    assert answer.status_code == 200
    assert containers.inspect(name)["State"]["Running"]

    answer = requests.delete(f"{stack.url}/rm", json={"n": 1, "hostnames": [name]}, timeout=65)
    assert answer.status_code == 200
    assert name not in stack.rep()


def test_a_name_that_is_taken_meanwhile_gives_way_to_a_generated_one(stack, foreign):
    name = f"{stack.name}-S7"
    other = foreign(name)
    stack.patch({"replicas": 4, "names": [name]})

    members = stack.wait_active(4)
    assert members["web-3"] != name
    assert containers.inspect(name)["Id"] == other
    stack.patch({"replicas": 3})


def test_an_image_that_does_not_exist_is_a_condition_and_the_old_ones_serve_on(stack):
    before = stack.wait_active(3)
    good = stack.serverset()["spec"]["template"]
    bad = json.loads(json.dumps(good))
    bad["spec"]["containers"][0]["image"] = "ringmaster.invalid/no/such:image"
    stack.patch({"template": bad})

    stacks.eventually(
        lambda: stack.condition("ReplicaFailure")["status"] == "True", what="the condition"
    )
    said = stack.condition("ReplicaFailure")
    assert said["reason"] == "ErrImagePull"
    assert "ringmaster.invalid" in said["message"]
    outcome = loadgen.run(stack.port, requests=2_000, keys=500, connections=8)
    assert outcome.failures == []
    assert stack.members() == before

    repaired = json.loads(json.dumps(good))
    repaired["spec"]["containers"][0]["env"] = [{"name": "REPAIRED", "value": "yes"}]
    stack.patch({"template": repaired})
    after = stack.wait_active(3, seconds=90)
    assert not set(after.values()) & set(before.values())
    stacks.eventually(
        lambda: stack.condition("ReplicaFailure")["status"] == "False", what="no more failures"
    )


def test_a_rolling_update_under_load_fails_no_request_and_keeps_three_in_the_ring(stack):
    before = stack.wait_active(3)
    template = stack.serverset()["spec"]["template"]
    template["spec"]["containers"][0]["env"] = [{"name": "RELEASE", "value": stack.name}]
    fewest, ended = [3], threading.Event()

    def watch():
        while not ended.wait(0.02):
            fewest.append(len(stack.rep()))

    def update():
        stack.patch({"template": template})
        stacks.eventually(
            lambda: not set(stack.rep()) & set(before.values()), what="the end of the rollout"
        )

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        outcome = loadgen.run(stack.port, keys=500, at={1_000: update})
    finally:
        ended.set()
        watching.join()

    assert outcome.failures == []
    assert min(fewest) >= 3
    after = stack.wait_active(3)
    assert set(after) == set(before)  # the same places, so no key has moved for good
    for name in after.values():
        assert f"RELEASE={stack.name}" in containers.inspect(name)["Config"]["Env"]


def test_an_operator_that_is_away_changes_nothing_for_clients(stack):
    before = stack.wait_active(3)
    stack.compose("stop", "operator")
    containers.docker("kill", before["web-0"])
    outcome = loadgen.run(stack.port, requests=2_000, keys=500, connections=8)
    assert outcome.failures == []
    stack.compose("start", "operator")

    started = time.monotonic()
    assert replaced(stack, "web-0", victim=before["web-0"]).startswith("emergency-web-0-")
    assert time.monotonic() - started < 60
    assert {stack.members()[place] for place in ("web-1", "web-2")} == {
        before[place] for place in ("web-1", "web-2")
    }


# Last: on a busy machine those that stay of thirty may be others than the first three.
def test_thirty_come_and_go(stack):
    started = time.monotonic()
    stack.patch({"replicas": 30})
    members = stack.wait_active(30, seconds=90)
    assert set(members) == {f"web-{ordinal}" for ordinal in range(30)}
    assert time.monotonic() - started < 90
    stack.patch({"replicas": 3})
