"""Progress against a real local API and a balancer's health over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import http_balancer
import local_api
import pytest
from ringmaster_operator.up import progress


@pytest.fixture
def server(tmp_path: Path) -> Iterator[local_api.Server]:
    with local_api.running(tmp_path) as running:
        yield running


def progress_of(server: str, said: list[str], *, balancer: str = "", **about: Any) -> Any:
    """Of the set `web`, which is served; what it says goes to `said`."""
    about = {"ring": "default/web", "hint": [], **about}
    return progress.Progress(server=server, balancer=balancer, say=said.append, **about)


def status(server: local_api.Server, name: str = "web", **counts: int) -> None:
    def change(now: dict[str, Any]) -> dict[str, Any]:
        observed = now["metadata"]["generation"]
        return now | {"status": counts | {"observedGeneration": observed}}

    server.store.update_status("default", name, change)


def test_each_change_is_said_once_and_the_hint_when_all_is_ready(server) -> None:
    server.post(local_api.server_set())
    said: list[str] = []
    with http_balancer.HttpBalancer().running() as balancer:
        balancer.answers["GET"] = (503, b"", {})
        subject = progress_of(server.url, said, balancer=balancer.url, hint=["curl"])
        subject.look()
        subject.look()
        status(server, replicas=3, readyReplicas=3, inRing=3)
        subject.look()
        assert said == ["web: 0 of 3 ready, 0 in the ring", "web: 3 of 3 ready, 3 in the ring"]
        balancer.answers["GET"] = (200, b"", {})
        subject.look()
        subject.look()
        assert said[2:] == ["curl"]
        subject.close()


def test_the_hint_waits_for_the_set_that_is_served_alone(server) -> None:
    server.post(local_api.server_set("other"))
    said: list[str] = []
    with http_balancer.HttpBalancer().running() as balancer:
        balancer.answers["GET"] = (200, b"", {})
        subject = progress_of(server.url, said, balancer=balancer.url, hint=["curl"])
        status(server, "other", replicas=3, readyReplicas=3, inRing=3)
        subject.look()
        assert "curl" not in said
        server.post(local_api.server_set())
        status(server, replicas=3, readyReplicas=3, inRing=3)
        status(server, "other", replicas=3, readyReplicas=3, inRing=0)
        subject.look()
        assert said[-1] == "curl"
        subject.close()


def test_where_there_is_no_set_it_is_said_once_how_to_make_one_and_the_hint_comes_later(
    server,
) -> None:
    said: list[str] = []
    with http_balancer.HttpBalancer().running() as balancer:
        subject = progress_of(
            server.url, said, balancer=balancer.url, hint=["curl"], empty=["apply"]
        )
        subject.look()
        subject.look()
        assert said == ["apply"]
        document = server.post(local_api.server_set()).json()
        status(server, replicas=3, readyReplicas=3, inRing=3)
        balancer.answers["GET"] = (200, b"", {})
        subject.look()
        assert said[1:] == ["web: 3 of 3 ready, 3 in the ring", "curl"]
        server.store.delete("default", "web")
        server.forget(document)
        subject.look()
        subject.look()
        assert said[3:] == ["web is gone"]
        subject.close()


def test_a_set_that_was_there_at_first_is_no_news_of_none(server) -> None:
    document = server.post(local_api.server_set()).json()
    said: list[str] = []
    subject = progress_of(server.url, said, empty=["apply"])
    subject.look()
    server.store.delete("default", "web")
    server.forget(document)
    subject.look()
    assert "apply" not in said
    subject.close()


def test_what_is_gone_is_said(server) -> None:
    document = server.post(local_api.server_set()).json()
    said: list[str] = []
    subject = progress_of(server.url, said)
    subject.look()
    server.store.delete("default", "web")
    server.forget(document)
    subject.look()
    assert said[-1] == "web is gone"
    subject.close()


def test_an_operator_that_is_not_there_is_nothing_to_say() -> None:
    said: list[str] = []
    subject = progress_of("http://127.0.0.1:1", said, hint=["x"])
    subject.look()
    subject.close()
    assert said == []


def test_after_the_stop_nothing_is_said(server) -> None:
    server.post(local_api.server_set())
    said: list[str] = []
    subject = progress_of(server.url, said)
    subject.start()
    subject.stop()
    subject.look()
    assert said == []
    subject.close()
