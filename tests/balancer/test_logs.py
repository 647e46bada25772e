"""A log line is `time level process event key=value`, on stderr, whatever is in a value."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys

import balancer_process as balancers
import pytest
import requests
import unwritable
from hypothesis import given
from hypothesis import strategies as st
from ringmaster_balancer import logs

LINES = 20_000  # more than wait to be written

CODE = """
import structlog
from ringmaster_balancer import logs
logs.configure("worker-3")
log = structlog.get_logger()
log.debug("never said")
log.info("two words", path="a b", flag=True, text="x\\ny")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("bad")
"""


def test_every_event_is_one_line_of_keys_and_values():
    done = subprocess.run([sys.executable, "-c", CODE], check=True, capture_output=True, text=True)
    assert done.stdout == ""
    first, second = done.stderr.splitlines()
    assert first.startswith("time=")
    rest = first.partition(" ")[2]
    assert rest == ('level=info process=worker-3 event="two words" path="a b" flag=true text=x\\ny')
    assert 'event=bad exception="Traceback' in second


def test_where_standard_error_is_closed_nothing_is_said_elsewhere():
    command = ["sh", "-c", 'exec "$0" "$@" 2>&-', sys.executable, "-c", CODE]
    assert subprocess.run(command, check=True, capture_output=True).stdout == b""


@pytest.fixture(params=unwritable.KINDS)
def stderr(request):
    with unwritable.opened(request.param) as descriptor:
        yield request.param, descriptor


def test_a_log_that_cannot_be_written_stops_no_request_no_healing_and_no_drain(tmp_path, stderr):
    kind, descriptor = stderr
    with (
        balancers.upstreams("one", "two", "three") as servers,
        balancers.running(tmp_path, ports=balancers.free_ports(), stderr=descriptor) as balancer,
        concurrent.futures.ThreadPoolExecutor() as pool,
    ):
        balancers.eventually(lambda: balancer.held()["members"] == [], what="the control port")
        third = servers[2]
        balancer.push(
            balancers.document(*((f"web-{n}", each.address) for n, each in enumerate(servers)))
        )

        third.breaks = True  # requests eject it, which the worker says
        balancers.eventually(
            lambda: (
                balancer.home() in {"one", "two"} and gauge(balancer, "member_ejected", "web-2")
            ),
            what="an ejection",
        )
        third.status = 503  # probes find it down, which the control process says
        balancers.eventually(
            lambda: not gauge(balancer, "member_healthy", "web-2"), what="its failed probes"
        )
        third.status, third.breaks = 200, False
        balancers.eventually(lambda: balancer.home() == "three", what="its return")

        dates = {requests.get(balancer.url, timeout=10).headers["Date"]}
        balancers.eventually(
            lambda: requests.get(balancer.url, timeout=10).headers["Date"] not in dates,
            what="a later Date, by which the sweep for deadlines lives",
        )
        victims = {role: balancer.child(role) for role in ("worker-0", "control")}
        for role, victim in victims.items():
            victim.kill()
            balancers.eventually(
                lambda role=role, victim=victim: (
                    (now := balancer.child(role)) is not None and now != victim
                ),
                what=f"a successor of the {role}",
            )
            balancers.eventually(balancer.home, what="service")
        balancers.eventually(
            # In a pipe that nobody reads lines wait, and are not lost yet.
            lambda: kind == "full pipe" or gauge(balancer, "log_lost_lines_total"),
            what="a count of the lines lost",
        )

        answer = pool.submit(requests.get, f"{balancer.url}/slow", timeout=20)
        balancers.eventually(lambda: any(s.entered.is_set() for s in servers), what="the request")
        balancer.process.terminate()
        balancers.eventually(
            lambda: balancers.refused(balancer.ports[0]), what="the end of accepting"
        )
        for server in servers:
            server.gate.set()
        assert answer.result().status_code == 200
        assert balancer.process.wait(20) == 0


def gauge(balancer, name, member=""):
    """A value from /metrics; of this member, if there are several."""
    text = requests.get(f"{balancer.control}/metrics", timeout=5).text
    (line,) = [
        each
        for each in text.splitlines()
        if each.startswith(f"ringmaster_balancer_{name}") and member in each
    ]
    return float(line.split()[-1])


def test_lines_that_were_lost_are_counted_in_the_log_once_it_can_be_written(tmp_path):
    code = f"""
import logging, os, sys, threading, time, structlog
from ringmaster_balancer import logs
logs.configure("worker-3")
logs._CLOSING = 60  # a busy reader may need more than the half second
for number in range({LINES}):
    structlog.get_logger().info("x" * 100, number=number)
logging.getLogger("a.library").error("its own words")
threading.Thread(target=lambda: 1 / 0).start()
print("all is said", flush=True)
"""
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=writing
    ) as process:
        os.close(writing)
        assert process.stdout.readline() == b"all is said\n"
        with os.fdopen(reading, "rb") as log:
            lines = log.read().decode().splitlines()
    assert process.returncode == 0
    said = [line for line in lines if "number=" in line]
    notes = [line for line in lines if "log lines lost" in line]
    assert notes[0].startswith("time=2")
    lost = sum(int(note.rpartition("=")[2]) for note in notes)
    assert 0 < len(said) < LINES
    assert len(said) + lost >= LINES


@given(
    st.lists(st.text(st.characters(codec="ascii"), min_size=1, max_size=5_000), max_size=30),
    st.booleans(),
)
def test_pieces_hold_every_line_whole_and_those_for_a_pipe_are_short(
    texts: list[str], pipe: bool
) -> None:
    pieces = list(logs._pieces(texts, pipe=pipe))
    assert "".join(piece for _, piece in pieces) == "".join(texts)
    assert sum(count for count, _ in pieces) == len(texts)
    for count, piece in pieces:
        assert not pipe or count == 1 or len(piece) <= 4096
