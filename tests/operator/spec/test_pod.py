"""What may be wrong with a pod template, each fault with its path."""

from __future__ import annotations

import pytest
from ringmaster_operator import spec
from serversets import changed, faults

FIRST = "spec.template.spec.containers.0"
HTTP = {"containerPort": 5000, "name": "http"}
PROBE = f"{FIRST}.readinessProbe"


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        (f"{FIRST}.name", ..., "name"),
        (f"{FIRST}.image", 3, "image"),
        (f"{FIRST}.imagePullPolicy", "Sometimes", "imagePullPolicy"),
        (f"{FIRST}.command", "ringmaster-server", "command"),
        (f"{FIRST}.args", [1], "args[0]"),
        (f"{FIRST}.env", [{"name": "A", "value": 1}], "env[0].value"),
        (f"{FIRST}.ports", [{"containerPort": 0}], "ports[0].containerPort"),
        (f"{FIRST}.ports", [{"containerPort": "80"}], "ports[0].containerPort"),
        (
            f"{FIRST}.ports",
            [{"containerPort": 1, "name": "http"}, {"containerPort": 2, "name": "http"}],
            "ports[1].name",
        ),
        (f"{FIRST}.resources", {"limits": {"cpu": "much"}}, "resources.limits.cpu"),
        (f"{FIRST}.resources", {"requests": {"memory": "-1Mi"}}, "resources.requests.memory"),
        (PROBE, {"periodSeconds": 1}, "readinessProbe"),
        (PROBE, {"exec": {"command": ["a"]}, "tcpSocket": {"port": 1}}, "readinessProbe"),
        (PROBE, {"exec": {"command": []}}, "readinessProbe.exec.command"),
        (PROBE, {"tcpSocket": {"port": "htpp"}}, "readinessProbe.tcpSocket.port"),
        (PROBE, {"tcpSocket": {"port": 70_000}}, "readinessProbe.tcpSocket.port"),
        (f"{PROBE}.timeoutSeconds", 0, "readinessProbe.timeoutSeconds"),
        (f"{FIRST}.name", "Web_1", "name"),
        (f"{FIRST}.env", [{"name": "A=B", "value": "c"}], "env[0].name"),
        (f"{FIRST}.env", [{"name": "ä"}], "env[0].name"),
        (f"{FIRST}.env", [{"name": "A"}, {"name": "B\0"}], "env[1].name"),
        (f"{FIRST}.env", [{"name": "A", "value": "b\0"}], "env[0].value"),
        (f"{FIRST}.command", ["a", "\0"], "command[1]"),
        (f"{FIRST}.args", ["a\0b"], "args[0]"),
        (f"{FIRST}.workingDir", "/a\0", "workingDir"),
        (f"{FIRST}.image", "a\0", "image"),
        (
            f"{FIRST}.lifecycle",
            {"preStop": {"exec": {"command": ["\0"]}}},
            "lifecycle.preStop.exec.command[0]",
        ),
        (f"{FIRST}.ports", [HTTP, {"containerPort": 1, "name": "Http"}], "ports[1].name"),
        (f"{FIRST}.ports", [HTTP, {"containerPort": 1, "name": "80"}], "ports[1].name"),
        (f"{FIRST}.ports", [HTTP, {"containerPort": 1, "name": "a" * 16}], "ports[1].name"),
        (f"{FIRST}.resources", {"limits": {"memory": 1e30}}, "resources.limits.memory"),
        (f"{FIRST}.resources", {"limits": {"memory": "8Ei"}}, "resources.limits.memory"),
        (f"{FIRST}.resources", {"limits": {"cpu": "10G"}}, "resources.limits.cpu"),
        (f"{FIRST}.resources", {"requests": {"cpu": 1e30}}, "resources.requests.cpu"),
        (
            f"{FIRST}.resources",
            {"limits": {"memory": "1Gi"}, "requests": {"memory": "1025Mi"}},
            "resources.requests.memory",
        ),
        (
            f"{PROBE}.httpGet.httpHeaders",
            [{"name": "A b", "value": "c"}],
            "readinessProbe.httpGet.httpHeaders[0].name",
        ),
        (
            f"{PROBE}.httpGet.httpHeaders",
            [{"name": "A", "value": "b\r\nc: d"}],
            "readinessProbe.httpGet.httpHeaders[0].value",
        ),
        (f"{PROBE}.httpGet.scheme", "HTTPS", "readinessProbe.httpGet.scheme"),
        (f"{PROBE}.httpGet.path", "/a b", "readinessProbe.httpGet.path"),
        (f"{PROBE}.httpGet.path", "/a\r\nX-Evil: 1", "readinessProbe.httpGet.path"),
        (f"{PROBE}.httpGet.path", "/a\n", "readinessProbe.httpGet.path"),
        (f"{PROBE}.httpGet.path", "/ä", "readinessProbe.httpGet.path"),
        (f"{PROBE}.httpGet.path", "/a#b", "readinessProbe.httpGet.path"),
    ],
)
def test_a_fault_of_the_first_container_has_its_path(path: str, value: object, where: str) -> None:
    (found,) = faults(changed((path, value)))
    assert found.split(": ")[0] == f"spec.template.spec.containers[0].{where}"


def test_containers_have_different_names() -> None:
    container = {"name": "server", "image": "a"}
    document = changed(("spec.template.spec.containers", [container, container]))
    assert faults(document) == [
        'spec.template.spec.containers[1].name: must be unique: "server" is there already'
    ]


def test_an_entry_at_fault_moves_no_other() -> None:
    containers = [7, {"image": "a"}, {"name": "b", "ports": [{}, {"containerPort": True}]}]
    assert [
        fault.split(": ")[0].removeprefix("spec.template.spec.containers")
        for fault in faults(changed(("spec.template.spec.containers", containers)))
    ] == ["[0]", "[1].name", "[2].ports[0].containerPort", "[2].ports[1].containerPort"]


@pytest.mark.parametrize(
    "probe",
    [
        {"grpc": {"port": 1}},
        {"tcpSocket": {"port": "http"}},
        {"httpGet": {"port": 5000, "host": "example.org"}},
    ],
)
def test_what_only_a_cluster_honours_is_no_fault_of_the_spec(probe: dict[str, object]) -> None:
    assert faults(changed((PROBE, probe))) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{FIRST}.env", [{"name": "1.a-b c", "value": "=\n\x01ä"}]),
        (f"{FIRST}.resources", {"limits": {"memory": "7Ei"}, "requests": {"memory": "7168Pi"}}),
        (f"{FIRST}.ports", [HTTP, {"containerPort": 1}]),
        (f"{PROBE}.httpGet.httpHeaders", [{"name": "X_A", "value": "b\tä"}, {"name": "x_a"}]),
        (f"{PROBE}.httpGet.path", "healthz?deep=1&x=%20"),
        (f"{PROBE}.httpGet.path", ""),
    ],
)
def test_what_a_program_can_be_given_is_taken(path: str, value: object) -> None:
    assert faults(changed((path, value))) == []


@pytest.mark.parametrize("kind", ["livenessProbe", "startupProbe"])
def test_tls_of_probes_that_decide_no_readiness_is_the_kubelets_business(kind: str) -> None:
    probe = {"httpGet": {"port": 8443, "scheme": "HTTPS"}}
    assert faults(changed((f"{FIRST}.{kind}", probe))) == []


def test_a_template_that_was_taken_before_a_rule_came_is_still_read() -> None:
    old = changed((f"{PROBE}.httpGet.scheme", "HTTPS"))["spec"]["template"]
    assert faults(changed(("spec.template", old)))
    assert spec.container(old).readiness_probe
