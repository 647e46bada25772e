"""Killing the right one, and nobody else."""

from __future__ import annotations

import dataclasses
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


KUBECTL = """#!/bin/sh
printf '%s\\n' "$*" >> {log}
case "$1" in get) printf 'other default web-1-b\\nuid shop web-1-a\\n';; esac
"""


@pytest.fixture
def kubectl(tmp_path, monkeypatch):
    """Two pods of the member; what was asked for, line by line."""
    program = tmp_path / "kubectl"
    program.write_text(KUBECTL.format(log=tmp_path / "log"))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return lambda: (tmp_path / "log").read_text().splitlines()


def test_the_pod_with_this_id_is_deleted_without_grace_and_no_other(kubectl):
    kill = victims.found(replica("S5", 1), runtime="kubernetes")
    assert len(kubectl()) == 1
    kill()
    asked, deleted = kubectl()
    assert "-l ringmaster.dev/member-id=web-1,ringmaster.dev/name=S5" in asked
    assert deleted.startswith("delete pod web-1-a --namespace shop --grace-period=0 --force")


def test_a_pod_of_another_cluster_is_said(kubectl):
    stranger = dataclasses.replace(replica("S5", 1), uid="elsewhere")
    with pytest.raises(errors.ExperimentError, match="no pod of S5 is in kubectl's cluster"):
        victims.found(stranger, runtime="kubernetes")
    assert len(kubectl()) == 1
