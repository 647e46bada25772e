"""What kopf hears of a real cluster, and that it leaves no trace there."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import kube_cluster
import paper_cluster
import pytest
from ringmaster_operator import handlers, observed
from ringmaster_operator.kube import client

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow]


@pytest.fixture(scope="module")
def namespace():
    with kube_cluster.namespace() as made:
        yield made


class Listener:
    """A watch in a thread, and what it has told."""

    def __init__(self, namespace, access):
        self.heard = []
        self._changed = threading.Condition()
        self._stop = threading.Event()
        scope = handlers.Scope(namespaces=(namespace.name,))
        self._thread = threading.Thread(
            target=handlers.Watch(scope, access).watch, args=(self._hear, self._stop)
        )
        self._thread.start()

    def _hear(self, about):
        with self._changed:
            self.heard.append(about)
            self._changed.notify_all()

    def wait(self, owner, *, seconds=30):
        """Until it was told of `owner`, since the last time."""
        with self._changed:
            assert self._changed.wait_for(lambda: owner in self.heard, seconds), self.heard
            self.heard.clear()

    def quiet(self, seconds):
        """What it was told in this time."""
        time.sleep(seconds)
        with self._changed:
            heard, self.heard = self.heard, []
            return heard

    def stop(self):
        """How long it takes."""
        began = time.monotonic()
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()
        return time.monotonic() - began


@pytest.fixture
def cable(tmp_path):
    """A connection to the API server that can be cut, as (wire, access)."""
    with kube_cluster.cable(tmp_path) as (made, config):
        yield made, client.access(config)


@pytest.fixture
def listener(namespace, cable):
    made = Listener(namespace, cable[1])
    yield made
    made.stop()


def apply(namespace, name, **spec):
    document = kube_cluster.server_set(name, template=paper_cluster.template(), **spec)
    document["spec"]["template"]["metadata"]["labels"] = {"app": name}
    namespace.apply(document)
    return observed.Owner(namespace.name, name, namespace.get("serverset", name)["metadata"]["uid"])


def pod(name, app, **metadata):
    spec = paper_cluster.template()["spec"]
    metadata = {"name": name, "labels": {"app": app}, **metadata}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def test_a_set_is_heard_of_when_it_comes_changes_and_goes(namespace, listener):
    owner = apply(namespace, "life", replicas=1)
    listener.wait(owner)
    namespace.patch("serverset", "life", {"spec": {"replicas": 2}})
    listener.wait(owner)
    namespace.kubectl("delete", "serverset", "life")
    listener.wait(owner)


def test_kopf_leaves_no_trace_and_hears_nothing_of_our_own_writes(namespace, listener):
    owner = apply(namespace, "bare", replicas=1)
    listener.wait(owner)
    namespace.patch("serverset", "bare", {"status": {"replicas": 1}}, "--subresource=status")
    annotations = {"ringmaster.dev/memory": "{}"}
    namespace.patch("serverset", "bare", {"metadata": {"annotations": annotations}})
    assert listener.quiet(2) == []
    metadata = namespace.get("serverset", "bare")["metadata"]
    assert "finalizers" not in metadata
    assert not [key for key in metadata["annotations"] if "kopf" in key]
    assert not [e for e in namespace.list("events") if "kopf" in str(e)]


def test_a_pod_is_heard_of_by_label_be_it_a_replica_an_orphan_or_a_balancer(namespace, listener):
    balancer = {"selector": {"matchLabels": {"app": "a-balancer"}}}
    owner = apply(namespace, "pods", replicas=1, balancer=balancer)
    listener.wait(owner)
    namespace.apply(pod("orphan", "pods"))
    listener.wait(owner)
    namespace.apply(pod("spreads", "a-balancer"))
    listener.wait(owner)
    namespace.kubectl("delete", "pod", "spreads", "--grace-period=0", "--force")
    listener.wait(owner)
    listener.quiet(1)
    namespace.apply(pod("stranger", "nobodys"))
    assert listener.quiet(1) == []


def test_after_an_outage_of_the_api_server_it_hears_what_has_changed(namespace, cable, listener):
    owner = apply(namespace, "outage", replicas=1)
    listener.wait(owner)
    cable[0].cut()
    namespace.patch("serverset", "outage", {"spec": {"replicas": 2}})
    time.sleep(3)
    cable[0].mend()
    listener.wait(owner, seconds=15)


def test_it_ends_promptly_at_rest_and_while_the_api_server_is_away(namespace, cable):
    listening = Listener(namespace, cable[1])
    listening.wait(apply(namespace, "end", replicas=1))
    assert listening.stop() < 5
    away = Listener(namespace, cable[1])
    cable[0].cut()
    time.sleep(1)
    assert away.stop() < 5


def test_there_is_nothing_but_on_event():
    source = Path(handlers.__file__).read_text()
    used = set(re.findall(r"kopf\.on\.(\w+)|kopf\.(timer|daemon)", source))
    assert {first or second for first, second in used} == {"event", "login"}
