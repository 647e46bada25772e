"""Pictures of a recovery: who may answer what, and what happened when.

Law: values in, a PNG out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from ringmaster_experiments import canvas, recovery, results

_BEFORE, _AFTER = 1.5, 3.0  # seconds around the events that are shown
_WIDTH = 0.1  # seconds a piece
_BAR = 0.38


def shares(expected: recovery.Expected, path: Path) -> None:
    """The simulation: requests by member if nothing happens, and if the victim never comes back."""

    def draw(axes: Sequence[Axes]) -> None:
        places = range(len(expected.ids))
        both = (
            ("nothing happens", expected.undisturbed(), canvas.COLOURS[0]),
            (
                f"{expected.victim} away from the kill on",
                expected.never_replaced(),
                canvas.COLOURS[1],
            ),
        )
        for number, (label, counts, colour) in enumerate(both):
            bars = axes[0].bar(
                [place + (number - 0.5) * _BAR for place in places],
                counts, width=_BAR, color=colour, label=label,
            )  # fmt: skip
            axes[0].bar_label(bars, labels=[f"{count:,}" for count in counts], padding=3)
        axes[0].set_xticks(places, expected.ids)
        axes[0].set_xlabel("member")
        axes[0].set_ylabel("requests")
        axes[0].set_ylim(0, 1.2 * max(expected.never_replaced()))
        axes[0].grid(visible=False, axis="x")
        axes[0].legend(loc="upper right", ncols=2)
        canvas.thousands(axes[0])

    plan = expected.plan
    canvas.picture(
        path,
        draw,
        title=f"Simulated: {plan.requests:,} requests, {expected.victim} killed at {plan.kill_at:,}.\n"
        "Its keys alone move, to the candidates that the table names next",
    )


def timeline(expected: recovery.Expected, run: results.Live, path: Path) -> None:
    """What happened: throughput by member and latency over time, with the events."""
    seen, failed = run.seen, run.failed
    pieces = _shown(recovery.timeline(expected, seen, width=_WIDTH), seen)

    def draw(axes: Sequence[Axes]) -> None:
        _throughput(axes[0], expected, pieces)
        _latency(axes[1], pieces)
        _events(axes, seen.events)

    back = next((e.seconds for e in seen.events if e.name == "back"), None)
    healed = (
        "it did not come back" if back is None else f"its place is filled again after {back:.2f} s"
    )
    canvas.picture(
        path,
        draw,
        title=f"kill -9 of {expected.victim}'s server under load: "
        f"{failed or 'no'} failed request{'' if failed == 1 else 's'},\n{healed}",
        size=(10, 7),
        rows=2,
        heights=(3, 2),
        share_x=True,
    )


def _shown(pieces: Sequence[recovery.Bin], seen: recovery.Seen) -> list[recovery.Bin]:
    """The pieces around the events; the last one of the run is not full and left out."""
    last = max((event.seconds or 0 for event in seen.events), default=0)
    return [piece for piece in pieces[:-1] if -_BEFORE <= piece.start <= last + _AFTER]


def _throughput(axes: Axes, expected: recovery.Expected, pieces: Sequence[recovery.Bin]) -> None:
    times = [piece.start + _WIDTH / 2 for piece in pieces]
    rates = [
        [piece.answers[member] / _WIDTH for piece in pieces] for member in range(len(expected.ids))
    ]
    labels = [
        f"{member} (killed, then replaced)" if member == expected.victim else member
        for member in expected.ids
    ]
    axes.stackplot(
        times,
        rates,
        labels=labels,
        colors=[canvas.colour(number) for number in range(len(labels))],
        alpha=0.75,
        linewidth=0,
    )
    axes.set_ylabel("requests answered a second,\nby member")
    axes.set_ylim(bottom=0, top=1.6 * max(map(sum, zip(*rates, strict=True)), default=1))
    axes.legend(loc="upper right", ncols=len(labels), frameon=True)
    canvas.thousands(axes)


def _latency(axes: Axes, pieces: Sequence[recovery.Bin]) -> None:
    times = [piece.start + _WIDTH / 2 for piece in pieces]
    for field, style, width in (("largest", ":", 1.2), ("p99", "--", 1.5), ("median", "-", 2)):
        axes.plot(
            times,
            [getattr(piece, field) for piece in pieces],
            style, linewidth=width, color=canvas.COLOURS[5] if field == "largest" else canvas.INK,
            label={"largest": "largest", "p99": "99th percentile", "median": "median"}[field],
        )  # fmt: skip
    axes.set_yscale("log")
    canvas.decades(axes)
    axes.set_ylabel("latency, ms")
    axes.set_xlabel("seconds after the kill")
    axes.legend(loc="upper right", ncols=3, frameon=True)
    axes.set_ylim(top=axes.get_ylim()[1] * 3)


def _events(axes: Sequence[Axes], events: Sequence[recovery.Event]) -> None:
    for each in axes:
        each.axvline(0, color=canvas.COLOURS[5], linewidth=1.5)
    told = ["0.000 s  kill -9"]
    for event in sorted(events, key=lambda event: event.seconds or 0):
        if event.seconds is None:
            continue
        told.append(f"{event.seconds:.3f} s  {event.name}")
        for each in axes:
            each.axvline(event.seconds, color=canvas.INK, linewidth=1, linestyle="--")
    axes[0].text(
        0.01, 0.97, "\n".join(told), transform=axes[0].transAxes, va="top", fontsize=9,
        family="DejaVu Sans Mono",
        bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": canvas.FAINT},
    )  # fmt: skip
