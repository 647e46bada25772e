"""Readiness probes for runtimes that have no kubelet: one asyncio loop asks all replicas.

Law: each replica has a task of its own, so that one which is stopped delays nobody; a probe never
raises, it is good or bad. Thresholds and rhythm are `readiness`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from ringmaster_operator import errors, readiness
from ringmaster_operator.spec import syntax

if TYPE_CHECKING:
    from ringmaster_operator import background
    from ringmaster_operator.spec import pod

# Runs a command inside a replica; true if it exits 0 within so many seconds.
Executor = Callable[[tuple[str, ...], float], Awaitable[bool]]

_STATUS_LIMIT = 4096  # bytes of a status line
_QUESTION_LIMIT = 200  # characters of what was asked, in an event
_GOOD = range(200, 400)  # as the kubelet has it
_INTERIM = range(100, 200)  # not the answer yet, RFC 9110 section 15.2
_HEADS_END = frozenset({b"\r\n", b"\n", b""})
# As Go's net/http, with which the kubelet probes: once, or, since there is no body, never; and
# what the kubelet leaves out if a template sets it to nothing.
_WRITTEN_BY_US = frozenset(
    {"host", "user-agent", "connection", "content-length", "transfer-encoding", "trailer"}
)
_NOT_EMPTY = frozenset({"user-agent", "accept"})
_COMPLAIN_SECONDS = 60.0  # between two log lines about probes that could not be made


@dataclass(frozen=True, slots=True)
class Target:
    """One replica to be probed.

    `uid` is this very instance, `ports` maps the ports of the template to those at `host`, `born`
    is the start in seconds since 1970. Without a probe a replica that runs is ready.
    """

    uid: str
    probe: pod.Probe | None
    host: str
    born: float
    execute: Executor
    ports: Mapping[int, int] = field(default_factory=dict)


class CannotProbe(errors.RingmasterError):
    """A probe could not be made for want of a resource of our own; its words name the resource."""


class Prober:
    """Keeps the readiness of every target; `on_change(uid, state)` is called on the loop."""

    def __init__(
        self,
        loop: background.Background,
        on_change: Callable[[str, readiness.Readiness], None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._background = loop
        self._on_change = on_change
        self._clock = clock
        self._states: dict[str, readiness.Readiness] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._log = structlog.get_logger()
        self._lacked = 0  # probes that could not be made
        self._complained = -_COMPLAIN_SECONDS

    def add(self, target: Target, state: readiness.Readiness | None = None) -> readiness.Readiness:
        """Probe a target from now on; `state` is what is known of an adopted one. Returns it."""
        if target.probe is None:
            known = state if state and state.ready else None
            state = known or readiness.Readiness(ready=True, since=self._clock(), proven=True)
        state = state or readiness.Readiness(ready=False, since=target.born)
        self._states[target.uid] = state
        if target.probe is not None:
            self._background.post(self._start, target, target.probe)
        return state

    def discard(self, uid: str) -> None:
        """Probe it no longer; what is under way is cancelled, no callback follows."""
        if self._states.pop(uid, None) is not None:
            self._background.post(self._stop, uid)

    def state(self, uid: str) -> readiness.Readiness | None:
        """What is known of a target, None if it is not probed."""
        return self._states.get(uid)

    def _start(self, target: Target, probe: pod.Probe) -> None:
        if target.uid in self._states and target.uid not in self._tasks:
            self._tasks[target.uid] = self._background.loop.create_task(self._watch(target, probe))

    def _stop(self, uid: str) -> None:
        task = self._tasks.pop(uid, None)
        if task is not None:
            task.cancel()

    async def _watch(self, target: Target, probe: pod.Probe) -> None:
        # The wall clock is asked for the age once: it may be set, and may have been set back.
        born = time.monotonic() - max(0.0, self._clock() - target.born)
        await asyncio.sleep(born + probe.initial_delay_seconds - time.monotonic())
        while True:
            began = time.monotonic()
            wrong = await self._asked(target, probe)
            state = self._states.get(target.uid)
            if state is None:
                return
            if wrong is not None:
                state = self._judge(target, probe, state, wrong=wrong)
            pause = readiness.delay(state, age=time.monotonic() - born, probe=probe)
            await asyncio.sleep(began + pause - time.monotonic())

    async def _asked(self, target: Target, probe: pod.Probe) -> str | None:
        """The result of one probe; None if we could not make it, which says nothing of the replica."""
        try:
            return await check(target, probe)
        except CannotProbe as error:
            self._lacked += 1
            now = time.monotonic()
            if now - self._complained >= _COMPLAIN_SECONDS:
                self._complained = now
                self._log.error("probes-not-possible", lacking=str(error), count=self._lacked)
            return None

    def _judge(
        self, target: Target, probe: pod.Probe, before: readiness.Readiness, *, wrong: str
    ) -> readiness.Readiness:
        state = readiness.after(before, good=not wrong, now=self._clock(), probe=probe, wrong=wrong)
        self._states[target.uid] = state
        if state.ready is not before.ready:
            self._tell(target.uid, state)
        return state

    def _tell(self, uid: str, state: readiness.Readiness) -> None:
        """A listener that fails must not end the watch: nobody would notice a death any more."""
        try:
            self._on_change(uid, state)
        except Exception:  # noqa: BLE001 – whatever it is, the watch goes on
            self._log.exception("readiness-not-told", uid=uid)


async def check(target: Target, probe: pod.Probe) -> str:
    """Ask once, within the probe's timeout: what was asked and is wrong; empty if all is well.

    Raises:
        CannotProbe: the operator itself lacks something, which the words name.
    """
    try:
        async with asyncio.timeout(probe.timeout_seconds):
            wrong = await _ask(target, probe)
    except Exception as error:
        lacking = errors.shortage(error)
        if lacking:
            raise CannotProbe(lacking) from error
        wrong = _words(error, probe)  # whatever it is, the answer is no; the watch goes on
    return f"{_question(target, probe)}: {wrong}" if wrong else ""


async def _ask(target: Target, probe: pod.Probe) -> str:
    """What is wrong, as far as there is an answer."""
    if probe.http_get is not None:
        return await _http_get(target, probe.http_get)
    if probe.tcp_socket is not None:
        return await _tcp_connect(target, probe.tcp_socket)
    if probe.exec is not None and not await target.execute(
        probe.exec.command, probe.timeout_seconds
    ):
        return "did not exit with 0"
    return ""


def _question(target: Target, probe: pod.Probe) -> str:
    if (get := probe.http_get) is not None:
        path = get.path.removeprefix("/")
        return f"GET http://{target.host}:{_port(target, get.port)}/{path}"[:_QUESTION_LIMIT]
    if probe.tcp_socket is not None:
        return f"connect to {target.host}:{_port(target, probe.tcp_socket.port)}"
    command = probe.exec.command if probe.exec is not None else ()
    return f"command {shlex.join(command)}"[:_QUESTION_LIMIT]


def _words(error: Exception, probe: pod.Probe) -> str:
    number = getattr(error, "errno", None)
    if isinstance(error, TimeoutError) and number is None:
        return f"no answer within {probe.timeout_seconds} s"
    return os.strerror(number).lower() if number else str(error) or type(error).__name__


async def _http_get(target: Target, action: pod.HttpGet) -> str:
    port = _port(target, action.port)
    reader, writer = await asyncio.open_connection(target.host, port, limit=_STATUS_LIMIT)
    try:
        writer.write(_request(action, host=f"{target.host}:{port}"))
        status = await _final_status(reader)
    finally:
        writer.close()
    if status is None:
        return "no HTTP answer"
    return "" if status in _GOOD else f"status {status}"


async def _final_status(reader: asyncio.StreamReader) -> int | None:
    """That of the answer behind interim ones; None if it is no HTTP."""
    while True:
        version, _, rest = (await reader.readline()).partition(b" ")
        if not (version.startswith(b"HTTP/") and rest[:3].isdigit()):
            return None
        if int(rest[:3]) not in _INTERIM:
            return int(rest[:3])
        while await reader.readline() not in _HEADS_END:
            pass


async def _tcp_connect(target: Target, action: pod.TcpSocket) -> str:
    _, writer = await asyncio.open_connection(target.host, _port(target, action.port))
    writer.close()
    return ""


async def run_command(
    command: tuple[str, ...], *, env: Mapping[str, str], cwd: str | None = None
) -> bool:
    """Run a command without a shell; it is killed with its group when the caller is cancelled.

    Raises:
        OSError: it cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        env=env,
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        process_group=0,  # its own, so that what it started can go with it
    )
    try:
        return await process.wait() == 0
    except asyncio.CancelledError:
        if process.returncode is None:  # else its pid may be another's by now
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise


def _port(target: Target, port: int) -> int:
    return target.ports.get(port, port)


def _request(action: pod.HttpGet, *, host: str) -> bytes:
    """The request's head, as the kubelet writes it. What a template says never adds a line to it.

    A field of the template replaces ours of that name, in whatever case; one that is there several
    times is sent as often.
    """
    given = [(header.name, " ".join(header.value.split())) for header in action.http_headers]
    first = {name.lower(): value for name, value in reversed(given)}
    fields = [
        ("Host", first.get("host") or host),
        ("User-Agent", first.get("user-agent", "ringmaster-probe")),
        *([] if "accept" in first else [("Accept", "*/*")]),
        *(field for field in given if field[0].lower() not in _WRITTEN_BY_US),
        ("Connection", "close"),
    ]
    path = syntax.origin_form(action.path)
    lines = [
        f"{name}: {value}" for name, value in fields if value or name.lower() not in _NOT_EMPTY
    ]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode()
