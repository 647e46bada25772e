"""An operator of a real cluster as a local process, and a ServerSet's balancer beside it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import balancer_process
import kube_cluster


class Operator:
    """A running `ringmaster-operator --runtime kubernetes` of one namespace."""

    def __init__(
        self, folder: Path, namespace: kube_cluster.Namespace, *, kubeconfig: str | None = None
    ) -> None:
        self._namespace = namespace
        self._log = folder / "operator.log"
        token = folder / "operator-token"
        token.write_text(balancer_process.TOKEN + "\n")
        self._command = [sys.executable, "-m", "ringmaster_operator", "--runtime", "kubernetes"]
        self._command += ["--namespace", namespace.name, "--api-port", "0"]
        self._command += ["--token-file", str(token)]
        self._environment = os.environ | {"KUBECONFIG": kubeconfig or kube_cluster.config()}
        self.start()

    def start(self) -> None:
        self._from = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
            )
        self.api = "http://" + str(
            kube_cluster.eventually(
                lambda: (
                    (found := re.search(r"operator-started.* api=(\S+)", self.text())) and found[1]
                ),
                what="the operator",
            )
        )

    def text(self) -> str:
        """What this one has logged."""
        assert self.process.poll() is None, self._log.read_text()
        return self._log.read_text()[self._from :]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)

    def log(self) -> str:
        return self._log.read_text()


class Stack:
    """Operator, balancer, and the ServerSet `web` of a namespace."""

    def __init__(
        self,
        namespace: kube_cluster.Namespace,
        operator: Operator,
        balancer: balancer_process.Balancer,
    ) -> None:
        self.namespace = namespace
        self.operator = operator
        self.balancer = balancer

    def apply(self, **spec: Any) -> None:
        """The ServerSet `web`, with the balancer of this stack."""
        spec.setdefault("balancer", {"urls": [self.balancer.control]})
        self.namespace.apply(kube_cluster.server_set(**spec))

    def ready(
        self, count: int | None = None, *, seconds: float = kube_cluster.PATIENCE
    ) -> dict[str, dict[str, Any]]:
        """Wait for `Ready` as it stands now; the ring's active members by id."""

        def look() -> dict[str, dict[str, Any]]:
            seen = self.namespace.get("serverset", "web")
            status = seen.get("status", {})
            fresh = status.get("observedGeneration") == seen["metadata"]["generation"]
            good = condition(seen, "Ready")[0] == "True"
            members = self.active()
            enough = count is None or len(members) == count
            return members if fresh and good and enough else {}

        if count == 0:
            kube_cluster.eventually(lambda: not self.active(), what="an empty ring")
            return {}
        return kube_cluster.eventually(look, what=f"{count} ready", seconds=seconds)

    def active(self) -> dict[str, dict[str, Any]]:
        """What the balancer sends requests to, by member id."""
        answer = self.balancer.ask("GET", self.ring)
        held = answer.json().get("members", []) if answer.ok else []
        return {member["id"]: member for member in held if member["state"] == "active"}

    @property
    def ring(self) -> str:
        return f"{self.balancer.control}/v1/rings/{self.namespace.name}/web"

    def condition(self, kind: str) -> tuple[str, str]:
        return condition(self.namespace.get("serverset", "web"), kind)

    def wait_condition(
        self, kind: str, status: str, reason: str, *, seconds: float = kube_cluster.PATIENCE
    ) -> None:
        def look() -> bool:
            return self.condition(kind) == (status, reason)

        kube_cluster.eventually(look, what=f"{kind}={status} ({reason})", seconds=seconds)

    def versions(self) -> dict[str, str]:
        """The resourceVersion of everything in the namespace that an operator writes."""
        kinds = "serversets,pods,controllerrevisions,leases,events"
        return {
            f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
            for item in self.namespace.list(kinds)
            if item["kind"] != "Event" or item["involvedObject"]["kind"] == "ServerSet"
        }


def condition(document: dict[str, Any], kind: str) -> tuple[str, str]:
    """Status and reason of a condition; empty words before there is one."""
    for each in document.get("status", {}).get("conditions", []):
        if each["type"] == kind:
            return each["status"], each["reason"]
    return "", ""


@contextlib.contextmanager
def running(folder: Path, *, kubeconfig: str | None = None) -> Iterator[Stack]:
    """A stack in a namespace of its own, without a ServerSet yet."""
    with kube_cluster.namespace() as namespace:
        operator = Operator(folder, namespace, kubeconfig=kubeconfig)
        try:
            flags = ("--ring", f"{namespace.name}/web")
            with balancer_process.running(folder, *flags) as balancer:
                yield Stack(namespace, operator, balancer)
        finally:
            operator.stop()
            print(operator.log()[-8000:])  # pytest shows it with a failure
