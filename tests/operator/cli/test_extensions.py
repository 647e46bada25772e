"""Commands that other components bring."""

from __future__ import annotations

import importlib.metadata
import json

import click
import click.testing
import pytest
from ringmaster_operator import cli, statedir
from ringmaster_operator.cli import extensions, options


def run(group, *words):
    return click.testing.CliRunner().invoke(group, list(words))


@pytest.fixture
def found(monkeypatch):
    def offer(**targets):
        points = [
            importlib.metadata.EntryPoint(name, value, extensions.GROUP)
            for name, value in targets.items()
        ]

        def entry_points(*, group, name=None):
            assert group == extensions.GROUP
            return [point for point in points if name in (None, point.name)]

        monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)

    return offer


def test_the_experiments_are_brought_by_their_own_component():
    assert "experiment" in extensions.names()
    command = extensions.command("experiment")
    assert isinstance(command, click.Group)
    assert {"distribution", "scaling", "recovery", "hashing"} <= set(command.commands)


def test_a_group_lists_its_own_and_what_others_bring(found):
    found(experiment="ringmaster_experiments.cli:experiment")
    group = options.Group("ringmaster", commands={"get": click.Command("get")})
    assert group.list_commands(click.Context(group)) == ["experiment", "get"]
    assert "distribution" in run(group, "experiment", "--help").output


def test_what_cannot_be_imported_is_listed_and_says_what_to_install(found):
    found(experiment="no_such_module_at_all:experiment")
    group = options.Group("ringmaster")
    assert "(not installed)" in run(group, "--help").output
    done = run(group, "experiment", "distribution", "--seed", "1", "-h")
    assert done.exit_code == 1
    assert "pip install 'ringmaster[experiments]'" in done.output
    assert "no_such_module_at_all" in done.output


def test_what_nobody_brings_is_no_command(found):
    found()
    assert extensions.command("experiment") is None
    assert run(options.Group("ringmaster"), "experiment").exit_code == 2


def test_a_brought_command_finds_the_same_server_as_every_other(tmp_path, monkeypatch):
    state = statedir.StateDir(tmp_path)
    state.prepare()
    state.api_file.write_text(json.dumps({"url": "http://127.0.0.1:7272"}))
    monkeypatch.delenv("RINGMASTER_SERVER", raising=False)

    @click.command("brought")
    def brought():
        click.echo(click.get_current_context().meta[extensions.SERVER]())

    monkeypatch.setattr(extensions, "command", {"brought": brought}.get)
    words = ("--state-dir", str(tmp_path))
    assert run(cli.main, *words, "brought").output == "http://127.0.0.1:7272\n"
    assert run(cli.main, *words, "-s", "http://a", "brought").output == "http://a\n"
