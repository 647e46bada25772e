"""From a birth to the body of Docker's container create call, and what Docker cannot give.

Law: pure. What the engine itself would refuse is refused here, with the field's path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ringmaster_operator import errors, naming, observed, spec

# What moby and runc refuse: less memory than a container needs to start, less than 1 ms of CPU
# time in the kernel's period of 100 ms.
_LEAST_MEMORY = 6 * 1024 * 1024
_LEAST_CPU = 0.01
_NANO = 1_000_000_000
_HOSTNAME_CHARACTERS = 63

# distribution/reference, "Grammar": [domain[:port]/]path[:tag][@digest]
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_DOMAIN = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_IMAGE = re.compile(
    rf"(?:{_DOMAIN}/)?{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?"
    r"(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?",
    re.ASCII,
)
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", re.ASCII)  # moby, RestrictedNameChars
_PROJECT = "com.docker.compose.project"
# The driver that bounds nothing by itself; 16 MiB and an older file, as of the process runtime.
_LOGS = {
    "json-file": {
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "16m", "max-file": "2"}}
    }
}
_FIRST = "spec.template.spec.containers[0]"


@dataclass(frozen=True, slots=True)
class Place:
    """Where containers are made.

    The network, the engine's CPUs and its driver for logs, the compose project if any, and the mark
    of the operator's state folder.
    """

    network: str = "bridge"
    cpus: float = 0.0  # 0: unknown
    project: str = ""
    log_driver: str = ""
    mark: str = ""


def faults(template: Mapping[str, Any]) -> Iterator[errors.Fault]:
    """What the engine would refuse in a template that `spec.parse` accepted."""
    view = spec.container(template)
    if view.image and not _IMAGE.fullmatch(view.image):
        yield errors.Fault(f"{_FIRST}.image", f"{view.image!r} is no reference to an image")
    limits = view.resources.limits
    if limits.memory is not None and limits.memory < _LEAST_MEMORY:
        yield errors.Fault(f"{_FIRST}.resources.limits.memory", "Docker needs at least 6Mi")
    if limits.cpu is not None and limits.cpu < _LEAST_CPU:
        yield errors.Fault(f"{_FIRST}.resources.limits.cpu", "Docker needs at least 10m")


def is_name(text: str) -> bool:
    """Whether a container can be called so."""
    return _NAME.fullmatch(text) is not None


def container(birth: observed.Birth) -> spec.Container:
    """The template's container; SERVER_ID is the replica's name unless the template sets it."""
    return spec.container(birth.template, defaults={"SERVER_ID": birth.display_name})


def create(
    birth: observed.Birth, place: Place, *, image_labels: Mapping[str, str]
) -> dict[str, Any]:
    """The body of `POST /containers/create`. A container inherits `image_labels`.

    The restart policy is `no`, because the operator owns restarts; the image's health check is
    off, because the operator probes; nothing is published, because the balancer is.
    """
    view = container(birth)
    body: dict[str, Any] = {
        "Image": view.image,
        "Hostname": birth.name[:_HOSTNAME_CHARACTERS],
        "Env": [f"{name}={value}" for name, value in view.env.items()],
        "Labels": _labels(birth, place, image_labels),
        "ExposedPorts": {f"{port.container_port}/tcp": {} for port in view.ports},
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "NetworkMode": place.network,
            "RestartPolicy": {"Name": "no"},
            **_limits(view, place),
            **_LOGS.get(place.log_driver, {}),
        },
        "NetworkingConfig": {"EndpointsConfig": {place.network: {}}},
    }
    # Kubernetes' command is the entry point, and the image's own arguments are then none.
    if view.command:
        body["Entrypoint"] = list(view.command)
    if view.args:
        body["Cmd"] = list(view.args)
    if view.working_dir:
        body["WorkingDir"] = view.working_dir
    return body


def probed(labels: Mapping[str, str]) -> spec.Container | None:
    """How a container is probed, as its label says; None if there is no such label."""
    try:
        return spec.container(json.loads(labels[naming.LABEL_PROBE]))
    except (KeyError, ValueError):
        return None


def _labels(birth: observed.Birth, place: Place, image_labels: Mapping[str, str]) -> dict[str, str]:
    given = (birth.template.get("metadata") or {}).get("labels") or {}
    labels = {**given, **naming.labels(birth), naming.LABEL_PROBE: _probe(birth.template)}
    if place.mark:
        labels[naming.LABEL_STATE] = place.mark
    if place.project:
        labels |= _compose(birth, place.project)
    elif _PROJECT in image_labels:
        # compose built the image, and would count whatever inherits its labels as its own.
        labels |= _compose(birth, f"serverset-{birth.owner.name}")
    return labels


def _probe(template: Mapping[str, Any]) -> str:
    """The part of a template that the next operator needs, as a template."""
    first = template["spec"]["containers"][0]
    kept = {field: first[field] for field in ("name", "ports", "readinessProbe") if field in first}
    return json.dumps({"spec": {"containers": [kept]}}, separators=(",", ":"))


def _compose(birth: observed.Birth, project: str) -> dict[str, str]:
    """What makes `docker compose ps` show a container, and `down --remove-orphans` remove it.

    The service's name is never one of a compose file's own: compose would take the replica for
    one container too many.
    """
    return {
        _PROJECT: project,
        "com.docker.compose.service": f"serverset-{birth.owner.name}",
        "com.docker.compose.oneoff": "False",
        "com.docker.compose.container-number": str(birth.ordinal + 1),
        "com.docker.compose.config-hash": birth.revision,
    }


def _limits(view: spec.Container, place: Place) -> dict[str, int]:
    """Memory without swap, as Kubernetes has it; more CPU than there is limits nothing."""
    limits: dict[str, int] = {}
    if view.resources.limits.memory is not None:
        limits |= dict.fromkeys(("Memory", "MemorySwap"), view.resources.limits.memory)
    cpu = view.resources.limits.cpu
    if cpu is not None and not 0 < place.cpus <= cpu:
        limits["NanoCpus"] = round(cpu * _NANO)
    return limits
