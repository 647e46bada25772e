"""What the manifests say, held against each other and against the programs that they start."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import engines
import pytest
import ringmaster_operator
import yaml
from ringmaster_balancer import __main__ as balancer
from ringmaster_operator import __main__ as operator
from ringmaster_operator import naming
from ringmaster_operator.spec import crd

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
OLD = MANIFESTS / "overlays" / "kube-1.20"
COMPONENT = f"{naming.GROUP}/component"
Document = dict[str, Any]


def documents(*names: str) -> list[Document]:
    return [
        document
        for name in names
        for document in yaml.safe_load_all((MANIFESTS / name).read_text())
        if document
    ]


def built(folder: Path) -> dict[tuple[str, str], Document]:
    """What `kubectl apply -k` would send, by kind and name."""
    engines.require("kubectl")
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)], check=True, capture_output=True, text=True
    )
    found = yaml.safe_load_all(done.stdout)
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


BASE = documents("base/rbac.yaml", "base/operator.yaml", "base/balancer/balancer.yaml",
                 "base/networkpolicy.yaml")  # fmt: skip
DEPLOYMENTS = {d["metadata"]["name"]: d for d in BASE if d["kind"] == "Deployment"}
TEMPLATES = {name: each["spec"]["template"] for name, each in DEPLOYMENTS.items()}
COMMANDS = {"ringmaster-operator": operator.main, "ringmaster-balancer": balancer.main}
BOTH = pytest.mark.parametrize("name", sorted(COMMANDS))


def of(kind: str, name: str) -> Document:
    (found,) = (d for d in BASE if (d["kind"], d["metadata"]["name"]) == (kind, name))
    return found


def container(name: str) -> Document:
    (found,) = TEMPLATES[name]["spec"]["containers"]
    return dict(found)


def matches(selector: Document, labels: Document) -> bool:
    return all(labels.get(k) == v for k, v in selector.get("matchLabels", selector).items())


def test_the_definition_without_cel_is_current():
    assert (OLD / "crd.yaml").read_text() == crd.text(cel=False), "stale: run `make manifests`"


def test_the_overlay_takes_out_what_1_20_does_not_know_and_nothing_else():
    new, old = built(MANIFESTS), built(OLD)
    assert set(new) == set(old)
    differing = {key for key in new if new[key] != old[key]}
    assert differing == {
        ("CustomResourceDefinition", f"{naming.PLURAL}.{naming.GROUP}"),
        ("PodDisruptionBudget", "ringmaster-balancer"),
        ("Deployment", "ringmaster-balancer"),
    }
    assert "x-kubernetes-validations" not in json.dumps(list(old.values()))
    assert old["PodDisruptionBudget", "ringmaster-balancer"]["apiVersion"] == "policy/v1beta1"


def test_no_manifest_holds_a_secret():
    assert not [key for key in built(MANIFESTS) if key[0] == "Secret"]


def test_the_cluster_wide_role_is_the_role_without_the_lease():
    (wide,) = [
        d for d in documents("components/cluster-wide/rbac.yaml") if d["kind"] == "ClusterRole"
    ]
    narrow = of("Role", "ringmaster-operator")["rules"]
    assert wide["rules"] == [rule for rule in narrow if rule["resources"] != ["leases"]]


@BOTH
def test_every_option_is_one_of_the_programs(name):
    known = {flag for p in COMMANDS[name].params for flag in (*p.opts, *p.secondary_opts)}
    given = {argument.partition("=")[0] for argument in container(name)["args"]}
    assert container(name)["command"] == [name]
    assert given <= known


def test_a_service_of_any_name_sets_no_option_of_the_balancer():
    """Its variables would be RINGMASTER_…; what stands in the command line is taken first."""
    given = {argument.partition("=")[0] for argument in container("ringmaster-balancer")["args"]}
    open_to_services = {"--ring", "--host", "--port", "--control-host", "--control-port"}
    assert open_to_services <= given


@BOTH
def test_nothing_runs_as_root_or_writes_its_image_or_gains_rights(name):
    pod, own = TEMPLATES[name]["spec"]["securityContext"], container(name)["securityContext"]
    assert pod["runAsNonRoot"]
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@BOTH
def test_every_pod_says_what_it_needs_and_how_it_is(name):
    found = container(name)
    assert set(found["resources"]["requests"]) == {"cpu", "memory"}
    assert found["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert found["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert found["image"].endswith(f":{ringmaster_operator.__version__}")


def test_one_operator_at_a_time():
    found = DEPLOYMENTS["ringmaster-operator"]["spec"]
    assert (found["replicas"], found["strategy"]) == (1, {"type": "Recreate"})


def test_balancers_are_replaced_one_by_one_and_have_time_to_drain():
    found = DEPLOYMENTS["ringmaster-balancer"]["spec"]
    assert found["replicas"] >= 2
    assert found["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    (drain,) = (a for a in container("ringmaster-balancer")["args"] if "drain" in a)
    pause = container("ringmaster-balancer")["lifecycle"]["preStop"]["exec"]["command"]
    needs = int(pause[-1]) + int(drain.partition("=")[2]) + 4  # the processes' own grace, twice 2 s
    assert found["template"]["spec"]["terminationGracePeriodSeconds"] > needs


def test_selectors_find_the_balancers():
    labels = TEMPLATES["ringmaster-balancer"]["metadata"]["labels"]
    (example,) = documents("serverset.yaml")
    assert matches(example["spec"]["balancer"]["selector"], labels)
    assert matches(of("Service", "ringmaster-balancer")["spec"]["selector"], labels)
    assert matches(of("PodDisruptionBudget", "ringmaster-balancer")["spec"]["selector"], labels)
    (spread,) = TEMPLATES["ringmaster-balancer"]["spec"]["topologySpreadConstraints"]
    assert matches(spread["labelSelector"], labels)


def test_clients_reach_the_data_port_and_not_the_control_port():
    (port,) = of("Service", "ringmaster-balancer")["spec"]["ports"]
    assert (port["targetPort"], port["nodePort"]) == ("http", 30500)
    kind = yaml.safe_load((ROOT / "kind-config.yaml").read_text())
    (mapping,) = kind["nodes"][0]["extraPortMappings"]
    assert (mapping["containerPort"], mapping["listenAddress"]) == (30500, "127.0.0.1")


def test_the_control_port_is_open_to_operator_and_balancers_only():
    rules = of("NetworkPolicy", "ringmaster-balancer")["spec"]["ingress"]
    ports = {p["name"]: p["containerPort"] for p in container("ringmaster-balancer")["ports"]}
    by_port = {rule["ports"][0]["port"]: rule.get("from") for rule in rules}
    assert by_port[ports["http"]] is None  # anybody
    allowed = [peer["podSelector"]["matchLabels"][COMPONENT] for peer in by_port[ports["control"]]]
    assert sorted(allowed) == ["balancer", "operator"]


def test_a_cluster_wide_operator_may_talk_to_the_balancers_of_every_namespace(tmp_path):
    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(MANIFESTS, tmp_path)],
        "components": [os.path.relpath(MANIFESTS / "components" / "cluster-wide", tmp_path)],
    }
    (tmp_path / "kustomization.yaml").write_text(json.dumps(document))
    narrow, wide = built(MANIFESTS), built(tmp_path)
    for name, other, rules in (
        ("ringmaster-operator", "balancer", 1),  # it may go anywhere
        ("ringmaster-balancer", "operator", 2),
    ):
        for found, anywhere in ((narrow, False), (wide, True)):
            policy = found["NetworkPolicy", name]["spec"]
            peers = [p for rule in policy["ingress"] for p in rule.get("from", [])]
            peers += [p for rule in policy["egress"] for p in rule.get("to", [])]
            them = [p for p in peers if p["podSelector"].get("matchLabels") == {COMPONENT: other}]
            assert len(them) == rules
            assert all(("namespaceSelector" in peer) is anywhere for peer in them)


@BOTH
def test_the_policies_know_pods_by_the_component_that_they_are(name):
    component = name.removeprefix("ringmaster-")
    assert TEMPLATES[name]["metadata"]["labels"][COMPONENT] == component
    chosen = of("NetworkPolicy", name)["spec"]["podSelector"]["matchLabels"]
    assert chosen == {COMPONENT: component}


def test_balancers_of_a_second_set_are_those_of_the_first_under_other_names(tmp_path):
    """As docs/kubernetes.md shows it."""
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    (shown,) = re.findall(r"```yaml\n# api/kustomization.yaml\n(.*?)```", text, re.DOTALL)
    base = os.path.relpath(MANIFESTS / "base" / "balancer", tmp_path)
    assert shown.count("../manifests/base/balancer") == 1
    (tmp_path / "kustomization.yaml").write_text(shown.replace("../manifests/base/balancer", base))
    found = built(tmp_path)
    app = {"app": "ringmaster-balancer-api"}
    deployment = found["Deployment", "ringmaster-balancer-api"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert labels == app | {COMPONENT: "balancer"}
    (spread,) = deployment["template"]["spec"]["topologySpreadConstraints"]
    service = found["Service", "ringmaster-balancer-api"]["spec"]
    budget = found["PodDisruptionBudget", "ringmaster-balancer-api"]["spec"]
    selectors = [each["selector"] for each in (deployment, budget)] + [spread["labelSelector"]]
    assert [each["matchLabels"] for each in selectors] == [app] * 3
    assert (service["selector"], service["ports"][0]["nodePort"]) == (app, 30501)
    (made,) = deployment["template"]["spec"]["containers"]
    assert {"name": "SERVER_SET", "value": "api"} in made["env"]
    assert made["args"] == container("ringmaster-balancer")["args"]


def test_hashes_of_ones_own_come_from_a_config_map_that_need_not_be_there():
    (volume,) = [v for v in TEMPLATES["ringmaster-balancer"]["spec"]["volumes"] if "configMap" in v]
    assert volume["configMap"] == {"name": "ringmaster-hashes", "optional": True}
    (mount,) = [
        m for m in container("ringmaster-balancer")["volumeMounts"] if m["name"] == volume["name"]
    ]
    assert f"--hash-path={mount['mountPath']}" in container("ringmaster-balancer")["args"]
    assert mount["readOnly"]
    assert volume["configMap"]["name"] in (ROOT / "docs" / "custom-hashes.md").read_text()


def test_servers_are_known_to_the_policies_by_the_label_that_they_get():
    (expression,) = of("NetworkPolicy", "ringmaster-servers")["spec"]["podSelector"][
        "matchExpressions"
    ]
    assert expression == {"key": naming.LABEL_SET, "operator": "Exists"}
