"""Real processes on free ports: whatever of the balancer dies, it serves on or comes back."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import stat
import threading
from pathlib import Path

import balancer_process as balancers
import pytest
import requests
import ringmaster_balancer
from ringmaster_balancer import supervisor


@pytest.fixture
def servers():
    with balancers.upstreams("one", "two") as found:
        yield found


def members(servers, **fields):
    return balancers.document(
        *((f"web-{n}", server.address) for n, server in enumerate(servers)), **fields
    )


def test_a_pushed_membership_is_confirmed_served_shown_and_ended(tmp_path, servers):
    with balancers.running(tmp_path, "--workers", "2") as balancer:
        assert requests.get(balancer.url, timeout=5).status_code == 503
        assert not balancer.ready()
        assert balancer.held()["members"] == []

        answer = balancer.push(members(servers))
        held = balancer.held()
        assert answer.json() == {key: held[key] for key in answer.json()}
        assert set(answer.json()) == {"bootId", "epoch", "generation", "checksum"}
        assert held["source"] == "push"
        assert [m["healthy"] for m in held["members"]] == [True, True]
        assert {balancer.home() for _ in range(20)} == {"one", "two"}
        assert balancer.ready()
        why = balancer.ask("GET", f"{balancer.ring}/explain", params={"key": "a"}).json()
        answer = requests.get(f"{balancer.url}/x", headers={"X-Request-Id": "a"}, timeout=5)
        assert answer.text == {"web-0": "one", "web-1": "two"}[why["member"]]
        text = requests.get(f"{balancer.control}/metrics", timeout=5).text
        assert 'ringmaster_balancer_member_responses_total{code="200",member="web-0"' in text

        assert balancer.ask("DELETE").status_code == 200
        assert requests.get(balancer.url, timeout=5).status_code == 503
        assert not balancer.ready()
        assert balancer.stop() == 0


def test_what_is_wrong_with_a_push_is_told_and_the_last_good_one_stays(tmp_path, servers):
    with balancers.running(tmp_path) as balancer:
        balancer.push(members(servers, generation=5))
        json_type = {"Content-Type": "application/json"}
        huge = b"[" + b" " * 4 * 1024 * 1024 + b"]"
        bad = members(servers, generation=6, replicas=-1)
        bad["members"][0]["state"] = "dancing"
        asked = [
            (401, {"json": bad, "headers": {"Authorization": "Bearer wrong"}}),
            (404, {"json": bad, "url": f"{balancer.control}/v1/rings/default/other"}),
            (413, {"data": huge, "headers": json_type}),
            (415, {"data": b"{}", "headers": {"Content-Type": "text/plain"}}),
            (400, {"data": b"{", "headers": json_type}),
            (400, {"data": b"[" * 100_000, "headers": json_type}),
            (422, {"json": bad}),
            (409, {"json": members(servers, generation=4)}),
            (409, {"json": members(servers, generation=5, replicas=7)}),
            (409, {"json": members(servers, generation=9, uid="other")}),
        ]
        for code, options in asked:
            answer = balancer.ask("PUT", **options)
            assert (answer.status_code, answer.json()["message"] != "") == (code, True)
            if code == 422:
                paths = {fault["path"] for fault in answer.json()["faults"]}
                assert paths >= {"replicas", "members[0].state"}
            if code == 409:
                assert (answer.json()["epoch"], answer.json()["generation"]) == (1, 5)
        assert balancer.held()["generation"] == 5
        assert balancer.home() in {"one", "two"}


def test_a_slow_client_of_the_control_port_holds_up_no_push(tmp_path, servers):
    with balancers.running(tmp_path) as balancer:
        slow = [socket.create_connection(("127.0.0.1", balancer.ports[1])) for _ in range(20)]
        try:
            for connection in slow:
                connection.sendall(b"PUT /v1/rings/default/web HTTP/1.1\r\nContent-Length: 99\r\n")
            balancer.push(members(servers))
        finally:
            for connection in slow:
                connection.close()


class Load:
    """Clients that send GETs on new connections until they are stopped; each may try again."""

    def __init__(self, url, *, tries):
        self._url = url
        self._tries = tries
        self._stop = threading.Event()
        self.failed = []
        self.answered = 0
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self):
        while not self._stop.is_set():
            for left in reversed(range(self._tries)):
                try:
                    answer = requests.get(f"{self._url}/home", timeout=20)
                except requests.RequestException as error:  # reset, or cut in its response
                    if not left:
                        self.failed.append(error)
                    continue
                if answer.status_code != 200:
                    self.failed.append(answer.status_code)
                self.answered += 1
                break


def test_a_killed_worker_costs_only_what_it_had_in_hand_and_a_client_that_retries_nothing(
    tmp_path, servers
):
    with balancers.running(tmp_path, "--workers", "2") as balancer:
        balancer.push(members(servers))
        victim = balancer.pid("worker-0")
        with Load(balancer.url, tries=2) as load:
            balancers.eventually(lambda: load.answered > 50, what="load")
            balancers.kill(victim)
            balancers.eventually(lambda: balancer.pid("worker-0") != victim, what="a successor")
            before = load.answered
            balancers.eventually(lambda: load.answered > before + 100, what="answers after that")
        assert load.failed == []


def test_a_worker_that_cannot_be_started_for_a_while_is_started_later(tmp_path, servers):
    with balancers.running(tmp_path, "--workers", "2") as balancer:
        balancer.push(members(servers))
        pid, victim = balancer.process.pid, balancer.pid("worker-0")
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (4, hard))
        balancers.kill(victim)
        balancers.eventually(lambda: "process cannot start" in balancer.text(), what="the failure")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        balancers.eventually(lambda: balancer.pid("worker-0") != victim, what="a successor")
        balancer.push(members(servers, generation=2))


def test_a_push_does_not_wait_for_a_worker_that_died(tmp_path, servers):
    with balancers.running(tmp_path, "--workers", "2") as balancer:
        balancer.push(members(servers))
        balancers.kill(balancer.pid("worker-1"))
        balancers.eventually(
            lambda: balancer.ask("PUT", json=members(servers, generation=2)).status_code == 200,
            what="the confirmation of the living one",
            seconds=5,
        )


def test_serving_goes_on_while_the_control_process_is_gone_and_it_comes_back(tmp_path, servers):
    with balancers.running(tmp_path, "--workers", "2") as balancer:
        balancer.push(members(servers, generation=3))
        before = balancer.held()
        victim = balancer.pid("control")
        with Load(balancer.url, tries=1) as load:
            balancers.eventually(lambda: load.answered > 20, what="load")
            balancers.kill(victim)
            after = balancers.eventually(
                lambda: (held := balancer.held())["bootId"] != before["bootId"] and held,
                what="the control process' return",
            )
        assert load.failed == []
        assert after["source"] == "disk"
        assert (after["generation"], after["checksum"]) == (3, before["checksum"])
        assert balancer.push(members(servers, generation=3)).json()["generation"] == 3
        assert balancer.held()["source"] == "push"


def test_a_worker_gives_back_what_the_disk_has_lost_to_a_new_control_process(tmp_path, servers):
    with balancers.running(tmp_path) as balancer:
        balancer.push(members(servers, generation=3))
        (balancer.state / "default.web.json").write_text("{")
        victim = balancer.pid("control")
        balancers.kill(victim)
        held = balancers.eventually(
            lambda: (held := balancer.held())["generation"] == 3 and held, what="the same ring"
        )
        assert held["source"] == "disk"
        assert "is damaged" in balancer.text()
        assert balancer.home() in {"one", "two"}


def test_a_restart_serves_from_disk_those_members_that_pass_a_probe(tmp_path, servers):
    with balancers.running(tmp_path) as first:
        first.push(members(servers))
        before = first.held()
    servers[1].status = 500
    with balancers.running(tmp_path, ports=first.ports) as second:
        balancers.eventually(second.ready, what="readiness")
        held = second.held()
        assert (held["source"], held["checksum"]) == ("disk", before["checksum"])
        assert [m["healthy"] for m in held["members"]] == [True, False]
        assert {second.home() for _ in range(10)} == {"one"}
        servers[1].status = 200
        balancers.eventually(
            lambda: {second.home() for _ in range(10)} == {"one", "two"}, what="the other one"
        )


@pytest.mark.parametrize("victim", ["worker-0", "control"])
def test_a_cleaner_of_temporary_folders_ends_no_healing(tmp_path, servers, victim):
    with balancers.running(tmp_path, "--lab-api") as balancer:
        balancer.push(members(servers))
        folder = Path(json.loads(balancer.child("control").cmdline()[-1])["run_dir"])
        shutil.rmtree(folder)
        balancers.kill(balancer.child(victim).pid)
        balancers.eventually(balancer.home, what="service")
        balancer.push(members(servers, generation=2))
        balancers.eventually(
            lambda: requests.get(f"{balancer.url}/rep", timeout=5).status_code == 200,
            what="the lab API",
        )
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()


def test_a_state_folder_that_was_removed_is_made_again(tmp_path, servers):
    with balancers.running(tmp_path) as balancer:
        balancer.push(members(servers))
        shutil.rmtree(balancer.state)
        victim = balancer.child("control")
        victim.kill()
        balancers.eventually(lambda: balancer.child("control") != victim, what="a successor")
        balancers.eventually(
            lambda: balancer.held()["generation"] == 1, what="what a worker has kept"
        )
        shutil.rmtree(balancer.state)
        balancer.push(members(servers, generation=2))
        assert "membership not kept" not in balancer.text()
    with balancers.running(tmp_path) as again:
        assert again.held()["generation"] == 2


def test_a_damaged_file_is_said_and_ignored(tmp_path, servers):
    with balancers.running(tmp_path) as first:
        first.push(members(servers))
    path = first.state / "default.web.json"
    path.write_bytes(path.read_bytes()[:-20])
    with balancers.running(tmp_path) as second:
        balancers.eventually(lambda: "is damaged" in second.text(), what="the complaint")
        assert second.held()["source"] == ""
        assert requests.get(second.url, timeout=5).status_code == 503
        second.push(members(servers))
        assert second.home() in {"one", "two"}


def test_a_dead_member_goes_out_and_comes_back_without_a_push(tmp_path, servers):
    with balancers.running(tmp_path) as balancer:
        balancer.push(members(servers))
        servers[0].status = 503

        def healthy():
            return [m["healthy"] for m in balancer.held()["members"]]

        balancers.eventually(lambda: healthy() == [False, True], what="its exit")
        assert {balancer.home() for _ in range(10)} == {"two"}
        servers[0].status = 200
        balancers.eventually(lambda: healthy() == [True, True], what="its return")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_a_request_in_flight_finish_refuses_new_ones_and_exits_0(
    tmp_path, servers, number
):
    with (
        balancers.running(tmp_path) as balancer,
        concurrent.futures.ThreadPoolExecutor() as pool,
    ):
        balancer.push(members(servers[:1]))
        answer = pool.submit(requests.get, f"{balancer.url}/slow", timeout=20)
        assert servers[0].entered.wait(10)
        balancer.process.send_signal(number)
        balancers.eventually(
            lambda: balancers.refused(balancer.ports[0]), what="the end of accepting"
        )
        servers[0].gate.set()
        assert answer.result().text == "one"
        assert balancer.process.wait(20) == 0


def test_signals_end_nothing_that_is_just_starting(tmp_path, servers):
    with balancers.running(tmp_path) as balancer:
        ready = threading.Event()

        def storm():
            while not ready.wait(0.001):
                balancer.process.send_signal(signal.SIGHUP)

        with concurrent.futures.ThreadPoolExecutor() as pool:
            storming = pool.submit(storm)
            try:
                balancer.push(members(servers))
                victim = balancer.child("worker-0")
                victim.kill()
                balancers.eventually(
                    lambda: balancer.child("worker-0") not in {None, victim} and balancer.home(),
                    what="a successor",
                )
            finally:
                ready.set()
            storming.result()
        assert balancer.text().count('event="process ended"') == 1  # the one that was killed


@pytest.mark.parametrize("deaths", [1, 5])
def test_what_waits_for_a_worker_that_is_just_starting_is_answered_at_the_end(
    tmp_path, servers, deaths
):
    with balancers.running(tmp_path) as balancer:
        balancer.push(members(servers))
        for _ in range(deaths - 1):  # so that there is a pause before the next start
            before = balancer.pid("worker-0")
            balancers.kill(before)
            balancers.eventually(
                lambda before=before: balancer.pid("worker-0") != before, what="a successor"
            )
        victim = balancer.pid("worker-0")
        os.kill(victim, signal.SIGSTOP)
        waiting = [socket.create_connection(("127.0.0.1", balancer.ports[0])) for _ in range(10)]
        for connection in waiting:
            connection.sendall(b"GET /home HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        balancers.kill(victim)
        ends = 'event="process ended"'
        balancers.eventually(lambda: balancer.text().count(ends) == deaths, what="its end")
        balancer.process.terminate()
        for connection in waiting:
            connection.settimeout(20)
            with connection, connection.makefile("rb") as answer:
                assert answer.readline() == b"HTTP/1.1 200 OK\r\n"
        assert balancer.process.wait(20) == 0


def test_the_drain_time_bounds_what_a_request_in_flight_may_take(tmp_path, servers):
    with balancers.running(tmp_path, "--drain-seconds", "0.2") as balancer:
        balancer.push(members(servers[:1]))
        with concurrent.futures.ThreadPoolExecutor() as pool:
            answer = pool.submit(requests.get, f"{balancer.url}/slow", timeout=20)
            assert servers[0].entered.wait(10)
            assert balancer.stop() == 0
            with pytest.raises(requests.ConnectionError):
                answer.result()


def test_a_killed_supervisor_takes_its_processes_with_it_and_the_next_one_can_start(
    tmp_path, servers
):
    with balancers.running(tmp_path, "--workers", "2") as first:
        first.push(members(servers))
        first.process.kill()
        first.process.wait()
        with balancers.running(tmp_path, "--workers", "2", ports=first.ports) as second:
            balancers.eventually(lambda: len(first.processes()) == 4, what="only the new ones")
            balancers.eventually(second.ready, what="readiness")
            assert second.home() in {"one", "two"}


def test_a_taken_port_an_unwritable_folder_and_a_missing_token_are_one_clear_line(tmp_path):
    with balancers.running(tmp_path) as balancer:
        other = tmp_path / "other"
        other.mkdir()
        for ports in ((balancer.ports[0], 0), (0, balancer.ports[1])):
            with pytest.raises(AssertionError, match=r"cannot listen on .*: the port is taken"):
                balancers.Balancer(other, ports=ports)
        with pytest.raises(AssertionError, match="another balancer uses"):
            balancers.Balancer(tmp_path)
        with pytest.raises(AssertionError, match="cannot write to the state folder"):
            balancers.Balancer(other, "--state-dir", "/dev/null/x")
        with pytest.raises(AssertionError, match=r"cannot read the token file .*: No such file"):
            balancers.Balancer(other, "--token-file", "/nowhere")


def test_a_wedged_worker_keeps_a_push_unconfirmed(tmp_path, servers):
    with balancers.running(tmp_path, "--workers", "2") as balancer:
        balancer.push(members(servers))
        pid = balancer.pid("worker-0")
        os.kill(pid, signal.SIGSTOP)
        try:
            answer = balancer.push(members(servers, generation=2), accepted=False)
            assert (answer.status_code, answer.json()["reason"]) == (503, "NotConfirmed")
        finally:
            os.kill(pid, signal.SIGCONT)
        assert balancer.push(members(servers, generation=2)).status_code == 200


def test_a_wedged_control_process_is_replaced(tmp_path, servers, monkeypatch):
    code = tmp_path / "code" / "ringmaster_balancer"
    shutil.copytree(Path(ringmaster_balancer.__file__).parent, code)
    text = (code / "supervisor.py").read_text()
    assert "_SILENT_LOOKS = 10\n" in text
    (code / "supervisor.py").write_text(text.replace("_SILENT_LOOKS = 10\n", "_SILENT_LOOKS = 2\n"))
    monkeypatch.setenv("PYTHONPATH", str(code.parent))
    with balancers.running(tmp_path) as balancer:
        balancer.push(members(servers))
        wedged = balancer.child("control")
        wedged.suspend()
        balancers.eventually(lambda: balancers.ended(wedged.pid), what="its end")
        balancers.eventually(lambda: balancer.held()["generation"] == 1, what="its successor")
        assert 'event="control process is wedged, killing it"' in balancer.text()


class Flood:
    """One connection that sends the same bytes again and again, and reads what comes."""

    def __init__(self, port, begin, again):
        self.sent = 0
        self._again = again
        self._sock = socket.create_connection(("127.0.0.1", port))
        self._sock.sendall(begin)
        self._threads = [threading.Thread(target=work) for work in (self._send, self._read)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._sock.close()

    def _send(self):
        with contextlib.suppress(OSError):
            while True:
                self._sock.sendall(self._again)
                self.sent += len(self._again)

    def _read(self):
        with contextlib.suppress(OSError):
            while self._sock.recv(65_536):
                pass

    def goes_on(self):
        """It lives, and has its share."""
        before = self.sent
        balancers.eventually(lambda: self.sent > before, what="more of the flood")


@pytest.mark.parametrize(
    ("begin", "again"),
    [
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"", b"OPTIONS * HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n"),
    ],
    ids=["tiny chunks", "requests that need no server"],
)
def test_a_flood_on_one_connection_is_served_beside_the_others(tmp_path, servers, begin, again):
    with balancers.running(tmp_path, "--workers", "1") as balancer:
        balancer.push(members(servers))
        worker = balancer.pid("worker-0")
        with Flood(balancer.ports[0], begin, again * 1_000) as flood:
            balancers.eventually(lambda: flood.sent > 1_000_000, what="the flood")
            for _ in range(5):
                balancer.home()
                flood.goes_on()
        assert balancer.pid("worker-0") == worker
        assert "wedged" not in balancer.text()


@pytest.mark.parametrize(
    ("before", "lived", "wait"),
    [(0, 0.1, 0.1), (0.1, 0.1, 0.2), (4, 0.1, 5), (5, 9, 5), (5, 10, 0), (0, 60, 0)],
)
def test_a_process_that_will_not_stay_is_started_less_and_less_often(before, lived, wait):
    assert supervisor.backoff(before, lived=lived) == wait


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_the_access_log_goes_on_in_a_new_file_when_its_own_was_moved(tmp_path, servers, number):
    log, moved = tmp_path / "access.log", tmp_path / "access.log.1"
    with balancers.running(tmp_path, "--access-log", str(log)) as balancer:
        balancer.push(members(servers, proxy={"accessLog": True}))
        balancer.home()
        balancers.eventually(lambda: log.read_text().count("\n") == 1, what="the first line")
        log.rename(moved)
        balancer.process.send_signal(number)
        balancers.eventually(log.exists, what="the new file")
        balancer.home()
        balancers.eventually(lambda: log.read_text().count("\n") == 1, what="the second line")
        assert moved.read_text().count("\n") == 1
