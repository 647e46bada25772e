"""What the scripts for clusters share: running programs, saying what goes on, failing in one line.

Standard library only: `make deploy` and `make kind-up` need no virtual environment.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMPONENTS = ("operator", "balancer", "server")
TAG = "0.1.0"

_WHERE = {
    "docker": "https://docs.docker.com/engine/install/",
    "kind": "https://kind.sigs.k8s.io/docs/user/quick-start/#installation",
    "kubectl": "https://kubernetes.io/docs/tasks/tools/",
}


class ScriptError(Exception):
    """What went wrong and what to do, in a line or few."""


def need(*programs: str) -> None:
    """Fail unless each program is there; of docker, also that its engine answers."""
    for program in programs:
        if shutil.which(program) is None:
            raise ScriptError(f"no '{program}' in PATH: {_WHERE[program]}")
    if "docker" in programs and not succeeds("docker", "info"):
        raise ScriptError("no Docker Engine answers: start it, or see `docker info`")


def run(*command: str, given: str | None = None, seconds: float | None = None) -> str:
    """The output of a command that must succeed; `given` is its input."""
    try:
        done = subprocess.run(  # noqa: S603 - argv list, no shell
            command,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
            cwd=ROOT,
        )
    except subprocess.TimeoutExpired as error:
        raise ScriptError(f"`{' '.join(command)}` took longer than {seconds:g} s") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()
        raise ScriptError("\n".join([f"`{' '.join(command)}` failed:", *said[-12:]]))
    return done.stdout


def succeeds(*command: str) -> bool:
    """Whether the command ends with 0."""
    return subprocess.run(command, capture_output=True, check=False, cwd=ROOT).returncode == 0  # noqa: S603 - argv list, no shell


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Say what is done, and how long it took."""
    start = time.monotonic()
    sys.stdout.write(f"  {what} ... ")
    sys.stdout.flush()
    try:
        yield
    except BaseException:
        sys.stdout.write("failed\n")
        raise
    sys.stdout.write(f"done ({time.monotonic() - start:.0f} s)\n")
    sys.stdout.flush()


def say(text: str = "") -> None:
    """A line or more for the user."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(action: Callable[[], None]) -> None:
    """Run a script's body; a ScriptError is one message and exit code 1."""
    try:
        action()
    except ScriptError as failure:
        sys.stderr.write(f"{Path(sys.argv[0]).stem}: {failure}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: run the same command again, it goes on from there\n")
        sys.exit(130)
