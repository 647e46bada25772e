"""The operator on a real cluster: what users and accidents do there, one promise each.

Operator and balancer are local processes; K8s, its kubelet and its controllers are real.
"""

from __future__ import annotations

import os
import signal
import time

import http_balancer
import kube_cluster
import kube_operator
import pytest
import requests

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

NO_IMAGE = "ringmaster-test/no-such-image:1"
UNWELCOME = {"command": ["python3", "-S", "-c", "import time; time.sleep(600)"]}


@pytest.fixture
def stack(tmp_path):
    with kube_operator.running(tmp_path) as running:
        yield running


def member(pod):
    return pod["metadata"]["labels"].get("ringmaster.dev/member-id")


def owners(pod):
    return [ref["uid"] for ref in pod["metadata"].get("ownerReferences", [])]


def uid(stack):
    return stack.namespace.get("serverset", "web")["metadata"]["uid"]


def settled(stack, count):
    """The pods once there are exactly so many, all of them ours."""

    def look():
        pods = stack.namespace.pods("app=web")
        ours = {name: pod for name, pod in pods.items() if owners(pod) == [uid(stack)]}
        return ours if len(ours) == len(pods) == count else None

    return kube_cluster.eventually(look, what=f"{count} pods")


def test_what_is_applied_serves_and_follows_the_count(stack):
    stack.apply(replicas=3)
    stack.namespace.kubectl(
        "wait", "--for=condition=Ready", "serverset/web", "--timeout=150s", seconds=160
    )
    assert set(stack.ready(3)) == {"web-0", "web-1", "web-2"}
    answers = {requests.get(stack.balancer.url, timeout=5).status_code for _ in range(5)}
    assert answers == {200}

    stack.namespace.kubectl("scale", "serverset/web", "--replicas=8")
    assert len(stack.ready(8)) == 8
    stack.namespace.kubectl("scale", "serverset/web", "--replicas=2")
    assert len(stack.ready(2)) == 2
    settled(stack, 2)

    row = stack.namespace.kubectl("get", "sset", "web", "--no-headers").split()
    assert row[:5] == ["web", "2", "2", "2", "2"]
    wanted = {"SuccessfulCreate", "SuccessfulDelete", "RingUpdated", "RolloutComplete"}
    kube_cluster.eventually(lambda: wanted <= stack.namespace.events(), what="events")
    assert "finalizers" not in stack.namespace.get("serverset", "web")["metadata"]


def test_a_pod_deleted_by_force_is_replaced_under_its_member_id(stack):
    stack.apply(replicas=2)
    victim = stack.ready(2)["web-1"]["replica"]
    stack.namespace.kubectl("delete", "pod", victim, "--force", "--grace-period=0")

    def replaced():
        found = stack.active().get("web-1", {}).get("replica")
        return found if found != victim else None

    successor = kube_cluster.eventually(replaced, what="a replacement")
    labels = stack.namespace.get("pod", successor)["metadata"]["labels"]
    assert successor.startswith("emergency-web-1-")
    assert labels["ringmaster.dev/reason"] == "emergency"
    stack.ready(2)
    kube_cluster.eventually(lambda: "Unhealthy" in stack.namespace.events(), what="an event")


def test_a_crash_inside_a_pod_is_the_kubelets_to_repair(stack):
    stack.apply(replicas=2)
    name = stack.ready(2)["web-0"]["replica"]
    before = stack.namespace.get("pod", name)
    os.kill(kube_cluster.pid(before), signal.SIGKILL)

    def restarted():
        status = stack.namespace.get("pod", name)["status"]["containerStatuses"][0]
        return status["restartCount"] == 1 and status["ready"]

    kube_cluster.eventually(restarted, what="a restart in place")
    assert stack.ready(2)["web-0"]["replica"] == name
    assert stack.namespace.get("pod", name)["metadata"]["uid"] == before["metadata"]["uid"]


def test_an_evicted_pod_is_replaced(stack):
    stack.apply(replicas=2)
    victim = stack.ready(2)["web-0"]["replica"]
    eviction = {
        "apiVersion": "policy/v1beta1",
        "kind": "Eviction",
        "metadata": {"name": victim, "namespace": stack.namespace.name},
    }
    path = f"/api/v1/namespaces/{stack.namespace.name}/pods/{victim}/eviction"
    kube_cluster.kubectl("create", "--raw", path, "-f", "-", given=eviction)

    def replaced():
        pods = settled(stack, 2)
        return victim not in pods and stack.ready(2)

    assert kube_cluster.eventually(replaced, what="a replacement")["web-0"]["replica"] != victim


def test_a_pod_that_fails_for_good_is_replaced_and_removed(stack):
    # The kubelet fails a pod for good when its deadline has passed, as when it evicts one.
    stack.apply(replicas=2)
    victim = stack.ready(2)["web-1"]["replica"]
    stack.namespace.patch("pod", victim, {"spec": {"activeDeadlineSeconds": 1}})

    def replaced():
        return victim not in stack.namespace.pods() and stack.ready(2)

    kube_cluster.eventually(replaced, what="a replacement")
    assert "DeadlineExceeded" in stack.operator.text()


def test_a_pod_whose_status_says_evicted_is_replaced(stack):
    # As a kubelet under pressure says it; this test says it in the kubelet's place.
    stack.apply(replicas=2)
    victim = stack.ready(2)["web-0"]["replica"]
    said = {"status": {"phase": "Failed", "reason": "Evicted", "message": "low on disk"}}
    stack.namespace.patch("pod", victim, said, "--subresource=status")

    def replaced():
        return victim not in stack.namespace.pods() and stack.ready(2)

    members = kube_cluster.eventually(replaced, what="a replacement")
    assert set(members) == {"web-0", "web-1"}
    assert "Evicted" in stack.operator.text()


def test_a_pod_that_cannot_go_is_replaced_under_its_member_id(stack):
    # As on a node that died: deleted, and never gone.
    stack.apply(replicas=2)
    victim = stack.ready(2)["web-0"]["replica"]
    stack.namespace.patch("pod", victim, {"metadata": {"finalizers": ["example.org/hold"]}})
    try:
        stack.namespace.kubectl("delete", "pod", victim, "--wait=false")

        def replaced():
            members = stack.ready(2)
            return members if members["web-0"]["replica"] != victim else None

        members = kube_cluster.eventually(replaced, what="a replacement")
        assert set(members) == {"web-0", "web-1"}
        assert "deletionTimestamp" in stack.namespace.get("pod", victim)["metadata"]
    finally:
        stack.namespace.patch("pod", victim, {"metadata": {"finalizers": None}})
    settled(stack, 2)


def test_a_balancer_that_refuses_the_ring_is_told_of_in_an_event_and_the_condition(stack):
    ring = f"{stack.namespace.name}/web"
    with http_balancer.HttpBalancer(ring=ring, token="another").running() as refusing:
        stack.apply(replicas=1, balancer={"urls": [refusing.url]})
        stack.wait_condition("BalancerSynced", "False", "PushFailed")
        kube_cluster.eventually(
            lambda: "RingPushFailed" in stack.namespace.events(), what="the event"
        )
        stack.apply(replicas=1)
        stack.ready(1)


def test_a_set_deleted_and_made_anew_under_its_name_starts_afresh(stack):
    stack.apply(replicas=2)
    stack.ready(2)
    old = set(settled(stack, 2))
    stack.namespace.kubectl("delete", "serverset", "web", "--wait=false")
    stack.apply(replicas=2)

    def afresh():
        pods = settled(stack, 2)
        names = {m["replica"] for m in stack.ready(2).values()}
        return names == set(pods) and not names & old

    kube_cluster.eventually(afresh, what="new pods, and only these")


def test_deleting_a_set_works_while_the_operator_is_down_and_its_ring_ends_with_an_operator(stack):
    stack.apply(replicas=2)
    stack.ready(2)
    stack.operator.kill()
    stack.namespace.kubectl("delete", "serverset", "web", "--timeout=20s")
    kube_cluster.eventually(lambda: not stack.namespace.pods(""), what="no pods")
    assert not stack.namespace.list("controllerrevisions")

    stack.operator.start()
    stack.apply(replicas=1)
    stack.ready(1)
    stack.namespace.kubectl("delete", "serverset", "web", "--wait=false")
    kube_cluster.eventually(
        lambda: not stack.balancer.ask("GET", stack.ring).json().get("epoch"),
        what="the ring's end",
    )


def test_a_deletion_in_the_foreground_waits_for_the_pods(stack):
    stack.apply(replicas=2)
    stack.ready(2)
    stack.namespace.kubectl(
        "delete", "serverset", "web", "--cascade=foreground", "--timeout=150s", seconds=160
    )
    assert stack.namespace.list("pods") == []


def test_a_wrong_image_halts_the_rollout_and_the_old_ones_go_on(stack):
    stack.apply(replicas=2, progressDeadlineSeconds=3)
    old = {m["replica"] for m in stack.ready(2).values()}
    bad = kube_cluster.pod_template(image=NO_IMAGE)
    stack.apply(replicas=2, progressDeadlineSeconds=3, template=bad)
    stack.wait_condition("Progressing", "False", "ProgressDeadlineExceeded")

    assert stack.condition("Available")[0] == "True"
    assert {m["replica"] for m in stack.active().values()} == old
    assert len(stack.namespace.pods()) == 3  # maxSurge 1, and not one more
    stack.apply(replicas=2, progressDeadlineSeconds=3)
    stack.ready(2)
    assert set(settled(stack, 2)) == old


@pytest.mark.parametrize(
    "change", [UNWELCOME, {"image": NO_IMAGE}], ids=["never-ready", "wrong-image"]
)
def test_a_rollout_that_fails_can_be_rolled_back_by_itself(stack, change):
    strategy = {"onFailure": "Rollback"}
    spec = {"replicas": 2, "progressDeadlineSeconds": 3, "strategy": strategy}
    stack.apply(**spec)
    stack.ready(2)
    before = stack.namespace.get("serverset", "web")["status"]["currentRevision"]
    stack.apply(**spec, template=kube_cluster.pod_template(**change))
    stack.wait_condition("Progressing", "False", "RolledBack")

    pods = settled(stack, 2)
    revisions = {pod["metadata"]["labels"]["ringmaster.dev/revision"] for pod in pods.values()}
    assert revisions == {before}
    # Templates outlive the operator: a fresh one knows what to roll back to.
    stack.operator.kill()
    stack.operator.start()
    stack.namespace.kubectl("delete", "pod", next(iter(pods)), "--wait=false")
    kube_cluster.eventually(lambda: len(stack.active()) == 2, what="a replacement")
    pods = settled(stack, 2)
    assert {p["metadata"]["labels"]["ringmaster.dev/revision"] for p in pods.values()} == {before}


def test_a_changed_template_rolls_out_without_a_gap(stack):
    stack.apply(replicas=2)
    stack.ready(2)
    old = set(settled(stack, 2))
    changed = kube_cluster.pod_template(env=[{"name": "VERSION", "value": "2"}])
    stack.apply(replicas=2, template=changed)

    def rolled():
        assert len(stack.active()) == 2
        return stack.condition("Progressing")[1] == "RolloutComplete" and stack.ready(2)

    members = kube_cluster.eventually(rolled, what="the rollout")
    assert not old & {m["replica"] for m in members.values()}
    assert set(members) == {"web-0", "web-1"}
    assert len(stack.namespace.list("controllerrevisions")) == 2


def test_names_that_were_asked_for_reach_pod_label_ring_and_server(stack):
    stack.apply(replicas=1, names=["S5"])
    stack.ready(1)
    pod = stack.namespace.get("pod", "s5")

    assert pod["metadata"]["labels"]["ringmaster.dev/name"] == "S5"
    env = {e["name"]: e["value"] for e in pod["spec"]["containers"][0]["env"]}
    assert env["SERVER_ID"] == "S5"
    assert stack.active()["web-0"]["replica"] == "S5"
    kube_cluster.eventually(
        lambda: stack.namespace.get("serverset", "web")["spec"]["names"] == [],
        what="the name used up",
    )
    answer = requests.post(
        f"{stack.operator.api}/lab/v1/namespaces/{stack.namespace.name}/serversets/web/add",
        json={"n": 1, "hostnames": ["S_6"]},
        headers={"Authorization": "Bearer secret"},
        timeout=10,
    )
    assert answer.status_code == 400
    assert "no name for a pod" in answer.json()["message"]


def test_a_second_operator_ends_the_first(stack, tmp_path):
    stack.apply(replicas=2)
    stack.ready(2)
    folder = tmp_path / "other"
    folder.mkdir()
    other = kube_operator.Operator(folder, stack.namespace)
    try:
        assert stack.operator.process.wait(timeout=40) == 1
        assert "epoch" in stack.operator.log()
        stack.namespace.kubectl("scale", "serverset/web", "--replicas=3")
        stack.ready(3)
    finally:
        other.stop()


def test_while_the_api_server_is_away_it_waits_and_afterwards_makes_up_for_it(tmp_path):
    with (
        kube_cluster.cable(tmp_path) as (wire, kubeconfig),
        kube_operator.running(tmp_path, kubeconfig=kubeconfig) as stack,
    ):
        stack.apply(replicas=2)
        victim = stack.ready(2)["web-0"]["replica"]
        wire.cut()
        stack.namespace.kubectl("delete", "pod", victim, "--force", "--grace-period=0")
        time.sleep(8)
        assert requests.get(f"{stack.operator.api}/healthz", timeout=5).status_code == 200
        wire.mend()

        def replaced():
            return stack.active()["web-0"]["replica"] != victim

        kube_cluster.eventually(replaced, what="a replacement", seconds=30)
        stack.ready(2)
        stack.namespace.kubectl("scale", "serverset/web", "--replicas=3")
        stack.ready(3)


def test_at_rest_nothing_is_written_and_sigterm_ends_it_at_once(stack):
    stack.apply(replicas=2)
    stack.ready(2)
    kube_cluster.eventually(lambda: "RolloutComplete" in stack.namespace.events(), what="events")
    before = stack.versions()
    time.sleep(17)  # a full pass and a push of the unchanged membership are in it
    assert stack.versions() == before

    began = time.monotonic()
    assert stack.operator.stop() == 0
    assert time.monotonic() - began < 5
