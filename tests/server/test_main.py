"""The command as a process."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
import stack
import unwritable

COMMAND = [sys.executable, "-m", "ringmaster_server"]


@contextlib.contextmanager
def running(**env):
    process = subprocess.Popen(
        COMMAND,
        env=os.environ | {"HOST": "127.0.0.1", "PORT": "0"} | env,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        first = process.stderr.readline()
        yield process, re.search(r"address=(\S+)", first).group(1)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def run(*arguments, **env):
    return subprocess.run(
        [*COMMAND, *arguments],
        check=False,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_it_says_who_it_is():
    with (
        running(SERVER_ID="S7") as (_, address),
        urllib.request.urlopen(f"http://{address}/home", timeout=20) as answer,
    ):
        assert answer.read() == b'{"message":"Hello from Server: S7","status":"successful"}\n'


def test_without_an_id_it_is_called_as_its_host():
    with (
        running(SERVER_ID="") as (_, address),
        urllib.request.urlopen(f"http://{address}/home", timeout=20) as answer,
    ):
        assert socket.gethostname() in answer.read().decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_it_and_it_exits_0(number):
    with running() as (process, _):
        process.send_signal(number)

        assert process.wait(timeout=30) == 0


@pytest.mark.parametrize("kind", unwritable.KINDS)
def test_a_log_that_cannot_be_written_stops_no_request_and_no_drain(kind):
    port = stack.free_port()
    with (
        unwritable.opened(kind) as descriptor,
        subprocess.Popen(
            COMMAND, env=os.environ | {"HOST": "127.0.0.1", "PORT": str(port)}, stderr=descriptor
        ) as process,
    ):
        try:

            def heartbeat():
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/heartbeat", timeout=20) as ok:
                    return ok.status

            assert stack.eventually(heartbeat, what="an answer") == 200
            process.terminate()
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()


def test_a_second_signal_ends_it_at_once():
    with running() as (process, address):
        host, port = address.rsplit(":", 1)
        with socket.create_connection((host, int(port))) as stalled:
            stalled.sendall(b"GET /home HTTP/1.1\r\n")  # a head that never ends holds the drain up
            with urllib.request.urlopen(f"http://{address}/home", timeout=20):
                pass
            process.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=1)
            process.send_signal(signal.SIGTERM)

            assert process.wait(timeout=30) == -signal.SIGTERM


def test_a_port_that_is_taken_is_one_clear_line_and_exit_code_1():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run(HOST="127.0.0.1", PORT=str(port))

    assert ended.returncode == 1
    assert ended.stderr == (
        f"ringmaster-server: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    )


@pytest.mark.parametrize("port", ["x", "-1", "65536", "5 000", "٥"])
def test_a_port_that_is_none_is_a_usage_error(port):
    ended = run(PORT=port)

    assert ended.returncode == 2
    assert "PORT must be a number from 0 to 65535" in ended.stderr


def test_help_names_the_environment_and_version_the_version():
    ended = run("--help")

    assert ended.returncode == 0
    assert all(name in ended.stdout for name in ("SERVER_ID", "PORT", "HOST", "SIGTERM"))
    assert re.fullmatch(r"ringmaster-server \d+\.\d+\.\d+\n", run("--version").stdout)
