"""What a runtime without a cluster cannot honour in a pod template.

Law: pure. Strict: a field passes if it is honoured, or if leaving it out changes nothing that its
user could notice here: it is empty, says what is the case anyway, or asks a scheduler that is not
there. Everything else is named with its path, misspelt fields included, be they empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ringmaster_operator import errors
from ringmaster_operator.spec import pod, shape
from ringmaster_operator.spec import template as templates

Faults = Iterator[errors.Fault]


def _empty(names: str) -> Mapping[str, Any]:
    """Fields that a pod has as well and that are not honoured: they may only be empty."""
    return dict.fromkeys(names.split())


# Field → the value that is the case anyway; `...` stands for any value. As of Kubernetes 1.36.
_TEMPLATE: Mapping[str, Any] = {"metadata": ..., "spec": ...}
_METADATA: Mapping[str, Any] = {
    "labels": ...,
    "annotations": ...,
    "name": ...,  # Kubernetes ignores the name and namespace of a template as well
    "namespace": ...,
    "creationTimestamp": ...,
    **_empty(
        "generateName selfLink uid resourceVersion generation deletionTimestamp"
        " deletionGracePeriodSeconds ownerReferences finalizers managedFields"
    ),
}
_POD: Mapping[str, Any] = {
    "containers": ...,
    "terminationGracePeriodSeconds": ...,
    "restartPolicy": "Always",
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "serviceAccountName": "default",
    "automountServiceAccountToken": False,
    "enableServiceLinks": ...,  # variables for Services, of which there are none
    **_empty(
        "activeDeadlineSeconds affinity dnsConfig ephemeralContainers hostAliases hostIPC"
        " hostNetwork hostPID hostUsers hostname hostnameOverride imagePullSecrets initContainers"
        " nodeName nodeSelector os overhead preemptionPolicy priority priorityClassName"
        " readinessGates resourceClaims resources runtimeClassName schedulingGates"
        " securityContext serviceAccount setHostnameAsFQDN shareProcessNamespace subdomain"
        " tolerations topologySpreadConstraints volumes"
    ),
}
_CONTAINER: Mapping[str, Any] = {
    "name": ...,
    "image": ...,
    "imagePullPolicy": ...,
    "command": ...,
    "args": ...,
    "env": ...,
    "ports": ...,
    "resources": ...,
    "readinessProbe": ...,
    "workingDir": ...,
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    **_empty(
        "envFrom lifecycle livenessProbe resizePolicy restartPolicy restartPolicyRules"
        " securityContext startupProbe stdin stdinOnce tty volumeDevices volumeMounts"
    ),
}
_ENV: Mapping[str, Any] = {"name": ..., "value": ..., **_empty("valueFrom")}
_PORT: Mapping[str, Any] = {
    "name": ...,
    "containerPort": ...,
    "protocol": "TCP",
    **_empty("hostIP hostPort"),
}
_RESOURCES: Mapping[str, Any] = {"requests": ..., "limits": ..., **_empty("claims")}
_LIMITS: Mapping[str, Any] = {"cpu": ..., "memory": ...}
_PROBE: Mapping[str, Any] = {
    "httpGet": ...,
    "tcpSocket": ...,
    "exec": ...,
    "initialDelaySeconds": ...,
    "periodSeconds": ...,
    "timeoutSeconds": ...,
    "successThreshold": ...,
    "failureThreshold": ...,
    **_empty("grpc terminationGracePeriodSeconds"),
}
_HTTP_GET: Mapping[str, Any] = {
    "path": ...,
    "port": ...,
    "scheme": ...,
    "httpHeaders": ...,
    **_empty("host"),
}
_HTTP_HEADER: Mapping[str, Any] = {"name": ..., "value": ...}
_TCP_SOCKET: Mapping[str, Any] = {"port": ..., **_empty("host")}
_EXEC: Mapping[str, Any] = {"command": ...}


def unsupported(template: Mapping[str, Any], *, runtime: str) -> tuple[errors.Fault, ...]:
    """The fields of a template that `runtime` cannot honour, or needs and lacks.

    `docker` and `process` are judged; `kubernetes` honours all. The template is one that
    `spec.parse` accepted. A process has no image (`image` is allowed, for the same manifest has to
    run on all three), needs a `command`, and is bound to no limits, so limits are refused. A path
    that means another file in another folder is refused, for the operator may be started anywhere.
    """
    if runtime == "kubernetes":
        return ()
    return tuple(_template(dict(template), runtime))


def _template(template: dict[str, Any], runtime: str) -> Faults:
    yield from _unknown(template, _TEMPLATE, (), runtime)
    yield from _unknown(template.get("metadata"), _METADATA, ("metadata",), runtime)
    yield from _unknown(template["spec"], _POD, ("spec",), runtime)
    for index, container in enumerate(template["spec"]["containers"]):
        at: shape.Loc = ("spec", "containers", index)
        if index:
            yield _fault(at, f"only one container is supported by the {runtime} runtime")
        else:
            yield from _container(container, at, runtime)
    yield from _paths(templates.container(template), runtime)


def _paths(view: templates.Container, runtime: str) -> Faults:
    """Relative paths: a program's may only be relative to a workingDir, which is absolute."""
    at: shape.Loc = ("spec", "containers", 0)
    if view.working_dir and not view.working_dir.startswith("/"):
        yield _fault((*at, "workingDir"), "must be an absolute path")
    if runtime != "process" or view.working_dir:
        return
    probe = view.readiness_probe and view.readiness_probe.exec
    programs: list[tuple[shape.Loc, tuple[str, ...]]] = [(("command",), view.command)]
    if probe:
        programs.append((("readinessProbe", "exec", "command"), probe.command))
    for field, words in programs:
        if words and "/" in words[0] and not words[0].startswith("/"):
            message = "must be an absolute path or a name found in PATH, unless workingDir is set"
            yield _fault((*at, *field, 0), message)


def _container(container: dict[str, Any], at: shape.Loc, runtime: str) -> Faults:
    needed = "command" if runtime == "process" else "image"
    if not container.get(needed):
        yield _fault((*at, needed), f"required by the {runtime} runtime")
    yield from _unknown(container, _CONTAINER, at, runtime)
    yield from _entries(container.get("env"), _ENV, (*at, "env"), runtime)
    yield from _ports(container.get("ports") or [], (*at, "ports"), runtime)
    yield from _resources(container.get("resources") or {}, (*at, "resources"), runtime)
    yield from _probe(container.get("readinessProbe") or {}, (*at, "readinessProbe"), runtime)


def _ports(ports: list[Any], at: shape.Loc, runtime: str) -> Faults:
    yield from _entries(ports, _PORT, at, runtime)
    if runtime == "process":
        # Every process needs a port of its own; one is handed over, in PORT.
        for index in range(1, len(ports)):
            yield _fault((*at, index), "only one port is supported by the process runtime")


def _resources(resources: dict[str, Any], at: shape.Loc, runtime: str) -> Faults:
    """Requests are for a scheduler; a limit is a promise."""
    yield from _unknown(resources, _RESOURCES, at, runtime)
    limits = dict.fromkeys(_LIMITS) if runtime == "process" else _LIMITS
    yield from _unknown(resources.get("limits"), limits, (*at, "limits"), runtime)


def _probe(probe: dict[str, Any], at: shape.Loc, runtime: str) -> Faults:
    yield from _unknown(probe, _PROBE, at, runtime)
    get = probe.get("httpGet") or {}
    yield from _unknown(get, _HTTP_GET, (*at, "httpGet"), runtime)
    headers = get.get("httpHeaders")
    yield from _entries(headers, _HTTP_HEADER, (*at, "httpGet", "httpHeaders"), runtime)
    yield from _unknown(probe.get("tcpSocket"), _TCP_SOCKET, (*at, "tcpSocket"), runtime)
    yield from _unknown(probe.get("exec"), _EXEC, (*at, "exec"), runtime)


def _entries(
    entries: Iterable[Any] | None, known: Mapping[str, Any], at: shape.Loc, runtime: str
) -> Faults:
    for index, entry in enumerate(entries or ()):
        yield from _unknown(entry, known, (*at, index), runtime)


def _unknown(
    value: dict[str, Any] | None, known: Mapping[str, Any], at: shape.Loc, runtime: str
) -> Faults:
    """The fields of an object that are not honoured, unless what they say is the case anyway."""
    for field, item in (value or {}).items():
        anyway = known.get(field)
        if field in known and (
            anyway is ... or item == anyway or item in (None, {}, [], "", False)
        ):
            continue
        if anyway is not None:
            message = f"only {shape.brief(anyway)} is supported by the {runtime} runtime"
        else:
            message = f"not supported by the {runtime} runtime"
        yield _fault((*at, field), message)


def _fault(loc: shape.Loc, message: str) -> errors.Fault:
    return errors.Fault(path=shape.path(loc, prefix=pod.PREFIX), message=message)
