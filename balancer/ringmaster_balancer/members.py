"""The wire document: the full membership that an operator pushes.

Law: pure. A document is taken whole or refused with every fault named; what was accepted is an
immutable value. Field names on the wire are camelCase, here snake_case. The operator's `spec`
module has the same `ring` and `proxy` sections; a contract test holds the two together.
"""

from __future__ import annotations

import enum
import hashlib
import ipaddress
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, ValidationError
from pydantic.alias_generators import to_camel

from ringmaster_balancer import errors

# RFC 9112 section 3.2 leaves the host to DNS; an underscore is what Docker's names may hold.
_ADDRESS = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})))"
    r":(?P<port>[0-9]{1,5})"
)
_LOOKS_LIKE_IPV4 = re.compile(r"[0-9.]+")
_MAX_PORT = 65_535
_Model = TypeVar("_Model", bound=BaseModel)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2


class Value(BaseModel):
    """A frozen value that refuses unknown fields and sloppy types."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


class State(enum.StrEnum):
    """A member's state. `absent` entries keep their place in the table; others serve their keys."""

    ACTIVE = "active"
    DRAINING = "draining"
    ABSENT = "absent"


# Responses name a member, where a line end would begin a field of its own (RFC 9110 section 5.5).
_NAME = r"^[^\x00-\x1f\x7f]+$"
# RFC 9112 section 3.2.1, origin form: visible ASCII, no fragment. It goes into a request line.
_TARGET = r'^/[!"$-~]*$'


class Member(Value):
    """One entry, keyed by `replica`; several entries may share an `id`, at most one is active."""

    id: Annotated[str, Field(max_length=63, pattern=_NAME)]
    replica: Annotated[str, Field(max_length=253, pattern=_NAME)]
    address: str | None = None  # host:port; None only if absent
    state: State
    weight: Annotated[int, Field(ge=1, le=10_000)] = 100


class KeySource(Value):
    """Where a request's key comes from: exactly one of these."""

    header: str | None = None
    cookie: str | None = None
    query: str | None = None
    path: Literal[True] | None = None
    client_address: Literal[True] | None = None


class Ring(Value):
    """`spec.ring`: how keys find members. `slots` is None for the scheme's own default."""

    scheme: Literal["hrw", "ketama", "maglev", "classic", "custom"] = "hrw"
    slots: Annotated[int, Field(ge=1, le=16_777_216)] | None = None
    hash: str = "xxh3"
    key: tuple[KeySource, ...] = (KeySource(header="X-Request-Id"),)
    virtual_nodes: Annotated[int, Field(ge=1, le=10_000)] | None = None
    probing: Literal["linear", "quadratic"] = "linear"
    bounded_load: Annotated[float, Field(gt=1, le=100)] | None = None
    max_moved_percent: Annotated[float, Field(ge=0, le=100)] | None = None

    @property
    def layout(self) -> tuple[object, ...]:
        """What a table is built from besides the members: two of the same need no new one."""
        return self.scheme, self.slots, self.hash, self.virtual_nodes, self.probing


class Timeouts(Value):
    """Seconds. Precedents: HAProxy's and nginx's defaults, shortened where a retry follows."""

    head_seconds: Annotated[float, Field(gt=0)] = 10  # a request's head, from its first byte
    idle_seconds: Annotated[float, Field(gt=0)] = 75  # a client's keep-alive connection
    body_seconds: Annotated[float, Field(gt=0)] = 30  # between two pieces of a body, either way
    # A client's, either way; Apache's mod_reqtimeout asks for 500 of a body. 0: any.
    min_bytes_per_second: Annotated[int, Field(ge=0)] = 100
    connect_seconds: Annotated[float, Field(gt=0)] = 1
    response_seconds: Annotated[float, Field(gt=0)] = 30  # to the first byte of a response
    total_seconds: Annotated[float, Field(gt=0)] | None = None
    tunnel_seconds: Annotated[float, Field(gt=0)] = 3600  # a silent upgraded connection
    upstream_idle_seconds: Annotated[float, Field(gt=0)] = 60  # below our server's 75


class Retries(Value):
    """Fail-over along the candidates, bounded so that a brown-out is not multiplied."""

    attempts: Annotated[int, Field(ge=0, le=10)] = 2  # beyond the first try
    budget_percent: Annotated[float, Field(ge=0, le=100)] = 20  # of the requests of the last 10 s
    budget_minimum: Annotated[int, Field(ge=0)] = 10  # retries a second that are always allowed
    buffer_bytes: Annotated[int, Field(ge=0, le=1_048_576)] = 65_536  # of a body kept for replay


class Outlier(Value):
    """Passive health: what a member must do to be passed over, and for how long."""

    consecutive_failures: Annotated[int, Field(ge=0)] = 3  # 0 switches it off
    eject_seconds: Annotated[float, Field(gt=0)] = 1  # doubles with each ejection
    max_eject_seconds: Annotated[float, Field(gt=0)] = 60
    max_ejected_percent: Annotated[float, Field(ge=0, le=100)] = 50  # beyond: panic, all serve


class Limits(Value):
    """Bounds; 0 means none."""

    head_bytes: Annotated[int, Field(ge=512, le=1_048_576)] = 32_768  # line and fields together
    header_count: Annotated[int, Field(ge=8, le=10_000)] = 100
    target_bytes: Annotated[int, Field(ge=64, le=1_048_576)] = 8_192
    body_bytes: Annotated[int, Field(ge=0)] = 0
    max_connections: Annotated[int, Field(ge=0)] = 20_000
    per_member: Annotated[int, Field(ge=0)] = 0  # requests in flight, all workers together
    queue: Annotated[int, Field(ge=0)] = 0  # requests that wait for a member's place
    queue_seconds: Annotated[float, Field(gt=0)] = 1


class Proxy(Value):
    """`spec.balancer.proxy`."""

    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    outlier: Outlier = Outlier()
    limits: Limits = Limits()
    slow_start_seconds: Annotated[float, Field(ge=0)] = 0
    trusted_proxies: tuple[IPvAnyNetwork, ...] = ()
    member_header: bool = False  # answer with X-Ringmaster-Member and -Generation
    access_log: bool = False


class Health(Value):
    """Active probing. Without a path: a TCP connect."""

    path: Annotated[str, Field(pattern=_TARGET)] | None = None
    interval_seconds: Annotated[float, Field(gt=0)] = 1
    timeout_seconds: Annotated[float, Field(gt=0)] = 1
    fall: Annotated[int, Field(ge=1)] = 2
    rise: Annotated[int, Field(ge=1)] = 2


class Membership(Value):
    """Everything a balancer needs to serve one ring; `members` in order of creation."""

    epoch: Annotated[int, Field(ge=0)]
    generation: Annotated[int, Field(ge=0)]
    uid: Annotated[str, Field(min_length=1)]
    replicas: Annotated[int, Field(ge=0)]
    ring: Ring = Ring()
    proxy: Proxy = Proxy()
    health: Health = Health()
    members: tuple[Member, ...] = ()

    @property
    def version(self) -> tuple[int, int]:
        """What orders memberships: the operator's life, then its count of changes."""
        return self.epoch, self.generation

    def places(self) -> tuple[tuple[str, int], ...]:
        """(id, weight) of every id that is not draining-only: what the table is compiled over.

        The active entry's weight counts; without one, that of the first absent.
        """
        weights: dict[str, int] = {}
        for member in self.members:
            if member.state is State.ACTIVE:
                weights[member.id] = member.weight
            elif member.state is State.ABSENT:
                weights.setdefault(member.id, member.weight)
        return tuple(weights.items())


class Place(Value):
    """A member as a plan names it: what the table is compiled from, and no more."""

    id: Annotated[str, Field(max_length=63, pattern=_NAME)]
    weight: Annotated[int, Field(ge=1, le=10_000)] = 100


class Proposal(Value):
    """A change to be judged before it is made; what is left out stays as it is."""

    ring: Ring | None = None
    members: tuple[Place, ...] | None = None


def split_address(address: str) -> tuple[str, int]:
    """`host:port` or `[IPv6]:port` as (host, port), brackets removed. ValueError if it is neither."""
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise ValueError("must be host:port or [IPv6]:port")
    host, port = match["name"] or match["ipv6"], int(match["port"])
    if match["ipv6"]:
        ipaddress.IPv6Address(host)
    elif _LOOKS_LIKE_IPV4.fullmatch(host):
        ipaddress.IPv4Address(host)
    if not 1 <= port <= _MAX_PORT:
        raise ValueError(f"port {port} is not between 1 and {_MAX_PORT}")
    return host, port


def checksum(membership: Membership) -> str:
    """SHA-256 over canonical JSON: the same in every process for what means the same.

    Every field counts, defaults spelled out; 1 and 1.0 are one number; the order of members counts.
    """
    document = _canonical(membership.model_dump(mode="json", by_alias=True))
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def parse(document: object) -> Membership:
    """The membership that a JSON document describes. MembershipInvalid lists every fault."""
    faults: list[errors.Fault] = []
    membership = _validated(Membership, document, faults)
    if isinstance(document, Mapping):
        faults.extend(_cross_faults(document))
    if faults or membership is None:
        raise errors.MembershipInvalid(tuple(faults))
    return membership


def proposal(document: object) -> Proposal:
    """The change that a JSON document proposes. MembershipInvalid lists every fault."""
    faults: list[errors.Fault] = []
    found = _validated(Proposal, document, faults)
    ring = document.get("ring") if isinstance(document, Mapping) else None
    for index, source in _sound(KeySource, ring.get("key") if isinstance(ring, Mapping) else ()):
        faults.extend(_key_faults(f"ring.key[{index}]", source))
    if faults or found is None:
        raise errors.MembershipInvalid(tuple(faults))
    return found


def _validated(model: type[_Model], document: object, faults: list[errors.Fault]) -> _Model | None:
    """The document as a model, or its faults: unknown fields, missing ones, wrong types, bounds."""
    try:
        text = json.dumps(document, allow_nan=False)
        # JSON mode is strict about types, and still takes a list for a tuple.
        return model.model_validate_json(text, strict=True)
    except ValidationError as error:
        faults.extend(
            errors.Fault(_path(detail["loc"]), _MESSAGES.get(detail["type"], detail["msg"]))
            for detail in error.errors(include_url=False)
        )
    except (TypeError, ValueError, RecursionError) as error:
        faults.append(errors.Fault("document", f"is no JSON: {error}"))
    return None


_MESSAGES = {"missing": "is required", "extra_forbidden": "is not a known field"}


def _path(location: Iterable[int | str]) -> str:
    """`members[0].address` from ("members", 0, "address")."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "".join(parts).removeprefix(".") or "document"


def _sound(model: type[_Model], values: object) -> Iterator[tuple[int, _Model]]:
    """(index, model) of those values that are sound by themselves; the others have their fault."""
    for index, value in enumerate(values if isinstance(values, list | tuple) else ()):
        try:
            yield index, model.model_validate_json(json.dumps(value), strict=True)
        except (ValidationError, TypeError, ValueError, RecursionError):
            continue


def _cross_faults(document: Mapping[str, Any]) -> Iterator[errors.Fault]:
    """What no field's type can say; looked for in whatever is sound by itself."""
    entries = list(_sound(Member, document.get("members")))
    for index, member in entries:
        yield from _address_faults(f"members[{index}].address", member)
    yield from _repeated(entries)
    ring = document.get("ring")
    for index, source in _sound(KeySource, ring.get("key") if isinstance(ring, Mapping) else ()):
        yield from _key_faults(f"ring.key[{index}]", source)
    if not document.get("members", ()) and document.get("replicas") != 0:
        yield errors.Fault("members", "is empty, which is only taken when replicas is 0")


def _address_faults(path: str, member: Member) -> Iterator[errors.Fault]:
    if member.address is None:
        if member.state is not State.ABSENT:
            yield errors.Fault(path, f"is required of a member that is {member.state}")
        return
    try:
        split_address(member.address)
    except ValueError as error:
        yield errors.Fault(path, str(error))


def _repeated(entries: Iterable[tuple[int, Member]]) -> Iterator[errors.Fault]:
    """A replica may be listed once, an id be active once."""
    replicas: dict[str, int] = {}
    active: dict[str, int] = {}
    for index, member in entries:
        first = replicas.setdefault(member.replica, index)
        if first != index:
            yield errors.Fault(
                f"members[{index}].replica", f"{member.replica!r} is members[{first}] already"
            )
        if member.state is not State.ACTIVE:
            continue
        first = active.setdefault(member.id, index)
        if first != index:
            yield errors.Fault(
                f"members[{index}].state", f"{member.id!r} is active in members[{first}] already"
            )


def _key_faults(path: str, source: KeySource) -> Iterator[errors.Fault]:
    given = source.model_dump(exclude_none=True)
    if len(given) != 1:
        yield errors.Fault(
            path, "must be exactly one of header, cookie, query, path, clientAddress"
        )
    for kind, name in given.items():
        if kind in {"header", "cookie"} and not _TOKEN.fullmatch(name):
            yield errors.Fault(f"{path}.{kind}", f"{name!r} is no name (RFC 9110, token)")
        if kind == "query" and not name:
            yield errors.Fault(f"{path}.{kind}", "must not be empty")


def _canonical(value: Any) -> Any:
    """`value` with whole floats as integers, so that 1 and 1.0 are written alike."""
    match value:
        case dict():
            return {key: _canonical(item) for key, item in value.items()}
        case list():
            return [_canonical(item) for item in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value
