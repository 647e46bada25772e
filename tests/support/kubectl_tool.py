"""The real kubectl with a home of its own, so that no configuration or cache is shared."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Kubectl:
    """`flags` say which server, as `--server=…` or `--kubeconfig=…`."""

    home: Path
    flags: tuple[str, ...]

    def command(self, *arguments: str) -> list[str]:
        return ["kubectl", *self.flags, *arguments]

    def env(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return {**kept, "HOME": str(self.home), "KUBECONFIG": "/dev/null", "NO_PROXY": "*"}

    def run(self, *arguments: str, code: int = 0, stdin: str = "", **env: str) -> str:
        """What it printed, both ways, if it ended as expected."""
        done = self.ask(*arguments, stdin=stdin, **env)
        said = done.stdout + done.stderr
        assert done.returncode == code, f"{' '.join(arguments)}: {said}"
        return said

    def ask(self, *arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        """How it ended, whatever that is."""
        return subprocess.run(
            self.command(*arguments),
            input=stdin,
            env=self.env() | env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def apply(self, document: Any, *arguments: str, code: int = 0) -> str:
        return self.run("apply", "-f", "-", *arguments, code=code, stdin=yaml.safe_dump(document))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """One that goes on, as `get -w`; its output is read line by line."""
        return subprocess.Popen(
            self.command(*arguments), env=self.env(), stdout=subprocess.PIPE, text=True
        )
