"""`ringmaster up`: operator and balancer in one foreground command.

Law: `up` only supervises; no request and no decision passes through it. Operator and balancer are
sessions of their own that log to files, so a `kill -9` of `up` stops nothing: replicas, balancer
and operator go on. The next `up` on the state folder finds both by their records. The balancer
is supervised on as it is if it was ordered in the very same words, so that no request is lost,
else ended gracefully and started anew; the operator, through which no traffic goes, is always
replaced, and the new one adopts the replicas. Ctrl-C and SIGTERM end all (`shutdown`); a second
one no longer waits for anything.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ringmaster_operator import errors, spec, statedir, store
from ringmaster_operator.runtimes import choice
from ringmaster_operator.up import children, logsize, occupied, progress, shutdown, specfiles, tail

_TURN = 0.1  # seconds between two looks at the children
_HARD = 130  # exit code after a second Ctrl-C, as a shell has it
_FIRST_RING = "default/web"  # where there is no ServerSet yet

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """The command line of `up`."""

    state: statedir.StateDir
    files: tuple[str, ...] = ()
    host: str = "127.0.0.1"  # the lab API knows no users: nobody else's business unless asked for
    port: int = 5000
    control_port: int = 5001
    api_port: int = 7070
    workers: int | None = None
    lab_api: bool = True
    hash_path: Path | None = None
    runtime: str | None = None  # None: the one that the state folder has
    docker_network: str | None = None
    verbose: bool = False


class Signals:
    """Counts the requests to end. The handlers only count: whoever works asks."""

    def __init__(self) -> None:
        self._count = 0

    def install(self) -> None:
        """Take SIGINT, SIGTERM and (unless nohup has it ignored) SIGHUP."""
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._handle)

    def ending(self) -> bool:
        """Whether to end."""
        return self._count > 0

    def hurried(self) -> bool:
        """Whether to end without waiting."""
        return self._count > 1

    def _handle(self, _number: int, _frame: Any) -> None:
        self._count += 1


def run(settings: Settings, *, say: Say) -> int:
    """Run until a signal comes; the exit code.

    Raises:
        UsageError: a port is taken, the state folder cannot be written, another `up` has it;
            the operator or the balancer cannot start, and nothing ran before: all is ended again.
        SpecInvalidError: a spec file is wrong; nothing was started.
    """
    chosen = _chosen(settings)
    found = _found(settings.files, runtime=chosen.kind)
    state = settings.state
    state.prepare()
    with state.lock("up", busy=_busy(state)):
        if children.find_up(state):  # whose folder was removed, and its lock with it
            raise errors.UsageError(_busy(state))
        state.token()
        signals = Signals()
        signals.install()
        _check_ports(settings)
        name = ring(state, found)
        supervised = _take_over(settings, name, say=say)
        forgiven: tuple[type[Exception], ...] = ()
        try:
            _record_ourselves(state, name)
            _supervise(settings, name, supervised, signals, say=say)
        except children.HopelessError:
            # What keeps the operator from its replicas keeps us from them too, and was said.
            forgiven = (errors.RingmasterError,)
            raise
        finally:
            say("stopping: the balancer finishes its requests (Ctrl-C again to end at once)")
            with contextlib.suppress(*forgiven):
                shutdown.end_all(state, chosen=chosen, say=say, hurry=signals.hurried)
            state.run_file("up").unlink(missing_ok=True)
    return _HARD if signals.hurried() else 0


def ring(state: statedir.StateDir, found: Sequence[specfiles.Found]) -> str:
    """The ring that the balancer serves: that of the first ServerSet in the files.

    Without files, of those that are kept the one served last, else the oldest.
    """
    if found:
        return "/".join(found[0].key())
    last = str(statedir.read_json(state.ring_file).get("ring", ""))
    kept = _kept(state)
    return kept[0] if kept and last not in kept else last or _FIRST_RING


def _kept(state: statedir.StateDir) -> list[str]:
    """The ServerSets of the state folder, oldest first."""
    if not state.database.exists():
        return []
    with contextlib.closing(store.Store(state.database)) as records:
        metadata = [document["metadata"] for document in records.list().items]
    metadata.sort(key=lambda each: each["creationTimestamp"])
    return [f"{each['namespace']}/{each['name']}" for each in metadata]


def orders(settings: Settings, name: str) -> tuple[children.Order, ...]:
    """What `up` runs for a ring, the balancer first: it listens while the operator starts."""
    return _balancer(settings, name), _operator(settings)


def _balancer(settings: Settings, name: str) -> children.Order:
    state = settings.state
    argv = [sys.executable, "-m", "ringmaster_balancer", "--ring", name]
    argv += ["--host", settings.host, "--port", str(settings.port)]
    argv += ["--control-host", "127.0.0.1", "--control-port", str(settings.control_port)]
    argv += ["--token-file", str(state.token_file), "--state-dir", str(state.balancer)]
    argv += ["--drain-seconds", str(shutdown.DRAIN_SECONDS)]
    if settings.workers is not None:
        argv += ["--workers", str(settings.workers)]
    if settings.hash_path is not None:
        argv += ["--hash-path", str(settings.hash_path.absolute())]
    if settings.lab_api:
        argv += ["--lab-api", "--operator-url", f"http://127.0.0.1:{settings.api_port}"]
    return children.Order(
        name="balancer", argv=tuple(argv), ports=(settings.port, settings.control_port)
    )


def _operator(settings: Settings) -> children.Order:
    argv = [sys.executable, "-m", "ringmaster_operator", "--state-dir", str(settings.state.root)]
    chosen = _chosen(settings)
    argv += ["--runtime", chosen.kind]
    if chosen.kind == choice.DOCKER:
        argv += ["--docker-network", chosen.network]
    argv += ["--api-port", str(settings.api_port)]
    argv += ["--balancer-url", f"http://127.0.0.1:{settings.control_port}"]
    for file in settings.files:
        argv += ["-f", file]
    # The user who types `up -f web.yaml` wants `web`, even if it was deleted since; an operator
    # that is merely started again must not bring back what was deleted meanwhile.
    return children.Order(
        name="operator",
        argv=tuple(argv),
        ports=(settings.api_port,),
        first_only=("--create-missing",),
    )


def _chosen(settings: Settings) -> choice.Choice:
    """The runtime of the command line, else the folder's."""
    before = choice.recorded(settings.state)
    return choice.Choice(
        kind=settings.runtime or before.kind, network=settings.docker_network or before.network
    )


def _found(files: Sequence[str], *, runtime: str) -> list[specfiles.Found]:
    if "-" in files:
        raise errors.UsageError("up cannot read standard input: it reads its spec files again")
    check = functools.partial(spec.unsupported, runtime=runtime)
    return specfiles.checked(specfiles.read(files), check) if files else []


def _check_ports(settings: Settings) -> None:
    """Refuse ports that somebody else has; what an earlier `up` left is taken over, or ended."""
    state = settings.state
    flags = {"--port": settings.port, "--control-port": settings.control_port}
    flags["--api-port"] = settings.api_port
    ours = {port for name in ("balancer", "operator") for port in children.ports(state, name)}
    occupied.check(flags, host=settings.host, ours=ours)


def _take_over(settings: Settings, name: str, *, say: Say) -> list[children.Child]:
    """Adopt or end what an earlier `up` left, then start what is missing.

    If that fails, what was started here is ended again; what was found goes on as it was. Where
    something was found, requests may be served: no child's trouble ends that.
    """
    state = settings.state
    found = False
    if children.end_named(state, "operator", grace=shutdown.OPERATOR_GRACE):
        found = True
        say("took over from an earlier operator; its replicas go on")
    with state.lock("operator", busy=f"an operator that `up` did not start acts on {state.root}"):
        pass
    supervised: list[children.Child] = []
    started: list[children.Child] = []
    try:
        for order in orders(settings, name):
            child = children.Child(order=order, state=state)
            if child.adopt():
                found = True
                say(f"adopted the running {order.name} (pid {child.pid})")
            else:
                found |= children.end_named(state, order.name, grace=shutdown.BALANCER_GRACE)
                child.start()
                started.append(child)
            supervised.append(child)
    except BaseException:
        for child in started:
            child.end(grace=shutdown.OPERATOR_GRACE)
        raise
    for child in supervised:
        child.proven = found
    return supervised


def _supervise(
    settings: Settings,
    name: str,
    supervised: Sequence[children.Child],
    signals: Signals,
    *,
    say: Say,
) -> None:
    logs = {child.order.name: settings.state.log_file(child.order.name) for child in supervised}
    tails = [tail.Tail(each, path) for each, path in logs.items()]
    bound = logsize.Bound(
        logs.values(),
        written=lambda: [(child.pid, child.log) for child in supervised if child.pid],
    )
    watched = progress.Progress(
        server=f"http://127.0.0.1:{settings.api_port}",
        balancer=f"http://127.0.0.1:{settings.control_port}",
        ring=name,
        hint=_hint(settings, name=name.partition("/")[2]),
        empty=_empty(settings, name=name),
        say=say,
    )
    watched.start()
    bound.start()
    there = True
    try:
        while not signals.ending():
            # Not the folder itself: the balancer makes it again, for what it keeps.
            if there and not settings.state.run_file("up").exists():
                there = False
                say(
                    f"the state folder {settings.state.root} was removed: nothing that ends is "
                    "started again; Ctrl-C, or `ringmaster down`, ends all"
                )
            for child in supervised:
                if line := child.tend():
                    say(line)
            for each in tails:
                for line in each.lines(everything=settings.verbose):
                    say(line)
            time.sleep(_TURN)
    finally:
        watched.close()
        bound.close()


def _hint(settings: Settings, *, name: str) -> list[str]:
    """What to try once all is ready; `name` is the ServerSet's that the balancer serves."""
    where = _where(settings)
    return [
        "",
        f"  curl http://localhost:{settings.port}/home",
        f"  ringmaster{where} get",
        f"  ringmaster{where} scale serverset/{name} --replicas=5",
        f"  http://localhost:{settings.control_port}/ in a browser",
        "",
        "Ctrl-C ends everything.",
    ]


def _empty(settings: Settings, *, name: str) -> list[str]:
    """What to do where there is no ServerSet; `name` is the one that the balancer will serve."""
    where = _where(settings)
    return [f"no ServerSet yet: ringmaster{where} apply -f FILE (the balancer serves {name})"]


def _where(settings: Settings) -> str:
    """The words by which `ringmaster` finds the state folder, if it would not by itself."""
    usual = settings.state.root == statedir.default(os.environ)
    return "" if usual else f" --state-dir {settings.state.root}"


def _busy(state: statedir.StateDir) -> str:
    other = children.find_up(state)
    return (
        f"another `ringmaster up` (pid {other.pid if other else 'unknown'}) runs on the state folder {state.root}: "
        "`ringmaster down` ends it; --state-dir chooses another folder"
    )


def _record_ourselves(state: statedir.StateDir, name: str) -> None:
    with contextlib.suppress(OSError):  # the next `up` without files then takes the oldest set
        statedir.write_atomically(state.ring_file, json.dumps({"ring": name}))
    order = children.Order(name="up", argv=tuple(sys.argv), ports=())
    children.write_record(state, order, psutil.Process())
