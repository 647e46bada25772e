"""Births as pods, pods as replicas."""

from __future__ import annotations

import copy
import datetime as dt

import pytest
from ringmaster_operator import naming, observed
from ringmaster_operator.runtimes import kubernetes_pods

OWNER = observed.Owner("shop", "web", "u1")
NOON = "2026-01-01T12:00:00Z"
NOON_SECONDS = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC).timestamp()
TEMPLATE = {
    "metadata": {"labels": {"app": "web"}, "annotations": {"note": "x"}},
    "spec": {
        "containers": [
            {
                "name": "server",
                "image": "server:1",
                "env": [{"name": "GREETING", "value": "I am $(SERVER_ID)"}],
                "ports": [{"containerPort": 9}, {"name": "http", "containerPort": 8080}],
            },
            {"name": "aside", "image": "aside:1"},
        ],
        "nodeSelector": {"disk": "fast"},
    },
}


def birth(**changes):
    values = {
        "owner": OWNER,
        "name": "web-0-abcde",
        "display_name": "web-0-abcde",
        "member_id": "web-0",
        "ordinal": 0,
        "attempt": 2,
        "reason": observed.Reason.EMERGENCY,
        "revision": "r1",
        "template": TEMPLATE,
    }
    return observed.Birth(**values | changes)


def pod(status=None, *, given=None, **metadata):
    """The pod of a birth, some time later."""
    made = kubernetes_pods.manifest(given or birth())
    made["metadata"] |= {"uid": "p1", "creationTimestamp": NOON, **metadata}
    made["status"] = status or {}
    return made


def seen(*args, **how):
    made = pod(*args, **how)
    return kubernetes_pods.replica(made, naming.identity(made["metadata"]["labels"]))


def running(*, ready=True, **status):
    condition = {
        "type": "Ready",
        "status": str(ready),
        "lastTransitionTime": "2026-01-01T12:00:05Z",
    }
    return {"phase": "Running", "podIP": "10.0.0.7", "conditions": [condition], **status}


def test_a_pod_is_its_template_and_who_it_is():
    made = kubernetes_pods.manifest(birth())
    metadata = made["metadata"]
    assert (metadata["name"], metadata["namespace"]) == ("web-0-abcde", "shop")
    assert metadata["labels"] == {"app": "web", **naming.labels(birth())}
    assert metadata["annotations"] == {"note": "x"}
    assert made["spec"]["nodeSelector"] == {"disk": "fast"}
    assert made["spec"]["containers"][1:] == TEMPLATE["spec"]["containers"][1:]


def test_it_has_one_controller_which_the_collector_deletes_it_with():
    (reference,) = kubernetes_pods.manifest(birth())["metadata"]["ownerReferences"]
    assert reference["controller"]
    assert reference["blockOwnerDeletion"]
    assert (reference["kind"], reference["name"], reference["uid"]) == ("ServerSet", "web", "u1")


def test_a_name_asked_for_is_lower_cased_as_a_pods_and_shown_as_it_was():
    made = kubernetes_pods.manifest(birth(name="S5", display_name="S5"))
    assert made["metadata"]["name"] == "s5"
    assert made["metadata"]["labels"][naming.LABEL_NAME] == "S5"
    assert made["spec"]["containers"][0]["env"][0] == {"name": "SERVER_ID", "value": "S5"}


def test_a_server_id_of_the_template_stays():
    template = copy.deepcopy(TEMPLATE)
    template["spec"]["containers"][0]["env"] = [{"name": "SERVER_ID", "value": "mine"}]
    made = kubernetes_pods.manifest(birth(template=template))
    assert made["spec"]["containers"][0]["env"] == [{"name": "SERVER_ID", "value": "mine"}]


def test_the_template_that_was_given_stays_as_it_is():
    before = copy.deepcopy(TEMPLATE)
    kubernetes_pods.manifest(birth())
    assert before == TEMPLATE


def test_a_ready_pod():
    replica = seen(running())
    assert replica.phase is observed.Phase.RUNNING
    assert (replica.ready, replica.ready_since) == (True, NOON_SECONDS + 5)
    assert replica.unready_since is None
    assert replica.address == "10.0.0.7:8080"
    assert (replica.created_at, replica.uid, replica.namespace) == (NOON_SECONDS, "p1", "shop")


def test_all_that_the_birth_said_is_read_back():
    replica = seen(running())
    for name in ("name", "display_name", "member_id", "ordinal", "attempt", "reason", "revision"):
        assert getattr(replica, name) == getattr(birth(), name), name
    assert replica.owner_uid == "u1"


def test_a_pod_that_is_not_ready_says_since_when():
    replica = seen(running(ready=False))
    assert (replica.ready, replica.ready_since) == (False, None)
    assert replica.unready_since == NOON_SECONDS + 5


PULLED = {"startedAt": "2026-01-01T12:01:30Z"}
LATER = {"startedAt": "2026-01-01T12:01:50Z"}


@pytest.mark.parametrize(
    ("container", "since"),
    [
        ({"state": {"waiting": {}}}, 5),
        ({"state": {"running": PULLED}}, 90),
        ({"state": {"terminated": PULLED}}, 90),
        ({"restartCount": 1, "state": {"running": LATER}, "lastState": {"terminated": PULLED}}, 90),
        ({"restartCount": 1, "state": {"waiting": {}}, "lastState": {"terminated": PULLED}}, 90),
        ({"restartCount": 1, "state": {"running": LATER}}, 5),
        ({"restartCount": 3, "state": {"waiting": {}}, "lastState": {"terminated": LATER}}, 5),
    ],
)
def test_a_first_start_that_took_long_is_no_sickness_and_a_restart_no_fresh_start(container, since):
    # Ready is False since the pod was scheduled: the image was pulled for 85 s after that.
    pod = running(ready=False, startTime="2026-01-01T12:00:04Z", containerStatuses=[container])
    assert seen(pod).unready_since == NOON_SECONDS + since


def test_one_that_was_ready_once_is_unready_since_it_was_no_more():
    crashed = {"restartCount": 1, "lastState": {"terminated": PULLED}}
    pod = running(ready=False, startTime="2026-01-01T11:00:00Z", containerStatuses=[crashed])
    assert seen(pod).unready_since == NOON_SECONDS + 5


PHASES = [
    ({}, {}, observed.Phase.STARTING),
    ({"phase": "Pending"}, {}, observed.Phase.STARTING),
    ({"phase": "Running"}, {}, observed.Phase.RUNNING),
    ({"phase": "Unknown"}, {}, observed.Phase.RUNNING),
    ({"phase": "Failed"}, {}, observed.Phase.FAILED),
    ({"phase": "Succeeded"}, {}, observed.Phase.FAILED),
    (running(), {"deletionTimestamp": NOON}, observed.Phase.TERMINATING),
    ({"phase": "Failed"}, {"deletionTimestamp": NOON}, observed.Phase.TERMINATING),
]


@pytest.mark.parametrize(("status", "metadata", "phase"), PHASES)
def test_each_phase_of_a_pod_has_its_meaning(status, metadata, phase):
    replica = seen(status, **metadata)
    assert replica.phase is phase
    assert not (replica.ready and phase is not observed.Phase.RUNNING)


def test_a_pod_whose_node_is_gone_is_unready_like_any_other():
    replica = seen(running(ready=False, phase="Unknown", reason="NodeLost"))
    assert (replica.phase, replica.ready) == (observed.Phase.RUNNING, False)
    assert replica.unready_since == NOON_SECONDS + 5
    assert "NodeLost" in replica.message


def test_an_evicted_pod_says_why():
    replica = seen({"phase": "Failed", "reason": "Evicted", "message": "The node was low on disk."})
    assert replica.phase is observed.Phase.FAILED
    assert replica.message == "Evicted: The node was low on disk."


def test_a_container_that_crashed_is_an_unready_pod_with_a_message():
    state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
    replica = seen(running(ready=False, containerStatuses=[{"restartCount": 3, "state": state}]))
    assert replica.phase is observed.Phase.RUNNING
    assert replica.restarts == 3
    assert replica.message == "CrashLoopBackOff: back-off 10s"


def test_a_pod_that_only_starts_has_no_trouble_to_tell():
    state = {"waiting": {"reason": "ContainerCreating"}}
    replica = seen({"phase": "Pending", "containerStatuses": [{"restartCount": 0, "state": state}]})
    assert replica.message == ""


@pytest.mark.parametrize("reason", ["ContainersNotReady", "ContainersNotInitialized"])
def test_that_a_pod_waits_for_its_image_is_no_trouble_to_warn_of(reason):
    message = "containers with unready status: [server]"
    condition = {"type": "Ready", "status": "False", "reason": reason, "message": message}
    state = {"waiting": {"reason": "ContainerCreating"}}
    containers = [{"restartCount": 0, "state": state}]
    pending = {"phase": "Pending", "conditions": [condition], "containerStatuses": containers}
    assert seen(pending).message == ""


def test_a_pod_that_no_node_takes_says_so():
    condition = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}
    assert (
        seen({"phase": "Pending", "conditions": [condition]}).message == "0/1 nodes are available"
    )


def test_an_exit_says_its_code():
    state = {"terminated": {"exitCode": 3, "reason": "Error", "message": "no luck today"}}
    replica = seen({"phase": "Failed", "containerStatuses": [{"restartCount": 0, "state": state}]})
    assert replica.message == "Error: exited with code 3: no luck today"


DROPS = [
    ({"a": 1}, {"a": 1, "default": 2}, []),
    ({"a": {"typo": 1, "b": 1}}, {"a": {"b": 1}}, ["a.typo"]),
    ({"cpu": "1000m"}, {"cpu": "1"}, []),
    ({"empty": "", "none": None, "list": [], "off": False}, {}, []),
    ({"env": [{"name": "x", "vaule": "1"}]}, {"env": [{"name": "x"}]}, ["env[0].vaule"]),
    ({"env": [{"name": "x", "value": "1"}]}, {"env": [{"name": "new"}, {"name": "x", "value": "1"}]},
     []),
    ({"args": ["a", "b"]}, {"args": ["a", "b"]}, []),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "answered", "paths"), DROPS)
def test_fields_that_an_answer_lacks_are_dropped_ones_unless_they_are_empty(sent, answered, paths):
    found = kubernetes_pods.dropped({"spec": sent}, {"spec": answered})
    assert found == [f"spec.template.spec.{path}" for path in paths]


@pytest.mark.parametrize(
    ("annotations", "cost"),
    [
        ({}, 0),
        ({"controller.kubernetes.io/pod-deletion-cost": "-5"}, -5),
        (
            {
                "controller.kubernetes.io/pod-deletion-cost": "7",
                "ringmaster.dev/deletion-cost": "2",
            },
            2,
        ),
        ({"ringmaster.dev/deletion-cost": "much"}, 0),
    ],
)
def test_the_cost_of_a_deletion_is_ours_or_kubernetes_own(annotations, cost):
    assert seen(running(), annotations=annotations).deletion_cost == cost


@pytest.mark.parametrize(
    ("ports", "ip", "address"),
    [
        ([], "10.0.0.7", "10.0.0.7:5000"),
        ([{"containerPort": 9}], "10.0.0.7", "10.0.0.7:9"),
        ([], "fd00::7", "[fd00::7]:5000"),
        ([], None, None),
    ],
)
def test_an_address_is_that_of_the_pod_and_the_port_that_serves(ports, ip, address):
    template = {"spec": {"containers": [{"name": "s", "image": "i", "ports": ports}]}}
    assert seen(running(podIP=ip), given=birth(template=template)).address == address
