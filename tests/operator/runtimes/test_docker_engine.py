from __future__ import annotations

import engines
import pytest
from ringmaster_operator import naming
from ringmaster_operator.runtimes import docker_engine

pytestmark = pytest.mark.docker


def test_a_stream_of_events_that_is_silent_for_long_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    engines.require("docker")
    monkeypatch.setattr(docker_engine, "EVENT_SECONDS", 0.5)
    engine = docker_engine.Engine()
    try:
        assert list(engine.events(f"{naming.LABEL_SET_UID}=of-nobody")) == []
    finally:
        engine.close()
