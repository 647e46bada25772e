"""The operator of a Kubernetes cluster: what it consists of, and its life.

Law: wiring only. What is kept is in the API server; of this process nothing outlives it.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from ringmaster_operator import (
    announce,
    errors,
    handlers,
    loop,
    observed,
    reconcile,
    spec,
    statedir,
    workqueue,
)
from ringmaster_operator.api import cluster_app, serving, views
from ringmaster_operator.kube import balancers, client, events, leases, memos, records
from ringmaster_operator.runtimes import kubernetes

_POLL_SECONDS = 0.1  # how soon a signal or a fence is acted upon
# Without a success for so long, the kubelet may try a fresh process. An outage of the API server
# is longer now and then, and costs a restart.
_DEAD_SECONDS = 180.0
_READY_SECONDS = 60.0
# An API server that was away is found again within 5 s.
_PACE = workqueue.Pace(longest_backoff=5.0)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Settings:
    """The command line, as far as a cluster is concerned. No namespace: the operator's own."""

    namespaces: tuple[str, ...]
    everywhere: bool
    api_host: str
    api_port: int
    balancer_urls: tuple[str, ...]
    token_file: Path | None
    workers: int
    balancer_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class World:
    """An opened cluster."""

    records: records.Records
    runtime: kubernetes.KubernetesRuntime
    epochs: leases.Epochs
    api: client.Api
    scope: handlers.Scope

    def owners(self) -> list[observed.Owner]:
        """Every ServerSet there is in our scope."""
        return [_owner(document) for document in self.records.list(self.scope.namespaces)]

    def views(self, namespace: str, name: str) -> Sequence[views.ReplicaView]:
        """The replicas of a ServerSet and where they stand in the ring, in order of creation."""
        document = self.records.sets.get(namespace, name)
        if document is None:
            return []
        states = {each.uid: each.state for each in memos.decode(memos.text(document)).members}
        return [
            views.ReplicaView(replica=replica, state=states.get(replica.uid, ""))
            for replica in sorted(
                self.runtime.look(_owner(document)), key=lambda each: each.created_at
            )
        ]


@contextmanager
def opened(settings: Settings) -> Iterator[World]:
    """Connect to the cluster.

    Raises:
        UsageError: there is none.
    """
    access = client.access()
    scope = handlers.Scope(
        namespaces=() if settings.everywhere else settings.namespaces or (access.namespace,),
        everywhere=settings.everywhere,
    )
    with ExitStack() as stack:
        api = client.Api(access.configuration)
        stack.callback(api.close)
        poster = events.Poster(api)
        stack.callback(poster.close)
        yield World(
            records=records.Records(api, post=poster.post),
            runtime=kubernetes.KubernetesRuntime(
                api, watcher=handlers.Watch(scope, access).watch, post=poster.post
            ),
            epochs=leases.Epochs(
                api,
                namespace=access.namespace if scope.everywhere else scope.namespaces[0],
                holder=socket.gethostname(),
            ),
            api=api,
            scope=scope,
        )


def run(settings: Settings, ending: threading.Event) -> None:
    """Be the operator of a cluster until `ending` is set.

    Raises:
        FencedError: another operator acts.
        UsageError: something around us is not as it must be; one line.
    """
    token = _token(settings)
    with opened(settings) as world, ExitStack() as stack:
        announcer = announce.HttpAnnouncer(
            find=balancers.finder(world.api, settings.balancer_urls),
            token=token,
            settings=announce.trusting(settings.balancer_ca),
        )
        stack.callback(announcer.close)
        health = _Health()
        acting: list[reconcile.Reconciler] = []  # once there is one

        def replicas(namespace: str, name: str) -> Sequence[views.ReplicaView]:
            held = [view for each in acting for view in each.balancers(namespace, name)]
            return views.acknowledged(world.views(namespace, name), held)

        app = cluster_app.make_app(
            world.records.sets,
            replicas,
            token=token,
            alive=health.alive,
            ready=health.ready,
            name_fault=world.runtime.name_fault,
        )
        port = stack.enter_context(
            serving.serve(app, settings.api_host, settings.api_port, published=True)
        )
        epoch = _raise_epoch(world, announcer, ending)
        if epoch is None:
            return
        reconciler = reconcile.Reconciler(
            runtime=world.runtime, announcer=announcer, records=world.records, epoch=epoch
        )
        stack.callback(reconciler.close)
        acting.append(reconciler)

        def owners() -> list[observed.Owner]:
            world.epochs.check(epoch)
            return world.owners()

        health.loop = loop.Loop(
            reconciler=reconciler,
            owners=owners,
            settings=loop.Settings(workers=settings.workers, pace=_PACE),
        )
        _log.info(
            "operator-started",
            epoch=epoch,
            api=f"{settings.api_host}:{port}",
            namespaces=",".join(world.scope.namespaces) or "all",
        )
        _run_until(health.loop, world, ending)
    _log.info("operator-stopped")


class _Health:
    """What the kubelet asks; there before the loop is."""

    def __init__(self) -> None:
        self.loop: loop.Loop | None = None
        self._born = time.monotonic()

    def alive(self) -> bool:
        """Whether a restart would not help."""
        young = time.monotonic() - self._born < _DEAD_SECONDS
        return young or (self.loop is not None and self.loop.healthy(within=_DEAD_SECONDS))

    def ready(self) -> bool:
        """Whether it acts."""
        return self.loop is not None and self.loop.healthy(within=_READY_SECONDS)


def _run_until(work: loop.Loop, world: World, ending: threading.Event) -> None:
    """The loop in a thread; signals and the loop's own end in this one."""
    fenced: list[errors.FencedError] = []

    def act() -> None:
        try:
            work.run(world.runtime)
        except errors.FencedError as error:
            fenced.append(error)

    acting = threading.Thread(target=act, name="loop", daemon=True)
    acting.start()
    while acting.is_alive() and not ending.wait(_POLL_SECONDS):
        pass
    work.stop()
    acting.join()
    if fenced:
        raise fenced[0]


def _raise_epoch(
    world: World, announcer: announce.HttpAnnouncer, ending: threading.Event
) -> int | None:
    """Above every epoch that a balancer, a memory or the Lease knows. None: ended meanwhile."""
    patience = 0.5
    while not ending.is_set():
        try:
            return world.epochs.raise_above(_highest(world, announcer))
        except errors.RetryLater as error:
            _log.warning("not-started-yet", why=str(error))
            ending.wait(patience)
            patience = min(2 * patience, 10.0)
    return None


def _highest(world: World, announcer: announce.HttpAnnouncer) -> int:
    known = [0]
    for document in world.records.list(world.scope.namespaces):
        known.append(memos.decode(memos.text(document)).epoch)
        try:
            config = spec.parse(document).spec.balancer
        except errors.SpecInvalidError:
            continue  # refused later, with its faults
        known += [view.epoch for view in announcer.read_back(_owner(document), config).views]
    return max(known)


def _token(settings: Settings) -> str:
    if settings.token_file is None:
        raise errors.UsageError(
            "on Kubernetes the balancers' token comes from a Secret: --token-file PATH"
        )
    try:
        return statedir.read_token(settings.token_file)
    except FileNotFoundError as error:
        raise errors.UsageError(f"there is no token file {settings.token_file}") from error


def _owner(document: records.Document) -> observed.Owner:
    metadata = document["metadata"]
    return observed.Owner(metadata["namespace"], metadata["name"], metadata["uid"])
