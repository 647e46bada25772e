"""Every answer of the control port is JSON, with the code that the wire promises."""

from __future__ import annotations

import asyncio

import pytest
from ringmaster_balancer import errors, members
from ringmaster_balancer.control import api, disk, gate, keeper, ordering, store
from ringmaster_balancer.ring import checks, hashing, table

RING = "/v1/rings/default/web"
AUTH = {"Authorization": "Bearer secret"}
MEMBERSHIP = members.parse(
    {
        "epoch": 3,
        "generation": 4,
        "uid": "u",
        "replicas": 1,
        "members": [{"id": "a", "replica": "a-1", "address": "127.0.0.1:1", "state": "active"}],
    }
)
HELD = ordering.Held(membership=MEMBERSHIP, checksum="c", source=ordering.Source.PUSH, pushed_at=0)


class FakeKeeper:
    """Answers as it is told: `error` is what a push or an end meets."""

    explain = keeper.Keeper.explain  # of what is said below

    boot_id = "boot"

    def __init__(self):
        self.error = None
        self.held = HELD
        self.pushed = []
        self.ended = ""

    async def push(self, document):
        self.pushed.append(document)
        if self.error:
            raise self.error
        return self.held

    async def plan(self, _document):
        if self.error:
            raise self.error
        return {"planned": True}

    async def end(self, *, uid=None):
        if self.error:
            raise self.error
        self.ended = uid
        self.held = None

    async def view(self):
        return keeper.View("boot", self.held, True, {"a-1": True}, {"a-1": 2})

    def ready(self):
        return self.held is not None

    def erring(self):
        return []

    def healthy(self):
        return {"a-1": True}

    def current(self):
        if self.held is None:
            return None
        compiled = table.compile(MEMBERSHIP.ring, MEMBERSHIP.places())
        return store.Current(held=self.held, table=compiled, packed=b"", table_version=1)


@pytest.fixture
def keep():
    return FakeKeeper()


@pytest.fixture
def client(keep):
    config = api.Config(
        namespace="default", name="web", token="secret", metrics=lambda: (b"m 1\n", "text/plain")
    )
    return api.create_app(config, keep=keep, call=asyncio.run).test_client()


def put(client, **options):
    return client.put(RING, **{"json": {"epoch": 1}, "headers": AUTH} | options)


def test_a_push_is_answered_with_what_is_held_now(client, keep):
    answer = put(client)
    assert answer.status_code == 200
    assert answer.json == {"bootId": "boot", "epoch": 3, "generation": 4, "checksum": "c"}
    assert keep.pushed == [{"epoch": 1}]


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "secret"}, {"Authorization": "Basic secret"}]
    + [{"Authorization": f"Bearer {token}"} for token in ("", "Secret", "secret2", "sécret")],
)
@pytest.mark.parametrize("path", [RING, f"{RING}/explain?key=a", "/v1/rings/default/other"])
def test_without_the_token_there_is_only_401(client, headers, path):
    answer = client.get(path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].lower() == "bearer"
    assert answer.json["message"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"data": b"{}", "json": None, "content_type": "text/plain"}, 415),
        ({"data": b"{", "json": None, "content_type": "application/json"}, 400),
        ({"data": b"\xff", "json": None, "content_type": "application/json"}, 400),
        ({"data": b'{"epoch": NaN}', "json": None, "content_type": "application/json"}, 400),
        ({"data": b'{"epoch": 1e999}', "json": None, "content_type": "application/json"}, 400),
        ({"data": b"[" * 99_999, "json": None, "content_type": "application/json"}, 400),
        (
            {"data": bytes(api.BODY_BYTES + 1), "json": None, "content_type": "application/json"},
            413,
        ),
    ],
)
def test_a_body_that_is_no_document_never_reaches_the_keeper(client, keep, options, code):
    options = {key: value for key, value in options.items() if value is not None}
    answer = client.put(RING, headers=AUTH, **options)
    assert (answer.status_code, answer.is_json) == (code, True)
    assert keep.pushed == []


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (errors.RingInvalid("too many"), 422, "Invalid"),
        (keeper.NotConfirmed("late"), 503, "NotConfirmed"),
        (gate.OnTrial("in a moment"), 503, "HashOnTrial"),
        (disk.DiskError("full"), 500, "Disk"),
    ],
)
def test_what_the_keeper_refuses_has_its_code_and_reason(client, keep, error, code, reason):
    keep.error = error
    answer = put(client)
    assert (answer.status_code, answer.json["reason"]) == (code, reason)
    assert answer.json["message"] == str(error)


def test_a_hash_that_did_not_pass_comes_with_its_numbers(client, keep):
    finding = checks.Finding("reachable slots", good=False, words="reaches 87 of 512 slots")
    keep.error = gate.HashRefused(gate.Verdict("m:H", "d", None, (), (finding,)))
    for answer in (put(client), client.post(f"{RING}/plan", json={}, headers=AUTH)):
        assert (answer.status_code, answer.json["reason"]) == (422, "HashRefused")
        assert "reaches 87 of 512 slots" in answer.json["message"]
        assert answer.json["faults"][0]["path"] == "ring.hash"
        (told,) = answer.json["verdict"]["findings"]
        assert (told["check"], told["good"]) == ("reachable slots", False)


def test_a_plan_is_the_keepers(client):
    assert client.post(f"{RING}/plan", json={"members": []}, headers=AUTH).json == {"planned": True}
    assert client.post(f"{RING}/plan", json={}).status_code == 401


def test_an_invalid_membership_lists_every_fault(client, keep):
    faults = (errors.Fault("a", "is wrong"), errors.Fault("b[0]", "too"))
    keep.error = errors.MembershipInvalid(faults)
    answer = put(client)
    assert answer.status_code == 422
    assert answer.json["faults"] == [
        {"path": "a", "message": "is wrong"},
        {"path": "b[0]", "message": "too"},
    ]


@pytest.mark.parametrize("verdict", sorted(ordering.REFUSED, key=lambda verdict: verdict.value))
def test_a_conflict_names_the_epoch_that_is_held(client, keep, verdict):
    keep.error = keeper.PushRefused(verdict, HELD)
    answer = put(client)
    assert (answer.status_code, answer.json["reason"]) == (409, verdict.value)
    assert (answer.json["epoch"], answer.json["generation"], answer.json["uid"]) == (3, 4, "u")


def test_what_is_held_is_shown_with_health_and_requests_in_flight(client, keep):
    shown = client.get(RING, headers=AUTH).json
    assert (shown["source"], shown["uid"], shown["replicas"]) == ("push", "u", 1)
    assert shown["confirmed"] is True
    (member,) = shown["members"]
    assert (member["healthy"], member["inFlight"], member["state"]) == (True, 2, "active")
    assert client.delete(RING, headers=AUTH).status_code == 200
    assert client.get(RING, headers=AUTH).json["members"] == []


def test_whose_ring_is_to_end_may_be_named(client, keep):
    keep.error = keeper.PushRefused(ordering.Verdict.OTHER_HOLDER, HELD)
    answer = client.delete(f"{RING}?uid=other", headers=AUTH)
    assert (answer.status_code, answer.json["reason"]) == (409, "OtherHolder")
    keep.error = None
    assert client.delete(f"{RING}?uid=u", headers=AUTH).status_code == 200
    assert keep.ended == "u"


def test_a_key_is_explained(client, keep):
    answer = client.get(f"{RING}/explain?key=a", headers=AUTH)
    assert (answer.json["key"], answer.json["member"]) == ("a", "a")
    for none in ("", "?key="):  # as for requests: what is empty counts as absent
        assert client.get(f"{RING}/explain{none}", headers=AUTH).status_code == 400
    keep.held = None
    assert client.get(f"{RING}/explain?key=a", headers=AUTH).status_code == 503


@pytest.mark.parametrize(
    ("query", "key"),
    [("%ff", b"\xff"), ("%25FF", b"%FF"), ("%C3%A4+%2B", "ä +".encode()), ("a%26b", b"a&b")],
)
def test_the_key_that_is_explained_is_bytes_as_those_of_a_header_are(client, keep, query, key):
    told = client.get(f"{RING}/explain?key={query}", headers=AUTH).json
    assert told["hash64"] == f"{hashing.xxh3(key):#018x}"
    assert told["key"] == key.decode(errors="backslashreplace")


def test_health_readiness_and_metrics_need_no_token(client, keep):
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 200
    assert client.get("/metrics").data == b"m 1\n"
    keep.held = None
    assert client.get("/readyz").status_code == 503


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/rep", 404),
        ("GET", "/lab/rep", 404),
        ("PATCH", RING, 405),
        ("POST", "/healthz", 405),
    ],
)
def test_everything_else_is_said_in_json_too(client, method, path, code):
    answer = client.open(path, method=method, headers=AUTH)
    assert (answer.status_code, answer.is_json) == (code, True)


def test_another_ring_is_not_served_here(client):
    answer = client.get("/v1/rings/default/other", headers=AUTH)
    assert answer.status_code == 404
    assert "default/web" in answer.json["message"]
