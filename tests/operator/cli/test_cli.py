"""The table of commands. What they do is in `test_commands`, `test_up`, `test_down`, tests/e2e."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import click.testing
import pytest
from ringmaster_operator import cli, statedir


def run(*words: str):
    return click.testing.CliRunner().invoke(cli.main, list(words))


def test_the_commands_are_those_that_users_expect() -> None:
    expected = (
        "apply delete describe down explain get kubeconfig picture plan scale up version wait"
    )
    assert sorted(cli.main.commands) == expected.split()


def test_down_on_nothing_is_fine(tmp_path: Path) -> None:
    done = run("--state-dir", str(tmp_path / "none"), "down")
    assert (done.exit_code, done.output) == (0, f"nothing runs on {tmp_path / 'none'}\n")


def test_up_with_a_taken_port_is_one_line_and_exit_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        done = run("up", "--host", "127.0.0.1", "--port", port, "--state-dir", str(tmp_path))
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: port {port} is taken by ")


def test_up_with_an_unwritable_state_folder_is_one_line_and_exit_1(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("up", "--state-dir", str(tmp_path / "file" / "state"))
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert "cannot be written" in line


@pytest.mark.parametrize("port", ["0", "65536", "http"])
def test_up_takes_only_ports(port: str) -> None:
    assert run("up", "--port", port).exit_code == 2


def test_it_runs_as_a_module_too() -> None:
    command = [sys.executable, "-m", "ringmaster_operator.cli", "version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip()


def test_what_one_command_needs_costs_no_other_its_time() -> None:
    script = "import sys, ringmaster_operator.cli; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    heavy = {"aiohttp", "cryptography", "kubernetes", "docker", "flask", "matplotlib", "pydantic"}
    assert heavy & set(done.stdout.split()) == set()


def test_a_reader_that_went_away_is_no_failure(tmp_path: Path) -> None:
    command = f"{sys.executable} -m ringmaster_operator.cli --help | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert statedir.StateDir(tmp_path).root == tmp_path


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full here")
@pytest.mark.parametrize("words", [["--help"], ["version"]])
def test_a_full_disk_is_one_line_and_exit_1(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ringmaster_operator.cli", *words],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "error: No space left on device\n")


def test_a_terminal_that_does_not_know_a_character_gets_its_number() -> None:
    script = """
import click
from ringmaster_operator import cli
cli.main.add_command(click.Command("say", callback=lambda: click.echo("web-0 → web-1")))
cli.main(["say"])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONIOENCODING": "latin-1"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "web-0 \\u2192 web-1\n", "")
