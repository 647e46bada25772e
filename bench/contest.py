"""Contestants in turns: who is measured with whom, on what, and how the rounds go."""

from __future__ import annotations

import statistics
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import load
import peers
import proxies


@dataclass(frozen=True, slots=True)
class Contestant:
    """A proxy in one configuration."""

    proxy: str
    workers: int = 1
    members: int = 3
    access_log: bool = False

    @property
    def name(self) -> str:
        """As tables have it: the proxy, and what is unusual."""
        unusual = [
            *([f"{self.workers} workers"] if self.workers != 1 else []),
            *([f"{self.members} members"] if self.members != 3 else []),
            *(["access log"] if self.access_log else []),
        ]
        return ", ".join([self.proxy, *unusual])

    def start(self, folder: Path, ports: list[int]) -> AbstractContextManager[peers.Running]:
        """Run it until the block is left."""
        options = {"access_log": True} if self.access_log else {}
        start = proxies.PROXIES[self.proxy]
        return start(folder, ports=ports[: self.members], workers=self.workers, **options)


@dataclass(frozen=True, slots=True)
class Section:
    """A scenario, and those who compete in it; ratios are to the first HAProxy."""

    name: str
    title: str
    scenario: str
    contestants: tuple[Contestant, ...]


@dataclass(slots=True)
class Result:
    """One contestant's rounds in a section."""

    section: Section
    contestant: Contestant
    rounds: list[load.Figures] = field(default_factory=list)

    def middle(self, figure: str) -> float:
        """The median over the rounds."""
        return statistics.median(getattr(each, figure) for each in self.rounds)

    def ratios(self, other: Result, figure: str = "cpu_us") -> list[float]:
        """Round by round, sorted: the machine's mood drops out."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        return sorted(getattr(a, figure) / getattr(b, figure) for a, b in pairs)


RINGMASTER, HAPROXY = Contestant("ringmaster"), Contestant("haproxy")
NGINX, ENVOY, CADDY = Contestant("nginx"), Contestant("envoy"), Contestant("caddy")
FLASK = Contestant("flask")
_PEERS = (RINGMASTER, HAPROXY, NGINX, ENVOY, CADDY)


def _beside(**other: object) -> tuple[Contestant, ...]:
    """Ourselves and HAProxy, both as they are and otherwise."""
    return (
        RINGMASTER,
        Contestant("ringmaster", **other),  # type: ignore[arg-type]
        HAPROXY,
        Contestant("haproxy", **other),  # type: ignore[arg-type]
    )


SECTIONS = (
    Section("small", "Small GET, two header fields", "small", (*_PEERS, FLASK)),
    Section("browser", "Small GET, ten header fields as a browser sends them", "browser", _PEERS),
    Section(
        "unlike",
        "Small GET, ten header fields, path and cookie new in each request",
        "unlike",
        (RINGMASTER, HAPROXY, NGINX),
    ),
    Section("10k", "Response of 10 KB", "10k", _PEERS),
    Section("1m", "Response of 1 MB", "1m", _PEERS),
    Section("post100k", "POST of 100 KB", "post100k", _PEERS),
    Section("close", "A new connection for each small GET", "close", _PEERS),
    Section("log", "Small GET with an access log", "small", _beside(access_log=True)),
    Section("workers", "Small GET, one worker and two", "small", _beside(workers=2)),
    Section("members", "Small GET, 3 members and 100", "small", _beside(members=100)),
)
MOST_MEMBERS = max(c.members for section in SECTIONS for c in section.contestants)


def run(
    section: Section,
    running: dict[Contestant, peers.Running],
    *,
    rounds: int,
    seconds: int,
    folder: Path,
) -> list[Result]:
    """Every contestant in turn, `rounds` times; each round begins with another one."""
    scenario = load.SCENARIOS[section.scenario]
    found = [Result(section, each) for each in section.contestants if each in running]
    for result in found:  # warm up: pools, caches, the first allocation
        load.run(running[result.contestant], scenario, seconds=1, folder=folder)
    for number in range(rounds):
        for result in found[number % len(found) :] + found[: number % len(found)]:
            target = running[result.contestant]
            result.rounds.append(load.run(target, scenario, seconds=seconds, folder=folder))
    print(table(found))
    sys.stdout.flush()
    return found


def table(results: list[Result]) -> str:
    """For the eye: medians, and the median of the rounds' ratios to HAProxy with their range."""
    section = results[0].section
    scenario = load.SCENARIOS[section.scenario]
    base = next((r for r in results if r.contestant == HAPROXY), None)
    lines = [
        f"\n{section.title}: {scenario.method} {scenario.path}, {scenario.connections} connections",
        (
            f"  {'':24} {'CPU µs':>8} {'× haproxy':>18} {'req/s':>7} {'p50 ms':>7} {'p99 ms':>7} "
            f"{'p99.9':>7} {'errors':>6}"
        ),
    ]
    for result in results:
        ratio = spread(result.ratios(base)) if base else "-"
        lines.append(
            f"  {result.contestant.name:24} {result.middle('cpu_us'):8.1f} {ratio:>18} "
            f"{result.middle('rate'):7.0f} {result.middle('p50'):7.2f} {result.middle('p99'):7.2f} "
            f"{result.middle('p999'):7.2f} {sum(each.errors for each in result.rounds):6d}"
        )
    return "\n".join(lines)


def spread(ratios: list[float]) -> str:
    """Median, least and most."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
