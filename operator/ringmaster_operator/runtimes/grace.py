"""How long a replica that is told to end still has, by a record that outlives its operator.

Law: pure. The end is a moment of the wall clock, so that time without an operator counts too. That
clock may be set back, so the grace is on record beside it: no more is left than was given.
"""

from __future__ import annotations

from typing import Protocol


class Record(Protocol):
    """What is remembered of a termination."""

    @property
    def kill_at(self) -> float | None:
        """When its grace ends, in seconds since 1970; None: nothing is to end."""

    @property
    def grace(self) -> float | None:
        """How many seconds were given; None as well in a record of before that was kept."""


def given(before: Record | None, seconds: float, *, now: float) -> dict[str, float]:
    """What a removal puts on record. One after another can only shorten the grace."""
    kill_at = now + seconds
    if before is not None and before.kill_at is not None:
        kill_at = min(kill_at, before.kill_at)
        seconds = seconds if before.grace is None else min(seconds, before.grace)
    return {"kill_at": kill_at, "grace": seconds}


def left(record: Record, *, now: float) -> float:
    """Seconds until the end of a termination's grace; none or less: it is over."""
    assert record.kill_at is not None
    remaining = record.kill_at - now
    return remaining if record.grace is None else min(remaining, record.grace)
