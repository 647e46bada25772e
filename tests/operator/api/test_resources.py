from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import local_api
import pytest
import requests
from hypothesis import strategies as st
from local_api import MERGE, SETS, TABLE, server_set
from ringmaster_operator import errors, observed


@pytest.fixture
def server(tmp_path: Path) -> Iterator[local_api.Server]:
    with local_api.running(tmp_path) as running:
        yield running


def status(answer: Any) -> tuple[int, str, str]:
    document = answer.json()
    assert (document["kind"], document["status"]) == ("Status", "Failure")
    assert document["code"] == answer.status_code
    return document["code"], document["reason"], document["message"]


def test_a_set_is_created_listed_and_read(server: local_api.Server) -> None:
    made = server.post(server_set())
    assert made.status_code == 201
    assert made.json()["metadata"]["namespace"] == "default"
    listed = server.get()
    assert (listed["kind"], listed["metadata"]["resourceVersion"]) == ("ServerSetList", "1")
    assert listed["items"] == [made.json()] == [server.get(f"{SETS}/web")]
    assert server.get("/apis/ringmaster.dev/v1alpha1/serversets")["items"] == listed["items"]
    assert server.get(SETS.replace("default", "other"))["items"] == []


def test_yaml_is_for_clients_to_read(server: local_api.Server) -> None:
    headers = {"Content-Type": "application/yaml"}
    answer = server.call("POST", SETS, data=json.dumps(server_set()), headers=headers)
    assert status(answer)[0] == 415


def test_the_count_is_always_there_and_nulls_never(server: local_api.Server) -> None:
    document = server_set(replicas=None, drainSeconds=None)
    made = server.post(document).json()
    assert made["spec"]["replicas"] == 1
    assert "drainSeconds" not in made["spec"]


def test_a_name_may_be_generated(server: local_api.Server) -> None:
    document = server_set()
    document["metadata"] = {"generateName": "web-"}
    names = {server.post(document).json()["metadata"]["name"] for _ in range(2)}
    assert len(names) == 2
    assert all(name.startswith("web-") and len(name) == 9 for name in names)


def test_every_fault_is_listed_with_its_field(server: local_api.Server) -> None:
    document = server_set(replicas=-1, drainSeconds="soon", color="red", maxReplicas=True)
    document["metadata"]["name"] = "Not A Name"
    answer = server.post(document)
    assert status(answer)[:2] == (422, "Invalid")
    causes = answer.json()["details"]["causes"]
    assert {cause["field"] for cause in causes} == {
        "metadata.name",
        "spec.replicas",
        "spec.drainSeconds",
        "spec.color",
        "spec.maxReplicas",
    }
    assert server.get()["items"] == []


def test_what_the_runtime_cannot_honour_is_refused_with_its_field(
    server: local_api.Server,
) -> None:
    server.post(server_set())
    server.replicas.faults = [errors.Fault("spec.template.spec.volumes", "not on processes")]
    answer = server.post(server_set("other"))
    assert status(answer)[2].endswith("spec.template.spec.volumes: not on processes")
    # What is stored already stays usable as long as its template is left alone.
    assert server.patch({"spec": {"replicas": 5}}).status_code == 200


def test_the_selector_is_immutable(server: local_api.Server) -> None:
    server.post(server_set())
    labels = {"app": "web", "more": "x"}
    change = {
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}
    }
    assert status(server.patch(change))[:2] == (422, "Invalid")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "not JSON"),
        (b"[]", "JSON object"),
        (b'{"spec": NaN}', "NaN is no JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"9" * 5_000, "not JSON"),
        (b"\xff\xfe{", "not JSON"),
        (b'{"metadata": []}', "apiVersion: required"),
        (b'{"metadata": ["a"]}', "metadata must be an object"),
        (b'{"metadata": {"namespace": "other"}}', "does not match the namespace"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "nested deeper"),
        (b'{"metadata": {"name": "web"}, "spec": {"replicas": 1e400}}', "1e400 is no JSON"),
        (b'{"spec": {"replicas": 1, "replicas": 2}}', 'duplicate field "replicas"'),
        (b'{"spec": [' + b"1," * 100_000 + b"1]}", "more than 100000 values"),
    ],
)
def test_a_body_that_is_no_set_is_refused(server: local_api.Server, body: bytes, said: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = server.call("POST", SETS, data=body, headers=headers)
    code, _, message = status(answer)
    assert code in (400, 422)
    assert said in message
    assert server.get()["items"] == []


def test_a_body_that_is_too_large_is_refused(server: local_api.Server) -> None:
    document = server_set()
    document["metadata"]["annotations"] = {"a": "x" * (4 * 1024 * 1024)}
    assert status(server.post(document))[:2] == (413, "RequestEntityTooLarge")
    document["metadata"]["annotations"] = {}
    document["spec"]["template"]["spec"]["description"] = "x" * (1536 * 1024)
    assert status(server.post(document))[:2] == (413, "RequestEntityTooLarge")
    assert server.get()["items"] == []


def test_of_very_many_faults_the_first_are_told(server: local_api.Server) -> None:
    answer = server.post(server_set(names=["-"] * 20_000, color="red"))
    causes = answer.json()["details"]["causes"]
    assert len(causes) == 101
    assert causes[0]["field"] == "spec.color"
    assert causes[-1]["message"].startswith("has more than 100 faults")


def test_variables_that_double_each_other_are_refused(server: local_api.Server) -> None:
    document = server_set()
    doubling = [{"name": f"A{n}", "value": f"$(A{n - 1})" * 2} for n in range(1, 60)]
    document["spec"]["template"]["spec"]["containers"][0]["env"] = [
        {"name": "A0", "value": "x"},
        *doubling,
    ]
    code, _, message = status(server.post(document))
    assert (code, "at most 2097152 characters" in message) == (422, True)


def test_who_judges_keeps_nobody_waiting(server: local_api.Server) -> None:
    made = server.post(server_set()).json()
    judging, go_on = threading.Event(), threading.Event()

    def judge() -> None:
        judging.set()
        assert go_on.wait(30)

    server.replicas.judge = judge
    change = [
        threading.Thread(target=server.post, args=[server_set("other")]),
        threading.Thread(target=server.patch, args=[template_label("b")]),
    ]
    for each in change:
        judging.clear()
        each.start()
        assert judging.wait(30)
    # What a reconcile does meanwhile, and what other clients do.
    owner = observed.Owner("default", "web", made["metadata"]["uid"])
    server.store.write_status(owner, {"replicas": 3})
    assert server.get(f"{SETS}/web")["status"] == {"replicas": 3}
    assert server.patch({"spec": {"replicas": 5}}).status_code == 200
    go_on.set()
    for each in change:
        each.join()
    now = server.get(f"{SETS}/web")
    assert (now["spec"]["replicas"], now["status"]) == (5, {"replicas": 3})
    assert now["spec"]["template"]["metadata"]["labels"]["a"] == "b"
    assert server.get(f"{SETS}/other")["spec"]["replicas"] == 3


def template_label(value: str) -> dict[str, Any]:
    return {"spec": {"template": {"metadata": {"labels": {"a": value}}}}}


def test_what_is_not_there_is_not_found(server: local_api.Server) -> None:
    for method, path in (
        ("GET", f"{SETS}/web"),
        ("DELETE", f"{SETS}/web"),
        ("GET", f"{SETS}/web/scale"),
        ("GET", f"{SETS}/web/replicas"),
    ):
        answer = server.call(method, path)
        assert status(answer) == (404, "NotFound", 'serversets.ringmaster.dev "web" not found')
    assert status(server.patch({}))[1] == "NotFound"
    assert status(server.call("GET", "/apis/apps/v1/deployments"))[:2] == (404, "NotFound")
    assert status(server.call("GET", f"{SETS}/%00%FF"))[1] == "NotFound"
    assert status(server.call("DELETE", SETS))[:2] == (405, "MethodNotAllowed")


def test_a_name_that_is_taken_is_a_conflict_of_its_own(server: local_api.Server) -> None:
    server.post(server_set())
    answer = server.post(server_set())
    assert status(answer)[:2] == (409, "AlreadyExists")
    assert answer.json()["details"]["name"] == "web"


def test_a_stale_version_is_a_conflict(server: local_api.Server) -> None:
    made = server.post(server_set()).json()
    change = {"metadata": {"resourceVersion": "1"}, "spec": {"replicas": 4}}
    assert server.patch(change).status_code == 200
    assert status(server.patch(change))[:2] == (409, "Conflict")
    assert status(server.call("PUT", f"{SETS}/web", json=made))[:2] == (409, "Conflict")
    assert status(server.patch(change, f"{SETS}/web/scale"))[:2] == (409, "Conflict")
    stale = {"preconditions": {"resourceVersion": "1"}}
    assert status(server.call("DELETE", f"{SETS}/web", json=stale))[:2] == (409, "Conflict")
    assert server.get(f"{SETS}/web")["spec"]["replicas"] == 4


def test_a_put_replaces_spec_and_metadata_and_leaves_the_rest(server: local_api.Server) -> None:
    made = server.post(server_set()).json()
    owner = observed.Owner("default", "web", made["metadata"]["uid"])
    server.store.write_status(owner, {"replicas": 3})
    document = server_set(replicas=6)
    document |= {"status": {"replicas": 99}}
    document["metadata"] |= {"uid": made["metadata"]["uid"], "creationTimestamp": "1999"}
    document = versioned(server, document)
    now = server.call("PUT", f"{SETS}/web", json=document).json()
    assert (now["spec"]["replicas"], now["status"]) == (6, {"replicas": 3})
    assert now["metadata"]["creationTimestamp"] == made["metadata"]["creationTimestamp"]
    assert now["metadata"]["generation"] == 2
    other = server.call("PUT", f"{SETS}/web", json=server_set("other"))
    assert status(other)[:2] == (400, "BadRequest")


def versioned(server: local_api.Server, body: Any) -> Any:
    """The body as of the version that is stored, if it has metadata and names none."""
    metadata = body.get("metadata") if isinstance(body, dict) else None
    if not isinstance(metadata, dict):
        return body
    version = server.get(f"{SETS}/web")["metadata"]["resourceVersion"]
    return {**body, "metadata": {"resourceVersion": version} | metadata}


@pytest.mark.parametrize("version", [None, "", "0", ...])
@pytest.mark.parametrize("path", ["", "/status"])
def test_an_update_names_the_version_that_it_was_made_from(
    server: local_api.Server, version: Any, path: str
) -> None:
    """As the API server of Kubernetes 1.36 for custom resources; with no uid but the right one."""
    made = server.post(server_set()).json()
    document = server_set(replicas=6)
    if version is not ...:
        document["metadata"]["resourceVersion"] = version
    answer = server.call("PUT", f"{SETS}/web{path}", json=document)
    said = 'ServerSet.ringmaster.dev "web" is invalid: metadata.resourceVersion: must be specified'
    assert status(answer) == (422, "Invalid", f"{said} for an update")
    document["metadata"]["uid"] = "another"
    answer = server.call("PUT", f"{SETS}/web{path}", json=document)
    assert status(answer)[:2] == (409, "Conflict")
    if version is not ...:
        change = {"metadata": {"resourceVersion": version}}
        assert status(server.patch(change, f"{SETS}/web{path}"))[0] == 422
    assert server.get(f"{SETS}/web") == made


def test_a_scale_need_not_name_a_version(server: local_api.Server) -> None:
    server.post(server_set())
    scale = {"metadata": {"name": "web"}, "spec": {"replicas": 6}}
    assert server.call("PUT", f"{SETS}/web/scale", json=scale).json()["spec"] == {"replicas": 6}


def test_a_new_object_has_no_version_yet(server: local_api.Server) -> None:
    document = server_set()
    document["metadata"]["resourceVersion"] = "5"
    said = "resourceVersion should not be set on objects to be created"
    assert status(server.post(document)) == (400, "BadRequest", said)
    document["metadata"]["resourceVersion"] = "0"  # none, to Kubernetes too
    assert server.post(document).status_code == 201


@pytest.mark.parametrize("value", ["x", "", None, {}, []])
@pytest.mark.parametrize(
    "path",
    [
        ("foo",),
        ("metadata", "foo"),
        ("metadata", "clusterName"),
        ("spec", "foo"),
        ("spec", "balancer", "proxy", "foo"),
        ("spec", "ring", "key", 0, "foo"),
    ],
)
def test_an_unknown_field_is_refused_whatever_it_holds(
    server: local_api.Server, path: tuple[Any, ...], value: Any
) -> None:
    document = server_set(ring={"key": [{"header": "a"}]})
    document["spec"]["balancer"]["proxy"] = {}
    place = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    answer = server.post(document)
    assert status(answer)[:2] == (422, "Invalid")
    (cause,) = answer.json()["details"]["causes"]
    assert cause["message"].startswith("unknown field")
    if path[0] == "metadata" and value is not None:
        server.post(server_set())
        assert status(server.patch({"metadata": {path[1]: value}}))[0] == 422


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"generateName": 5}, "metadata.generateName"),
        ({"ownerReferences": {}}, "metadata.ownerReferences"),
        ({"ownerReferences": [{}]}, "metadata.ownerReferences[0].apiVersion"),
        ({"deletionGracePeriodSeconds": "x"}, "metadata.deletionGracePeriodSeconds"),
        ({"selfLink": []}, "metadata.selfLink"),
    ],
)
def test_metadata_that_no_client_could_read_is_refused(
    server: local_api.Server, metadata: Any, field: str
) -> None:
    document = server_set()
    document["metadata"] |= metadata
    answer = server.post(document)
    assert status(answer)[:2] == (422, "Invalid")
    assert answer.json()["details"]["causes"][0]["field"] == field


def test_merge_and_json_patches_are_taken_and_others_are_not(server: local_api.Server) -> None:
    server.post(server_set())
    server.patch({"metadata": {"labels": {"tier": None, "a": "b"}}, "spec": {"replicas": 4}})
    operations = [{"op": "replace", "path": "/spec/replicas", "value": 5}]
    headers = {"Content-Type": "application/json-patch+json"}
    now = server.call("PATCH", f"{SETS}/web", data=json.dumps(operations), headers=headers).json()
    assert (now["spec"]["replicas"], now["metadata"]["labels"]) == (5, {"a": "b"})
    for media_type in ("strategic-merge-patch+json", "apply-patch+yaml", "json"):
        headers = {"Content-Type": f"application/{media_type}"}
        answer = server.call("PATCH", f"{SETS}/web", data="{}", headers=headers)
        assert status(answer)[:2] == (415, "UnsupportedMediaType")


@pytest.mark.parametrize(
    ("patch", "code"),
    [
        ({}, 400),
        ([1], 400),
        ([{"op": "fly", "path": "/spec"}], 400),
        ([{"op": "remove", "path": "/spec/nothing"}], 422),
        ([{"op": "test", "path": "/spec/replicas", "value": 9}], 422),
        ([{"op": "replace", "path": "", "value": 1}], 422),
        ([{"op": "remove", "path": "/metadata"}], 422),
        ([{"op": "remove", "path": "/spec"}], 422),
        ([{"op": "add", "path": "/spec/replicas/x", "value": 9}], 422),
    ],
)
def test_a_json_patch_that_does_not_fit_is_refused(
    server: local_api.Server, patch: Any, code: int
) -> None:
    made = server.post(server_set()).json()
    headers = {"Content-Type": "application/json-patch+json"}
    answer = server.call("PATCH", f"{SETS}/web", data=json.dumps(patch), headers=headers)
    assert status(answer)[0] == code
    assert server.get(f"{SETS}/web") == made


LABELS = "/spec/template/metadata/labels"


@pytest.mark.parametrize(
    ("places", "code", "said"),
    [
        ([f"{LABELS}/a{n}" for n in range(24)], 413, "may copy at most"),
        ([LABELS + "/a" * 2**n for n in range(14)], 422, "too deeply"),
    ],
)
def test_copies_of_copies_are_refused_before_they_are_made(
    server: local_api.Server, places: list[str], code: int, said: str
) -> None:
    made = server.post(server_set()).json()
    start = {"op": "add", "path": LABELS, "value": {"a": {}, "b": "x" * 100}}
    patch = [start, *({"op": "copy", "from": LABELS, "path": place} for place in places)]
    answer = server.call("PATCH", f"{SETS}/web", data=json.dumps(patch), headers=JSON_PATCH)
    assert status(answer)[0] == code
    assert said in status(answer)[2]
    assert server.get(f"{SETS}/web") == made


@pytest.mark.parametrize(
    "patch", ["[]", '"x"', '{"metadata": null}', '{"spec": null}', '{"spec": 1}']
)
def test_a_merge_patch_that_destroys_is_refused(server: local_api.Server, patch: str) -> None:
    made = server.post(server_set()).json()
    answer = server.call("PATCH", f"{SETS}/web", data=patch, headers=MERGE)
    assert status(answer)[0] in (400, 422)
    assert server.get(f"{SETS}/web") == made


def test_a_dry_run_writes_nothing(server: local_api.Server) -> None:
    assert server.post(server_set(), dryRun="All").status_code == 201
    assert server.get()["items"] == []
    made = server.post(server_set()).json()
    assert server.patch({"spec": {"replicas": 9}}, dryRun="All").json()["spec"]["replicas"] == 9
    assert server.call("DELETE", f"{SETS}/web", json={"dryRun": ["All"]}).status_code == 200
    assert server.get(f"{SETS}/web") == made
    assert status(server.patch({}, dryRun="some"))[:2] == (400, "BadRequest")


def test_the_scale_is_read_and_set(server: local_api.Server) -> None:
    made = server.post(server_set()).json()
    scale = server.get(f"{SETS}/web/scale")
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert scale["spec"] == {"replicas": 3}
    assert scale["status"] == {"replicas": 0, "selector": "app=web"}
    scale["spec"]["replicas"] = 5
    assert server.call("PUT", f"{SETS}/web/scale", json=scale).json()["spec"] == {"replicas": 5}
    server.patch({"spec": {"replicas": 7}}, f"{SETS}/web/scale")
    now = server.get(f"{SETS}/web")
    assert (now["spec"]["replicas"], now["metadata"]["generation"]) == (7, 3)
    assert now["spec"] == made["spec"] | {"replicas": 7}
    for count in (-1, True, "3", 1.5, 1_000):
        answer = server.patch({"spec": {"replicas": count}}, f"{SETS}/web/scale")
        assert status(answer)[:2] == (422, "Invalid")


def test_others_may_write_their_conditions(server: local_api.Server) -> None:
    made = server.post(server_set()).json()
    status_path = f"{SETS}/web/status"
    wanted = {"conditions": [{"type": "Theirs", "status": "True"}]}
    now = server.patch({"status": wanted, "spec": {"replicas": 9}}, status_path).json()
    assert (now["status"], now["spec"]) == (wanted, made["spec"])
    assert server.get(status_path)["status"] == wanted
    for bad in ({"conditions": {}}, {"conditions": [{}]}, []):
        assert status(server.patch({"status": bad}, status_path))[0] == 422


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"conditions": [{"type": "Ready"}]}, "status.conditions[0].status"),
        ({"conditions": [{"status": "True"}]}, "status.conditions[0].type"),
        ({"conditions": [{"type": "Ready", "status": "maybe"}]}, "status.conditions[0].status"),
        ({"conditions": [{"type": "A", "status": "True"}, 5]}, "status.conditions[1]"),
        ({"conditions": [{"type": "A", "status": "True"}] * 2}, "status.conditions[1]"),
        ({"replicas": "3"}, "status.replicas"),
        ({"selector": 5}, "status.selector"),
    ],
)
def test_a_status_that_a_cluster_would_refuse_is_refused(
    server: local_api.Server, bad: Any, field: str
) -> None:
    made = server.post(server_set()).json()
    for answer in (
        server.patch({"status": bad}, f"{SETS}/web/status"),
        server.call("PUT", f"{SETS}/web/status", json={**made, "status": bad}),
    ):
        assert status(answer)[:2] == (422, "Invalid")
        assert [each["field"] for each in answer.json()["details"]["causes"]] == [field]
    assert server.get(f"{SETS}/web") == made


def test_of_a_status_nothing_is_kept_that_a_cluster_would_prune(server: local_api.Server) -> None:
    server.post(server_set())
    told = {"type": "Theirs", "status": "True", "reason": None, "colour": "blue"}
    sent = {"status": {"conditions": [told], "colour": "blue"}}
    body = versioned(server, {**server_set(), **sent})
    now = server.call("PUT", f"{SETS}/web/status", json=body).json()
    assert now["status"] == {"conditions": [{"type": "Theirs", "status": "True"}]}


def test_a_deleted_set_is_marked_and_gone_once_it_is_forgotten(server: local_api.Server) -> None:
    made = server.post(server_set()).json()
    marked = server.call("DELETE", f"{SETS}/web", params={"propagationPolicy": "Background"})
    assert marked.status_code == 200
    assert marked.json()["metadata"]["deletionTimestamp"]
    server.forget(made)
    assert status(server.call("DELETE", f"{SETS}/web"))[:2] == (404, "NotFound")
    orphan = server.call("DELETE", f"{SETS}/web", json={"propagationPolicy": "Orphan"})
    assert status(orphan)[:2] == (400, "BadRequest")


def test_selectors_choose(server: local_api.Server) -> None:
    for name in ("web", "shop", "mail"):
        server.post(server_set(name))

    def names(**query: str) -> list[str]:
        return [item["metadata"]["name"] for item in server.get(SETS, **query)["items"]]

    assert names(labelSelector="tier in (web,shop)") == ["shop", "web"]
    assert names(fieldSelector="metadata.name=mail") == ["mail"]
    assert names(fieldSelector="metadata.name!=mail", labelSelector="tier!=web") == ["shop"]
    for query in ({"fieldSelector": "spec.replicas=3"}, {"labelSelector": "a=b=c"}):
        assert status(server.call("GET", SETS, params=query))[:2] == (400, "BadRequest")


def test_tables_have_the_columns_of_the_definition(server: local_api.Server) -> None:
    server.post(server_set())
    listed = server.call("GET", SETS, headers=TABLE).json()
    assert listed["kind"] == "Table"
    names = [column["name"] for column in listed["columnDefinitions"]]
    assert names[:6] == ["Name", "Desired", "Ready", "Available", "In-Ring", "Age"]
    assert listed["rows"][0]["cells"][:2] == ["web", 3]
    assert listed["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    one = server.call("GET", f"{SETS}/web", headers=TABLE).json()
    assert len(one["rows"]) == 1


def test_events_are_listed_by_what_they_are_about(server: local_api.Server) -> None:
    made = server.post(server_set()).json()
    owner = observed.Owner("default", "web", made["metadata"]["uid"])
    server.store.event(owner, kind="Normal", reason="Made", message="web-0")
    server.store.event(
        observed.Owner("default", "shop", "other"), kind="Normal", reason="Made", message="shop-0"
    )
    path = "/api/v1/namespaces/default/events"
    chosen = server.get(path, fieldSelector=f"involvedObject.uid={owner.uid}")["items"]
    assert [event["message"] for event in chosen] == ["web-0"]
    name = chosen[0]["metadata"]["name"]
    assert server.get(f"{path}/{name}") == chosen[0]
    assert len(server.get("/api/v1/events", fieldSelector="type=Normal")["items"]) == 2
    rows = server.call("GET", path, headers=TABLE).json()["rows"]
    assert rows[0]["cells"][1:4] == ["Normal", "Made", "web"]


def test_replicas_are_listed(server: local_api.Server) -> None:
    server.post(server_set())
    server.replicas.seen = [local_api.view("S5"), local_api.view("web-1-abcde", state="")]
    listed = server.get(f"{SETS}/web/replicas")
    assert [item["status"]["displayName"] for item in listed["items"]] == ["S5", "web-1-abcde"]
    assert [item["status"]["ring"] for item in listed["items"]] == ["active", ""]


def test_what_is_hardly_meant_is_warned_of(server: local_api.Server) -> None:
    answer = server.post(server_set(balancer={}))
    assert answer.status_code == 201
    assert answer.headers["Warning"].startswith('299 - "spec.balancer: ')


def test_health_is_told(server: local_api.Server) -> None:
    assert [server.call("GET", p).status_code for p in ("/healthz", "/livez", "/readyz")] == [
        200
    ] * 3
    server.replicas.ready = False
    assert server.call("GET", "/readyz").status_code == 503
    assert server.call("GET", "/livez").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "refusal"),
    [
        ("PUT", "", {**server_set(), "metadata": "web"}, (400, "metadata must be an object")),
        ("PUT", "", {**server_set(), "metadata": ["web"]}, (400, "metadata must be an object")),
        ("PUT", "/scale", {"metadata": "web", "spec": {"replicas": 5}}, (400, "metadata must be")),
        (
            "PUT",
            "/scale",
            {"metadata": {"name": "api"}, "spec": {"replicas": 5}},
            (400, "the name of the object (api) does not match the name on the URL (web)"),
        ),
        (
            "PUT",
            "/status",
            {**server_set(), "metadata": "web"},
            (400, "metadata must be an object"),
        ),
        (
            "PUT",
            "/status",
            {**server_set(), "status": 5},
            (422, '"web" is invalid: status: must be'),
        ),
        ("DELETE", "", {"preconditions": "x"}, (400, "preconditions must be an object")),
        ("DELETE", "", {"dryRun": 5}, (400, "dryRun must be a list of strings")),
        ("DELETE", "", {"dryRun": [5]}, (400, "dryRun must be a list of strings")),
        ("DELETE", "", {"propagationPolicy": "Orphan"}, (400, "cannot be orphaned")),
        ("DELETE", "", {"orphanDependents": True}, (400, "cannot be orphaned")),
        ("DELETE", "?propagationPolicy=Orphan", None, (400, "cannot be orphaned")),
        ("DELETE", "?orphanDependents=true", None, (400, "cannot be orphaned")),
    ],
)
def test_a_malformed_body_is_refused_and_changes_nothing(
    server: local_api.Server, method: str, path: str, body: Any, refusal: tuple[int, str]
) -> None:
    made = server.post(server_set()).json()
    answer = server.call(method, f"{SETS}/web{path}", json=versioned(server, body))
    assert status(answer)[0] == refusal[0]
    assert refusal[1] in status(answer)[2]
    assert server.get(f"{SETS}/web") == made


def test_a_finalizer_is_refused_for_nobody_would_wait_for_it(server: local_api.Server) -> None:
    document = server_set()
    document["metadata"]["finalizers"] = ["example.com/wait"]
    refused = server.post(document)
    assert status(refused)[0] == 422
    assert refused.json()["details"]["causes"][0]["field"] == "metadata.finalizers"
    document["metadata"]["finalizers"] = []
    assert server.post(document).status_code == 201


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([float("inf"), 1.5])  # the former is sent as 1e999
    | st.text(max_size=5)
    | st.sampled_from(["web", "default", "1", "All", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "type", "metadata", "spec", "x"]), inner)
    ),
    max_leaves=6,
)
SCALE = {"metadata": {"name": "web", "resourceVersion": ""}, "spec": {"replicas": 2}}
RESTATED = {
    **server_set(),
    "status": {"replicas": 1, "selector": "a=b", "conditions": [{"type": "Ready", "status": "x"}]},
}
OPTIONS = {
    "preconditions": {"uid": "", "resourceVersion": ""},
    "dryRun": ["All"],
    "propagationPolicy": "Background",
}
PATCH = [{"op": "replace", "path": "/spec/replicas", "value": 2}]
JSON_PATCH = {"Content-Type": "application/json-patch+json"}
JSON = {"Content-Type": "application/json"}
SENT = [
    ("POST", SETS, JSON, server_set("api")),
    ("PUT", f"{SETS}/web", JSON, server_set()),
    ("PUT", f"{SETS}/web/scale", JSON, SCALE),
    ("PUT", f"{SETS}/web/status", JSON, RESTATED),
    ("DELETE", f"{SETS}/web", JSON, OPTIONS),
    ("PATCH", f"{SETS}/web", MERGE, server_set()),
    ("PATCH", f"{SETS}/web/scale", MERGE, SCALE),
    ("PATCH", f"{SETS}/web/status", MERGE, RESTATED),
    ("PATCH", f"{SETS}/web", JSON_PATCH, PATCH),
    ("PATCH", f"{SETS}/web/status", JSON_PATCH, PATCH),
]


def places(value: Any) -> list[tuple[Any, ...]]:
    """The path to everything in a JSON value, itself included."""
    found: list[tuple[Any, ...]] = [()]
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        found += [(key, *path) for key, inner in items for path in places(inner)]
    return found


def spoilt(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    """A copy of a JSON value with something else at one place."""
    if not path:
        return by
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = spoilt(value[path[0]], path[1:], by)
    return copied


def strictly(answer: requests.Response) -> Any:
    """The answer, which must be JSON and no more."""
    return json.loads(answer.content, parse_constant=pytest.fail)


def test_no_body_is_answered_with_a_5xx_or_leaves_anything_that_is(
    server: local_api.Server,
) -> None:
    @hypothesis.given(sent=st.sampled_from(SENT), value=VALUES, data=st.data())
    def send(sent: tuple[str, str, dict[str, str], Any], value: Any, data: st.DataObject) -> None:
        method, path, headers, good = sent
        body = json.dumps(spoilt(good, data.draw(st.sampled_from(places(good))), value))
        server.post(server_set())
        if method == "PUT":
            body = json.dumps(versioned(server, json.loads(body)))
        answer = server.call(method, path, data=body.replace("Infinity", "1e999"), headers=headers)
        assert answer.status_code < 500, answer.text
        strictly(answer)
        for shown in (SETS, f"{SETS}/web", f"{SETS}/web/scale"):
            for accept in (TABLE, {}):
                seen = server.call("GET", shown, headers=accept)
                assert seen.status_code == 200, seen.text
                strictly(seen)

    send()
