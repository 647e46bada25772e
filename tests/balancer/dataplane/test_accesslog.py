"""A line of JSON for each request: what it tells, and that nothing waits for it."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import scripted
from ringmaster_balancer import members
from ringmaster_balancer.dataplane import accesslog, proxy

RULES = {"accessLog": True}


def settings(path: Path) -> proxy.Settings:
    return proxy.Settings(access_log=str(path))


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def lines(path: Path, count: int) -> list[dict[str, Any]]:
    """So many lines, once they have been written."""
    await scripted.eventually(lambda: path.exists() and len(read(path)) >= count)
    found = read(path)
    assert len(found) == count
    return found


def test_a_line_tells_who_asked_for_what_and_who_answered(tmp_path: Path) -> None:
    log = tmp_path / "access.log"

    async def scenario() -> None:
        before = time.time()
        async with scripted.stand(
            scripted.answering(), scripted.answering(), rules=RULES, settings=settings(log)
        ) as stand:
            client = await stand.connect()
            client.send(scripted.get("/home?x=1", key="abc"))
            await client.response()
            (line,) = await lines(log, 1)
            assert stand.plane.snapshot is not None
            owner = stand.owner("abc")
            slot = stand.plane.snapshot.slot_of(b"abc")
        stamp = line.pop("time")
        assert stamp.endswith("Z")
        assert stamp[:16] in {
            time.strftime("%Y-%m-%dT%H:%M", time.gmtime(t)) for t in (before, time.time())
        }
        assert 0 <= line.pop("upstreamTime") <= line.pop("duration") < scripted.PATIENCE
        assert line == {
            "client": "127.0.0.1",
            "method": "GET",
            "path": "/home?x=1",
            "status": 200,
            "bytes": 2,
            "member": owner,
            "replica": f"{owner}-r",
            "slot": slot,
            "generation": 1,
            "retries": 0,
            "requestId": "abc",
            "end": "complete",
        }

    scripted.run(scenario())


def test_the_request_id_is_told_where_another_header_is_the_key(tmp_path: Path) -> None:
    log = tmp_path / "access.log"

    async def scenario() -> None:
        ring = members.Ring.model_validate({"slots": 64, "key": [{"header": "X-User"}]})
        async with scripted.stand(
            scripted.answering(), rules=RULES, ring=ring, settings=settings(log)
        ) as stand:
            client = await stand.connect()
            client.send(scripted.get(key='a"b\\c é', extra=["X-User: me"]))
            await client.response()
            client.send(scripted.get(key=None, extra=["X-User: me"]))
            await client.response()
            one, two = await lines(log, 2)
            assert one["requestId"] == 'a"b\\c é'
            assert two["requestId"] is None

    scripted.run(scenario())


def test_bytes_are_those_of_the_body_however_it_is_framed(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000

    async def scenario() -> None:
        for number, answer in enumerate((chunked, large), 1):
            async with scripted.stand(
                scripted.answering(answer), rules=RULES, settings=settings(log)
            ) as stand:
                await stand.get()
            assert (await lines(log, number))[-1]["bytes"] in {5, 300_000}

    scripted.run(scenario())


def test_a_retry_shows_the_member_that_answered_and_how_many_did_not(tmp_path: Path) -> None:
    log = tmp_path / "access.log"

    async def scenario() -> None:
        async with scripted.stand(
            scripted.answering(), scripted.answering(), rules=RULES, settings=settings(log)
        ) as stand:
            first, second = stand.order("k")
            await stand.upstreams[first].stop()
            await stand.get()
            (line,) = await lines(log, 1)
            assert (line["member"], line["retries"], line["status"]) == (second, 1, 200)

    scripted.run(scenario())


def test_our_own_answers_aborts_and_cuts_have_their_line_too(tmp_path: Path) -> None:
    log = tmp_path / "access.log"

    async def breaks(peer: scripted.Peer) -> None:
        if b"/breaks" in await peer.head():
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            await asyncio.sleep(0.05)
            peer.reset()
        else:
            await peer.rest()

    async def scenario() -> None:
        async with scripted.stand(breaks, rules=RULES, settings=settings(log)) as stand:
            client = await stand.connect()
            client.send(b"nonsense\r\n\r\n")
            await client.rest()
            (refused,) = await lines(log, 1)
            assert (refused["status"], refused["path"], refused["member"]) == (400, None, None)
            leaving = await stand.connect()
            leaving.send(scripted.get("/waits"))
            await scripted.eventually(lambda: stand.upstreams["web-0"].requests == 1)
            leaving.reset()
            aborted = (await lines(log, 2))[-1]
            assert (aborted["end"], aborted["status"], aborted["path"]) == ("aborted", 0, "/waits")
            assert aborted["upstreamTime"] is None
            broken = await stand.connect()
            broken.send(scripted.get("/breaks"))
            assert (await broken.rest()).endswith(b"\r\n\r\nhalf")
            cut = (await lines(log, 3))[-1]
            assert (cut["end"], cut["status"], cut["bytes"]) == ("cut", 200, 4)
            stand.plane.clear()
            assert (await stand.get())[0] == 503
            own = (await lines(log, 4))[-1]
            assert (own["status"], own["slot"], own["generation"]) == (503, None, None)
            assert own["bytes"] > 0

    scripted.run(scenario())


def test_a_tunnel_has_its_line_when_it_ends(tmp_path: Path) -> None:
    log = tmp_path / "access.log"

    async def echoes(peer: scripted.Peer) -> None:
        await peer.head()
        peer.send(b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        peer.send(await peer.exactly(4))
        await peer.rest()

    async def scenario() -> None:
        async with scripted.stand(echoes, rules=RULES, settings=settings(log)) as stand:
            client = await stand.connect()
            client.send(scripted.get(extra=["Connection: Upgrade", "Upgrade: websocket"]))
            assert b" 101 " in await client.head()
            client.send(b"ping")
            assert await client.exactly(4) == b"ping"
            await client.close()
            (line,) = await lines(log, 1)
            assert (line["status"], line["bytes"], line["end"]) == (101, 4, "complete")

    scripted.run(scenario())


def test_the_client_is_whom_a_trusted_proxy_names(tmp_path: Path) -> None:
    log = tmp_path / "access.log"

    async def scenario() -> None:
        for number, trusted in enumerate(([], ["127.0.0.0/8"]), 1):
            rules = {**RULES, "trustedProxies": trusted}
            async with scripted.stand(
                scripted.answering(), rules=rules, settings=settings(log)
            ) as stand:
                client = await stand.connect()
                client.send(scripted.get(extra=["X-Forwarded-For: 9.9.9.9"]))
                await client.response()
            await lines(log, number)
        assert [line["client"] for line in read(log)] == ["127.0.0.1", "9.9.9.9"]

    scripted.run(scenario())


def test_it_is_switched_by_the_membership(tmp_path: Path) -> None:
    log = tmp_path / "access.log"

    async def scenario() -> None:
        async with scripted.stand(scripted.answering(), settings=settings(log)) as stand:
            await stand.get()
            assert not log.exists()
            stand.proxy = members.Proxy(access_log=True)
            stand.install()
            await stand.get()
            await lines(log, 1)
            stand.proxy = members.Proxy()
            stand.install()
            await stand.get()
            assert stand.plane.log is None
            assert len(read(log)) == 1

    scripted.run(scenario())


def test_a_file_that_was_moved_away_is_opened_anew_and_no_line_is_lost(tmp_path: Path) -> None:
    log, old = tmp_path / "access.log", tmp_path / "access.log.1"

    async def scenario() -> None:
        async with scripted.stand(
            scripted.answering(), rules=RULES, settings=settings(log)
        ) as stand:
            client = await stand.connect()
            for number in range(50):
                client.send(scripted.get(f"/{number}"))
                await client.response()
                if number == 20:
                    await asyncio.to_thread(log.rename, old)
                    stand.plane.reopen_log()
            await scripted.eventually(
                lambda: log.exists() and len(read(old)) + len(read(log)) == 50
            )
            assert read(log)
            paths = [line["path"] for line in read(old) + read(log)]
            assert paths == [f"/{number}" for number in range(50)]

    scripted.run(scenario())


def test_a_log_that_cannot_be_opened_stops_no_request_and_counts_what_is_lost(
    tmp_path: Path,
) -> None:
    log = tmp_path / "folder" / "log"

    async def scenario() -> None:
        async with scripted.stand(
            scripted.answering(), rules=RULES, settings=settings(log)
        ) as stand:
            for number in (1, 2):
                assert (await stand.get())[0] == 200
                await scripted.eventually(lambda n=number: stand.plane.stats()["lostLines"] == n)
            log.parent.mkdir()
            assert (await stand.get())[0] == 200
            await lines(log, 1)
            assert stand.plane.stats()["lostLines"] == 2

    scripted.run(scenario())


def test_a_reader_that_stalls_holds_up_nothing_but_its_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accesslog, "_MOST", 100)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)

    async def scenario() -> None:
        async with scripted.stand(
            scripted.answering(), rules=RULES, settings=settings(fifo)
        ) as stand:
            client = await stand.connect()
            while not stand.plane.stats()["lostLines"]:
                client.send(scripted.get("/" + "x" * 1000))
                assert (await client.response())[0] == 200
            os.set_blocking(reading, True)
            reader = threading.Thread(target=lambda: [*iter(lambda: os.read(reading, 65_536), b"")])
            reader.start()
        await asyncio.to_thread(reader.join)

    scripted.run(scenario())
    os.close(reading)


def test_a_pipe_whose_reader_comes_later_holds_up_nobody(tmp_path: Path) -> None:
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    logs: list[accesslog.AccessLog] = []
    opening = threading.Thread(target=lambda: logs.append(accesslog.AccessLog(str(fifo))))
    opening.daemon = True
    opening.start()
    opening.join(scripted.PATIENCE)
    (log,) = logs
    log.refused("192.0.2.1", 400, "malformed")
    with fifo.open() as reader:
        assert json.loads(reader.readline())["client"] == "192.0.2.1"
        log.close()
