"""The ServerSet's model: every field of the custom resource, with its default.

Law: pure. A field's docstring is one line, since it is what `kubectl explain` shows: the
CustomResourceDefinition is generated from here. What concerns two fields at once is in `rules`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, GetJsonSchemaHandler
from pydantic.functional_validators import PlainValidator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from ringmaster_operator.spec import sections, shape

_MAX_REPLICAS = 65_535
# A name or a victim for each replica that there may be.
Names = Annotated[tuple[str, ...], Field(strict=False, max_length=_MAX_REPLICAS)]
# Each balancer is asked in every look.
Urls = Annotated[tuple[str, ...], Field(strict=False, max_length=256)]
Seconds = Annotated[int, Field(ge=0, le=86_400)]
_PERCENT = re.compile(r"[0-9]{1,9}%", re.ASCII)


class _IntOrPercentSchema:
    """Kubernetes' IntOrString, the string being a percentage."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {
            "x-kubernetes-int-or-string": True,
            "minimum": 0,
            "pattern": "^[0-9]{1,9}%$",
            "maxLength": 10,
        }


def _int_or_percent(value: Any) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and _PERCENT.fullmatch(value):
        return value
    raise ValueError('must be an integer of at least 0 or a percentage such as "25%"')


IntOrPercent = Annotated[int | str, PlainValidator(_int_or_percent), _IntOrPercentSchema]


class Metadata(shape.Value):
    """Standard object metadata; fields that Ringmaster does not use are kept."""

    model_config = ConfigDict(extra="allow")

    name: str
    """Unique in its namespace; a DNS label of at most 40 characters."""
    namespace: str = "default"
    """The space in which the name is unique."""
    uid: str = ""
    """Of this very object; set by the API server."""
    generation: int = 0
    """Rises with every change of the spec; set by the API server."""
    resource_version: str = ""
    """Rises with every change; set by the API server."""
    creation_timestamp: str | None = None
    """When the object was created; set by the API server."""
    deletion_timestamp: str | None = None
    """When its deletion was asked for; set by the API server."""
    labels: dict[str, str] = Field(default_factory=dict)
    """By which objects are selected."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Notes of tools and users."""


class OwnerReference(shape.Value):
    """The object that this one goes with."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(Metadata):
    """All of metav1.ObjectMeta, for whoever stores what was sent: nothing else is metadata."""

    model_config = ConfigDict(extra="forbid")

    generate_name: str = ""
    self_link: str = ""
    deletion_grace_period_seconds: int | None = None
    owner_references: Annotated[tuple[OwnerReference, ...], Field(strict=False)] = ()
    finalizers: Annotated[tuple[str, ...], Field(strict=False)] = ()
    managed_fields: Annotated[tuple[dict[str, Any], ...], Field(strict=False)] = ()


class Selector(shape.Value):
    """Labels that an object must have, all of them."""

    match_labels: Annotated[dict[str, str], Field(min_length=1)]
    """Label names and the values that they must have."""


class RollingUpdate(shape.Value):
    """How far the number of replicas may go up and down while a template is rolled out."""

    max_surge: IntOrPercent = 1
    """Replicas above the desired number; a percentage is rounded up."""
    max_unavailable: IntOrPercent = 0
    """Replicas below the desired number; a percentage is rounded down."""


class Strategy(shape.Value):
    """How replicas of an old template are replaced by those of a new one."""

    type: Literal["RollingUpdate", "Recreate"] = "RollingUpdate"
    """RollingUpdate replaces few at a time, Recreate stops all before it starts new ones."""
    rolling_update: RollingUpdate = RollingUpdate()
    """Only with type RollingUpdate."""
    on_failure: Literal["Pause", "Rollback"] = "Pause"
    """What to do with a rollout that makes no progress until its deadline."""


class ScaleDown(shape.Value):
    """Which replicas go first."""

    victims: Names = ()
    """Names of replicas that go first when there are too many."""


class Balancer(shape.Value):
    """Where the balancers are, and how they treat requests."""

    selector: Selector | None = None
    """The labels of the balancers; not together with urls."""
    urls: Urls = ()
    """The control addresses of the balancers, http:// or https://; not together with selector."""
    proxy: sections.Proxy = sections.Proxy()
    """How the balancers treat requests."""


class Spec(shape.Value):
    """What shall exist."""

    replicas: Annotated[int, Field(ge=0, le=_MAX_REPLICAS)] = 1
    """How many replicas shall serve."""
    max_replicas: Annotated[int, Field(ge=0, le=_MAX_REPLICAS)] = 100
    """How many replicas at most: a bound for /add and for autoscalers."""
    selector: Selector
    """Whose replicas these are; within the labels of the template; immutable."""
    template: dict[str, Any]
    """What a replica is: a PodTemplateSpec."""
    names: Names = ()
    """Names asked for and not yet used; the next new replicas get them."""
    scale_down: ScaleDown = ScaleDown()
    """Which replicas go first."""
    min_ready_seconds: Seconds = 0
    """How long a replica must be ready before it counts as available and enters the ring."""
    unhealthy_after_seconds: Seconds = 10
    """How long a replica that was ready once may be unready before it is replaced."""
    strategy: Strategy = Strategy()
    """How replicas of an old template are replaced by those of a new one."""
    progress_deadline_seconds: Annotated[int, Field(ge=1, le=86_400)] = 600
    """How long a rollout may go without progress; a replica never ready for so long is replaced."""
    revision_history_limit: Annotated[int, Field(ge=0, le=1_000)] = 5
    """How many old templates are kept."""
    paused: bool = False
    """Whether a change of the template waits; failed replicas are still replaced."""
    drain_seconds: Seconds = 5
    """How long a replica that left the ring may finish what it has before it is stopped."""
    ring: sections.Ring = sections.Ring()
    """How keys find members."""
    balancer: Balancer = Balancer()
    """Where the balancers are, and how they treat requests."""

    def surge(self) -> int:
        """Replicas that may exist above `replicas` during a rollout, as a Deployment has it."""
        if self.strategy.type == "Recreate":
            return 0
        return _resolve(self.strategy.rolling_update.max_surge, of=self.replicas, up=True)

    def unavailable(self) -> int:
        """Replicas that may be missing during a rollout; at least 1 if no surge is allowed."""
        if self.strategy.type == "Recreate":
            return self.replicas
        allowed = _resolve(self.strategy.rolling_update.max_unavailable, of=self.replicas, up=False)
        if allowed == 0 and self.surge() == 0:
            allowed = 1
        return min(allowed, self.replicas)


# A status has other writers: of theirs what is unknown is left out, as the API server prunes it.
class Condition(shape.Value, extra="ignore"):
    """One aspect of the state, as Kubernetes' API conventions have it."""

    type: str
    """Ready, Available, Progressing, ReplicaFailure, BalancerSynced, or another writer's."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: str | None = None
    """Why, in one CamelCase word."""
    message: str | None = None
    """Why, in words."""
    last_transition_time: str | None = None
    """When the status changed last."""
    observed_generation: int | None = None
    """The generation of the spec that this was concluded from."""


class Status(shape.Value, extra="ignore"):
    """What exists. What others write is read by it; the operator writes a plain document."""

    observed_generation: int | None = None
    """The generation of the spec that the operator acted on last."""
    replicas: int | None = None
    """Replicas that exist and are not ending."""
    ready_replicas: int | None = None
    """Of those, the ready ones."""
    available_replicas: int | None = None
    """Of those, the ones that have been ready for minReadySeconds."""
    updated_replicas: int | None = None
    """Replicas of the newest template."""
    in_ring: int | None = None
    """Members that the balancers hold as active."""
    selector: str | None = None
    """The selector as text, for autoscalers."""
    current_revision: str | None = None
    """The template that last was rolled out completely."""
    update_revision: str | None = None
    """The template that is being rolled out, or was."""
    conditions: Annotated[tuple[Condition, ...], Field(strict=False)] = ()
    """What holds and what does not, and why."""


class ServerSet(shape.Value):
    """A set of equal servers that a balancer spreads requests over."""

    api_version: Literal["ringmaster.dev/v1alpha1"]
    """Group and version of this schema."""
    kind: Literal["ServerSet"]
    """The kind of this object."""
    metadata: Metadata
    """Standard object metadata."""
    spec: Spec
    """What shall exist."""
    status: dict[str, Any] = Field(default_factory=dict)
    """What exists; written by the operator."""


def number(amount: int | str) -> int:
    """The number in an amount or a percentage, however it is spelled: 0, "0%" and "00%" are 0."""
    return amount if isinstance(amount, int) else int(amount[:-1])


def _resolve(amount: int | str, *, of: int, up: bool) -> int:
    """An amount or a percentage of `of`, rounded as asked."""
    if isinstance(amount, int):
        return amount
    scaled = number(amount) * of
    return -(-scaled // 100) if up else scaled // 100
