from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import local_api
import pytest
import requests
from local_api import SETS, TABLE, server_set
from ringmaster_operator import observed


@pytest.fixture
def server(tmp_path: Path) -> Iterator[local_api.Server]:
    with local_api.running(tmp_path) as running:
        yield running


def seen(event: tuple[str, Any]) -> tuple[str, str, int]:
    kind, document = event
    return kind, document["metadata"]["name"], document["spec"]["replicas"]


def test_a_watch_continues_a_list(server: local_api.Server) -> None:
    server.post(server_set("old"))
    version = server.get()["metadata"]["resourceVersion"]
    made = server.post(server_set()).json()
    with server.watch(resourceVersion=version) as events:
        assert seen(next(events)) == ("ADDED", "web", 3)  # what came between list and watch
        server.patch({"spec": {"replicas": 5}})
        assert seen(next(events)) == ("MODIFIED", "web", 5)
        server.call("DELETE", f"{SETS}/web")
        assert next(events)[1]["metadata"]["deletionTimestamp"]
        server.forget(made)
        kind, last = next(events)
        assert (kind, last["metadata"]["resourceVersion"]) == ("DELETED", "5")


def test_a_watch_without_a_version_begins_with_what_is_there(server: local_api.Server) -> None:
    server.post(server_set("a"))
    server.post(server_set("b"))
    with server.watch() as events:
        assert [seen(next(events))[:2] for _ in range(2)] == [("ADDED", "a"), ("ADDED", "b")]
        server.post(server_set("c"))
        assert seen(next(events))[:2] == ("ADDED", "c")


def test_what_leaves_the_selection_is_gone_for_its_watcher(server: local_api.Server) -> None:
    server.post(server_set())
    server.post(server_set("other"))
    version = server.get()["metadata"]["resourceVersion"]
    with server.watch(resourceVersion=version, labelSelector="tier=web") as events:
        server.patch({"spec": {"replicas": 9}}, f"{SETS}/other")
        server.patch({"metadata": {"labels": {"tier": "none"}}})
        server.patch({"spec": {"replicas": 9}})
        server.patch({"metadata": {"labels": {"tier": "web"}}})
        assert [seen(next(events)) for _ in range(2)] == [
            ("DELETED", "web", 3),
            ("ADDED", "web", 9),
        ]


def test_a_watch_sees_one_name_and_one_namespace_if_it_asks_for_them(
    server: local_api.Server,
) -> None:
    elsewhere = SETS.replace("default", "other")
    with server.watch(fieldSelector="metadata.name=web") as events:
        server.post(server_set("mail"))
        server.post(server_set(), elsewhere)
        server.post(server_set())
        assert next(events)[1]["metadata"]["namespace"] == "default"
    with server.watch("/apis/ringmaster.dev/v1alpha1/serversets", resourceVersion="1") as events:
        assert next(events)[1]["metadata"]["namespace"] == "other"


def test_a_version_that_is_too_old_is_expired(server: local_api.Server) -> None:
    server.post(server_set())
    for _ in range(1_001):
        server.store.update_status(
            "default",
            "web",
            lambda now: now | {"status": {"x": now["metadata"]["resourceVersion"]}},
        )
    for version in ("1", "99999"):
        answer = server.call("GET", SETS, params={"watch": "1", "resourceVersion": version})
        document = answer.json()
        assert (answer.status_code, document["reason"]) == (410, "Expired")


@pytest.mark.parametrize(
    "query",
    [
        {"resourceVersion": "-1"},
        {"resourceVersion": "x"},
        {"timeoutSeconds": "1.5"},
        {"labelSelector": "(("},
        {"sendInitialEvents": "true"},
    ],
)
def test_a_watch_that_makes_no_sense_is_refused(
    server: local_api.Server, query: dict[str, str]
) -> None:
    answer = server.call("GET", SETS, params={"watch": "true"} | query)
    assert answer.status_code in (400, 422)
    assert answer.json()["kind"] == "Status"


def test_a_watch_shows_tables_too(server: local_api.Server) -> None:
    with server.watch(headers=TABLE) as events:
        server.post(server_set())
        kind, table = next(events)
        assert (kind, table["kind"], table["rows"][0]["cells"][:2]) == (
            "ADDED",
            "Table",
            ["web", 3],
        )


def test_events_are_watched(server: local_api.Server) -> None:
    made = server.post(server_set()).json()
    owner = observed.Owner("default", "web", made["metadata"]["uid"])
    with server.watch("/api/v1/namespaces/default/events") as events:
        for _ in range(2):
            server.store.event(owner, kind="Normal", reason="Made", message="web-0")
        assert [(k, e["count"]) for k, e in (next(events), next(events))] == [
            ("ADDED", 1),
            ("MODIFIED", 2),
        ]


def test_a_watch_ends_at_its_time(server: local_api.Server) -> None:
    with server.watch(timeoutSeconds="1") as events:
        assert list(events) == []


def test_many_watches_hold_nothing_up_and_end_with_the_server(tmp_path: Path) -> None:
    ended: list[int] = []

    def follow(url: str, opened: threading.Barrier) -> None:
        with requests.get(url, params={"watch": "true"}, stream=True, timeout=60) as answer:
            lines = answer.iter_lines(chunk_size=None)
            next(lines)
            opened.wait(timeout=60)
            ended.append(len(list(lines)))

    with local_api.running(tmp_path) as server:
        server.post(server_set())
        opened = threading.Barrier(21)
        threads = [
            threading.Thread(target=follow, args=(server.url + SETS, opened)) for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        opened.wait(timeout=60)
        assert server.get()["items"]
    for thread in threads:
        thread.join(timeout=60)
    assert ended == [0] * 20


def test_a_client_that_leaves_is_forgotten(server: local_api.Server) -> None:
    with server.watch() as events:
        server.post(server_set())
        next(events)
        assert len(server.store._subscribers) == 1
    gone = threading.Event()
    for _ in range(100):
        if not server.store._subscribers:
            break
        gone.wait(0.05)
    assert server.store._subscribers == []
