"""A worker process: hosts the data plane, does what the control process says.

Law: entry. It accepts once the control process has said its first word, serves on while that is
away, and tells it on its return what it serves. SIGTERM drains; its socket's queue outlives it, as
the supervisor keeps the socket. SIGUSR1, or the supervisor's end, drains the queue besides: nobody
serves it afterwards. Started as `python -m ringmaster_balancer.dataplane.worker JSON`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any

import structlog
import uvloop

from ringmaster_balancer import (
    codes,
    errors,
    handover,
    ipc,
    lifeline,
    logs,
    members,
    sockets,
    tls,
)
from ringmaster_balancer import settings as settings_
from ringmaster_balancer.dataplane import proxy
from ringmaster_balancer.ring import table as tables

_log = structlog.get_logger()

_READ_BYTES = 262_144
_RECONNECT_SECONDS = 0.1
# Probes of a member in doubt follow one another every 20 ms; faster complaints change nothing.
_MARK_SECONDS = 0.05
# Without a supervisor nobody may hold the ports for long: the next one wants them.
_ORPHAN_SECONDS = 0.5


class Worker:
    """One worker: the data plane and its line to the control process."""

    def __init__(self, child: settings_.Child, *, descriptors: int = 0) -> None:
        self._child = child
        self._data = [socket.socket(fileno=fd) for fd in (child.data_fd, *child.more_fds)]
        cert, key = child.settings.tls_cert, child.settings.tls_key
        self._certificate = tls.Certificate(cert, key) if cert and key else None
        self._plane = proxy.DataPlane(
            proxy.Settings(
                lab_socket=child.lab_path if child.settings.lab_api else None,
                worker=child.index,
                workers=child.settings.workers,
                tls=self._certificate.context if self._certificate else None,
                access_log=child.settings.access_log,
                descriptors=descriptors,
            ),
            on_failure=self._mark,
            on_ejected=lambda replica: _log.warning("member ejected", replica=replica),
            on_recovered=lambda replica: _log.info("member may serve again", replica=replica),
            on_panic=self._tell_panic,
        )
        self._membership: Mapping[str, Any] | None = None
        self._table: tables.Table | None = None
        self._space = 0  # which way of finding slots the counts by slot belong to
        self._marked: dict[str, float] = {}
        self._proven = False  # a member was healthy once: what we hold is no mere memory
        self._writer: asyncio.StreamWriter | None = None
        self._listening: asyncio.Task[None] | None = None
        self._told = asyncio.Event()
        self._stop = asyncio.Event()
        self._drain_seconds = 0.0
        self._last = False  # nobody serves our sockets after us

    async def run(self) -> None:
        """Serve until SIGTERM, or until the supervisor is gone."""
        loop = asyncio.get_running_loop()
        drain_seconds = self._child.settings.drain_seconds
        loop.add_signal_handler(signal.SIGTERM, self._end, drain_seconds)
        loop.add_signal_handler(signal.SIGUSR1, self._end_last, drain_seconds)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        for number in (signal.SIGINT, signal.SIGUSR2):
            loop.add_signal_handler(number, lambda: None)  # the supervisor's to decide
        handover.hear_signals()
        watching = None
        if self._certificate is not None:
            watching = asyncio.create_task(tls.watch(self._certificate))
        lifeline.watch(self._child.lifeline_fd, lambda: self._end_last(_ORPHAN_SECONDS))
        talking = asyncio.create_task(self._keep_talking())
        stopping = asyncio.create_task(self._stopped())
        await asyncio.wait({stopping, talking}, return_when=asyncio.FIRST_COMPLETED)
        if talking.done():
            talking.result()  # deaf: better dead, the supervisor starts another
        until = loop.time() + self._drain_seconds
        if self._last:
            await self._first_word()  # else we answer 503 to all that waits
        if self._listening is not None:
            await self._listening
        if not self._last:
            for sock in self._data:
                sock.close()  # else clients would go on waiting here should the others end
        left = max(0.0, until - loop.time())
        await self._plane.drain(left, ending=self._data if self._last else ())
        talking.cancel()
        if watching is not None:
            watching.cancel()

    def _hang_up(self) -> None:
        """Files that were moved or replaced are opened anew."""
        self._plane.reopen_log()
        if self._certificate is not None:
            self._certificate.ask()

    def _end(self, seconds: float) -> None:
        if not self._stop.is_set():
            self._drain_seconds = seconds
            self._stop.set()

    def _end_last(self, seconds: float) -> None:
        self._last = True
        self._end(seconds)

    async def _first_word(self) -> None:
        """Wait for what the control process says first; a worker just started has not heard it.

        At most for half of the time that there is: the requests need some of it, too.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._drain_seconds / 2):
                await self._told.wait()

    async def _stopped(self) -> None:
        await self._stop.wait()

    async def _keep_talking(self) -> None:
        while True:
            try:
                await self._talk()
            except (OSError, ipc.FrameError) as error:
                _log.debug("no control process", reason=str(error))
            finally:
                self._writer = None
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _talk(self) -> None:
        reader, writer = await asyncio.open_unix_connection(self._child.workers_path)
        try:
            self._writer = writer
            hello: dict[str, Any] = {
                "pid": os.getpid(),
                "index": self._child.index,
                "membership": self._membership,
            }
            self._say(ipc.Kind.HELLO, **hello)
            decoder = ipc.Decoder()
            while data := await reader.read(_READ_BYTES):
                for frame in decoder.feed(data):
                    self._hear(frame)
        finally:
            writer.close()

    def _hear(self, frame: ipc.Frame) -> None:
        match frame.kind:
            case ipc.Kind.INSTALL:
                self._install(frame)
            case ipc.Kind.END:
                self._uninstall(frame)
            case ipc.Kind.HEALTH:
                self._judge(frame)
            case ipc.Kind.ASK:
                self._report(frame)
            case _:
                raise ipc.FrameError(f"the control process does not say {frame.kind}")

    def _install(self, frame: ipc.Frame) -> None:
        try:
            membership = members.Membership.model_validate(frame.fields["membership"])
            table = tables.from_bytes(frame.body, load=codes.load) if frame.body else self._table
        except codes.CodeError as error:
            # Unconfirmed, so that the push fails; what serves goes on, and whatever comes next
            # must bring its table along.
            _log.error("hash function refused", reason=str(error))
            self._table = None
            return
        except (ValueError, errors.BalancerError) as error:
            raise ipc.FrameError(f"a table that cannot be used: {error}") from error
        if table is None:
            raise ipc.FrameError("the first table is missing")
        if frame.fields["space"] != self._space:
            self._plane.take_hits()
            self._space = frame.fields["space"]
        self._plane.install(membership, table)
        self._table = table
        self._membership = frame.fields["membership"]
        self._judge(frame)
        self._confirm(frame)

    def _judge(self, frame: ipc.Frame) -> None:
        healthy = frame.fields["healthy"]
        self._proven = self._proven or any(healthy.values())
        self._plane.set_health(healthy, erring=frame.fields["erring"])

    def _uninstall(self, frame: ipc.Frame) -> None:
        self._plane.clear()
        self._membership = None
        self._confirm(frame)

    def _confirm(self, frame: ipc.Frame) -> None:
        self._told.set()
        if self._listening is None and not self._stop.is_set():
            self._listening = asyncio.create_task(self._listen())
        self._say(ipc.Kind.ACK, seq=frame.fields["seq"])

    async def _listen(self) -> None:
        for sock in self._data:
            await self._plane.listen(sock)
        self._child.say_ready(f"worker-{self._child.index}")

    def _report(self, frame: ipc.Frame) -> None:
        if frame.fields.get("hits"):
            self._say(ipc.Kind.HITS, self._plane.take_hits(), space=self._space)
        self._say(
            ipc.Kind.REPORT,
            ask=frame.fields["ask"],
            stats=self._plane.stats(),
            inFlight=self._plane.in_flight(),
        )

    def _mark(self, replica: str, reason: str) -> None:
        """One complaint about a replica makes it probed; a thousand more would say the same."""
        now = asyncio.get_running_loop().time()
        if now - self._marked.get(replica, 0.0) < _MARK_SECONDS:
            return
        self._marked = {**self._recent(now), replica: now}
        self._say(ipc.Kind.MARK, replica=replica, reason=reason)

    def _recent(self, now: float) -> dict[str, float]:
        return {name: at for name, at in self._marked.items() if now - at < _MARK_SECONDS}

    def _say(self, kind: ipc.Kind, body: bytes = b"", **fields: Any) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(ipc.encode(ipc.Frame(kind=kind, fields=fields, body=body)))

    def _tell_panic(self, begins: bool) -> None:
        if not begins:
            _log.info("enough members are well again")
        elif self._proven:
            _log.error("too many members are out: those that answer at all serve again")
        else:
            # As after every orderly end: they were stopped on purpose, and new ones will come.
            _log.info("no member that was kept answers yet")


def main() -> None:
    """Run one worker; its only argument is a `settings.Child` as JSON."""
    child = settings_.Child.from_json(sys.argv[1])
    logs.configure(f"worker-{child.index}")
    uvloop.run(_serve(child, descriptors=sockets.raise_descriptor_limit()))


async def _serve(child: settings_.Child, *, descriptors: int) -> None:
    await Worker(child, descriptors=descriptors).run()


if __name__ == "__main__":
    main()
