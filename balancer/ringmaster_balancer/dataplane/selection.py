"""Whom of a key's candidates to ask: the order in which fail-over, limits and ramps walk them.

Law: pure. The ring says who is first; who is warming up or has more than its share is passed over
for now, and asked all the same before a request fails for it. A hard limit is never exceeded.
Who calls: `exchange`, for whatever is not plain.
"""

from __future__ import annotations

from collections.abc import Sequence

from ringmaster_balancer.dataplane import snapshot


class Walk:
    """The candidates of a slot in order, each once: those that may be asked, then those in doubt.

    `limited`: nobody can take it now, but one could if it had less to do.
    """

    __slots__ = ("_order", "_slot", "_snap", "limited", "tried")

    def __init__(
        self, snap: snapshot.Snapshot, slot: int, *, tried: Sequence[snapshot.Pool] = ()
    ) -> None:
        self._snap = snap
        self._slot = slot
        self._order = snap.table.more(slot)
        self.tried = [*tried]
        self.limited = False

    def may_ask(self, pools: Sequence[snapshot.Pool]) -> bool:
        """Whether one of them has not been asked."""
        return any(pool not in self.tried for pool in pools)

    def has_another(self, *, wait: bool) -> bool:
        """Whether somebody sound has not been asked and can take it, or could if it may `wait`."""
        limit = 0 if wait else self._snap.rules.per_member
        pools = (self._snap.pools[index] for index in self._order)
        return any(
            pool.open and pool not in self.tried and not (limit and pool.inflight >= limit)
            for pool in pools
            if pool is not None
        )

    def next(self, now: float) -> snapshot.Pool | None:
        """The next one to ask; `now` is for those that are warming up."""
        self.limited = False
        snap = self._snap
        limit, bounded = snap.rules.per_member, snap.bounded
        spared: snapshot.Pool | None = None
        for rank, index in enumerate(self._order):
            pool = snap.pools[index]
            if pool is None or not pool.open or pool in self.tried:
                continue
            if limit and pool.inflight >= limit:
                self.limited = True
            elif (pool.warm_until and not rank and not pool.warm_for(self._slot, now)) or (
                bounded and not pool.within(bounded)
            ):
                spared = spared or pool
            else:
                return self._ask(pool)
        if spared is not None:
            return self._ask(spared)
        return None if self.limited else self._doubtful(limit)

    def _doubtful(self, limit: int) -> snapshot.Pool | None:
        """All are out, or have been asked: better one that may be ill than none."""
        for index in self._order:
            pool = self._snap.pools[index]
            if pool is None or not pool.active or pool in self.tried:
                continue
            if not limit or pool.inflight < limit:
                return self._ask(pool)
            self.limited = True
        return None

    def _ask(self, pool: snapshot.Pool) -> snapshot.Pool:
        self.tried.append(pool)
        return pool
