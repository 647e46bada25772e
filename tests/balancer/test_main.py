"""`ringmaster-balancer`: help is complete, mistakes are 2, a start that fails is 1."""

from __future__ import annotations

import os
import sys

import pytest
import structlog
from click.testing import CliRunner
from ringmaster_balancer import __main__ as entry
from ringmaster_balancer import settings, supervisor


@pytest.fixture(autouse=True)
def _logs_of_its_own():
    """The entry configures the whole process' log: onto a stream that ends with the test."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def started(monkeypatch):
    """What the supervisor was started with."""
    seen = []
    monkeypatch.setattr(supervisor, "supervise", seen.append)
    return seen


def run(*arguments, env=None):
    return CliRunner().invoke(entry.main, arguments, env=env)


def test_help_names_every_option_with_its_default_and_its_variable():
    text = run("--help").output
    for name in settings.Settings.__dataclass_fields__:
        option = {"namespace": "ring", "name": "ring"}.get(name, name)
        assert f"--{option.replace('_', '-')}" in text
        assert f"RINGMASTER_{option.upper()}" in text
    assert "default: 30.0" in text


def test_only_the_ring_and_the_token_have_no_default(started):
    assert run("--ring", "default/web", "--token-file", "/t").exit_code == 0
    (chosen,) = started
    assert (chosen.namespace, chosen.name) == ("default", "web")
    assert (chosen.port, chosen.control_host, chosen.control_port) == (5000, "127.0.0.1", 5001)
    assert (chosen.workers, chosen.lab_api, chosen.drain_seconds) == (1, False, 30)


def test_every_option_can_be_a_variable(started):
    env = {"RINGMASTER_RING": "a/b", "RINGMASTER_TOKEN_FILE": "/t", "RINGMASTER_LAB_API": "1"}
    assert run(env=env).exit_code == 0
    assert (started[0].name, started[0].lab_api) == ("b", True)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--ring", "web", "--token-file", "/t"),
        ("--ring", "../x", "--token-file", "/t"),
        ("--ring", "default/web"),
        ("--ring", "default/web", "--token-file", "/t", "--port", "70000"),
        ("--ring", "default/web", "--token-file", "/t", "--workers", "0"),
        ("--ring", "default/web", "--token-file", "/t", "--wat"),
    ],
)
def test_a_wrong_command_line_is_said_and_exits_2(started, arguments):
    outcome = run(*arguments)
    assert (outcome.exit_code, started) == (2, [])
    assert "Error:" in outcome.output


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        (" \n", "is empty"),
        ("a b\n", "holds more than a token"),
        (b"\xff\xfe", "it is no text"),
    ],
)
def test_a_token_that_cannot_be_used_is_one_line_and_exits_1(tmp_path, content, words):
    token = tmp_path / "token"
    if content is not None:
        token.write_bytes(content if isinstance(content, bytes) else content.encode())
    outcome = run("--ring", "default/web", "--token-file", str(token), "--state-dir", str(tmp_path))
    assert outcome.exit_code == 1
    assert words in outcome.output
    assert len(outcome.output.splitlines()) == 1


@pytest.fixture
def place(tmp_path):
    """A folder with a good token, and what options may name."""
    (tmp_path / "token").write_text("secret")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    package = tmp_path / "folder" / "ours"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('it was imported')")
    (package / "hashes.py").touch()
    return tmp_path


def checked(place, *words):
    token = ("--ring", "default/web", "--token-file", str(place / "token"))
    return run(*token, *(word.format(place) for word in words), "--check")


WRONG = [
    ("--hash-path", "{}/nowhere", "cannot use the --hash-path {}/nowhere: No such file"),
    ("--hash-path", "{}/file", "cannot use the --hash-path {}/file: Not a directory"),
    ("--hash-module", "no_such", "the --hash-module no_such is not installed"),
    ("--hash-module", "ours.nothing", "the --hash-module ours.nothing is not installed"),
    ("--hash-module", "no_such.hashes", "the --hash-module no_such.hashes is not installed"),
    ("--hash-module", "a..b", "the --hash-module a..b is not installed"),
    ("--hash-module", "", "the --hash-module  is not installed"),
    ("--access-log", "{}/nowhere/x", "cannot write the access log {}/nowhere/x: No such file"),
    ("--access-log", "{}/file/x", "cannot write the access log {}/file/x: Not a directory"),
    ("--access-log", "{}/folder", "cannot write the access log {}/folder: Is a directory"),
]


@pytest.mark.parametrize("real", [False, True])
@pytest.mark.parametrize("wrong", WRONG)
def test_what_an_option_names_and_is_not_there_is_one_line_and_exits_1(
    place, monkeypatch, wrong, real
):
    option, value, words = wrong
    monkeypatch.syspath_prepend(str(place / "folder"))
    outcome = checked(place, option, value)
    if real:
        token = ("--ring", "default/web", "--token-file", str(place / "token"))
        outcome = run(*token, option, value.format(place), "--state-dir", str(place / "state"))
    assert outcome.exit_code == 1
    assert outcome.output.startswith(f"ringmaster-balancer: {words.format(place)}")
    assert len(outcome.output.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("--hash-path", "{}/folder"),  # there may be none in it yet
        ("--hash-path", ""),
        ("--hash-module", "zlib"),
        ("--hash-module", "ours.hashes"),
        ("--hash-module", "os.path"),
        ("--access-log", "{}/folder/new"),
        ("--access-log", "{}/file"),
        ("--access-log", "{}/fifo"),  # whose reader may come later
        ("--access-log", "/dev/stdout"),
        ("--access-log", "-"),
    ],
)
def test_a_check_finds_good_what_can_be_used_and_touches_nothing(place, monkeypatch, words):
    monkeypatch.syspath_prepend(str(place / "folder"))
    outcome = checked(place, *words)
    assert (outcome.exit_code, outcome.output) == (0, "")
    assert not (place / "folder" / "new").exists()
    assert "ours" not in sys.modules


def test_a_folder_that_may_not_be_written_has_no_access_log(place, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # root may write everywhere
    for name in ("folder/new", "file"):
        outcome = checked(place, "--access-log", "{}/" + name)
        assert outcome.exit_code == 1
        assert outcome.output.endswith(f"{place}/{name}: Permission denied\n")
