"""Ringmaster installed on a real cluster from its manifests, with its images, under load.

One installation for all: each test leaves three servers and two balancers. Every load is at least
40,000 idempotent requests through the NodePort and goes on until what was broken is whole again.
A NetworkPolicy is applied and not enforced here: this cluster's network knows none.
"""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import time
from pathlib import Path

import deployed
import kube_cluster
import loadgen
import pytest
import requests

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]
LOAD_SECONDS = 380
# After 40 s without a sign of its kubelet Kubernetes gives a node up, and sends no request there
# any more; the kubelet has 10 s between two signs.
GIVEN_UP = 30
FRESH = 8  # of 64 clients, those that open a connection for each request


@pytest.fixture(scope="module")
def installed():
    with deployed.running() as made:
        yield made


@pytest.fixture
def web(shaken):
    """The installation while nothing happens to its API server."""
    began = dt.datetime.now(tz=dt.UTC).isoformat(timespec="seconds")
    yield shaken
    said = shaken.kubectl("logs", "-l", deployed.OPERATORS, "--tail=-1", f"--since-time={began}")
    assert "orbidden" not in said  # its role is enough
    assert "watch-failed" not in said


@pytest.fixture
def shaken(installed):
    """The installation as it was at first; after a failure, too, for the next test.

    Whatever the operator says: an API server that has just started answers 403 until it has read
    its roles, and ends the watches that it held.
    """
    yield installed
    installed.fresh()


def under_load(installed, act):
    """The load while `act` runs; it begins with request 5,000."""
    outcome = loadgen.run(
        installed.port, at={5_000: act}, seconds=LOAD_SECONDS, throughout=True, fresh=FRESH
    )  # fmt: skip
    assert len(outcome.answers) + len(outcome.failures) >= 40_000
    return outcome


def owners(installed, keys=2_000):
    """Which server answers each key, at rest."""
    outcome = loadgen.run(installed.port, requests=keys, keys=keys, connections=8)
    assert outcome.failures == []
    return {key: server for _, key, server in outcome.answers}


def moved(before, outcome, *, but):
    """Keys that another than the victim had and that somebody else answered."""
    return {
        key: server
        for _, key, server in outcome.answers
        if server != before[key] and before[key] != but
    }


# -- what a user sees


def test_curl_through_the_node_port_meets_three_servers_and_a_key_always_the_same(web):
    assert len({web.home(f"key-{n}") for n in range(60)}) == 3
    assert len({web.home("the same") for _ in range(20)}) == 1


def test_kubectl_get_shows_the_columns(web):
    head, line = web.kubectl("get", "serversets").splitlines()
    assert head.split() == ["NAME", "DESIRED", "READY", "AVAILABLE", "IN-RING", "AGE"]
    assert line.split()[:5] == ["web", "3", "3", "3", "3"]
    wide = web.kubectl("get", "sset", "web", "-o", "wide").splitlines()[0].split()
    assert wide[-4:] == ["CURRENT", "UPDATED", "REVISION", "SELECTOR"]


def test_kubectl_get_all_lists_serversets(web):
    assert "serverset.ringmaster.dev/web" in web.kubectl("get", "all")


def test_kubectl_explain_describes_the_ring(web):
    assert "scheme" in web.kubectl("explain", "serverset.spec.ring")


def test_kubectl_wait_sees_the_conditions(web):
    for condition in ("Ready", "Available", "BalancerSynced"):
        web.kubectl("wait", "serverset/web", f"--for=condition={condition}", "--timeout=20s")
    status = web.namespace.get("serverset", "web")
    assert status["status"]["observedGeneration"] == status["metadata"]["generation"]


def test_kubectl_scale_is_followed_by_pods_and_ring(web):
    web.kubectl("scale", "serverset/web", "--replicas=8")
    assert set(web.settled(8)) == {f"web-{n}" for n in range(8)}
    web.kubectl("scale", "serverset/web", "--replicas=2")
    web.settled(2)
    assert len({web.home(f"key-{n}") for n in range(60)}) == 2


def test_an_autoscaler_works_on_the_scale_subresource(web):
    scaler = {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "ringmaster.dev/v1alpha1", "kind": "ServerSet", "name": "web",
            },
            # Above the count: it acts without metrics.
            "minReplicas": 5, "maxReplicas": 6, "targetCPUUtilizationPercentage": 50,
        },
    }  # fmt: skip
    web.namespace.apply(scaler)
    try:
        web.settled(5)
        assert web.namespace.get("serverset", "web")["spec"]["replicas"] == 5
    finally:
        web.kubectl("delete", "hpa", "web")


def test_the_lab_api_adds_and_removes_servers_by_name(web):
    held = requests.get(web.url + "/rep", timeout=10).json()
    assert held["message"]["N"] == 3
    added = requests.post(
        web.url + "/add", json={"n": 2, "hostnames": ["S5", "S4"]}, timeout=70
    ).json()
    assert added["status"] == "successful", added
    assert added["message"]["N"] == 5
    assert {"S5", "S4"} <= set(added["message"]["replicas"])
    assert "S5" in {web.home(f"key-{n}") for n in range(200)}
    removed = requests.delete(
        web.url + "/rm", json={"n": 2, "hostnames": ["S5", "S4"]}, timeout=70
    ).json()
    assert removed["message"]["N"] == 3, removed
    refused = requests.post(web.url + "/add", json={"n": 1, "hostnames": ["A", "B"]}, timeout=10)
    assert refused.status_code == 400
    assert refused.json()["message"].startswith("<Error> Length of hostname list")


def test_the_control_port_is_not_on_the_node_port(web):
    assert requests.get(f"{web.url}/v1/rings/{web.namespace.name}/web", timeout=5).status_code in {
        400,
        404,
    }
    service = web.namespace.get("service", "ringmaster-balancer")
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]


# -- how it is installed


def test_installing_again_changes_nothing(web):
    def state():
        pods = {**web.pods(deployed.OPERATORS), **web.pods(deployed.BALANCERS)}
        return {name: pod["metadata"]["uid"] for name, pod in pods.items()}

    before = state()
    deployed.script("up", web.namespace.name, "--node-port", "0", "--image-ids")
    assert state() == before
    assert len(web.rings()) == 2  # the token is the same


def test_the_operator_may_do_what_its_role_says_and_no_more(web):
    account = f"--as=system:serviceaccount:{web.namespace.name}:ringmaster-operator"
    answers = {}
    for verb, what, *part in (
        ("create", "pods"),
        ("patch", "serversets.ringmaster.dev", "--subresource=status"),
        ("create", "secrets"),
        ("get", "secrets"),
        ("create", "pods", "--subresource=exec"),
        ("delete", "serversets.ringmaster.dev"),
        ("patch", "deployments.apps"),
        ("list", "nodes"),
        ("create", "roles.rbac.authorization.k8s.io"),
    ):
        said = web.kubectl("auth", "can-i", verb, what, *part, account, check=False)
        answers[verb, what, *part] = said
    assert [asked for asked, said in answers.items() if said == "yes"] == [
        ("create", "pods"),
        ("patch", "serversets.ringmaster.dev", "--subresource=status"),
    ]
    elsewhere = kube_cluster.kubectl(
        "-n", "default", "auth", "can-i", "list", "pods", account, check=False
    )
    assert elsewhere == "no"


def test_no_process_of_ours_is_root_or_may_write_its_image(web):
    for selector in (deployed.OPERATORS, deployed.BALANCERS):
        for name, pod in web.pods(selector).items():
            (container,) = pod["spec"]["containers"]
            assert container["securityContext"]["readOnlyRootFilesystem"]
            shell = "id -u; grep -E 'NoNewPrivs|CapEff' /proc/1/status"
            said = web.kubectl("exec", name, "--", "sh", "-c", shell).split()
            assert said[0] == "10001"
            assert dict(zip(said[1::2], said[2::2], strict=True)) == {
                "CapEff:": "0000000000000000", "NoNewPrivs:": "1",
            }  # fmt: skip


# -- what breaks


def test_a_pod_that_is_deleted_by_force_under_load_costs_no_request(web):
    victim = web.settled(3)["web-1"]
    before = owners(web)

    def act():
        web.kubectl("delete", "pod", victim, "--force", "--grace-period=0")
        kube_cluster.eventually(
            lambda: victim not in web.settled(3).values(), what="the replacement"
        )

    outcome = under_load(web, act)

    assert outcome.failures == []
    assert moved(before, outcome, but=victim) == {}
    assert set(web.settled(3)) == {"web-0", "web-1", "web-2"}


@pytest.mark.parametrize("how", ["delete", "evict"])
def test_a_pod_that_somebody_ends_in_order_under_load_costs_no_request(web, how):
    victim = web.settled(3)["web-1"]
    before = owners(web)
    eviction = {
        "apiVersion": "policy/v1beta1" if kube_cluster.minor() < 22 else "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": victim, "namespace": web.namespace.name},
    }

    def act():
        if how == "delete":
            web.kubectl("delete", "pod", victim, "--wait=false")
        else:
            path = f"/api/v1/namespaces/{web.namespace.name}/pods/{victim}/eviction"
            kube_cluster.kubectl("create", "--raw", path, "-f", "-", given=eviction)
        kube_cluster.eventually(
            lambda: victim not in web.settled(3).values(), what="the replacement"
        )

    outcome = under_load(web, act)

    assert outcome.failures == []
    assert moved(before, outcome, but=victim) == {}
    assert set(web.settled(3)) == {"web-0", "web-1", "web-2"}


def test_a_container_that_is_killed_under_load_costs_no_request(web):
    victim = web.settled(3)["web-2"]
    before = owners(web)

    def act():
        deployed.kill(web.container(web.pods()[victim]))
        kube_cluster.eventually(
            lambda: web.pods()[victim]["status"]["containerStatuses"][0]["restartCount"] == 1,
            what="the kubelet's restart",
        )
        web.settled(3)

    outcome = under_load(web, act)

    assert outcome.failures == []
    assert moved(before, outcome, but=victim) == {}
    assert web.settled(3)["web-2"] == victim  # the kubelet's to restart, ours only to pass over


def test_a_rolling_update_under_load_costs_no_request(web):
    old = set(web.settled(3).values())
    change = {"metadata": {"annotations": {"e2e/version": "2"}}}

    def act():
        web.namespace.patch("serverset", "web", {"spec": {"template": change}})
        kube_cluster.eventually(
            lambda: not old & set(web.settled(3).values()), what="the update", seconds=180
        )

    outcome = under_load(web, act)

    assert outcome.failures == []
    assert set(web.settled(3)) == {"web-0", "web-1", "web-2"}


def test_an_operator_that_is_killed_and_replaced_under_load_costs_no_request(web):
    (operator,) = web.pods(deployed.OPERATORS)

    def act():
        web.kubectl("scale", "serverset/web", "--replicas=6")
        kube_cluster.eventually(lambda: len(web.pods()) > 3, what="the scale-up's start")
        deployed.kill(web.container(web.pods(deployed.OPERATORS)[operator]))
        web.kubectl("delete", "pod", operator, "--force", "--grace-period=0")
        web.kubectl("rollout", "status", "deployment/ringmaster-operator", "--timeout=150s",
                    seconds=160)  # fmt: skip
        web.settled(6)

    outcome = under_load(web, act)

    assert outcome.failures == []
    assert set(web.settled(6)) == {f"web-{n}" for n in range(6)}


def test_balancers_that_are_rolled_one_by_one_under_load_cost_no_request(web):
    old = set(web.pods(deployed.BALANCERS))

    def act():
        web.kubectl("rollout", "restart", "deployment/ringmaster-balancer")
        web.kubectl("rollout", "status", "deployment/ringmaster-balancer", "--timeout=150s",
                    seconds=160)  # fmt: skip
        gone = [f"pod/{name}" for name in old]
        web.kubectl("wait", "--for=delete", *gone, "--timeout=150s", seconds=160)

    outcome = under_load(web, act)

    assert outcome.failures == []
    assert outcome.reopened >= 1  # connections were ended in order
    assert not old & set(web.pods(deployed.BALANCERS))
    web.settled(3)


def test_an_api_server_that_is_away_for_20_seconds_under_load_costs_no_request(shaken):
    if "RINGMASTER_TEST_ENGINES" not in os.environ:
        pytest.skip("RINGMASTER_TEST_ENGINES names no engines whose API server may be stopped")
    servers = shaken.settled(3)
    pods = shaken.pods()
    # Of one the server, of the other the whole pod, its network included.
    killed = [shaken.container(pods[servers["web-0"]]), deployed.sandbox(pods[servers["web-1"]])]
    away = []

    def act():
        # The third its kubelet ends for good meanwhile, as it does when it evicts one.
        end_soon(shaken, pods[servers["web-2"]], seconds=14)
        engine("stop", "apiserver")
        began = time.monotonic()
        try:
            for container in killed:
                time.sleep(4)  # not both at once: somebody has to serve
                deployed.kill(container)
            # Its start takes 3 to 13 s here.
            time.sleep(max(0.0, began + 17 - time.monotonic()))
        finally:
            engine("start", "apiserver")
            away.append(time.monotonic() - began)
        kube_cluster.eventually(
            lambda: (now := shaken.pods()) and not set(killed) & running(now), what="the restarts"
        )
        kube_cluster.eventually(
            lambda: shaken.settled(3, seconds=5)["web-2"] != servers["web-2"],
            what="the replacement",
            seconds=120,
        )

    def running(now):
        return {
            shaken.container(pod) for pod in now.values() if "containerStatuses" in pod["status"]
        } | set(map(deployed.sandbox, now.values()))

    outcome = under_load(shaken, act)

    if away[0] > GIVEN_UP:
        pytest.skip(f"a busy machine: the API server was away for {away[0]:.0f} s")
    assert outcome.failures == []
    assert away[0] >= 20
    after = shaken.settled(3)
    assert set(after) == set(servers)
    assert after["web-2"] != servers["web-2"]
    assert after["web-0"] == servers["web-0"]


def end_soon(web, pod, *, seconds):
    """Have a pod ended for good by its kubelet in so many seconds."""
    started = dt.datetime.fromisoformat(pod["status"]["startTime"])
    age = (dt.datetime.now(tz=dt.UTC) - started).total_seconds()
    change = {"spec": {"activeDeadlineSeconds": int(age + seconds)}}
    web.namespace.patch("pod", pod["metadata"]["name"], change)


def test_a_client_as_a_browser_sees_nothing_of_a_balancer_that_is_killed(web):
    victim = min(web.pods(deployed.BALANCERS))
    container = web.container(web.pods(deployed.BALANCERS)[victim])
    before = owners(web)

    def act():
        deployed.kill(container)
        kube_cluster.eventually(
            lambda: web.container(web.pods(deployed.BALANCERS)[victim]) != container,
            what="the kubelet's restart",
        )
        web.settled(3)

    outcome = loadgen.run(
        web.port, at={5_000: act}, seconds=LOAD_SECONDS, throughout=True, fresh=FRESH, as_browsers=True
    )  # fmt: skip

    assert outcome.failures == []
    assert outcome.retried >= 1
    assert moved(before, outcome, but="") == {}


def test_a_balancer_is_unready_until_it_has_a_membership(web):
    """Without an operator a new one waits; one that restarts goes on with what it had."""
    old = web.pods(deployed.BALANCERS)
    victim = min(old)
    restarted = web.container(old[victim])
    web.kubectl("scale", "deployment/ringmaster-operator", "--replicas=0")
    try:
        web.kubectl("wait", "--for=delete", "pod", "-l", deployed.OPERATORS, "--timeout=150s",
                    seconds=160)  # fmt: skip
        web.kubectl("scale", "deployment/ringmaster-balancer", "--replicas=3")
        new = kube_cluster.eventually(
            lambda: [
                name
                for name, pod in web.pods(deployed.BALANCERS).items()
                if name not in old and pod["status"]["phase"] == "Running"
            ],
            what="a third balancer",
        )
        deployed.kill(restarted)
        kube_cluster.eventually(
            lambda: (
                (pod := web.pods(deployed.BALANCERS)[victim])
                and web.container(pod) != restarted
                and ready(pod)
            ),
            what="the other's restart",
        )
        assert not any(ready(web.pods(deployed.BALANCERS)[name]) for name in new)
        assert owners(web, keys=300)
    finally:
        web.kubectl("scale", "deployment/ringmaster-operator", "--replicas=1")
    web.kubectl("rollout", "status", "deployment/ringmaster-balancer", "--timeout=150s",
                seconds=160)  # fmt: skip
    assert len(web.settled(3, balancers=3)) == 3
    web.kubectl("scale", "deployment/ringmaster-balancer", "--replicas=2")
    web.settled(3)


def ready(pod):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"]["conditions"])


def engine(verb, part):
    """Stop or start a part of the test cluster."""
    script = Path(os.environ["RINGMASTER_TEST_ENGINES"]) / "kubernetes"
    subprocess.run([script, verb, part], check=True, timeout=90, stdout=subprocess.DEVNULL)
