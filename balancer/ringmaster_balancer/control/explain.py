"""Why a key is served where it is served, as a document ready for JSON.

Law: pure. It says what the data plane would do at this moment with the same table, membership and
health; bounded load and retries depend on the requests in flight and are not guessed here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ringmaster_balancer import members
from ringmaster_balancer.dataplane import upstreams
from ringmaster_balancer.ring import table


def explain(
    compiled: table.Table,
    key: bytes,
    *,
    membership: members.Membership,
    healthy: Mapping[str, bool],
    erring: Collection[str] = (),
) -> dict[str, Any]:
    """Key, hash, slot, and the candidates in order, each with why it was taken or passed over.

    `healthy` is by replica; one that is not named counts as healthy. In a panic (too many members
    are unhealthy) those that answer their probes with an error, `erring`, serve all the same, as in
    the data plane. Loads, limits and ejections of a worker are not known here.
    """
    slot = compiled.slot_of(key)
    panic = _panic(membership, healthy)
    candidates = _candidates(
        compiled, slot, _standing(membership), healthy, erring=erring if panic else ()
    )
    taken = next((each for each in candidates if each["taken"]), None)
    return {
        "key": key.decode(errors="backslashreplace"),
        "scheme": compiled.scheme,
        "hash": compiled.hash_name,
        **compiled.hashed(key),
        "slot": slot,
        "slots": compiled.slots,
        "epoch": membership.epoch,
        "generation": membership.generation,
        "panic": panic,
        "member": taken["id"] if taken else None,
        "replica": taken["replica"] if taken else None,
        "candidates": candidates,
    }


def _panic(membership: members.Membership, healthy: Mapping[str, bool]) -> bool:
    active = [m.replica for m in membership.members if m.state is members.State.ACTIVE]
    out = sum(not healthy.get(replica, True) for replica in active)
    return upstreams.panic(out, len(active), membership.proxy.outlier)


def _standing(membership: members.Membership) -> dict[str, members.Member]:
    """The entry that stands for each id: the active one, else an absent, else a draining one."""
    rank = {members.State.ACTIVE: 0, members.State.ABSENT: 1, members.State.DRAINING: 2}
    best: dict[str, members.Member] = {}
    for member in sorted(membership.members, key=lambda member: rank[member.state]):
        best.setdefault(member.id, member)
    return best


def _candidates(
    compiled: table.Table,
    slot: int,
    standing: Mapping[str, members.Member],
    healthy: Mapping[str, bool],
    *,
    erring: Collection[str],
) -> list[dict[str, Any]]:
    documents: list[dict[str, Any]] = []
    taken = False
    for rank, index in enumerate(compiled.more(slot), start=1):
        member = standing.get(compiled.ids[index])
        well = member is not None and healthy.get(member.replica, True)
        serves = well or (member is not None and member.replica in erring)
        obstacle = _obstacle(member, healthy=serves)
        takes = obstacle is None and not taken
        documents.append(
            {
                "rank": rank,
                "id": compiled.ids[index],
                "replica": member.replica if member else None,
                "address": member.address if member else None,
                "state": str(member.state) if member else None,
                "weight": compiled.places.weights[index],
                "healthy": well,
                "taken": takes,
                "why": obstacle or _reason(rank, taken=taken),
            }
        )
        taken = taken or takes
    if not taken:
        _ask_in_doubt(documents)
    return documents


def _ask_in_doubt(documents: list[dict[str, Any]]) -> None:
    """Better one that may be ill than none."""
    for each in documents:
        if each["state"] == members.State.ACTIVE:
            each["taken"] = True
            each["why"] = "taken: all are unhealthy, it is asked all the same"
            return


def _obstacle(member: members.Member | None, *, healthy: bool) -> str | None:
    """Why a candidate is passed over, None if nothing keeps it from serving."""
    if member is None:
        return "passed over: the membership has no such id (any more)"
    if member.state is members.State.DRAINING:
        return "passed over: draining, it finishes what it has and gets nothing new"
    if member.state is members.State.ABSENT:
        return "passed over: absent, its replica is gone, unready or being replaced"
    if not healthy:
        return "passed over: unhealthy"
    return None


def _reason(rank: int, *, taken: bool) -> str:
    if taken:
        return "not needed: an earlier candidate serves the key"
    return "taken: the slot's own member" if rank == 1 else "taken: the first that can serve"
