"""What the Docker deployment's files promise, without an engine; e2e/test_docker.py brings it up."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import containers
import engines
import pytest
import yaml
from ringmaster_balancer import codes
from ringmaster_balancer.ring import custom

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = [ROOT / part / "Dockerfile" for part in ("operator", "balancer", "server")]
# Answers as the command would; `run` fails as an operator whose state is damaged would.
DOCKER = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$*" in
  "compose ps --all --quiet operator") echo 0123456789ab ;;
  "compose up "*) echo "socket=$RINGMASTER_DOCKER_SOCKET" >> "$CALLS" ;;
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


def docker_up(tmp_path, host):
    command = tmp_path / "docker"
    command.write_text(DOCKER)
    command.chmod(0o755)
    calls = tmp_path / "calls"
    calls.touch()
    environment = {name: value for name, value in os.environ.items() if "DOCKER" not in name}
    environment |= {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(calls)}
    done = subprocess.run(
        ["make", "docker-up"],
        cwd=ROOT,
        env=environment | ({"DOCKER_HOST": host} if host else {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done, calls.read_text().splitlines()


@pytest.mark.parametrize(
    ("host", "socket"),
    [("", ""), ("unix:///run/user/1000/docker.sock", "/run/user/1000/docker.sock")],
)
def test_the_operator_is_given_the_engine_that_compose_talks_to(tmp_path, services, host, socket):
    done, calls = docker_up(tmp_path, host)
    assert done.returncode == 0, done.stderr
    assert calls[-1] == f"socket={socket}"
    mounted = "${RINGMASTER_DOCKER_SOCKET:-/var/run/docker.sock}:/var/run/docker.sock"
    assert mounted in services["operator"]["volumes"]


def test_an_engine_without_a_socket_here_is_told(tmp_path):
    done, calls = docker_up(tmp_path, "tcp://127.0.0.1:1")
    assert done.returncode != 0
    assert "DOCKER_HOST=tcp://127.0.0.1:1 is no unix socket" in done.stderr
    assert calls == []


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


def test_beyond_loopback_nothing_but_the_data_port_can_be_published(services):
    published = [port for service in services.values() for port in service.get("ports", ())]
    open_to_all = [port for port in published if not port.startswith("127.0.0.1:")]
    assert open_to_all == ["${RINGMASTER_HOST:-127.0.0.1}:${RINGMASTER_PORT:-5000}:5000"]
    assert "127.0.0.1:${RINGMASTER_CONTROL_PORT:-5001}:5001" in published


def test_what_listens_beside_the_data_port_does_so_off_the_servers_network(services):
    for name, aliases in {
        "operator": {"operator-api", "operator-control"},
        "balancer": {"balancer-control"},
    }.items():
        networks = services[name]["networks"]
        elsewhere = {
            alias
            for network, details in networks.items()
            for alias in details.get("aliases", ())
            if network != "servers"
        }
        assert elsewhere == aliases
        assert networks["servers"] == {}
        # Docker publishes ports through the first of them, so never through this one.
        assert max(networks) == "servers"
    assert services["balancer"]["environment"]["RINGMASTER_CONTROL_HOST"] == "balancer-control"


def test_the_hash_functions_that_are_mounted_are_where_the_balancer_looks(services):
    balancer = services["balancer"]
    folder = balancer["environment"]["RINGMASTER_HASH_PATH"]
    assert f"${{RINGMASTER_HASHES:-./hashes}}:{folder}:ro" in balancer["volumes"]


def test_the_committed_example_of_a_hash_function_can_be_had_and_is_good():
    allowed = codes.Allowed(folder=ROOT / "hashes", modules=())
    source, _ = codes.find("example:blake", allowed)
    _, kind = codes.function("example:blake", source)
    assert kind is custom.Kind.KEY


@pytest.mark.docker
@pytest.mark.parametrize("more", [(), ("-f", "docs/compose.socket-proxy.yml")])
def test_compose_understands_the_files(more):
    engines.require("docker")
    containers.docker("compose", "--project-directory", str(ROOT), "-f", str(ROOT / "compose.yml"),
                      *(str(ROOT / word) if "/" in word else word for word in more), "config", "-q")  # fmt: skip
