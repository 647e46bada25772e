"""The HTTP edge of the CLI, against real servers."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import http_balancer
import local_api
import pytest
from ringmaster_operator import client, naming
from ringmaster_operator.api import certificates


@pytest.fixture
def server(tmp_path: Path) -> Iterator[local_api.Server]:
    with local_api.running(tmp_path) as running:
        yield running


@pytest.fixture
def balancer() -> Iterator[http_balancer.HttpBalancer]:
    with http_balancer.HttpBalancer().running() as running:
        yield running


@contextlib.contextmanager
def connected(url: str) -> Iterator[client.Client]:
    made = client.Client(url)
    try:
        yield made
    finally:
        made.close()


def test_an_error_has_the_servers_reason_and_words(server) -> None:
    with connected(server.url) as made, pytest.raises(client.ServerError) as caught:
        made.get("default", "x")
    assert (caught.value.reason, caught.value.code) == ("NotFound", 404)
    assert str(caught.value) == 'serversets.ringmaster.dev "x" not found'


def test_find_tells_a_missing_one_from_a_failing_server(server, balancer) -> None:
    with connected(server.url) as made:
        assert made.find("default", "x") is None
    balancer.answers["GET"] = (500, b"<html>", {})
    with connected(balancer.url) as made, pytest.raises(client.ServerError):
        made.find("default", "x")


def test_names_are_data_and_no_part_of_a_path(server) -> None:
    with connected(server.url) as made:
        assert made.find("default", "../default/serversets") is None


def test_a_watch_yields_changes_since_a_version(server) -> None:
    with connected(server.url) as made:
        version = made.many("default")["metadata"]["resourceVersion"]
        server.post(local_api.server_set())
        changes = made.watch("default", version=version)
        kind, document = next(changes)
        changes.close()
    assert (kind, document["metadata"]["name"]) == ("ADDED", "web")


def test_a_watch_from_a_version_that_is_no_more_begins_anew(server) -> None:
    with connected(server.url) as made, pytest.raises(client.ExpiredError):
        list(made.watch("default", version="999999"))


ASKED: dict[str, Callable[[client.Client], object]] = {
    "get": lambda made: made.get("default", "x"),
    "find": lambda made: made.find("default", "x"),
    "table": lambda made: made.table("default", "x"),
    "many": lambda made: made.many(None),
    "create": lambda made: made.create("default", {}),
    "patch": lambda made: made.patch("default", "x", {}),
    "delete": lambda made: made.delete("default", "x"),
    "replicas": lambda made: made.replicas("default", "x"),
    "events": lambda made: made.events("default", "x"),
}


@pytest.mark.parametrize("question", ASKED)
@pytest.mark.parametrize(
    ("body", "fault"),
    [(b"", "is no JSON"), (b"{", "is no JSON"), (b"[]", "is no object"), (b"{}", "has no `kind`")],
)
def test_whoever_answers_is_an_operator_only_if_the_answer_is_one(
    balancer, question, body, fault
) -> None:
    for method in ("GET", "POST", "PATCH", "DELETE"):
        balancer.answers[method] = (200, body, {})
    with connected(balancer.url) as made, pytest.raises(client.ServerError) as said:
        ASKED[question](made)
    assert str(said.value) == f"what answers at {balancer.url} is no operator: its answer {fault}"
    assert said.value.reason == "Unknown"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://", "nonsense"])
def test_nobody_there_is_one_error_whatever_the_reason(url: str) -> None:
    with connected(url) as made, pytest.raises(client.UnreachableError):
        made.get("default", "x")


@pytest.mark.parametrize(
    "url", ["foo", "localhost:7070", "", "http://", "http://127.0.0.1:99999", "http://a..b:1"]
)
def test_what_is_no_address_is_said(url: str) -> None:
    with connected(url) as made, pytest.raises(client.UnreachableError) as said:
        made.get("default", "x")
    assert str(said.value) == f"{url.rstrip('/')} is no usable address"


def test_a_port_that_speaks_plain_http_is_no_matter_of_trust(balancer) -> None:
    url = balancer.url.replace("http:", "https:")
    with connected(url) as made, pytest.raises(client.UnreachableError) as said:
        made.get("default", "x")
    assert str(said.value).startswith(f"The TLS handshake with {url} failed: ")
    assert str(said.value).endswith("; the port may speak plain HTTP")


def test_a_handshake_that_nobody_answers_is_told_from_a_server_that_is_not_there(
    monkeypatch,
) -> None:
    # A plain HTTP server waits for the end of a head, which a client's hello does not have.
    monkeypatch.setattr(client, "_SECONDS", (0.2, 5.0))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        with connected(url) as made, pytest.raises(client.UnreachableError) as said:
            made.get("default", "x")
    timed_out = f"The TLS handshake with {url} failed: it timed out; the port may speak plain HTTP"
    assert str(said.value) == timed_out
    with connected(url) as made, pytest.raises(client.UnreachableError, match="was refused"):
        made.get("default", "x")


def test_a_certificate_that_is_not_trusted_is_said_with_the_way_out(balancer, tmp_path) -> None:
    certificate = certificates.Certificate(tmp_path / "tls", ["127.0.0.1"])
    url = balancer.with_tls(certificate.context)
    untrusted = f"certificate of {url} is not trusted: --certificate-authority names"
    with connected(url) as made, pytest.raises(client.UnreachableError, match=untrusted) as said:
        made.get("default", "x")
    assert "plain HTTP" not in str(said.value)


def test_answers_tells_200_from_everything_else(balancer) -> None:
    balancer.answers["GET"] = (200, b"", {})
    assert client.answers(balancer.url + "/readyz")
    balancer.answers["GET"] = (503, b"", {})
    assert not client.answers(balancer.url + "/readyz")
    assert not client.answers("http://127.0.0.1:1/readyz")


def test_replicas_and_events_come_as_documents(server) -> None:
    server.post(local_api.server_set())
    server.replicas.seen = [local_api.view("S5")]
    with connected(server.url) as made:
        (replica,) = made.replicas("default", "web")
        assert replica["status"]["displayName"] == "S5"
        assert made.events("default", "web") == []
        assert made.table("default", "web")["kind"] == "Table"
    assert naming.KIND == "ServerSet"
