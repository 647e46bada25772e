"""Settings that hold for every test."""

from __future__ import annotations

import os

import hypothesis
import pytest

# "quick" runs with every change; `HYPOTHESIS_PROFILE=thorough make test` before a release.
# No deadlines: a noisy machine must not fail a property.
hypothesis.settings.register_profile("quick", max_examples=50, deadline=None)
hypothesis.settings.register_profile("thorough", max_examples=2_000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


# As long as a cluster may take to end pods, several times in one test.
_CLUSTER_SECONDS = 600
_ENGINES = ("docker", "kubernetes", "kind")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of one engine in one process; whoever takes it from the others comes last."""
    for item in items:
        if item.get_closest_marker("kubernetes") is not None:
            item.add_marker(pytest.mark.timeout(_CLUSTER_SECONDS))
        for engine in _ENGINES:
            if item.get_closest_marker(engine) is not None:
                item.add_marker(pytest.mark.xdist_group(engine))
    items.sort(key=lambda item: item.get_closest_marker("restarts_engine") is not None)
