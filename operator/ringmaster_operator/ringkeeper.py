"""What one ServerSet's balancers hold, as far as this operator life knows, and keeping it current.

Law: `reconcile` asks, this module never looks by itself. Pushed is what changed, what a live
balancer does not hold, and everything every 10 s; a balancer that refuses is asked less and less.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ringmaster_operator import errors, holding, memory, observed, ports, spec, status
from ringmaster_operator.plan import actions

PUSH_SECONDS = 10.0  # how often an unchanged membership is pushed again
RETRY_SECONDS = 0.5  # after a push that a live balancer did not take; doubles up to PUSH_SECONDS
WITHDRAW_SECONDS = 60.0  # how long a live balancer may refuse to let the ring go
DEAD_SECONDS = 2.0  # how often a balancer that does not answer is looked for


class RingKeeper:
    """The balancers of `owner`. Times are seconds since 1970."""

    def __init__(self, owner: observed.Owner, announcer: ports.Announcer, *, epoch: int) -> None:
        self.owner = owner
        self.views: tuple[observed.BalancerView, ...] = ()
        self.missing = ""  # why there is none, though some were named
        self._announcer = announcer
        self._epoch = epoch
        self._config = spec.Balancer()
        self._read_at = float("-inf")
        self._pushed_at = float("-inf")
        self._pushed = (0, 0)  # epoch and generation
        self._refusals = 0  # pushes in a row that a live balancer did not take
        self._judged: dict[str, tuple[float, Sequence[observed.Judgement]]] = {}
        self._withdrawn_from = float("inf")  # the first try to end the ring
        self._held = ""  # the message of the hold that was told last

    @property
    def generation(self) -> int:
        """The highest generation of this epoch that a balancer holds."""
        return max((v.generation for v in self.views if v.epoch == self._epoch), default=0)

    @property
    def _lacking(self) -> bool:
        """Whether a balancer that was named is not there, or does not answer."""
        return bool(self.missing) or not all(view.live for view in self.views)

    def look(self, config: spec.Balancer, *, now: float, draining: bool) -> None:
        """Read back at the start, while a drain is on, and now and then."""
        self._config = config
        patience = DEAD_SECONDS if self._lacking else PUSH_SECONDS
        if draining or not 0 <= now - self._read_at < patience:
            self.read_back(now)

    def fresh(self, now: float) -> bool:
        """Whether `views` were read in this very look."""
        return self._read_at == now

    def read_back(self, now: float) -> None:
        """Ask every balancer what it holds.

        Raises:
            FencedError: one knows a higher epoch.
        """
        self._see(self._announcer.read_back(self.owner, self._config))
        self._read_at = now
        for view in self.views:
            if view.epoch > self._epoch:
                raise errors.FencedError(
                    f"{view.url} knows epoch {view.epoch}, ours is {self._epoch}"
                )

    def push(
        self, document: dict[str, Any], value: memory.Memory, *, now: float
    ) -> list[actions.Note]:
        """Push the membership if it is due; the events that follow.

        Raises:
            FencedError: a balancer knows a higher epoch.
        """
        pair = (value.epoch, value.generation)
        changed = pair != self._pushed
        if not changed and self._due_in(value, now) > 0:
            return []
        self._see(self._announcer.announce(self.owner, self._config, document))
        self._read_at = self._pushed_at = now
        self._pushed = pair
        return self._notes(value, changed=changed)

    def look_again_in(self, value: memory.Memory, now: float) -> float:
        """Seconds until a balancer should be pushed to, or looked for."""
        return min(self._due_in(value, now), DEAD_SECONDS if self._lacking else PUSH_SECONDS)

    def judge(self, change: dict[str, Any], *, now: float) -> Sequence[observed.Judgement]:
        """What the balancers say of a change; asked again after a while, or once they hold more."""
        held = sorted((view.url, view.checksum) for view in self.views)
        asked = json.dumps([change, held], sort_keys=True)
        at, judgements = self._judged.get(asked, (float("-inf"), ()))
        patience = PUSH_SECONDS if all(each.live for each in judgements) else DEAD_SECONDS
        if any(each.refused == "HashOnTrial" for each in judgements):
            patience = RETRY_SECONDS
        if not 0 <= now - at < patience:
            judgements = tuple(self._announcer.judge(self.owner, self._config, change))
            recent = {
                text: each for text, each in self._judged.items() if now - each[0] < PUSH_SECONDS
            }
            self._judged = {**recent, asked: (now, judgements)}
        return judgements

    def tell_hold(self, hold: holding.Hold | None) -> list[actions.Note]:
        """The event of a change that is held back, once."""
        said = hold.message if hold is not None else ""
        if hold is None or said == self._held or hold.reason == "HashOnTrial":
            self._held = said if hold is None else self._held
            return []
        self._held = said
        return [actions.Note("Warning", hold.reason, said)]

    def withdraw(self, *, now: float) -> str:
        """End the ring on every balancer; one that refuses for a minute is left as it is.

        It may not know our token any more. The set's end, and a new set of its name, must not
        wait for ever. Returns why it was left, or nothing.

        Raises:
            RetryLater: a live balancer did not confirm.
        """
        self._withdrawn_from = min(self._withdrawn_from, now)
        try:
            self._announcer.withdraw(self.owner, self._config)
        except errors.RetryLater as error:
            if now - self._withdrawn_from < WITHDRAW_SECONDS:
                raise
            return str(error)
        return ""

    def _see(self, found: observed.Balancers) -> None:
        self.views, self.missing = found.views, found.missing

    def _due_in(self, value: memory.Memory, now: float) -> float:
        """Seconds until the next push of an unchanged membership."""
        pause = PUSH_SECONDS
        if not status.synced(self.views, value):
            # A balancer that has just come gets it at once, one that refused it after a pause.
            pause = min(pause, RETRY_SECONDS * 2.0 ** (self._refusals - 1) if self._refusals else 0)
        elapsed = now - self._pushed_at
        return pause - elapsed if elapsed >= 0 else 0.0

    def _notes(self, value: memory.Memory, *, changed: bool) -> list[actions.Note]:
        if not status.synced(self.views, value):
            self._refusals = min(self._refusals + 1, 16)
            behind = [v for v in self.views if v.live and not status.synced([v], value)]
            said = "; ".join(f"{v.url}: {v.message or 'holds another one'}" for v in behind)
            return [actions.Note("Warning", "RingPushFailed", said)] if self._refusals == 1 else []
        self._refusals = 0
        if not (changed and self.views):
            return []
        active = sum(member.state == "active" for member in value.members)
        said = f"generation {value.generation}: {active} of {len(value.members)} members active"
        return [actions.Note("Normal", "RingUpdated", said)]
