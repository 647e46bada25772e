"""What `ringmaster plan` asks a balancer about, and how the answer reads.

Law: pure. A file is planned as `apply` would merge it into what is there. Which members would come
and go is told as the operator would decide: new ones take the lowest free ordinals, old ones go by
`plan.ranking`. That rests on what the operator has seen of the replicas; where it cannot be asked,
all count as equally well, and the plan says that it guesses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ringmaster_operator import applying, holding, naming, printers, spec
from ringmaster_operator.api import views
from ringmaster_operator.plan import ranking, world

Document = dict[str, Any]
_SERVING = frozenset({views.ACTIVE, views.PARTLY})
_FEW = 20  # members, and moves, that are listed unless all are asked for


@dataclass(frozen=True, slots=True)
class Preview:
    """A change as a balancer is asked about it, and who would come and go.

    `guessed`: the operator may let others go. `limit`: the percentage beyond which it would be held
    back. `generation`: the ServerSet's after the change, None if that is not known.
    """

    change: Document
    come: tuple[str, ...]
    go: tuple[str, ...]
    guessed: bool = False
    limit: float | None = None
    generation: int | None = None


def of(
    document: Document,
    held: Document,
    seen: Sequence[views.ReplicaView] = (),
    *,
    live: Document | None = None,
) -> Preview:
    """The change from what a balancer holds to what an applied ServerSet would say.

    `live` is the ServerSet as the operator has it. Without it, the document is all there is: what
    it does not name is the default, but for the number of replicas, which stays. `seen` are the
    replicas as the operator shows them; those of another world tell nothing.

    Raises:
        SpecInvalidError: with every fault.
    """
    server_set = spec.parse(_applied(document, live) if live else document)
    entries = [m for m in held.get("members") or () if m.get("state") != "draining"]
    now = list(dict.fromkeys(str(entry["id"]) for entry in entries))
    said = live is not None or (document.get("spec") or {}).get("replicas") is not None
    wanted = server_set.spec.replicas if said or not now else len(now)
    known = _same_world(entries, seen)
    order = _ranked(now, seen, server_set) if known else _guessed(now, entries, server_set)
    come, go = _coming(now, server_set, wanted), order[: max(len(now) - wanted, 0)]
    after = [*(each for each in now if each not in go), *come]
    weights = {str(entry["id"]): entry.get("weight", holding.WEIGHT) for entry in entries}
    members = [{"id": each, "weight": weights.get(each, holding.WEIGHT)} for each in after]
    change = {"ring": holding.settings(server_set), "members": members}
    return Preview(
        change=change,
        come=tuple(come),
        go=tuple(go),
        guessed=bool(go) and not known,
        limit=holding.allowed_percent(server_set),
        generation=server_set.metadata.generation if live else None,
    )


def _applied(document: Document, live: Document) -> Document:
    """What `apply` would make of the ServerSet that is there, with the generation it would get."""
    merged: Document = applying.merged(live, applying.patch(document, live))
    generation = int(live["metadata"].get("generation") or 0)
    merged["metadata"]["generation"] = generation + (merged.get("spec") != live.get("spec"))
    return merged


def _coming(now: Sequence[str], server_set: spec.ServerSet, wanted: int) -> list[str]:
    name, ordinal = server_set.metadata.name, 0
    come: list[str] = []
    while len(now) + len(come) < wanted:
        member = naming.member_id(name, ordinal)
        if member not in now:
            come.append(member)
        ordinal += 1
    return come


def _same_world(entries: Sequence[Document], seen: Sequence[views.ReplicaView]) -> bool:
    """Whether the operator that was asked has what the balancer serves."""
    names = {view.name for view in seen}
    serving = {str(entry.get("replica")) for entry in entries if entry.get("state") == "active"}
    return bool(seen) and serving <= names


def _ranked(
    now: Sequence[str], seen: Sequence[views.ReplicaView], server_set: spec.ServerSet
) -> list[str]:
    """The ids in the order in which the operator lets them go."""
    active = {view.replica.uid for view in seen if view.ring in _SERVING}
    living = [view.replica for view in seen if world.alive(view.replica)]
    living.sort(key=lambda r: (r.ready, r.uid in active, r.attempt))
    stands = {replica.member_id: replica for replica in living}  # the best comes last
    ordinals = _ordinals(now, server_set) | {r.member_id: r.ordinal for r in living}
    ids = {ordinals[each]: each for each in now}
    order = ranking.scale_down_order(
        {ordinal: stands.get(each) for ordinal, each in ids.items()},
        in_ring=active,
        victims=server_set.spec.scale_down.victims,
    )
    return [ids[ordinal] for ordinal in order]


def _guessed(
    now: Sequence[str], entries: Sequence[Document], server_set: spec.ServerSet
) -> list[str]:
    """The same from what a balancer knows: who serves, and names."""
    victims = set(server_set.spec.scale_down.victims)
    active = {str(e["id"]) for e in entries if e.get("state") == "active"}
    named = {str(e["id"]) for e in entries if e.get("replica") in victims}
    ordinals = _ordinals(now, server_set)
    return sorted(now, key=lambda each: (each in active, each not in named, -ordinals[each]))


def _ordinals(now: Sequence[str], server_set: spec.ServerSet) -> dict[str, int]:
    """Ordinals by the end of the id: for display only, the operator reads labels."""
    known = {
        naming.member_id(server_set.metadata.name, ordinal): ordinal
        for ordinal in range(server_set.spec.max_replicas + len(now))
    }
    return {each: known.get(each, -1 - index) for index, each in enumerate(now)}


def text(told: Document, preview: Preview) -> str:
    """A plan for people."""
    how = "" if told.get("exact") and not preview.guessed else "about "
    moved, needless = _percent(told["moved"]), _percent(told["needless"])
    lines = [_change(told, preview)]
    if not told["ring"]["before"]["members"]:
        lines.append("first ring: no key had a member")
    else:
        basis = _basis(told, preview)
        lines.append(f"moves {how}{moved} of the key space, {how}{needless} needlessly {basis}")
        if traffic := _traffic(told.get("traffic"), how):
            lines.append(traffic)
    if preview.limit is not None and told["moved"] * 100 > preview.limit:
        once = preview.generation or "<its generation by then>"  # `true` allows later ones too
        lines.append(
            f"would be held back: maxMovedPercent is {preview.limit:g}; raise it, or annotate the "
            f"ServerSet with {naming.ANNOTATION_ALLOW_MOVE}={once}"
        )
    lines += ["", *_members(told.get("members") or ())]
    lines += ["", *_moves(told.get("moves") or ())]
    return "\n".join(lines) + "\n"


def _change(told: Document, preview: Preview) -> str:
    before, after = told["ring"]["before"], told["ring"]["after"]
    parts = [f"{before['members']} → {after['members']} members"]
    parts += [f"{each} comes" for each in preview.come[:_FEW]]
    parts += [f"{each} goes" for each in preview.go[:_FEW]]
    parts += [
        f"{field} {before[field]} → {after[field]}"
        for field in ("scheme", "hash", "slots")
        if before[field] != after[field]
    ]
    return ", ".join(parts)


def _basis(told: Document, preview: Preview) -> str:
    if preview.guessed:
        return "(the operator was not there to say who goes: its choice may differ)"
    if told.get("exact"):
        return "(exact: both rings share a hash)"
    return (
        "(expected: the rings do not share a hash, requests get other keys, or a function of your "
        "own was counted by a sample)"
    )


def _traffic(traffic: Document | None, how: str) -> str:
    if not traffic:
        return ""
    requests = traffic["requests"]
    span = f"the last {traffic['seconds']:.0f} s"
    if not requests:
        return f"no request was counted in {span}"
    share = _percent(traffic["moved"] / requests)
    moved = f"{how}{traffic['moved']:,.0f} ({share})"
    return f"of {requests:,} requests in {span}, {moved} would have met another member"


def _members(members: Sequence[Document]) -> list[str]:
    rows = [["MEMBER", "BEFORE", "AFTER", "CHANGE"]]
    rows += [
        [
            str(each["id"]),
            _percent(each["before"]),
            _percent(each["after"]),
            f"{(each['after'] - each['before']) * 100:+.2f}",
        ]
        for each in sorted(members, key=lambda each: -abs(each["after"] - each["before"]))[:_FEW]
    ]
    return [*printers.columns(rows), *_rest(len(members), "members")]


def _moves(moves: Sequence[Document]) -> list[str]:
    if not moves:
        return ["nothing moves"]
    rows = [["FROM", "TO", "SHARE"]]
    rows += [
        [each["from"] or "<nobody>", each["to"] or "<nobody>", _percent(each["share"])]
        for each in moves[:_FEW]
    ]
    return [*printers.columns(rows), *_rest(len(moves), "moves")]


def _rest(count: int, what: str) -> list[str]:
    return [f"… and {count - _FEW} more {what} (-o json lists all)"] if count > _FEW else []


def _percent(share: float) -> str:
    return f"{share * 100:.2f} %"
