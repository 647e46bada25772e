"""The one mutable cell of the control process: what is held now, and its table.

Law: shell. Readers take `current` once and work with that value; a change builds the new value
first and swaps it in with one assignment. The rules are `ordering`'s, the file is `disk`'s. Who
calls: `keeper`, from one thread at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from ringmaster_balancer import members
from ringmaster_balancer.control import disk, ordering
from ringmaster_balancer.ring import custom
from ringmaster_balancer.ring import table as tables

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Earlier:
    """The table before, and the last generation that it served.

    Not `same_keys`: since then requests have other keys, so none can be followed.
    """

    table: tables.Table
    generation: int
    same_keys: bool = True


@dataclass(frozen=True, slots=True)
class Current:
    """What is held and what it was compiled to.

    `packed` is the table as workers get it; `table_version` counts tables, not memberships,
    `space_version` the ways of finding a slot: requests are counted by slot of one of them.
    """

    held: ordering.Held
    table: tables.Table
    packed: bytes
    table_version: int
    space_version: int = 1
    earlier: Earlier | None = None
    since: int = 0  # the first generation that the table, or its keys, serve

    @property
    def membership(self) -> members.Membership:
        """The held document."""
        return self.held.membership


class Store:
    """Holds one ring. `clock` gives seconds and is never set; `wall` gives those since 1970."""

    def __init__(
        self,
        file: disk.Disk,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._file = file
        self._clock = clock
        self._wall = wall
        self._tables = 0
        self._ended: ordering.Held | None = None
        self.current: Current | None = None
        self.write_errors = 0

    @property
    def held(self) -> ordering.Held | None:
        """What is held, None without a ring."""
        return self.current.held if self.current else None

    def load(self) -> ordering.Held | None:
        """The last good membership from disk; a damaged file is said and ignored."""
        try:
            saved = self._file.load()
        except disk.DiskError as error:
            _log.error("membership on disk ignored", reason=str(error))
            return None
        if saved is None:
            return None
        return ordering.Held(
            membership=saved.membership,
            checksum=saved.checksum,
            source=ordering.Source.DISK,
            # A file of the future is one of now: the clock was set back.
            pushed_at=self._clock() - max(0.0, self._wall() - saved.pushed_at),
        )

    def judge(self, offered: members.Membership, *, checksum: str) -> ordering.Verdict:
        """What becomes of a push. A ring that was ended is not brought back by an older one."""
        verdict = ordering.judge(self.held, offered, checksum=checksum, now=self._clock())
        if self.current is None and self._ended is not None:
            before = ordering.judge(self._ended, offered, checksum=checksum, now=self._clock())
            return ordering.Verdict.OLDER if before is ordering.Verdict.OLDER else verdict
        return verdict

    def recoverable(self, served: members.Membership) -> bool:
        """Whether a worker serves something newer than the disk had, which nobody has ended."""
        pushed = self.held is not None and self.held.source is ordering.Source.PUSH
        return not pushed and self._ended is None and ordering.newer(self.held, served)

    def pushed(self, membership: members.Membership, *, checksum: str) -> ordering.Held:
        """`membership` as held by a push of this moment."""
        return ordering.Held(
            membership=membership,
            checksum=checksum,
            source=ordering.Source.PUSH,
            pushed_at=self._clock(),
        )

    def recovered(self, membership: members.Membership) -> ordering.Held:
        """`membership` as a worker has kept it over our own restart."""
        return ordering.Held(
            membership=membership,
            checksum=members.checksum(membership),
            source=ordering.Source.DISK,
            pushed_at=self._clock(),
        )

    def compiled(self, held: ordering.Held, *, own: custom.Custom | None = None) -> Current:
        """`held` with its table; the present table where layout, ids and weights are the same.

        `own` is the user's function, if the ring names one. Slow (up to 0.3 s at 1,000 members); changes nothing but the count of tables.

        Raises:
            RingInvalid: no ring can be built of it.
        """
        ring, places = held.membership.ring, held.membership.places()
        before = self.current
        earlier = None
        if before is not None:
            same_keys = before.membership.ring.key == ring.key
            earlier = Earlier(before.table, before.membership.generation, same_keys=same_keys)
        if (
            before is not None
            and before.membership.ring.layout == ring.layout
            and sorted(before.membership.places()) == sorted(places)
        ):
            if earlier is None or earlier.same_keys:
                return replace(before, held=held)
            since = held.membership.generation
            return replace(before, held=held, earlier=earlier, since=since)
        built = tables.compile(ring, places, previous=before.table if before else None, own=own)
        self._tables += 1
        same = before is not None and tables.same_slots(before.table, built)
        return Current(
            held=held,
            table=built,
            packed=built.to_bytes(),
            table_version=self._tables,
            space_version=before.space_version if before and same else self._tables,
            earlier=earlier,
            since=held.membership.generation,
        )

    def put(self, current: Current) -> None:
        """From now on this is held."""
        self.current = current
        self._ended = None

    def confirm_again(self) -> None:
        """The holder pushed what is held already."""
        if self.current is not None:
            held = self.current.held
            self.put(
                replace(
                    self.current,
                    held=self.pushed(held.membership, checksum=held.checksum),
                )
            )
            self._file.touch()

    def keep(self) -> None:
        """Write what is held to disk. A failure is said and counted: serving goes on without."""
        if self.current is None:
            return
        try:
            self._file.save(self.current.membership, checksum=self.current.held.checksum)
        except disk.DiskError as error:
            self.write_errors += 1
            _log.error("membership not kept on disk", reason=str(error))

    def end(self) -> None:
        """Hold nothing any more, on disk neither.

        Raises:
            DiskError: the file is still there; the ring is held as before.
        """
        self._file.remove()
        if self.current is not None:
            self._ended = self.current.held
        self.current = None
