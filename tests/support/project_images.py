"""The three images of the project, built from the tree that is tested."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import containers
import engines

ROOT = Path(__file__).parents[2]
TAG = "0.1.0"


@functools.cache
def build() -> None:
    """Build them unless this session has. Unchanged layers come from the engine's cache."""
    engines.require("docker")
    done = subprocess.run(
        ["make", "images", f"PYTHON_IMAGE={containers.PYTHON_IMAGE}", f"IMAGE_TAG={TAG}"],
        cwd=ROOT, check=False, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, f"make images: {done.stdout}{done.stderr}"
