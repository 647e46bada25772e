"""The picture: CPU per request beside the others."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING

import contest
import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    import results

COLOURS = {
    "ringmaster": "#c8102e",
    "haproxy": "#4878a8",
    "nginx": "#7fae7f",
    "envoy": "#9a7fb5",
    "caddy": "#e0a458",
    "flask": "#999999",
}
SHOWN = ("small", "browser", "10k", "1m", "post100k", "close")


def draw(run: results.Run, path: Path) -> None:
    """Left: all of them on a small GET, logarithmic. Right: ratios to HAProxy by scenario."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 4), gridspec_kw={"width_ratios": [1, 2.2]}, layout="constrained"
    )
    _absolute(left, run)
    _ratios(right, run)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _absolute(axes: plt.Axes, run: results.Run) -> None:
    found = [r for r in run.results if r.section.name == "small"]
    found.sort(key=lambda result: -result.middle("cpu_us"))
    names = [result.contestant.name for result in found]
    values = [result.middle("cpu_us") for result in found]
    bars = axes.barh(names, values, color=[COLOURS[r.contestant.proxy] for r in found])
    axes.bar_label(bars, labels=[f"{value:,.0f}" for value in values], padding=3)
    axes.set_xscale("log")
    axes.set_xlim(right=max(values, default=1) * 4)
    axes.set_title("CPU µs per small GET (logarithmic)", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def _ratios(axes: plt.Axes, run: results.Run) -> None:
    proxies = [p for p in COLOURS if p != "flask"]
    width = 0.8 / len(proxies)
    for number, proxy in enumerate(proxies):
        for place, section in enumerate(SHOWN):
            mine = run.of(section, contest.Contestant(proxy))
            base = run.of(section, contest.HAPROXY)
            if mine is None or base is None:
                continue
            ratios = mine.ratios(base)
            middle = statistics.median(ratios)
            error = [[middle - ratios[0]], [ratios[-1] - middle]]
            axes.bar(
                place + (number - (len(proxies) - 1) / 2) * width, middle, width, yerr=error,
                color=COLOURS[proxy], error_kw={"elinewidth": 0.7, "ecolor": "#444444"},
                label=proxy if place == 0 else None,
            )  # fmt: skip
    axes.axhline(1, color="#444444", linewidth=0.8)
    axes.set_xticks(range(len(SHOWN)), ["small GET", "10 fields", "10 KB", "1 MB",
                                        "POST 100 KB", "new connection"])  # fmt: skip
    axes.set_title("CPU per request, × HAProxy (median, least and most of the rounds)", fontsize=10)
    axes.legend(fontsize=8, ncols=len(proxies), frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
