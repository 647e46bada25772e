"""The operator of a cluster as a whole; tests/e2e/test_kubernetes_operator.py runs it for real."""

from __future__ import annotations

import threading

import pytest
from fake_api import FakeApi
from ringmaster_operator import cluster, errors, handlers, naming, observed
from ringmaster_operator.kube import leases, memos, paths, records
from ringmaster_operator.memory import Memory
from ringmaster_operator.runtimes import kubernetes
from virtual_clock import VirtualClock


class NoBalancers:
    """An announcer that knows of the given epochs."""

    def __init__(self, *epochs):
        self.epochs = epochs

    def read_back(self, key, config):
        views = (observed.BalancerView(url="", live=True, epoch=epoch) for epoch in self.epochs)
        return observed.Balancers(tuple(views))


@pytest.fixture
def api():
    return FakeApi()


@pytest.fixture
def world(api):
    return cluster.World(
        records=records.Records(api, post=lambda *_args, **_how: None),
        runtime=kubernetes.KubernetesRuntime(
            api, watcher=lambda *_: None, post=lambda *_args, **_how: None
        ),
        epochs=leases.Epochs(api, namespace="shop", holder="here", clock=VirtualClock()),
        api=api,
        scope=handlers.Scope(namespaces=("shop",)),
    )


def put(api, value=None):
    annotations = {} if value is None else {naming.ANNOTATION_MEMORY: memos.encode(value)}
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "s", "image": "i"}]},
    }
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": template}
    document = {
        "apiVersion": naming.API_VERSION,
        "kind": naming.KIND,
        "metadata": {"name": "web", "annotations": annotations},
        "spec": spec,
    }
    return api.put(paths.sets("shop"), document)


def test_the_epoch_is_above_what_memories_and_balancers_know(world, api):
    high = 10**15
    put(api, Memory(epoch=high))
    assert cluster._raise_epoch(world, NoBalancers(), threading.Event()) == high + 1
    assert cluster._raise_epoch(world, NoBalancers(high + 5), threading.Event()) == high + 6


def test_it_waits_for_an_api_server_that_is_away_until_it_is_to_end(world, api, monkeypatch):
    ending = threading.Event()
    answers = [errors.RetryLater("away"), errors.RetryLater("away"), None]

    def listed(_namespaces):
        answer = answers.pop(0)
        if answer:
            raise answer
        ending.set()
        raise errors.RetryLater("still away")

    monkeypatch.setattr(world.records, "list", listed)
    assert cluster._raise_epoch(world, NoBalancers(), ending) is None
    assert answers == []


def test_the_lab_sees_the_replicas_with_their_state_in_the_ring(world, api):
    made = put(api)
    owner = observed.Owner("shop", "web", made["metadata"]["uid"])
    assert world.owners() == [owner]
    assert world.views("shop", "web") == []
    assert world.views("shop", "none") == []


def test_whoever_asks_for_replicas_changes_nothing_that_a_look_rests_on(world, api, monkeypatch):
    made = put(api)
    owner = observed.Owner("shop", "web", made["metadata"]["uid"])
    world.records.get("shop", "web")
    world.records.save_memory(owner, Memory(epoch=1))
    early = api.get(paths.sets("shop", "web"))
    world.records.save_memory(owner, Memory(epoch=1, generation=2))
    with monkeypatch.context() as patched:
        patched.setattr(world.runtime, "look", lambda _: ())
        patched.setattr(api, "get", lambda _: early)  # an answer that comes late
        assert world.views("shop", "web") == []
    world.records.save_memory(owner, Memory(epoch=1, generation=3))
    assert world.records.load_memory(owner).generation == 3


def test_a_token_is_needed_and_must_be_there(tmp_path):
    def settings(token_file):
        return cluster.Settings(
            namespaces=(),
            everywhere=False,
            api_host="127.0.0.1",
            api_port=0,
            balancer_urls=(),
            token_file=token_file,
            workers=1,
        )

    with pytest.raises(errors.UsageError, match="--token-file"):
        cluster.run(settings(None), threading.Event())
    with pytest.raises(errors.UsageError, match="no token file"):
        cluster.run(settings(tmp_path / "none"), threading.Event())


def test_a_young_operator_is_alive_and_ready_only_when_it_acts():
    health = cluster._Health()
    assert health.alive()
    assert not health.ready()
