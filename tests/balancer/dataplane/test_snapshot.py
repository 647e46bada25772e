"""What a request is routed by."""

from __future__ import annotations

import ipaddress
from array import array

import pytest
from ringmaster_balancer import members
from ringmaster_balancer.dataplane import snapshot
from ringmaster_balancer.ring import table

HITS = array("I", bytes(4 * 64))
NETWORKS = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))


def test_trust_is_by_network_and_in_both_notations() -> None:
    assert snapshot.trusts(NETWORKS, "10.1.2.3")
    assert snapshot.trusts(NETWORKS, "::ffff:10.1.2.3")
    assert snapshot.trusts(NETWORKS, "fd00::1%eth0")
    assert not snapshot.trusts(NETWORKS, "11.1.2.3")
    assert not snapshot.trusts(NETWORKS, "")
    assert not snapshot.trusts((), "10.1.2.3")


def test_the_client_is_the_last_hop_that_no_trusted_proxy_vouches_for() -> None:
    def client(peer: str, chain: bytes | None) -> str:
        return snapshot.client_address(NETWORKS, peer, chain)

    assert client("1.1.1.1", b"9.9.9.9") == "1.1.1.1"
    assert client("10.0.0.1", None) == "10.0.0.1"
    assert client("10.0.0.1", b"9.9.9.9, 8.8.8.8") == "8.8.8.8"
    assert client("10.0.0.1", b"9.9.9.9, 8.8.8.8, 10.0.0.2") == "8.8.8.8"


@pytest.mark.parametrize(
    ("spellings", "one"),
    [
        (["192.0.2.7", "192.0.2.7:40001", "::ffff:192.0.2.7", "[::FFFF:c000:207]:1"], "192.0.2.7"),
        (
            ["2001:db8::2", "2001:DB8:0::2", "[2001:db8:0:0::2]", "[2001:db8::2]:443"],
            "2001:db8::2",
        ),
        (["fe80::1%eth0", "[fe80::1%2]:80", "fe80:0::1"], "fe80::1"),
        (["unknown"], "unknown"),
        (["192.0.2.7:http"], "192.0.2.7:http"),
        (["1" * 500 + ".0.0.1"], "1" * 500 + ".0.0.1"),
    ],
)
def test_a_client_is_one_however_its_address_is_spelled(spellings: list[str], one: str) -> None:
    """RFC 5952 section 4."""
    for spelling in spellings:
        assert snapshot.canonical(spelling) == one
        assert snapshot.client_address(NETWORKS, "10.0.0.1", spelling.encode()) == one


def test_empty_hops_are_none() -> None:
    """RFC 9110 section 5.6.1.2."""
    assert snapshot.client_address(NETWORKS, "10.0.0.1", b"8.8.8.8, , 10.0.0.2,") == "8.8.8.8"
    assert snapshot.client_address(NETWORKS, "10.0.0.1", b", ") == "10.0.0.1"


def test_workers_share_what_is_counted() -> None:
    limits = {"perMember": 10, "queue": 1, "maxConnections": 100}
    proxy = members.Proxy.model_validate({"limits": limits, "retries": {"budgetMinimum": 10}})
    rules = snapshot.rules(proxy, workers=4)
    assert (rules.per_member, rules.queue, rules.max_connections) == (3, 1, 25)
    assert rules.retries.budget_minimum == 3
    assert snapshot.DEFAULT_RULES.per_member == 0


def test_a_snapshot_knows_which_fields_the_key_needs() -> None:
    ring = members.Ring.model_validate({"slots": 64, "key": [{"header": "X-A"}, {"cookie": "c"}]})
    membership = members.Membership(epoch=1, generation=1, uid="u", replicas=0, ring=ring)
    built = snapshot.build(membership, table.compile(ring, [("a", 100)]), {}, workers=1, hits=HITS)
    assert built.key_header is None
    assert {b"x-a", b"cookie", b"host"} <= built.wanted
    assert built.pools == (None,)
