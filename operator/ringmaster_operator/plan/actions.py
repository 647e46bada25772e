"""What a plan consists of: each action is one call or one mark, and carries its cause.

Law: pure values; `str` of one is the line that a person reads and a test compares.
"""

from __future__ import annotations

from dataclasses import dataclass

from ringmaster_operator import observed


@dataclass(frozen=True, slots=True)
class Create:
    """Start a replica."""

    birth: observed.Birth
    cause: str

    def __str__(self) -> str:
        """`create <name> for <member>: <cause>`."""
        return f"create {self.birth.name} for {self.birth.member_id}: {self.cause}"


@dataclass(frozen=True, slots=True)
class Drain:
    """Take a replica out of the ring; done by the next push."""

    replica: observed.Replica
    cause: str

    def __str__(self) -> str:
        """`drain <name>: <cause>`."""
        return f"drain {self.replica.name}: {self.cause}"


@dataclass(frozen=True, slots=True)
class CancelDrain:
    """Let a draining replica serve again; done by the next push."""

    replica: observed.Replica
    cause: str

    def __str__(self) -> str:
        """`keep <name>: <cause>`."""
        return f"keep {self.replica.name}: {self.cause}"


@dataclass(frozen=True, slots=True)
class Remove:
    """Begin the deletion of a replica that no live balancer holds as active."""

    replica: observed.Replica
    grace_seconds: float
    cause: str

    def __str__(self) -> str:
        """`remove <name>: <cause>`."""
        return f"remove {self.replica.name}: {self.cause}"


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do for this one now."""

    what: str
    cause: str

    def __str__(self) -> str:
        """`wait <what>: <cause>`."""
        return f"wait {self.what}: {self.cause}"


Action = Create | Drain | CancelDrain | Remove | Wait


@dataclass(frozen=True, slots=True)
class Note:
    """An event to record; `kind` is Normal or Warning."""

    kind: str
    reason: str
    message: str
