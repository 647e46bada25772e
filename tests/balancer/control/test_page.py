"""The page for people, without a browser: what it answers and what it never does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from xml.etree import ElementTree as ET

import flask
import pytest
from ringmaster_balancer import members
from ringmaster_balancer.control import keeper, metrics, ordering, page, store
from ringmaster_balancer.ring import hashing, table


def held(count, generation=4, **ring):
    membership = members.Membership(
        epoch=3,
        generation=generation,
        uid="u",
        replicas=count,
        ring=members.Ring(**ring),
        members=tuple(
            members.Member(id=f"web-{n}", replica=f"web-{n}-r", address="h:1", state="active")
            for n in range(count)
        ),
    )
    return ordering.Held(membership, checksum="c", source=ordering.Source.PUSH, pushed_at=0)


class FakeKeeper:
    """A ring by hand."""

    explain = keeper.Keeper.explain  # of what is said below

    def __init__(self):
        self.now = None
        self.well = {"web-1-r": False}

    def hold(self, count, **ring):
        of = held(count, **ring)
        compiled = table.compile(of.membership.ring, of.membership.places())
        keys = self.now is None or self.now.membership.ring.key == of.membership.ring.key
        earlier = store.Earlier(self.now.table, 4, same_keys=keys) if self.now else None
        version = self.now.table_version + 1 if self.now else 1
        self.now = store.Current(of, compiled, b"", version, earlier=earlier, since=5)

    def current(self):
        return self.now

    def healthy(self):
        return self.well

    def erring(self):
        return list(self.well)

    async def numbers(self):
        counted = {
            "id": "web-0", "replica": "web-0-r", "address": "h:1", "codes": {"2xx": 5, "5xx": 2},
            "failures": 1,
        }  # fmt: skip
        return metrics.Numbers(
            held=self.now.held if self.now else None,
            healthy={"web-0-r": True},
            in_flight={"web-0-r": 3},
            stats={"members": [counted]},
            workers=1,
            workers_expected=2,
        )


@pytest.fixture
def keep():
    return FakeKeeper()


@pytest.fixture
def client(keep):
    app = flask.Flask("test", static_folder=None)
    app.register_blueprint(page.blueprint("default/<web>", keep=keep, call=asyncio.run))
    return app.test_client()


def test_the_page_has_the_pictures_and_a_table_and_escapes_names(client, keep):
    keep.hold(3)
    text = client.get("/").get_data(as_text=True)
    assert text.count("<svg") == 2  # the first ring has no change to show
    assert "default/&lt;web&gt;" in text
    assert "<web>" not in text
    assert "web-2-r" in text


def test_nothing_may_be_loaded_from_elsewhere_and_nothing_kept(client, keep):
    keep.hold(3)
    for path in ("/", "/page.json", "/picture/ring.svg", "/where.json?key=a", "/static/page.js"):
        with client.get(path) as answer:
            headers = answer.headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
    for path in ("/", "/static/page.js", "/static/page.css", "/static/icon.svg"):
        with client.get(path) as answer:
            text = answer.get_data(as_text=True).replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text
        assert "https://" not in text


def test_the_page_can_only_be_read(client, keep):
    keep.hold(3)
    for path in ("/", "/page.json", "/picture/ring.svg", "/where.json"):
        for method in ("post", "put", "delete", "patch"):
            assert getattr(client, method)(path).status_code == 405


def test_the_live_counts_are_those_of_each_replica(client, keep):
    keep.hold(2)
    live = client.get("/page.json").json
    assert live["workers"] == [1, 2]
    one, other = live["members"]
    assert (one["requests"], one["failures"], one["inFlight"]) == (7, 1, 3)
    assert (one["state"], other["state"]) == ("active", "unhealthy")
    assert other["requests"] == 0
    assert one["share"] + other["share"] == pytest.approx(1)


def test_the_version_changes_when_a_picture_would(client, keep):
    versions = set()
    for count in (2, 3):
        keep.hold(count)
        versions.add(client.get("/page.json").json["version"])
    keep.now = replace(keep.now, held=held(3, generation=9))
    versions.add(client.get("/page.json").json["version"])
    assert len(versions) == 3
    assert client.get("/page.json").json["version"] in versions


def test_the_pictures_of_a_ring_and_of_its_last_change(client, keep):
    assert client.get("/picture/ring.svg").get_data() == b""
    keep.hold(2)
    assert client.get("/picture/change.svg").get_data() == b""
    keep.hold(3)
    for part in ("ring", "shares", "change", "sheet"):
        answer = client.get(f"/picture/{part}.svg")
        assert answer.mimetype == "image/svg+xml"
        ET.fromstring(answer.get_data())
    said = client.get("/picture/change.svg").get_data(as_text=True)
    assert "From generation 4 to generation 5" in said
    assert client.get("/picture/nothing.svg").status_code == 404


def test_a_change_of_keys_is_shown_as_one_that_cannot_be_followed(client, keep):
    keep.hold(2)
    keep.hold(2, key=[{"path": True}])
    said = client.get("/picture/change.svg").get_data(as_text=True)
    assert "about" in said  # half of them by chance, and not none


def test_the_scene_is_built_again_only_when_it_changes(keep):
    shown = page.Page("t", keep=keep, call=asyncio.run)
    keep.hold(2)
    first = shown.scene()
    assert shown.scene() is first
    keep.well = {"web-0-r": False}
    assert shown.scene() != first
    keep.well = {"web-1-r": False}
    keep.now = replace(keep.now, held=held(2, generation=9))
    assert shown.scene().generation == 9


def test_in_a_panic_the_page_names_the_member_that_the_data_plane_takes(client, keep):
    keep.hold(3)
    keep.well = {"web-0-r": False, "web-1-r": False, "web-2-r": False}
    found = client.get("/where.json?key=a").json
    assert found["panic"] is True
    assert found["candidates"][0]["why"] == "taken: the slot's own member"


def test_where_a_key_goes(client, keep):
    assert client.get("/where.json?key=a").status_code == 503
    keep.hold(3)
    found = client.get("/where.json?key=a").json
    assert found["candidates"][0]["rank"] == 1
    assert found["key"] == "a"
    for none in ("", "?key=", "?other=a"):
        assert client.get(f"/where.json{none}").status_code == 400


def test_a_key_of_any_bytes_has_its_place(client, keep):
    keep.hold(3)
    for asked, key in (("%ff", b"\xff"), ("%25FF", b"%FF"), ("a+%C3%A4", "a ä".encode())):
        found = client.get(f"/where.json?key={asked}").json
        assert found["hash64"] == f"{hashing.xxh3(key):#018x}"


def test_without_a_ring_there_is_a_page_all_the_same(client):
    answer = client.get("/")
    assert answer.status_code == 200
    assert "No membership is held" in answer.get_data(as_text=True)
    assert client.get("/page.json").json["members"] == []
