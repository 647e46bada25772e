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
    ready; `wrong` is what the last probe found, empty while it is good or none was made.
    """

    ready: bool
    since: float
    streak: int = 0
    proven: bool = False
    wrong: str = ""

    @property
    def message(self) -> str:
        """Why it is not ready, in the kubelet's words; empty if it is, or nothing is known."""
        return "" if self.ready or not self.wrong else f"Readiness probe failed: {self.wrong}"


def after(
    state: Readiness, *, good: bool, now: float, probe: pod.Probe, wrong: str = ""
) -> Readiness:
    """The state after one more result; the same object if nothing changed."""
    if good is state.ready:
        same = state.streak == 0 and state.wrong == wrong
        return state if same else replace(state, streak=0, wrong=wrong)
    streak = state.streak + 1
    if streak < (probe.success_threshold if good else probe.failure_threshold):
        return replace(state, streak=streak, wrong=wrong)
    return Readiness(ready=good, since=now, proven=state.proven or good, wrong=wrong)


def delay(state: Readiness, *, age: float, probe: pod.Probe) -> float:
    """Seconds from the beginning of one probe to the next; `age` is the replica's, in seconds."""
    if state.proven:
        return probe.period_seconds
    return min(max(FIRST_DELAY, age * START_FRACTION), probe.period_seconds)
