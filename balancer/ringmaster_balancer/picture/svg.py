"""SVG elements as strings, every text escaped.

Law: pure. Angles are shares of a turn, from 0 at the top, clockwise; lengths are user units.
"""

from __future__ import annotations

import math
from html import escape

INK, FAINT, PAPER, LINE = "#1c2733", "#5b6876", "#ffffff", "#d5dbe1"
ALARM = "#c62828"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
_FULL = 0.999999  # an arc of a whole turn ends where it begins, and is none


def number(value: float) -> str:
    """As short as two decimals allow."""
    short = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if short == "-0" else short


def element(name: str, *inner: str, **attributes: object) -> str:
    """`<name …>inner</name>`; attributes in snake_case, `class_` for class, None left out."""
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{pairs}>{''.join(inner)}</{name}>" if inner else f"<{name}{pairs}/>"


def text(said: str, *, x: float, y: float, size: float = 13, **attributes: object) -> str:
    """One line of text."""
    given = {"fill": INK, "class_": "rm-ink", "font_size": size, **attributes}
    return element("text", escape(said), x=x, y=y, **given)


def picture(
    *inner: str, name: str, width: float, height: float, title: str, description: str
) -> str:
    """A whole picture; `name` keeps the ids of several on one page apart."""
    return element(
        "svg",
        element("title", escape(title), id=f"{name}-title"),
        element("desc", escape(description), id=f"{name}-desc"),
        element(
            "rect", width=width, height=height, rx=10, fill=PAPER, class_="rm-paper", stroke="none"
        ),
        *inner,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=width,
        height=height,
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
        font_family=FONT,
        class_="rm-picture",
    )


def sector(begin: float, end: float, *, inner: float, outer: float) -> str:
    """The path of a part of a ring around the origin."""
    end = min(end, begin + _FULL)
    large = int(end - begin > 0.5)  # noqa: PLR2004 – half a turn
    x0, y0 = _at(begin, outer)
    x1, y1 = _at(end, outer)
    x2, y2 = _at(end, inner)
    x3, y3 = _at(begin, inner)
    far, near = number(outer), number(inner)
    return (
        f"M{x0} {y0}A{far} {far} 0 {large} 1 {x1} {y1}"
        f"L{x2} {y2}A{near} {near} 0 {large} 0 {x3} {y3}Z"
    )


def ribbon(x0: float, x1: float, *, left: tuple[float, float], right: tuple[float, float]) -> str:
    """The path of a band from one column's span to another's."""
    middle = number((x0 + x1) / 2)
    a, b, c, d = (number(value) for value in (*left, *right))
    begin, end = number(x0), number(x1)
    return (
        f"M{begin} {a}C{middle} {a} {middle} {c} {end} {c}"
        f"L{end} {d}C{middle} {d} {middle} {b} {begin} {b}Z"
    )


def point(turn: float, radius: float) -> tuple[float, float]:
    """Where an angle is at a distance from the origin."""
    angle = turn * 2 * math.pi
    return radius * math.sin(angle), -radius * math.cos(angle)


def _at(turn: float, radius: float) -> tuple[str, str]:
    x, y = point(turn, radius)
    return number(x), number(y)


def _value(value: object) -> str:
    return number(value) if isinstance(value, float) else escape(str(value))
