"""Replicas as local processes: children of the operator that outlive it.

Law: translation without decisions. What exists is what the ledger says and the kernel confirms, by
pid and mark; a replica that ended stays visible as failed until it is removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import structlog

from ringmaster_operator import background, errors, observed, ports, probes, readiness, spec
from ringmaster_operator.runtimes import (
    grace,
    process_exits,
    process_ledger,
    process_logs,
    process_os,
    process_rest,
    process_start,
)

_AGAIN = 1.0  # seconds until a process is looked at again that could not be
LOG_CHECK_SECONDS = 1.0  # at 40 MB/s a log is some three times its bound by then


class ProcessRuntime:
    """Implements `ports.Runtime` over a state folder, which one operator at a time may use.

    Made over the folder of an earlier one, it adopts what still runs. `close` leaves all running.
    """

    def __init__(self, state: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Adopt what an earlier operator left, and end what it left without a record.

        Raises:
            UsageError: the folder cannot be written.
        """
        self._state = state.absolute()
        self._clock = clock
        self._log = structlog.get_logger()
        self._claims = threading.Lock()
        self._lock = threading.Lock()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._watchers: list[ports.Notify] = []
        self._log_watch: asyncio.Task[None] | None = None
        try:
            self._ledger = process_ledger.Ledger(self._state / "replicas")
            self._logs = process_logs.Logs(self._state / "logs")
        except OSError as error:
            raise errors.UsageError(f"cannot use {self._state}: {error.strerror}") from error
        self._background = background.Background(name="process-runtime")
        self._prober = probes.Prober(self._background, self._readiness_changed, clock=clock)
        self._exits = process_exits.Exits(self._background, self._exited)
        self._rest = process_rest.Rest(self._background, self._state)
        self._adopt()
        self._background.post(self._watch_logs)

    def check(self, template: dict[str, Any]) -> Sequence[errors.Fault]:
        """What a process cannot honour."""
        return spec.unsupported(template, runtime="process")

    def name_fault(self, _name: str) -> str:
        """A name is only a label here: nothing speaks against one."""
        return ""

    def observe(self, owner: observed.Owner) -> Sequence[observed.Replica]:
        """Every replica of this owner, each asked whether it lives."""
        for record in self._ledger.all():
            if record.owner_uid == owner.uid and _ended(record):
                self._exited(record.uid)
        mine = [record for record in self._ledger.all() if record.owner_uid == owner.uid]
        return [record.replica(unready=self._wrong(record.uid)) for record in mine]

    look = observe  # which claims nothing

    def owners(self) -> frozenset[str]:
        """Whose replicas are on record."""
        return frozenset(record.owner_uid for record in self._ledger.all())

    def create(self, birth: observed.Birth) -> None:
        """Start a process; it is on record before it exists."""
        with self._claims:
            record = self._intend(birth, port=process_os.free_port(self._ledger.uses))
            self._ledger.claim(record)
        try:
            child = self._spawn(record)
        except errors.RingmasterError:
            self._forget(record)
            raise
        self._children[record.uid] = child
        try:
            started = self._started(record, pid=child.pid)
        except errors.RetryLater:
            self._undo(record, child)
            raise
        self._follow(started)

    def remove(self, replica: observed.Replica, *, grace_seconds: float) -> None:
        """SIGTERM to the process' group, after the grace SIGKILL; a dead one is forgotten."""
        with self._lock:
            record = self._ledger.get(replica.uid)
            if record is None:
                return
            if record.pid is None:
                raise errors.ConflictError(f"replica {record.name} is being started")
            if record.exit is None:
                self._begin_termination(record, grace_seconds=grace_seconds)
                return
            self._rest.add(record.uid)
            self._ledger.drop(record.uid)
            self._logs.prune(live={other.key for other in self._ledger.all()})
        self._notify(record.owner_uid)

    def watch(self, notify: ports.Notify, stop: threading.Event) -> None:
        """Hint at exits and changes of readiness until `stop` is set."""
        self._watchers.append(notify)
        try:
            stop.wait()
        finally:
            self._watchers.remove(notify)

    def close(self) -> None:
        """Let go of every replica; they run on and can be adopted. Idempotent."""
        self._background.close()
        self._exits.close()
        self._rest.close()
        for child in self._children.values():
            child.returncode = child.poll() or 0  # left running on purpose: no ResourceWarning
        self._children.clear()

    def _intend(self, birth: observed.Birth, *, port: int) -> process_ledger.Record:
        return process_ledger.Record(
            uid=uuid.uuid4().hex,
            namespace=birth.owner.namespace,
            owner_uid=birth.owner.uid,
            name=birth.name,
            display_name=birth.display_name,
            member_id=birth.member_id,
            ordinal=birth.ordinal,
            attempt=birth.attempt,
            reason=birth.reason.value,
            revision=birth.revision,
            template=birth.template,
            created_at=self._clock(),
            port=port,
        )

    def _spawn(self, record: process_ledger.Record) -> subprocess.Popen[bytes]:
        try:
            log = self._logs.open(record.key)
        except OSError as error:
            raise errors.RetryLater(f"cannot write the log: {error}") from error
        with log:
            return process_start.spawn(record, state=self._state, log=log)

    def _undo(self, record: process_ledger.Record, child: subprocess.Popen[bytes]) -> None:
        """End a process that could not be put on record."""
        del self._children[record.uid]
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        self._rest.add(record.uid)
        self._forget(record)

    def _follow(self, record: process_ledger.Record) -> None:
        """Probe a process and wait for its end."""
        assert record.pid is not None
        assert record.mark is not None
        view = process_start.container(record)
        env = process_start.environment(record, view, state=self._state)

        async def execute(command: tuple[str, ...], _seconds: float) -> bool:
            return await probes.run_command(command, env=env, cwd=process_start.folder(view))

        target = probes.Target(
            uid=record.uid,
            probe=view.readiness_probe,
            host=process_start.HOST,
            born=record.created_at,
            execute=execute,
            ports={view.port: record.port},
        )
        before = record.readiness
        state = self._prober.add(target, before)
        if state != before:
            self._readiness_changed(record.uid, state)
        self._exits.add(record.uid, pid=record.pid, mark=record.mark)

    def _readiness_changed(self, uid: str, state: readiness.Readiness) -> None:
        with contextlib.suppress(errors.RetryLater):  # memory has it; the file is for a restart
            self._ledger.change(
                uid, ready=state.ready, ready_changed_at=state.since, ever_ready=state.proven
            )
        record = self._ledger.get(uid)
        if record is not None:
            self._notify(record.owner_uid)

    def _wrong(self, uid: str) -> str:
        state = self._prober.state(uid)
        return "" if state is None else state.message

    def _exited(self, uid: str) -> None:
        """A process ended: kill what it left, reap it, put on record how it ended."""
        with self._lock:
            record = self._ledger.get(uid)
            if record is None or record.exit is not None or record.pid is None:
                return
            self._prober.discard(uid)
            process_os.kill_rest(record.pid, uid)
            self._rest.add(uid)
            child = self._children.pop(uid, None)
            if record.kill_at is not None:
                _reap(child)
                self._forget(record)
            else:
                self._fail(record, _reap(child))
        self._notify(record.owner_uid)

    def _fail(self, record: process_ledger.Record, code: int | None) -> None:
        words = process_os.describe_exit(code)
        line = self._logs.last_line(record.key)
        message = observed.ending(words, line=line)
        self._log.warning("replica ended", replica=record.name, pid=record.pid, message=message)
        with contextlib.suppress(errors.RetryLater):
            since = self._clock() if record.ready else record.ready_changed_at
            self._ledger.change(record.uid, exit=message, ready=False, ready_changed_at=since)

    def _forget(self, record: process_ledger.Record) -> None:
        self._ledger.drop(record.uid)
        self._logs.remove(record.key)

    def _begin_termination(self, record: process_ledger.Record, *, grace_seconds: float) -> None:
        self._note(record, **grace.given(record, grace_seconds, now=self._clock()))
        terminating = self._ledger.get(record.uid)
        if terminating is not None:
            self._terminate(terminating)

    def _note(self, record: process_ledger.Record, **changes: Any) -> None:
        """Put on record how far a termination is; it goes on though the file cannot be written.

        Memory has it then. An operator that starts anew finds a replica that nobody ends, and
        decides again.
        """
        try:
            self._ledger.change(record.uid, **changes)
        except errors.RetryLater as error:
            self._log.warning("termination not on record", replica=record.name, why=str(error))

    def _terminate(self, record: process_ledger.Record) -> None:
        """Go on with a termination, from wherever it stands."""
        assert record.pid is not None
        assert record.mark is not None
        remaining = grace.left(record, now=self._clock())
        if remaining <= 0:
            self._kill(record.uid)
            return
        self._background.post(self._background.loop.call_later, remaining, self._kill, record.uid)
        if not record.signalled:
            process_os.signal_group(record.pid, record.mark, signal.SIGTERM)
            self._note(record, signalled=True)

    def _kill(self, uid: str) -> None:
        record = self._ledger.get(uid)
        if record is None or record.pid is None or record.mark is None:
            return
        try:
            process_os.signal_group(record.pid, record.mark, signal.SIGKILL)
        except errors.RetryLater:
            self._background.post(self._background.loop.call_later, _AGAIN, self._kill, uid)

    def _adopt(self) -> None:
        found = process_os.marked(self._state)
        for record in self._ledger.all():
            processes = found.pop(record.uid, [])
            if record.pid is None and processes:
                self._adopt_one(self._started(record, pid=processes[0].pid))
            elif record.pid is None:
                self._forget(record)
            elif record.exit is None:
                self._adopt_one(record)
            elif processes:  # it failed, and an earlier operator did not get to them
                found[record.uid] = processes
        for orphans in found.values():
            for orphan in orphans:
                self._log.warning("orphan killed", pid=orphan.pid)
                process_os.kill(orphan)

    def _adopt_one(self, record: process_ledger.Record) -> None:
        self._follow(record)
        if record.kill_at is not None:
            self._terminate(record)

    def _started(self, record: process_ledger.Record, *, pid: int) -> process_ledger.Record:
        """Put on record which process it is. A dead one has no mark, and counts as ended."""
        mark = process_os.mark(pid) or "dead"
        log = process_logs.identity(self._logs.path(record.key))
        return self._ledger.change(record.uid, pid=pid, mark=mark, log=log) or record

    def _watch_logs(self) -> None:
        self._log_watch = self._background.loop.create_task(self._bound_logs())

    async def _bound_logs(self) -> None:
        """Copying takes a while: not on the loop."""
        while True:
            with contextlib.suppress(OSError, RuntimeError):  # no thread to be had: a second later
                await asyncio.to_thread(self._bound_once)
            await asyncio.sleep(LOG_CHECK_SECONDS)

    def _bound_once(self) -> None:
        self._logs.bound()
        for record in self._ledger.all():
            if record.pid is not None and record.exit is None:
                path, log = self._logs.path(record.key), record.log
                process_logs.cut_lost(path, record.pid, log, most=process_logs.MAX_BYTES)

    def _notify(self, owner_uid: str) -> None:
        for notify in tuple(self._watchers):
            notify(owner_uid)


def _ended(record: process_ledger.Record) -> bool:
    if record.exit is not None or record.pid is None or record.mark is None:
        return False
    return not process_os.alive(record.pid, record.mark)


def _reap(child: subprocess.Popen[bytes] | None) -> int | None:
    """The exit status of our own child, None of anybody else's."""
    try:
        return None if child is None else child.wait(timeout=1)
    except subprocess.TimeoutExpired:  # its first thread ended, others have not
        return None
