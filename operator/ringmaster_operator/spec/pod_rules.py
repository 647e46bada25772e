"""What makes sense in a pod template: names, variables, amounts, probes.

Law: pure. These are Kubernetes' own rules for a pod, or what none of the runtimes could start; they
are found when a set is asked for, with the field's path, instead of when a replica is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ringmaster_operator import errors
from ringmaster_operator.spec import pod, shape, syntax

Faults = Iterator[errors.Fault]

_MOST = 2**63 - 1  # bytes, or billionths of a core: what Kubernetes and Docker can count
_PROBES = {"http_get": "httpGet", "tcp_socket": "tcpSocket", "exec": "exec", "grpc": "grpc"}


def faults(view: pod.Template, *, broken: shape.Broken) -> Faults:
    """Everything that makes no sense in what is not `broken` of a template."""
    names: set[str] = set()
    for index, container in enumerate(view.spec.containers):
        at: shape.Loc = ("spec", "containers", index)
        if not broken.touches((*at, "name")):
            yield from _repeated(container.name, names, (*at, "name"))
            if not syntax.is_dns_label(container.name):
                message = (
                    "must be lower-case letters, digits and '-', a letter or digit at both ends"
                )
                yield _fault((*at, "name"), f"{message}, not {shape.brief(container.name)}")
        if not broken.touches((*at, "env")):
            yield from _env_faults(container, (*at, "env"))
        if not broken.touches((*at, "resources")):
            yield from _resource_faults(container.resources, (*at, "resources"))
        if not broken.touches((*at, "ports")):
            yield from _port_faults(container, (*at, "ports"))
        if container.readiness_probe and not broken.touches(
            (*at, "ports"), (*at, "readinessProbe")
        ):
            where = (*at, "readinessProbe")
            yield from _probe_faults(container.readiness_probe, container.ports, where)


def _repeated(name: str, seen: set[str], loc: shape.Loc) -> Faults:
    """The name, if it was there before; now it was."""
    if name in seen:
        yield _fault(loc, f"must be unique: {shape.brief(name)} is there already")
    seen.add(name)


def _env_faults(container: pod.Container, loc: shape.Loc) -> Faults:
    for index, variable in enumerate(container.env):
        if not syntax.is_env_name(variable.name):
            message = f'must be printable ASCII without "=", not {shape.brief(variable.name)}'
            yield _fault((*loc, index, "name"), message)


def _resource_faults(resources: pod.Resources, loc: shape.Loc) -> Faults:
    for field, unit, what in (("cpu", 10**9, "cores"), ("memory", 1, "bytes")):
        limit, request = getattr(resources.limits, field), getattr(resources.requests, field)
        for kind, amount in (("limits", limit), ("requests", request)):
            if amount is not None and amount * unit > _MOST:
                yield _fault((*loc, kind, field), f"must be at most {_MOST // unit} {what}")
        if limit is not None and request is not None and limit < request <= _MOST / unit:
            yield _fault((*loc, "requests", field), "must be at most the limit")


def _port_faults(container: pod.Container, loc: shape.Loc) -> Faults:
    names: set[str] = set()
    for index, port in enumerate(container.ports):
        if port.name:
            yield from _repeated(port.name, names, (*loc, index, "name"))
        if port.name and not syntax.is_port_name(port.name):
            message = "must be at most 15 lower-case letters, digits and '-', one letter at least"
            yield _fault((*loc, index, "name"), f"{message}, not {shape.brief(port.name)}")


def _probe_faults(probe: pod.Probe, ports: Sequence[pod.ContainerPort], loc: shape.Loc) -> Faults:
    given = [field for field in _PROBES if getattr(probe, field)]
    if len(given) != 1:
        yield _fault(loc, f"must have exactly one of {', '.join(list(_PROBES.values())[:3])}")
    names = {port.name for port in ports if port.name}
    for field in given:
        port = getattr(getattr(probe, field), "port", None)
        if isinstance(port, str) and port not in names:
            message = f"must be the name of one of the container's ports, not {shape.brief(port)}"
            yield _fault((*loc, _PROBES[field], "port"), message)
    if probe.http_get:
        yield from _http_get_faults(probe.http_get, (*loc, "httpGet"))


def _http_get_faults(get: pod.HttpGet, loc: shape.Loc) -> Faults:
    if get.scheme != "HTTP":
        # It would be ready by TLS, while every request that a balancer sends to it fails.
        message = 'must be "HTTP", since balancers speak no TLS to replicas, not "HTTPS"'
        yield _fault((*loc, "scheme"), message)
    if not syntax.is_probe_path(get.path):
        message = f'must be visible ASCII without "#", not {shape.brief(get.path)}'
        yield _fault((*loc, "path"), message)
    for index, header in enumerate(get.http_headers):
        at = (*loc, "httpHeaders", index)
        if not syntax.is_token(header.name):
            message = f"must be a token of HTTP, not {shape.brief(header.name)}"
            yield _fault((*at, "name"), message)
        if not syntax.is_field_value(header.value):
            message = f"must hold no control character, not {shape.brief(header.value)}"
            yield _fault((*at, "value"), message)


def _fault(loc: shape.Loc, message: str) -> errors.Fault:
    return errors.Fault(path=shape.path(loc, prefix=pod.PREFIX), message=message)
