"""Ends a local Ringmaster: what `up` does on Ctrl-C and `down` at any time.

Law: first the balancer, which finishes the requests it has while every replica still serves; then
the operator, so that nobody replaces what is stopped; then the replicas, by their records and, where
those are lost, by their marks. What runs counts, not what a database or a folder says. Each step
finds done what was done before, so that an ending that was cut short is repeated as a whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ringmaster_operator import errors, local, statedir
from ringmaster_operator.runtimes import choice
from ringmaster_operator.up import children

DRAIN_SECONDS = 15  # how long a request may still take; longer ones are cut
BALANCER_GRACE = DRAIN_SECONDS + 5.0  # seconds; then something is wrong with it
OPERATOR_GRACE = 15.0
_LOCK_SECONDS = 5.0

Say = Callable[[str], None]


def end_all(
    state: statedir.StateDir,
    *,
    say: Say,
    hurry: Callable[[], bool] = lambda: False,
    chosen: choice.Choice | None = None,
) -> bool:
    """End balancer, operator and replicas of a state folder; whether there was anything to end.

    `chosen` is where the replicas are, if not where the folder says.

    Raises:
        UsageError: an operator that was not started by `up` acts on the folder.
        RetryLater: something does not end.
    """
    found = False
    for name, grace in (("balancer", BALANCER_GRACE), ("operator", OPERATOR_GRACE)):
        if children.end_named(state, name, grace=grace, hurry=hurry):
            found = True
            say(f"{name} stopped")
    count = 0
    if any(place.exists() for place in (state.database, state.runtime, state.docker)):
        _wait_for_lock(state)
        busy = f"an operator that `up` did not start acts on {state.root}: stop it first"
        with state.lock("operator", busy=busy):
            count = local.stop_all(state, chosen, say=say, hurry=hurry)
    elif chosen is None or chosen.kind == choice.DOCKER:
        count = choice.end_marked(state, grace=0 if hurry() else local.GRACE)
    count += children.end_marked(state.runtime.absolute(), grace=local.GRACE, hurry=hurry)
    if count:
        say(f"{count} replica{'s' if count > 1 else ''} stopped")
    return found or count > 0


def _wait_for_lock(state: statedir.StateDir) -> None:
    """An operator that was killed frees its lock a moment after its end."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while time.monotonic() < deadline:
        try:
            with state.lock("operator", busy=""):
                return
        except errors.UsageError:
            time.sleep(0.05)
