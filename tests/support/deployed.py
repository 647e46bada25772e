"""Ringmaster installed on the test cluster as a user installs it: scripts/deploy.py, real images.

In a namespace of its own, at a NodePort that the cluster chose. Nothing is imported from the
operator: what is seen is seen through kubectl, the NodePort and the balancers' control port.
"""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import containers
import kube_cluster
import project_images
import requests
import yaml

ROOT = project_images.ROOT
SPEC = yaml.safe_load((ROOT / "manifests" / "serverset.yaml").read_text())
BALANCERS, OPERATORS, SERVERS = "app=ringmaster-balancer", "app=ringmaster-operator", "app=web"


@dataclass(frozen=True)
class Deployed:
    """An installation with a ServerSet `web`."""

    namespace: kube_cluster.Namespace
    port: int
    token: str = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kubectl(self, *words: str, **how: Any) -> str:
        return self.namespace.kubectl(*words, **how)

    def pods(self, selector: str = SERVERS) -> dict[str, dict[str, Any]]:
        return self.namespace.pods(selector)

    def rings(self) -> list[dict[str, Any]]:
        """What each balancer that answers holds."""
        held = []
        for pod in self.namespace.list("pods", BALANCERS):
            with contextlib.suppress(requests.RequestException, KeyError):
                held.append(self.ring(pod))
        return held

    def ring(self, pod: dict[str, Any]) -> dict[str, Any]:
        """What one balancer holds."""
        answer = requests.get(
            f"http://{pod['status']['podIP']}:5001/v1/rings/{self.namespace.name}/web",
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=2,
        )
        answer.raise_for_status()
        return dict(answer.json())

    def settled(
        self, count: int, *, balancers: int = 2, seconds: float = kube_cluster.PATIENCE
    ) -> dict[str, str]:
        """Wait until every balancer holds exactly the pods there are; replica by member id."""

        def look() -> dict[str, str]:
            pods = sorted(str(pod["status"].get("podIP")) for pod in self.pods().values())
            rings = [_serving(ring) for ring in self.rings()]
            if len(pods) != count or len(rings) != balancers:
                return {}
            if any(sorted(address for _, address in ring.values()) != pods for ring in rings):
                return {}
            return {member: replica for member, (replica, _) in rings[0].items()}

        return kube_cluster.eventually(look, what=f"{count} servers in the ring", seconds=seconds)

    def home(self, key: str) -> str:
        """The id of the server that answers a key."""
        answer = requests.get(f"{self.url}/home", headers={"X-Request-Id": key}, timeout=10)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["message"]).removeprefix("Hello from Server: ")

    def container(self, pod: dict[str, Any]) -> str:
        """The engine's id of a pod's container."""
        return kube_cluster.container_id(pod)

    def fresh(self, *, replicas: int = 3) -> dict[str, str]:
        """The example's own spec again, with so many replicas; who serves then."""
        self.namespace.apply({**SPEC, "spec": {**SPEC["spec"], "replicas": replicas}})
        return self.settled(replicas)


def _serving(ring: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Member id → replica and address of those that get requests."""
    return {
        member["id"]: (member["replica"], member["address"].rpartition(":")[0])
        for member in ring["members"]
        if member["state"] == "active" and member["healthy"]
    }


def script(action: str, namespace: str, *flags: str) -> None:
    """scripts/deploy.py, as `make deploy` and `make undeploy` run it."""
    done = subprocess.run(
        [sys.executable, "-B", "scripts/deploy.py", action, "--namespace", namespace, *flags],
        cwd=ROOT, check=False, capture_output=True, text=True, timeout=300,
        env=os.environ | {"KUBECONFIG": kube_cluster.config()},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def running() -> Iterator[Deployed]:
    """Installed, three servers in the ring; afterwards the namespace is gone.

    The definition stays: other tests' ServerSets need it.
    """
    kube_cluster.config()
    project_images.build()
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    namespace = kube_cluster.Namespace(name)
    try:
        script("up", name, "--node-port", "0", "--image-ids", "--seconds", "120")
        service = namespace.get("service", "ringmaster-balancer")
        secret = namespace.get("secret", "ringmaster-token")["data"]["token"]
        made = Deployed(
            namespace,
            port=service["spec"]["ports"][0]["nodePort"],
            token=base64.b64decode(secret).decode(),
        )
        made.fresh()
        yield made
    except BaseException:
        print(_state(namespace))
        raise
    finally:
        namespace.kubectl("delete", "serversets", "--all", "--wait=false", check=False)
        namespace.kubectl(
            "delete", "pods,deployments", "--all", "--grace-period=1", "--wait=false", check=False
        )
        kube_cluster.kubectl("delete", "namespace", name, "--wait=false", check=False)


def _state(namespace: kube_cluster.Namespace) -> str:
    """What to look at after a failure."""
    commands = [("get", "serversets,pods", "-o", "wide")]
    commands += [("logs", "-l", app, "--tail=60", "--prefix") for app in (OPERATORS, BALANCERS)]
    return "\n".join(namespace.kubectl(*command, check=False) for command in commands)


def kill(container: str) -> None:
    """SIGKILL to a container's first process, by the engine."""
    containers.docker("kill", "--signal", "KILL", container)


def sandbox(pod: dict[str, Any]) -> str:
    """The engine's id of the container that holds a pod's network."""
    labels = {
        "io.kubernetes.pod.uid": pod["metadata"]["uid"],
        "io.kubernetes.container.name": "POD",
    }
    filters = [f"--filter=label={key}={value}" for key, value in labels.items()]
    return containers.docker("ps", "--no-trunc", "--quiet", *filters)
