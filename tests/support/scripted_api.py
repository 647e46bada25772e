"""An operator's API of one ServerSet as a test scripts it, as real HTTP on a free port."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SET = "/apis/ringmaster.dev/v1alpha1/namespaces/default/serversets/web"


class ScriptedApi:
    """Holds the ServerSet; merges patches as RFC 7396 says; `answers` are by (method, path)."""

    def __init__(self, document: dict[str, Any] | None = None) -> None:
        self.document = document or serverset()
        self.answers: dict[tuple[str, str], tuple[int, Any]] = {}
        self.patches: list[dict[str, Any]] = []
        self.on_get = lambda: None

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if found := self.answers.get((method, path)):
            return found
        if path != SET:
            return 404, {"message": f"no {path}"}
        if method == "PATCH":
            self.patches.append(body)
            merge(self.document, body)
            self.document["metadata"]["generation"] += 1
        elif method == "GET":
            self.on_get()
        return 200, self.document

    def settle(self) -> None:
        """Let the status say that the spec as it is is in force."""
        replicas, generation = (
            self.document["spec"]["replicas"],
            self.document["metadata"]["generation"],
        )
        self.document["status"] = {
            "observedGeneration": generation,
            "replicas": replicas,
            "inRing": replicas,
            "conditions": [
                {"type": kind, "status": "True", "observedGeneration": generation}
                for kind in ("Ready", "BalancerSynced")
            ],
        }
        items = [replica(ordinal) for ordinal in range(replicas)]
        self.answers["GET", SET + "/replicas"] = (200, {"items": items})

    @contextmanager
    def running(self) -> Iterator[str]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                status, document = api.answer(self.command, self.path, body)
                data = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PATCH = do_DELETE = handle_any  # noqa: N815 – http.server's names

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def serverset() -> dict[str, Any]:
    return {
        "kind": "ServerSet",
        "metadata": {"name": "web", "generation": 1},
        "spec": {"replicas": 3, "ring": {"scheme": "maglev", "key": [{"cookie": "id"}]}},
    }


def replica(ordinal: int, **status: Any) -> dict[str, Any]:
    name = f"web-{ordinal}-abcde"
    return {
        "metadata": {"name": name, "uid": f"uid-{ordinal}"},
        "status": {
            "displayName": name, "memberId": f"web-{ordinal}", "ordinal": ordinal,
            "phase": "Running", "ready": True, "ring": "active", "address": "127.0.0.1:1",
        } | status,
    }  # fmt: skip


def merge(target: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            merge(target.setdefault(key, {}), value)
        else:
            target[key] = value
