"""Pictures of trials: requests per server, load over the number of servers, and the classic ring.

Law: values in, a PNG out; a title says what the picture shows, with its numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from ringmaster_experiments import anatomy, canvas, trials

_WIDTH = 0.62


def distribution(outcome: trials.Outcome, path: Path) -> None:
    """Experiment 1: a bar a server, and what theory expects of it."""
    trial, spread = outcome.trial, outcome.spread
    canvas.picture(
        path,
        lambda axes: _bars(axes[0], outcome),
        title=f"{trial.requests:,} requests on {trial.servers} servers, {trial.variant.title}:\n"
        f"the busiest has {spread.peak:.2f} times the mean",
    )


def scaling(outcomes: Sequence[trials.Outcome], path: Path) -> None:
    """Experiment 2: mean load with its spread over the number of servers."""
    first = outcomes[0].trial
    worst = max(outcome.spread.peak for outcome in outcomes)

    def draw(axes: Sequence[Axes]) -> None:
        _spreads(axes[0], outcomes, legend=True)
        _ratios(axes[1], outcomes)

    canvas.picture(
        path,
        draw,
        title=f"{first.requests:,} requests each, {first.variant.title}:\n"
        f"the busiest server has at most {worst:.2f} times the mean",
        size=(11, 5),
        columns=2,
    )


def distributions(outcomes: Sequence[trials.Outcome], path: Path) -> None:
    """Experiment 1 for each hash function, side by side."""

    def draw(axes: Sequence[Axes]) -> None:
        for each, outcome in zip(axes, outcomes, strict=True):
            _bars(each, outcome, small=True)
            each.set_title(
                f"{outcome.trial.variant.title}\nbusiest {outcome.spread.peak:.2f} × mean"
            )

    first = outcomes[0].trial
    canvas.picture(
        path,
        draw,
        title=f"{first.requests:,} requests on {first.servers} servers:\n"
        "with the assignment's Φ one server gets nearly all, whatever hashes the key",
        size=(11, 7),
        rows=2,
        columns=3,
        share_y=True,
    )


def scalings(by_variant: Mapping[str, Sequence[trials.Outcome]], path: Path) -> None:
    """Experiment 2 for each hash function, side by side."""

    def draw(axes: Sequence[Axes]) -> None:
        for index, (each, outcomes) in enumerate(zip(axes, by_variant.values(), strict=True)):
            _spreads(each, outcomes, legend=index == len(by_variant) - 1)
            worst = max(outcome.spread.peak for outcome in outcomes)
            each.set_title(f"{outcomes[0].trial.variant.title}\nbusiest up to {worst:.2f} × mean")

    first = next(iter(by_variant.values()))[0].trial
    canvas.picture(
        path,
        draw,
        title=f"{first.requests:,} requests on 2 to 6 servers: the mean is the same for all, "
        "the spread tells them apart",
        size=(11, 7),
        rows=2,
        columns=3,
        share_x=True,
        share_y=True,
    )


def slots(found: Sequence[anatomy.Anatomy], path: Path) -> None:
    """Why the assignment's ring is uneven: its 512 slots, their owners, and those that H meets."""

    def draw(axes: Sequence[Axes]) -> None:
        for each, ring in zip(axes, found, strict=True):
            _strip(each, ring)
        axes[-1].set_xlabel("slot of the ring (clockwise; 511 is followed by 0)")

    first = found[0]
    canvas.picture(
        path,
        draw,
        title=f"All virtual servers lie in slots {first.lowest} to {first.highest}: "
        f"the {first.gap} slots outside belong to the first",
        size=(11, 5.2),
        rows=len(found),
        share_x=True,
    )


def _bars(axes: Axes, outcome: trials.Outcome, *, small: bool = False) -> None:
    places = range(len(outcome.ids))
    bars = axes.bar(
        places,
        outcome.counts,
        width=_WIDTH,
        color=canvas.COLOURS[4],
        label=_source(outcome),
    )
    axes.bar_label(bars, labels=[f"{count:,}" for count in outcome.counts], padding=4)
    axes.scatter(
        places,
        [share * outcome.trial.requests for share in outcome.shares],
        marker="_",
        s=1_400,
        color=canvas.COLOURS[5],
        linewidths=2.5,
        zorder=3,
        label="theory: the table's share × requests",
    )
    names = [
        f"{member}\n{100 * share:.2f} %"
        for member, share in zip(outcome.ids, outcome.shares, strict=True)
    ]
    axes.set_xticks(places, names)
    axes.grid(visible=False, axis="x")
    # With a shared axis the highest of all panels counts.
    axes.set_ylim(0, max(axes.get_ylim()[1], (1.12 if small else 1.25) * max(outcome.counts)))
    canvas.thousands(axes)
    _, first = canvas.place(axes)
    if first:
        axes.set_ylabel("requests")
    if not small:
        axes.set_xlabel("server, and its share in theory")
        axes.legend(loc="upper right", ncols=2, markerscale=0.4)


def _source(outcome: trials.Outcome) -> str:
    if outcome.live is None:
        return "simulated"
    return "measured = simulated" if outcome.live == outcome.simulated else "measured"


def _spreads(axes: Axes, outcomes: Sequence[trials.Outcome], *, legend: bool) -> None:
    """Load over servers, in requests."""
    _band(axes, outcomes, [1.0] * len(outcomes))
    axes.set_ylim(bottom=0)
    canvas.thousands(axes)
    last, first = canvas.place(axes)
    if last:
        axes.set_xlabel("servers")
    if first:
        axes.set_ylabel("requests per server")
    if legend:
        axes.legend(loc="upper right")


def _ratios(axes: Axes, outcomes: Sequence[trials.Outcome]) -> None:
    """Load over servers, as a multiple of the mean; and what the table alone would give."""
    _band(axes, outcomes, [outcome.spread.mean for outcome in outcomes])
    servers = [outcome.trial.servers for outcome in outcomes]
    for extreme in (max, min):
        axes.plot(
            servers,
            [extreme(outcome.shares) * len(outcome.shares) for outcome in outcomes],
            color="black",
            linestyle=":",
            linewidth=1.5,
            label="theory: most and least" if extreme is max else None,
        )
    axes.set_xlabel("servers")
    axes.set_ylabel("load as a multiple of the mean")
    axes.legend(loc="upper left")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.6 * (high - low))


def _band(axes: Axes, outcomes: Sequence[trials.Outcome], units: Sequence[float]) -> None:
    """Mean, standard deviation and extremes, each divided by its unit."""
    servers = [outcome.trial.servers for outcome in outcomes]
    spreads = [outcome.spread for outcome in outcomes]
    least, most = (
        [getattr(spread, side) / unit for spread, unit in zip(spreads, units, strict=True)]
        for side in ("smallest", "largest")
    )
    axes.fill_between(
        servers, least,
        most, color=canvas.COLOURS[4], alpha=0.3, linewidth=0,
        label="least to most loaded server",
    )  # fmt: skip
    for side, marker in ((least, "v"), (most, "^")):
        axes.plot(servers, side, color=canvas.COLOURS[0], marker=marker, linewidth=1, markersize=5)
    means = [spread.mean / unit for spread, unit in zip(spreads, units, strict=True)]
    deviations = [spread.deviation / unit for spread, unit in zip(spreads, units, strict=True)]
    below = [min(pair) for pair in zip(means, deviations, strict=True)]  # no load is negative
    axes.errorbar(
        servers, means, yerr=[below, deviations], color=canvas.COLOURS[5], marker="o",
        linewidth=2, capsize=4, label="mean ± standard deviation",
    )  # fmt: skip
    axes.set_xticks(servers)


def _strip(axes: Axes, ring: anatomy.Anatomy) -> None:
    for start, length, owner in ring.arcs:
        axes.broken_barh([(start, length)], (0.0, 1.0), color=canvas.colour(owner), alpha=0.45)
    for owner, points in enumerate(ring.points):
        axes.vlines(points, 0, 1, color=canvas.colour(owner), linewidth=1.2)
        axes.broken_barh(
            [], (0, 1), color=canvas.colour(owner),
            label=f"server {owner + 1}: {ring.owned[owner]} slots, "
            f"{100 * ring.shares[owner]:.2f} % of the requests",
        )  # fmt: skip
    axes.vlines(ring.reached, -0.42, -0.08, color="black", linewidth=0.8)
    axes.set_title(
        f"{ring.title}: {len(ring.reached)} of {ring.slots} slots are met by requests (black)",
        loc="left",
    )
    axes.set_xlim(-2, ring.slots + 2)
    axes.set_ylim(-0.5, 1.05)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    axes.legend(loc="center right", frameon=True, framealpha=0.9, fontsize=9)
