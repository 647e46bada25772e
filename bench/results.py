"""What is left of a run: a page of tables, the figures as CSV, and a plot."""

from __future__ import annotations

import csv
import os
import platform
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import bars
import contest
import fairness
import idle
import psutil
import recovery
import stalled

FIGURES = ("cpu_us", "rate", "p50", "p99", "p999", "errors")


@dataclass(slots=True)
class Run:
    """Everything that one run found, as far as it got."""

    options: str
    loads: list[float] = field(default_factory=lambda: [os.getloadavg()[0]])
    results: list[contest.Result] = field(default_factory=list)
    memory: list[idle.Memory] = field(default_factory=list)
    stalls: dict[str, list[stalled.Pair]] = field(default_factory=dict)
    fairness: dict[str, fairness.Rounds] = field(default_factory=dict)
    recoveries: list[recovery.Recovery] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def of(self, section: str, contestant: contest.Contestant) -> contest.Result | None:
        """One contestant's result in a section."""
        for result in self.results:
            if result.section.name == section and result.contestant == contestant:
                return result
        return None

    def sections(self) -> Iterator[list[contest.Result]]:
        """The results by section."""
        for section in contest.SECTIONS:
            found = [r for r in self.results if r.section == section and r.rounds]
            if found:
                yield found


def machine() -> str:
    """The machine in words; no name of it."""
    model = next(
        line.partition(":")[2].strip()
        for line in [*Path("/proc/cpuinfo").read_text().splitlines(), "model name: unknown"]
        if line.startswith("model name")
    )
    virtual = "hypervisor" in Path("/proc/cpuinfo").read_text()
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{os.cpu_count()} cores ({model}{', a virtual machine' if virtual else ''}), "
        f"{memory:.0f} GB, Linux {platform.release().partition('-')[0]}, "
        f"Python {platform.python_version()}"
    )


def page(run: Run) -> str:
    """All tables, in Markdown."""
    busy = f"{min(run.loads):.1f} to {max(run.loads):.1f}"
    parts = [
        "# Measured\n",
        (
            f"Written by `make bench` on {time.strftime('%Y-%m-%d')}, with {run.options}. The machine: "
            f"{machine()}; its load average went from {busy}, and the clients, the proxies and the "
            "upstreams shared its cores.\n"
        ),
        (
            "CPU is the time of the proxy's whole process tree for one request. × is the ratio to "
            "HAProxy, round by round: the median (least–most). Only ratios of one run mean anything.\n"
        ),
    ]
    if run.left_out:
        parts += ["Left out: " + "; ".join(run.left_out.values()) + ".\n"]
    judged = bars.judge(run)
    if judged:
        parts += ["## The bars\n", "| what | bar | measured | |", "| --- | --- | --- | --- |"]
        parts += [f"| {b.what} | {b.bar} | {b.measured} | {b.verdict} |" for b in judged]
    parts += ["\n## Side by side\n", "![CPU per request](cpu.png)\n"]
    for found in run.sections():
        parts += [f"### {found[0].section.title}\n", *_section(found), ""]
    if run.memory:
        parts += ["### Memory with idle connections, MB\n", *_memory(run.memory), ""]
    if run.stalls:
        parts += [f"### The others' latency among {stalled.STALLED:,} stalled clients\n"]
        parts += [*_stalls(run.stalls), ""]
    if run.fairness:
        parts += ["### A small request beside one connection that takes all it can get\n"]
        parts += ["Median in ms; in brackets, what that connection moved in MB a second.\n"]
        parts += [*fairness.table(run.fairness), ""]
    if run.recoveries:
        parts += ["### A replica is killed\n", "```", recovery.report(run.recoveries), "```", ""]
    return "\n".join(parts)


def _section(found: list[contest.Result]) -> list[str]:
    base = next((r for r in found if r.contestant == contest.HAPROXY), None)
    lines = [
        "| | CPU µs | × HAProxy | req/s | p50 ms | p99 ms | p99.9 ms | errors |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for result in found:
        ratio = contest.spread(result.ratios(base)) if base else "–"
        lines.append(
            f"| {result.contestant.name} | {result.middle('cpu_us'):.1f} | {ratio} | "
            f"{result.middle('rate'):,.0f} | {result.middle('p50'):.2f} | "
            f"{result.middle('p99'):.1f} | {result.middle('p999'):.1f} | "
            f"{sum(each.errors for each in result.rounds)} |"
        )
    return lines


def _memory(found: list[idle.Memory]) -> list[str]:
    head = " | ".join(f"{count:,}" for count in idle.COUNTS)
    lines = [f"| | {head} | KB a connection |", "| --- |" + " ---: |" * (len(idle.COUNTS) + 1)]
    for memory in found:
        cells = " | ".join(f"{memory.used[count] / 1e6:.1f}" for count in idle.COUNTS)
        lines.append(f"| {memory.name} | {cells} | {memory.per_connection / 1e3:.2f} |")
    return lines


def _stalls(found: dict[str, list[stalled.Pair]]) -> list[str]:
    lines = ["| | p99 without, ms | p99 among, ms | × |", "| --- | ---: | ---: | ---: |"]
    for name, pairs in found.items():
        without = statistics.median(pair.without.p99 for pair in pairs)
        among = statistics.median(pair.among.p99 for pair in pairs)
        spread = contest.spread(stalled.ratios(pairs))
        lines.append(f"| {name} | {without:.2f} | {among:.2f} | {spread} |")
    return lines


def write(run: Run, folder: Path) -> None:
    """The page, the figures of every round, and the plot."""
    import plot  # noqa: PLC0415 - matplotlib is slow to come, and not needed without a page

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(page(run))
    with (folder / "figures.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["section", "contestant", "round", *FIGURES])
        for result in run.results:
            for number, figures in enumerate(result.rounds, start=1):
                cells = [f"{getattr(figures, name):.6g}" for name in FIGURES]
                name = result.contestant.name
                writer.writerow([result.section.name, name, number, *cells])
    plot.draw(run, folder / "cpu.png")
