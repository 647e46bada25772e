"""A real Docker Engine from the outside: the docker command, as a user has it."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

from ringmaster_operator import naming, observed

# Has a python3; nothing can be pulled where CI runs.
PYTHON_IMAGE = os.environ.get("RINGMASTER_TEST_PYTHON_IMAGE", "python:3.12-slim")


def docker(*words: str, check: bool = True, seconds: float = 120) -> str:
    """`docker …`; its output."""
    done = subprocess.run(
        ["docker", *words], check=False, capture_output=True, text=True, timeout=seconds
    )
    assert not check or done.returncode == 0, f"docker {' '.join(words)}: {done.stderr}"
    return done.stdout.strip()


def of(owner: observed.Owner) -> list[str]:
    """The ids of every container of a ServerSet."""
    label = f"label={naming.LABEL_SET_UID}={owner.uid}"
    return docker("ps", "--all", "--quiet", "--no-trunc", "--filter", label).split()


def inspect(container: str) -> dict[str, Any]:
    """Everything about a container."""
    found: list[dict[str, Any]] = json.loads(docker("inspect", container))
    return found[0]
