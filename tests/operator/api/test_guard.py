from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import local_api
import pytest
from local_api import SETS, server_set
from ringmaster_operator.api import certificates, guard


@pytest.fixture
def server(tmp_path: Path) -> Iterator[local_api.Server]:
    with local_api.running(tmp_path) as running:
        yield running


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[local_api.Server]:
    with local_api.running(tmp_path, token="s3cret") as running:
        yield running


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:7070", "null"])
def test_a_web_page_is_refused_whatever_it_wants(server: local_api.Server, origin: str) -> None:
    for method, path in (("GET", SETS), ("POST", SETS), ("OPTIONS", SETS), ("GET", "/healthz")):
        answer = server.call(method, path, headers={"Origin": origin}, json=server_set())
        assert (answer.status_code, answer.json()["reason"]) == (403, "Forbidden")
    assert server.get()["items"] == []


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7070", "10.0.0.1", "127.0.0.1.x", ""]
)
def test_a_name_that_was_pointed_here_is_refused(server: local_api.Server, host: str) -> None:
    answer = server.call("GET", SETS, headers={"Host": host})
    assert (answer.status_code, answer.json()["reason"]) == (403, "Forbidden")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:7070", "127.1.2.3:80"]
)
def test_loopback_names_are_served(server: local_api.Server, host: str) -> None:
    assert server.call("GET", SETS, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", None],
)
def test_what_a_form_can_send_is_no_document(
    server: local_api.Server, media_type: str | None
) -> None:
    server.post(server_set())
    body = json.dumps(server_set("other")).encode()
    lab = "/lab/v1/namespaces/default/serversets/web/add"
    for method, path in (
        ("POST", SETS),
        ("PUT", f"{SETS}/web"),
        ("PATCH", f"{SETS}/web"),
        ("DELETE", f"{SETS}/web"),
        ("PUT", f"{SETS}/web/scale"),
        ("POST", lab),
    ):
        if method == "PUT" and media_type is None:
            continue  # is JSON: kubectl scale says nothing, and no form can PUT
        answer = server.call(method, path, data=body, headers={"Content-Type": media_type})
        assert (answer.status_code, answer.json()["reason"]) == (415, "UnsupportedMediaType")
    assert len(server.get()["items"]) == 1
    assert server.get(f"{SETS}/web")["metadata"]["resourceVersion"] == "1"


def test_names_that_were_given_are_as_good_as_loopbacks(tmp_path: Path) -> None:
    with local_api.running(tmp_path, hosts=["Operator-API", "10.1.2.3"]) as server:
        for host in ("operator-api", "OPERATOR-API:7070", "10.1.2.3:7070", "localhost"):
            assert server.call("GET", SETS, headers={"Host": host}).status_code == 200
        for host in ("operator-api.evil.example", "operator-api:x", "10.1.2.4", ""):
            assert server.call("GET", SETS, headers={"Host": host}).status_code == 403


def test_a_name_that_the_certificate_proves_needs_no_list_but_pages_are_refused(
    tmp_path: Path,
) -> None:
    certificate = certificates.Certificate(tmp_path / "tls", [])
    with local_api.running(tmp_path, token="s3cret", tls=certificate) as server:
        server.session.verify = str(certificates.authority_file(tmp_path / "tls"))
        known = {"Authorization": "Bearer s3cret", "Host": "lb.example"}
        assert server.call("GET", SETS, headers=known).status_code == 200
        known["Origin"] = "https://lb.example"
        assert server.call("GET", SETS, headers=known).status_code == 403


def test_with_a_token_nobody_else_is_served(locked: local_api.Server) -> None:
    for header in (None, "Bearer wrong", "Bearer", "s3cret", "Basic s3cret", "Bearer s3cret\u00ff"):
        headers = {} if header is None else {"Authorization": header.encode("latin-1")}
        for path in (SETS, "/version", "/nothing", "/lab/v1/namespaces/a/serversets/b/rep"):
            answer = locked.call("GET", path, headers=headers)
            assert (answer.status_code, answer.json()["reason"]) == (401, "Unauthorized")
    assert locked.call("GET", "/readyz").status_code == 200
    good = {"Authorization": "bearer s3cret"}
    assert locked.call("GET", SETS, headers=good).status_code == 200
    assert locked.call("GET", SETS, headers=good | {"Origin": "http://a"}).status_code == 403


def test_what_nobody_expected_is_a_500_and_the_server_lives(
    server: local_api.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def burst(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(server.store, "get", burst)
    answer = server.call("GET", f"{SETS}/web")
    assert (answer.status_code, answer.json()["reason"]) == (500, "InternalError")
    assert "ZeroDivision" not in answer.text
    assert server.get()["items"] == []


@pytest.mark.parametrize(
    "host", ["[::1", "::1:80:x", "[::1]x", "localhost:", "127.0.0.1:x", "[]", ":80"]
)
def test_a_host_that_cannot_be_read_is_not_loopback(host: str) -> None:
    assert not guard.is_loopback(host)
