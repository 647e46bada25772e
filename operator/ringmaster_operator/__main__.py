"""`ringmaster-operator`: the operator without a cluster. Wiring only.

SIGTERM and SIGINT make it stop acting and exit 0; replicas go on, and the next operator of the
same state folder finds them. Exit 1: fenced by another operator, or its surroundings are at fault.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import structlog

import ringmaster_operator
from ringmaster_operator import (
    announce,
    api,
    errors,
    local,
    logs,
    loop,
    naming,
    reconcile,
    spec,
    statedir,
)
from ringmaster_operator.api import access, views
from ringmaster_operator.runtimes import choice
from ringmaster_operator.store import watchlog
from ringmaster_operator.up import specfiles

POLL_SECONDS = 0.1  # how soon a signal or a fence is acted upon
LOOK_SECONDS = 1.0  # how soon a changed spec file is

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Settings:
    """The command line."""

    state: statedir.StateDir
    runtime: choice.Choice
    api: access.Settings
    balancer_urls: tuple[str, ...]
    balancer_ca: Path | None
    token_file: Path | None
    make_token: bool
    files: tuple[str, ...]
    create_missing: bool
    workers: int


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExamples:\n"
    "  ringmaster-operator -f web.yaml --balancer-url http://127.0.0.1:5001\n"
    "  ringmaster-operator --state-dir /var/lib/ringmaster --api-port 7071\n"
    "  ringmaster-operator --runtime kubernetes -n web --token-file token",
)
@click.version_option(ringmaster_operator.__version__, message="%(version)s")
@click.option(
    "--runtime",
    type=click.Choice(["process", "docker", "kubernetes"]),
    default="process",
    show_default=True,
    help="Where replicas live.",
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the state is kept.  [default: $RINGMASTER_STATE_DIR, else "
    "$XDG_STATE_HOME/ringmaster, else ~/.local/state/ringmaster]",
)
@click.option(
    "--api-host",
    default="127.0.0.1",
    show_default=True,
    help="Where the API listens. Beyond loopback it wants a token and is served with TLS.",
)
@click.option("--api-port", type=click.IntRange(0, 65535), default=7070, show_default=True)
@click.option(
    "--api-name",
    multiple=True,
    metavar="NAME",
    help="A host's name or address that clients call the API by; may be repeated.",
)
@click.option(
    "--api-token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The bearer token that the API wants.  [default: beyond loopback --token-file, else none]",
)
@click.option(
    "--api-published-on-loopback",
    "api_published",
    is_flag=True,
    help="Plain HTTP though --api-host is not loopback: nobody but friends can reach it there, as "
    "in a container whose port is published on the host's loopback only.",
)
@click.option(
    "--lab-host",
    metavar="HOST",
    help="Where balancers on other machines find /add and /rm, and nothing else, for the token "
    "that they share with us.  [default: nowhere]",
)
@click.option("--lab-port", type=click.IntRange(0, 65535), default=7071, show_default=True)
@click.option(
    "--docker-network",
    default="bridge",
    show_default=True,
    metavar="NAME",
    help="Docker: the network that replicas are on.",
)
@click.option(
    "--compose-project",
    default="",
    metavar="NAME",
    help="Docker: the compose project that replicas show up in.",
)
@click.option(
    "--balancer-url",
    multiple=True,
    metavar="URL",
    help="A balancer's control address, for ServerSets that name none; may be repeated.",
)
@click.option(
    "--balancer-ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Who signs the certificates of balancers at https://, PEM.  [default: the system's]",
)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The bearer token for balancers.  [default: token in the state folder]",
)
@click.option(
    "--make-token",
    is_flag=True,
    help="Make the --token-file if it is not there, for us and our group to read.",
)
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    metavar="PATH",
    help="Spec files or folders, applied when their content has changed; may be repeated.",
)
@click.option(
    "--create-missing/--no-create-missing",
    default=False,
    help="At start also create what the files name and is not there, though they did not change.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="ServerSets reconciled at the same time.",
)
@click.option(
    "-n",
    "--namespace",
    multiple=True,
    metavar="NAME",
    help="Kubernetes: whose ServerSets to look after; may be repeated.  [default: our own]",
)
@click.option(
    "-A",
    "--all-namespaces",
    is_flag=True,
    help="Kubernetes: those of every namespace, which takes a ClusterRole.",
)
def main(
    *,
    runtime: str,
    state_dir: Path | None,
    balancer_url: tuple[str, ...],
    docker_network: str,
    compose_project: str,
    namespace: tuple[str, ...],
    all_namespaces: bool,
    **rest: Any,
) -> None:
    """Keep ServerSets alive and tell the balancers who is in the ring.

    Without a cluster ServerSets are kept in the state folder and served by an API here; with
    --runtime kubernetes they are in the cluster of the pod's service account, or of $KUBECONFIG.
    SIGTERM and Ctrl-C end it; replicas go on, and the next operator finds them.
    """
    logs.configure()
    settings = Settings(
        state=statedir.StateDir(state_dir or statedir.default(os.environ)),
        runtime=choice.Choice(kind=runtime, network=docker_network, project=compose_project),
        api=_api(rest),
        balancer_urls=balancer_url,
        **rest,
    )
    try:
        if runtime == "kubernetes":
            run_in_cluster(settings, namespaces=namespace, everywhere=all_namespaces)
            return
        run(settings)
    except errors.RingmasterError as error:
        click.echo(f"ringmaster-operator: {errors.told(error)}", err=True)
        sys.exit(1)


def run_in_cluster(settings: Settings, *, namespaces: tuple[str, ...], everywhere: bool) -> None:
    """Be the operator of a Kubernetes cluster until a signal comes.

    Raises:
        FencedError: another operator acts.
        UsageError: something around us is not as it must be; one line.
    """
    # Here, so that nobody else loads the libraries for it.
    from ringmaster_operator import cluster  # noqa: PLC0415

    ending = threading.Event()
    _install(ending)
    cluster.run(
        cluster.Settings(
            namespaces=namespaces,
            everywhere=everywhere,
            api_host=settings.api.host,
            api_port=settings.api.port,
            balancer_urls=settings.balancer_urls,
            balancer_ca=settings.balancer_ca,
            token_file=settings.token_file,
            workers=settings.workers,
        ),
        ending,
    )


def _api(words: dict[str, Any]) -> access.Settings:
    """The words about the API, taken out of the command line's."""
    return access.Settings(
        host=words.pop("api_host"),
        port=words.pop("api_port"),
        names=words.pop("api_name"),
        published=words.pop("api_published"),
        token_file=words.pop("api_token_file"),
        fallback=words["token_file"],
        lab_host=words.pop("lab_host"),
        lab_port=words.pop("lab_port"),
    )


def run(settings: Settings) -> None:
    """Be the operator of a state folder until a signal comes.

    Raises:
        FencedError: another operator acts.
        UsageError: something around us is not as it must be; one line.
        SpecInvalidError: a spec file is wrong.
    """
    ending = threading.Event()
    _install(ending)
    settings.state.prepare()
    busy = (
        f"another operator acts on the state folder {settings.state.root}: `ringmaster down` "
        "stops it; --state-dir chooses another folder"
    )
    with (
        settings.state.lock("operator", busy=busy),
        local.opened(settings.state, settings.runtime) as world,
    ):
        door = access.decide(settings.api, settings.state.tls)
        files = _Files(settings, world)
        files.begin(missing=settings.create_missing)
        with _announcer(settings) as announcer:
            _act(settings, world, announcer, door=door, files=files, ending=ending)


def _act(
    settings: Settings,
    world: local.World,
    announcer: announce.HttpAnnouncer,
    *,
    door: access.Access,
    files: _Files,
    ending: threading.Event,
) -> None:
    epoch = world.records.raise_epoch(_highest_epoch(world, announcer))
    reconciler = reconcile.Reconciler(
        runtime=world.runtime, announcer=announcer, records=world.records, epoch=epoch
    )
    work = loop.Loop(
        reconciler=reconciler,
        owners=world.owners,
        settings=loop.Settings(workers=settings.workers),
    )

    def replicas(namespace: str, name: str) -> list[views.ReplicaView]:
        seen = world.views(namespace, name)
        return views.acknowledged(seen, reconciler.balancers(namespace, name))

    hooks = api.Hooks(
        replicas=replicas,
        check=world.runtime.check,
        ready=work.healthy,
        name_fault=world.runtime.name_fault,
        balancers=bool(settings.balancer_urls),
    )
    unsubscribe = world.records.subscribe(lambda change: _look_again(work, change))
    try:
        with door.serve(world.records, hooks, settings.state, lab_token=_token(settings)) as url:
            _log.info("operator-started", epoch=epoch, api=url)
            _run_until(work, world, files=files, ending=ending)
    finally:
        unsubscribe()
    _log.info("operator-stopped")


def _run_until(
    work: loop.Loop, world: local.World, *, files: _Files, ending: threading.Event
) -> None:
    """The loop in a thread; signals, files and the loop's own end in this one."""
    fenced: list[errors.FencedError] = []

    def act() -> None:
        try:
            work.run(world.runtime)
        except errors.FencedError as error:
            fenced.append(error)

    acting = threading.Thread(target=act, name="loop", daemon=True)
    acting.start()
    strays = local.Strays(world)
    next_look = time.monotonic() + LOOK_SECONDS
    while acting.is_alive() and not ending.is_set():
        time.sleep(POLL_SECONDS)
        if time.monotonic() >= next_look:
            files.look()
            strays.look()
            next_look = time.monotonic() + LOOK_SECONDS
    work.stop()
    acting.join()
    if fenced:
        raise fenced[0]


class _Files:
    """The spec files of the command line."""

    def __init__(self, settings: Settings, world: local.World) -> None:
        self._paths = settings.files
        self._records = world.records
        self._check = world.runtime.check
        self._applier = specfiles.Applier(
            records=world.records,
            remembered=settings.state.applied_file,
            check=world.runtime.check,
        )
        self._stamp: specfiles.Stamp | None = specfiles.stamp(self._paths)
        self._said = ""

    def begin(self, *, missing: bool) -> None:
        """Apply at the start. A wrong file is an end only where there is nothing else to do.

        Raises:
            RingmasterError: a file is wrong, and no set is stored.
        """
        try:
            self.apply(missing=missing)
        except errors.RingmasterError as error:
            if not self._records.list().items:
                raise
            self._refuse(error)

    def apply(self, *, missing: bool) -> None:
        """Apply what has changed since it was applied last.

        Raises:
            SpecInvalidError: a file is wrong; nothing was applied.
        """
        if not self._paths:
            return
        found = specfiles.checked(specfiles.read(self._paths), self._check)
        for line in self._applier.apply(found, missing=missing):
            _log.info("applied", what=line)
        self._said = ""

    def look(self) -> None:
        """Apply the files if they were touched; what is wrong is logged and what was stays."""
        stamp = specfiles.stamp(self._paths)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self.apply(missing=False)
        except errors.RingmasterError as error:
            self._refuse(error)

    def _refuse(self, error: errors.RingmasterError) -> None:
        """What is not the file's fault may pass without a touch: looked at again, said once."""
        if not isinstance(error, errors.SpecInvalidError):
            self._stamp = None
            if errors.told(error) == self._said:
                return
        self._said = errors.told(error)
        _log.error("spec-file-refused", why=self._said)


@contextmanager
def _announcer(settings: Settings) -> Iterator[announce.HttpAnnouncer]:
    made = announce.HttpAnnouncer(
        find=announce.listed(settings.balancer_urls),
        token=_token(settings),
        settings=announce.trusting(settings.balancer_ca),
    )
    try:
        yield made
    finally:
        made.close()


def _token(settings: Settings) -> str:
    if settings.token_file is None:
        return settings.state.token()
    if settings.make_token:
        statedir.make_token(settings.token_file, mode=0o640)
    try:
        return statedir.read_token(settings.token_file)
    except FileNotFoundError as error:
        raise errors.UsageError(f"there is no token file {settings.token_file}") from error


def _highest_epoch(world: local.World, announcer: announce.HttpAnnouncer) -> int:
    """What any balancer knows of earlier operators' lives."""
    views = (
        view
        for document in world.records.list().items
        for view in announcer.read_back(local.owner(document), _balancer(document)).views
    )
    return max((view.epoch for view in views), default=0)


def _balancer(document: dict[str, Any]) -> spec.Balancer:
    """A set that today's rules refuse keeps nobody from starting; its look says what is wrong."""
    try:
        return spec.parse(document).spec.balancer
    except errors.SpecInvalidError:
        return spec.Balancer()


def _look_again(work: loop.Loop, change: watchlog.Change) -> None:
    """A write of somebody else's is a reason to look; our own status is none."""
    metadata, before = change.document["metadata"], change.previous
    if change.resource != naming.PLURAL:
        return
    if before is None or {**before, "status": 0, "metadata": _essence(before)} != {
        **change.document,
        "status": 0,
        "metadata": _essence(change.document),
    }:
        work.enqueue(metadata["namespace"], metadata["name"])


def _essence(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document["metadata"].items() if key != "resourceVersion"}


def _install(ending: threading.Event) -> None:
    def end(_number: int, _frame: object) -> None:
        # From a thread of its own: the interrupted main thread may hold the event's lock.
        threading.Thread(target=ending.set, daemon=True).start()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)


if __name__ == "__main__":
    main()
