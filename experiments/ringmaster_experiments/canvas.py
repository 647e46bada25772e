"""How every picture looks, and how it is written: the one module that knows matplotlib.

Law: edge. No pyplot and no global state; the same values give the same bytes with the same version
of matplotlib: its own font, no date, no version in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

# Okabe and Ito's palette: told apart by people who see fewer colours, and in print.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
INK = "#333333"
FAINT = "#999999"


def colour(number: int) -> str:
    """Of server `number` (from 0); they begin anew after the eighth."""
    return COLOURS[number % len(COLOURS)]


_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "svg.hashsalt": "ringmaster",
}
_DOTS_PER_INCH = 120

Draw = Callable[[Sequence[Axes]], None]


def picture(
    path: Path,
    draw: Draw,
    *,
    title: str,
    size: tuple[float, float] = (8.0, 4.5),
    rows: int = 1,
    columns: int = 1,
    heights: Sequence[float] | None = None,
    share_x: bool = False,
    share_y: bool = False,
) -> None:
    """Draw on a grid of axes and write a PNG; `size` is in inches."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size, dpi=_DOTS_PER_INCH, layout="constrained")
        axes = figure.subplots(
            rows,
            columns,
            squeeze=False,
            sharex=share_x,
            sharey=share_y,
            gridspec_kw={"height_ratios": heights} if heights else None,
        )
        draw([each for row in axes for each in row])
        figure.suptitle(title, fontsize=13, fontweight="bold", x=0.01, ha="left")
        figure.savefig(path, format="png", metadata={"Software": None})


def place(axes: Axes) -> tuple[bool, bool]:
    """Whether it is in the last row, and in the first column: where labels of axes belong."""
    spec = axes.get_subplotspec()
    return (True, True) if spec is None else (spec.is_last_row(), spec.is_first_col())


def thousands(axes: Axes) -> None:
    """10000 as 10,000 on the y axis."""
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def decades(axes: Axes) -> None:
    """1, 2, 5, 10, 20 … as plain numbers on a logarithmic y axis."""
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
