"""What a test needs of the machine: skipped where it is missing, failed where CI promised it.

`RINGMASTER_REQUIRE=docker,kubernetes,kind` names what must be there.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess

import containers
import pytest


def require(engine: str) -> None:
    """Go on if `engine` answers; else skip, or fail if this run requires it."""
    missing = CHECKS[engine]()
    if not missing:
        return
    if engine in os.environ.get("RINGMASTER_REQUIRE", "").split(","):
        pytest.fail(f"{engine} is required here: {missing}")
    pytest.skip(f"{engine}: {missing}")


@functools.cache
def docker() -> str:
    """Why there is no Docker Engine with a base image, or nothing."""
    image = containers.PYTHON_IMAGE
    if (missing := answers("docker", "info")) or not answers("docker", "image", "inspect", image):
        return missing
    if missing := answers("docker", "pull", "--quiet", image, seconds=180):
        return f"RINGMASTER_TEST_PYTHON_IMAGE names no base image that is here: {missing}"
    return ""


@functools.cache
def kubernetes() -> str:
    """Why there is no cluster to test on, or nothing. Only a cluster named for tests is used."""
    if "RINGMASTER_TEST_KUBECONFIG" not in os.environ:
        return "RINGMASTER_TEST_KUBECONFIG names no cluster that tests may use"
    config = os.environ["RINGMASTER_TEST_KUBECONFIG"]
    return answers("kubectl", "--kubeconfig", config, "get", "--raw", "/readyz")


@functools.cache
def kind() -> str:
    """Why no kind cluster can be made, or nothing."""
    return docker() or answers("kind", "version")


@functools.cache
def haproxy() -> str:
    """Why HAProxy cannot be a witness, or nothing."""
    return "" if shutil.which("haproxy") else "haproxy is not installed"


@functools.cache
def slowhttptest() -> str:
    """Why there is no attacker, or nothing."""
    return "" if shutil.which("slowhttptest") else "slowhttptest is not installed"


@functools.cache
def kubectl() -> str:
    """Why there is no kubectl, or nothing."""
    return answers("kubectl", "version", "--client")


CHECKS = {
    "docker": docker,
    "kubernetes": kubernetes,
    "kind": kind,
    "haproxy": haproxy,
    "slowhttptest": slowhttptest,
    "kubectl": kubectl,
}


def answers(*command: str, seconds: float = 30) -> str:
    """Nothing if the command succeeds, else one line that says what is missing."""
    if shutil.which(command[0]) is None:
        return f"no {command[0]} in PATH"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return f"{' '.join(command)} did not answer"
    return "" if done.returncode == 0 else (done.stderr.strip() or "failed").splitlines()[-1]
