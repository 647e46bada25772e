from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import local_api
import pytest
import requests
from ringmaster_operator import api, errors, store
from ringmaster_operator.api import certificates, connections, serving


def test_only_loopback_is_listened_on(tmp_path: Path) -> None:
    kept = store.Store(tmp_path / "state.db")
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org", ""):
        with pytest.raises(errors.UsageError, match="TLS"), api.serve(api.make_app(kept), host, 0):
            pass
    kept.close()


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path: Path) -> None:
    kept = store.Store(tmp_path / "state.db")
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with (
            pytest.raises(errors.UsageError, match=rf"127\.0\.0\.1:{port}: Address already in use"),
            api.serve(api.make_app(kept), "127.0.0.1", port),
        ):
            pass
    kept.close()


def test_a_port_is_free_again_at_once(tmp_path: Path) -> None:
    kept = store.Store(tmp_path / "state.db")
    with api.serve(api.make_app(kept), "127.0.0.1", 0) as port:
        pass
    for _ in range(2):
        with api.serve(api.make_app(kept), "localhost", port) as again:
            assert again == port
    kept.close()


def test_an_error_in_the_block_ends_the_server_too(tmp_path: Path) -> None:
    def burst() -> None:
        with local_api.running(tmp_path):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        burst()


def test_a_certificate_is_renewed_while_it_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_RENEW_SECONDS", 0.01)
    looked = threading.Event()

    class Certificate(certificates.Certificate):
        tries = 0

        def renew(self) -> bool:
            self.tries += 1
            if self.tries == 1:
                raise errors.UsageError("the disk is full")
            looked.set()
            return True

    with local_api.running(tmp_path, tls=Certificate(tmp_path / "tls", [])) as server:
        assert looked.wait(30)
        server.session.verify = str(certificates.authority_file(tmp_path / "tls"))
        assert server.call("GET", "/healthz").status_code == 200


HEAD = f"PUT {local_api.SETS}/x HTTP/1.1\r\nHost: localhost\r\n".encode()
SHORT_HEAD = connections.Limits(connections=20, first_head_seconds=0.3)
SHORT_BODY = connections.Limits(connections=20, body_seconds=0.3)


@contextlib.contextmanager
def crowd(port: int, number: int) -> Iterator[list[socket.socket]]:
    """So many connections that ask nothing, stall in a head, or stall in a body."""
    words = (b"", b"GET /hea", HEAD + b"Content-Length: 9\r\n\r\n{")
    with contextlib.ExitStack() as stack:
        made = []
        for count in range(number):
            one = socket.create_connection(("127.0.0.1", port), timeout=10)
            made.append(stack.enter_context(one))
            one.sendall(words[count % len(words)])
        yield made


@pytest.mark.parametrize("token", [None, "secret"])
def test_idle_and_stalled_connections_keep_out_no_request(
    tmp_path: Path, token: str | None
) -> None:
    patient = connections.Limits(connections=20)
    kept = store.Store(tmp_path / "state.db")
    app = api.make_app(kept, token=token)
    with serving.serve(app, port=0, limits=patient) as port, crowd(port, 100):
        url = f"http://127.0.0.1:{port}"
        assert requests.get(f"{url}/healthz", timeout=5).status_code == 200
        bearer = {"Authorization": f"Bearer {token}"}
        answer = requests.post(f"{url}{local_api.SETS}", headers=bearer, json={}, timeout=5)
        assert answer.status_code == 422
    kept.close()


@pytest.mark.parametrize(
    ("limits", "words", "answer"),
    [
        (SHORT_HEAD, b"", b""),
        (SHORT_HEAD, b"GET /hea", b""),
        (SHORT_BODY, HEAD + b"Content-Length: 9\r\n\r\n{", b"HTTP/1.1 408 Request Timeout"),
    ],
)
def test_what_does_not_come_to_its_end_has_its_time(
    tmp_path: Path, limits: connections.Limits, words: bytes, answer: bytes
) -> None:
    kept = store.Store(tmp_path / "state.db")
    with (
        serving.serve(api.make_app(kept), port=0, limits=limits) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as client,
    ):
        client.sendall(words)
        assert client.recv(4096).partition(b"\r\n")[0] == answer
    kept.close()


def test_of_too_many_connections_the_longest_idle_one_goes_and_never_a_watch(
    tmp_path: Path,
) -> None:
    patient = connections.Limits(connections=20)
    kept = store.Store(tmp_path / "state.db")
    with serving.serve(api.make_app(kept), port=0, limits=patient) as port:
        url = f"http://127.0.0.1:{port}{local_api.SETS}"
        with (
            requests.get(f"{url}?watch=1", stream=True, timeout=10) as watch,
            crowd(port, 1) as (oldest,),
            crowd(port, 19),
        ):
            assert oldest.recv(1) == b""
            made = requests.post(url, json=local_api.server_set(), timeout=10)
            assert made.status_code == 201
            assert json.loads(next(watch.iter_lines()))["type"] == "ADDED"
    kept.close()
