"""Each scheme has its own hashes, slots and points."""

from __future__ import annotations

import pytest
from ringmaster_operator.spec import ring_rules, sections


def faults(replicas: int | None = 3, **ring: object) -> list[str]:
    made = sections.Ring.model_validate(ring)
    return [fault.path for fault in ring_rules.faults(made, replicas=replicas)]


@pytest.mark.parametrize(
    ("ring", "wanted"),
    [
        ({}, []),
        ({"hash": "my.module:best"}, []),
        ({"hash": "my-module:best"}, ["spec.ring.hash"]),
        ({"scheme": "classic", "hash": "assignment"}, []),
        ({"hash": "assignment"}, ["spec.ring.hash"]),
        ({"scheme": "ketama"}, ["spec.ring.hash"]),
        ({"scheme": "ketama", "hash": "md5", "virtualNodes": 40}, []),
        ({"scheme": "ketama", "hash": "md5", "slots": 512}, ["spec.ring.slots"]),
        ({"scheme": "ketama", "hash": "md5", "virtualNodes": 3}, ["spec.ring.virtualNodes"]),
        ({"scheme": "ketama", "hash": "crc32", "virtualNodes": 3}, []),
        ({"scheme": "ketama", "hash": "m:f"}, ["spec.ring.hash"]),
        ({"scheme": "maglev", "slots": 251}, []),
        ({"scheme": "maglev", "slots": 3}, ["spec.ring.slots"]),
        ({"scheme": "maglev", "slots": 512}, ["spec.ring.slots"]),
        ({"scheme": "classic", "slots": 26}, ["spec.ring.slots"]),
        ({"scheme": "classic", "slots": 27, "probing": "quadratic"}, []),
        ({"scheme": "classic", "slots": 65_537}, ["spec.ring.slots"]),
        (
            {"probing": "quadratic", "virtualNodes": 2},
            ["spec.ring.probing", "spec.ring.virtualNodes"],
        ),
    ],
)
def test_a_ring_is_judged_by_its_scheme(ring: dict[str, object], wanted: list[str]) -> None:
    assert faults(**ring) == wanted


def test_the_classic_ring_of_512_slots_holds_56_members() -> None:
    assert faults(replicas=56, scheme="classic") == []
    assert faults(replicas=57, scheme="classic") == ["spec.ring.slots"]


def test_where_the_number_of_replicas_is_at_fault_the_rest_is_judged() -> None:
    assert faults(replicas=None, scheme="classic", hash="?") == ["spec.ring.hash"]
