"""Kubernetes' own conformance tests of ReplicaSet, as far as they apply, against a ServerSet.

Each is named after its original in test/e2e/apps/replica_set.go (or replication controller's).
"""

from __future__ import annotations

import json

import kube_cluster
import kube_operator
import pytest
import requests

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]

APIS = "/apis/ringmaster.dev/v1alpha1/namespaces"


@pytest.fixture(scope="module")
def namespace(tmp_path_factory):
    """A namespace with an operator."""
    with kube_cluster.namespace() as made:
        operator = kube_operator.Operator(tmp_path_factory.mktemp("operator"), made)
        try:
            yield made
        finally:
            operator.stop()
            print(operator.log()[-8000:])


@pytest.fixture
def clean(namespace):
    """Nothing is left of a test for the next one."""
    yield namespace
    namespace.kubectl("delete", "serversets,pods,resourcequotas", "--all", "--wait=false")
    kube_cluster.eventually(lambda: not namespace.list("serversets"), what="no sets")


def server_set(name, replicas, **spec):
    return kube_cluster.server_set(name, replicas=replicas, **spec)


def uid(namespace, name):
    return namespace.get("serverset", name)["metadata"]["uid"]


def ours(namespace, name):
    """The pods that the set controls and that are not going."""
    owner = uid(namespace, name)
    return {
        pod: document
        for pod, document in namespace.pods("").items()
        if owner in [ref["uid"] for ref in document["metadata"].get("ownerReferences", [])]
    }


def available(namespace, name, count):
    def look():
        status = namespace.get("serverset", name).get("status", {})
        return status.get("availableReplicas") == count and len(ours(namespace, name)) == count

    kube_cluster.eventually(look, what=f"{count} available replicas of {name}", seconds=120)


def condition(namespace, name, kind):
    return kube_operator.condition(namespace.get("serverset", name), kind)


def bare_pod(name, app):
    template = kube_cluster.pod_template(app)
    metadata = {"name": name, "labels": template["metadata"]["labels"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def test_should_serve_a_basic_image_on_each_replica_with_a_public_image(clean):
    server = {"command": ["python3", "-S", "-c", _ECHO]}
    template = kube_cluster.pod_template("basic", **server)
    clean.apply(server_set("basic", 2, template=template))
    available(clean, "basic", 2)
    for name, pod in ours(clean, "basic").items():
        answer = requests.get(f"http://{pod['status']['podIP']}:5000/", timeout=10)
        assert answer.text == name


_ECHO = """
import http.server, os
class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ["SERVER_ID"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("", 5000), Echo).serve_forever()
"""


def test_should_adopt_matching_pods_on_creation_and_release_no_longer_matching_pods(clean):
    clean.apply(bare_pod("adopt-me", "adopt"))
    clean.apply(server_set("adopt", 1))
    kube_cluster.eventually(lambda: "adopt-me" in ours(clean, "adopt"), what="the adoption")
    available(clean, "adopt", 1)
    assert set(ours(clean, "adopt")) == {"adopt-me"}

    clean.kubectl("label", "pod", "adopt-me", "app=not-matching", "--overwrite")
    kube_cluster.eventually(lambda: "adopt-me" not in ours(clean, "adopt"), what="the release")
    available(clean, "adopt", 1)
    released = clean.get("pod", "adopt-me")
    assert not released["metadata"].get("ownerReferences")
    assert "deletionTimestamp" not in released["metadata"]


def test_should_remove_the_surplus_when_it_adopts_and_leave_other_controllers_pods(clean):
    # As "should adopt matching pods" of a full set: one too many is one too many.
    clean.apply(server_set("full", 1))
    available(clean, "full", 1)
    theirs = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "theirs"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "full", "of": "theirs"}},
            "template": kube_cluster.pod_template("full"),
        },
    }
    theirs["spec"]["template"]["metadata"]["labels"]["of"] = "theirs"
    clean.apply(theirs, bare_pod("surplus", "full"))

    def one_of_ours_and_one_of_theirs():
        found = clean.pods("app=full")
        foreign = [
            pod
            for pod in found.values()
            if pod["metadata"].get("ownerReferences", [{}])[0].get("kind") == "ReplicaSet"
        ]
        return len(found) == 2 and len(foreign) == 1 and len(ours(clean, "full")) == 1

    kube_cluster.eventually(one_of_ours_and_one_of_theirs, what="one of each")
    clean.kubectl("delete", "replicaset", "theirs")


def test_should_surface_a_failure_condition_on_a_common_issue_like_exceeded_quota(clean):
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few"},
        "spec": {"hard": {"pods": "2"}},
    }
    clean.apply(quota)
    kube_cluster.eventually(
        lambda: clean.get("resourcequota", "few").get("status", {}).get("hard"), what="a quota"
    )
    clean.apply(server_set("quota", 3))

    def refused():
        return condition(clean, "quota", "ReplicaFailure") == ("True", "QuotaExceeded")

    kube_cluster.eventually(refused, what="ReplicaFailure")
    kube_cluster.eventually(lambda: len(ours(clean, "quota")) == 2, what="as many as may be")
    assert "FailedCreate" in clean.events()

    clean.kubectl("scale", "serverset/quota", "--replicas=2")
    kube_cluster.eventually(
        lambda: condition(clean, "quota", "ReplicaFailure")[0] == "False", what="no failure"
    )
    available(clean, "quota", 2)


def test_should_recover_by_itself_when_a_quota_is_raised(clean):
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few"},
        "spec": {"hard": {"pods": "1"}},
    }
    clean.apply(quota)
    kube_cluster.eventually(
        lambda: clean.get("resourcequota", "few").get("status", {}).get("hard"), what="a quota"
    )
    clean.apply(server_set("raised", 2))
    kube_cluster.eventually(
        lambda: condition(clean, "raised", "ReplicaFailure")[0] == "True", what="ReplicaFailure"
    )
    clean.patch("resourcequota", "few", {"spec": {"hard": {"pods": "5"}}})
    available(clean, "raised", 2)
    kube_cluster.eventually(
        lambda: condition(clean, "raised", "ReplicaFailure")[0] == "False", what="no failure"
    )


def test_replace_and_patch_tests(clean):
    clean.apply(server_set("patched", 1))
    available(clean, "patched", 1)
    clean.patch("serverset", "patched", {"spec": {"replicas": 2}})
    available(clean, "patched", 2)

    document = clean.get("serverset", "patched")
    document["spec"]["replicas"] = 1
    document["metadata"]["labels"] = {"replaced": "yes"}
    _replace(clean, document)
    available(clean, "patched", 1)
    assert clean.get("serverset", "patched")["metadata"]["labels"] == {"replaced": "yes"}


def _replace(namespace, document):
    """Replace what may be written by the operator meanwhile: again with what is new."""

    def look():
        fresh = namespace.get("serverset", document["metadata"]["name"])
        document["metadata"]["resourceVersion"] = fresh["metadata"]["resourceVersion"]
        document["metadata"].pop("annotations", None)  # as a manifest of one's own has none
        namespace.kubectl("replace", "-f", "-", given=document)
        return True

    kube_cluster.eventually(look, what="a replacement")


def test_should_list_and_delete_a_collection_of_server_sets(clean):
    for name in ("one", "two"):
        document = server_set(name, 1)
        document["metadata"]["labels"] = {"batch": "yes"}
        clean.apply(document)
    available(clean, "one", 1)
    available(clean, "two", 1)
    assert len(clean.list("serversets", "batch=yes")) == 2
    clean.apply(server_set("three", 1))
    # One DELETE of the collection; `kubectl delete -l` deletes one by one.
    path = f"{APIS}/{clean.name}/serversets?labelSelector=batch%3Dyes"
    kube_cluster.kubectl("delete", "--raw", path)
    kube_cluster.eventually(lambda: not clean.list("serversets", "batch=yes"), what="no sets")
    assert [each["metadata"]["name"] for each in clean.list("serversets")] == ["three"]
    kube_cluster.eventually(lambda: not clean.pods("app in (one,two)"), what="no pods")


def test_replica_set_should_have_a_working_scale_subresource(clean):
    clean.apply(server_set("scaled", 1))
    available(clean, "scaled", 1)
    path = f"{APIS}/{clean.name}/serversets/scaled/scale"
    scale = json.loads(kube_cluster.kubectl("get", "--raw", path))
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (1, 1)
    assert scale["status"]["selector"] == "app=scaled"

    scale["spec"]["replicas"] = 2
    kube_cluster.kubectl("replace", "--raw", path, "-f", "-", given=scale)
    available(clean, "scaled", 2)
    assert clean.get("serverset", "scaled")["spec"]["replicas"] == 2


def test_a_horizontal_pod_autoscaler_scales_it(clean):
    clean.apply(server_set("auto", 1))
    available(clean, "auto", 1)
    autoscaler = {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "auto"},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "ringmaster.dev/v1alpha1",
                "kind": "ServerSet",
                "name": "auto",
            },
            "minReplicas": 2,
            "maxReplicas": 4,
        },
    }
    clean.apply(autoscaler)
    available(clean, "auto", 2)
    clean.kubectl("delete", "hpa", "auto")


def test_should_validate_replicaset_status_endpoints(clean):
    clean.apply(server_set("status", 1))
    available(clean, "status", 1)
    path = f"{APIS}/{clean.name}/serversets/status/status"

    def foreign():
        document = json.loads(kube_cluster.kubectl("get", "--raw", path))
        theirs = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "ours"}
        document["status"]["conditions"].append(theirs)
        kube_cluster.kubectl("replace", "--raw", path, "-f", "-", given=document)
        return True

    kube_cluster.eventually(foreign, what="a condition of somebody else's")
    clean.kubectl("scale", "serverset/status", "--replicas=2")
    available(clean, "status", 2)
    assert condition(clean, "status", "StatusUpdate") == ("True", "E2E")
    assert condition(clean, "status", "Available")[0] == "True"


def test_what_users_read_says_what_is(clean):
    # kubectl get all, wait, explain: what a rollout's status is for a built-in kind.
    clean.apply(server_set("shown", 1))
    clean.kubectl("wait", "--for=condition=Available", "serverset/shown", "--timeout=60s")
    assert "serverset.ringmaster.dev/shown" in clean.kubectl("get", "all")
    assert "How keys find members" in clean.kubectl("explain", "serverset.spec.ring")
    described = clean.kubectl("describe", "serverset", "shown")
    assert "SuccessfulCreate" in described
    assert condition(clean, "shown", "BalancerSynced") == ("False", "NoBalancer")


def test_a_selector_cannot_be_changed_on_clusters_without_cel_either(clean):
    clean.apply(server_set("fixed", 1))
    available(clean, "fixed", 1)
    template = kube_cluster.pod_template("other")
    change = {"selector": {"matchLabels": {"app": "other"}}, "template": template}
    clean.patch("serverset", "fixed", {"spec": change})

    def refused():
        return condition(clean, "fixed", "Ready") == ("False", "InvalidSpec")

    kube_cluster.eventually(refused, what="a refusal")
    assert len(ours(clean, "fixed")) == 1
