"""Probes: what counts as good, how soon the dead are found, what is never held against a member."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import resource
import socket

import balancer_process as balancers
import pytest
import requests
from ringmaster_balancer import members
from ringmaster_balancer.control import health, prober

GOOD, ERROR, SILENT = health.Finding
TARGET = prober.Target(id="web-0", replica="web-0-a", address="127.0.0.1:1")
FAST = members.Health(path="/heartbeat", interval_seconds=0.01, timeout_seconds=0.2)


@contextlib.asynccontextmanager
async def answering(answer):
    """A server that gives every connection these bytes (None: says nothing)."""
    seen = []
    handlers = []

    async def serve(reader, writer):
        handlers.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield prober.Target(id="a", replica="a", address=f"127.0.0.1:{port}"), seen
        await asyncio.gather(*handlers)


@pytest.mark.parametrize(
    ("answer", "finding"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", GOOD),
        (b"HTTP/1.0 302\r\n\r\n", GOOD),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", ERROR),
        (b"HTTP/1.1 500 Oh\r\n\r\n", ERROR),
        (b"HTTP/1.1 two hundred\r\n\r\n", SILENT),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", GOOD),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 500 Oh\r\n\r\n", ERROR),
        (b"HTTP/1.1 100 Continue\r\n\r\n", SILENT),  # RFC 9110 §15.2: no answer yet
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", SILENT),
        # What a client's request would get 502 or 504 for.
        (b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", SILENT),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n", SILENT),
        (b"HTTP/2 200 OK\r\n\r\n", SILENT),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", SILENT),
        (b"SSH-2.0-OpenSSH\r\n", SILENT),
        (b"\xff" * 100_000, SILENT),
        (b"", SILENT),
        (None, SILENT),
    ],
)
def test_a_health_path_is_good_with_200_to_399_and_nothing_else(answer, finding):
    async def scenario():
        async with answering(answer) as (target, seen):
            assert await prober.check(target, FAST) is finding
            assert seen[0].startswith(b"GET /heartbeat HTTP/1.1\r\nHost: 127.0.0.1:")

    asyncio.run(scenario())


def test_without_a_path_a_connect_is_enough_and_a_refusal_is_bad():
    async def scenario():
        settings = FAST.model_copy(update={"path": None})
        with socket.create_server(("127.0.0.1", 0)) as listening:
            address = f"127.0.0.1:{listening.getsockname()[1]}"
            target = prober.Target(id="a", replica="a", address=address)
            assert await prober.check(target, settings) is GOOD
        assert await prober.check(target, settings) is SILENT

    asyncio.run(scenario())


class World:
    """A prober whose probes are answered from `results`, by replica; the last one repeats."""

    def __init__(self):
        self.results = {}
        self.probed = []
        self.changes = []
        self._news = asyncio.Event()
        self.prober = prober.Prober(on_change=self._changed, probe=self._probe)

    async def _probe(self, target, _settings):
        self.probed.append(target.replica)
        self._news.set()
        results = self.results.get(target.replica, [GOOD])
        return results.pop(0) if len(results) > 1 else results[0]

    def _changed(self, changes):
        self.changes.append(changes)
        self._news.set()

    async def until(self, look):
        async with asyncio.timeout(10):
            while not look():
                self._news.clear()
                await self._news.wait()

    async def probes(self, count):
        await self.until(lambda: len(self.probed) >= count)


def run(scenario):
    async def bounded():
        w = World()
        try:
            await asyncio.wait_for(scenario(w), 20)
        finally:
            w.prober.close()

    asyncio.run(bounded())


SLOW = members.Health(interval_seconds=3600)


def test_a_member_that_fails_is_out_after_fall_probes_and_in_again_after_rise():
    async def scenario(w):
        w.results["web-0-a"] = [SILENT, SILENT, GOOD, GOOD]
        w.prober.watch([TARGET], settings=FAST)
        assert w.prober.healthy() == {"web-0-a": True}
        await w.until(lambda: w.prober.healthy()["web-0-a"] and len(w.changes) > 1)
        assert [c for c in w.changes if c] == [{"web-0-a": False}, {"web-0-a": True}]

    run(scenario)


def test_a_complaint_has_a_member_probed_at_once_until_it_is_decided():
    async def scenario(w):
        w.results["web-0-a"] = [GOOD, SILENT]
        w.prober.watch([TARGET], settings=SLOW)
        await w.probes(1)
        w.prober.hurry("web-0-a")
        await w.until(lambda: w.changes == [{"web-0-a": False}])
        assert len(w.probed) == 3

    run(scenario)


def test_a_complaint_about_a_member_that_is_well_changes_nothing():
    async def scenario(w):
        w.prober.watch([TARGET], settings=SLOW)
        await w.probes(1)
        w.prober.hurry("web-0-a")
        await w.probes(2)
        assert w.changes == []

    run(scenario)


def test_our_own_shortage_of_descriptors_is_not_held_against_a_member(monkeypatch):
    async def refuse(*_args, **_options):
        raise OSError(errno.EMFILE, "too many open files")

    async def scenario():
        monkeypatch.setattr(asyncio, "open_connection", refuse)
        assert await prober.check(TARGET, FAST) is None

    asyncio.run(scenario())


def test_a_member_from_disk_counts_as_out_until_its_first_probe():
    async def scenario(w):
        bad = prober.Target(id="web-1", replica="web-1-a", address="127.0.0.1:2")
        w.results["web-1-a"] = [SILENT]
        w.prober.watch([TARGET, bad], settings=SLOW, known=False)
        assert w.prober.healthy() == {"web-0-a": False, "web-1-a": False}
        await w.prober.first_round(within=10)
        assert w.prober.healthy() == {"web-0-a": True, "web-1-a": False}

    run(scenario)


def test_a_push_vouches_for_members_that_no_probe_has_judged_yet():
    async def scenario(w):
        w.prober.watch([TARGET], settings=SLOW, known=False)
        w.prober.watch([TARGET], settings=SLOW, known=True)
        assert w.prober.healthy() == {"web-0-a": True}
        await w.prober.first_round(within=0)

    run(scenario)


def test_a_judgement_outlives_a_push_but_not_a_replacement():
    async def scenario(w):
        w.results["web-0-a"] = [SILENT]
        w.prober.watch([TARGET], settings=FAST)
        await w.until(lambda: w.changes)
        w.prober.watch([TARGET], settings=FAST)
        assert w.prober.healthy() == {"web-0-a": False}
        moved = prober.Target(id="web-0", replica="web-0-a", address="127.0.0.1:9")
        w.prober.watch([moved], settings=SLOW)
        assert w.prober.healthy() == {"web-0-a": True}
        w.prober.watch([], settings=SLOW)
        assert w.prober.healthy() == {}

    run(scenario)


def test_whether_a_member_answers_at_all_is_news_while_it_is_out():
    async def scenario(w):
        w.results["web-0-a"] = [ERROR, ERROR, ERROR, SILENT, GOOD]
        w.prober.watch([TARGET], settings=FAST)
        await w.until(lambda: w.changes == [{"web-0-a": False}])
        assert w.prober.erring() == ["web-0-a"]
        await w.until(lambda: len(w.changes) > 1)
        assert w.changes[1] == {}
        await w.until(lambda: w.prober.healthy()["web-0-a"])
        assert w.prober.erring() == []

    run(scenario)


def test_a_prober_without_descriptors_says_so_and_changes_no_judgement(tmp_path):
    with (
        balancers.upstreams("a") as (server,),
        balancers.running(tmp_path, "--workers", "1") as balancer,
        requests.Session() as session,
    ):
        balancer.push(balancers.document(("a", server.address)))
        assert session.get(f"{balancer.control}/metrics", timeout=10).ok
        balancers.eventually(lambda: len(server.asked) > 2, what="probes")
        pid = balancer.pid("control")
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))  # no new one, whatever is closed

        def lacking():
            told = session.get(f"{balancer.control}/metrics", timeout=10).text
            found = re.search(r'_shortages_total\{resource="descriptors"\} ([\d.]+)', told)
            return told if found and float(found[1]) > 5 else None

        told = balancers.eventually(lacking, what="probes that could not be made")
        assert 'member_healthy{member="a",replica="a-r"} 1.0' in told
        assert balancer.text().count("out of resources") == 1
        assert "member is unhealthy" not in balancer.text()
