"""The operator's spec and the balancer's wire have the same sections, field for field."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
import serversets
from hypothesis import strategies as st
from ringmaster_balancer import errors as balancer_errors
from ringmaster_balancer import members
from ringmaster_balancer.ring import table
from ringmaster_operator import spec
from ringmaster_operator.spec import ring_rules, sections


def shape_of(model: Any) -> Any:
    """The JSON schema without its prose."""
    return without_prose(model.model_json_schema(by_alias=True))


def without_prose(schema: Any) -> Any:
    match schema:
        case dict():
            return {
                key: without_prose(value)
                for key, value in schema.items()
                if not (key in ("title", "description") and isinstance(value, str))
            }
        case list():
            return [without_prose(item) for item in schema]
        case _:
            return schema


@pytest.mark.parametrize("name", ["Ring", "Proxy"])
def test_the_models_are_the_same(name: str) -> None:
    assert shape_of(getattr(sections, name)) == shape_of(getattr(members, name))


RINGS = st.fixed_dictionaries(
    {"scheme": st.sampled_from(sorted(ring_rules.HASHES))},
    optional={
        "hash": st.sampled_from([*ring_rules.HASHES["classic"], "crc-32", ""]),
        "slots": st.sampled_from([1, 2, 26, 27, 251, 512, 65_537, 100_003]),
        "virtualNodes": st.sampled_from([1, 9, 200]),
        "probing": st.sampled_from(["linear", "quadratic"]),
    },
)


def balancer_refuses(ring: dict[str, Any]) -> bool:
    try:
        table.compile(
            members.Ring.model_validate(ring), [(f"web-{ordinal}", 100) for ordinal in range(3)]
        )
    except balancer_errors.RingInvalid:
        return True
    return False


@hypothesis.given(RINGS)
def test_both_refuse_the_same_rings(ring: dict[str, Any]) -> None:
    found = serversets.faults(serversets.changed(("spec.ring", ring)))
    # What has no meaning for a scheme the operator says; the balancer leaves it unread.
    unread = ("spec.ring.virtualNodes: has no", "spec.ring.probing: has no")
    hypothesis.assume(not any(fault.startswith(unread) for fault in found))
    assert bool(found) == balancer_refuses(ring)


def test_a_balancer_takes_what_the_operator_makes_of_a_spec() -> None:
    proxy = {"trustedProxies": ["10.0.0.0/8", "::1"]}
    parsed = spec.parse(serversets.changed(("spec.balancer.proxy", proxy)))
    membership = members.parse(
        {
            "epoch": 1,
            "generation": 1,
            "uid": "u",
            "replicas": 0,
            "ring": parsed.spec.ring.model_dump(mode="json"),
            "proxy": parsed.spec.balancer.proxy.model_dump(mode="json"),
            "health": spec.health(parsed.spec.template),
            "members": [],
        }
    )
    assert membership.ring.model_dump() == parsed.spec.ring.model_dump()
    assert membership.proxy.model_dump() == parsed.spec.balancer.proxy.model_dump()
    assert membership.health == members.Health(
        path="/heartbeat", interval_seconds=1, timeout_seconds=1, fall=2, rise=1
    )
