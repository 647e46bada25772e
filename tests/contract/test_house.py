"""The house: where a module's tests are found, and what must never be importable."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "operator": ROOT / "operator" / "ringmaster_operator",
    "balancer": ROOT / "balancer" / "ringmaster_balancer",
    "server": ROOT / "server" / "ringmaster_server",
    "experiments": ROOT / "experiments" / "ringmaster_experiments",
}
# What may stand in the root of the repository; everything else has a folder.
IN_THE_ROOT = {
    *(".ci", ".dockerignore", ".gitignore", "balancer", "bench", "docs", "experiments", "hashes"),
    *("manifests", "operator", "scripts", "server", "tests"),
    *("ARCHITECTURE.md", "CHANGELOG.md", "LICENSE", "Makefile", "README.md"),
    *("compose.yml", "kind-config.yaml", "pyproject.toml"),
}
# What several modules promise together, or what one promises in a second way.
OWN_SUBJECT = {
    "operator/test_reconcile_properties.py",
    "operator/api/test_kubectl.py",
    "balancer/picture/test_pictures.py",
}


def modules_of(test: Path, *, tests: Path, package: Path) -> list[Path]:
    """Where the module may be that a test file is named after: itself, or a package's door."""
    name = test.stem.removeprefix("test_")
    below = package / test.parent.relative_to(tests)
    door = below / "__init__.py" if below.name == name else below / name / "__init__.py"
    return [below / ("__main__.py" if name == "main" else f"{name}.py"), door]


@pytest.mark.parametrize("component", sorted(PACKAGES))
def test_every_test_file_is_named_after_the_module_whose_promises_it_holds(component: str) -> None:
    tests, package = ROOT / "tests" / component, PACKAGES[component]
    strays = [
        str(test.relative_to(ROOT / "tests"))
        for test in tests.rglob("test_*.py")
        if not any(p.exists() for p in modules_of(test, tests=tests, package=package))
    ]
    assert sorted(set(strays) - OWN_SUBJECT) == []


def test_the_root_holds_known_names_only() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what is tracked cannot be asked")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = {path.partition("/")[0] for path in listed.stdout.split("\0") if path}
    assert names - IN_THE_ROOT == set()


def test_the_folder_operator_cannot_be_imported_in_place_of_pythons_own() -> None:
    folder = ROOT / "operator"
    assert [path.name for path in folder.glob("*.py")] == []
    found = subprocess.run(
        [sys.executable, "-c", "import operator; print(operator.__file__)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(ROOT) not in found.stdout
