"""The operator's API from an experiment's side."""

from __future__ import annotations

import pytest
import scripted_api
from ringmaster_experiments import errors, server

PODS = "/api/v1/namespaces/default/pods?labelSelector=ringmaster.dev/serverset%3Dweb"


@pytest.fixture
def api():
    return scripted_api.ScriptedApi()


@pytest.fixture
def client(api):
    with api.running() as url:
        made = server.Server(url, namespace="default", name="web")
        yield made
        made.close()


def test_replicas_are_sorted_by_ordinal(api, client):
    items = [scripted_api.replica(2), scripted_api.replica(0, ready=False, ring="")]
    api.answers["GET", scripted_api.SET + "/replicas"] = (200, {"items": items})
    assert client.replicas() == [
        server.Replica("web-0-abcde", "web-0", 0, "uid-0", "127.0.0.1:1", False, False),
        server.Replica("web-2-abcde", "web-2", 2, "uid-2", "127.0.0.1:1", True, True),
    ]


def test_one_that_has_failed_is_not_ready(api, client):
    api.answers["GET", scripted_api.SET + "/replicas"] = (
        200,
        {"items": [scripted_api.replica(0, phase="Failed")]},
    )
    assert [replica.ready for replica in client.replicas()] == [False]


def test_a_cluster_is_asked_for_its_pods(api, client):
    labels = {
        "ringmaster.dev/name": "S5", "ringmaster.dev/member-id": "web-1",
        "ringmaster.dev/ordinal": "1",
    }  # fmt: skip
    pod = {
        "metadata": {"uid": "u", "labels": labels},
        "status": {"podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": "True"}]},
    }
    gone = {**pod, "metadata": {**pod["metadata"], "uid": "v", "deletionTimestamp": "now"}}
    api.answers["GET", PODS] = (200, {"items": [pod, gone]})
    assert client.replicas() == [
        server.Replica("S5", "web-1", 1, "u", "10.0.0.7", True, True),
        server.Replica("S5", "web-1", 1, "v", "10.0.0.7", False, False),
    ]


def test_a_refusal_is_one_line(api, client):
    api.answers["GET", scripted_api.SET] = (403, {"message": "not you"})
    with pytest.raises(errors.ExperimentError, match="refuses: not you"):
        client.get()


@pytest.mark.parametrize("body", [b"<html>", b"[]", b""])
def test_what_is_no_document_is_one_line(api, client, body):
    api.answers["GET", scripted_api.SET] = (200, body)
    with pytest.raises(errors.ExperimentError, match="HTTP 200"):
        client.get()


def test_nobody_there_is_one_line_that_says_what_to_do():
    with scripted_api.ScriptedApi().running() as url:
        pass
    gone = server.Server(url, namespace="default", name="web")
    with pytest.raises(errors.ExperimentError, match="--server names another"):
        gone.get()
    gone.close()


def test_a_set_that_is_not_there_is_found_missing(api, client):
    assert client.find()["metadata"]["name"] == "web"
    api.answers["GET", scripted_api.SET] = (404, {"message": "no"})
    assert client.find() is None


def test_a_condition_of_an_older_generation_does_not_count():
    old = {"type": "Ready", "status": "True", "observedGeneration": 1}
    document = {"metadata": {"generation": 2}, "status": {"conditions": [old]}}
    assert server.condition(document, "Ready") == {}
    document["metadata"]["generation"] = 1
    assert server.condition(document, "Ready") == old
