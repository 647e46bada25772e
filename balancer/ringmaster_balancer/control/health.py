"""When a member is passed over, and when it is trusted again.

Law: pure. Judgement is per member and never touches a table. `fall` bad results in a row take it
out, `rise` good ones bring it back; the first result decides about a member of which nothing is
known (one that was read from disk).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ringmaster_balancer import members


class Finding(enum.Enum):
    """What a probe found. `ERROR`: it answers, with an error; in a panic it serves all the same."""

    GOOD = "good"
    ERROR = "error"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of one member. `streak` counts results in a row that speak against `healthy`.

    `healthy` is None until a first result has come.
    """

    healthy: bool | None = None
    streak: int = 0

    @property
    def doubtful(self) -> bool:
        """Something speaks against the present judgement, but not yet enough."""
        return self.streak > 0


UNKNOWN = Health()
# The operator has seen it ready before it pushed it as active.
TRUSTED = Health(healthy=True)


def heard(before: Health, *, good: bool, settings: members.Health) -> Health:
    """The judgement after one more result."""
    if before.healthy is None or good == before.healthy:
        return Health(healthy=good)
    streak = before.streak + 1
    needed = settings.rise if good else settings.fall
    return Health(healthy=good) if streak >= needed else Health(before.healthy, streak)
