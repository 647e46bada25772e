"""A real Kubernetes cluster from the outside: kubectl, and a namespace of the test's own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib import parse

import containers
import engines
import wire
import yaml
from ringmaster_operator.spec import crd

T = TypeVar("T")
# A kubelet may keep the object of a pod that has ended for a minute when other pods end as well.
PATIENCE = 150.0  # s
IMAGE = containers.PYTHON_IMAGE


def config() -> str:
    """The cluster that tests may use."""
    engines.require("kubernetes")
    return os.environ["RINGMASTER_TEST_KUBECONFIG"]


def kubectl(
    *words: str, check: bool = True, given: dict[str, Any] | None = None, seconds: float = 60
) -> str:
    """`kubectl …`; its output. `given` is a document for its standard input."""
    done = subprocess.run(
        ["kubectl", "--kubeconfig", config(), *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=seconds,
        input=None if given is None else json.dumps(given),
    )
    assert not check or done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"
    return done.stdout.strip()


def minor() -> int:
    """The cluster's minor version."""
    return int(json.loads(kubectl("get", "--raw", "/version"))["minor"].rstrip("+"))


def eventually(look: Callable[[], T], *, what: str, seconds: float = PATIENCE) -> T:
    """The first true answer of `look`; a command that failed counts as false."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = look()
        except (AssertionError, OSError, KeyError, ValueError) as error:
            last = error
        else:
            if last:
                return last
        time.sleep(0.1)
    raise AssertionError(f"{what} did not come about within {seconds} s; last seen: {last!r}")


@dataclass(frozen=True)
class Namespace:
    """A namespace, and kubectl in it."""

    name: str

    def kubectl(self, *words: str, **how: Any) -> str:
        return kubectl("--namespace", self.name, *words, **how)

    def apply(self, *documents: dict[str, Any]) -> None:
        for document in documents:
            self.kubectl("apply", "-f", "-", given=document)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        return dict(json.loads(self.kubectl("get", kind, name, "-o", "json")))

    def list(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        flags = ("-l", selector) if selector else ()
        return list(json.loads(self.kubectl("get", kind, "-o", "json", *flags))["items"])

    def pods(self, selector: str = "app=web") -> dict[str, dict[str, Any]]:
        """Pods that are not on their way out, by name."""
        return {
            pod["metadata"]["name"]: pod
            for pod in self.list("pods", selector)
            if "deletionTimestamp" not in pod["metadata"]
        }

    def patch(self, kind: str, name: str, change: dict[str, Any], *flags: str) -> None:
        text = json.dumps(change)
        self.kubectl("patch", kind, name, "--type=merge", "-p", text, *flags)

    def events(self) -> set[str]:
        """Reasons of the events about ServerSets."""
        events = self.list("events")
        return {e["reason"] for e in events if e["involvedObject"]["kind"] == "ServerSet"}


def install_definition() -> None:
    """The CustomResourceDefinition, as clusters without CEL take it. It stays: others use it."""
    # An API server that has just started refuses its administrator until it has read its roles.
    eventually(
        lambda: kubectl("apply", "-f", "-", given=crd.document(cel=False)), what="the definition"
    )
    kubectl("wait", "--for=condition=Established", f"crd/{crd.naming.PLURAL}.{crd.naming.GROUP}")


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    """A namespace of one's own, deleted at the end with all that is in it."""
    install_definition()
    made = Namespace(f"test-{uuid.uuid4().hex[:10]}")
    kubectl("create", "namespace", made.name)
    try:
        # Pods are refused until the controller has made it.
        eventually(lambda: made.get("sa", "default").get("secrets"), what="a service account")
        yield made
    finally:
        made.kubectl("delete", "serversets", "--all", "--cascade=background", check=False)
        made.kubectl("delete", "pods", "--all", "--grace-period=1", "--wait=false", check=False)
        kubectl("delete", "namespace", made.name, "--wait=false", check=False)


@contextlib.contextmanager
def cable(folder: Path) -> Iterator[tuple[wire.Wire, str]]:
    """A connection to the API server that can be cut, and the kubeconfig that leads through it."""
    document = yaml.safe_load(Path(config()).read_text())
    cluster = document["clusters"][0]["cluster"]
    server = parse.urlsplit(cluster["server"])
    made = wire.Wire(str(server.hostname), int(server.port or 443))
    cluster["server"] = f"https://{server.hostname}:{made.port}"
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(document))
    try:
        yield made, str(file)
    finally:
        made.close()


def container_id(pod: dict[str, Any]) -> str:
    """The engine's id of a pod's first container."""
    return str(pod["status"]["containerStatuses"][0]["containerID"]).removeprefix("docker://")


def pid(pod: dict[str, Any]) -> int:
    """The process of a pod's first container, on this machine."""
    return int(containers.docker("inspect", "--format", "{{.State.Pid}}", container_id(pod)))


def server_set(name: str = "web", *, replicas: int = 3, **spec: Any) -> dict[str, Any]:
    """A ServerSet of small servers that are quickly ready."""
    return {
        "apiVersion": "ringmaster.dev/v1alpha1",
        "kind": "ServerSet",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": pod_template(name),
            **spec,
        },
    }


def pod_template(app: str = "web", *, image: str = IMAGE, **container: Any) -> dict[str, Any]:
    """A template that CI's cluster can run."""
    return {
        "metadata": {"labels": {"app": app}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "containers": [
                {
                    "name": "server",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "-S", "-m", "http.server", "5000"],
                    "ports": [{"name": "http", "containerPort": 5000}],
                    "readinessProbe": {
                        "httpGet": {"path": "/", "port": "http"},
                        "periodSeconds": 1,
                        "timeoutSeconds": 1,
                        "failureThreshold": 1,
                    },
                    **container,
                }
            ],
        },
    }
