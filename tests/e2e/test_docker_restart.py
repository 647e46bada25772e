"""The Docker Engine itself goes away and comes back. Runs after every other test (conftest)."""

from __future__ import annotations

import contextlib
import os
import subprocess

import compose
import containers
import pytest
import requests
import stack as stacks
import yaml

pytestmark = [
    pytest.mark.docker,
    pytest.mark.restarts_engine,
    pytest.mark.slow,
    pytest.mark.timeout(600),
]


def restart_engine():
    script = os.environ.get("RINGMASTER_TEST_ENGINES")
    if script is None:
        pytest.skip("RINGMASTER_TEST_ENGINES names no script that restarts the engine")
    subprocess.run([f"{script}/docker-engine", "restart"], check=True, timeout=120)


@contextlib.contextmanager
def on_the_host(folder):
    """`ringmaster up --runtime docker`: an operator that outlives the engine."""
    document = yaml.safe_load(stacks.SPEC.read_text())
    document["spec"]["drainSeconds"] = 1
    spec = folder / "web.yaml"
    spec.write_text(yaml.safe_dump(document))
    with stacks.running(folder, spec=spec, flags=("--runtime", "docker")) as running:
        yield running


def test_an_engine_that_restarts_gets_all_its_replicas_back(tmp_path):
    with compose.running(tmp_path) as project, on_the_host(tmp_path) as host:
        before = set(project.rep()) | {m["replica"] for m in host.active().values()}
        assert len(before) == 6

        restart_engine()

        # Containers do not survive it: each place has a new one, and nothing else is left.
        after = set(project.wait_active(3, seconds=120).values())
        after |= {m["replica"] for m in host.wait_active(3, seconds=60).values()}
        assert len(after - before) == 6
        for url in (project.url, host.url):
            assert requests.get(f"{url}/home", timeout=5).status_code == 200
        ours = f"label=ringmaster.dev/serverset-uid={host.serverset()['metadata']['uid']}"
        stacks.eventually(
            lambda: len(containers.docker("ps", "-aq", "--filter", ours).split()) == 3,
            what="the removal of what ended",
        )
