"""The local API over a real store, on a free loopback port, with replicas that a test describes."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from ringmaster_operator import api, errors, observed, store
from ringmaster_operator.api import certificates, views

SETS = "/apis/ringmaster.dev/v1alpha1/namespaces/default/serversets"
MERGE = {"Content-Type": "application/merge-patch+json"}
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}


def server_set(name: str = "web", replicas: int | None = 3, **spec: Any) -> dict[str, Any]:
    """A ServerSet as small as it may be."""
    count = {} if replicas is None else {"replicas": replicas}
    return {
        "apiVersion": "ringmaster.dev/v1alpha1",
        "kind": "ServerSet",
        "metadata": {"name": name, "labels": {"tier": name}},
        "spec": {
            **count,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "containers": [
                        {
                            "name": "server",
                            "image": "server:1",
                            "command": ["ringmaster-server"],
                            "ports": [{"name": "http", "containerPort": 5000}],
                            "readinessProbe": {"httpGet": {"path": "/heartbeat", "port": "http"}},
                        }
                    ]
                },
            },
            "balancer": {"urls": ["http://127.0.0.1:5001"]},
            **spec,
        },
    }


def view(
    name: str,
    *,
    state: str = views.ACTIVE,
    at: float = 0.0,
    phase: observed.Phase = observed.Phase.RUNNING,
) -> views.ReplicaView:
    """A replica under a display name."""
    replica = observed.Replica(
        name=f"web-{name.lower()}",
        uid=f"uid-{name}",
        owner_uid="owner",
        member_id=f"web-{name}",
        ordinal=0,
        attempt=1,
        reason=observed.Reason.SCALE_UP,
        revision="abc",
        display_name=name,
        phase=phase,
        created_at=at,
        ready=True,
        ready_since=at,
        address="127.0.0.1:1",
    )
    return views.ReplicaView(replica, state)


@dataclass
class Replicas:
    """The replicas that the hooks show."""

    seen: list[views.ReplicaView] = field(default_factory=list)
    faults: list[errors.Fault] = field(default_factory=list)
    ready: bool = True
    look: Callable[[], object] = lambda: None  # what an engine does meanwhile
    judge: Callable[[], object] = lambda: None  # before a template is called sound

    def hooks(self) -> api.Hooks:
        def replicas(_namespace: str, _name: str) -> list[views.ReplicaView]:
            self.look()
            return list(self.seen)

        def check(_template: object) -> list[errors.Fault]:
            self.judge()
            return list(self.faults)

        return api.Hooks(
            replicas=replicas,
            check=check,
            ready=lambda: self.ready,
        )


@dataclass
class Server:
    """A running API; paths are relative to it."""

    url: str
    store: store.Store
    replicas: Replicas
    session: requests.Session

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.session.request(method, self.url + path, timeout=30, **options)

    def get(self, path: str = SETS, **query: str) -> Any:
        answer = self.call("GET", path, params=query)
        answer.raise_for_status()
        return answer.json()

    def post(self, document: Any, path: str = SETS, **query: str) -> requests.Response:
        return self.call("POST", path, json=document, params=query)

    def patch(self, change: Any, path: str = f"{SETS}/web", **query: str) -> requests.Response:
        body = json.dumps(change)
        return self.call("PATCH", path, data=body, headers=MERGE, params=query)

    @contextlib.contextmanager
    def watch(
        self, path: str = SETS, *, headers: Any = None, **query: str
    ) -> Iterator[Iterator[tuple[str, Any]]]:
        """A watch's events as (type, object)."""
        answer = self.call(
            "GET", path, params={"watch": "true"} | query, headers=headers, stream=True
        )
        with answer:
            answer.raise_for_status()
            lines = answer.iter_lines(chunk_size=None)
            yield ((e["type"], e["object"]) for e in map(json.loads, lines))

    def forget(self, document: dict[str, Any]) -> None:
        """What the loop does once a deleted set has drained."""
        meta = document["metadata"]
        self.store.forget(observed.Owner(meta["namespace"], meta["name"], meta["uid"]))


@contextlib.contextmanager
def running(
    path: Path,
    *,
    token: str | None = None,
    hosts: Sequence[str] = (),
    tls: certificates.Certificate | None = None,
) -> Iterator[Server]:
    """Serve a fresh store in `path`."""
    replicas = Replicas()
    kept = store.Store(path / "state.db")
    app = api.make_app(kept, token=token, hosts=hosts, hooks=replicas.hooks())
    scheme = "https" if tls else "http"
    try:
        with api.serve(app, "127.0.0.1", 0, tls=tls) as port, requests.Session() as session:
            session.trust_env = False
            yield Server(f"{scheme}://127.0.0.1:{port}", kept, replicas, session)
    finally:
        kept.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "api"]
