"""Who is in the ring: the membership's entries.

Law: pure. One active or absent entry for every wanted place, a draining one for each replica that
was in the ring and finishes what it has. A replica enters once it is available, and stays while it
is ready: `minReadySeconds` gates the entry only. With nobody to be active, the last set stays as
far as it lives.
"""

from __future__ import annotations

from dataclasses import replace

from ringmaster_operator import memory, observed
from ringmaster_operator.plan import world
from ringmaster_operator.plan.draft import Draft

ACTIVE, DRAINING, ABSENT = "active", "draining", "absent"


def members(draft: Draft) -> tuple[memory.Member, ...]:
    """The entries in order of creation; places without a replica come last."""
    entries = [_place(draft, ordinal) for ordinal in draft.wanted()]
    if not any(entry.state == ACTIVE for entry in entries):
        entries = [_last(draft, entry) for entry in entries]
    shown = {entry.uid for entry in entries if entry.uid}
    entries += [_draining(draft, r) for r in draft.world.replicas if _finishes(draft, r, shown)]
    return tuple(sorted(entries, key=lambda e: (not e.uid, e.created_at, e.id, e.replica)))


def _place(draft: Draft, ordinal: int) -> memory.Member:
    staying = [r for r in draft.world.group(ordinal) if r.uid not in draft.leaving]
    serving = [r for r in staying if _serves(draft, r)]
    if serving:
        best = max(serving, key=lambda r: (r.revision == draft.target, r.attempt))
        return _entry(best, ACTIVE)
    were = {m.uid for m in draft.before.members}
    if staying:
        return _entry(max(staying, key=lambda r: (r.uid in were, r.attempt)), ABSENT)
    return memory.Member(
        id=draft.member_id(ordinal),
        replica=draft.name(ordinal),
        state=ABSENT,
        address=None,
        uid="",
        created_at=float(ordinal),
    )


def _serves(draft: Draft, replica: observed.Replica) -> bool:
    """Whether it may enter the ring, or is in it and may stay."""
    return draft.world.available(replica) or (
        world.ready(replica)
        and any(m.uid == replica.uid and m.state == ACTIVE for m in draft.before.members)
    )


def _last(draft: Draft, entry: memory.Member) -> memory.Member:
    """What was active before, if its replica lives and stays."""
    for member in draft.before.members:
        if member.id == entry.id and member.state == ACTIVE and member.uid == entry.uid:
            return replace(member, state=ACTIVE)
    return entry


def _finishes(draft: Draft, replica: observed.Replica, shown: set[str]) -> bool:
    going = replica.uid in draft.leaving or replica.phase is observed.Phase.TERMINATING
    return (
        going
        and replica.uid not in shown
        and replica.phase is not observed.Phase.FAILED
        and any(m.uid == replica.uid and m.state != ABSENT for m in draft.before.members)
    )


def _draining(draft: Draft, replica: observed.Replica) -> memory.Member:
    before = next(m for m in draft.before.members if m.uid == replica.uid)
    return replace(before, state=DRAINING)


def _entry(replica: observed.Replica, state: str) -> memory.Member:
    return memory.Member(
        id=replica.member_id,
        replica=replica.display_name,
        state=state,
        address=replica.address if world.alive(replica) else None,
        uid=replica.uid,
        created_at=replica.created_at,
    )
