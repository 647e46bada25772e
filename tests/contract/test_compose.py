"""What the Docker deployment's files promise, without an engine; e2e/test_docker.py brings it up."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = [ROOT / part / "Dockerfile" for part in ("operator", "balancer", "server")]
# Answers as the command would; `run` fails as an operator whose state is damaged would.
DOCKER = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$*" in
  "compose ps --all --quiet operator") echo 0123456789ab ;;
  "compose run "*) echo "the state folder cannot be used" >&2; exit 1 ;;
esac
"""


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load((ROOT / "compose.yml").read_text())["services"]


def test_docker_down_removes_everything_even_if_the_replicas_cannot_be_stopped(tmp_path):
    command = tmp_path / "docker"
    command.write_text(DOCKER)
    command.chmod(0o755)
    calls = tmp_path / "calls"
    done = subprocess.run(
        ["make", "docker-down", "DOWN_FLAGS=--volumes"],
        cwd=ROOT,
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(calls)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "could not be stopped gracefully" in done.stderr
    assert calls.read_text().splitlines()[-1] == "compose down --remove-orphans --volumes"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_an_image_can_be_built_on_another_base_and_without_a_registry(path):
    lines = path.read_text().splitlines()
    assert "ARG PYTHON_IMAGE=python:3.12-slim" in lines
    assert not [line for line in lines if line.lower().replace(" ", "").startswith("#syntax")]
    # Every stage is the base or made of it.
    stages = [line.split()[1] for line in lines if line.startswith("FROM ")]
    named = {line.split()[3] for line in lines if line.startswith("FROM ") and " AS " in line}
    assert set(stages) <= {"${PYTHON_IMAGE}", *named}


@pytest.mark.parametrize("name", ["operator", "balancer"])
def test_a_service_has_no_capability_and_writes_no_image(services, name):
    service = services[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
