"""The ring: outside who owns which slot, inside how much everybody has.

Law: pure.
"""

from __future__ import annotations

from html import escape

from ringmaster_balancer.picture import scene as scenes
from ringmaster_balancer.picture import svg

SIZE = 460.0
_OUTER, _SLOTS = 205.0, 160.0
_DONUT, _HOLE = 152.0, 104.0
_LABELLED = 0.035  # shares below get no label in the donut
_GAP = 0.0012  # of a turn, between two members in the donut
_FADED = 0.28


def draw(scene: scenes.Scene, *, name: str = "ring") -> str:
    """The picture of a ring."""
    body = svg.element(
        "g",
        svg.element("g", *_slots(scene), id=f"{name}-slots"),
        svg.element("g", *_donut(scene), id=f"{name}-donut"),
        *_centre(scene),
        transform=f"translate({svg.number(SIZE / 2)} {svg.number(SIZE / 2 - 6)})",
    )
    return svg.picture(
        _patterns(scene, name),
        body,
        svg.text(
            _legend(scene), x=SIZE / 2, y=SIZE - 8, size=11.5, text_anchor="middle",
            fill=svg.FAINT, class_="rm-faint",
        ),
        name=name,
        width=SIZE,
        height=SIZE,
        title=f"The ring {scene.title}",
        description=scenes.words(scene),
    )  # fmt: skip


def _slots(scene: scenes.Scene) -> list[str]:
    """One path a member: all of its slots."""
    paths: dict[int, list[str]] = {}
    for run in scene.runs:
        paths.setdefault(run.seat, []).append(
            svg.sector(run.begin, run.end, inner=_SLOTS, outer=_OUTER)
        )
    return [_coloured(scene, seat, "".join(parts)) for seat, parts in sorted(paths.items())]


def _donut(scene: scenes.Scene) -> list[str]:
    drawn, begin = [], 0.0
    for index, seat in enumerate(scene.seats):
        end = begin + seat.share
        gap = min(_GAP, seat.share / 4) if len(scene.seats) > 1 else 0.0
        if seat.share > 0:
            path = svg.sector(begin + gap, end - gap, inner=_HOLE, outer=_DONUT)
            drawn.append(_coloured(scene, index, path, outlined=True))
        if seat.share >= _LABELLED and len(seat.id) <= 12:  # noqa: PLR2004 – what fits
            x, y = svg.point((begin + end) / 2, (_DONUT + _HOLE) / 2)
            drawn.append(_label(seat, x, y))
        begin = end
    return drawn


def _label(seat: scenes.Seat, x: float, y: float) -> str:
    """Name and share, white where the colour is full."""
    on_colour: dict[str, object] = {
        "fill": "#ffffff",
        "class_": "rm-label",
        "stroke": "#00000066",
        "stroke_width": 2.4,
        "paint_order": "stroke",
    }
    given = on_colour if seat.serves else {}
    middle: dict[str, object] = {"text_anchor": "middle", **given}
    return svg.text(seat.id, x=x, y=y - 1, size=11, font_weight=600, **middle) + svg.text(
        f"{seat.share:.1%}", x=x, y=y + 12, size=10.5, **middle
    )


def _coloured(scene: scenes.Scene, index: int, path: str, *, outlined: bool = False) -> str:
    """A path in its member's colour, as its state has it; hovering says whose it is."""
    if index < 0:
        return svg.element("path", d=path, fill=svg.LINE, class_="rm-nobody")
    seat = scene.seats[index]
    said = f"{seat.id}: {seat.share:.2%} of the keys, {seat.condition}"
    alarm = outlined and seat.condition == "unhealthy"
    return svg.element(
        "path",
        svg.element("title", escape(said)),
        d=path,
        fill=seat.colour,
        fill_opacity=None if seat.serves else _FADED,
        stroke=svg.ALARM if alarm else None,
        stroke_width=1.4 if alarm else None,
        stroke_dasharray="4 3" if alarm else None,
        data_member=seat.id,
        class_=f"rm-member rm-{seat.condition}",
    )


def _centre(scene: scenes.Scene) -> list[str]:
    serving = sum(seat.serves for seat in scene.seats)
    return [
        svg.text(scene.title, x=0, y=-32, size=15, text_anchor="middle", font_weight=600),
        svg.text(
            f"{serving} of {len(scene.seats)}", x=0, y=0, size=26, text_anchor="middle",
            font_weight=700,
        ),
        svg.text("members serve", x=0, y=19, size=12, text_anchor="middle", fill=svg.FAINT,
                 class_="rm-faint"),
        svg.text(f"{scene.scheme} · {scene.hash}", x=0, y=44, size=12.5, text_anchor="middle"),
        svg.text(f"generation {scene.generation}", x=0, y=61, size=12, text_anchor="middle",
                 fill=svg.FAINT, class_="rm-faint"),
    ]  # fmt: skip


def _legend(scene: scenes.Scene) -> str:
    if scene.sampled:
        shown = f"outside: {scene.sampled} of {scene.slots:,} slots, at equal distances"
    elif scene.scheme == "ketama":
        shown = f"outside: the arcs of {scene.slots:,} points"
    else:
        shown = f"outside: all {scene.slots:,} slots"
    return f"{shown} · inside: shares of the keys"


def _patterns(scene: scenes.Scene, name: str) -> str:
    """Nothing but the outline of an empty ring, when nobody is there."""
    if scene.seats:
        return ""
    return svg.element(
        "circle", cx=SIZE / 2, cy=SIZE / 2 - 6, r=(_DONUT + _HOLE) / 2, fill="none",
        stroke=svg.LINE, stroke_width=_DONUT - _HOLE, class_="rm-nobody", id=f"{name}-empty",
    )  # fmt: skip
