"""The load generator, against a server that does as it is told."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
import slow_server
from ringmaster_experiments import errors, load

KEYS = [b"%06d" % number for number in range(100)]


def drive(port, keys=KEYS, **options):
    return load.run(load.Target("127.0.0.1", port), keys, **options)


def key_of(head: bytes) -> bytes:
    return head.partition(b"X-Request-Id: ")[2].partition(b"\r\n")[0]


def test_every_key_is_sent_once_and_the_answers_are_in_order_of_the_keys():
    async def answer(head: bytes) -> bytes:
        last = key_of(head)[-1:].decode()
        return slow_server.ok(f"web-{last}", f"name-{last}")

    with slow_server.running(answer) as port:
        outcome = drive(port, connections=7)
    assert not outcome.failures
    members = [outcome.servers[who].member for who in outcome.answers]
    assert members == [f"web-{key[-1:].decode()}" for key in KEYS]
    assert sorted({server.name for server in outcome.servers}) == [f"name-{n}" for n in range(10)]
    assert all(seconds > 0 for seconds in outcome.took)


def test_so_many_requests_are_really_in_flight_at_a_time():
    arrived = 0
    full = asyncio.Event()

    async def answer(_head: bytes) -> bytes:
        nonlocal arrived
        arrived += 1
        if arrived == 25:
            full.set()
        await full.wait()  # nobody is answered before 25 wait
        return slow_server.ok("web-0", "x")

    with slow_server.running(answer) as port:
        outcome = drive(port, connections=25, seconds=30)
    assert not outcome.failures


def test_failures_are_counted_by_kind_and_never_retried():
    met = []

    async def answer(head: bytes) -> bytes:
        key = key_of(head)
        met.append(key)
        match int(key) % 4:
            case 0:
                return b""  # closes without a word
            case 1:
                return b"HTTP/1.1 503 no\r\ncontent-length: 2\r\n\r\nno"
            case 2:
                return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
        return slow_server.ok("web-0", "x")

    with slow_server.running(answer) as port:
        outcome = drive(port, connections=4)
    assert outcome.failures == {
        "connection: IncompleteReadError": 25,
        "status 503": 25,
        "no Content-Length": 25,
    }
    assert sorted(met) == KEYS
    assert outcome.answers.count(load.NOBODY) == 75


def test_an_answer_that_is_no_http_is_a_failure_of_its_request_alone():
    async def answer(head: bytes) -> bytes:
        match int(key_of(head)) % 4:
            case 0:
                return b"nonsense\r\ncontent-length: 0\r\n\r\n"
            case 1:
                return b"HTTP/1.1 OK\r\ncontent-length: 0\r\n\r\n"
            case 2:
                return b"HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\n"
        return slow_server.ok("web-0", "x")

    with slow_server.running(answer) as port:
        outcome = drive(port, connections=4)
    assert outcome.failures == {"no status line of HTTP/1": 50, "no Content-Length": 25}


def test_nobody_listening_is_a_failure_of_every_request():
    async def answer(_head: bytes) -> bytes:
        return b""

    with slow_server.running(answer) as port:
        pass
    assert sum(drive(port).failures.values()) == len(KEYS)


def test_what_is_not_answered_in_time_has_failed():
    async def answer(head: bytes) -> bytes:
        if key_of(head) == b"000050":
            await asyncio.sleep(60)
        return slow_server.ok("web-0", "x")

    begin = time.monotonic()
    with slow_server.running(answer) as port:
        outcome = drive(port, connections=1, seconds=0.5)
    assert time.monotonic() - begin < 30
    assert outcome.failures == {"not answered within 0.5 s": 50}


def test_an_action_runs_beside_the_load_when_its_request_is_sent():
    met, called = [], threading.Event()

    async def answer(head: bytes) -> bytes:
        met.append(key_of(head))
        return slow_server.ok("web-0", "x")

    with slow_server.running(answer) as port:
        drive(port, connections=1, at={60: called.set, 200: lambda: pytest.fail("never sent")})
    assert called.is_set()
    assert len(met) == len(KEYS)


def test_progress_ends_with_all_of_them():
    told = []

    async def answer(_head: bytes) -> bytes:
        return slow_server.ok("web-0", "x")

    with slow_server.running(answer) as port:
        drive(port, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == len(KEYS)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://localhost:5000", ("localhost", 5000)),
        ("http://[::1]:8080/", ("::1", 8080)),
        ("http://lb", ("lb", 80)),
    ],
)
def test_a_url_names_a_target(url, target):
    assert load.Target.of(url) == load.Target(*target)


@pytest.mark.parametrize(
    "url", ["localhost:5000", "https://lb", "http://", "http://lb/path", "http://lb:99999"]
)
def test_another_url_is_refused(url):
    with pytest.raises(errors.UsageError):
        load.Target.of(url)
