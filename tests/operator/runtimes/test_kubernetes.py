"""The Kubernetes runtime over a small API server; tests/contract has it over a real one."""

from __future__ import annotations

import threading

import pytest
from fake_api import FakeApi
from ringmaster_operator import errors, naming, observed
from ringmaster_operator.kube import paths
from ringmaster_operator.runtimes import kubernetes

PODS = paths.pods("shop")
TEMPLATE = {
    "metadata": {"labels": {"app": "web"}},
    "spec": {"containers": [{"name": "server", "image": "server:1"}]},
}


class World:
    """A ServerSet `web` and its runtime."""

    def __init__(self):
        self.api = FakeApi()
        spec = {"selector": {"matchLabels": {"app": "web"}}, "template": TEMPLATE}
        made = self.api.put(paths.sets("shop"), {"metadata": {"name": "web"}, "spec": spec})
        self.owner = observed.Owner("shop", "web", made["metadata"]["uid"])
        self.events = []
        self.runtime = kubernetes.KubernetesRuntime(
            self.api,
            watcher=lambda *_: None,
            post=lambda _owner, **event: self.events.append(event),
        )

    def birth(self, ordinal=0, **changes):
        values = {
            "owner": self.owner,
            "name": f"web-{ordinal}-abcde",
            "display_name": f"web-{ordinal}-abcde",
            "member_id": f"web-{ordinal}",
            "ordinal": ordinal,
            "attempt": 1,
            "reason": observed.Reason.SCALE_UP,
            "revision": "r1",
            "template": TEMPLATE,
        }
        return observed.Birth(**values | changes)

    def orphan(self, name, **labels):
        return self.api.put(
            PODS,
            {
                "metadata": {"name": name, "labels": {"app": "web", **labels}},
                "spec": TEMPLATE["spec"],
                "status": {"phase": "Running"},
            },
        )

    def seen(self):
        return {each.name: each for each in self.runtime.observe(self.owner)}

    def pod(self, name):
        return self.api.objects[f"{PODS}/{name}"]["metadata"]


@pytest.fixture
def world():
    return World()


def test_what_was_created_is_seen_at_once(world):
    world.runtime.create(world.birth(0))
    world.runtime.create(world.birth(1))
    assert {each.ordinal for each in world.seen().values()} == {0, 1}


def test_a_look_costs_two_lists_from_etcd_and_writes_nothing(world):
    world.runtime.create(world.birth())
    world.seen()
    world.api.reads.clear()
    world.api.queries.clear()
    world.api.log.clear()
    world.seen()
    assert world.api.reads == [PODS, PODS]
    assert all(set(query) == {"labelSelector"} for query in world.api.queries)
    assert world.api.log == []


def test_a_name_that_no_pod_can_have_is_refused_before_it_is_tried(world):
    for name in ("S_5", "a.b", "x" * 64, "5-"):
        with pytest.raises(errors.RefusedError) as caught:
            world.runtime.create(world.birth(name=name, display_name=name))
        assert caught.value.reason == errors.INVALID_NAME
    assert world.api.log == []
    assert world.runtime.name_fault("S5") == ""


def test_what_the_api_server_drops_of_a_template_is_told_once(world):
    create = world.api.create

    def pruning(path, body):
        answer = create(path, body)
        answer["spec"]["containers"][0].pop("livnessProbe", None)
        return answer

    world.api.create = pruning
    container = {"name": "server", "image": "server:1", "livnessProbe": {"periodSeconds": 1}}
    template = {**TEMPLATE, "spec": {"containers": [container]}}
    world.runtime.create(world.birth(0))
    assert world.events == []
    for ordinal in (1, 2):
        world.runtime.create(world.birth(ordinal, template=template, revision="r2"))
    (event,) = world.events
    assert (event["kind"], event["reason"]) == ("Warning", "FieldsDropped")
    assert event["message"].endswith("dropped: spec.template.spec.containers[0].livnessProbe")


def test_an_orphan_is_adopted_and_gets_a_place(world):
    world.runtime.create(world.birth(0))
    world.orphan("stranger")
    found = world.seen()
    assert (found["stranger"].ordinal, found["stranger"].member_id) == (1, "web-1")
    assert found["stranger"].revision == naming.template_hash(TEMPLATE)
    assert world.pod("stranger")["ownerReferences"] == [naming.owner_reference(world.owner)]
    assert world.seen() == found


def test_several_orphans_get_a_place_each(world):
    for number in range(3):
        world.orphan(f"stranger-{number}")
    assert sorted(each.ordinal for each in world.seen().values()) == [0, 1, 2]


def test_nobody_is_adopted_by_a_set_that_is_on_its_way_out(world):
    world.seen()
    world.orphan("stranger")
    deleted = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    world.api.edit(paths.sets("shop", "web"), deleted)
    assert world.seen() == {}
    assert "ownerReferences" not in world.pod("stranger")


def test_nobody_is_adopted_by_a_set_that_was_made_anew_meanwhile(world):
    world.seen()
    world.orphan("stranger")
    path = paths.sets("shop", "web")
    world.api.objects[path]["metadata"]["uid"] = "another"
    assert world.seen() == {}
    assert "ownerReferences" not in world.pod("stranger")


def test_a_pod_that_changes_or_goes_while_it_is_adopted_is_left_to_the_next_look(world):
    world.orphan("changing")
    world.orphan("going")
    world.api.meanwhile = [
        lambda: world.api.edit(f"{PODS}/changing", {"metadata": {"labels": {"new": "label"}}}),
        lambda: world.api.objects.pop(f"{PODS}/going"),
    ]
    assert world.seen() == {}
    assert set(world.seen()) == {"changing"}


def test_a_relabelled_pod_is_released_and_not_looked_at_again(world):
    world.runtime.create(world.birth(0))
    world.api.edit(f"{PODS}/web-0-abcde", {"metadata": {"labels": {"app": "debug"}}})
    assert world.seen() == {}
    released = world.pod("web-0-abcde")
    assert released["ownerReferences"] == []
    assert naming.LABEL_SET_UID not in released["labels"]
    world.api.log.clear()
    assert world.seen() == {}
    assert world.api.log == []


def test_labelled_back_it_is_adopted_into_its_old_place(world):
    for ordinal in range(2):
        world.runtime.create(world.birth(ordinal))
    path = f"{PODS}/web-1-abcde"
    world.api.edit(path, {"metadata": {"labels": {"app": "debug"}}})
    world.seen()
    world.api.edit(path, {"metadata": {"labels": {"app": "web"}}})
    assert world.seen()["web-1-abcde"].ordinal == 1


def test_a_pod_of_ours_that_lost_its_identity_gets_one(world):
    world.runtime.create(world.birth(0))
    world.api.edit(f"{PODS}/web-0-abcde", {"metadata": {"labels": {naming.LABEL_ORDINAL: "x"}}})
    assert world.seen()["web-0-abcde"].ordinal == 0
    assert world.pod("web-0-abcde")["labels"][naming.LABEL_ORDINAL] == "0"


def test_a_pod_of_another_controller_is_left_alone(world):
    world.orphan("theirs")
    theirs = {"kind": "ReplicaSet", "name": "x", "uid": "u9", "controller": True}
    world.api.edit(f"{PODS}/theirs", {"metadata": {"ownerReferences": [theirs]}})
    world.api.log.clear()
    assert world.seen() == {}
    assert world.api.log == []


def test_of_a_set_that_is_gone_nothing_is_seen(world):
    world.runtime.create(world.birth(0))
    del world.api.objects[paths.sets("shop", "web")]
    assert world.seen() == {}


def test_a_removal_is_of_this_instance_and_never_without_grace(world):
    world.runtime.create(world.birth(0))
    (replica,) = world.seen().values()
    world.runtime.remove(replica, grace_seconds=0)
    assert world.api.log[-1] == f"DELETE {PODS}/web-0-abcde grace=1"
    world.runtime.remove(replica, grace_seconds=3)  # it is gone: no error
    world.runtime.create(world.birth(0))
    world.runtime.remove(replica, grace_seconds=2.5)  # another instance under its name
    assert set(world.seen()) == {"web-0-abcde"}
    assert world.api.log[-1].endswith("grace=3")


def test_a_look_from_another_thread_claims_nothing_and_lets_nothing_go(world):
    world.runtime.create(world.birth(0))
    world.runtime.create(world.birth(1))
    world.orphan("stranger")
    world.api.edit(f"{PODS}/web-1-abcde", {"metadata": {"labels": {"app": "debug"}}})
    world.api.log.clear()
    seen = {each.name for each in world.runtime.look(world.owner)}
    assert seen == {"web-0-abcde", "web-1-abcde"}
    assert world.api.log == []


def test_a_selector_that_was_changed_against_the_rule_releases_nobody(world):
    # Before 1.25 the API server takes it; a fresh operator has only the status to know by.
    world.runtime.create(world.birth(0))
    path = paths.sets("shop", "web")
    world.api.edit(path, {"status": {"selector": "app=web"}})
    world.api.edit(path, {"spec": {"selector": {"matchLabels": {"app": "other"}}}})
    world.api.log.clear()
    assert set(world.seen()) == {"web-0-abcde"}
    assert world.api.log == []


def test_a_pod_whose_label_changes_between_the_two_lists_is_seen_once(world):
    world.runtime.create(world.birth(0))
    world.seen()
    lists = []
    get = world.api.get

    def relabelled(path, **query):
        answer = get(path, **query)
        if path == PODS:
            lists.append(query)
            if len(lists) == 1:
                world.api.edit(
                    f"{PODS}/web-0-abcde", {"metadata": {"labels": {naming.LABEL_SET_UID: "x"}}}
                )
        return answer

    world.api.get = relabelled
    assert [each.name for each in world.runtime.observe(world.owner)] == ["web-0-abcde"]


def test_no_answer_is_no_empty_world(world):
    def fail(*_args, **_query):
        raise errors.RetryLater("away")

    world.seen()
    world.api.get = fail
    with pytest.raises(errors.RetryLater):
        world.seen()


def test_it_watches_by_what_it_was_given():
    calls = []
    runtime = kubernetes.KubernetesRuntime(
        FakeApi(), watcher=lambda *args: calls.append(args), post=print
    )
    stop = threading.Event()
    runtime.watch(print, stop)
    assert calls == [(print, stop)]


def test_every_template_is_a_clusters_to_judge(world):
    assert tuple(world.runtime.check({"spec": {"hostNetwork": True}})) == ()
