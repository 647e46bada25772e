"""The balancer's error tree, sorted by what the caller does next.

Law: pure; an edge maps every foreign error to one of these once, chained.
"""

from __future__ import annotations

from dataclasses import dataclass


class BalancerError(Exception):
    """Anything that the balancer itself raises on purpose."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a document; `path` is written as kubectl does: `members[0].address`."""

    path: str
    message: str

    def __str__(self) -> str:
        """`path: message`, as a user reads it."""
        return f"{self.path}: {self.message}"


class MembershipInvalid(BalancerError):  # noqa: N818 – says what happened, as a 422 does
    """A pushed document is wrong; every fault is listed, and the last good one stays."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults


class RingInvalid(MembershipInvalid):
    """A sound document whose ring can not be built from its settings and members."""

    def __init__(self, message: str, *, path: str = "ring") -> None:
        super().__init__((Fault(path, message),))
