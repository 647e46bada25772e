from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringmaster_balancer import errors, members


def document(**changes: Any) -> dict[str, Any]:
    return {
        "epoch": 1_763_863_200_123,
        "generation": 7,
        "uid": "6f1c",
        "replicas": 1,
        "members": [entry()],
    } | changes


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "id": "web-0",
        "replica": "web-0-x7k2p",
        "address": "172.17.0.3:5000",
        "state": "active",
    } | changes


def faults(wrong: object) -> dict[str, str]:
    with pytest.raises(errors.MembershipInvalid) as caught:
        members.parse(wrong)
    return {fault.path: fault.message for fault in caught.value.faults}


def test_the_documented_example_is_taken() -> None:
    example = {
        "epoch": 1763863200123,
        "generation": 7,
        "uid": "u",
        "replicas": 3,
        "ring": {"scheme": "hrw", "slots": 65536, "hash": "xxh3", "key": [{"header": "X-User"}]},
        "proxy": {"trustedProxies": ["10.0.0.0/8"], "timeouts": {"connectSeconds": 2}},
        "health": {
            "path": "/heartbeat",
            "intervalSeconds": 1,
            "timeoutSeconds": 1,
            "fall": 2,
            "rise": 2,
        },
        "members": [entry(weight=100)],
    }
    membership = members.parse(example)
    assert membership.members[0].state is members.State.ACTIVE
    assert membership.ring.key == (members.KeySource(header="X-User"),)
    assert membership.proxy.timeouts.connect_seconds == 2


def test_every_fault_is_reported_at_once_with_its_path() -> None:
    found = faults(
        document(
            epoch="soon",
            surprise=1,
            ring={"slots": 0, "key": [{"header": "no name"}]},
            members=[
                entry(address="nowhere"),
                entry(address="[::1]:80"),
                entry(id="web-1", replica="b", address=None, state="draining"),
                entry(id="", replica="c", state="asleep"),
            ],
        )
    )
    assert set(found) == {
        "epoch",
        "surprise",
        "ring.slots",
        "ring.key[0].header",
        "members[0].address",
        "members[1].replica",
        "members[1].state",
        "members[2].address",
        "members[3].id",
        "members[3].state",
    }
    assert found["surprise"] == "is not a known field"


@pytest.mark.parametrize("wrong", [None, [], "text", 7, {}, {"members": 7, "ring": 7}])
def test_what_is_no_membership_at_all_is_refused(wrong: object) -> None:
    assert faults(wrong)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["members", "ring", "key", "id", "x"]), inner)
        ),
        max_leaves=10,
    )
)
def test_no_document_breaks_the_parser(anything: object) -> None:
    assert faults(anything)


@pytest.mark.parametrize(
    "value", ["7", 7.5, True, None], ids=["a string", "a fraction", "a boolean", "null"]
)
def test_types_are_not_guessed(value: object) -> None:
    assert set(faults(document(generation=value))) == {"generation"}


def test_a_number_that_json_does_not_know_is_refused() -> None:
    assert "document" in faults(document(epoch=float("nan")))


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("172.17.0.3:5000", ("172.17.0.3", 5000)),
        ("[::1]:80", ("::1", 80)),
        ("[fe80::1:2]:65535", ("fe80::1:2", 65_535)),
        ("web_0.pods.local:1", ("web_0.pods.local", 1)),
    ],
)
def test_an_address_is_host_and_port(address: str, parts: tuple[str, int]) -> None:
    assert members.split_address(address) == parts
    assert members.parse(document(members=[entry(address=address)])).members[0].address == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "host",
        "host:",
        ":80",
        "host:0",
        "host:65536",
        "host:80x",
        "::1:80",
        "[::g]:80",
        "[1.2.3.4]:80",
        "1.2.3:80",
        "300.1.1.1:80",
        "a b:80",
        "http://host:80",
        "host:80\n",
        "host:٨٠",
    ],
)
def test_anything_else_is_no_address(address: str) -> None:
    assert set(faults(document(members=[entry(address=address)]))) == {"members[0].address"}


@pytest.mark.parametrize("state", ["active", "draining"])
def test_only_an_absent_member_may_lack_an_address(state: str) -> None:
    assert "members[0].address" in faults(document(members=[entry(address=None, state=state)]))
    members.parse(document(members=[entry(address=None, state="absent")]))


def test_an_id_may_be_shared_with_a_draining_entry_but_be_active_once() -> None:
    successor = entry(replica="web-0-new")
    members.parse(document(members=[entry(state="draining"), successor]))
    assert set(faults(document(members=[entry(), successor]))) == {"members[1].state"}


def test_a_replica_is_listed_once() -> None:
    twice = [entry(), entry(id="web-1")]
    assert faults(document(members=twice)) == {
        "members[1].replica": "'web-0-x7k2p' is members[0] already"
    }


def test_an_empty_set_is_taken_only_if_nothing_is_wanted() -> None:
    assert set(faults(document(members=[]))) == {"members"}
    assert members.parse(document(members=[], replicas=0)).members == ()


@pytest.mark.parametrize(
    "source",
    [
        {},
        {"path": True, "header": "X"},
        {"header": ""},
        {"cookie": "a=b"},
        {"query": ""},
        {"path": False},
    ],
)
def test_a_key_source_is_exactly_one_usable_thing(source: dict[str, Any]) -> None:
    assert all(path.startswith("ring.key[0]") for path in faults(document(ring={"key": [source]})))


def test_memberships_are_ordered_by_epoch_then_generation() -> None:
    versions = [
        members.parse(document(epoch=epoch, generation=generation)).version
        for epoch, generation in ((1, 9), (2, 0), (2, 1))
    ]
    assert versions == sorted(versions)


def test_the_table_is_over_all_ids_that_are_not_only_draining() -> None:
    listed = [
        entry(id="a", replica="a1", state="draining"),
        entry(id="b", replica="b1", state="draining", weight=5),
        entry(id="b", replica="b2", weight=7),
        entry(id="c", replica="c1", state="absent", address=None, weight=9),
        entry(id="d", replica="d1", state="absent", weight=1),
        entry(id="d", replica="d2", weight=2),
    ]
    membership = members.parse(document(members=listed))
    assert dict(membership.places()) == {"b": 7, "c": 9, "d": 2}


def test_the_checksum_does_not_depend_on_how_the_document_is_written() -> None:
    plain = document(health={"intervalSeconds": 1, "fall": 2})
    spelled = {
        **json.loads(json.dumps(plain, indent=3)),
        "ring": {},
        "health": {"fall": 2, "intervalSeconds": 1.0, "path": None},
    }
    reordered = dict(reversed(spelled.items()))
    sums = {members.checksum(members.parse(each)) for each in (plain, spelled, reordered)}
    assert len(sums) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"generation": 8},
        {"ring": {"hash": "xxh64"}},
        {"health": {"intervalSeconds": 1.5}},
        {"members": [entry(state="absent")]},
        {"members": [entry(weight=99)]},
    ],
)
def test_the_checksum_changes_with_anything_that_means_something(change: dict[str, Any]) -> None:
    one, other = members.parse(document()), members.parse(document(**change))
    assert members.checksum(one) != members.checksum(other)


def test_every_process_computes_the_same_checksum() -> None:
    code = (
        "import json, sys; from ringmaster_balancer import members;"
        "print(members.checksum(members.parse(json.load(sys.stdin))))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps(document()),
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert outputs == {members.checksum(members.parse(document()))}


@pytest.mark.parametrize(
    "path", ["", "ok", "/a b", "/a\r\nX-Evil: 1", "/a\n", "/\x7f", "/ä", "/a#b"]
)
def test_a_health_path_is_one_that_a_request_line_takes(path: str) -> None:
    assert list(faults(document(health={"path": path}))) == ["health.path"]


@pytest.mark.parametrize("field", ["id", "replica"])
@pytest.mark.parametrize("name", ["", "a\r\nX-Evil: 1", "a\n", "\x00"])
def test_a_name_that_responses_tell_ends_no_line_of_theirs(field: str, name: str) -> None:
    assert list(faults(document(members=[entry(**{field: name})]))) == [f"members[0].{field}"]
