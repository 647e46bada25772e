"""The contract suite's world on a real cluster.

The suite's owners are made up; a pod whose owner does not exist is garbage to a cluster. So each
owner is a real ServerSet here, and this world translates between the two.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import kube_cluster
from ringmaster_operator import errors, handlers, observed, ports
from ringmaster_operator.kube import client
from ringmaster_operator.runtimes import kubernetes

T = TypeVar("T")

_SHORTENS = 22  # the minor version from which on a kubelet heeds a second, shorter grace


class KubernetesWorld:
    """Pods of a real cluster."""

    def __init__(self, _folder: Path) -> None:
        self._stack = ExitStack()
        self.namespace = self._stack.enter_context(kube_cluster.namespace())
        self.owners: dict[observed.Owner, observed.Owner] = {}
        self._once = threading.Lock()  # threads of the suite may ask for one owner at once
        self.runtime = _Translating(self)

    def real(self, owner: observed.Owner) -> observed.Owner:
        """The ServerSet that stands for an owner of the suite."""
        with self._once:
            if owner not in self.owners:
                self.namespace.apply(kube_cluster.server_set(owner.name, replicas=0))
                made = self.namespace.get("serverset", owner.name)["metadata"]
                self.owners[owner] = observed.Owner(self.namespace.name, owner.name, made["uid"])
            return self.owners[owner]

    def reopen(self) -> None:
        self.runtime.close()
        self.runtime = _Translating(self)

    def crash(self, replica: observed.Replica) -> None:
        self._signal(replica, signal.SIGKILL)

    def freeze(self, replica: observed.Replica) -> None:
        self._signal(replica, signal.SIGSTOP)

    def leftovers(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in self.namespace.list("pods")]

    def wait(self, look: Callable[[], T], *, what: str) -> T:
        return kube_cluster.eventually(look, what=what)

    def hurried(self, replica: observed.Replica) -> None:
        """The API server has the shorter grace. An older kubelet stays with the first: helped on."""
        pod = self.namespace.get("pod", replica.name)
        assert pod["metadata"]["deletionGracePeriodSeconds"] == 1
        if kube_cluster.minor() < _SHORTENS:
            self.crash(replica)

    def close(self) -> None:
        self.runtime.close()
        self._stack.close()

    def _signal(self, replica: observed.Replica, number: int) -> None:
        os.kill(kube_cluster.pid(self.namespace.get("pod", replica.name)), number)


class _Translating:
    """`ports.Runtime` for the suite's owners."""

    def __init__(self, world: KubernetesWorld) -> None:
        self._world = world
        access = client.access(kube_cluster.config())
        self._api = client.Api(access.configuration)
        scope = handlers.Scope(namespaces=(world.namespace.name,))
        watch = handlers.Watch(scope, access)
        self._runtime = kubernetes.KubernetesRuntime(
            self._api, watcher=watch.watch, post=lambda *_, **__: None
        )

    def check(self, template: dict[str, Any]) -> Sequence[errors.Fault]:
        return self._runtime.check(template)

    def observe(self, owner: observed.Owner) -> Sequence[observed.Replica]:
        seen = self._runtime.observe(self._world.real(owner))
        return [dataclasses.replace(each, owner_uid=owner.uid) for each in seen]

    def look(self, owner: observed.Owner) -> Sequence[observed.Replica]:
        seen = self._runtime.look(self._world.real(owner))
        return [dataclasses.replace(each, owner_uid=owner.uid) for each in seen]

    def create(self, birth: observed.Birth) -> None:
        template = {**birth.template, "metadata": {"labels": {"app": birth.owner.name}}}
        self._runtime.create(
            dataclasses.replace(birth, owner=self._world.real(birth.owner), template=template)
        )

    def remove(self, replica: observed.Replica, *, grace_seconds: float) -> None:
        self._runtime.remove(replica, grace_seconds=grace_seconds)

    def watch(self, notify: ports.Notify, stop: threading.Event) -> None:
        named = {real: made_up for made_up, real in self._world.owners.items()}

        def translated(about: str | observed.Owner | None) -> None:
            assert isinstance(about, observed.Owner)
            notify(named.get(about, about))

        self._runtime.watch(translated, stop)

    def close(self) -> None:
        self._api.close()
