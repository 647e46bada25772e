"""Who reaches the API how: the words of the command line, served and called for real."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import local_api
import pytest
import requests
from ringmaster_operator import errors, statedir, store
from ringmaster_operator.api import access, certificates


@pytest.fixture
def state(tmp_path: Path) -> statedir.StateDir:
    made = statedir.StateDir(tmp_path / "state")
    made.prepare()
    return made


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("s3cret\n")
    return path


@contextlib.contextmanager
def served(state: statedir.StateDir, **words: Any) -> Iterator[str]:
    door = access.decide(access.Settings(port=0, **words), state.tls)
    kept = store.Store(state.database)
    hooks = local_api.Replicas().hooks()
    try:
        with door.serve(kept, hooks, state, lab_token="lab") as url:
            yield url
    finally:
        kept.close()


def get(url: str, path: str = local_api.SETS, **options: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url + path, timeout=30, **options)


def test_on_loopback_nothing_is_asked_for(state, token_file) -> None:
    with served(state, fallback=token_file) as url:
        assert url.startswith("http://127.0.0.1:")
        assert get(url).ok
        assert statedir.read_json(state.api_file)["url"] == url
    assert not state.api_file.exists()
    assert not state.tls.exists()


@pytest.mark.parametrize("words", [{"host": "::1"}, {"host": "::", "published": True}])
def test_the_address_on_record_is_one_that_is_listened_on(state, words) -> None:
    with served(state, **words) as url:
        assert url.startswith("http://[::1]:")
        assert get(url).ok


@pytest.mark.parametrize("words", ["token_file", "fallback"])
def test_beyond_loopback_a_token_is_asked_for_over_tls(state, token_file, words) -> None:
    with served(state, host="0.0.0.0", names=("lb.example",), **{words: token_file}) as url:
        known = str(certificates.authority_file(state.tls))
        assert url.startswith("https://127.0.0.1:")
        assert get(url, verify=known).status_code == 401
        bearer = {"Authorization": "Bearer s3cret"}
        assert get(url, verify=known, headers=bearer).ok
        assert get(url, verify=known, headers=bearer | {"Host": "lb.example"}).ok
        assert get(url, "/readyz", verify=known).ok
        with pytest.raises(requests.exceptions.SSLError):
            get(url, headers=bearer)
        with pytest.raises(requests.exceptions.ConnectionError):
            get(url.replace("https:", "http:"), headers=bearer)
        record = statedir.read_json(state.api_file)
        assert record["names"] == [url.replace("127.0.0.1", "lb.example")]
        assert record["tokenFile"] == str(token_file)


def test_with_a_token_of_its_own_loopback_has_tls_too(state, token_file) -> None:
    with served(state, token_file=token_file) as url:
        assert get(url, verify=str(certificates.authority_file(state.tls))).status_code == 401


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "lb.example"])
def test_beyond_loopback_without_a_token_is_a_usage_error(state, host) -> None:
    with (
        pytest.raises(errors.UsageError, match=f"cannot listen on {host} for everybody"),
        served(state, host=host),
    ):
        pass


def test_published_on_loopback_is_plain_for_the_names_that_were_given(state, token_file) -> None:
    words = {"host": "0.0.0.0", "published": True, "names": ("operator-api",)}
    with served(state, fallback=token_file, **words) as url:
        assert get(url).ok
        assert get(url, headers={"Host": "Operator-API:7070"}).ok
        assert get(url, headers={"Host": "evil.example:7070"}).status_code == 403
        assert get(url, headers={"Origin": "http://127.0.0.1:7070"}).status_code == 403


@pytest.mark.parametrize(
    ("content", "says"), [(None, "there is no token file"), ("\n", "is empty")]
)
def test_a_token_file_that_cannot_be_used_is_said(state, token_file, content, says) -> None:
    token_file.unlink() if content is None else token_file.write_text(content)
    with pytest.raises(errors.UsageError, match=says), served(state, token_file=token_file):
        pass


def test_balancers_elsewhere_find_the_lab_routes_and_nothing_else(state) -> None:
    (port,) = free_ports(1)
    with served(state, lab_host="127.0.0.1", lab_port=port):
        url, bearer = f"http://127.0.0.1:{port}", {"Authorization": "Bearer lab"}
        lab = "/lab/v1/namespaces/default/serversets/web/rep"
        assert get(url, lab).status_code == 401
        assert get(url, lab, headers=bearer).json()["status"] == "failure"
        assert get(url, headers=bearer).status_code == 404


def test_an_ipv6_address_is_written_as_one() -> None:
    assert access.url("https", "::1", 7070) == "https://[::1]:7070"


def free_ports(count: int) -> list[int]:
    import socket

    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(probe.getsockname()[1]) for probe in probes]
