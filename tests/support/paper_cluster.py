"""ServerSets on a real API server whose pods no kubelet runs: the test itself says what they do.

A pod for a scheduler that does not exist stays where it is, costs nothing, and goes the moment it
is deleted. So every API call of a reconcile is real, and a test can let hundreds of them fail.
"""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Callable
from typing import Any

import kube_cluster
from fake_announcer import FakeAnnouncer
from ringmaster_operator import errors, observed, reconcile
from ringmaster_operator.kube import client, paths, records
from ringmaster_operator.runtimes import kubernetes
from virtual_clock import Effects, InlineExecutor, OperatorKilledError, VirtualClock

Document = dict[str, Any]
BAD = "bad"  # versions that begin so never get ready


def template(version: str = "v1") -> Document:
    """Of a pod that nobody schedules."""
    made = kube_cluster.pod_template(env=[{"name": "VERSION", "value": version}])
    made["spec"]["schedulerName"] = "nobody"
    return made


class FaultyApi(client.Api):
    """Real calls; `effects` sees every write, the hooks may spoil a call."""

    def __init__(self, configuration: Any, effects: Effects) -> None:
        super().__init__(configuration)
        self.effects = effects
        self.lost: Callable[[str], bool] = lambda _what: False  # done, but answered an error
        self.stale: Callable[[str], bool] = lambda _path: False  # answered as the last time
        self.before_all: Callable[[str], bool] = lambda _path: False  # as before any pod was there
        self._answers: dict[str, Document] = {}

    def get(self, path: str, **query: str | int) -> Document:
        if self.before_all(path):
            return {"items": []}
        key = f"{path}?{sorted(query.items())}"
        if key in self._answers and self.stale(path):
            return self._answers[key]
        self._answers[key] = super().get(path, **query)
        return self._answers[key]

    def create(self, path: str, body: Document) -> Document:
        return self._write(f"create {path}", lambda: super(FaultyApi, self).create(path, body))

    def patch(self, path: str, body: Document, *, kind: str = client.MERGE) -> Document:
        return self._write(
            f"patch {path}", lambda: super(FaultyApi, self).patch(path, body, kind=kind)
        )

    def delete(
        self, path: str, *, uid: str | None = None, grace_seconds: int | None = None
    ) -> Document:
        return self._write(
            f"delete {path}",
            lambda: super(FaultyApi, self).delete(path, uid=uid, grace_seconds=grace_seconds),
        )

    def _write(self, what: str, call: Callable[[], Document]) -> Document:
        answer = self.effects.apply(what, call)
        if self.lost(what):
            raise errors.AmbiguousError(f"{what}: the answer was lost")
        return dict(answer)


class PaperSet:
    """One ServerSet, its operator's lives, and the pods as the test wants them."""

    def __init__(
        self, namespace: kube_cluster.Namespace, api: client.Api, configuration: Any, **spec: Any
    ) -> None:
        self.namespace = namespace
        self.name = f"s{uuid.uuid4().hex[:8]}"
        self.effects = Effects()
        self.offset = 0.0
        self.announcer = FakeAnnouncer(VirtualClock(), effects=self.effects)
        self.surge = 1
        self.most = 0  # replicas that were there at once
        self._api = api  # the test's own, without faults
        self._configuration = configuration
        self._epoch = int(time.time() * 1000)
        document = kube_cluster.server_set(self.name, template=template(), **spec)
        document["spec"]["template"]["metadata"]["labels"] = {"app": self.name}
        made = api.create(paths.sets(namespace.name), document)
        self.owner = observed.Owner(namespace.name, self.name, made["metadata"]["uid"])
        self.restart()

    def clock(self) -> float:
        return time.time() + self.offset

    def restart(self) -> None:
        """A new operator; nothing of the old one's mind is left."""
        self._epoch += 1
        self.api = FaultyApi(self._configuration, self.effects)
        self.operator = reconcile.Reconciler(
            runtime=kubernetes.KubernetesRuntime(
                self.api, watcher=lambda *_: None, post=lambda *_args, **_how: None
            ),
            announcer=self.announcer,
            records=records.Records(self.api, post=lambda *_args, **_how: None),
            epoch=self._epoch,
            clock=self.clock,
            pool=InlineExecutor(),
        )

    def edit(self, **spec: Any) -> None:
        if "template" in spec:
            spec["template"]["metadata"]["labels"] = {"app": self.name}
        self._api.patch(paths.sets(self.owner.namespace, self.name), {"spec": spec})

    def document(self) -> Document:
        return self._api.get(paths.sets(self.owner.namespace, self.name))

    def pods(self) -> list[Document]:
        answer = self._api.get(paths.pods(self.owner.namespace), labelSelector=f"app={self.name}")
        return list(answer["items"])

    def kubelet(self) -> None:
        """Every pod runs and is ready, but one of a bad version."""
        now = dt.datetime.fromtimestamp(self.clock(), tz=dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        pods = self.pods()
        self.most = max(self.most, len(pods))
        for number, pod in enumerate(pods):
            if pod["status"].get("phase") == "Pending" and not _bad(pod):
                ready = {"type": "Ready", "status": "True", "lastTransitionTime": now}
                status = {"phase": "Running", "podIP": f"10.9.0.{number}", "conditions": [ready]}
                path = paths.pods(self.owner.namespace, pod["metadata"]["name"]) + "/status"
                self._api.patch(path, {"status": status})

    def delete_pod(self, pod: Document) -> None:
        """As a user does."""
        self._api.delete(paths.pods(self.owner.namespace, pod["metadata"]["name"]))

    def orphan(self) -> None:
        """A pod that the selector wants and nobody owns."""
        made = template()
        metadata = {"name": f"{self.name}-{uuid.uuid4().hex[:8]}", "labels": {"app": self.name}}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": made["spec"]}
        self._api.create(paths.pods(self.owner.namespace), pod)

    def relabel(self, pod: Document, **labels: str) -> None:
        """As a user does who wants to look into it."""
        path = paths.pods(self.owner.namespace, pod["metadata"]["name"])
        self._api.patch(path, {"metadata": {"labels": labels}})

    def delete(self) -> None:
        """The ServerSet itself."""
        self._api.delete(paths.sets(self.owner.namespace, self.name))

    def look(self) -> float:
        """One reconcile; a dead operator is followed by a new one. Seconds until the next."""
        try:
            again = self.operator.reconcile(self.owner.namespace, self.name).requeue_after
        except OperatorKilledError:
            self.restart()
            return 0.1
        except errors.RetryLater:
            return 0.5
        return 1.0 if again is None else again

    def settle(self, *, rounds: int = 60) -> None:
        """Look until all that is wanted is there; time passes as the operator asks."""
        for _ in range(rounds):
            self.offset += self.look()
            self.kubelet()
            if self.converged():
                return
        raise AssertionError(f"{self.name} does not settle: {self.document().get('status')}")

    def converged(self) -> bool:
        document, pods = self.document(), self.pods()
        wanted = document["spec"]["replicas"]
        places = {pod["metadata"]["labels"].get("ringmaster.dev/ordinal") for pod in pods}
        names = {pod["metadata"]["labels"].get("ringmaster.dev/name") for pod in pods}
        conditions = {
            each["type"]: (each["status"], each["reason"])
            for each in document.get("status", {}).get("conditions", [])
        }
        rolled_back = conditions.get("Ready") == ("False", "RolledBack")
        return (
            len(pods) == len(places) == wanted
            and set(self.announcer.balancers[0].states("active")) == names
            and not self.announcer.balancers[0].states("draining")
            and not any(map(_bad, pods))
            and (conditions.get("Ready", ("",))[0] == "True" or rolled_back)
            and document["status"]["observedGeneration"] == document["metadata"]["generation"]
            and document["status"]["updatedReplicas"] == (0 if rolled_back else wanted)
        )

    def writes_at_rest(self, *, rounds: int = 4) -> list[str]:
        """What is written while nothing happens, pushes of the unchanged ring left out."""
        self.settle()
        for _ in range(3):  # failures are forgiven
            self.offset += 15
            self.look()
        before = len(self.effects.log)
        for _ in range(rounds):
            self.offset += 15
            self.look()
        return [each for each in self.effects.log[before:] if not each.startswith("push")]


def _bad(pod: Document) -> bool:
    values = {each["name"]: each["value"] for each in pod["spec"]["containers"][0]["env"]}
    return values["VERSION"].startswith(BAD)
