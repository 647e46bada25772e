from __future__ import annotations

from typing import Any

import pytest
from ringmaster_operator import naming, observed
from ringmaster_operator.runtimes import docker_view

LABELS = {
    naming.LABEL_SET: "web",
    naming.LABEL_SET_UID: "u-1",
    naming.LABEL_NAMESPACE: "default",
    naming.LABEL_MEMBER: "web-0",
    naming.LABEL_ORDINAL: "0",
    naming.LABEL_ATTEMPT: "1",
    naming.LABEL_REASON: observed.Reason.SCALE_UP.value,
    naming.LABEL_REVISION: "abc",
    naming.LABEL_NAME: "S5",
}


def document(**state: Any) -> dict[str, Any]:
    """As `docker inspect` prints it, shortened."""
    return {
        "Id": "9f55fd",
        "Name": "/web-0-x7k2p",
        "Created": "2026-11-23T08:20:00.123456789Z",
        "Config": {"Labels": LABELS, "StopSignal": None},
        "State": {"Status": "running", "StartedAt": "2026-11-23T08:20:01Z", "ExitCode": 0, **state},
        "NetworkSettings": {"Networks": {"servers": {"IPAddress": "172.25.0.3"}}},
    }


def read(**state: Any) -> docker_view.Container:
    container = docker_view.read(document(**state), network="servers")
    assert container is not None
    return container


def test_a_running_container_has_a_name_an_address_and_times() -> None:
    seen = read()
    assert (seen.name, seen.uid, seen.host) == ("web-0-x7k2p", "9f55fd", "172.25.0.3")
    assert docker_view.address(seen, 5000) == "172.25.0.3:5000"
    assert seen.started_at - seen.created_at == pytest.approx(0.876544)
    assert (seen.alive, seen.ended, seen.stop_signal) == (True, False, "SIGTERM")


def test_somebody_elses_container_is_none_of_ours() -> None:
    assert docker_view.read(document() | {"Config": {"Labels": None}}, network="servers") is None


def test_a_container_that_never_started_did_not_start() -> None:
    assert read(Status="created", StartedAt="0001-01-01T00:00:00Z").started_at == 0


@pytest.mark.parametrize("endpoint", [{"IPAddress": ""}, {}, None])
def test_without_an_address_on_the_network_there_is_none(endpoint: dict[str, Any] | None) -> None:
    given = document() | {"NetworkSettings": {"Networks": {"servers": endpoint}}}
    seen = docker_view.read(given, network="servers")
    assert seen is not None
    assert docker_view.address(seen, 5000) is None


def test_an_address_of_the_sixth_version_is_bracketed() -> None:
    given = document()
    given["NetworkSettings"]["Networks"]["servers"] = {"GlobalIPv6Address": "fd00::3"}
    seen = docker_view.read(given, network="servers")
    assert seen is not None
    assert docker_view.address(seen, 5000) == "[fd00::3]:5000"


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"ExitCode": 3}, "exited with code 3"),
        ({"ExitCode": 137}, "killed by SIGKILL"),
        ({"ExitCode": 159}, "killed by signal 31"),
        ({"ExitCode": 137, "OOMKilled": True}, "killed: out of memory"),
        ({"ExitCode": 127, "Error": "no such file"}, "exited with code 127: no such file"),
    ],
)
def test_how_it_ended_is_said_in_words(state: dict[str, Any], words: str) -> None:
    assert read(Status="exited", **state).last_words == words


@pytest.mark.parametrize("status", ["running", "paused", "restarting"])
def test_a_paused_container_is_alive(status: str) -> None:
    assert read(Status=status).alive


@pytest.mark.parametrize("status", ["created", "removing", "exited", "dead"])
def test_what_does_not_run_is_not_alive(status: str) -> None:
    assert not read(Status=status).alive


@pytest.mark.parametrize(
    "settings", [None, {}, {"Networks": None}, {"Networks": {"servers": None}}]
)
def test_a_container_on_no_network_has_no_address(settings: Any) -> None:
    given = document() | {"NetworkSettings": settings}
    assert docker_view.host(given, network="servers") is None
