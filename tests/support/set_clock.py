"""A wall clock that was set since the machine started, as psutil sees that."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="pretends by means of /proc")


def by(seconds: int, *, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on: the kernel's boot time is the clock's less the uptime, so it moves with it.

    Only processes that are there now are seen from then on.
    """
    proc = folder / "proc"
    proc.mkdir()
    for entry in Path("/proc").iterdir():
        if entry.name != "stat":
            (proc / entry.name).symlink_to(entry)
    lines = Path("/proc/stat").read_text().splitlines()
    said = [f"btime {int(x.split()[1]) + seconds}" if x.startswith("btime") else x for x in lines]
    (proc / "stat").write_text("\n".join(said) + "\n")
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(proc))
