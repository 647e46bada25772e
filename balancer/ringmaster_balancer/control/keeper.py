"""What happens to a membership, in order: judge, compile, swap, hand to the workers, keep, confirm.

Law: shell. Everything here runs on the control process' one event loop; Flask's threads come in
through `control`. Pushes go one after the other, waiting for the workers' confirmation does not
hold up the next. Who calls: `api`, `lab`, `metrics`.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from ringmaster_balancer import errors, logs, members
from ringmaster_balancer.control import counters, explain, hub, metrics, ordering, prober, store
from ringmaster_balancer.control import gate as gates
from ringmaster_balancer.ring import comparison, custom
from ringmaster_balancer.ring import table as tables

_log = structlog.get_logger()

# The wire: none within 2 s → 503, the operator retries.
CONFIRM_SECONDS = 2.0
# Counters are asked of live workers on the same machine; a slow one's last answer serves.
REPORT_SECONDS = 0.5
NO_SPACE = 0  # no table's `space_version`
# After a restart clients wait this long at most for the first probes: a frozen member among those
# from disk must not hold up the others.
FIRST_ROUND_SECONDS = 1.0


class PushRefused(errors.BalancerError):
    """An older push, another content or another holder (409). `held` is what stays."""

    def __init__(self, verdict: ordering.Verdict, held: ordering.Held | None) -> None:
        words = {
            ordering.Verdict.OLDER: "a newer membership is held",
            ordering.Verdict.CONFLICT: "the same epoch and generation is held with other content",
            ordering.Verdict.OTHER_HOLDER: "another ServerSet of this name pushes to this balancer",
        }
        super().__init__(words[verdict])
        self.verdict = verdict
        self.held = held


class NotConfirmed(errors.BalancerError):
    """Not every live worker has confirmed in time (503): push again."""


@dataclass(frozen=True, slots=True)
class View:
    """What is held, for a reader: healthy and in flight by replica.

    `confirmed`: every live worker serves it; before that some may still serve the one before.
    """

    boot_id: str
    held: ordering.Held | None
    confirmed: bool
    healthy: Mapping[str, bool]
    in_flight: Mapping[str, int]


class Keeper:
    """Everything that the control process does about its one ring."""

    def __init__(self, cell: store.Store, *, workers: int, gate: gates.Gate) -> None:
        self.boot_id = uuid.uuid4().hex
        self._store = cell
        self._gate = gate
        self._expected = workers
        self._hub = hub.Hub(
            expected=workers,
            on_hello=self._recover,
            on_mark=self._complained,
            on_gone=self._retire,
        )
        self._prober = prober.Prober(on_change=self._judged)
        self._pushing = asyncio.Lock()
        self._retired = hub.Report()

    @property
    def workers(self) -> hub.Hub:
        """The workers' side."""
        return self._hub

    async def load(self) -> None:
        """Hold what the disk has, before anybody asks."""
        held = self._store.load()
        if held is None:
            return
        try:
            async with self._pushing:
                own = await self._restored(held.membership)
                await self._take(held, own=own, known=False)
        except errors.BalancerError as error:
            _log.error("membership on disk ignored", reason=str(error))
        else:
            epoch, generation = held.membership.version
            _log.info("membership read from disk", epoch=epoch, generation=generation)

    async def reload(self) -> None:
        """Another process served the control port until now: hold what it has kept last."""
        held, now = self._store.held, self._store.load()
        if now is None and held is not None:
            async with self._pushing:
                self._store.end()
                self._prober.close()
                seq = self._hub.end()
        elif now is not None and (held is None or held.checksum != now.checksum):
            await self.load()
            await self._prober.first_round(within=FIRST_ROUND_SECONDS)
            self._hand_out()
            seq = self._hub.seq
        else:
            return
        await self._hub.confirmed(seq, within=CONFIRM_SECONDS)

    async def start(self) -> None:
        """Serve those members from disk that pass a probe, and let the workers in."""
        await self._prober.first_round(within=FIRST_ROUND_SECONDS)
        if not self._hub.opened:  # else a push was faster
            self._hand_out()
        self._hub.open()

    def close(self) -> None:
        """Stop probing."""
        self._prober.close()

    async def push(self, document: Any) -> ordering.Held:
        """Take a pushed membership; returns once every live worker serves it.

        Raises:
            MembershipInvalid, RingInvalid: it is wrong; the last good one stays.
            PushRefused: it is older, or somebody else's.
            OnTrial: its hash function is still being tried.
            NotConfirmed: taken, but not confirmed in time.
        """
        membership = members.parse(document)
        checksum = members.checksum(membership)
        verdict = self._store.judge(membership, checksum=checksum)
        # Before the lock: a trial takes seconds, and no other push shall wait for it.
        own = None
        if verdict not in ordering.REFUSED:
            own = await self._own(membership.ring, membership.places())
        async with self._pushing:
            verdict = self._store.judge(membership, checksum=checksum)
            if verdict in ordering.REFUSED:
                raise PushRefused(verdict, self._store.held)
            held = self._store.pushed(membership, checksum=checksum)
            if verdict is ordering.Verdict.SAME:
                self._store.confirm_again()
            else:
                await self._take(held, own=own, known=True)
                self._hand_out()
                await asyncio.to_thread(self._store.keep)
            seq = self._hub.seq
        await self._confirmed(seq)
        return held

    async def end(self, *, uid: str | None = None) -> None:
        """End the ring: workers answer 503, nothing stays on disk. With `uid`, only that set's.

        Raises:
            PushRefused: it is another ServerSet's.
            NotConfirmed: not every live worker has confirmed in time.
            DiskError: the file cannot be removed; the ring stays.
        """
        async with self._pushing:
            held = self._store.held
            if uid is not None and held is not None and held.membership.uid != uid:
                raise PushRefused(ordering.Verdict.OTHER_HOLDER, held)
            self._store.end()
            self._prober.close()
            seq = self._hub.end()
            self._hub.forget_hits(NO_SPACE)  # their slots mean nothing any more
        _log.info("ring ended")
        await self._confirmed(seq)

    async def view(self) -> View:
        """What is held now, with what workers and probes say about it."""
        reports = await self._hub.reports(within=REPORT_SECONDS)
        return View(
            boot_id=self.boot_id,
            held=self._store.held,
            confirmed=await self._hub.confirmed(self._hub.seq, within=0),
            healthy=self._prober.healthy(),
            in_flight=hub.in_flight(reports),
        )

    async def numbers(self) -> metrics.Numbers:
        """What a scrape tells; workers that ended are counted in."""
        reports = await self._hub.reports(within=REPORT_SECONDS)
        return metrics.Numbers(
            held=self._store.held,
            healthy=self._prober.healthy(),
            in_flight=hub.in_flight(reports),
            stats=counters.total(
                [
                    self._retired.stats,
                    *(each.stats for each in reports),
                    {"shortages": self._prober.shortages.counts, "lostLogLines": logs.lost()},
                ]
            ),
            workers=self._hub.workers,
            workers_expected=self._expected,
            write_errors=self._store.write_errors,
        )

    async def plan(self, document: Any) -> dict[str, Any]:
        """What a proposed change would do to what is held; nothing is changed.

        Raises:
            MembershipInvalid, RingInvalid: it would be refused.
            OnTrial: its hash function is still being tried.
        """
        proposal = members.proposal(document)
        current = self._store.current
        held = current.membership.ring if current else members.Ring()
        ring = proposal.ring or held
        places = current.membership.places() if current else ()
        if proposal.members is not None:
            places = tuple((place.id, place.weight) for place in proposal.members)
        own = await self._own(ring, places)
        before = current.table if current else None
        after = await asyncio.to_thread(tables.compile, ring, places, previous=before, own=own)
        if current is None or before is None:
            before = await asyncio.to_thread(tables.compile, ring, (), own=own)
        found = await asyncio.to_thread(
            comparison.compare, before, after, same_keys=current is None or ring.key == held.key
        )
        return {
            "epoch": current.membership.epoch if current else 0,
            "generation": current.membership.generation if current else 0,
            "uid": current.membership.uid if current else "",
            "ring": {"before": described(before), "after": described(after)},
            **comparison.to_document(found, hits=await self._counted(current)),
        }

    async def _counted(self, current: store.Current | None) -> comparison.Hits | None:
        """The requests by slot of this very table; None if it has been replaced meanwhile."""
        hits = await self.hits()
        now = self._store.current
        if current is None or now is None or now.space_version != current.space_version:
            return None
        return hits

    async def hits(self) -> comparison.Hits:
        """The requests of the last five minutes by slot, those of this moment included."""
        return await self._hub.hits(within=REPORT_SECONDS)

    def current(self) -> store.Current | None:
        """What is held, with its table."""
        return self._store.current

    def explain(self, key: bytes) -> dict[str, Any] | None:
        """Where a key goes now, and why; None without a membership. From any thread."""
        current = self.current()
        if current is None:
            return None
        return explain.explain(
            current.table,
            key,
            membership=current.membership,
            healthy=self.healthy(),
            erring=self.erring(),
        )

    def healthy(self) -> Mapping[str, bool]:
        """By replica."""
        return self._prober.healthy()

    def erring(self) -> Sequence[str]:
        """The replicas that are out, and answer their probes all the same."""
        return self._prober.erring()

    def ready(self) -> bool:
        """A pushed membership is in force, or a member from disk has passed a probe."""
        held = self._store.held
        if held is None:
            return False
        healthy = self._prober.healthy()
        found = any(
            member.state is members.State.ACTIVE and healthy.get(member.replica, False)
            for member in held.membership.members
        )
        return self._hub.workers > 0 and (held.source is ordering.Source.PUSH or found)

    async def _confirmed(self, seq: int) -> None:
        if not await self._hub.confirmed(seq, within=CONFIRM_SECONDS):
            raise NotConfirmed(f"not every worker has confirmed within {CONFIRM_SECONDS:g} s")

    async def _own(
        self, ring: members.Ring, places: Sequence[tuple[str, int]]
    ) -> custom.Custom | None:
        """The user's function of a ring; the one that serves as long as the ring names it."""
        current = self._store.current
        if current is not None and current.membership.ring.layout == ring.layout:
            if sorted(current.membership.places()) == sorted(places):
                return current.table.own
            return await self._gate.placed(current.table.own, ring, places)
        return await self._gate.placed(await self._gate.admit(ring), ring, places)

    async def _restored(self, membership: members.Membership) -> custom.Custom | None:
        own = await self._gate.restored(membership.ring)
        return await self._gate.placed(own, membership.ring, membership.places())

    async def _take(self, held: ordering.Held, *, own: custom.Custom | None, known: bool) -> None:
        """Compile, swap, probe. `known`: the operator says that active ones serve."""
        before = self._store.current
        current = await asyncio.to_thread(self._store.compiled, held, own=own)
        self._store.put(current)
        if before is None or before.space_version != current.space_version:
            self._hub.forget_hits(current.space_version)
        await asyncio.to_thread(self._gate.keep, current.table.own)
        self._prober.watch(
            (
                prober.Target(id=member.id, replica=member.replica, address=member.address)
                for member in held.membership.members
                if member.state is not members.State.ABSENT and member.address
            ),
            settings=held.membership.health,
            known=known,
        )

    def _hand_out(self) -> None:
        """Give the workers what is held."""
        current = self._store.current
        if current is None:
            return
        newest = hub.Newest(
            membership=current.membership.model_dump(mode="json"),
            table=current.packed,
            table_version=current.table_version,
            space_version=current.space_version,
        )
        self._hub.install(newest, healthy=self._prober.healthy(), erring=self._prober.erring())

    async def _recover(self, served: Mapping[str, Any]) -> None:
        """A worker outlived us with something that the disk does not have: it is the newest."""
        try:
            membership = members.parse(served)
            async with self._pushing:
                if not self._store.recoverable(membership):
                    return
                own = await self._restored(membership)
                await self._take(self._store.recovered(membership), own=own, known=False)
                await self._prober.first_round(within=FIRST_ROUND_SECONDS)
                self._hand_out()
                await asyncio.to_thread(self._store.keep)
        except errors.BalancerError as error:
            _log.error("a worker serves what cannot be used", reason=str(error))
            return
        _log.info("membership taken from a worker", generation=membership.generation)

    def _judged(self, changes: Mapping[str, bool]) -> None:
        self._hub.health(changes, erring=self._prober.erring())

    def _complained(self, replica: str) -> None:
        self._prober.hurry(replica)

    def _retire(self, report: hub.Report) -> None:
        self._retired = hub.Report(
            stats=counters.total((self._retired.stats, counters.ended(report.stats)))
        )


def described(table: tables.Table) -> dict[str, Any]:
    """A ring in four words."""
    return {
        "scheme": table.scheme,
        "hash": table.hash_name,
        "slots": table.slots,
        "members": len(table.ids),
        "digest": table.own.code.digest if table.own else None,
    }
