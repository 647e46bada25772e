"""When a replica counts as ready: thresholds and rhythm, without any I/O.

Law: pure. A result goes in, a state comes out; `probes` asks the question, the planner reads the
answer. Semantics are the kubelet's, except that a start is watched more closely.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ringmaster_operator.spec import pod

# Seconds between probes of a replica that was never ready, while it is young.
FIRST_DELAY = 0.1
# Later its start is probed so often that readiness is seen after another 5 % of the time it took.
START_FRACTION = 0.05


@dataclass(frozen=True, slots=True)
class Readiness:
    """Ready or not since when (seconds since 1970), and what speaks against it.

    `streak` counts the results in a row that contradict `ready`; `proven` says whether it was ever
    ready.
    """

    ready: bool
    since: float
    streak: int = 0
    proven: bool = False


def after(state: Readiness, *, good: bool, now: float, probe: pod.Probe) -> Readiness:
    """The state after one more result; the same object if nothing changed."""
    if good is state.ready:
        return replace(state, streak=0) if state.streak else state
    streak = state.streak + 1
    if streak < (probe.success_threshold if good else probe.failure_threshold):
        return replace(state, streak=streak)
    return Readiness(ready=good, since=now, proven=state.proven or good)


def delay(state: Readiness, *, age: float, probe: pod.Probe) -> float:
    """Seconds from the beginning of one probe to the next; `age` is the replica's, in seconds."""
    if state.proven:
        return probe.period_seconds
    return min(max(FIRST_DELAY, age * START_FRACTION), probe.period_seconds)
