from __future__ import annotations

import socket
import threading
from pathlib import Path

import local_api
import pytest
from ringmaster_operator import api, errors, store
from ringmaster_operator.api import certificates, serving


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
