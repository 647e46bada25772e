"""`ringmaster down`: stops what runs on a state folder, with or without its `up`."""

from __future__ import annotations

import time
from collections.abc import Callable

from ringmaster_operator import errors, statedir
from ringmaster_operator.up import children, shutdown

_PATIENCE = 90.0  # seconds; `up` drains, and replicas have their grace


def run(state: statedir.StateDir, *, purge: bool, say: Callable[[str], None]) -> None:
    """Stop everything; ServerSets stay unless `purge`.

    Raises:
        UsageError: the folder cannot be used.
        RetryLater: something does not end; nothing is purged then.
    """
    found = _end_up(state, say=say)
    if state.root.exists():
        with state.lock("up", busy=f"`ringmaster up` is just starting on {state.root}: try again"):
            found = shutdown.end_all(state, say=say) or found
            if purge:
                state.purge()
                say(f"{state.root} purged")
    else:  # what it held may run on
        found = shutdown.end_all(state, say=say) or found
    if not found:
        say(f"nothing runs on {state.root}")


def _end_up(state: statedir.StateDir, *, say: Callable[[str], None]) -> bool:
    """Ask a running `up` to end all, and wait for it."""
    process = children.find_up(state)
    if process is None:
        return False
    say(f"stopping `ringmaster up` (pid {process.pid})")
    children.ask_to_end(process)
    deadline = time.monotonic() + _PATIENCE
    while children.runs(process):
        if time.monotonic() > deadline:
            raise errors.RetryLater(f"`ringmaster up` (pid {process.pid}) does not end")
        time.sleep(0.05)
    return True
