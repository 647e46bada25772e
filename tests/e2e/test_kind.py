"""A newcomer's way on kind, from a fresh clone: `make kind-up`, apply, curl, kill, `make kind-down`.

The clone is of HEAD: what is not committed is not tested here. NetworkPolicies are applied and not
enforced: kind's own network enforces none.
"""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import containers
import engines
import loadgen
import pytest
import requests
import stack as stacks
import yaml

pytestmark = [pytest.mark.kind, pytest.mark.slow, pytest.mark.timeout(900)]
URL = "http://localhost:30500"


@dataclass(frozen=True)
class Cluster:
    """A clone, and the kind cluster that it makes."""

    name: str
    clone: Path
    environment: dict[str, str]

    def run(self, *command: str, seconds: float = 420) -> str:
        done = subprocess.run(
            command, cwd=self.clone, env=self.environment, check=False, capture_output=True,
            text=True, timeout=seconds,
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def make(self, target: str, *variables: str) -> str:
        return self.run(
            "make", target, *variables, f"KIND_CLUSTER={self.name}", f"PYTHON_IMAGE={containers.PYTHON_IMAGE}",
            f"KIND_NODE_IMAGE={os.environ.get('RINGMASTER_TEST_KIND_NODE_IMAGE', '')}",
        )  # fmt: skip

    def kubectl(self, *words: str) -> str:
        return self.run("kubectl", *words, seconds=150)

    def pods(self, selector: str) -> dict[str, str]:
        """Uid by name, of those that are not on their way out."""
        found = json.loads(self.kubectl("get", "pods", "-l", selector, "-o", "json"))["items"]
        living = [pod["metadata"] for pod in found if "deletionTimestamp" not in pod["metadata"]]
        return {pod["name"]: pod["uid"] for pod in living}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    engines.require("kind")
    engines.require("kubectl")
    folder = tmp_path_factory.mktemp("kind")
    made = Cluster(
        name=f"e2e-{uuid.uuid4().hex[:8]}",
        clone=folder / "ringmaster",
        environment={**os.environ, "KUBECONFIG": str(folder / "kubeconfig")},
    )
    subprocess.run(
        ["git", "clone", "--quiet", "--no-hardlinks", str(stacks.ROOT), str(made.clone)], check=True
    )
    networks = set(containers.docker("network", "ls", "--format", "{{.Name}}").split())
    volumes = set(containers.docker("volume", "ls", "--quiet").split())
    try:
        told = made.make("kind-up")
        assert "kubectl -n default apply -f manifests/serverset.yaml" in told
        yield made
    except BaseException:
        print(state(made))
        raise
    finally:
        made.make("kind-down")
    assert made.name not in containers.docker("ps", "--all", "--format", "{{.Names}}")
    assert made.name not in made.kubectl("config", "view")
    assert set(containers.docker("network", "ls", "--format", "{{.Name}}").split()) <= networks
    assert set(containers.docker("volume", "ls", "--quiet").split()) <= volumes


def state(cluster: Cluster) -> str:
    """What to look at after a failure."""
    done = subprocess.run(
        ["kubectl", "get", "serversets,pods,events", "-o", "wide"],
        env=cluster.environment, check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.stdout[-6000:] + done.stderr


def servers(keys: int = 80) -> set[str]:
    """Who answers, through the port on this machine."""
    found = set()
    for number in range(keys):
        answer = requests.get(
            f"{URL}/home", headers={"X-Request-Id": f"key-{number}"}, timeout=10
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        found.add(answer.json()["message"])
    return found


def test_apply_wait_and_curl_as_kind_up_says(cluster):
    cluster.kubectl("apply", "-f", "manifests/serverset.yaml")
    cluster.kubectl("wait", "serverset/web", "--for=condition=Ready", "--timeout=120s")
    assert len(servers()) == 3
    cluster.kubectl("rollout", "status", "deployment/ringmaster-balancer", "--timeout=60s")


def test_a_pod_killed_under_load_costs_no_request(cluster):
    victim = sorted(cluster.pods("app=web"))[1]

    def act():
        cluster.kubectl("delete", "pod", victim, "--force", "--grace-period=0")
        stacks.eventually(lambda: victim not in cluster.pods("app=web"), what="the deletion")
        stacks.eventually(lambda: len(cluster.pods("app=web")) == 3, what="the replacement")
        cluster.kubectl("wait", "serverset/web", "--for=condition=Ready", "--timeout=60s")

    outcome = loadgen.run(
        30500, requests=20_000, at={3_000: act}, throughout=True, fresh=8, seconds=240
    )

    assert outcome.failures == []
    assert len(servers()) == 3


def test_a_changed_spec_is_applied(cluster):
    before = set(cluster.pods("app=web"))
    document = yaml.safe_load((cluster.clone / "manifests" / "serverset.yaml").read_text())
    document["spec"]["replicas"] = 4
    document["spec"]["template"]["metadata"]["annotations"] = {"e2e/version": "2"}
    changed = cluster.clone.parent / "changed.yaml"
    changed.write_text(yaml.safe_dump(document))
    cluster.kubectl("apply", "-f", str(changed))

    counts = "jsonpath={.status.updatedReplicas} {.status.replicas}"

    def replaced():
        # The fourth may have begun with the old template, as a Deployment's would.
        if cluster.kubectl("get", "serverset", "web", "-o", counts).strip() != "4 4":
            return False
        now = set(cluster.pods("app=web"))
        return len(now) == 4 and not now & before and len(servers()) == 4

    stacks.eventually(replaced, what="four new servers", seconds=120)


def test_kind_up_again_replaces_nothing(cluster):
    selector = "app in (web, ringmaster-operator, ringmaster-balancer)"
    before = cluster.pods(selector)
    cluster.make("kind-up")
    assert cluster.pods(selector) == before


def test_one_operator_may_look_after_every_namespace(cluster):
    cluster.make("deploy", "DEPLOY_FLAGS=--cluster-wide")
    cluster.kubectl("create", "namespace", "team")
    cluster.kubectl("-n", "team", "apply", "-f", "manifests/serverset.yaml")
    cluster.kubectl("-n", "team", "wait", "serverset/web", "--for=condition=Available=true",
                    "--timeout=90s")  # fmt: skip
    conditions = json.loads(cluster.kubectl("-n", "team", "get", "serverset", "web", "-o", "json"))
    (synced,) = [
        each for each in conditions["status"]["conditions"] if each["type"] == "BalancerSynced"
    ]
    assert (synced["status"], synced["reason"]) == ("False", "NoBalancer")
    assert "orbidden" not in cluster.kubectl("logs", "deployment/ringmaster-operator")
    cluster.kubectl("delete", "namespace", "team", "--wait=false")
    stacks.eventually(
        lambda: "team" not in cluster.kubectl("get", "serversets", "-A", "--no-headers").split(),
        what="the end of the team's servers",
    )


def test_undeploy_removes_all_that_was_installed_and_its_servers(cluster):
    cluster.make("undeploy")
    kinds = "pods,deployments,secrets,roles,rolebindings,serviceaccounts,networkpolicies,pdb,leases"
    left = cluster.kubectl("get", f"{kinds},controllerrevisions", "-o", "name").split()
    assert [name for name in left if "default" not in name] == []
    everywhere = cluster.kubectl("get", "crd,clusterroles,clusterrolebindings", "-o", "name")
    assert "ringmaster" not in everywhere
