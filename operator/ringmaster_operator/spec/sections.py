"""The sections of a ServerSet that a balancer is given as they are: `ring` and `balancer.proxy`.

Law: pure; field for field what ringmaster_balancer.members reads from the wire. Components never
import each other, so the models stand here again; tests/contract/test_wire_models.py holds the two
together.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, IPvAnyNetwork

from ringmaster_operator.spec import shape

Positive = Annotated[float, Field(gt=0)]
Percent = Annotated[float, Field(ge=0, le=100)]
Count = Annotated[int, Field(ge=0)]


def _text(value: Any) -> Any:
    """Python would take the number 5 for the address 0.0.0.5."""
    if not isinstance(value, str):
        raise ValueError("must be a string")  # noqa: TRY004 – pydantic reads ValueErrors as faults
    return value


Network = Annotated[IPvAnyNetwork, BeforeValidator(_text)]


class KeySource(shape.Value):
    """Where a request's key comes from: exactly one of these."""

    header: str | None = None
    """The value of this header field."""
    cookie: str | None = None
    """The value of this cookie."""
    query: str | None = None
    """The value of this query parameter."""
    path: Literal[True] | None = None
    """The path of the request's target."""
    client_address: Literal[True] | None = None
    """The client's address; behind trusted proxies the one that they forward."""


class Ring(shape.Value):
    """How keys find members."""

    scheme: Literal["hrw", "ketama", "maglev", "classic", "custom"] = "hrw"
    """How members share the keys. With hrw no key of an unaffected member ever moves."""
    slots: Annotated[int, Field(ge=1, le=16_777_216)] | None = None
    """Size of the lookup table; left out: the scheme's own (hrw 65536, classic 512)."""
    hash: str = "xxh3"
    """The hash function for keys, or a Python function of your own as module:name."""
    key: Annotated[tuple[KeySource, ...], Field(strict=False)] = (KeySource(header="X-Request-Id"),)
    """Where a request's key comes from; the first that is present wins, none: random."""
    virtual_nodes: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Points of a member on the ring (ketama, classic); left out: the scheme's own."""
    probing: Literal["linear", "quadratic"] = "linear"
    """How classic resolves a collision of slots."""
    bounded_load: Annotated[float, Field(gt=1, le=100)] | None = None
    """No member gets more than this times the mean of requests in flight; left out: no bound."""
    max_moved_percent: Percent | None = None
    """Hold a change of the ring back that moves more of the keys than this."""


class Timeouts(shape.Value):
    """How long the balancer waits, in seconds."""

    head_seconds: Positive = 10
    """For a request's head, from its first byte."""
    idle_seconds: Positive = 75
    """For the next request on a client's connection."""
    body_seconds: Positive = 30
    """Between two pieces of a body, either way."""
    min_bytes_per_second: Count = 100
    """Of a body, from or to a client that keeps the balancer waiting; 0: any."""
    connect_seconds: Positive = 1
    """For a connection to a replica."""
    response_seconds: Positive = 30
    """For the first byte of a response, anew after each interim one."""
    total_seconds: Positive | None = None
    """For a whole request; left out: no limit."""
    tunnel_seconds: Positive = 3600
    """For a sign of life on an upgraded connection; bodySeconds once one side has ended."""
    upstream_idle_seconds: Positive = 60
    """Before an idle connection to a replica is closed; below the replica's own limit."""


class Retries(shape.Value):
    """Fail-over along the candidates, bounded so that a brown-out is not multiplied."""

    attempts: Annotated[int, Field(ge=0, le=10)] = 2
    """Candidates tried beyond the first."""
    budget_percent: Percent = 20
    """Retries, in percent of the requests of the last 10 seconds."""
    budget_minimum: Count = 10
    """Retries a second that are always allowed."""
    buffer_bytes: Annotated[int, Field(ge=0, le=1_048_576)] = 65_536
    """Of a body kept for a replay."""


class Outlier(shape.Value):
    """Passive health: what a member must do to be passed over, and for how long."""

    consecutive_failures: Count = 3
    """Failed requests in a row until a member is ejected; 0 switches it off."""
    eject_seconds: Positive = 1
    """How long the first ejection lasts; it doubles with each one."""
    max_eject_seconds: Positive = 60
    """How long an ejection lasts at most."""
    max_ejected_percent: Percent = 50
    """Of the members; beyond it all serve."""


class Limits(shape.Value):
    """Bounds; 0 means none."""

    head_bytes: Annotated[int, Field(ge=512, le=1_048_576)] = 32_768
    """Of a request's line and header fields together."""
    header_count: Annotated[int, Field(ge=8, le=10_000)] = 100
    """Header fields of a request."""
    target_bytes: Annotated[int, Field(ge=64, le=1_048_576)] = 8_192
    """Of a request's target."""
    body_bytes: Count = 0
    """Of a request's body."""
    max_connections: Count = 20_000
    """Connections of clients."""
    per_member: Count = 0
    """Requests in flight to one member, all workers together."""
    queue: Count = 0
    """Requests that wait for a member's place."""
    queue_seconds: Positive = 1
    """How long such a request waits."""


class Proxy(shape.Value):
    """How the balancer treats requests."""

    timeouts: Timeouts = Timeouts()
    """How long the balancer waits."""
    retries: Retries = Retries()
    """When a request is tried on another member."""
    outlier: Outlier = Outlier()
    """When a member that fails requests is passed over."""
    limits: Limits = Limits()
    """What a client may ask for."""
    slow_start_seconds: Annotated[float, Field(ge=0)] = 0
    """How long a new member's share grows; 0: it gets all of its keys at once."""
    trusted_proxies: Annotated[tuple[Network, ...], Field(strict=False)] = ()
    """Networks whose X-Forwarded-For is believed."""
    member_header: bool = False
    """Answer with X-Ringmaster-Member and X-Ringmaster-Generation."""
    access_log: bool = False
    """Write a line of JSON for every request."""
