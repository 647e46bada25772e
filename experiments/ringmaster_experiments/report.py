"""`make experiments`: all four experiments, and the page about them.

Law: shell.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
from pathlib import Path

from ringmaster_experiments import commands, page, results, rings, telling, trials, victims

DISTRIBUTION, SCALING, RECOVERY = 30_000, 10_000, 40_000  # requests, as the assignment has them
SERVERS = 3
VICTIM = 1

_BUSY = " (others were at work on it: read speeds and times with that in mind)"


def run(
    settings: commands.Settings, *, target: Path, say: telling.Say
) -> tuple[trials.Verdict, ...]:
    """Do all, write `target`; every verdict."""
    machine = _machine()
    say("1. distribution")
    first = commands.distribution(
        settings, ring=rings.DEFAULT, requests=DISTRIBUTION, servers=SERVERS, say=say
    )
    say("2. scaling")
    second = commands.scaling(settings, ring=rings.DEFAULT, requests=SCALING, say=say)
    say("3. recovery")
    third = commands.recover(
        settings, ring=rings.DEFAULT, requests=RECOVERY, servers=SERVERS, victim=VICTIM, say=say
    )
    say("4. hashing")
    fourth = commands.hashing(
        settings, requests=DISTRIBUTION, servers=SERVERS, scaling_requests=SCALING, say=say
    )
    by_ring, scalings = commands.split(fourth.outcomes)
    docker = _on_docker(settings, say=say)
    findings = page.Findings(
        seed=settings.seed,
        connections=settings.connections,
        machine=machine,
        distribution=first,
        scaling=second,
        recovery=third,
        hashing=by_ring,
        hashing_scaling=scalings,
        docker=docker,
    )
    pictures = os.path.relpath(settings.out, target.parent)
    target.write_text(page.text(findings, pictures=pictures), encoding="utf-8")
    say(f"written: {target}")
    parts = (first, second, third, fourth, *(docker or ()))
    return tuple(verdict for part in parts for verdict in part.verdicts)


def _on_docker(
    settings: commands.Settings, *, say: telling.Say
) -> tuple[results.Ran, results.Recovered] | None:
    """Experiments 1 and 3 with containers, where there is an engine with the image."""
    folder = settings.out / "docker"
    if fault := victims.docker_fault():
        say(f"not on Docker: {fault} (`make images` builds the image)")
        shutil.rmtree(folder, ignore_errors=True)  # an earlier run's: not what the page tells
        return None
    there = dataclasses.replace(settings, out=folder, runtime="docker")
    say("1. distribution, on Docker")
    first = commands.distribution(
        there, ring=rings.DEFAULT, requests=DISTRIBUTION, servers=SERVERS, say=say
    )
    say("3. recovery, on Docker")
    third = commands.recover(
        there, ring=rings.DEFAULT, requests=RECOVERY, servers=SERVERS, victim=VICTIM, say=say
    )
    return first, third


def _machine() -> str:
    """The machine in words, and how busy it was with other things; names are nobody's business."""
    load = os.getloadavg()[0]
    return (
        f"one machine with {os.cpu_count()} cores ({platform.system()}, {platform.machine()}, "
        f"Python {'.'.join(platform.python_version_tuple()[:2])}) that had a load average of "
        f"{load:.1f} before it began{_BUSY if load > 1 else ''}"
    )
