"""The model: defaults, and amounts as a Deployment resolves them."""

from __future__ import annotations

import pydantic
import pytest
import serversets
from ringmaster_operator import spec
from serversets import changed


def test_the_example_parses_with_the_defaults_of_the_design() -> None:
    parsed = spec.parse(serversets.example())
    desired = parsed.spec
    assert (parsed.metadata.name, parsed.metadata.namespace) == ("web", "default")
    assert (desired.replicas, desired.max_replicas) == (3, 100)
    assert desired.selector.match_labels == {"app": "web"}
    assert desired.names == desired.scale_down.victims == ()
    assert (desired.min_ready_seconds, desired.unhealthy_after_seconds) == (0, 10)
    assert (desired.strategy.type, desired.strategy.on_failure) == ("RollingUpdate", "Pause")
    assert desired.strategy.rolling_update.max_surge == 1
    assert desired.strategy.rolling_update.max_unavailable == 0
    assert (desired.progress_deadline_seconds, desired.revision_history_limit) == (600, 5)
    assert (desired.paused, desired.drain_seconds) == (False, 5)
    assert (desired.ring.scheme, desired.ring.hash) == ("hrw", "xxh3")
    assert desired.ring.key[0].header == "X-Request-Id"
    assert desired.balancer.selector is not None
    assert desired.template == serversets.example()["spec"]["template"]


def test_a_server_set_is_frozen() -> None:
    parsed = spec.parse(serversets.example())
    with pytest.raises(pydantic.ValidationError):
        parsed.spec.replicas = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "wanted"),
    [
        (10, "25%", "25%", (3, 2)),
        (3, "25%", "25%", (1, 0)),
        (3, 1, 0, (1, 0)),
        (3, 0, 1, (0, 1)),
        (1, "0%", "1%", (0, 1)),  # both resolve to 0: one may be missing
        (3, 0, 5, (0, 3)),
        (0, "25%", "25%", (0, 0)),
        (1, "100%", 0, (1, 0)),
    ],
)
def test_percentages_resolve_as_a_deployment_has_them(
    replicas: int, surge: object, unavailable: object, wanted: tuple[int, int]
) -> None:
    update = {"maxSurge": surge, "maxUnavailable": unavailable}
    parsed = spec.parse(
        changed(("spec.replicas", replicas), ("spec.strategy.rollingUpdate", update))
    )
    assert (parsed.spec.surge(), parsed.spec.unavailable()) == wanted


def test_recreate_lets_all_be_missing_and_none_surge() -> None:
    parsed = spec.parse(changed(("spec.strategy", {"type": "Recreate"})))
    assert (parsed.spec.surge(), parsed.spec.unavailable()) == (0, 3)
