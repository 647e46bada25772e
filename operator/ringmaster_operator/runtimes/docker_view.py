"""What the engine says of a container, as a value.

Law: pure.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ringmaster_operator import naming, observed

_SIGNALLED = 128  # an exit code above it: ended by the signal of that number, as a shell has it
_ALIVE = frozenset({"running", "paused", "restarting"})
_KILLED = {9: "SIGKILL", 11: "SIGSEGV", 6: "SIGABRT", 15: "SIGTERM"}


@dataclass(frozen=True, slots=True)
class Container:
    """A container that Ringmaster made, as it was inspected.

    `state` is Docker's word; times are seconds since 1970, 0 for never; `host` is its address on
    the network that replicas are reached by; `last_words` say how it ended.
    """

    uid: str
    name: str
    identity: naming.Identity
    state: str
    created_at: float
    started_at: float
    host: str | None
    stop_signal: str
    labels: Mapping[str, str] = field(default_factory=dict)
    last_words: str = ""

    @property
    def alive(self) -> bool:
        """Whether its program runs, paused or not."""
        return self.state in _ALIVE

    @property
    def ended(self) -> bool:
        """Whether its program ran and has ended."""
        return self.state in {"exited", "dead"}


def read(document: Mapping[str, Any], *, network: str) -> Container | None:
    """What `inspect` said; None if the container is not of our making."""
    labels = document["Config"].get("Labels") or {}
    identity = naming.identity(labels)
    if identity is None:
        return None
    state = document["State"]
    return Container(
        uid=document["Id"],
        name=document["Name"].removeprefix("/"),
        identity=identity,
        state=state["Status"],
        created_at=_seconds(document["Created"]),
        started_at=_seconds(state["StartedAt"]),
        host=host(document, network=network),
        stop_signal=document["Config"].get("StopSignal") or "SIGTERM",
        labels=labels,
        last_words=_last_words(state),
    )


def host(document: Mapping[str, Any], *, network: str) -> str | None:
    """The address on a network, in an inspected or a listed container; None while it has none."""
    networks = (document.get("NetworkSettings") or {}).get("Networks") or {}  # Go's nil is null
    endpoint = networks.get(network) or {}
    return endpoint.get("IPAddress") or endpoint.get("GlobalIPv6Address") or None


def address(container: Container, port: int) -> str | None:
    """`host:port`."""
    if container.host is None:
        return None
    return f"[{container.host}]:{port}" if ":" in container.host else f"{container.host}:{port}"


def _last_words(state: Mapping[str, Any]) -> str:
    """How a container ended."""
    if state.get("OOMKilled"):
        return "killed: out of memory"
    code = int(state.get("ExitCode") or 0)
    if code > _SIGNALLED:
        number = code - _SIGNALLED
        return f"killed by {_KILLED.get(number, f'signal {number}')}"
    words = observed.exited(code)
    return f"{words}: {state['Error']}" if state.get("Error") else words


def _seconds(moment: str) -> float:
    """RFC 3339 with nanoseconds; Go's zero time is never."""
    return max(0.0, dt.datetime.fromisoformat(moment).timestamp())
