"""A plan while it is being made: the steps of `plan` write here, and nowhere else.

Law: pure; born of a memory, gone when the plan is done. Steps replace values, they never change
the memory that they were given.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ringmaster_operator import memory, naming, observed
from ringmaster_operator.plan import actions
from ringmaster_operator.plan.world import World

# Crash-loop backoff: from the second failure in a row on, doubled with each, at most a minute.
BACKOFF_SECONDS = 1.0
BACKOFF_MAX_SECONDS = 60.0
# How long a created replica may stay unseen before its create is repeated (under its own name).
UNSEEN_SECONDS = 1.0
# How long an abandoned create that may have taken effect still counts.
PHANTOM_SECONDS = 10.0


class Draft:
    """Working copies of what the memory holds, and what the steps have decided."""

    def __init__(self, world: World, before: memory.Memory) -> None:
        self.world = world
        self.before = before
        self.places = dict(before.places)
        self.successors = dict(before.successors)
        self.revisions = before.revisions
        self.current = before.current
        self.rolled_back = before.rolled_back
        self.progress = before.progress
        self.target = ""
        self.leaving: dict[str, str] = {}  # uid → cause
        self.spared: tuple[str, ...] = ()  # named victims in whose stead others went
        self.beside: dict[int, str] = {}  # ordinals whose successor may start now → cause
        self.notes: list[actions.Note] = []
        self.waits: list[actions.Wait] = []
        self.wakes: list[float] = []  # moments at which to look again

    def member_id(self, ordinal: int) -> str:
        """The id of a place."""
        return naming.member_id(self.world.server_set.metadata.name, ordinal)

    def wanted(self) -> list[int]:
        """The ordinals that shall be served, ascending."""
        return sorted(ordinal for ordinal, place in self.places.items() if place.wanted)

    def name(self, ordinal: int, *, beside: bool = False) -> str:
        """The name of the replica that a place's attempt has or will have."""
        place = self._known(beside)[ordinal]
        return place.name or naming.replica_name(
            self.member_id(ordinal),
            set_uid=self.world.server_set.metadata.uid,
            ordinal=ordinal,
            attempt=place.attempt,
            emergency=place.reason is observed.Reason.EMERGENCY,
        )

    def fresh(self, ordinal: int) -> list[observed.Replica]:
        """The living replicas of a place that run the target and are not sick."""
        group = self.world.group(ordinal)
        return [r for r in group if r.revision == self.target and not self.world.sick(r)]

    def healthy(self, ordinal: int) -> list[observed.Replica]:
        """The living replicas of a place that are not sick."""
        return [r for r in self.world.group(ordinal) if not self.world.sick(r)]

    def phantom(self, ordinal: int, *, beside: bool = False) -> bool:
        """Whether a replica of this place may exist that was not seen yet."""
        place = self._known(beside).get(ordinal)
        if place is None or place.seen or not place.tried_at:
            return False
        return place.due or self.world.now - place.tried_at < PHANTOM_SECONDS

    def phantoms(self, ordinal: int) -> int:
        """How many replicas of this place may exist that were not seen yet, of its two."""
        return self.phantom(ordinal) + self.phantom(ordinal, beside=True)

    def holders(self, ordinal: int) -> list[observed.Replica]:
        """The living replicas of a place without the successor beside them."""
        beside = self.successors.get(ordinal)
        group = self.world.group(ordinal)
        return [r for r in group if beside is None or r.attempt != beside.attempt]

    def _known(self, beside: bool) -> dict[int, memory.Place]:
        return self.successors if beside else self.places

    def unseen(self) -> bool:
        """Whether any replica may exist that was not seen yet, on closed places too."""
        return any(
            place.tried_at > 0
            and not place.seen
            and self.world.now - place.tried_at < PHANTOM_SECONDS
            for place in (*self.places.values(), *self.successors.values())
        )

    def room(self) -> int:
        """How many successors may start beside living replicas.

        What exists on wanted places, what may exist unseen, and what the empty places need is
        taken off. Replicas of closed places are on their way out and do not count. Negative: a
        place whose holder is gone has no room for another one.
        """
        taken = 0
        for ordinal in self.wanted():
            holders = len(self.holders(ordinal))
            taken += max(1, holders + self.phantom(ordinal))
            taken += len(self.world.group(ordinal)) - holders
            beside = self.successors.get(ordinal)
            taken += beside is not None and (beside.due or self.phantom(ordinal, beside=True))
        granted = [o for o in self.beside if not self.phantom(o)]
        return self.world.ceiling - taken - len(granted)

    def leave(self, replica: observed.Replica, cause: str) -> None:
        """This replica is to go; the first cause stays."""
        self.leaving.setdefault(replica.uid, cause)

    def change(self, ordinal: int, *, beside: bool = False, **values: Any) -> None:
        """Replace fields of a place, or of the successor beside it."""
        known = self._known(beside)
        known[ordinal] = replace(known[ordinal], **values)

    def renew(
        self,
        ordinal: int,
        reason: observed.Reason,
        *,
        beside: bool = False,
        vacate: bool = False,
    ) -> None:
        """Decide on a new replica for a place: a new attempt if the last one was seen."""
        known = self._known(beside)
        if known[ordinal].seen:
            number = self.last_attempt(ordinal) + 1
            self.change(ordinal, last_attempt=number - 1)
        place = known[ordinal]
        if place.seen:
            place = replace(place, attempt=number, reason=reason, name="", seen=False, tried_at=0.0)
        elif not place.tried_at:
            place = replace(place, reason=reason)
        known[ordinal] = replace(place, due=True, vacate=vacate)

    def start_beside(self, ordinal: int) -> None:
        """Decide on a successor of the target beside the replica that holds a place."""
        if ordinal not in self.successors:
            number = self.last_attempt(ordinal) + 1
            self.successors[ordinal] = memory.Place(attempt=number, reason=observed.Reason.ROLLOUT)
        else:
            self.renew(ordinal, observed.Reason.ROLLOUT, beside=True)

    def dismiss(self, ordinal: int) -> None:
        """No successor beside this place; one that may exist unseen is kept in mind."""
        if self.phantom(ordinal, beside=True):
            self.change(ordinal, beside=True, due=False)
        elif (beside := self.successors.get(ordinal)) is not None:
            if beside.seen or beside.tried_at:  # its number, and thus its name, is used up
                self.change(ordinal, last_attempt=self.last_attempt(ordinal))
            del self.successors[ordinal]

    def rest_on(self, ordinal: int, replica: observed.Replica) -> None:
        """This living replica is the one that holds the place."""
        place, beside = self.places[ordinal], self.successors.get(ordinal)
        last = self.last_attempt(ordinal)
        if beside is not None and replica.attempt == beside.attempt:
            self.places[ordinal] = replace(beside, wanted=place.wanted, last_attempt=last)
            self.successors[ordinal] = replace(place, due=False, vacate=False)
            self.dismiss(ordinal)
        elif replica.attempt != place.attempt and not self.phantom(ordinal):
            self.change(
                ordinal,
                attempt=replica.attempt,
                reason=replica.reason,
                revision=replica.revision,
                name=replica.display_name,
                seen=True,
                tried_at=0.0,
                last_attempt=last if place.seen or place.tried_at else place.last_attempt,
            )

    def last_attempt(self, ordinal: int) -> int:
        """The highest number that a replica of this place has, had or may have."""
        return memory.last_attempt(self.places[ordinal], self.successors.get(ordinal))

    def fail(
        self,
        ordinal: int,
        reason: observed.Reason,
        cause: str,
        *,
        beside: bool = False,
    ) -> None:
        """Note a failure of a place's newest replica and decide on the next one."""
        failures = self._known(beside)[ordinal].failures + 1
        not_before = self.world.now + backoff(failures)
        self.change(ordinal, beside=beside, failures=failures, not_before=not_before)
        self.renew(ordinal, reason, beside=beside)
        self.note("Warning", "Unhealthy", f"{self.member_id(ordinal)}: {cause}")

    def note(self, kind: str, reason: str, message: str) -> None:
        """Have an event recorded."""
        self.notes.append(actions.Note(kind=kind, reason=reason, message=message))

    def wait(self, what: str, until: float | None, cause: str) -> None:
        """Say what is waited for, and until when (None: until something changes)."""
        if until is not None:
            self.wakes.append(until)
        self.waits.append(actions.Wait(what=what, cause=cause))


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row: 0, 1, 2, 4 … 60."""
    if failures <= 1:
        return 0.0
    return min(BACKOFF_MAX_SECONDS, BACKOFF_SECONDS * 2.0 ** min(failures - 2, 16))
