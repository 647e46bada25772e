"""Observe, plan, announce, execute, report: the only place that orders effects.

Law: one ServerSet, once, level by level. What effects rest on is saved before them. The ring learns
that a replica is gone before anything is created, and lets go of one before it is removed. Never
sleeps: waiting is a `requeue_after`. Any exception is safe anywhere: the next call starts anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent import futures
from dataclasses import dataclass, replace
from typing import Any

import structlog

from ringmaster_operator import (
    acceptance,
    errors,
    execute,
    holding,
    memory,
    naming,
    observed,
    plan,
    ports,
    ringkeeper,
    spec,
    status,
)
from ringmaster_operator.plan import actions, births

FAILED_SECONDS = 1.0  # after a call to the runtime that failed
AT_ONCE_SECONDS = 0.02  # something changed just now: look again


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds until the next look; None: not before something changes. `text` is the plan's."""

    requeue_after: float | None
    text: str = ""


class Reconciler:
    """`reconcile` from any thread, one call per ServerSet at a time. `epoch`: of this life."""

    def __init__(
        self,
        *,
        runtime: ports.Runtime,
        announcer: ports.Announcer,
        records: ports.Records,
        epoch: int,
        clock: Callable[[], float] = time.time,
        pool: futures.Executor | None = None,
    ) -> None:
        self._runtime = runtime
        self._announcer = announcer
        self._records = records
        self._epoch = epoch
        self._clock = clock
        self._pool = pool or futures.ThreadPoolExecutor(
            max_workers=births.MOST_AT_ONCE, thread_name_prefix="act"
        )
        self._executor = execute.Executor(runtime, self._pool)
        self._keepers: dict[tuple[str, str], ringkeeper.RingKeeper] = {}
        self._log = structlog.get_logger()

    def reconcile(self, namespace: str, name: str) -> Result:
        """Look at one ServerSet and do what is due.

        Raises:
            RetryLater: the outside world failed; call again, with backoff.
            FencedError: another operator acts.
        """
        document = self._records.get(namespace, name)
        if document is None:
            self._end(namespace, name)
            return Result(requeue_after=None)
        try:
            try:
                return self._act(self._checked(document), document)
            except errors.SpecInvalidError as error:
                return self._refuse(document, error)
        except errors.NotFoundError:  # deleted meanwhile: the next look ends its ring
            return Result(requeue_after=AT_ONCE_SECONDS)

    def balancers(self, namespace: str, name: str) -> Sequence[observed.BalancerView]:
        """What the balancers of a ServerSet held when they were asked last. From any thread."""
        keeper = self._keepers.get((namespace, name))
        return () if keeper is None else keeper.views

    def close(self) -> None:
        """Give back the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _checked(self, document: dict[str, Any]) -> spec.ServerSet:
        server_set = spec.parse(document)
        if server_set.metadata.deletion_timestamp is None:
            template = server_set.spec.template
            faults = (*_changed_selector(server_set, document), *self._runtime.check(template))
            if faults:
                raise errors.SpecInvalidError(faults)
        return server_set

    def _act(
        self, server_set: spec.ServerSet, document: dict[str, Any], *, refusal: str = ""
    ) -> Result:
        """One look. With a `refusal` the document's spec is not what `server_set` says."""
        now = self._clock()
        owner = _owner(document)
        before = self._load(owner)
        keeper = self._keeper(owner)
        keeper.look(server_set.spec.balancer, now=now, draining=bool(before.drains))
        decided, seen, decision = self._plan(server_set, before, keeper, now)
        server_set = decision.server_set
        after = execute.announced(
            status.stamp(
                server_set,
                replace(
                    decided.memory,
                    ring=holding.settings(server_set),
                    accepted=before.accepted if refusal else acceptance.of(document),
                ),
                target=decided.target,
                epoch=self._epoch,
                known=keeper.generation,
            ),
            decided.stages,
            now,
        )
        self._save(owner, after, instead_of=before)
        ring = status.membership(server_set, after, target=decided.target)
        self._log_marks(decided)
        pushed = keeper.push(ring, after, now=now)
        outcome = self._executor.run(decided.stages, after, now, before=decided.memory)
        self._save(owner, outcome.memory, instead_of=after)
        held = keeper.tell_hold(decision.hold)
        self._tell(owner, [*decided.notes, *held, *pushed, *outcome.notes])
        if not refusal:
            self._consume(owner, decided)
        if decided.finished:
            self._finish(keeper)
            return Result(requeue_after=None, text=str(decided))
        report = status.Report(
            server_set=server_set,
            seen=replace(seen, balancers=keeper.views, missing=keeper.missing),
            memory=outcome.memory,
            target=decided.target,
            now=now,
            before=dict(document.get("status") or {}),
            refusal=refusal,
            hold=decision.hold,
        )
        self._report(owner, report)
        wait = _again(decided, outcome, keeper, before, now)
        if decision.hold is not None:
            wait = min(wait, holding.again_in(decision.hold))
        return Result(wait, text=str(decided))

    def _plan(
        self,
        server_set: spec.ServerSet,
        before: memory.Memory,
        keeper: ringkeeper.RingKeeper,
        now: float,
    ) -> tuple[plan.Plan, observed.Observed, holding.Decision]:
        """What to do, for as much of the spec as may be done now.

        Removals rest on what the balancers hold now, not on what they held a while ago.
        """
        replicas = tuple(self._runtime.observe(keeper.owner))
        seen = observed.Observed(now, replicas, keeper.views)
        decision = holding.decide(
            server_set,
            before,
            ids=lambda wanted: holding.members(plan.plan(wanted, seen, before, now).memory),
            ask=lambda change: keeper.judge(change, now=now),
        )
        server_set = decision.server_set
        decided = plan.plan(server_set, seen, before, now)
        if execute.removes(decided.stages) and not keeper.fresh(now):
            keeper.read_back(now)
            seen = replace(seen, balancers=keeper.views)
            decided = plan.plan(server_set, seen, before, now)
        return decided, seen, decision

    def _load(self, owner: observed.Owner) -> memory.Memory:
        before = self._records.load_memory(owner)
        if before.epoch > self._epoch:
            raise errors.FencedError(f"the store knows epoch {before.epoch}, ours is {self._epoch}")
        return before

    def _keeper(self, owner: observed.Owner) -> ringkeeper.RingKeeper:
        key = (owner.namespace, owner.name)
        keeper = self._keepers.get(key)
        if keeper is not None and keeper.owner != owner:
            self._withdraw(
                keeper
            )  # deleted and made anew: balancers hold on to the earlier one's ring
            keeper = None
        if keeper is None:
            keeper = ringkeeper.RingKeeper(owner, self._announcer, epoch=self._epoch)
            self._keepers[key] = keeper
        return keeper

    def _save(
        self, owner: observed.Owner, value: memory.Memory, *, instead_of: memory.Memory
    ) -> None:
        if value != instead_of:
            self._records.save_memory(owner, value)

    def _log_marks(self, decided: plan.Plan) -> None:
        for action in decided.marks:
            match action:
                case actions.Drain(replica, cause):
                    self._log.info("drain", replica=replica.name, cause=cause)
                case actions.CancelDrain(replica, cause):
                    self._log.info("keep", replica=replica.name, cause=cause)

    def _tell(self, owner: observed.Owner, notes: Sequence[actions.Note]) -> None:
        for note in notes:
            self._records.event(owner, kind=note.kind, reason=note.reason, message=note.message)

    def _consume(self, owner: observed.Owner, decided: plan.Plan) -> None:
        if decided.used_names or decided.gone_victims:
            self._records.consume(owner, names=decided.used_names, victims=decided.gone_victims)

    def _report(self, owner: observed.Owner, report: status.Report) -> None:
        wanted = status.calculate(report)
        if wanted != report.before:
            self._records.write_status(owner, wanted)

    def _finish(self, keeper: ringkeeper.RingKeeper) -> None:
        """Nothing is left of a deleted ServerSet but its ring and its record."""
        self._withdraw(keeper)
        self._records.forget(keeper.owner)
        self._keepers.pop((keeper.owner.namespace, keeper.owner.name), None)

    def _withdraw(self, keeper: ringkeeper.RingKeeper) -> None:
        if left := keeper.withdraw(now=self._clock()):
            name = f"{keeper.owner.namespace}/{keeper.owner.name}"
            self._log.warning("ring-left-behind", serverset=name, why=left)

    def _end(self, namespace: str, name: str) -> None:
        """The ServerSet is gone: end its ring, if this operator knew it."""
        keeper = self._keepers.get((namespace, name))
        if keeper is not None:
            self._withdraw(keeper)
            del self._keepers[namespace, name]

    def _refuse(self, document: dict[str, Any], error: errors.SpecInvalidError) -> Result:
        """Say what is wrong, and keep alive what the last good spec asked for."""
        owner = _owner(document)
        said = str(error)
        if not status.says(document, reason=status.INVALID, message=said):
            self._records.event(owner, kind="Warning", reason=status.INVALID, message=said)
        known = self._load(owner)
        before = acceptance.restored(document, known)
        if before is not None:
            return self._act(before, document, refusal=said)
        if "deletionTimestamp" in document["metadata"] and not known.places:
            self._records.forget(owner)  # nothing of it was ever made
            return Result(requeue_after=None)
        wanted = status.refused(document, reason=status.INVALID, message=said, now=self._clock())
        if wanted != document.get("status"):
            self._records.write_status(owner, wanted)
        return Result(requeue_after=None)


def _owner(document: dict[str, Any]) -> observed.Owner:
    metadata = document["metadata"]
    return observed.Owner(metadata.get("namespace", "default"), metadata["name"], metadata["uid"])


def _changed_selector(
    server_set: spec.ServerSet, document: dict[str, Any]
) -> Sequence[errors.Fault]:
    """A selector is immutable, also where the API server does not know the rule (before 1.25)."""
    before = (document.get("status") or {}).get("selector")
    if not before or before == naming.selector(server_set.spec.selector.match_labels):
        return ()
    return (errors.Fault(path="spec.selector", message=f"is immutable: it was {before}"),)


def _again(
    decided: plan.Plan,
    outcome: execute.Outcome,
    keeper: ringkeeper.RingKeeper,
    before: memory.Memory,
    now: float,
) -> float:
    """Seconds until the next look."""
    moments = [keeper.look_again_in(outcome.memory, now)]
    if decided.requeue_after is not None:
        moments.append(decided.requeue_after)
    if outcome.failed:
        moments.append(FAILED_SECONDS)
    if set(outcome.memory.drains) - set(before.drains):
        moments.append(AT_ONCE_SECONDS)
    return max(AT_ONCE_SECONDS, min(moments))
