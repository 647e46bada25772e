"""What a runtime cannot honour is named with its path; what changes nothing passes."""

from __future__ import annotations

from typing import Any

import pytest
import serversets
from ringmaster_operator import spec

FIRST = "spec.template.spec.containers.0"
RUNTIMES = ("docker", "process")


def refused(runtime: str, *changes: tuple[str, Any]) -> list[str]:
    document = serversets.changed(*changes)
    assert serversets.faults(document) == []
    template = spec.parse(document).spec.template
    return [str(fault) for fault in spec.unsupported(template, runtime=runtime)]


@pytest.mark.parametrize("runtime", [*RUNTIMES, "kubernetes"])
def test_the_example_runs_everywhere(runtime: str) -> None:
    assert refused(runtime) == []


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("spec.template.spec.volumes", [{"name": "a"}], "spec.volumes"),
        ("spec.template.spec.initContainers", [{"name": "a"}], "spec.initContainers"),
        ("spec.template.spec.securityContext", {"runAsUser": 1}, "spec.securityContext"),
        ("spec.template.spec.nodeSelector", {"a": "b"}, "spec.nodeSelector"),
        ("spec.template.spec.affinity", {"podAffinity": {"a": []}}, "spec.affinity"),
        ("spec.template.spec.tolerations", [{"operator": "Exists"}], "spec.tolerations"),
        ("spec.template.spec.hostNetwork", True, "spec.hostNetwork"),
        ("spec.template.spec.restartPolicy", "Never", "spec.restartPolicy"),
        ("spec.template.spec.serviceAccountName", "robot", "spec.serviceAccountName"),
        ("spec.template.spec.contianers", [{}], "spec.contianers"),
        ("spec.template.spec.contianers", [], "spec.contianers"),
        ("spec.template.labels", {}, "labels"),
        (f"{FIRST}.comand", [], "spec.containers[0].comand"),
        (
            f"{FIRST}.readinessProbe.httpGet.pth",
            "",
            "spec.containers[0].readinessProbe.httpGet.pth",
        ),
        ("spec.template.metadata.finalizers", ["a/b"], "metadata.finalizers"),
        (f"{FIRST}.envFrom", [{"configMapRef": {"name": "a"}}], "spec.containers[0].envFrom"),
        (
            f"{FIRST}.env",
            [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}],
            "spec.containers[0].env[0].valueFrom",
        ),
        (f"{FIRST}.livenessProbe", {"exec": {}}, "spec.containers[0].livenessProbe"),
        (f"{FIRST}.lifecycle", {"preStop": {}}, "spec.containers[0].lifecycle"),
        (f"{FIRST}.securityContext", {"privileged": True}, "spec.containers[0].securityContext"),
        (f"{FIRST}.tty", True, "spec.containers[0].tty"),
        (f"{FIRST}.ports.0.hostPort", 80, "spec.containers[0].ports[0].hostPort"),
        (f"{FIRST}.ports.0.protocol", "UDP", "spec.containers[0].ports[0].protocol"),
        (
            f"{FIRST}.readinessProbe",
            {"grpc": {"port": 1}},
            "spec.containers[0].readinessProbe.grpc",
        ),
        (
            f"{FIRST}.readinessProbe.httpGet.host",
            "example.org",
            "spec.containers[0].readinessProbe.httpGet.host",
        ),
        (
            f"{FIRST}.resources",
            {"limits": {"nvidia.com/gpu": 1}},
            "spec.containers[0].resources.limits[nvidia.com/gpu]",
        ),
    ],
)
def test_what_cannot_be_honoured_is_named(
    runtime: str, path: str, value: object, where: str
) -> None:
    (fault,) = refused(runtime, (path, value))
    assert fault.startswith(f"spec.template.{where}: ")
    assert runtime in fault
    assert refused("kubernetes", (path, value)) == []


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_second_container_is_named_and_its_inside_left_alone(runtime: str) -> None:
    change = (
        "spec.template.spec.containers",
        [{"name": "a", "image": "i", "command": ["c"]}, {"name": "b", "tty": True}],
    )
    assert refused(runtime, change) == [
        (
            "spec.template.spec.containers[1]: only one container is supported by the "
            f"{runtime} runtime"
        )
    ]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.template.spec.volumes", []),
        (f"{FIRST}.ports.0.hostPort", 0),
        ("spec.template.spec.securityContext", {}),
        ("spec.template.spec.hostNetwork", False),
        ("spec.template.spec.restartPolicy", "Always"),
        ("spec.template.spec.automountServiceAccountToken", False),
        ("spec.template.spec.enableServiceLinks", False),
        ("spec.template.metadata.annotations", {"a": "b"}),
        (f"{FIRST}.resources", {"requests": {"cpu": "1", "ephemeral-storage": "1Gi"}}),
        (f"{FIRST}.workingDir", "/srv"),
        (f"{FIRST}.terminationMessagePolicy", "File"),
        (f"{FIRST}.readinessProbe", {"exec": {"command": ["true"]}}),
    ],
)
def test_what_changes_nothing_here_passes(runtime: str, path: str, value: object) -> None:
    assert refused(runtime, (path, value)) == []


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_folder_to_start_in_is_absolute(runtime: str) -> None:
    assert refused(runtime, (f"{FIRST}.workingDir", "srv")) == [
        "spec.template.spec.containers[0].workingDir: must be an absolute path"
    ]


@pytest.mark.parametrize("program", ["./server.py", "bin/server", "$(ROOT)/server"])
def test_a_processs_program_lies_in_no_folder_that_nobody_named(program: str) -> None:
    """The operator may be started from any folder, and a ServerSet may come without a file."""
    probe = {"exec": {"command": [program]}}
    relative = [(f"{FIRST}.command", [program]), (f"{FIRST}.readinessProbe", probe)]
    words = "must be an absolute path or a name found in PATH, unless workingDir is set"
    assert refused("process", *relative) == [
        f"spec.template.spec.containers[0].command[0]: {words}",
        f"spec.template.spec.containers[0].readinessProbe.exec.command[0]: {words}",
    ]
    assert refused("docker", *relative) == []
    assert refused("process", *relative, (f"{FIRST}.workingDir", "/srv")) == []


def test_a_variable_may_lead_to_a_processs_program() -> None:
    env = (f"{FIRST}.env", [{"name": "ROOT", "value": "/srv"}])
    assert refused("process", env, (f"{FIRST}.command", ["$(ROOT)/server"])) == []


def test_a_process_can_be_bound_to_no_limit() -> None:
    limits = (f"{FIRST}.resources", {"limits": {"memory": "64Mi"}})
    assert refused("docker", limits) == []
    assert refused("process", limits) == [
        (
            "spec.template.spec.containers[0].resources.limits.memory: not supported by the process "
            "runtime"
        )
    ]


def test_a_process_needs_a_command_and_a_container_an_image() -> None:
    command, image = (f"{FIRST}.command", ...), (f"{FIRST}.image", ...)
    assert refused("docker", command) == []
    assert refused("process", image) == []
    assert refused("docker", image) == [
        "spec.template.spec.containers[0].image: required by the docker runtime"
    ]
    assert refused("process", command) == [
        "spec.template.spec.containers[0].command: required by the process runtime"
    ]


def test_a_process_is_handed_one_port() -> None:
    second = (f"{FIRST}.ports", [{"containerPort": 5000, "name": "http"}, {"containerPort": 9000}])
    assert refused("docker", second) == []
    assert refused("process", second) == [
        "spec.template.spec.containers[0].ports[1]: only one port is supported by the process runtime"
    ]
