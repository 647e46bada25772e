"""Conditions as the Kubernetes API conventions have them.

Law: pure. `lastTransitionTime` moves only when `status` does; conditions of other writers stay as
they are, behind ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

# The types that the operator writes, in this order; all others are somebody else's.
OURS = ("Ready", "Available", "Progressing", "ReplicaFailure", "BalancerSynced")

_COUNTED = frozenset({"ReplicasNotAvailable", "NotInRing"})  # reasons of Ready


@dataclass(frozen=True, slots=True)
class Fact:
    """A condition without its bookkeeping; `reason` is a CamelCase word.

    `status` None: nobody knows.
    """

    type: str
    status: bool | None
    reason: str
    message: str


def merged(
    before: Any,
    facts: Sequence[Fact],
    *,
    generation: int,
    now: float,
) -> list[dict[str, Any]]:
    """The facts in their order, then those conditions of `before` that are none of ours."""
    known = {condition["type"]: condition for condition in legible(before)}
    ours = [_condition(fact, known.pop(fact.type, None), generation, now) for fact in facts]
    return [*ours, *known.values()]


def told(document: dict[str, Any]) -> Sequence[dict[str, Any]]:
    """The conditions that a stored ServerSet has."""
    return legible((document.get("status") or {}).get("conditions"))


def legible(stored: Any) -> list[dict[str, Any]]:
    """Those of stored conditions that are any: objects with a type; other fields may be missing.

    An earlier local API took anything; a look must not fail on what it stored.
    """
    entries = stored if isinstance(stored, list) else ()
    return [
        each for each in entries if isinstance(each, dict) and isinstance(each.get("type"), str)
    ]


def troubles(document: dict[str, Any]) -> list[str]:
    """Why not all is well, as `Reason: message`, where the counts of replicas do not say it."""
    return [
        f"{each.get('reason')}: {each.get('message')}" for each in told(document) if _troubles(each)
    ]


def _troubles(condition: dict[str, Any]) -> bool:
    match condition.get("type"), condition.get("status"):
        case "Ready", "False":
            return condition.get("reason") not in _COUNTED
        case "ReplicaFailure", "True":
            return True
        case _:
            return False


def _condition(
    fact: Fact, old: dict[str, Any] | None, generation: int, now: float
) -> dict[str, Any]:
    status = {True: "True", False: "False", None: "Unknown"}[fact.status]
    return {
        "type": fact.type,
        "status": status,
        "reason": fact.reason,
        "message": fact.message,
        "lastTransitionTime": _since(old or {}, status) or _text(now),
        "observedGeneration": generation,
    }


def _since(old: dict[str, Any], status: str) -> str:
    """Since when it has had this status; empty if it has not, or does not say."""
    since = old.get("lastTransitionTime") if old.get("status") == status else None
    return since if isinstance(since, str) else ""


def _text(moment: float) -> str:
    return datetime.fromtimestamp(moment, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
