"""Killing the right one, and nobody else."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

import pytest
from ringmaster_experiments import errors, server, victims


def child(**environment):
    return subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | environment,
    )


def replica(name, port):
    return server.Replica(name, "web-1", 1, "uid", f"127.0.0.1:{port}", True, True)


def test_the_process_with_this_id_and_port_dies_and_no_other():
    name = f"web-1-{uuid.uuid4().hex[:8]}"
    same, other = child(SERVER_ID=name, PORT="4711"), child(SERVER_ID=name, PORT="4712")
    with same, other:
        for each in (same, other):
            each.stdout.readline()  # its environment is its own by now
        kill = victims.found(replica(name, 4711), runtime="process")
        assert (same.poll(), other.poll()) == (None, None)
        kill()
        assert same.wait(10) == -9
        assert other.poll() is None
        other.communicate(b"\n", timeout=10)


def test_killing_what_is_gone_already_is_no_error():
    name = f"web-1-{uuid.uuid4().hex[:8]}"
    with child(SERVER_ID=name, PORT="4711") as process:
        process.stdout.readline()
        kill = victims.found(replica(name, 4711), runtime="process")
        process.communicate(b"\n", timeout=10)
    kill()


def test_a_replica_that_is_not_here_is_said():
    with pytest.raises(errors.ExperimentError, match="another machine"):
        victims.found(replica(uuid.uuid4().hex, 1), runtime="process")


def test_without_docker_that_is_said(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert victims.docker_fault() == "there is no docker in PATH"
    with pytest.raises(errors.ExperimentError, match="no docker in PATH"):
        victims.found(replica("web-1-x", 1), runtime="docker")
