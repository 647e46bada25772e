"""A Ringmaster of the experiment's own: nothing of it is left, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time

import click.testing
import containers
import project_images
import psutil
import pytest
from ringmaster_experiments import cli, commands, own, results, rings
from ringmaster_operator import naming

RINGMASTER = [sys.executable, "-m", "ringmaster_operator.cli", "experiment"]


def experiment(folder, *words, **options):
    return subprocess.Popen(
        [*RINGMASTER, *words, "--out", str(folder / "results")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"TMPDIR": str(folder)},  # its folder, and so its processes, are found
        **options,
    )


def left(folder):
    """Processes that name the test's folder, the experiment itself aside."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or ())
        if str(folder) in words and "experiment " not in words and process.pid != os.getpid():
            found.append(words)
    return found


def states(folder):
    return list(folder.glob("ringmaster-experiment-*"))


def test_a_recovery_loses_no_request(tmp_path):
    with experiment(tmp_path, "recovery", "--requests", "4000") as process:
        said = process.communicate(timeout=150)[0]
    assert process.returncode == 0, said
    assert "agrees  no request failed: 4,000 of 4,000 answered" in said
    steps = json.loads((tmp_path / "results" / "recovery.timings.json").read_text())
    seconds = steps["secondsAfterTheKill"]
    assert 0 <= seconds["detected"] <= seconds["replaced"] <= seconds["in the ring"]
    assert json.loads((tmp_path / "results" / "recovery.json").read_text())["live"] == {"failed": 0}
    assert (tmp_path / "results" / "recovery.png").exists()
    assert (left(tmp_path), states(tmp_path)) == ([], [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_what_was_started(tmp_path, number):
    with experiment(tmp_path, "distribution", "--requests", "10000000") as process:
        deadline = time.monotonic() + 90
        while not any("ringmaster-server" in words for words in _servers(tmp_path)):
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(number)
        said = process.communicate(timeout=90)[0]
    assert process.returncode in (130, 128 + number), said
    assert "Traceback" not in said
    assert (left(tmp_path), states(tmp_path)) == ([], [])


def _servers(folder):
    """Command lines of servers whose environment names the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(str(folder) in value for value in process.environ().values()):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


@pytest.mark.docker
def test_distribution_and_recovery_agree_on_docker_and_leave_no_container(tmp_path):
    project_images.build()
    with own.started(servers=3, probe=own.STRICT, runtime="docker") as stack:
        uid = stack.api.get()["metadata"]["uid"]
        where = ["--runtime", "docker", "--out", str(tmp_path), "--server", stack.api.url]
        where += ["--url", f"http://127.0.0.1:{stack.target.port}"]
        for words in (["distribution", "--requests", "1500"], ["recovery", "--requests", "3000"]):
            done = click.testing.CliRunner().invoke(cli.experiment, [*words, *where])
            assert done.exit_code == 0, done.output
    (trial,) = json.loads((tmp_path / "distribution.json").read_text())["trials"]
    assert trial["live"] == trial["simulated"]
    label = f"label={naming.LABEL_SET_UID}={uid}"
    assert containers.docker("ps", "--all", "--quiet", "--filter", label) == ""


def test_every_ring_answers_live_as_its_table_says(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)  # read again
    monkeypatch.setattr(commands, "SCALES", range(2, 3))
    settings = commands.Settings(out=tmp_path / "results", connections=8)
    said = []
    ran = commands.hashing(settings, requests=300, servers=3, scaling_requests=100, say=said.append)
    assert results.holds(ran.verdicts), said
    assert [outcome.trial.variant.name for outcome in ran.outcomes] == [*rings.VARIANTS] * 2
    assert all(outcome.live == outcome.simulated for outcome in ran.outcomes)
    assert (settings.out / "hashing-distribution.png").exists()
    assert (left(tmp_path), states(tmp_path)) == ([], [])
