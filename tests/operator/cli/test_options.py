"""What a failure is to a user, and where the global options come from."""

from __future__ import annotations

from pathlib import Path

import click
import click.testing
import pytest
from ringmaster_operator import client, errors, statedir
from ringmaster_operator.cli import options, verbs


def group(failure: BaseException) -> options.Group:
    made = options.Group("ringmaster")

    @made.command("fail")
    def fail() -> None:
        raise failure

    return made


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (client.ServerError("NotFound", "x", code=404), 1, "Error from server (NotFound): x\n"),
        (client.UnreachableError("nobody there"), 1, "nobody there\n"),
        (errors.RetryLater("later"), 1, "error: later\n"),
        (
            errors.SpecInvalidError((errors.Fault("a", "b"), errors.Fault("c", "d"))),
            1,
            "error: the ServerSet is invalid:\n* a: b\n* c: d\n",
        ),
        (verbs.NothingFound("No resources found."), 0, "No resources found.\n"),
        (KeyboardInterrupt(), 130, ""),
        (click.UsageError("words"), 2, "Usage: ringmaster fail [OPTIONS]\n"),
    ],
)
def test_every_failure_has_its_line_and_its_exit_code(failure, code, said) -> None:
    done = click.testing.CliRunner().invoke(group(failure), ["fail"])
    assert done.exit_code == code
    assert done.stderr.startswith(said)
    assert done.stdout == ""


def test_a_bug_is_not_hidden() -> None:
    done = click.testing.CliRunner().invoke(group(ValueError("a bug")), ["fail"])
    assert isinstance(done.exception, ValueError)


def test_a_commands_own_state_folder_wins(tmp_path: Path) -> None:
    context = options.Context(server=None, state=statedir.StateDir(tmp_path))
    assert options.state(context, None).root == tmp_path
    assert options.state(context, Path("/other")).root == Path("/other")


def test_examples_are_kept_line_by_line() -> None:
    assert options.examples("a", "b") == "\b\nExamples:\n  a\n  b"
