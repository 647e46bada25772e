"""A worker between its control process, which comes and goes, and its clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import select
import signal
import socket
from pathlib import Path

import balancer_process as balancers
import fake_worker
import psutil
import pytest
import requests
import structlog.testing
from ringmaster_balancer import ipc, members, settings, sockets
from ringmaster_balancer.dataplane import worker
from ringmaster_balancer.ring import table

Kind = ipc.Kind
MEMBERSHIP = members.parse(
    {
        "epoch": 1,
        "generation": 7,
        "uid": "u",
        "replicas": 1,
        "members": [{"id": "a", "replica": "a-1", "address": "127.0.0.1:1", "state": "active"}],
    }
)
DOCUMENT = MEMBERSHIP.model_dump(mode="json")
TABLE = table.compile(MEMBERSHIP.ring, MEMBERSHIP.places()).to_bytes()


class Control:
    """The control process' side of one connection, scripted."""

    def __init__(self, reader, writer):
        self._reader = reader
        self._writer = writer
        self._decoder = ipc.Decoder()
        self._got = []

    def say(self, kind, body=b"", **fields):
        self._writer.write(ipc.encode(ipc.Frame(kind=kind, fields=fields, body=body)))

    def install(self, seq=1, body=TABLE, *, healthy=True):
        health = {"healthy": {"a-1": healthy}, "erring": []}
        self.say(Kind.INSTALL, body, seq=seq, space=1, membership=DOCUMENT, **health)

    async def hear(self):
        while not self._got:
            data = await self._reader.read(65_536)
            assert data, "the worker has hung up"
            self._got += self._decoder.feed(data)
        return self._got.pop(0)

    def close(self):
        self._writer.close()


class World:
    """A running worker. `accept` waits for its next connection to the control process."""

    def __init__(self, listener, path):
        self._listener = listener
        self.data = socket.create_server(("127.0.0.1", 0))
        self.port = self.data.getsockname()[1]
        self.lifeline, self.held = os.pipe()
        chosen = settings.Settings(
            namespace="default",
            name="web",
            host="",
            port=0,
            control_host="",
            control_port=0,
            workers=1,
            token_file="",
            state_dir="",
            lab_api=False,
            operator_url=None,
            operator_token_file=None,
            drain_seconds=5,
        )
        self.child = settings.Child(
            settings=chosen,
            run_dir=str(Path(path).parent),
            lifeline_fd=self.lifeline,
            data_fd=os.dup(self.data.fileno()),
        )

    async def accept(self):
        connection, _ = await asyncio.get_running_loop().sock_accept(self._listener)
        control = Control(*await asyncio.open_unix_connection(sock=connection))
        hello = await control.hear()
        assert hello.kind is Kind.HELLO
        return control, hello

    async def status(self):
        """What a client is answered."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        line = await reader.readline()
        await reader.read()
        writer.close()
        await writer.wait_closed()
        return int(line.split()[1])


def run(scenario):
    async def bounded():
        with fake_worker.listener() as (sock, path):
            w = World(sock, path)
            task = asyncio.create_task(worker.Worker(w.child).run())
            try:
                async with asyncio.timeout(20):
                    await scenario(w, task)
            finally:
                if w.held >= 0:
                    os.close(w.held)
                await task
                for number in (signal.SIGTERM, signal.SIGUSR1):
                    asyncio.get_running_loop().remove_signal_handler(number)
                os.close(w.lifeline)
                w.data.close()

    asyncio.run(bounded())


def test_a_worker_accepts_nobody_before_the_first_word_and_then_503_without_a_ring():
    async def scenario(w, _task):
        control, hello = await w.accept()
        assert (hello.fields["membership"], hello.fields["pid"]) == (None, os.getpid())
        asking = asyncio.create_task(w.status())
        await asyncio.wait([asking], timeout=0.1)
        assert not asking.done()
        control.say(Kind.END, seq=0)
        assert (await control.hear()).fields == {"seq": 0}
        assert await asking == 503
        control.close()

    run(scenario)


def test_a_worker_confirms_reports_and_complains():
    async def scenario(w, _task):
        control, _ = await w.accept()
        control.install(seq=4)
        frame = await control.hear()
        assert (frame.kind, frame.fields["seq"]) == (Kind.ACK, 4)
        assert await w.status() == 502  # nobody listens on port 1
        frame = await control.hear()
        assert (frame.kind, frame.fields["replica"]) == (Kind.MARK, "a-1")
        control.say(Kind.ASK, ask=9, hits=False)
        frame = await control.hear()
        assert (frame.kind, frame.fields["ask"]) == (Kind.REPORT, 9)
        assert frame.fields["stats"]["accepted"] == 1
        assert frame.fields["inFlight"] == {"a-1": 0}
        control.install(seq=5, body=b"")  # the same table
        while (frame := await control.hear()).kind is not Kind.ACK:
            pass
        assert frame.fields["seq"] == 5
        control.close()

    run(scenario)


def test_members_from_before_that_do_not_answer_are_no_error_until_one_has():
    async def scenario(w, _task):
        control, _ = await w.accept()
        with structlog.testing.capture_logs() as told:
            control.install(seq=1, healthy=False)  # as read from disk: no probe has passed yet
            await control.hear()
            control.say(Kind.HEALTH, healthy={"a-1": True}, erring=[])
            control.say(Kind.HEALTH, healthy={"a-1": False}, erring=[])
            control.install(seq=2, body=b"", healthy=False)
            await control.hear()
        control.close()
        assert [(each["log_level"], each["event"][:23]) for each in told] == [
            ("info", "no member that was kept"),
            ("info", "enough members are well"),
            ("error", "too many members are ou"),
        ]

    run(scenario)


def test_a_worker_serves_on_without_control_and_tells_the_next_one_what():
    async def scenario(w, _task):
        control, _ = await w.accept()
        control.install()
        await control.hear()
        control.close()
        assert await w.status() == 502
        again, hello = await w.accept()
        assert hello.fields["membership"] == DOCUMENT
        again.close()

    run(scenario)


def test_a_control_process_that_talks_nonsense_is_left_and_met_again():
    async def scenario(w, _task):
        control, _ = await w.accept()
        control.install(body=b"no table")
        again, _ = await w.accept()
        again.install()
        assert (await again.hear()).kind is Kind.ACK
        control.close()
        again.close()

    run(scenario)


@pytest.mark.parametrize(("number", "answered"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_what_waits_in_the_queue_is_answered_by_the_last_worker_and_left_by_one_with_a_successor(
    number, answered
):
    async def scenario(w, task):
        control, _ = await w.accept()  # it does not listen before it has heard a word
        waiting = asyncio.create_task(w.status())
        await asyncio.to_thread(until_readable, w.data)
        os.kill(os.getpid(), number)
        await task
        control.close()
        if answered:
            assert await waiting == 503
        connections = sockets.queued(w.data)
        assert len(connections) == (0 if answered else 1)
        for each in connections:
            each.close()
        await asyncio.gather(waiting, return_exceptions=True)

    run(scenario)


def until_readable(sock):
    assert select.select([sock], [], [], 10)[0]


def test_the_end_of_the_supervisor_is_the_end_of_the_worker():
    async def scenario(w, task):
        control, _ = await w.accept()
        control.install()
        await control.hear()
        os.close(w.held)
        w.held = -1
        await task
        w.data.close()
        with contextlib.suppress(ConnectionRefusedError):
            await w.status()
            raise AssertionError("somebody still accepts")
        control.close()

    run(scenario)


def test_a_worker_without_descriptors_answers_503_and_blames_no_member(tmp_path):
    log = tmp_path / "access.log"
    flags = ("--workers", "1", "--access-log", str(log))
    with (
        balancers.upstreams("a", "b") as servers,
        balancers.running(tmp_path, *flags) as balancer,
        contextlib.ExitStack() as stack,
    ):
        places = [(each.name, each.address) for each in servers]
        balancer.push(
            balancers.document(
                *places, proxy={"accessLog": True, "outlier": {"consecutiveFailures": 1}}
            )
        )
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", balancer.ports[0])))
            for _ in range(24)
        ]
        for client in clients:
            client.settimeout(20)
            client.sendall(b"GET /refused HTTP/1.1\r\n")  # it was accepted once this was read
        worker_pid = balancer.pid("worker-0")
        balancers.eventually(
            lambda: len(psutil.Process(worker_pid).net_connections()) >= 24, what="the clients"
        )
        balancers.eventually(lambda: "workers 1.0" in scrape(balancer), what="a scrape")
        balancers.allow_descriptors(worker_pid, 4)
        for client in clients:
            client.sendall(b"Host: x\r\nConnection: close\r\n\r\n")
        answers = [b"".join(iter(lambda c=client: c.recv(4096), b"")) for client in clients]
        statuses = [int(answer.split()[1]) for answer in answers]
        assert set(statuses) == {200, 503}
        assert statuses.count(503) >= 10
        told = scrape(balancer)
        refused = re.search(r'_shortages_total\{resource="descriptors"\} ([\d.]+)', told)
        assert refused
        assert float(refused[1]) >= statuses.count(503)
        for name in "ab":
            assert f'member_failures_total{{member="{name}",replica="{name}-r"}} 0.0' in told
            assert f'member_ejected{{member="{name}",replica="{name}-r"}} 0.0' in told
        assert balancer.text().count("out of resources") == 1
        balancers.eventually(lambda: log.read_text().count("\n") == 24, what="the access log")
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        reasons = {line["reason"] for line in lines if line["status"] == 503}
        assert reasons == {"connect failed: Too many open files"}


def scrape(balancer):
    return requests.get(f"{balancer.control}/metrics", timeout=10).text
