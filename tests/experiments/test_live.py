"""Experiments on a real stack: each single request is answered by the member that is computed."""

from __future__ import annotations

import json

import click.testing
import pytest
import requests
import stack as stacks
from ringmaster_experiments import live, rings
from ringmaster_operator import cli as ringmaster


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with stacks.running(tmp_path_factory.mktemp("experiments")) as running:
        yield running


def experiment(running, folder, *words):
    where = ("--url", running.url, "--server", running.api, "--out", str(folder))
    return click.testing.CliRunner().invoke(ringmaster.main, ["experiment", *words, *where])


@pytest.mark.parametrize("ring", ["hrw", "assignment", "ketama"])
def test_a_live_distribution_is_the_simulation_and_the_second_run_writes_the_same(
    stack, tmp_path, ring
):
    before = stack.serverset()["spec"]
    words = ("distribution", "--requests", "3000", "--ring", ring)
    files = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        done = experiment(stack, folder, *words)
        assert done.exit_code == 0, done.output
        assert "DISAGREES" not in done.output
        files.append(
            {p.name: p.read_bytes() for p in folder.iterdir() if ".timings." not in p.name}
        )
        assert (folder / "distribution.timings.json").exists()
    assert files[0] == files[1]
    (trial,) = json.loads(files[0]["distribution.json"])["trials"]
    assert trial["live"] == trial["simulated"]
    after = stack.serverset()["spec"]
    assert (after["replicas"], after.get("ring") or {}) == (
        before["replicas"], before.get("ring") or {},
    )  # fmt: skip


def test_scaling_is_measured_with_so_many_servers_and_put_back(stack, tmp_path):
    done = experiment(stack, tmp_path, "scaling", "--requests", "600")
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "scaling.json").read_text())
    assert [len(trial["live"]["requests"]) for trial in found["trials"]] == [2, 3, 4, 5, 6]
    stack.wait_active(3)


def test_a_balancer_that_does_not_follow_the_table_is_found_out(stack, tmp_path, monkeypatch):
    """The real stack against a simulation of another ring."""
    ring = rings.VARIANTS["hrw"]
    other = rings.compiled(rings.VARIANTS["maglev"], rings.names("web", 3))
    monkeypatch.setattr(rings, "compiled", lambda *_: other)
    monkeypatch.setattr(live, "_SETTLE_SECONDS", 0)
    done = experiment(stack, tmp_path, "distribution", "--requests", "600", "--ring", ring.name)
    assert done.exit_code == 1
    assert "DISAGREES  each was answered by the member that the table names" in done.output


def test_the_balancer_names_the_member_only_while_it_is_measured(stack, tmp_path):
    assert experiment(stack, tmp_path, "distribution", "--requests", "300").exit_code == 0
    stacks.eventually(
        lambda: "X-Ringmaster-Member" not in requests.get(stack.url + "/home", timeout=5).headers,
        what="the end of the header",
    )
