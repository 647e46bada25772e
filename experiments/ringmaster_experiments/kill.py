"""Experiment 3 on a real stack: load it, kill a server, watch what happens.

Law: shell; the order of effects. Times are of this machine's monotonic clock, for clients' answers
and for what the operator's API said, which is asked every few milliseconds in a thread of its own.
"""

from __future__ import annotations

import math
import threading
import time
from array import array
from collections.abc import Callable, Sequence

from ringmaster_experiments import (
    draws,
    errors,
    live,
    load,
    recovery,
    results,
    server,
    stacks,
    victims,
)

POLL_SECONDS = 0.01  # between two questions to the API, each of which takes about 2 ms
_AFTER_SECONDS = 60.0  # for a replacement that comes later than the last request

# What is watched, in the order in which it is expected.
STEPS = {
    "detected": "the operator's API no longer lists the server as ready",
    "failed over": "the first of its keys was answered by another server",
    "replaced": "its successor was listed",
    "ready": "its successor was listed as ready",
    "in the ring": "its successor was listed as active in the ring",
    "back": "the first request was answered by its successor",
}


class Watch:
    """Asks the API for the victim's place until its successor is in the ring, or `stop`."""

    def __init__(self, api: server.Server, victim: server.Replica) -> None:
        self.moments: dict[str, float] = {}
        self._api = api
        self._victim = victim
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait until there is nothing more to see, at most so long."""
        self._thread.join(seconds)

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(POLL_SECONDS):
            try:
                replicas = self._api.replicas()
            except errors.ExperimentError:
                continue  # an operator under load may be late once
            now = time.monotonic()
            if all(self._look(replicas, now)):
                return

    def _look(self, replicas: list[server.Replica], now: float) -> tuple[bool, ...]:
        """Note what is seen for the first time; whether each step has been seen."""
        old = [each for each in replicas if each.uid == self._victim.uid]
        new = [
            each
            for each in replicas
            if each.member == self._victim.member and each.uid != self._victim.uid
        ]
        facts = {
            "detected": not any(each.ready for each in old),
            "replaced": bool(new),
            "ready": any(each.ready for each in new),
            "in the ring": any(each.in_ring for each in new),
        }
        for step, seen in facts.items():
            if seen:
                self.moments.setdefault(step, now)
        return tuple(step in self.moments for step in facts)


def run(
    stack: stacks.Stack,
    plan: recovery.Plan,
    *,
    seed: int,
    connections: int,
    progress: Callable[[int], None],
) -> results.Recovered:
    """Do it."""
    ids = stack.arrange(plan.variant.ring, plan.servers)
    expected = recovery.expect(plan, seed=seed, ids=ids)
    keys = draws.keys(seed, servers=plan.servers, count=plan.requests)
    live.settle(stack, ids, keys, variant=plan.variant)
    victim = _victim(stack, expected)
    kill = victims.found(victim, runtime=stack.runtime)
    killed: list[float] = []

    def strike() -> None:
        killed.append(time.monotonic())
        kill()

    watch = Watch(stack.api, victim)
    watch.start()
    try:
        outcome = load.run(
            stack.target, keys, connections=connections, at={plan.kill_at: strike},
            progress=progress,
        )  # fmt: skip
        watch.wait(_AFTER_SECONDS)
    finally:
        watch.stop()
    if not killed:
        raise errors.ExperimentError(f"the load did not get to request {plan.kill_at:,} in time")
    after = live.settle(stack, ids, keys, variant=plan.variant)
    moments = watch.moments | _clients(expected, (outcome, *after.rounds), victim, killed[0])
    seen = recovery.Seen(
        measured=live.measured(outcome, ids),
        sent=array("d", (when - killed[0] for when in outcome.sent)),
        took=outcome.took,
        events=tuple(
            recovery.Event(step, what, moments[step] - killed[0] if step in moments else None)
            for step, what in STEPS.items()
        ),
        healed=after.good,
    )
    return results.Recovered(expected, results.Live(seen, live.timings(outcome)))


def _victim(stack: stacks.Stack, expected: recovery.Expected) -> server.Replica:
    for replica in stack.api.replicas():
        if replica.member == expected.victim and replica.in_ring:
            return replica
    raise errors.ExperimentError(f"{expected.victim} has no server any more")


def _clients(
    expected: recovery.Expected,
    outcomes: Sequence[load.Outcome],
    victim: server.Replica,
    killed: float,
) -> dict[str, float]:
    """When clients first saw another member answer for the victim, and then its successor.

    The first outcome is the load; the successor may come after it.
    """
    over = back = math.inf
    for number, who in enumerate(outcomes[0].answers):
        if who == load.NOBODY or expected.owners[number] != expected.plan.victim:
            continue
        done = outcomes[0].sent[number] + outcomes[0].took[number]
        if outcomes[0].servers[who].member != victim.member and done > killed:
            over = min(over, done)
    for outcome in outcomes:
        for number, who in enumerate(outcome.answers):
            if who != load.NOBODY and _succeeds(outcome.servers[who], victim):
                back = min(back, outcome.sent[number] + outcome.took[number])
    found = {"failed over": over, "back": back}
    return {step: when for step, when in found.items() if when < math.inf}


def _succeeds(answered: load.Server, victim: server.Replica) -> bool:
    return answered.member == victim.member and answered.name != victim.name
