"""Runs the stages of a plan: each action is one call to the runtime.

Law: decides nothing. The actions of a stage run at once; a failed create stops the later stages.
What came of each create is written into the memory, which the caller saves.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent import futures
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import structlog

from ringmaster_operator import errors, memory, observed
from ringmaster_operator.plan import actions, draft

if TYPE_CHECKING:
    from ringmaster_operator import ports

# A custom name that stays taken this often is given up for a generated one.
NAME_TRIES = 2


@dataclass(slots=True)
class Outcome:
    """What came of a plan's stages: the memory to save, events, whether anything failed."""

    memory: memory.Memory
    notes: list[actions.Note] = field(default_factory=list)
    failed: bool = False
    earlier: dict[tuple[int, int], float] = field(default_factory=dict)  # `tried_at` of before

    def change(self, birth: observed.Birth, **values: Any) -> None:
        """Replace fields of what is remembered of a create's attempt."""
        self.memory = self.memory.change(birth.ordinal, birth.attempt, **values)

    def not_tried(self, birth: observed.Birth, **values: Any) -> None:
        """This create had no effect; what an earlier one of the attempt may have done counts."""
        earlier = self.earlier.get((birth.ordinal, birth.attempt), 0.0)
        self.change(birth, tried_at=earlier, **values)

    def note(self, kind: str, reason: str, message: str) -> None:
        """Have an event recorded."""
        self.notes.append(actions.Note(kind, reason, message))


def creates(stages: Sequence[Sequence[actions.Action]]) -> list[actions.Create]:
    """Every create of a plan."""
    return [a for stage in stages for a in stage if isinstance(a, actions.Create)]


def removes(stages: Sequence[Sequence[actions.Action]]) -> list[actions.Remove]:
    """Every removal of a plan."""
    return [a for stage in stages for a in stage if isinstance(a, actions.Remove)]


def announced(
    value: memory.Memory, stages: Sequence[Sequence[actions.Action]], now: float
) -> memory.Memory:
    """The memory to save before the stages run: each create may take effect from now on."""
    for create in creates(stages):
        value = value.change(create.birth.ordinal, create.birth.attempt, tried_at=now)
    return value


class Executor:
    """Runs stages over one runtime, with the threads of `pool`."""

    def __init__(self, runtime: ports.Runtime, pool: futures.Executor) -> None:
        self._runtime = runtime
        self._pool = pool
        self._log = structlog.get_logger()

    def run(
        self,
        stages: Sequence[Sequence[actions.Action]],
        value: memory.Memory,
        now: float,
        *,
        before: memory.Memory | None = None,
    ) -> Outcome:
        """Run them in order. `before`: the memory as it was before `announced`.

        Raises:
            FencedError: another operator acts.
        """
        earlier = {key: place.tried_at for key, place in before.attempts()} if before else {}
        outcome = Outcome(memory=value, earlier=earlier)
        halted = False
        for stage in stages:
            if halted:
                _skip(stage, outcome)
                continue
            calls = [(action, self._pool.submit(self._do, action)) for action in stage]
            futures.wait([call for _, call in calls])
            for action, call in calls:
                halted |= not self._report(action, call, outcome, now)
        return outcome

    def _do(self, action: actions.Action) -> None:
        match action:
            case actions.Create(birth, cause):
                self._log.info("create", replica=birth.name, member=birth.member_id, cause=cause)
                self._create(birth)
            case actions.Remove(replica, grace_seconds, cause):
                self._log.info("remove", replica=replica.name, cause=cause)
                self._runtime.remove(replica, grace_seconds=grace_seconds)
            case _:
                pass

    def _create(self, birth: observed.Birth) -> None:
        """Start it; a name that is taken by itself counts as created."""
        try:
            self._runtime.create(birth)
        except errors.AlreadyExistsError:
            if not any(_is(replica, birth) for replica in self._runtime.look(birth.owner)):
                raise

    def _report(
        self, action: actions.Action, call: futures.Future[None], outcome: Outcome, now: float
    ) -> bool:
        """Note what came of an action; False if the later stages must not run."""
        try:
            call.result()
        except errors.FencedError:
            raise
        except errors.RingmasterError as error:
            outcome.failed = True
            self._log.warning("failed", action=str(action), why=str(error))
            if isinstance(action, actions.Create):
                _not_created(action.birth, error, outcome, now)
                return False
            outcome.note("Warning", "FailedDelete", f"{action}: {error}")
        else:
            self._done(action, outcome)
        return True

    @staticmethod
    def _done(action: actions.Action, outcome: Outcome) -> None:
        if isinstance(action, actions.Create):
            if not outcome.failed:
                outcome.memory = replace(outcome.memory, failure=("", ""))
            outcome.note(
                "Normal", "SuccessfulCreate", f"Created {action.birth.name}: {action.cause}"
            )
        elif isinstance(action, actions.Remove):
            outcome.note(
                "Normal", "SuccessfulDelete", f"Deleted {action.replica.name}: {action.cause}"
            )


def _skip(stage: Sequence[actions.Action], outcome: Outcome) -> None:
    for create in creates([stage]):
        outcome.not_tried(create.birth)


def _is(replica: observed.Replica, birth: observed.Birth) -> bool:
    place = (replica.owner_uid, replica.ordinal, replica.attempt)
    return place == (birth.owner.uid, birth.ordinal, birth.attempt)


def _not_created(
    birth: observed.Birth, error: errors.RingmasterError, outcome: Outcome, now: float
) -> None:
    """An ambiguous failure leaves the place as it is: its replica may exist."""
    reason = error.reason if isinstance(error, errors.RefusedError) else "FailedCreate"
    message = f"{birth.name}: {error}"
    if isinstance(error, errors.PendingError):
        outcome.note("Normal", "Preparing", message)
        outcome.not_tried(birth, not_before=now + draft.BACKOFF_SECONDS)
        return
    outcome.note("Warning", "FailedCreate", message)
    outcome.memory = replace(outcome.memory, failure=(reason, message))
    if isinstance(error, errors.AmbiguousError):
        return
    place = dict(outcome.memory.attempts())[birth.ordinal, birth.attempt]
    failures = place.failures + 1
    pause = max(draft.BACKOFF_SECONDS, draft.backoff(failures))
    outcome.change(birth, failures=failures, not_before=now + pause)
    taken = isinstance(error, errors.AlreadyExistsError)
    if not taken:
        outcome.not_tried(birth)
    if place.name and ((taken and failures >= NAME_TRIES) or reason == errors.INVALID_NAME):
        number = max(place.attempt, place.last_attempt) + 1
        outcome.change(birth, name="", attempt=number, tried_at=0.0)
