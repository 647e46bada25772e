"""The sections that a balancer is given as they are."""

from __future__ import annotations

import pytest
import serversets
from ringmaster_operator import spec
from ringmaster_operator.spec import sections


def test_a_ring_and_a_proxy_have_defaults_throughout() -> None:
    ring, proxy = sections.Ring(), sections.Proxy()
    assert (ring.scheme, ring.hash, ring.slots, ring.bounded_load) == ("hrw", "xxh3", None, None)
    assert ring.key == (sections.KeySource(header="X-Request-Id"),)
    assert proxy.timeouts.upstream_idle_seconds < 75  # our server's keep-alive
    assert (proxy.retries.attempts, proxy.outlier.consecutive_failures) == (2, 3)


@pytest.mark.parametrize("section", ["timeouts", "retries", "outlier", "limits"])
def test_a_misspelt_field_of_a_section_is_named(section: str) -> None:
    document = serversets.changed((f"spec.balancer.proxy.{section}", {"nonesuch": 1}))
    assert serversets.faults(document) == [f"spec.balancer.proxy.{section}.nonesuch: unknown field"]


def test_networks_are_written_back_as_text() -> None:
    document = serversets.changed(("spec.balancer.proxy.trustedProxies", ["10.0.0.0/8", "::1"]))
    proxy = spec.document(spec.parse(document))["spec"]["balancer"]["proxy"]
    assert proxy["trustedProxies"] == ["10.0.0.0/8", "::1/128"]
