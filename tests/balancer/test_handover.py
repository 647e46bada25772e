"""An upgrade under load: no client sees it, and one that cannot succeed changes nothing."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import socket
import threading
import time
from pathlib import Path

import balancer_process as balancers
import pytest
import requests
import ringmaster_balancer
from ringmaster_balancer import handover


class Clients:
    """One that connects anew for every request, one that keeps its connection."""

    def __init__(self, port):
        self._port = port
        self._stop = threading.Event()
        self.failed = []
        self.counts = [0, 0, 0]
        tasks = [(0, True), (1, True), (2, False)]
        self._threads = [threading.Thread(target=self._run, args=task) for task in tasks]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def more(self):
        """Whether every client had ten more answers."""
        before = list(self.counts)
        balancers.eventually(
            lambda: all(now > then + 10 for now, then in zip(self.counts, before, strict=True)),
            what="answers to all",
        )

    def _run(self, index, close):
        connection = None
        idle, last, answer = 0.0, math.inf, b""
        while not self._stop.is_set():
            try:
                if connection is None:
                    connection = socket.create_connection(("127.0.0.1", self._port), timeout=20)
                answer, idle, last = b"", time.monotonic() - last, math.inf
                connection.sendall(
                    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"Connection: close\r\n" * close
                )
                connection.sendall(b"\r\n")
                while not re.search(rb"\r\n\r\n(one|two)$", answer):
                    data = connection.recv(65_536)
                    if not data:
                        raise ConnectionError(f"closed after {answer!r}")
                    answer += data
                assert answer.startswith(b"HTTP/1.1 200"), answer
                if close or b"connection: close" in answer.lower():
                    connection.close()
                    connection = None
                else:
                    last = time.monotonic()
            except (OSError, AssertionError) as error:
                # On a busy machine a client may sleep for longer than an idle connection lives.
                if answer or idle < 1:
                    self.failed.append(f"{index}: {error!r}")
                if connection is not None:
                    connection.close()
                connection = None
                self._stop.wait(0.05)
            self.counts[index] += 1
        if connection is not None:
            connection.close()


@pytest.fixture
def servers():
    with balancers.upstreams("one", "two") as found:
        yield found


def members(servers, **fields):
    return balancers.document(
        *((f"web-{n}", server.address) for n, server in enumerate(servers)), **fields
    )


def upgrade(balancer):
    """Returns once the old processes have ended."""
    before = balancer.processes()
    balancer.process.send_signal(signal.SIGUSR2)
    balancers.eventually(
        lambda: {p.pid for p in balancer.processes() if p in before} == {balancer.process.pid},
        what="the end of the old processes",
        seconds=60,
    )


def test_two_upgrades_under_load_refuse_reset_and_fail_nothing_and_the_pid_stays(tmp_path, servers):
    with balancers.running(tmp_path, "--workers", "2") as balancer:
        balancer.push(members(servers, generation=3))
        boots = {balancer.held()["bootId"]}
        pid = balancer.process.pid
        with Clients(balancer.ports[0]) as clients:
            for _ in range(2):
                clients.more()
                upgrade(balancer)
                clients.more()
                held = balancer.held()
                boots.add(held["bootId"])
                assert (held["generation"], held["source"]) == (3, "disk")
        assert clients.failed == []
        assert len(boots) == 3
        assert len(balancer.processes()) == 4
        assert (balancer.process.pid, balancer.process.poll()) == (pid, None)
        assert balancer.push(members(servers, generation=4)).json()["generation"] == 4


def test_a_request_in_flight_finishes_on_the_old_processes_while_the_new_ones_serve(
    tmp_path, servers
):
    with balancers.running(tmp_path) as balancer:
        balancer.push(members(servers))
        with socket.create_connection(("127.0.0.1", balancer.ports[0]), timeout=30) as client:
            client.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            balancers.eventually(
                lambda: servers[0].entered.is_set() or servers[1].entered.is_set(), what="it"
            )
            balancer.process.send_signal(signal.SIGUSR2)
            balancers.eventually(lambda: "event=upgraded" in text(balancer), what="the upgrade")
            assert balancer.home() in {"one", "two"}
            for server in servers:
                server.gate.set()
            assert b"".join(iter(lambda: client.recv(4096), b"")).startswith(b"HTTP/1.1 200")


def test_pushes_are_taken_all_the_time_and_none_that_was_confirmed_is_lost(tmp_path, servers):
    with balancers.running(tmp_path) as balancer, requests.Session() as operator:
        balancer.push(members(servers))
        operator.headers["Authorization"] = f"Bearer {balancers.TOKEN}"
        stop, confirmed, wrong = threading.Event(), [], []

        def push():
            generation = 1
            while not stop.is_set():
                generation += 1
                for left in (1, 0):
                    try:
                        answer = operator.put(
                            balancer.ring, json=members(servers, generation=generation), timeout=20
                        )
                    except requests.ConnectionError as error:
                        if not left:
                            wrong.append(error)
                        continue
                    if answer.status_code == 200:
                        confirmed.append(generation)
                    elif answer.status_code != 503:
                        wrong.append(answer.text)
                    break

        thread = threading.Thread(target=push)
        thread.start()
        try:
            balancers.eventually(lambda: len(confirmed) > 2, what="pushes")
            upgrade(balancer)
            before = len(confirmed)
            balancers.eventually(lambda: len(confirmed) > before + 2, what="pushes after it")
        finally:
            stop.set()
            thread.join()
        assert wrong == []
        assert balancer.held()["generation"] >= confirmed[-1]


def test_an_upgrade_that_would_not_start_is_refused_and_says_why(tmp_path, servers):
    with balancers.running(tmp_path) as balancer:
        balancer.push(members(servers))
        before = balancer.processes()
        (tmp_path / "token").unlink()
        balancer.process.send_signal(signal.SIGUSR2)
        balancers.eventually(lambda: "upgrade refused" in balancer.text(), what="the refusal")
        assert "cannot read the token file" in balancer.text()
        assert balancer.processes() == before
        assert balancer.home() in {"one", "two"}


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A copy of the program that a test may change."""
    copy = tmp_path / "code" / "ringmaster_balancer"
    shutil.copytree(Path(ringmaster_balancer.__file__).parent, copy)
    monkeypatch.setenv("PYTHONPATH", f"{copy.parent}")
    return copy


def test_an_upgrade_runs_the_code_that_is_installed_by_then(tmp_path, servers, code):
    with balancers.running(tmp_path) as balancer:
        balancer.push(members(servers))
        path = code / "supervisor.py"
        path.write_text(path.read_text().replace('"listening"', '"listening anew"'))
        upgrade(balancer)
        assert "listening anew" in balancer.text()
        assert balancer.home() in {"one", "two"}


def test_more_and_fewer_workers_after_an_upgrade_lose_no_connection(tmp_path, servers, code):
    with balancers.running(tmp_path) as balancer:
        balancer.push(members(servers))
        path = code / "__main__.py"
        one = path.read_text()
        three = one.replace('"--workers",\n    default=1', '"--workers",\n    default=3')
        assert one != three
        with Clients(balancer.ports[0]) as clients:
            for text, count in ((three, 5), (one, 3), (three, 5)):
                clients.more()
                path.write_text(text)
                upgrade(balancer)
                assert len(balancer.processes()) == count
                clients.more()
        assert clients.failed == []


def test_new_workers_that_never_serve_leave_the_old_ones_in_place(tmp_path, servers, code):
    with balancers.running(tmp_path, "--upgrade-seconds", "12") as balancer:
        balancer.push(members(servers))
        path = code / "dataplane" / "worker.py"
        good = path.read_text()
        path.write_text(good.replace("    uvloop.run(", "    signal.pause()\n    uvloop.run("))
        with Clients(balancer.ports[0]) as clients:
            balancer.process.send_signal(signal.SIGUSR2)
            balancers.eventually(
                lambda: "the old processes serve on" in balancer.text(),
                what="the end of it",
                seconds=60,
            )
            clients.more()
            path.write_text(good)
            balancer.push(members(servers, generation=2))
            upgrade(balancer)
            clients.more()
        assert clients.failed == []
        assert balancer.held()["generation"] == 2


def text(balancer):
    return balancer.text().replace('"', "")


def test_what_is_left_is_taken_once():
    reading, writing = os.pipe()
    try:
        fields = dict.fromkeys(("lock", "lifeline", "control", "workers", "lab"), reading)
        fields |= {"held": writing, "data": [reading], "run_dir": "/r", "pids": {"control": 7}}
        environment = {handover.VARIABLE: json.dumps(fields)}
        left = handover.take(environment)
        assert left is not None
        assert (left.data, left.pids, left.run_dir) == ((reading,), {"control": 7}, "/r")
        assert environment == {}
        assert handover.take(environment) is None
    finally:
        os.close(reading)
        os.close(writing)
