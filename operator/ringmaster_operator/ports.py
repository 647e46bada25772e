"""What the reconcile needs of the outside world: four narrow ports.

Law: everything here is plain blocking code, called from worker threads; an implementation raises
only what `errors` names, and never decides. One contract suite (tests/contract) runs over the fake
and each real adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event
from typing import TYPE_CHECKING, Any, Protocol

from ringmaster_operator import errors, observed

if TYPE_CHECKING:
    from ringmaster_operator import memory, spec


# What may have changed: a ServerSet, by UID or in full, or (None) any.
Notify = Callable[[str | observed.Owner | None], None]


class Runtime(Protocol):
    """Where replicas live."""

    def check(self, template: dict[str, Any]) -> Sequence[errors.Fault]:
        """What this runtime cannot honour in a template, with the fields' paths."""
        ...

    def observe(self, owner: observed.Owner) -> Sequence[observed.Replica]:
        """Every replica of this owner (by UID), gone ones left out. A level, read whole.

        For the one reconcile of this owner: a runtime may claim or let go of replicas first.

        Raises:
            RetryLater: the runtime did not answer.
        """
        ...

    def look(self, owner: observed.Owner) -> Sequence[observed.Replica]:
        """As `observe`, from any thread: whatever a runtime does to claim replicas, it does not.

        Raises:
            RetryLater: the runtime did not answer.
        """
        ...

    def create(self, birth: observed.Birth) -> None:
        """Start one replica. Returns when it exists, not when it is ready.

        Raises:
            AlreadyExistsError: the name is taken.
            RefusedError: it will not work until somebody changes something.
            AmbiguousError: it may exist now.
            RetryLater: it does not exist; try again.
        """
        ...

    def remove(self, replica: observed.Replica, *, grace_seconds: float) -> None:
        """Begin the deletion of this very instance (`uid`): SIGTERM, after the grace SIGKILL.

        Returns once the deletion has begun; what is gone already, or has another UID, is left
        alone without an error.
        """
        ...

    def watch(self, notify: Notify, stop: Event) -> None:
        """Call `notify(owner or its uid, or None for all)` whenever something may have changed.

        Blocks until `stop` is set. Hints only: some may be lost, the 15 s pass covers that.
        """
        ...


class Announcer(Protocol):
    """The balancers of one ServerSet."""

    def read_back(self, key: observed.Owner, config: spec.Balancer) -> observed.Balancers:
        """Find every balancer and read what it holds, dead ones listed with `live=False`."""
        ...

    def announce(
        self, key: observed.Owner, config: spec.Balancer, document: dict[str, Any]
    ) -> observed.Balancers:
        """Push the full membership to every balancer by itself; the views tell who holds it now.

        Raises:
            FencedError: a balancer knows a higher epoch.
        """
        ...

    def judge(
        self, key: observed.Owner, config: spec.Balancer, change: dict[str, Any]
    ) -> Sequence[observed.Judgement]:
        """Ask every balancer what a change (`ring`, `members`) would do; nothing is changed."""
        ...

    def withdraw(self, key: observed.Owner, config: spec.Balancer) -> None:
        """End the ring on every balancer."""
        ...


class Records(Protocol):
    """Where ServerSets and what the operator must remember are kept."""

    def get(self, namespace: str, name: str) -> dict[str, Any] | None:
        """The ServerSet's document as stored now (not from a cache), None if it is gone."""
        ...

    def load_memory(self, owner: observed.Owner) -> memory.Memory:
        """What an earlier reconcile saved, or an empty one."""
        ...

    def save_memory(self, owner: observed.Owner, value: memory.Memory) -> None:
        """Durable when it returns."""
        ...

    def write_status(self, owner: observed.Owner, status: dict[str, Any]) -> None:
        """Replace our part of the status; conditions of other writers stay."""
        ...

    def consume(
        self, owner: observed.Owner, *, names: Sequence[str] = (), victims: Sequence[str] = ()
    ) -> None:
        """Take used names out of `spec.names` and gone ones out of `spec.scaleDown.victims`."""
        ...

    def forget(self, owner: observed.Owner) -> None:
        """The set's last replica is gone: remove what is left of a deleted ServerSet."""
        ...

    def event(self, owner: observed.Owner, *, kind: str, reason: str, message: str) -> None:
        """Record a Kubernetes-style event; `kind` is Normal or Warning. Never raises."""
        ...
