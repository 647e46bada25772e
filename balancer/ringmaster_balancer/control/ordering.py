"""Which of two memberships is newer: the rules by which a push is taken or refused.

Law: pure. (epoch, generation) is compared as a pair, among pushes of one ServerSet (uid) only;
another ServerSet of the same name takes over once the holder has been silent for 30 s.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ringmaster_balancer import members

# Three of the operator's 10 s pushes: who missed all of them is gone.
HOLDER_SECONDS = 30.0


class Source(enum.StrEnum):
    """Where the held membership came from, in this life of the control process."""

    PUSH = "push"
    DISK = "disk"


@dataclass(frozen=True, slots=True)
class Held:
    """What the balancer holds. `pushed_at`: the holder's last push, by a clock that is never set."""

    membership: members.Membership
    checksum: str
    source: Source
    pushed_at: float


class Verdict(enum.Enum):
    """What becomes of a pushed membership."""

    INSTALL = "Install"
    SAME = "Same"  # held already: confirm it again
    OLDER = "Older"
    CONFLICT = "Conflict"  # the same pair, another content: two operators share an epoch
    OTHER_HOLDER = "OtherHolder"  # another ServerSet pushes here and is alive


REFUSED = frozenset({Verdict.OLDER, Verdict.CONFLICT, Verdict.OTHER_HOLDER})


def judge(held: Held | None, offered: members.Membership, *, checksum: str, now: float) -> Verdict:
    """What to do with `offered`; `now` is by the clock of `pushed_at`."""
    if held is None:
        return Verdict.INSTALL
    if offered.uid != held.membership.uid:
        alive = now - held.pushed_at < HOLDER_SECONDS
        return Verdict.OTHER_HOLDER if alive else Verdict.INSTALL
    if offered.version != held.membership.version:
        newest = offered.version > held.membership.version
        return Verdict.INSTALL if newest else Verdict.OLDER
    return Verdict.SAME if checksum == held.checksum else Verdict.CONFLICT


def newer(held: Held | None, other: members.Membership) -> bool:
    """Whether a membership that a worker still serves is newer than the one from disk."""
    if held is None:
        return True
    return other.uid == held.membership.uid and other.version > held.membership.version
