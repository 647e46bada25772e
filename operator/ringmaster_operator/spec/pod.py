"""The part of a PodTemplateSpec that Ringmaster reads.

Law: pure. Fields that are not read here are left alone; whether a runtime can honour them is for
`honour` to say, what makes no sense for `pod_rules`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from ringmaster_operator import errors
from ringmaster_operator.spec import quantity, shape, syntax

PREFIX = "spec.template"  # where a pod template lies in a ServerSet


class Lenient(shape.Value):
    """Part of a pod template: fields that the view does not know are allowed."""

    model_config = ConfigDict(extra="ignore")


def _port(value: Any) -> int | str:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65_536:  # noqa: PLR2004 – TCP
        return value
    raise ValueError("must be a port number from 1 to 65535 or the name of a port")


PortNumber = Annotated[int, Field(ge=1, le=65_535)]
PortReference = Annotated[
    Any, BeforeValidator(_port), WithJsonSchema({"x-kubernetes-int-or-string": True})
]
# A quantity may be written as a fraction (`cpu: 0.5`), which int-or-string does not allow.
_ANY = WithJsonSchema({"x-kubernetes-preserve-unknown-fields": True})


def _schema(**keywords: Any) -> Any:
    """What only the schema says of a field, and a rule of `pod_rules` to everybody else.

    A template that was taken before the rule came is still read.
    """
    return Field(json_schema_extra=keywords)


def _pattern(grammar: re.Pattern[str]) -> Any:
    return _schema(pattern=f"^(?:{grammar.pattern})$")


Text = Annotated[str, _schema(pattern=r"^[^\x00]*$")]  # what a program can be given
Strings = Annotated[tuple[Text, ...], Field(strict=False)]


class EnvVar(Lenient):
    """A variable; `value` may refer to earlier ones as $(NAME)."""

    name: Annotated[str, Field(min_length=1), _pattern(syntax.ENV_NAME)]
    """Name of the variable."""
    value: Text = ""
    """Its value; $(NAME) refers to an earlier variable, $$ is a dollar sign."""


class ContainerPort(Lenient):
    """A port that the container listens on."""

    name: str = ""
    """By which probes may refer to it; `http` names the port that serves."""
    container_port: PortNumber
    """The port number."""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    """TCP is what a balancer needs."""


class HttpHeader(Lenient):
    """A header field that a probe sends."""

    name: Annotated[str, Field(min_length=1), _pattern(syntax.TOKEN)]
    """The field's name."""
    value: Annotated[str, _pattern(syntax.FIELD_VALUE)] = ""
    """The field's value."""


class HttpGet(Lenient):
    """A probe by HTTP: any status from 200 to 399 is good."""

    path: Annotated[str, _pattern(syntax.PROBE_PATH)] = "/"
    """Path of the request; what is no visible ASCII is written as %20."""
    port: PortReference
    """Number or name of the port."""
    scheme: Annotated[Literal["HTTP", "HTTPS"], _schema(enum=["HTTP"])] = "HTTP"
    """HTTP: balancers speak no TLS to replicas."""
    http_headers: Annotated[tuple[HttpHeader, ...], Field(strict=False)] = ()
    """Header fields of the request."""


class TcpSocket(Lenient):
    """A probe by a TCP connect."""

    port: PortReference
    """Number or name of the port."""


class Exec(Lenient):
    """A probe by a command: exit status 0 is good."""

    command: Annotated[tuple[Text, ...], Field(strict=False, min_length=1)]
    """The command and its arguments; no shell."""


class Probe(Lenient):
    """When a replica is ready; exactly one of http_get, tcp_socket and exec.

    `grpc` is only known so that a runtime can say that it does not honour it.
    """

    http_get: HttpGet | None = None
    """Ask by HTTP."""
    tcp_socket: TcpSocket | None = None
    """Ask by a TCP connect."""
    exec: Exec | None = None
    """Ask by a command."""
    grpc: Annotated[Any, _ANY] = None
    """Ask by gRPC; on Kubernetes only."""
    initial_delay_seconds: Annotated[int, Field(ge=0)] = 0
    """Before the first probe."""
    period_seconds: Annotated[int, Field(ge=1)] = 10
    """Between two probes."""
    timeout_seconds: Annotated[int, Field(ge=1)] = 1
    """How long a probe may take."""
    success_threshold: Annotated[int, Field(ge=1)] = 1
    """Good probes in a row until an unready replica is ready."""
    failure_threshold: Annotated[int, Field(ge=1)] = 3
    """Bad probes in a row until a ready replica is unready."""


class Amounts(Lenient):
    """CPU in cores and memory in bytes; None where nothing is said."""

    cpu: Annotated[float | None, BeforeValidator(quantity.cores), _ANY] = None
    """Cores, such as 500m or 1.5."""
    memory: Annotated[int | None, BeforeValidator(quantity.size), _ANY] = None
    """Bytes, such as 64Mi."""


class Resources(Lenient):
    """What a container may use, and what it asks for."""

    limits: Amounts = Amounts()
    """What a container may use at most."""
    requests: Amounts = Amounts()
    """What a scheduler keeps free for it."""


class Container(Lenient):
    """A program that runs in a replica."""

    name: Annotated[str, Field(min_length=1, max_length=63), _pattern(syntax.DNS_LABEL)]
    """Unique in the pod."""
    image: str = ""
    """The image to run; a process has none."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When to pull the image; left out: IfNotPresent, for the tag latest Always."""
    command: Strings = ()
    """In place of the image's entry point; a process's program: in PATH, absolute or below workingDir."""
    args: Strings = ()
    """Further arguments."""
    working_dir: Text = ""
    """Absolute path of the folder to start in; left out: the image's, / for a process."""
    env: Annotated[tuple[EnvVar, ...], Field(strict=False)] = ()
    """Environment variables, in order."""
    ports: Annotated[tuple[ContainerPort, ...], Field(strict=False)] = ()
    """Ports that the program listens on."""
    resources: Resources = Resources()
    """CPU and memory."""
    readiness_probe: Probe | None = None
    """When a replica may serve."""


class PodSpec(Lenient):
    """`spec` of a pod template."""

    containers: Annotated[tuple[Container, ...], Field(strict=False, min_length=1, max_length=100)]
    """What runs; Docker and processes run the first one only."""
    termination_grace_period_seconds: Annotated[int, Field(ge=0)] = 30
    """How long a replica may take to end before it is killed."""


class PodMetadata(Lenient):
    """`metadata` of a pod template."""

    labels: dict[str, str] = Field(default_factory=dict)
    """Labels of every replica; spec.selector lies within them."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Annotations of every replica."""


class Template(Lenient):
    """A PodTemplateSpec."""

    metadata: PodMetadata = PodMetadata()
    """Labels and annotations of every replica."""
    spec: PodSpec
    """What a replica runs."""


_PLACEHOLDERS: Mapping[shape.Loc, Any] = {
    ("spec",): {"containers": [{"name": "x"}]},
    ("spec", "containers"): [{"name": "x"}],
    ("spec", "containers", "*"): {"name": "x"},
    ("spec", "containers", "*", "name"): "x",
    ("spec", "containers", "*", "env", "*"): {"name": "x"},
    ("spec", "containers", "*", "env", "*", "name"): "x",
    ("spec", "containers", "*", "ports", "*"): {"containerPort": 1},
    ("spec", "containers", "*", "ports", "*", "containerPort"): 1,
    ("spec", "containers", "*", "readinessProbe", "httpGet", "port"): 1,
    ("spec", "containers", "*", "readinessProbe", "tcpSocket", "port"): 1,
    ("spec", "containers", "*", "readinessProbe", "exec", "command"): ["x"],
}


def read(template: Mapping[str, Any]) -> tuple[Template, tuple[errors.Fault, ...], shape.Broken]:
    """Read a pod template: its view, its faults of shape, and where they lie (from the template on)."""
    view, faults, broken = shape.read(
        Template, dict(template), placeholders=_PLACEHOLDERS, prefix=PREFIX
    )
    with_nul = tuple(itertools.islice(_with_nul(template, ()), shape.MAX_FAULTS + 1))
    message = "must not hold a NUL character"
    told = (errors.Fault(shape.path(loc, prefix=PREFIX), message) for loc in with_nul)
    return view, (*faults, *told), shape.Broken((*broken.places, *with_nul))


def _with_nul(value: Any, loc: shape.Loc) -> Iterator[shape.Loc]:
    """Where text has a NUL: it ends a C string, so no program, path or variable can have it."""
    if isinstance(value, str):
        if "\0" in value:
            yield loc
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _with_nul(item, (*loc, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _with_nul(item, (*loc, index))
