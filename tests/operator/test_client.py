"""The HTTP edge of the CLI, against real servers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import http_balancer
import local_api
import pytest
from ringmaster_operator import client, naming


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


@pytest.mark.parametrize("body", [b"", b"[]", b"{"])
def test_an_answer_that_is_no_document_is_an_error_and_no_traceback(balancer, body) -> None:
    balancer.answers["GET"] = (200, body, {})
    with connected(balancer.url) as made, pytest.raises(client.ServerError):
        made.get("default", "x")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://", "nonsense"])
def test_nobody_there_is_one_error_whatever_the_reason(url: str) -> None:
    with connected(url) as made, pytest.raises(client.UnreachableError):
        made.get("default", "x")


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
