"""What a ServerSet's status says, and the membership that its balancers should hold.

Law: pure: a function of spec, observation, memory and the balancers' answers. Conditions follow
the Kubernetes API conventions; those of other writers stay. Nothing in it changes by time alone,
so that at rest nothing is written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ringmaster_operator import conditions, holding, memory, naming, observed, spec
from ringmaster_operator.plan import revisions, roster, world

INVALID = "InvalidSpec"  # the reason of Ready while the spec is refused
PAUSED = "RolloutPaused"  # that of Progressing while `paused`, and of Ready if all but that is well


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a status is made of. `before` is the status as stored now."""

    server_set: spec.ServerSet
    seen: observed.Observed  # its balancers are the views after the push
    memory: memory.Memory
    target: str
    now: float
    before: dict[str, Any]
    refusal: str = ""  # why the spec is not acted on; `server_set` is then the one of before
    hold: holding.Hold | None = None  # `server_set` is then what may be done of what was asked


def membership(server_set: spec.ServerSet, value: memory.Memory, *, target: str) -> dict[str, Any]:
    """The wire document (design.md, "The wire") for what was remembered as decided."""
    return {
        "epoch": value.epoch,
        "generation": value.generation,
        "uid": server_set.metadata.uid,
        "replicas": 0 if server_set.metadata.deletion_timestamp else server_set.spec.replicas,
        "ring": holding.settings(server_set),
        "proxy": server_set.spec.balancer.proxy.model_dump(
            mode="json", by_alias=True, exclude_none=True
        ),
        "health": _health(server_set, value, target=target),
        "members": [
            {
                "id": member.id,
                "replica": member.replica,
                "address": member.address,
                "state": member.state,
                "weight": holding.WEIGHT,
            }
            for member in value.members
        ],
    }


def _health(server_set: spec.ServerSet, value: memory.Memory, *, target: str) -> dict[str, Any]:
    """How balancers probe all members alike: as the templates say that hold the places.

    Not as the target says, which may be one that never serves. Where templates differ, as in the
    middle of a rollout, one path may be unknown to the others: a connect then, in the rhythm of
    the target.
    """
    known = {r.hash: r.template for r in value.revisions}
    of_target = spec.health(known.get(target, server_set.spec.template))
    held = {place.revision for place in value.places.values() if place.wanted} & known.keys()
    found = [spec.health(known[revision]) for revision in sorted(held)] or [of_target]
    if all(each == found[0] for each in found):
        return found[0]
    return {**of_target, "path": None}


def stamp(
    server_set: spec.ServerSet, value: memory.Memory, *, target: str, epoch: int, known: int = 0
) -> memory.Memory:
    """The memory with the epoch, and a higher generation if the membership's content changed.

    `known` is the highest generation that a balancer holds of this epoch.
    """
    document = membership(server_set, value, target=target)
    document.pop("epoch"), document.pop("generation")
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    content = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    generation = value.generation
    if content != value.content or known > generation:
        generation = max(generation, known) + 1
    return replace(value, epoch=epoch, generation=generation, content=content)


def synced(views: Iterable[observed.BalancerView], value: memory.Memory) -> bool:
    """Whether every live balancer holds the membership as remembered."""
    held = (value.epoch, value.generation)
    return all((view.epoch, view.generation) == held for view in views if view.live)


def calculate(report: Report) -> dict[str, Any]:
    """The whole status, conditions of other writers included."""
    living = [r for r in _world(report).replicas if world.alive(r)]
    asked = naming.template_hash(report.server_set.spec.template)
    labels = report.server_set.spec.selector.match_labels
    return {
        **report.before,
        "observedGeneration": report.server_set.metadata.generation,
        "replicas": len(living),
        "readyReplicas": sum(replica.ready for replica in living),
        "availableReplicas": sum(map(_world(report).available, living)),
        "updatedReplicas": sum(replica.revision == asked for replica in living),
        "inRing": _in_ring(report),
        "selector": ",".join(f"{key}={labels[key]}" for key in sorted(labels)),
        # Left out while it is unknown: an empty text is refused by some API servers as null.
        **({"currentRevision": report.memory.current} if report.memory.current else {}),
        "updateRevision": asked,
        "conditions": conditions.merged(
            report.before.get("conditions"),
            _facts(report),
            generation=report.server_set.metadata.generation,
            now=report.now,
        ),
    }


def refused(
    server_set_document: dict[str, Any], *, reason: str, message: str, now: float
) -> dict[str, Any]:
    """The status of a ServerSet that cannot be acted on, nor could any spec of it before.

    Only Ready is concluded; what was never concluded is Unknown, so that every type is there from
    the first visit on, as the conventions ask for.
    """
    before = dict(server_set_document.get("status") or {})
    generation = int(server_set_document["metadata"].get("generation", 0))
    known = {each["type"] for each in conditions.told(server_set_document)}
    facts = [conditions.Fact("Ready", status=False, reason=reason, message=message)]
    facts += [
        conditions.Fact(kind, status=None, reason=reason, message="the spec was never acted on")
        for kind in conditions.OURS[1:]
        if kind not in known
    ]
    return {
        **before,
        "observedGeneration": generation,
        "conditions": conditions.merged(
            before.get("conditions"), facts, generation=generation, now=now
        ),
    }


def says(server_set_document: dict[str, Any], *, reason: str, message: str) -> bool:
    """Whether the stored Ready says so already."""
    return any(
        (each["type"], each.get("reason"), each.get("message")) == ("Ready", reason, message)
        for each in conditions.told(server_set_document)
    )


def _world(report: Report) -> world.World:
    return world.look(report.server_set, report.seen, report.memory, report.now)


def _in_ring(report: Report) -> int:
    """Active members that every live balancer holds as such; without a live one none is."""
    live = [view for view in report.seen.balancers if view.live]
    if not live:
        return 0
    active = [m.replica for m in report.memory.members if m.state == roster.ACTIVE]
    return sum(
        all((held := v.members.get(name)) is not None and held.state == roster.ACTIVE for v in live)
        for name in active
    )


def _facts(report: Report) -> Sequence[conditions.Fact]:
    progressing, balancers = _progressing(report), _balancers(report)
    return (
        _ready(report, progressing, balancers),
        _available(report),
        progressing,
        _failing(report),
        balancers,
    )


def _ready(
    report: Report, progressing: conditions.Fact, balancers: conditions.Fact
) -> conditions.Fact:
    """What `kubectl wait --for=condition=Ready` waits for: all that was asked serves.

    Of the balancers those that live count, and one must; a dead one is BalancerSynced's to tell.
    Where none was named, none is needed.
    """
    look = _world(report)
    wanted, target = look.wanted, report.target
    good = {r.ordinal for r in look.replicas if look.available(r) and r.revision == target}
    places = {o for o, place in report.memory.places.items() if place.wanted}
    if report.refusal:
        return conditions.Fact("Ready", status=False, reason=INVALID, message=report.refusal)
    if not progressing.status:
        return replace(progressing, type="Ready")
    if report.hold is not None:
        return replace(balancers, type="Ready")
    if progressing.reason == PAUSED and len(good & places) < wanted <= _serving(report):
        return replace(progressing, type="Ready", status=False)
    if len(good & places) < wanted:
        said = f"{len(good & places)} of {wanted} replicas are available and up to date"
        return conditions.Fact("Ready", status=False, reason="ReplicasNotAvailable", message=said)
    views = report.seen.balancers
    if wanted and report.seen.missing:
        return replace(balancers, type="Ready")
    if views and not (any(view.live for view in views) and synced(views, report.memory)):
        return replace(balancers, type="Ready")
    if views and _in_ring(report) < wanted:
        said = f"{_in_ring(report)} of {wanted} replicas are in the ring"
        return conditions.Fact("Ready", status=False, reason="NotInRing", message=said)
    return conditions.Fact(
        "Ready", status=True, reason="AllReplicasServe", message=f"{wanted} serve"
    )


def _serving(report: Report) -> int:
    """How many places have an available replica, of whatever template."""
    look = _world(report)
    return len({r.ordinal for r in look.replicas if look.available(r)})


def _available(report: Report) -> conditions.Fact:
    look, serving = _world(report), _serving(report)
    enough = serving >= look.floor
    reason = "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable"
    return conditions.Fact(
        "Available", status=enough, reason=reason, message=f"at least {look.floor} needed"
    )


def _progressing(report: Report) -> conditions.Fact:
    """As a Deployment's: False once the deadline passed without progress, or after a rollback."""
    value, target = report.memory, report.target
    settings = report.server_set.spec
    if value.rolled_back:
        said = f"{value.rolled_back} made no progress; {value.current} runs instead"
        return conditions.Fact("Progressing", status=False, reason="RolledBack", message=said)
    complete = value.current == target
    if settings.paused:
        said = "a change of the template waits" if complete else f"{target} waits"
        said += " until paused is false"
        return conditions.Fact("Progressing", status=True, reason=PAUSED, message=said)
    if complete:
        said = f"all replicas run {target}"
        return conditions.Fact("Progressing", status=True, reason="RolloutComplete", message=said)
    deadline = settings.progress_deadline_seconds
    if revisions.stalled(
        value.progress, target=target, current=value.current, deadline=deadline, now=report.now
    ):
        said = f"{target} made no progress for {deadline} s; older replicas go on serving"
        return conditions.Fact(
            "Progressing", status=False, reason="ProgressDeadlineExceeded", message=said
        )
    return conditions.Fact(
        "Progressing", status=True, reason="RolloutUnderWay", message=f"to {target}"
    )


def _failing(report: Report) -> conditions.Fact:
    reason, message = report.memory.failure
    if reason:
        return conditions.Fact("ReplicaFailure", status=True, reason=reason, message=message)
    for ordinal, place in sorted(
        (*report.memory.places.items(), *report.memory.successors.items()),
        key=lambda each: each[0],
    ):
        if place.wanted and place.failures > 1:
            member = naming.member_id(report.server_set.metadata.name, ordinal)
            said = f"{member} failed {place.failures} times in a row"
            return conditions.Fact("ReplicaFailure", status=True, reason="CrashLoop", message=said)
    return conditions.Fact("ReplicaFailure", status=False, reason="NoFailure", message="none")


def _balancers(report: Report) -> conditions.Fact:
    views = report.seen.balancers
    if report.hold is not None:
        return conditions.Fact(
            "BalancerSynced",
            status=False,
            reason=report.hold.reason,
            message=f"{report.hold.message} (the ring of before serves on)",
        )
    if not views:
        said = report.seen.missing or "no balancer was named"
        return conditions.Fact("BalancerSynced", status=False, reason="NoBalancer", message=said)
    behind = [view for view in views if not view.live or not synced([view], report.memory)]
    if behind:
        said = "; ".join(sorted(f"{v.url} {_trouble(v)}" for v in behind))
        reason = _reason(behind)
        if any(view.holder for view in behind):
            reason = "OtherHolder"
        return conditions.Fact("BalancerSynced", status=False, reason=reason, message=said)
    said = f"{len(views)} hold the membership"
    return conditions.Fact("BalancerSynced", status=True, reason="Synced", message=said)


def _reason(behind: Sequence[observed.BalancerView]) -> str:
    """The word of a hash that did not pass, else what is wrong in general."""
    if refused := [view.refused for view in behind if view.refused.startswith("Hash")]:
        return refused[0]
    return "PushFailed" if any(view.live for view in behind) else "BalancerUnreachable"


def _trouble(view: observed.BalancerView) -> str:
    """Why a balancer is behind; what a dead one did not say is left out, it differs every time."""
    if not view.live:
        return "does not answer"
    if view.holder:
        return f"serves the ring of another ServerSet of this name (UID {view.holder})"
    return f"refuses it: {view.message}" if view.message else "holds another one"
