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

    __slots__ = ("_order", "_slot", "_snap", "_tried", "limited")

    def __init__(
        self, snap: snapshot.Snapshot, slot: int, *, tried: snapshot.Pool | None = None
    ) -> None:
        self._snap = snap
        self._slot = slot
        self._order = snap.table.more(slot)
        self._tried = [tried]
        self.limited = False

    def may_ask(self, pools: Sequence[snapshot.Pool]) -> bool:
        """Whether one of them has not been asked."""
        return any(pool not in self._tried for pool in pools)

    def next(self, now: float) -> snapshot.Pool | None:
        """The next one to ask; `now` is for those that are warming up."""
        self.limited = False
        snap = self._snap
        limit, bounded = snap.rules.per_member, snap.bounded
        spared: snapshot.Pool | None = None
        for rank, index in enumerate(self._order):
            pool = snap.pools[index]
            if pool is None or not pool.open or pool in self._tried:
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
            if pool is None or not pool.active or pool in self._tried:
                continue
            if not limit or pool.inflight < limit:
                return self._ask(pool)
            self.limited = True
        return None

    def _ask(self, pool: snapshot.Pool) -> snapshot.Pool:
        self._tried.append(pool)
        return pool
