"""What a request is routed by: one immutable value, swapped whole when a membership comes.

Law: pure. A request keeps the snapshot that it began with until it needs
another try, which is made among the members of then; the pools in it are shared between
snapshots, so a member that has gone is closed to it at once.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from ringmaster_balancer import members
from ringmaster_balancer.dataplane import http1, keys, upstreams
from ringmaster_balancer.ring import table

Pool: TypeAlias = upstreams.Pool[Any]
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_BESIDE_PORT: Final = re.compile(r"(?:\[([^\]]+)\]|([^:]+))(?::[0-9]{1,5})?")
_REMEMBERED: Final = 64  # characters; the longest address has 45, and a zone


@dataclass(frozen=True, slots=True)
class Rules:
    """`members.Proxy` laid flat for the request path. Seconds and bytes; 0 means no limit."""

    head_seconds: float
    idle_seconds: float
    body_seconds: float
    min_rate: int  # bytes a second
    connect_seconds: float
    response_seconds: float
    total_seconds: float
    tunnel_seconds: float
    upstream_idle_seconds: float
    attempts: int
    buffer_bytes: int
    head_bytes: int
    header_count: int
    target_bytes: int
    body_bytes: int
    max_connections: int
    per_member: int
    queue: int
    queue_seconds: float
    trusted: tuple[Network, ...]
    access_log: bool
    retries: members.Retries
    outlier: members.Outlier


def rules(proxy: members.Proxy, *, workers: int = 1) -> Rules:
    """The rules of one worker of `workers`, which share what is counted."""
    times, limits = proxy.timeouts, proxy.limits
    return Rules(
        head_seconds=times.head_seconds,
        idle_seconds=times.idle_seconds,
        body_seconds=times.body_seconds,
        min_rate=times.min_bytes_per_second,
        connect_seconds=times.connect_seconds,
        response_seconds=times.response_seconds,
        total_seconds=times.total_seconds or 0,
        tunnel_seconds=times.tunnel_seconds,
        upstream_idle_seconds=times.upstream_idle_seconds,
        attempts=proxy.retries.attempts,
        buffer_bytes=proxy.retries.buffer_bytes,
        head_bytes=limits.head_bytes,
        header_count=limits.header_count,
        target_bytes=limits.target_bytes,
        body_bytes=limits.body_bytes,
        max_connections=_share(limits.max_connections, workers),
        per_member=_share(limits.per_member, workers),
        queue=_share(limits.queue, workers),
        queue_seconds=limits.queue_seconds,
        trusted=proxy.trusted_proxies,
        access_log=proxy.access_log,
        retries=proxy.retries.model_copy(
            update={"budget_minimum": _share(proxy.retries.budget_minimum, workers)}
        ),
        outlier=proxy.outlier,
    )


def _share(whole: int, workers: int) -> int:
    """A worker's part, rounded up: the whole is exceeded by less than one a worker."""
    return -(-whole // workers)


DEFAULT_RULES: Final = rules(members.Proxy())


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A membership made ready. `pools[i]` serves table index i; None: nobody does."""

    table: table.Table
    generation: int
    pools: tuple[Pool | None, ...]
    rules: Rules
    key_header: bytes | None  # the key is this header; otherwise ask `key`
    key: keys.Extract
    wanted: frozenset[bytes]  # fields that a request's head is searched for
    width: int
    candidates: Sequence[int]
    slot_of: Callable[[bytes], int]
    bounded: float  # a member's share of what is in flight, in times the even one; 0: any
    draw: Callable[[float], int]  # random() -> the slot of a request without a key
    hits: array[int]  # requests of each slot; counted on the spot, shared between snapshots


def build(
    membership: members.Membership,
    compiled: table.Table,
    pools: dict[str, Pool],
    *,
    workers: int,
    hits: array[int],
) -> Snapshot:
    """The snapshot for these active pools, by member id."""
    sources = membership.ring.key
    header = sources[0].header if len(sources) == 1 else None
    names = {source.header.lower().encode() for source in sources if source.header}
    if any(source.cookie for source in sources):
        names.add(b"cookie")
    if membership.proxy.access_log:
        names.add(b"x-request-id")
    return Snapshot(
        table=compiled,
        generation=membership.generation,
        pools=tuple(pools.get(member_id) for member_id in compiled.ids),
        rules=rules(membership.proxy, workers=workers),
        key_header=header.lower().encode() if header else None,
        key=keys.compile(sources),
        wanted=http1.REQUEST_FIELDS | http1.LOOK_ALIKES | names,
        width=compiled.width,
        candidates=compiled.candidates,
        slot_of=compiled.slot_of,
        bounded=membership.ring.bounded_load or 0.0,
        draw=compiled.draw,
        hits=hits,
    )


def canonical(address: str) -> str:
    """One spelling for each client: RFC 5952, IPv4 where it is mapped, without port and zone.

    What is no address stays as it is.
    """
    return _read(address)[0]


def trusts(networks: Sequence[Network], address: str) -> bool:
    """Whether what this peer says about earlier hops is believed."""
    parsed = _read(address)[1] if networks else None
    return parsed is not None and any(parsed in network for network in networks)


def client_address(networks: Sequence[Network], peer: str, chain: bytes | None) -> str:
    """The first address, counted from our side, that no trusted proxy has: who really asked.

    `chain` is X-Forwarded-For as a trusted peer sent it. Some proxies write the client's port
    beside its address, which is another one with each connection.
    """
    address = peer
    for hop in reversed(http1.elements(chain) if chain else []):
        if not trusts(networks, address):
            break
        address = canonical(hop.decode("latin-1"))
    return address


def _read(address: str) -> tuple[str, Address | None]:
    """Its one spelling and what it means; remembered, since the same clients come again."""
    return (_parse if len(address) <= _REMEMBERED else _parse.__wrapped__)(address)


@functools.lru_cache(maxsize=4096)
def _parse(address: str) -> tuple[str, Address | None]:
    beside_port = _BESIDE_PORT.fullmatch(address)
    host = (beside_port[1] or beside_port[2]) if beside_port else address
    try:
        parsed = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return address, None
    mapped: Address | None = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or parsed), mapped or parsed
