"""A balancer's control API on a free port of 127.0.0.1, as real HTTP: for the operator's edge."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class HttpBalancer:
    """Holds one ring as the wire document says; `answers` overrides the next ones: by method, or method and path."""

    def __init__(self, *, ring: str = "default/web", token: str = "secret", epoch: int = 0) -> None:
        self.ring = ring
        self.token = token
        self.held: dict[str, Any] = {"epoch": epoch, "generation": 0, "members": []}
        self.confirmed = True
        self.answers: dict[str, tuple[int, bytes, dict[str, str]]] = {}
        self.asked: list[str] = []
        self.sent: list[Any] = []  # the bodies that came
        self.peers: set[int] = set()
        self.release = threading.Event()
        self.release.set()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.balancer = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def with_tls(self, context: ssl.SSLContext) -> str:
        """Serve with it from now on, at the address returned."""
        # The handshake is the handler thread's: one that fails is no end of the server.
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        return self.url.replace("http:", "https:")

    def answer(self, method: str, document: dict[str, Any] | None) -> tuple[int, Any]:
        if document is None and method == "PUT":
            return 422, {"message": "no document"}
        if method == "DELETE":
            self.held = {"epoch": 0, "generation": 0, "members": []}
            return 200, {}
        if method == "PUT" and document is not None:
            mine = (self.held["epoch"], self.held["generation"])
            if (document["epoch"], document["generation"]) < mine:
                return 409, {"message": "older", "epoch": mine[0], "generation": mine[1]}
            self.held = document
            return 200, self.body(members=False)
        return 200, self.body(members=True)

    def body(self, *, members: bool) -> dict[str, Any]:
        body: dict[str, Any] = {
            "bootId": "boot-1",
            "epoch": self.held["epoch"],
            "generation": self.held["generation"],
            "checksum": "c",
        }
        if "uid" in self.held:
            body["uid"] = self.held["uid"]
        if members:
            body["source"] = "push"
            body["confirmed"] = self.confirmed
            body["members"] = [
                {**member, "healthy": True, "inFlight": 2} for member in self.held["members"]
            ]
        return body

    @contextmanager
    def running(self) -> Iterator[HttpBalancer]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self.release.set()
            self._server.shutdown()
            thread.join()
            self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    balancer: HttpBalancer

    def handle_error(self, *_args: object) -> None:
        """A client that hung up is the test's intention."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._serve("GET")

    def do_PATCH(self) -> None:
        self._serve("PATCH")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def log_message(self, *_args: object) -> None:
        pass

    def _serve(self, method: str) -> None:
        balancer = self.server.balancer
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        balancer.asked.append(f"{method} {self.path}")
        if raw:
            balancer.sent.append(json.loads(raw))
        balancer.peers.add(self.client_address[1])
        balancer.release.wait(30)
        for of in (f"{method} {self.path}", method):
            if of in balancer.answers:
                return self._send(*balancer.answers[of])
        if self.path.partition("?")[0] != f"/v1/rings/{balancer.ring}":
            return self._json(404, {"message": "another ring"})
        if self.headers.get("Authorization") != f"Bearer {balancer.token}":
            return self._json(401, {"message": "wrong token"})
        return self._json(*balancer.answer(method, json.loads(raw) if raw else None))

    def _json(self, status: int, body: Any) -> None:
        self._send(status, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
