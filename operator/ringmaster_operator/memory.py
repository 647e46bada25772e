"""What must outlive the operator: the places of a set, drains, revisions, the last membership.

Law: a frozen value. `plan` returns a new one, `reconcile` saves it before the effects that rest on
it, nobody else reads it. What can be seen in the world is not kept here; a lost memory costs
patience (backoffs, drains begin anew), never a replica. All times are seconds since 1970.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ringmaster_operator import observed


@dataclass(frozen=True, slots=True)
class Place:
    """One ordinal of the set, and the newest replica that was decided on for it.

    `attempt` numbers the replicas of this place; there is a new one only after the replica of the
    last attempt was seen, so that a repeated create meets its own name.
    """

    attempt: int = 1
    reason: observed.Reason = observed.Reason.SCALE_UP
    wanted: bool = True  # False: closed by a scale-down; kept for its attempts
    due: bool = True  # the replica of this attempt is to be created
    vacate: bool = False  # it can only be created when the old one is gone
    seen: bool = False  # the replica of this attempt was observed
    tried_at: float = 0.0  # last create of this attempt that may have taken effect; 0: none
    revision: str = ""  # of the replica last seen
    name: str = ""  # asked for by the user; empty: a generated one
    failures: int = 0  # in a row
    not_before: float = 0.0  # crash-loop backoff
    last_attempt: int = 0  # the highest number given here, to a rollout's successor too


def last_attempt(place: Place, beside: Place | None) -> int:
    """The highest number that a replica of a place, or a successor beside it, has or may have."""
    return max(place.attempt, place.last_attempt, beside.attempt if beside else 0)


@dataclass(frozen=True, slots=True)
class Drain:
    """A replica (by uid) that is to go. `released_at`: no live balancer holds it as active."""

    since: float
    released_at: float | None = None


@dataclass(frozen=True, slots=True)
class StandIn:
    """`at` stands for a moment that a runtime `said` and that was in the future when first seen."""

    said: float
    at: float


@dataclass(frozen=True, slots=True)
class Member:
    """An entry of the membership as it was last decided; `uid` is empty where none is there."""

    id: str
    replica: str  # display name
    state: str
    address: str | None
    uid: str
    created_at: float


@dataclass(frozen=True, slots=True)
class Revision:
    """A template that was in use. `proven`: a replica of it was available once."""

    hash: str
    number: int
    template: dict[str, Any]
    proven: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """The best that a rollout has reached, and when.

    Replicas of the target, those of them that were available, old ones left.
    """

    target: str = ""
    updated: int = 0
    available: int = 0
    old: int = 0
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Accepted:
    """A spec that was found good, without its template, which is that of `revision`.

    Wishes (`names`, `scaleDown`) are left out: they are done once.
    """

    spec: dict[str, Any]
    revision: str


@dataclass(frozen=True, slots=True)
class Memory:
    """Everything that is remembered of one ServerSet. `Memory()` is that of a new one."""

    epoch: int = 0  # which operator life saved this
    generation: int = 0  # of the membership; rises with each change of `content`
    content: str = ""  # checksum of the membership without epoch and generation
    places: dict[int, Place] = field(default_factory=dict)
    # The replica that a rollout starts beside the one that holds its place, by ordinal. It takes
    # the place over when it is available; until then each of the two is replaced on its own.
    successors: dict[int, Place] = field(default_factory=dict)
    drains: dict[str, Drain] = field(default_factory=dict)
    proven: tuple[str, ...] = ()  # uids of replicas that have been ready once
    told: tuple[str, ...] = ()  # uids of unready replicas of which an event has told why
    stand_ins: dict[str, StandIn] = field(default_factory=dict)  # by uid; empty unless a clock errs
    members: tuple[Member, ...] = ()
    accepted: Accepted | None = None  # the spec acted on last; None: none was accepted yet
    ring: dict[str, Any] | None = None  # `spec.ring` of the membership as it was last decided
    revisions: tuple[Revision, ...] = ()
    current: str = ""  # revision of the last complete rollout
    rolled_back: str = ""  # revision of the spec that was given up for `current`
    progress: Progress = field(default_factory=Progress)
    failure: tuple[str, str] = ("", "")  # reason and message of the last failed create

    def change(self, ordinal: int, attempt: int, /, **values: Any) -> Memory:
        """With other values for one attempt of a place."""
        if (beside := self.successors.get(ordinal)) is not None and beside.attempt == attempt:
            return replace(self, successors={**self.successors, ordinal: replace(beside, **values)})
        place = replace(self.places[ordinal], **values)
        return replace(self, places={**self.places, ordinal: place})

    def attempts(self) -> Iterator[tuple[tuple[int, int], Place]]:
        """What is remembered, by ordinal and attempt."""
        for known in (self.places, self.successors):
            yield from (((ordinal, place.attempt), place) for ordinal, place in known.items())

    def to_json(self) -> str:
        """As text; equal memories give equal texts."""
        return json.dumps(asdict(self), sort_keys=True, default=_plain)

    @classmethod
    def from_json(cls, text: str) -> Memory:
        """Read what `to_json` wrote; fields that this version does not know are left out."""
        raw = json.loads(text)
        values = _known(cls, raw)
        for name in ("places", "successors"):
            values[name] = {int(o): _place(place) for o, place in raw.get(name, {}).items()}
        values["drains"] = {u: Drain(**_known(Drain, d)) for u, d in raw.get("drains", {}).items()}
        values["stand_ins"] = {
            u: StandIn(**_known(StandIn, s)) for u, s in raw.get("stand_ins", {}).items()
        }
        values["proven"] = tuple(raw.get("proven", ()))
        values["told"] = tuple(raw.get("told", ()))
        values["members"] = tuple(Member(**_known(Member, m)) for m in raw.get("members", ()))
        values["revisions"] = tuple(
            Revision(**_known(Revision, r)) for r in raw.get("revisions", ())
        )
        values["progress"] = Progress(**_known(Progress, raw.get("progress", {})))
        if known := raw.get("accepted"):
            values["accepted"] = Accepted(**_known(Accepted, known))
        reason, message = raw.get("failure", ("", ""))
        values["failure"] = (reason, message)
        return cls(**values)


def _place(raw: dict[str, Any]) -> Place:
    values = _known(Place, raw)
    values["reason"] = observed.Reason(raw.get("reason", observed.Reason.SCALE_UP.value))
    return Place(**values)


def _known(kind: Any, raw: dict[str, Any]) -> dict[str, Any]:
    return {name: raw[name] for name in kind.__dataclass_fields__ if name in raw}


def _plain(value: Any) -> Any:
    if isinstance(value, observed.Reason):
        return value.value
    raise TypeError(f"{value!r} is not for a memory")
