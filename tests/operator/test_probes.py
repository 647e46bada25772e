"""Against real sockets on loopback: tiny servers with one behaviour each."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import queue
import sys
import threading
import time

import psutil
import pytest
import stack
import structlog.testing
from ringmaster_operator import background, probes, readiness
from ringmaster_operator.spec import pod


async def never(_command, _seconds):
    raise AssertionError("no command was asked for")


def target(probe, *, port=0, uid="a", execute=never, born=None):
    return probes.Target(
        uid=uid,
        probe=probe,
        host="127.0.0.1",
        born=born or time.time(),
        execute=execute,
        ports={5000: port},
    )


def http(path="/", **fields):
    return pod.Probe(http_get=pod.HttpGet(path=path, port=5000, **fields))


TCP = pod.Probe(tcp_socket=pod.TcpSocket(port=5000))


@contextlib.asynccontextmanager
async def server(answer: bytes | None, requests: list[bytes] | None = None):
    """Answers every request with these bytes; None: accepts and says nothing."""

    async def serve(reader, writer):
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if requests is not None:
                requests.append(head)
            if answer is None:
                await asyncio.sleep(3600)
            writer.write(answer)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        await asyncio.sleep(0)


def ask(probe, answer, requests=None):
    async def run():
        async with server(answer, requests) as port:
            return not await probes.check(target(probe, port=port), probe)

    return asyncio.run(run())


@pytest.mark.parametrize("status", [200, 204, 301, 399])
def test_http_is_good_from_200_to_399(status):
    assert ask(http(), b"HTTP/1.1 %d Some Words\r\n\r\n" % status) is True


@pytest.mark.parametrize(("status", "good"), [(200, True), (500, False)])
def test_an_interim_response_is_not_the_answer_yet(status, good):
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    final = b"HTTP/1.1 %d Some Words\r\n\r\n" % status
    assert ask(http(), b"HTTP/1.1 100 Continue\r\n\r\n" + hints + final) is good


@pytest.mark.parametrize("status", [100, 199, 400, 404, 500, 503])
def test_http_is_bad_with_any_other_status(status):
    assert ask(http(), b"HTTP/1.1 %d Some Words\r\n\r\n" % status) is False


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1\r\n", b"HTTP/1.1 abc\r\n\r\n", b"SSH-2.0 200\r\n", b"x" * 100_000, b"\xff\n"],
)
def test_http_is_bad_with_nonsense(answer):
    assert ask(http(), answer) is False


def test_http_is_bad_when_nothing_comes_within_the_timeout():
    assert ask(http(), None) is False


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (b"HTTP/1.1 500 Internal Server Error\r\n\r\n", "status 500"),
        (b"SSH-2.0 200\r\n", "no HTTP answer"),
        (None, "no answer within 1 s"),
    ],
)
def test_a_bad_probe_says_what_was_asked_and_what_is_wrong(answer, wrong):
    async def run():
        async with server(answer) as port:
            said = await probes.check(target(http("/up"), port=port), http("/up"))
            assert said == f"GET http://127.0.0.1:{port}/up: {wrong}"

    asyncio.run(run())


def test_http_asks_for_the_path_with_the_headers_of_the_template():
    requests = []
    probe = http("/ready?deep=1", http_headers=(pod.HttpHeader(name="X-Probe", value="yes"),))
    ask(probe, b"HTTP/1.1 200 OK\r\n\r\n", requests)

    head = requests[0].decode()
    assert head.startswith("GET /ready?deep=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert "\r\nX-Probe: yes\r\n" in head


def test_a_templates_fields_go_out_as_the_kubelet_sends_them():
    """kubernetes, pkg/probe/http/request.go; net/http's Request.Write."""
    requests = []
    given = [
        ("host", "example.org"),
        ("HOST", "other.example"),
        ("user-agent", ""),
        ("X-A", "1"),
        ("accept", "text/plain"),
        ("x-a", "ä"),
        ("connection", "keep-alive"),
        ("Content-Length", "5"),
    ]
    headers = tuple(pod.HttpHeader(name=name, value=value) for name, value in given)
    ask(http("/", http_headers=headers), b"HTTP/1.1 200 OK\r\n\r\n", requests)

    assert requests[0].decode() == (
        "GET / HTTP/1.1\r\nHost: example.org\r\nX-A: 1\r\naccept: text/plain\r\nx-a: ä\r\n"
        "Connection: close\r\n\r\n"
    )


def test_a_template_cannot_smuggle_a_header_line_into_a_probe():
    requests = []
    header = pod.HttpHeader(name="X-A", value="1\r\nX-Evil: 2")
    ask(http("/a b\r\nX-Evil: 3", http_headers=(header,)), b"HTTP/1.1 200 OK\r\n\r\n", requests)

    assert b"\r\nX-Evil" not in requests[0]


def test_tcp_is_good_where_something_listens_and_bad_where_nothing_does():
    assert ask(TCP, b"") is True
    nobody = target(TCP, port=stack.free_port())

    assert asyncio.run(probes.check(nobody, TCP)).endswith(": connection refused")


@pytest.mark.parametrize(("code", "good"), [("0", True), ("1", False)])
def test_a_command_is_good_if_it_exits_0(code, good):
    command = (sys.executable, "-S", "-c", f"raise SystemExit({code})")

    assert asyncio.run(probes.run_command(command, env={})) is good


def test_a_command_that_takes_too_long_is_bad_and_ended(tmp_path):
    probe = pod.Probe(exec=pod.Exec(command=(sys.executable, "-S", "-c", "input()")))
    ended = []

    async def execute(_command, _seconds):
        try:
            return await probes.run_command(("sleep", "600"), env={"PATH": "/bin:/usr/bin"})
        finally:
            ended.append(True)

    said = asyncio.run(probes.check(target(probe, execute=execute), probe))
    assert said.endswith(": no answer within 1 s")
    assert ended


def test_what_a_command_started_ends_with_it(tmp_path):
    child = "import subprocess, sys; print(subprocess.Popen(['sleep', '600']).pid, flush=True)"
    noted = tmp_path / "pid"
    script = f'{sys.executable} -S -c "{child}" > {noted}; sleep 600'
    probe = pod.Probe(exec=pod.Exec(command=("sh", "-c", script)), timeout_seconds=2)

    async def execute(command, _seconds):
        return await probes.run_command(command, env={"PATH": "/bin:/usr/bin"})

    assert asyncio.run(probes.check(target(probe, execute=execute), probe))
    grandchild = int(noted.read_text())
    stack.eventually(
        lambda: (
            not psutil.pid_exists(grandchild)
            or psutil.Process(grandchild).status() == psutil.STATUS_ZOMBIE
        ),
        what="its end",
    )


def test_a_command_that_cannot_be_started_is_bad():
    probe = pod.Probe(exec=pod.Exec(command=("no-such-program",)))

    async def execute(command, _seconds):
        return await probes.run_command(command, env={})

    said = asyncio.run(probes.check(target(probe, execute=execute), probe))
    assert said == "command no-such-program: no such file or directory"


@pytest.fixture
def prober():
    """A prober, and the queue of its callbacks."""
    changes = queue.SimpleQueue()
    loop = background.Background(name="test")
    made = probes.Prober(loop, lambda uid, state: changes.put((uid, state)))
    yield made, changes, loop
    loop.close()


def on(loop, coroutine):
    return asyncio.run_coroutine_threadsafe(coroutine, loop.loop).result(timeout=20)


def test_a_change_is_called_back_and_kept(prober):
    made, changes, loop = prober
    listening = server(b"HTTP/1.1 200 OK\r\n\r\n")
    port = on(loop, listening.__aenter__())
    probe = http().model_copy(update={"failure_threshold": 1, "period_seconds": 1})
    made.add(target(probe, port=port))
    first = changes.get(timeout=20)
    on(loop, listening.__aexit__(None, None, None))
    second = changes.get(timeout=20)

    assert (first[0], first[1].ready) == ("a", True)
    assert (second[0], second[1].ready) == ("a", False)
    assert second[1].since > first[1].since
    assert made.state("a").ready is False


def test_what_we_lack_ourselves_changes_no_judgement_and_is_said_once_a_minute(prober):
    made, changes, _ = prober
    lacking = threading.Event()

    async def execute(_command, _seconds):
        if lacking.is_set():
            raise OSError(errno.EMFILE, "Too many open files")
        return True

    probe = pod.Probe(
        exec=pod.Exec(command=("true",)), failure_threshold=1, period_seconds=1
    ).model_copy(update={"period_seconds": 0.01})
    with structlog.testing.capture_logs() as logs:
        made.add(target(probe, execute=execute))
        assert changes.get(timeout=20)[1].ready
        lacking.set()
        stack.eventually(lambda: made._lacked > 5, what="probes that could not be made")
    assert [(line["event"], line["lacking"]) for line in logs] == [
        ("probes-not-possible", "file descriptors")
    ]
    assert changes.empty()
    assert made.state("a").ready


@pytest.mark.parametrize("probe", [TCP, http()])
def test_without_a_descriptor_no_probe_is_made(probe):
    async def run():
        with stack.no_descriptor_left(), pytest.raises(probes.CannotProbe, match="descriptors"):
            await probes.check(target(probe, port=1), probe)

    asyncio.run(run())


def test_a_command_for_which_we_have_no_process_left_says_nothing_of_the_replica():
    async def execute(_command, _seconds):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    probe = pod.Probe(exec=pod.Exec(command=("true",)))
    with pytest.raises(probes.CannotProbe, match="processes"):
        asyncio.run(probes.check(target(probe, execute=execute), probe))


def test_a_listener_that_fails_ends_no_watch():
    told = queue.SimpleQueue()

    def fail(uid, state):
        told.put(state.ready)
        raise RuntimeError("a bug elsewhere")

    loop = background.Background(name="test")
    with contextlib.closing(loop):
        made = probes.Prober(loop, fail)
        listening = server(b"HTTP/1.1 200 OK\r\n\r\n")
        port = on(loop, listening.__aenter__())
        probe = http().model_copy(update={"failure_threshold": 1, "period_seconds": 1})
        made.add(target(probe, port=port))
        first = told.get(timeout=20)
        on(loop, listening.__aexit__(None, None, None))
        assert (first, told.get(timeout=20)) == (True, False)


def test_without_a_probe_a_replica_is_ready_at_once(prober):
    made, _, _ = prober

    assert made.add(target(None)).ready is True


def test_what_is_known_of_an_adopted_replica_is_kept(prober):
    made, _, _ = prober
    known = readiness.Readiness(ready=True, since=5.0, proven=True)

    assert made.add(target(None), known) == known
    assert made.add(target(TCP, uid="b"), known) == known


def test_one_that_is_discarded_is_asked_no_more(prober):
    made, changes, loop = prober
    requests = []
    listening = server(b"HTTP/1.1 500 No\r\n\r\n", requests)
    port = on(loop, listening.__aenter__())
    made.add(target(http(), port=port))
    stack.eventually(lambda: requests, what="a first probe")
    made.discard("a")
    on(loop, asyncio.sleep(0))
    asked = len(requests)
    on(loop, asyncio.sleep(0.3))

    assert len(requests) <= asked + 1  # one may have been on its way
    assert made.state("a") is None
    assert changes.empty()


def test_a_silent_replica_delays_no_other(prober):
    made, changes, loop = prober
    silent, quick = server(None), server(b"HTTP/1.1 200 OK\r\n\r\n")
    silent_port, quick_port = on(loop, silent.__aenter__()), on(loop, quick.__aenter__())
    slow = http().model_copy(update={"timeout_seconds": 3600})
    for number in range(20):
        made.add(target(slow, port=silent_port, uid=f"silent-{number}"))
    made.add(target(http(), port=quick_port, uid="quick"))

    assert changes.get(timeout=20)[0] == "quick"


def test_the_first_probe_waits_for_the_initial_delay(prober):
    made, changes, loop = prober
    listening = server(b"HTTP/1.1 200 OK\r\n\r\n")
    port = on(loop, listening.__aenter__())
    late = http().model_copy(update={"initial_delay_seconds": 3600})
    made.add(target(late, port=port, uid="late"))
    made.add(target(late, port=port, uid="due", born=time.time() - 3600))

    assert changes.get(timeout=20)[0] == "due"
    assert changes.empty()


def test_a_clock_that_was_set_back_makes_a_first_probe_no_later():
    changes = queue.SimpleQueue()
    loop = background.Background(name="test")
    with contextlib.closing(loop):
        made = probes.Prober(
            loop, lambda uid, state: changes.put(uid), clock=lambda: time.time() - 3600
        )
        listening = server(b"HTTP/1.1 200 OK\r\n\r\n")
        port = on(loop, listening.__aenter__())
        late = http().model_copy(update={"initial_delay_seconds": 1})
        made.add(target(late, port=port))

        assert changes.get(timeout=20) == "a"


def test_a_clock_that_is_set_changes_no_rhythm(monkeypatch):
    ages, wall = queue.SimpleQueue(), [time.time()]

    def delay(state, *, age, probe):
        ages.put(age)
        wall[0] += 3600
        return 0.01

    monkeypatch.setattr(readiness, "delay", delay)
    loop = background.Background(name="test")
    with contextlib.closing(loop):
        made = probes.Prober(loop, lambda uid, state: None, clock=lambda: wall[0])
        made.add(target(TCP, port=stack.free_port(), born=wall[0] - 5))

        assert all(5 <= ages.get(timeout=20) < 65 for _ in range(3))
