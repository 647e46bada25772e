from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from typing import Any

from ringmaster_balancer import members
from ringmaster_balancer.control import explain
from ringmaster_balancer.ring import custom, hashing, table

STATES = members.State


def member(ordinal: int, state: str = "active") -> dict[str, Any]:
    return {
        "id": f"web-{ordinal}",
        "replica": f"web-{ordinal}-abc",
        "address": f"10.0.0.{ordinal}:80",
        "state": state,
    }


def explained(
    *listed: dict[str, Any],
    unhealthy: tuple[str, ...] = (),
    erring: tuple[str, ...] = (),
    **ring: Any,
) -> dict[str, Any]:
    membership = members.parse(
        {
            "epoch": 1,
            "generation": 2,
            "uid": "u",
            "replicas": 4,
            "ring": ring,
            "members": [*listed],
        }
    )
    compiled = table.compile(membership.ring, [(f"web-{ordinal}", 100) for ordinal in range(4)])
    document = explain.explain(
        compiled,
        b"key",
        membership=membership,
        healthy=dict.fromkeys(unhealthy, False),
        erring=erring,
    )
    json.dumps(document)
    return document


def order(document: dict[str, Any]) -> list[str]:
    return [candidate["id"] for candidate in document["candidates"]]


ALL = [member(ordinal) for ordinal in range(4)]


def test_all_members_are_listed_in_the_tables_order_and_the_first_serves() -> None:
    document = explained(*ALL)
    compiled = table.compile(members.Ring(), [(f"web-{ordinal}", 100) for ordinal in range(4)])
    slot = compiled.slot_of(b"key")
    assert document["slot"] == slot
    assert int(document["hash64"], 16) == compiled.hash64(b"key")
    assert order(document) == [compiled.ids[index] for index in compiled.more(slot)]
    assert document["member"] == order(document)[0]
    assert [candidate["taken"] for candidate in document["candidates"]] == [True] + [False] * 3


def test_each_candidate_says_why_it_is_passed_over() -> None:
    first, second, third, _ = (int(each[-1]) for each in order(explained(*ALL)))
    changed = list(ALL)
    changed[first] = member(first, "absent")
    changed[second] = member(second, "draining")
    document = explained(*changed, unhealthy=(f"web-{third}-abc",))
    reasons = [candidate["why"] for candidate in document["candidates"]]
    assert [reason.split(",")[0] for reason in reasons] == [
        "passed over: absent",
        "passed over: draining",
        "passed over: unhealthy",
        "taken: the first that can serve",
    ]
    assert document["replica"] == document["candidates"][3]["replica"]


def test_in_a_panic_those_that_answer_with_errors_serve_and_the_silent_do_not() -> None:
    replicas = [f"{name}-abc" for name in order(explained(*ALL))]
    three = tuple(replicas[:3])
    few = explained(*ALL, unhealthy=three[:2], erring=three[:2])
    assert (few["panic"], few["replica"]) == (False, replicas[2])
    many = explained(*ALL, unhealthy=three, erring=three[1:])
    assert (many["panic"], many["replica"]) == (True, replicas[1])
    none = explained(*ALL, unhealthy=(*three, replicas[3]))
    assert none["replica"] == replicas[0]
    assert none["candidates"][0]["why"].startswith("taken: all are unhealthy")


def test_an_active_entry_stands_for_its_id_before_a_draining_one() -> None:
    draining = member(0, "draining") | {"replica": "web-0-old"}
    document = explained(draining, *ALL)
    assert {candidate["state"] for candidate in document["candidates"]} == {"active"}


def test_an_id_that_the_membership_lost_is_passed_over() -> None:
    first = order(explained(*ALL))[0]
    document = explained(*(each for each in ALL if each["id"] != first))
    assert document["candidates"][0]["why"].startswith("passed over: the membership has no such id")


def function(kind: custom.Kind, call: Callable[..., Any]) -> custom.Custom:
    code = custom.Code(reference="m:f", source="", digest="d", kind=kind)
    return custom.Custom(code=code, function=call)


def hashed(key: bytes, own: custom.Custom | None = None, **ring: Any) -> dict[str, str]:
    """What the explanation says of the hash, once it is checked against the slot that is found."""
    settings = members.Ring(hash="m:f", **ring) if own else members.Ring(**ring)
    places = [(f"web-{ordinal}", 100) for ordinal in range(4)]
    compiled = table.compile(settings, places, own=own)
    membership = members.parse(
        {"epoch": 1, "generation": 1, "uid": "u", "replicas": 4, "members": ALL}
    )
    said = explain.explain(compiled, key, membership=membership, healthy={})
    names = ("hash64", "hash32", "request", "value")
    found = {name: said[name] for name in names if name in said}
    if "hash64" in found:
        assert (int(found["hash64"], 16) * said["slots"]) >> 64 == said["slot"]
    if "value" in found:
        assert int(found["value"], 0) % said["slots"] == said["slot"]
    return found


def test_every_scheme_says_what_it_hashed() -> None:
    xxh3 = {"hash64": f"{hashing.xxh3(b'key'):#018x}"}
    assert hashed(b"key") == hashed(b"key", scheme="maglev") == xxh3
    crc, md5 = zlib.crc32(b"key"), hashlib.md5(b"key", usedforsecurity=False).digest()
    assert hashed(b"key", scheme="ketama", hash="crc32") == {"hash32": f"{crc:#010x}"}
    little = int.from_bytes(md5[:4], "little")
    assert hashed(b"key", scheme="ketama", hash="md5") == {"hash32": f"{little:#010x}"}
    assert hashed(b"12", scheme="classic") == {"request": "12", "value": "185"}
    assert hashed(b"12", scheme="classic", hash="modulo") == {"request": "12", "value": "12"}
    assert 0 <= int(hashed(b"key", scheme="classic")["request"]) < 1_000_000
    assert hashed(b"key", scheme="classic", hash="xxh64") == {
        "hash64": f"{hashing.xxh64(b'key'):#018x}"
    }


def test_functions_of_ones_own_are_shown_with_what_they_returned() -> None:
    of_keys = function(custom.Kind.KEY, lambda key: len(key) << 62)
    assert hashed(b"key", of_keys) == {"hash64": "0xc000000000000000"}
    fills = function(custom.Kind.FILL, lambda who, slots: [0] * slots)
    assert hashed(b"key", fills, scheme="custom") == hashed(b"key")
    triples = function(custom.Kind.REQUEST, lambda request: request * 3)
    for scheme in ("hrw", "classic"):
        assert hashed(b"12", triples, scheme=scheme) == {"request": "12", "value": "36"}
    many = b"9" * 3_000  # nine thousand digits are more than Python writes in decimals
    cubes = function(custom.Kind.REQUEST, lambda request: request**3)
    assert int(hashed(many, cubes)["value"], 16) == int(many) ** 3
    fails = function(custom.Kind.REQUEST, lambda request: 1 // 0)
    assert hashed(b"12", fails) == {"hash64": f"{hashing.xxh3(b'12'):#018x}"}
