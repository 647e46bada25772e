"""A typed view of a pod template's first container: what has to be started, and how it is probed.

Law: pure. The template itself stays the plain document that its user wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ringmaster_operator import errors
from ringmaster_operator.spec import pod, shape, syntax

# One that is not closed is taken to the end: looked for anew at each "$(" it would be quadratic.
_REFERENCE = re.compile(r"\$\$|\$\(([^)]*)(\)?)")
_DEFAULT_PORT = 5000
_MAX_BYTES = 2 * 1024 * 1024  # Linux takes a quarter of the stack's 8 MiB, execve(2)


@dataclass(frozen=True, slots=True)
class Container:
    """The first container, ready to be started: every $(NAME) resolved, probe ports numbers.

    `image_pull_policy` is Kubernetes' default for the tag if none is given; `port` is the one that
    serves (the port named `http`, else the first, else 5000); `env` keeps the order of definition;
    `grace_seconds` is the pod's terminationGracePeriodSeconds.
    """

    name: str
    image: str
    image_pull_policy: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    working_dir: str
    env: dict[str, str]
    ports: tuple[pod.ContainerPort, ...]
    port: int
    resources: pod.Resources
    readiness_probe: pod.Probe | None
    grace_seconds: int


def container(
    template: Mapping[str, Any],
    *,
    defaults: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Container:
    """The view of a template that `spec.parse` accepted.

    `defaults` are variables that the template may set otherwise (SERVER_ID), `overrides` those
    that it may not (a PORT that was handed over); both can be referred to.
    """
    document = pod.Template.model_validate(
        shape.plain(dict(template))[0], by_alias=True, by_name=False
    ).spec
    first = document.containers[0]
    env = _environment(first.env, defaults=defaults or {}, overrides=overrides or {})
    return Container(
        name=first.name,
        image=first.image,
        image_pull_policy=first.image_pull_policy or _pull_policy(first.image),
        command=tuple(expand(word, env) for word in first.command),
        args=tuple(expand(word, env) for word in first.args),
        working_dir=first.working_dir,
        env=env,
        ports=first.ports,
        port=_serving_port(first.ports),
        resources=first.resources,
        readiness_probe=_with_numbers(first.readiness_probe, first.ports),
        grace_seconds=document.termination_grace_period_seconds,
    )


def faults(view: pod.Template) -> Iterator[errors.Fault]:
    """Containers whose variables double each other ($(A)$(A)) beyond what a program can be given.

    Only counted: the text itself may be too long to be made.
    """
    for index, each in enumerate(view.spec.containers):
        sizes: dict[str, int] = {}
        total = 0
        for variable in each.env:
            sizes[variable.name] = _expanded(variable.value, sizes)
            total += sizes[variable.name]
        total += sum(_expanded(word, sizes) for word in (*each.command, *each.args))
        if total > _MAX_BYTES:
            yield errors.Fault(
                shape.path(("spec", "containers", index), prefix=pod.PREFIX),
                f"command, args and env must have at most {_MAX_BYTES} characters, "
                "every $(NAME) resolved",
            )


def expand(text: str, env: Mapping[str, str]) -> str:
    """Resolve $(NAME) as Kubernetes does: $$ is a dollar sign, what is unknown stays."""

    def replacement(match: re.Match[str]) -> str:
        name, closed = match.groups()
        if name is None:
            return "$"
        return env.get(name, match.group()) if closed else match.group().replace("$$", "$")

    return _REFERENCE.sub(replacement, text)


def _expanded(text: str, sizes: Mapping[str, int]) -> int:
    """How long `expand` would make a text, given how long each variable is."""

    def growth(match: re.Match[str]) -> int:
        name, closed = match.groups()
        if name is None:
            return -1
        length = len(match.group())
        return sizes.get(name, length) - length if closed else -match.group().count("$$")

    return len(text) + sum(map(growth, _REFERENCE.finditer(text)))


def health(template: Mapping[str, Any]) -> dict[str, Any]:
    """The wire's `health` section: how balancers probe what this template starts.

    The readiness probe's rhythm; its path if it is plain HTTP on the port that serves, else none
    (a TCP connect).
    """
    view = container(template)
    probe = view.readiness_probe
    if probe is None:
        return {"path": None, "intervalSeconds": 1, "timeoutSeconds": 1, "fall": 2, "rise": 2}
    get = probe.http_get
    plain = get is not None and get.scheme == "HTTP" and get.port == view.port
    return {
        "path": syntax.origin_form(get.path) if get and plain else None,
        "intervalSeconds": probe.period_seconds,
        "timeoutSeconds": probe.timeout_seconds,
        "fall": probe.failure_threshold,
        "rise": probe.success_threshold,
    }


def _environment(
    variables: tuple[pod.EnvVar, ...], *, defaults: Mapping[str, str], overrides: Mapping[str, str]
) -> dict[str, str]:
    env = {**defaults, **overrides}
    for variable in variables:
        if variable.name not in overrides:
            env[variable.name] = expand(variable.value, env)
    return env


def _pull_policy(image: str) -> str:
    """Kubernetes' default: Always for the tag `latest` or none, IfNotPresent for others."""
    name = image.rpartition("/")[2]
    pinned = "@" in name or (":" in name and not name.endswith(":latest"))
    return "IfNotPresent" if pinned else "Always"


def _serving_port(ports: tuple[pod.ContainerPort, ...]) -> int:
    named = [port.container_port for port in ports if port.name == "http"]
    return (named or [port.container_port for port in ports] or [_DEFAULT_PORT])[0]


def _with_numbers(
    probe: pod.Probe | None, ports: tuple[pod.ContainerPort, ...]
) -> pod.Probe | None:
    """The probe with the names of ports replaced by their numbers."""
    if probe is None:
        return None
    numbers: dict[int | str, int] = {port.name: port.container_port for port in ports if port.name}
    changes: dict[str, Any] = {}
    for field in ("http_get", "tcp_socket"):
        action = getattr(probe, field)
        if action is not None and action.port in numbers:
            changes[field] = action.model_copy(update={"port": numbers[action.port]})
    return probe.model_copy(update=changes)
