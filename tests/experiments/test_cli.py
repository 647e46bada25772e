"""The words of `ringmaster experiment`, and what it leaves behind."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import click.testing
import pytest
from ringmaster_experiments import cli, commands, files

SIMULATED = {
    "distribution": ("distribution", "--requests", "3000"),
    "scaling": ("scaling", "--requests", "2000"),
    "recovery": ("recovery", "--requests", "4000"),
    "hashing": ("hashing", "--requests", "3000", "--scaling-requests", "2000"),
}


def run(*words):
    return click.testing.CliRunner().invoke(cli.experiment, list(words))


def simulate(name, folder, *words):
    done = run(*SIMULATED[name], "--simulate", "--out", str(folder), *words)
    assert done.exit_code == 0, done.output
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", SIMULATED)
def test_the_same_seed_gives_the_same_files(name, tmp_path):
    first = simulate(name, tmp_path / "a")
    assert first == simulate(name, tmp_path / "b")
    assert {".json", ".csv", ".png"} == {file[file.rindex(".") :] for file in first}


def test_another_seed_gives_other_results(tmp_path):
    first = simulate("distribution", tmp_path / "a")
    other = simulate("distribution", tmp_path / "b", "--seed", "2")
    assert other.keys() == first.keys()
    assert not set(first.values()) & set(other.values())


def test_the_results_are_read_by_programs(tmp_path):
    simulate("scaling", tmp_path)
    found = json.loads((tmp_path / "scaling.json").read_text())
    assert [trial["servers"] for trial in found["trials"]] == [2, 3, 4, 5, 6]
    for trial in found["trials"]:
        assert sum(trial["simulated"]["requests"].values()) == 2_000
        assert sum(trial["theory"].values()) == pytest.approx(1)
        assert trial["live"] is None
        assert all(verdict["holds"] for verdict in trial["verdicts"])
    rows = (tmp_path / "scaling.csv").read_text().splitlines()
    assert rows[0] == "ring,servers,requests,member,share in theory,simulated,live"
    assert len(rows) == 1 + 2 + 3 + 4 + 5 + 6


@pytest.mark.parametrize(
    "words",
    [
        ("distribution", "--ring", "round-robin"),
        ("distribution", "--requests", "0"),
        ("distribution", "--server", "http://127.0.0.1:7070"),
        ("distribution", "--simulate", "--url", "http://127.0.0.1:5000"),
        ("recovery", "--runtime", "kubernetes"),
        ("recovery", "--servers", "3", "--victim", "3"),
        ("recovery", "--servers", "1"),
        ("report", "--page", "x.md", "--simulate"),
        ("nothing",),
    ],
)
def test_what_cannot_be_meant_is_usage(words, tmp_path):
    assert run(*words, *(() if words[0] == "nothing" else ("--out", str(tmp_path)))).exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_stack_that_is_not_there_is_one_line_and_exit_1(tmp_path):
    url = "http://127.0.0.1:1"
    done = run("distribution", "--url", url, "--server", url, "--out", str(tmp_path))
    assert done.exit_code == 1
    assert done.output == (
        f"Error: the operator's API at {url} does not answer: --server names another\n"
    )


@pytest.mark.parametrize(
    ("words", "told", "asked"),
    [
        ((), None, "http://127.0.0.1:7070"),
        ((), "http://127.0.0.1:2", "http://127.0.0.1:2"),
        (("--server", "http://127.0.0.1:3"), "http://127.0.0.1:2", "http://127.0.0.1:3"),
    ],
)
def test_the_operator_is_the_one_that_ringmaster_means(tmp_path, monkeypatch, words, told, asked):
    seen = []
    monkeypatch.setattr(
        commands, "distribution", lambda settings, **_: seen.append(settings.api) or sys.exit(0)
    )

    @click.group()
    @click.pass_context
    def ringmaster(ctx):
        if told:
            ctx.meta["ringmaster.server"] = lambda: told

    ringmaster.add_command(cli.experiment)
    words = ("experiment", "distribution", "--url", "http://127.0.0.1:1", *words)
    click.testing.CliRunner().invoke(ringmaster, [*words, "--out", str(tmp_path)])
    assert seen == [asked]


NO_FOLDER = {
    "of the kernel": lambda path: "/proc/ringmaster",
    "below a file": lambda path: str(path / "file" / "below"),
    "with a folder where a file will be": lambda path: str(path / "results"),
}


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("name", NO_FOLDER)
def test_where_nothing_can_be_written_is_one_line_and_exit_1_before_the_load(name, live, tmp_path):
    (tmp_path / "file").touch()
    for taken in ("distribution.csv", "recovery.csv"):
        (tmp_path / "results" / taken).mkdir(parents=True)
    where = ("--url", "http://127.0.0.1:1") if live else ("--simulate",)
    for experiment in ("distribution", "recovery"):
        done = run(experiment, *where, "--out", NO_FOLDER[name](tmp_path))
        assert done.exit_code == 1
        assert done.output.startswith("Error: the results cannot be written: ")
        assert len(done.output.splitlines()) == 1


def test_a_disk_that_fills_up_meanwhile_is_one_line_and_exit_1(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "write_csv", full)
    done = run("distribution", "--simulate", "--requests", "300", "--out", str(tmp_path))
    assert done.exit_code == 1
    assert done.output.splitlines()[-1] == "Error: [Errno 28] No space left on device"


def test_a_url_that_is_none_is_usage(tmp_path):
    done = run("distribution", "--url", "localhost:5000", "--out", str(tmp_path))
    assert done.exit_code == 2


def test_the_rings_that_can_be_chosen_are_those_that_there_are():
    chosen = next(o for o in cli.distribution.params if o.name == "ring").type.choices
    assert set(chosen) == set(commands.rings.VARIANTS)


def test_its_words_are_known_without_loading_what_it_needs():
    code = (
        "import sys; from ringmaster_experiments import cli; "
        "print(sorted({'numpy', 'matplotlib', 'requests', 'ringmaster_balancer'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_not_installed_is_named(tmp_path):
    code = (
        "import sys; sys.modules['matplotlib'] = None; from ringmaster_experiments import cli; "
        f"cli.experiment(['distribution', '--simulate', '--out', {str(tmp_path)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "Error: the experiments need matplotlib: pip install 'ringmaster[experiments]'\n"
    )
