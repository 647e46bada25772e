from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import local_api
import pytest
import requests
from aiohttp import web
from local_api import SETS, server_set
from ringmaster_operator import api, errors, observed, store
from ringmaster_operator.api import guard, lab_routes, views
from ringmaster_operator.store import watchlog

LAB = "/lab/v1/namespaces/default/serversets/web"


class Operator:
    """Follows the spec as the loop would: names are used, victims go, the ring has the rest."""

    def __init__(self, server: local_api.Server) -> None:
        self._server = server
        self._lock = threading.RLock()  # what it writes calls it again
        self._count = 0
        self.paused = False
        server.store.subscribe(self._look)

    def _look(self, change: watchlog.Change) -> None:
        if change.resource == "serversets" and change.type != "DELETED" and not self.paused:
            with self._lock:
                self._act()

    def _act(self) -> None:
        document = self._server.store.get("default", "web")
        assert document is not None
        spec, seen = document["spec"], list(self._server.replicas.seen)
        victims = (spec.get("scaleDown") or {}).get("victims") or []
        names = list(spec.get("names") or [])
        seen.sort(key=lambda view: view.name not in victims)
        seen = seen[max(0, len(seen) - spec["replicas"]) :]
        used = []
        while len(seen) < spec["replicas"]:
            self._count += 1
            used += names[:1]
            name = names.pop(0) if names else f"web-{self._count}-abcde"
            seen.append(local_api.view(name, at=self._count))
        self._server.replicas.seen = seen
        there = {view.name for view in seen}
        gone = [name for name in victims if name not in there]
        uid = document["metadata"]["uid"]
        owner = observed.Owner("default", "web", uid)
        self._server.store.consume(owner, names=used, victims=gone)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[local_api.Server]:
    with local_api.running(tmp_path) as running:
        yield running


@pytest.fixture
def operator(server: local_api.Server) -> Operator:
    acting = Operator(server)
    server.post(server_set())
    return acting


def ask(server: local_api.Server, what: str, n: Any, *names: Any) -> tuple[int, Any]:
    answer = server.post({"n": n, "hostnames": names}, f"{LAB}/{what}")
    return answer.status_code, answer.json()


def test_servers_are_added_and_removed(server: local_api.Server, operator: Operator) -> None:
    assert server.get(f"{LAB}/rep")["message"]["N"] == 3
    code, document = ask(server, "add", 4, "S5", "S4")
    assert (code, document["status"], document["message"]["N"]) == (200, "successful", 7)
    assert {"S5", "S4"} < set(document["message"]["replicas"])
    code, document = ask(server, "rm", 3, "S5")
    assert (code, document["message"]["N"]) == (200, 4)
    assert "S5" not in document["message"]["replicas"]
    assert server.get(f"{LAB}/rep") == document


def test_a_refused_wish_changes_nothing(server: local_api.Server, operator: Operator) -> None:
    before = server.get(f"{SETS}/web")
    for what, n, names in (
        ("add", 1, ("a", "b")),
        ("rm", 9, ()),
        ("rm", 1, ("S9",)),
        ("add", 0, ()),
    ):
        code, document = ask(server, what, n, *names)
        assert (code, document["status"]) == (400, "failure")
        assert document["message"].startswith("<Error> ")
    raw = server.call("POST", f"{LAB}/add", data=b"{", headers={"Content-Type": "application/json"})
    assert (raw.status_code, raw.json()["status"]) == (400, "failure")
    assert server.get(f"{SETS}/web") == before


def test_many_wishes_at_once_all_take_effect(server: local_api.Server, operator: Operator) -> None:
    with futures.ThreadPoolExecutor(8) as pool:
        wishes = [
            # Three each: both removals at once leave a place for every name that waits.
            *(pool.submit(ask, server, "add", 3, f"S{number}") for number in range(6)),
            *(pool.submit(ask, server, "rm", 1) for _ in range(2)),
        ]
        assert {wish.result()[0] for wish in wishes} == {200}
    assert server.get(f"{SETS}/web")["spec"]["replicas"] == 3 + 18 - 2


def test_the_same_name_twice_at_once_is_given_once(
    server: local_api.Server, operator: Operator
) -> None:
    with futures.ThreadPoolExecutor(8) as pool:
        wishes = [pool.submit(ask, server, "add", 1, "S5") for _ in range(8)]
        assert sorted(wish.result()[0] for wish in wishes) == [200] + [400] * 7
    assert server.get(f"{LAB}/rep")["message"]["replicas"].count("S5") == 1


def test_a_wish_without_a_set_is_not_found(server: local_api.Server) -> None:
    for answer in (
        server.post({"n": 1}, f"{LAB}/add"),
        server.post({"n": 1}, f"{LAB}/rm"),
        server.call("GET", f"{LAB}/rep"),
    ):
        assert (answer.status_code, answer.json()["status"]) == (404, "failure")


def test_a_set_that_is_deleted_meanwhile_ends_the_wait(
    server: local_api.Server, operator: Operator
) -> None:
    operator.paused = True
    grown = threading.Event()
    server.store.subscribe(lambda _: grown.set())
    with futures.ThreadPoolExecutor(1) as pool:
        wish = pool.submit(ask, server, "add", 2)
        assert grown.wait(timeout=60)
        server.forget(server.call("DELETE", f"{SETS}/web").json())
        assert wish.result()[0] == 404


def test_a_wish_that_a_scale_down_has_overtaken_ends_at_once(
    server: local_api.Server, operator: Operator
) -> None:
    operator.paused = True
    grown = threading.Event()
    server.store.subscribe(lambda _: grown.set())
    with futures.ThreadPoolExecutor(1) as pool:
        wish = pool.submit(ask, server, "add", 2, "S5")
        assert grown.wait(timeout=60)
        server.patch({"spec": {"replicas": 3}})
        code, document = wish.result(timeout=30)
    assert (code, document["status"]) == (409, "failure")
    assert document["message"] == (
        "<Error> The ServerSet was scaled to 3 meanwhile; "
        "Hostname 'S5' waits for the next server that is added"
    )


def test_a_wish_is_not_overtaken_by_what_changes_while_the_replicas_are_looked_at(
    server: local_api.Server, operator: Operator
) -> None:
    operator.paused = True
    there = list(server.replicas.seen)
    starting = local_api.view("S5", state="", phase=observed.Phase.STARTING)

    def change() -> None:
        document = server.store.get("default", "web")
        assert document is not None
        spec = document["spec"]

        def scaled(replicas: int, *names: str) -> None:
            fresh = {**document, "spec": {**spec, "replicas": replicas, "names": list(names)}}
            server.store.update("default", "web", lambda _: fresh)

        match spec["replicas"], spec.get("names"):
            case 5, ["S5"]:
                scaled(4, "S5")  # somebody scales down
            case 4, ["S5"]:
                scaled(5)  # and up again, and the operator follows: all after the spec was read
                server.replicas.seen = [*there, starting, local_api.view("S6")]
            case 5, []:
                server.replicas.seen = [*there, local_api.view("S5"), local_api.view("S6")]

    server.replicas.look = change
    code, document = ask(server, "add", 2, "S5")
    assert (code, document["message"]["N"]) == (200, 5)
    assert "S5" in document["message"]["replicas"]


def test_an_engine_that_hangs_keeps_nobody_waiting_who_does_not_need_it(
    server: local_api.Server, operator: Operator
) -> None:
    asked, answers = threading.Semaphore(0), threading.Event()

    def hang() -> None:
        asked.release()
        assert answers.wait(timeout=60)

    server.replicas.look = hang
    with futures.ThreadPoolExecutor(40) as pool:
        try:
            wishes = [pool.submit(ask, server, "add", 1, f"S{number}") for number in range(4)]
            looks = [pool.submit(requests.get, f"{server.url}{LAB}/rep") for _ in range(36)]
            for _ in range(8):
                assert asked.acquire(timeout=60)
            # Neither the store's lock nor the threads of everybody else are taken.
            server.patch({"spec": {"replicas": 4}}).raise_for_status()
            assert server.get(f"{SETS}/web")["spec"]["replicas"] == 4
        finally:
            answers.set()
        assert {wish.result()[0] for wish in wishes} == {200}
        assert {look.result().status_code for look in looks} == {200}
    assert server.get(f"{SETS}/web")["spec"]["replicas"] == 8


def test_a_name_that_was_given_while_the_replicas_were_looked_at_is_not_given_again(
    server: local_api.Server, operator: Operator
) -> None:
    seen_before: list[views.ReplicaView] = list(server.replicas.seen)
    first = threading.Event()

    class Late(list[views.ReplicaView]):
        """What was seen before the other wish, told after it."""

        def __iter__(self) -> Iterator[views.ReplicaView]:
            if not first.is_set():
                first.set()
                assert ask(server, "add", 1, "S5")[0] == 200
                return iter(seen_before)
            return super().__iter__()

    server.replicas.seen = Late(server.replicas.seen)
    assert ask(server, "add", 1, "S5")[0] == 400
    assert server.get(f"{LAB}/rep")["message"]["replicas"].count("S5") == 1


class Asked(list[views.ReplicaView]):
    """Knows whether anybody has looked."""

    def __init__(self, *seen: views.ReplicaView) -> None:
        super().__init__(seen)
        self.looked = threading.Event()

    def __iter__(self) -> Iterator[views.ReplicaView]:
        self.looked.set()
        return super().__iter__()


def test_a_name_whose_bearer_is_leaving_is_given_once_it_has_left(server: local_api.Server) -> None:
    server.post(server_set(replicas=1))
    given = threading.Event()
    server.store.subscribe(lambda _: given.set())
    first, leaving = local_api.view("S1"), local_api.view("S5", state=views.DRAINING)
    server.replicas.seen = asked = Asked(first, leaving)
    with futures.ThreadPoolExecutor(1) as pool:
        wish = pool.submit(ask, server, "add", 1, "S5")
        assert asked.looked.wait(timeout=30)
        assert not given.is_set()
        server.replicas.seen = [first]
        assert given.wait(timeout=30)
        assert server.get(f"{SETS}/web")["spec"]["names"] == ["S5"]
        server.replicas.seen = [first, local_api.view("S5", at=1)]
        code, document = wish.result(timeout=30)
    assert (code, document["message"]["replicas"]) == (200, ["S1", "S5"])


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[local_api.Server]:
    """A server that waits for a fifth of a second."""
    replicas = local_api.Replicas()
    kept = store.Store(tmp_path / "impatient.db")
    app = web.Application(middlewares=[guard.statuses])
    app.add_routes(lab_routes.Lab(kept, replicas.hooks().replicas, seconds=0.2).routes())
    with api.serve(app, "127.0.0.1", 0) as port, requests.Session() as session:
        session.trust_env = False
        yield local_api.Server(f"http://127.0.0.1:{port}", kept, replicas, session)
    kept.close()


def test_what_takes_too_long_is_said_with_the_counts_and_stays_wanted(
    impatient: local_api.Server,
) -> None:
    impatient.store.create("default", "web", server_set())
    impatient.replicas.seen = [local_api.view("S1"), local_api.view("S2", state=views.DRAINING)]
    code, document = ask(impatient, "add", 2, "S5")
    assert code == 504
    assert document["message"].startswith("<Error> 1 servers serve after 0.2 s where 5 are wanted")
    kept = impatient.store.get("default", "web")
    assert kept is not None
    assert (kept["spec"]["replicas"], kept["spec"]["names"]) == (5, ["S5"])


def test_what_takes_too_long_is_said_with_what_is_wrong(impatient: local_api.Server) -> None:
    impatient.store.create("default", "web", server_set())
    troubles = [
        {"type": "Ready", "status": "False", "reason": "HashRefused", "message": "too uneven"},
        {"type": "ReplicaFailure", "status": "True", "reason": "CrashLoop", "message": "web-3"},
    ]
    impatient.store.update_status(
        "default", "web", lambda now: now | {"status": {"conditions": troubles}}
    )
    message = ask(impatient, "add", 2)[1]["message"]
    assert message.endswith(
        "the wish stays, the rest follows (HashRefused: too uneven; CrashLoop: web-3)"
    )


@pytest.mark.parametrize("what", ["add", "rm"])
def test_a_wish_that_is_held_back_is_answered_at_once(
    server: local_api.Server, operator: Operator, what: str
) -> None:
    operator.paused = True

    def hold(change: watchlog.Change) -> None:
        generation = change.document["metadata"]["generation"]
        fact = {"status": "False", "reason": "MoveHeld", "message": "40 % of the keys"}
        told = {"type": "BalancerSynced", "observedGeneration": generation, **fact}
        server.store.update_status(
            "default", "web", lambda now: now | {"status": {"conditions": [told]}}
        )

    server.store.subscribe(hold)
    code, document = ask(server, what, 2)
    assert (code, document["status"]) == (409, "failure")
    assert document["message"] == (
        "<Error> The change is held back: 40 % of the keys; the wish stays until then"
    )


def test_a_store_that_fails_is_a_503_in_the_same_form(
    impatient: local_api.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise errors.RetryLater("the state file failed: disk full")

    impatient.store.create("default", "web", server_set())
    monkeypatch.setattr(impatient.store, "update", fail)
    code, document = ask(impatient, "add", 1)
    assert (code, document["status"]) == (503, "failure")
