"""What a runtime saw: plain values, no judgement.

Law: a runtime fills these in, the planner reads them, nobody changes them. All times are seconds
since 1970 by the operator's clock.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

# A server that makes itself a daemon ends at once, and its child is ended with the replica.
_STAY = "a server must stay in the foreground: no daemon mode"


class Phase(enum.Enum):
    """Where a replica stands in its life."""

    STARTING = "Starting"  # exists; its program does not run yet
    RUNNING = "Running"
    FAILED = "Failed"  # exited, evicted, Failed, its node gone: it will never serve again
    TERMINATING = "Terminating"  # its deletion has begun


class Reason(enum.Enum):
    """Why a replica was created (label `ringmaster.dev/reason`)."""

    SCALE_UP = "scale-up"
    EMERGENCY = "emergency"  # takes the place of a failed one
    ROLLOUT = "rollout"


@dataclass(frozen=True, slots=True)
class Owner:
    """The ServerSet that replicas belong to."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Birth:
    """Everything a runtime needs to create one replica.

    `template` is the PodTemplateSpec as a plain document; `display_name` is what SERVER_ID and
    `/rep` show: the name asked for, else `name`.
    """

    owner: Owner
    name: str
    display_name: str
    member_id: str
    ordinal: int
    attempt: int
    reason: Reason
    revision: str
    template: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Replica:
    """One pod, container or process, as it was seen.

    `uid` is this very instance (pod UID, container id, an id of our own for a process), the precondition of a
    removal; `address` is `host:port`, None until known.
    """

    name: str
    uid: str
    owner_uid: str
    member_id: str
    ordinal: int
    attempt: int
    reason: Reason
    revision: str
    display_name: str
    phase: Phase
    created_at: float
    ready: bool = False
    ready_since: float | None = None
    unready_since: float | None = None
    address: str | None = None
    restarts: int = 0
    deletion_cost: int = 0
    message: str = ""
    namespace: str = ""  # where a name needs one: on Kubernetes


@dataclass(frozen=True, slots=True)
class HeldMember:
    """A membership entry as a balancer says it holds it.

    `state` is `unconfirmed` while a worker may still serve what was held before.
    """

    replica: str  # display name
    state: str
    healthy: bool
    in_flight: int


@dataclass(frozen=True, slots=True)
class BalancerView:
    """One balancer that was found. It is *live* if it answered within 5 s.

    `members` is by display name, and means something only if it is `known`: one that lives but
    refuses to tell (401, 500) may hold anything as active. `holder` is the UID of the ServerSet whose ring it holds, if that
    is another one of the same name: nothing of ours is there then.
    """

    url: str
    live: bool
    boot_id: str = ""
    epoch: int = 0
    generation: int = 0
    checksum: str = ""
    source: str = ""
    members: dict[str, HeldMember] = field(default_factory=dict)
    message: str = ""
    holder: str = ""
    known: bool = True
    refused: str = ""  # why it did not take the last push: a CamelCase word


@dataclass(frozen=True, slots=True)
class Balancers:
    """What was found of a set's balancers. `missing`: why none of those that were named is there."""

    views: tuple[BalancerView, ...]
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one balancer says of a change of the ring before it is made.

    `refused` is a CamelCase word, empty if it would be taken; `moved` is a share of the key space,
    expected and not known unless `exact`; `requests` are those of the last five minutes.
    """

    url: str
    live: bool
    refused: str = ""
    message: str = ""
    moved: float = 0.0
    exact: bool = True
    requests: int = 0
    requests_moved: float = 0.0


@dataclass(frozen=True, slots=True)
class Observed:
    """The whole snapshot that one reconcile works on."""

    at: float
    replicas: tuple[Replica, ...]
    balancers: tuple[BalancerView, ...] = ()
    missing: str = ""  # why there is no view of a balancer that was named


def exited(code: int) -> str:
    """An exit code in words."""
    return f"exited with code {code}"


def ending(words: str, *, line: str) -> str:
    """How a replica ended that nobody ended: `words`, its last line, and what it may mean."""
    message = f"{words}: {line}" if line else words
    return f"{message} ({_STAY})" if words == exited(0) else message
