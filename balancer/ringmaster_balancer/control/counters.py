"""Adding up what several workers count.

Law: pure. The shape is that of `proxy.DataPlane.stats()`; a worker that ended keeps its counters
in the sum, and what it held (connections, requests in flight) is gone with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Stats = Mapping[str, Any]

_COUNTERS = (
    *("accepted", "aborted", "cut", "requests", "labRequests", "retries", "refusedRetries"),
    *("renewals", "waits", "overflows", "lostLines", "lostLogLines"),
)
_LEVELS = ("connections", "waiting", "panic")
_MEMBER_COUNTERS = ("failures", "retries", "connects", "bytesIn", "bytesOut")
_MEMBER_LEVELS = ("inFlight", "idle")


def total(stats: Iterable[Stats]) -> dict[str, Any]:
    """The sum of all workers. Members are one by (id, replica, address)."""
    every = [each for each in stats if each]
    return {
        **_sums(every, (*_COUNTERS, *_LEVELS)),
        "own": _by_key(each.get("own", {}) for each in every),
        "shortages": _by_key(each.get("shortages", {}) for each in every),
        "durations": _durations([each["durations"] for each in every if "durations" in each]),
        "members": _members([m for each in every for m in each.get("members", ())]),
    }


def ended(stats: Stats) -> dict[str, Any]:
    """What stays of a worker that is gone: what it has counted, nothing that it held."""
    if not stats:
        return {}
    gone = dict.fromkeys(_MEMBER_LEVELS, 0)
    members = [{**member, **gone, "ejected": False} for member in stats.get("members", ())]
    return {**stats, **dict.fromkeys(_LEVELS, 0), "members": members}


def _sums(every: Iterable[Stats], names: Iterable[str]) -> dict[str, Any]:
    every = list(every)
    return {name: sum(each.get(name, 0) for each in every) for name in names}


def _by_key(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    result: dict[str, int] = {}
    for each in counts:
        for key, count in each.items():
            result[key] = result.get(key, 0) + count
    return result


def _durations(every: list[Stats]) -> dict[str, Any]:
    """Histograms of the same bounds; a sum of none has none."""
    every = [each for each in every if each["bounds"]]
    if not every:
        return {"bounds": [], "counts": [], "sum": 0.0}
    return {
        "bounds": every[0]["bounds"],
        "counts": [sum(column) for column in zip(*(e["counts"] for e in every), strict=True)],
        "sum": sum(each["sum"] for each in every),
    }


def _members(every: list[Stats]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, ...], list[Stats]] = {}
    for each in every:
        who = (each["id"], each["replica"], each["address"])
        groups.setdefault(who, []).append(each)
    return [
        {
            **dict(zip(("id", "replica", "address"), who, strict=True)),
            **_sums(group, (*_MEMBER_COUNTERS, *_MEMBER_LEVELS)),
            "ejected": any(each.get("ejected") for each in group),
            "codes": _by_key(each.get("codes", {}) for each in group),
            "durations": _durations([each["durations"] for each in group if "durations" in each]),
        }
        for who, group in groups.items()
    ]
