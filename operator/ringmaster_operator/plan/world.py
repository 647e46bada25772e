"""One ServerSet at one moment: what was observed, read with the spec's eyes.

Law: pure and frozen. Only judgements on single replicas live here, no decisions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ringmaster_operator import memory, observed, spec
from ringmaster_operator.plan import backdating

_MAY_GET_REQUESTS = frozenset({"active", "unconfirmed"})
_ALIVE = frozenset({observed.Phase.STARTING, observed.Phase.RUNNING})


@dataclass(frozen=True)
class World:
    """The spec, the replicas that are ours, the live balancers, the time."""

    server_set: spec.ServerSet
    replicas: tuple[observed.Replica, ...]
    balancers: tuple[observed.BalancerView, ...]
    proven: frozenset[str]  # uids of replicas that have been ready once
    stand_ins: dict[str, memory.StandIn]  # for moments of replicas that lie in the future
    revisions: tuple[memory.Revision, ...]  # what the replicas run
    now: float

    @property
    def spec(self) -> spec.Spec:
        """What shall exist."""
        return self.server_set.spec

    @property
    def deleting(self) -> bool:
        """Whether the ServerSet is to go, with all it has."""
        return self.server_set.metadata.deletion_timestamp is not None

    @property
    def wanted(self) -> int:
        """How many places there shall be."""
        return 0 if self.deleting else self.spec.replicas

    @property
    def ceiling(self) -> int:
        """How many replicas may exist at once."""
        return self.wanted + self.spec.surge()

    @property
    def floor(self) -> int:
        """How many places a rollout must keep available."""
        return self.wanted - self.spec.unavailable()

    @cached_property
    def groups(self) -> Mapping[int, tuple[observed.Replica, ...]]:
        """The living replicas of each ordinal that has any, by attempt."""
        groups: dict[int, list[observed.Replica]] = {}
        for replica in sorted(self.replicas, key=lambda r: (r.attempt, r.created_at, r.uid)):
            if alive(replica):
                groups.setdefault(replica.ordinal, []).append(replica)
        return {ordinal: tuple(group) for ordinal, group in groups.items()}

    def group(self, ordinal: int) -> tuple[observed.Replica, ...]:
        """The living replicas of an ordinal."""
        return self.groups.get(ordinal, ())

    def available(self, replica: observed.Replica) -> bool:
        """Ready for `minReadySeconds` and reachable: it may enter the ring."""
        due = self.available_at(replica)
        return due is not None and due <= self.now

    def available_at(self, replica: observed.Replica) -> float | None:
        """When it is available if it stays ready; None while it is not."""
        if not ready(replica):
            return None
        since = self.now if replica.ready_since is None else replica.ready_since
        return since + self.spec.min_ready_seconds if self.spec.min_ready_seconds else self.now

    def sick(self, replica: observed.Replica) -> bool:
        """Unready for too long: it is to be replaced."""
        due = self.sick_at(replica)
        return due is not None and due <= self.now

    def sick_at(self, replica: observed.Replica) -> float | None:
        """When it is sick if it stays unready; None while it is ready, or not even running.

        A slow start is no illness: one that has never been ready has as long as a rollout may go
        without progress, and at least what its startup probe allows. A kubelet would wait for ever
        where there is no such probe; a start that hangs would then hang for good.
        """
        if replica.ready or replica.phase is not observed.Phase.RUNNING:
            return None
        since = replica.created_at if replica.unready_since is None else replica.unready_since
        if replica.uid in self.proven:
            return since + self.spec.unhealthy_after_seconds
        return since + max(
            self.spec.progress_deadline_seconds,
            self.spec.unhealthy_after_seconds,
            _probe_allowance(self._template(replica)),
        )

    def _template(self, replica: observed.Replica) -> Mapping[str, Any]:
        """What it runs; the spec's while that is not remembered."""
        known = (r.template for r in self.revisions if r.hash == replica.revision)
        return next(known, self.spec.template)

    @property
    def silent(self) -> str:
        """The live balancers that do not tell what they hold, in words; empty if all do."""
        return "; ".join(f"{b.url}: {b.message}" for b in self.balancers if not b.known)

    def held_active(self, replica: observed.Replica) -> bool:
        """Whether any live balancer may still send it new requests, as far as is known."""
        return bool(self.silent) or self.said_active(replica)

    def said_active(self, replica: observed.Replica) -> bool:
        """Whether any live balancer says that it may still send it new requests."""
        return any(
            held is not None and held.state in _MAY_GET_REQUESTS
            for held in (view.members.get(replica.display_name) for view in self.balancers)
        )

    def busy(self, replica: observed.Replica) -> bool:
        """Whether a live balancer has requests in flight to it."""
        return any(
            held is not None and held.in_flight > 0
            for held in (view.members.get(replica.display_name) for view in self.balancers)
        )


def look(
    server_set: spec.ServerSet, seen: observed.Observed, before: memory.Memory, now: float
) -> World:
    """The world of a plan: replicas of other owners and dead balancers are left out."""
    ours = tuple(r for r in seen.replicas if r.owner_uid == server_set.metadata.uid)
    proven = {replica.uid for replica in ours if replica.ready}
    stand_ins = backdating.stand_ins(ours, before.stand_ins, now)
    return World(
        server_set=server_set,
        replicas=tuple(backdating.seen(replica, stand_ins) for replica in ours),
        balancers=tuple(view for view in seen.balancers if view.live),
        proven=frozenset({r.uid for r in ours} & (set(before.proven) | proven)),
        stand_ins=stand_ins,
        revisions=before.revisions,
        now=now,
    )


def alive(replica: observed.Replica) -> bool:
    """Whether it serves or may come to serve: neither failed nor being deleted."""
    return replica.phase in _ALIVE


def ready(replica: observed.Replica) -> bool:
    """Whether it serves now, however long it has."""
    return alive(replica) and replica.ready and bool(replica.address)


def _probe_allowance(template: Mapping[str, Any]) -> float:
    """Seconds that the probes of the first container allow for a start."""
    containers = template.get("spec", {}).get("containers") or [{}]
    startup = containers[0].get("startupProbe") or {}
    readiness = containers[0].get("readinessProbe") or {}
    tries = float(startup.get("failureThreshold", 3)) * float(startup.get("periodSeconds", 10))
    delay = float(startup.get("initialDelaySeconds", 0))
    return float(readiness.get("initialDelaySeconds", 0)) + (delay + tries if startup else 0.0)
