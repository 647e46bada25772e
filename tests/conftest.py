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


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together, in one process, the tests of an engine and those of an end-to-end file.

    Those share what the tests before them left. Whoever takes an engine from others comes last.
    """
    for item in items:
        if item.get_closest_marker("kubernetes") is not None:
            item.add_marker(pytest.mark.timeout(_CLUSTER_SECONDS))
        group = next((name for name in _ENGINES if item.get_closest_marker(name)), None)
        if group is None and item.path.parent.name == "e2e":
            group = item.path.stem
        if group is not None:
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: item.get_closest_marker("restarts_engine") is not None)
