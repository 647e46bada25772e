"""A runtime whose replicas are values: `ports.Runtime` without processes.

Faults are switched on by the test: creates that fail or are ambiguous, stale observations,
replicas that die, hang or are deleted by others.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Event
from typing import Any

from ringmaster_operator import errors, observed
from virtual_clock import Effects, VirtualClock


@dataclass
class Body:
    """A replica as it is, whatever an observation says."""

    birth: observed.Birth
    uid: str
    address: str
    created_at: float
    starts_at: float  # running
    ready_at: float  # first ready, if nothing happens
    phase: observed.Phase = observed.Phase.STARTING
    ready: bool = False
    ready_since: float | None = None
    unready_since: float | None = None
    frozen: bool = False
    dies_at: float | None = None
    gone_at: float | None = None
    restarts: int = 0
    message: str = ""


class FakeRuntime:
    """`start_seconds` from create to ready, `stop_seconds` from remove to gone.

    A template whose image is `broken` never gets ready, one whose image is `crash` exits when it
    has just started.
    """

    def __init__(
        self,
        clock: VirtualClock,
        *,
        effects: Effects | None = None,
        start_seconds: float = 1.0,
        stop_seconds: float = 0.5,
    ) -> None:
        self.clock = clock
        self.effects = effects or Effects()
        self.start_seconds = start_seconds
        self.stop_seconds = stop_seconds
        self.bodies: dict[str, Body] = {}
        self.create_faults: list[Exception | None] = []  # one per create to come; None: works
        self.remove_faults: list[Exception | None] = []
        self.observe_faults: list[Exception | None] = []
        self.unseen: int = 0  # that many observations to come miss the youngest replicas
        self.leaky = False  # observations contain replicas of other owners
        self.faults: list[errors.Fault] = []
        self.on_observe: Callable[[Sequence[observed.Replica]], None] = lambda _replicas: None
        self.on_create: Callable[[observed.Birth], None] = lambda _birth: None
        self.on_remove: Callable[[observed.Replica], None] = lambda _replica: None
        self._ids = itertools.count(1)
        self._hidden: set[str] = set()

    # ports.Runtime.

    def check(self, template: dict[str, Any]) -> Sequence[errors.Fault]:
        return tuple(self.faults)

    def observe(self, owner: observed.Owner) -> Sequence[observed.Replica]:
        if self.observe_faults and (fault := self.observe_faults.pop(0)):
            raise fault
        self.settle()
        if self.unseen > 0:
            self.unseen -= 1
        else:
            self._hidden.clear()
        replicas = [
            self.seen(body)
            for body in self.bodies.values()
            if (self.leaky or body.birth.owner.uid == owner.uid) and body.uid not in self._hidden
        ]
        self.on_observe(replicas)
        return replicas

    def look(self, owner: observed.Owner) -> Sequence[observed.Replica]:
        return self.observe(owner)

    def create(self, birth: observed.Birth) -> None:
        fault = self.create_faults.pop(0) if self.create_faults else None
        if fault is not None and not isinstance(fault, errors.AmbiguousError):
            self.effects.apply(f"failed create {birth.name}", lambda: None)
            raise fault
        if birth.name in self.bodies:
            raise errors.AlreadyExistsError(birth.name)
        self.on_create(birth)
        self.effects.apply(f"create {birth.name}", lambda: self._bear(birth))
        if fault is not None:
            raise fault

    def remove(self, replica: observed.Replica, *, grace_seconds: float) -> None:
        if self.remove_faults and (fault := self.remove_faults.pop(0)):
            raise fault
        body = self.bodies.get(replica.name)
        if body is None or body.uid != replica.uid:
            return
        self.on_remove(replica)
        self.effects.apply(f"remove {replica.name}", lambda: self._end(body))

    def watch(self, notify: Callable[[str | None], None], stop: Event) -> None:
        stop.wait()

    # The world's own doings.

    def hides(self) -> bool:
        """Whether observations are stale now."""
        return bool(self._hidden)

    def names(self) -> list[str]:
        self.settle()
        return sorted(self.bodies)

    def living(self) -> list[Body]:
        self.settle()
        alive = {observed.Phase.STARTING, observed.Phase.RUNNING}
        return [body for body in self.bodies.values() if body.phase in alive]

    def kill(self, name: str) -> None:
        """Its program exits; its record stays."""
        self._fail(self.bodies[name], "exited with signal 9")

    def vanish(self, name: str) -> None:
        """It is gone without a trace."""
        del self.bodies[name]

    def evict(self, name: str) -> None:
        """Somebody else deletes it."""
        self._end(self.bodies[name])

    def freeze(self, name: str) -> None:
        """SIGSTOP: it answers no more."""
        self.bodies[name].frozen = True

    def thaw(self, name: str) -> None:
        """SIGCONT."""
        self.bodies[name].frozen = False

    def seen(self, body: Body) -> observed.Replica:
        birth = body.birth
        return observed.Replica(
            name=birth.name,
            uid=body.uid,
            owner_uid=birth.owner.uid,
            member_id=birth.member_id,
            ordinal=birth.ordinal,
            attempt=birth.attempt,
            reason=birth.reason,
            revision=birth.revision,
            display_name=birth.display_name,
            phase=body.phase,
            created_at=body.created_at,
            ready=body.ready,
            ready_since=body.ready_since,
            unready_since=body.unready_since,
            address=body.address if body.phase is not observed.Phase.STARTING else None,
            restarts=body.restarts,
            message=body.message,
        )

    def adopt(self, replica: observed.Replica, owner: observed.Owner) -> Body:
        """Put a replica there that nobody here created."""
        birth = observed.Birth(
            owner=replace(owner, uid=replica.owner_uid),
            name=replica.name,
            display_name=replica.display_name,
            member_id=replica.member_id,
            ordinal=replica.ordinal,
            attempt=replica.attempt,
            reason=replica.reason,
            revision=replica.revision,
            template={},
        )
        return self._bear(birth)

    def settle(self) -> None:
        """Let time have done what it does."""
        now = self.clock()
        for name, body in list(self.bodies.items()):
            if body.gone_at is not None and body.gone_at <= now:
                del self.bodies[name]
            elif body.phase in {observed.Phase.STARTING, observed.Phase.RUNNING}:
                self._live(body, now)

    def _live(self, body: Body, now: float) -> None:
        if body.starts_at <= now:
            body.phase = observed.Phase.RUNNING
        if body.dies_at is not None and body.dies_at <= now:
            self._fail(body, "exited with code 1")
            return
        ready = body.ready_at <= now and not body.frozen
        if ready and not body.ready:
            body.ready_since, body.unready_since = now, None
        elif not ready and body.ready:
            body.ready_since, body.unready_since = None, now
        body.ready = ready

    def _bear(self, birth: observed.Birth) -> Body:
        now, number = self.clock(), next(self._ids)
        image = _image(birth.template)
        body = Body(
            birth=birth,
            uid=f"uid-{number}",
            address=f"127.0.0.1:{10_000 + number}",
            created_at=now,
            starts_at=now + self.start_seconds / 2,
            ready_at=float("inf") if image == "broken" else now + self.start_seconds,
            dies_at=now + self.start_seconds / 2 if image == "crash" else None,
        )
        body.unready_since = now
        self.bodies[birth.name] = body
        if self.unseen:
            self._hidden.add(body.uid)
        return body

    def _fail(self, body: Body, message: str) -> None:
        if body.phase is not observed.Phase.TERMINATING:
            body.phase, body.ready, body.message = observed.Phase.FAILED, False, message
            body.ready_since = None

    def _end(self, body: Body) -> None:
        if body.phase is observed.Phase.FAILED:
            body.gone_at = self.clock()
        elif body.phase is not observed.Phase.TERMINATING:
            body.gone_at = self.clock() + self.stop_seconds
        body.phase = observed.Phase.TERMINATING
        body.ready, body.ready_since = False, None


def _image(template: dict[str, Any]) -> str:
    containers = template.get("spec", {}).get("containers") or [{}]
    return str(containers[0].get("image", ""))
