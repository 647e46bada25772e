"""Replicas as containers of a Docker Engine, found again by their labels.

Law: translation without decisions. What exists is what the engine lists; its events are hints,
each of which, like a stream that ends or begins anew, leads to a full list. A container that ended
stays visible as failed until it is removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from ringmaster_operator import background, errors, naming, observed, ports, probes, readiness, spec
from ringmaster_operator.runtimes import (
    docker_engine,
    docker_events,
    docker_images,
    docker_notes,
    docker_spec,
    docker_view,
    grace,
)

_NO_NAME = "no name that Docker allows: two or more letters, digits, '_', '.' and '-'"
_DELETES_AT_ONCE = 8
_PROBES_AT_ONCE = 32  # calls about probes by command; what a command takes is waited for elsewhere
_POLL_SECONDS, _MAX_POLL_SECONDS = 0.05, 0.5  # between looks at a command that runs


class DockerRuntime:
    """Implements `ports.Runtime` over an engine; `folder` keeps what labels cannot say.

    Made over the folder of an earlier one it goes on where that was. `close` leaves all running.
    """

    def __init__(
        self,
        folder: Path,
        *,
        network: str = "bridge",
        project: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Connect. `network` is where replicas are, `project` the compose project they belong to.

        Raises:
            UsageError: no engine answers, there is no such network, or the folder is not ours.
        """
        self._clock = clock
        self._log = structlog.get_logger()
        self._engine = docker_engine.Engine()
        try:
            _check_network(self._engine, network)
            self._notes = docker_notes.Notes(folder)
        except OSError as error:
            self._engine.close()
            raise errors.UsageError(f"cannot use {folder}: {error.strerror}") from error
        except errors.RingmasterError:
            self._engine.close()
            raise
        self._place = docker_spec.Place(
            network,
            cpus=self._engine.cpus,
            project=project,
            log_driver=self._engine.log_driver,
            mark=mark(folder),
        )
        self._images = docker_images.Images(self._engine)
        self._lock = threading.Lock()
        self._creating: set[str] = set()
        self._deleting: set[str] = set()
        self._seen: dict[str, tuple[tuple[Any, ...], docker_view.Container]] = {}
        self._changes = 0  # events so far
        self._followed: dict[str, tuple[float, str | None]] = {}
        self._last_words: dict[str, str] = {}
        self._commanded: dict[str, str] = {}  # the command of a probe that may still run
        self._ends: dict[str, float] = {}  # terminations whose end is scheduled, and when it is
        self._watchers: list[ports.Notify] = []
        self._pool = futures.ThreadPoolExecutor(_DELETES_AT_ONCE, thread_name_prefix="docker")
        self._commands = futures.ThreadPoolExecutor(_PROBES_AT_ONCE, thread_name_prefix="probe")
        self._background = background.Background(name="docker-runtime")
        self._prober = probes.Prober(self._background, self._readiness_changed, clock=clock)
        self._events = docker_events.Events(self._engine, self._happened)

    def check(self, template: dict[str, Any]) -> Sequence[errors.Fault]:
        """What a container cannot honour, and what this engine would refuse."""
        found = spec.unsupported(template, runtime="docker")
        return found or tuple(docker_spec.faults(template))

    def name_fault(self, name: str) -> str:
        """Why no replica can have this name now, or nothing: every container counts."""
        if not docker_spec.is_name(name):
            return _NO_NAME
        return "already in use by a container" if self._engine.is_taken(name) else ""

    def observe(self, owner: observed.Owner) -> Sequence[observed.Replica]:
        """Every container of this owner; one that vanishes meanwhile is left out."""
        noted = self._notes.of(owner.uid)  # first: what is made meanwhile may not be listed yet
        listed = self._engine.listed({naming.LABEL_SET_UID: owner.uid})
        found = [container for entry in listed if (container := self._look(entry)) is not None]
        gone = noted - {container.uid for container in found}
        self._notes.drop(gone)
        for uid in gone:
            self._forget(uid)
        for container in found:
            self._tend(container)
        return [self._replica(container) for container in found]

    look = observe  # which claims nothing

    def owners(self) -> frozenset[str]:
        """Whose containers have notes in the folder or carry its mark: the engine has others', too."""
        marked = self._engine.listed({naming.LABEL_STATE: self._place.mark})
        uids = {each["Labels"].get(naming.LABEL_SET_UID, "") for each in marked}
        return self._notes.owners() | (uids - {""})

    def create(self, birth: observed.Birth) -> None:
        """Make a container and start it."""
        if not docker_spec.is_name(birth.name):
            raise errors.RefusedError(errors.INVALID_NAME, f"{birth.name}: {_NO_NAME}")
        view = docker_spec.container(birth)
        self._images.before_create(view.image, policy=view.image_pull_policy)
        with self._being_created(birth.name):
            uid = self._make(birth, view)
            try:
                self._engine.start(uid)
            except errors.AmbiguousError:
                raise
            except errors.RingmasterError:
                self._engine.delete(uid)
                raise
            self._follow_new(uid)

    def remove(self, replica: observed.Replica, *, grace_seconds: float) -> None:
        """The image's stop signal, after the grace SIGKILL; what has ended is removed."""
        container = self._inspect(replica.uid)
        if container is None or container.identity.owner.uid != replica.owner_uid:
            return
        seconds = grace_seconds if container.alive else 0
        given = grace.given(self._notes.get(container.uid), seconds, now=self._clock())
        self._notes.change(container.uid, replica.owner_uid, **given)
        self._terminate(container)

    def watch(self, notify: ports.Notify, stop: threading.Event) -> None:
        """Hint at the engine's events and changes of readiness until `stop` is set."""
        self._watchers.append(notify)
        try:
            stop.wait()
        finally:
            self._watchers.remove(notify)

    def close(self) -> None:
        """Let go of every container; they run on. Idempotent."""
        self._events.close()
        self._background.close()
        self._pool.shutdown(cancel_futures=True)
        self._commands.shutdown(cancel_futures=True)
        self._engine.close()

    def _make(self, birth: observed.Birth, view: spec.Container) -> str:
        try:
            return self._engine.create(birth.name, self._body(birth, view))
        except docker_engine.NoSuchImageError:
            self._images.missing(view.image, policy=view.image_pull_policy)
            return self._engine.create(birth.name, self._body(birth, view))

    def _body(self, birth: observed.Birth, view: spec.Container) -> dict[str, Any]:
        labels = {} if self._place.project else self._engine.image_labels(view.image)
        return docker_spec.create(birth, self._place, image_labels=labels)

    @contextlib.contextmanager
    def _being_created(self, name: str) -> Iterator[None]:
        """Tells a container that is about to start from one that never will."""
        with self._lock:
            self._creating.add(name)
        try:
            yield
        finally:
            with self._lock:
                self._creating.discard(name)

    def _follow_new(self, uid: str) -> None:
        """Probe at once, not only when it is listed; whatever goes wrong, the list makes good."""
        try:
            container = self._inspect(uid)
        except errors.RetryLater:
            return
        if container is not None:
            self._tend(container)

    def _inspect(self, uid: str) -> docker_view.Container | None:
        document = self._engine.inspect(uid)
        if document is None or document["Id"] != uid:  # the engine takes names as well
            return None
        return docker_view.read(document, network=self._place.network)

    def _look(self, entry: dict[str, Any]) -> docker_view.Container | None:
        """Inspect what was listed, unless it is as it was and no event came since."""
        uid = entry["Id"]
        mark = (entry["State"], docker_view.host(entry, network=self._place.network))
        with self._lock:
            known, changes = self._seen.get(uid), self._changes
        if known is not None and known[0] == mark:
            return known[1]
        container = self._inspect(uid)
        if container is None:
            return None
        if container.ended:
            container = self._with_last_line(container)
        with self._lock:
            if self._changes == changes:
                self._seen[uid] = (mark, container)
        return container

    def _with_last_line(self, container: docker_view.Container) -> docker_view.Container:
        """Tell and log once how a container ended, unless we ended it."""
        note = self._notes.get(container.uid)
        if note is not None and note.kill_at is not None:
            return container
        words = self._last_words.get(container.uid, "")
        if not words.startswith(container.last_words):
            line = self._engine.last_line(container.uid)
            words = observed.ending(container.last_words, line=line)
            with self._lock:
                known = self._last_words.get(container.uid)
                self._last_words[container.uid] = words
            if known != words:
                self._log.warning("replica ended", replica=container.name, message=words)
        return replace(container, last_words=words)

    def _tend(self, container: docker_view.Container) -> None:
        """Probe what lives, go on with what is to end."""
        note = self._notes.get(container.uid)
        if container.alive:
            self._follow(container)
        else:
            self._unfollow(container.uid)
        if note is not None and note.kill_at is not None:
            self._terminate(container)

    def _follow(self, container: docker_view.Container) -> None:
        """Probe a container, anew if it was started again or has another address."""
        mark = (container.started_at, container.host)
        with self._lock:
            if self._followed.get(container.uid) == mark:
                return
            self._followed[container.uid] = mark
        self._prober.discard(container.uid)
        owner_uid = container.identity.owner.uid
        note = self._notes.get(container.uid)
        if note is None or note.started_at != container.started_at:
            note = self._notes.change(
                container.uid,
                owner_uid,
                started_at=container.started_at,
                ready=False,
                ready_changed_at=container.started_at,
            )
        state = self._prober.add(self._target(container), note.readiness)
        if state != note.readiness:
            self._readiness_changed(container.uid, state)

    def _target(self, container: docker_view.Container) -> probes.Target:
        view = docker_spec.probed(container.labels)

        async def execute(command: tuple[str, ...], _seconds: float) -> bool:
            return await self._execute(container.uid, command)

        return probes.Target(
            uid=container.uid,
            probe=view.readiness_probe if view else None,
            host=container.host or "",
            born=container.started_at,
            execute=execute,
        )

    async def _execute(self, uid: str, command: tuple[str, ...]) -> bool:
        """Run a command in a container, for as long as the caller waits.

        A thread is taken for each call to the engine and given back: one that waited for commands
        would be lost to the other replicas while a command hangs. The engine cannot end one: while
        an earlier one runs there is no other, as each would stay in the container.
        """
        run = self._background.loop.run_in_executor
        earlier = self._commanded.get(uid)
        if earlier and await run(self._commands, self._engine.ended_well, earlier) is None:
            return False
        begun = await run(self._commands, self._begin, uid, command)
        pause = _POLL_SECONDS
        while (good := await run(self._commands, self._engine.ended_well, begun)) is None:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _MAX_POLL_SECONDS)
        self._commanded.pop(uid, None)
        return good

    def _begin(self, uid: str, command: tuple[str, ...]) -> str:
        """Known in the thread that begins it: the probe's own time may be over by then."""
        begun = self._commanded[uid] = self._engine.begin(uid, command)
        return begun

    def _unfollow(self, uid: str) -> None:
        with self._lock:
            known = self._followed.pop(uid, None)
        if known is not None:
            self._prober.discard(uid)

    def _forget(self, uid: str) -> None:
        self._unfollow(uid)
        with self._lock:
            self._seen.pop(uid, None)
            self._ends.pop(uid, None)
            self._last_words.pop(uid, None)
            self._commanded.pop(uid, None)

    def _terminate(self, container: docker_view.Container) -> None:
        """Go on with a termination, from wherever it stands."""
        note = self._notes.get(container.uid)
        if note is None or note.kill_at is None:
            return
        remaining = grace.left(note, now=self._clock())
        if remaining <= 0 or not container.alive:
            self._delete_soon(container.uid)
            return
        if not note.signalled:
            self._signal(container, note.owner_uid)
        with self._lock:
            if self._ends.get(container.uid) == note.kill_at:
                return
            self._ends[container.uid] = note.kill_at
        loop = self._background.loop
        self._background.post(loop.call_later, remaining, self._delete_soon, container.uid)

    def _signal(self, container: docker_view.Container, owner_uid: str) -> None:
        """Ask a container to end. What the engine cannot send now, the next look sends."""
        try:
            self._engine.signal(container.uid, container.stop_signal)
        except errors.RetryLater as error:
            self._log.warning("not signalled", replica=container.name, why=str(error))
        else:
            self._notes.change(container.uid, owner_uid, signalled=True)

    def _delete_soon(self, uid: str) -> None:
        """Remove a container, however it is, beside everything else."""
        with self._lock:
            if uid in self._deleting:
                return
            self._deleting.add(uid)
        try:
            self._pool.submit(self._delete, uid)
        except RuntimeError:  # closed: the next operator does it
            return

    def _delete(self, uid: str) -> None:
        try:
            self._engine.delete(uid)
        except errors.RetryLater as error:
            self._log.warning("not deleted", container=uid[:12], why=str(error))
        finally:
            with self._lock:
                self._deleting.discard(uid)

    def _happened(self, event: docker_events.Event | None) -> None:
        """An event, or None: the stream began anew and some were missed."""
        with self._lock:
            self._changes += 1
            if event is None:
                self._seen.clear()
            else:
                self._seen.pop(event.container, None)
        note = self._notes.get(event.container) if event else None
        if event and event.action == "die" and note and note.kill_at is not None:
            self._delete_soon(event.container)
        self._notify(event.owner_uid if event else None)

    def _readiness_changed(self, uid: str, state: readiness.Readiness) -> None:
        note = self._notes.get(uid)
        if note is None:
            return
        self._notes.change(
            uid,
            note.owner_uid,
            ready=state.ready,
            ready_changed_at=state.since,
            ever_ready=state.proven,
        )
        self._notify(note.owner_uid)

    def _notify(self, owner_uid: str | None) -> None:
        for notify in tuple(self._watchers):
            notify(owner_uid)

    def _replica(self, container: docker_view.Container) -> observed.Replica:
        identity, view = container.identity, docker_spec.probed(container.labels)
        phase = self._phase(container)
        state = self._prober.state(container.uid) if container.alive else None
        ready = state is not None and state.ready
        since = state.since if state else container.started_at or container.created_at
        return observed.Replica(
            name=container.name,
            uid=container.uid,
            owner_uid=identity.owner.uid,
            member_id=identity.member_id,
            ordinal=identity.ordinal,
            attempt=identity.attempt,
            reason=identity.reason,
            revision=identity.revision,
            display_name=identity.display_name,
            phase=phase,
            created_at=container.created_at,
            ready=ready,
            ready_since=since if ready else None,
            unready_since=None if ready else since,
            address=docker_view.address(container, view.port if view else 5000),
            message=container.last_words
            if phase is observed.Phase.FAILED
            else state.message
            if state
            else "",
        )

    def _phase(self, container: docker_view.Container) -> observed.Phase:
        note = self._notes.get(container.uid)
        if container.state == "removing" or (note is not None and note.kill_at is not None):
            return observed.Phase.TERMINATING
        if container.alive:
            return observed.Phase.RUNNING
        with self._lock:
            starting = container.state == "created" and container.name in self._creating
        # Made, and whoever made it did not come to start it: it never will serve.
        return observed.Phase.STARTING if starting else observed.Phase.FAILED


def mark(folder: Path) -> str:
    """What the containers of a state folder carry; an engine may serve several machines."""
    return f"{socket.gethostname()}:{folder.absolute()}"


def end_marked(folder: Path, *, grace: float) -> int:
    """End all containers of a folder that may be gone; how many there were.

    Without an engine there are none.

    Raises:
        RetryLater: the engine does not answer any more.
    """
    try:
        engine = docker_engine.Engine()
    except errors.UsageError:
        return 0
    with contextlib.closing(engine), futures.ThreadPoolExecutor(_DELETES_AT_ONCE) as pool:
        found = engine.listed({naming.LABEL_STATE: mark(folder)})
        for _ in pool.map(lambda each: engine.end(each["Id"], grace=grace), found):
            pass  # the first error is raised
    return len(found)


def _check_network(engine: docker_engine.Engine, name: str) -> None:
    driver = engine.network_driver(name)
    if driver is None:
        raise errors.UsageError(
            f"there is no Docker network {name}: `docker network create {name}` makes it, "
            "--docker-network names another"
        )
    if driver in {"host", "null"}:
        raise errors.UsageError(
            f"the Docker network {name} gives containers no address of their own: "
            "--docker-network names another"
        )
