"""Everybody's share beside what is due: a bar each, or of many members a skyline.

Law: pure.
"""

from __future__ import annotations

from html import escape

from ringmaster_balancer.picture import scene as scenes
from ringmaster_balancer.picture import svg

WIDTH = 560.0
_MOST = 24  # bars with names
_ROW, _TOP, _LEFT, _RIGHT = 30.0, 58.0, 128.0, 134.0
_SKYLINE = 220.0
_FADED = 0.28


def height(scene: scenes.Scene) -> float:
    """Of the picture."""
    count = len(scene.seats)
    return _TOP + (_ROW * max(count, 1) if count <= _MOST else _SKYLINE) + 26


def draw(scene: scenes.Scene, *, name: str = "shares") -> str:
    """The picture of the shares."""
    many = len(scene.seats) > _MOST
    return svg.picture(
        svg.text("Shares of the keys", x=20, y=30, size=16, font_weight=600),
        svg.text(_evenness(scene), x=WIDTH - 20, y=30, size=12, text_anchor="end",
                 fill=svg.FAINT, class_="rm-faint"),
        *(_skyline(scene) if many else _bars(scene)),
        name=name,
        width=WIDTH,
        height=height(scene),
        title=f"Shares of the keys in {scene.title}",
        description=scenes.words(scene),
    )  # fmt: skip


def _evenness(scene: scenes.Scene) -> str:
    ratios = [seat.share / seat.ideal for seat in scene.seats if seat.ideal]
    if not ratios:
        return "nobody is in the ring"
    return f"largest {max(ratios):.3f}, smallest {min(ratios):.3f} of what is due"


def _scale(scene: scenes.Scene, length: float) -> float:
    most = max((max(seat.share, seat.ideal) for seat in scene.seats), default=1.0)
    return length / (most or 1.0)


def _bars(scene: scenes.Scene) -> list[str]:
    scale = _scale(scene, WIDTH - _LEFT - _RIGHT)
    return [
        part
        for row, seat in enumerate(scene.seats)
        for part in _bar(seat, y=_TOP + row * _ROW, scale=scale)
    ]


def _bar(seat: scenes.Seat, *, y: float, scale: float) -> list[str]:
    middle = y + 15
    due = _LEFT + seat.ideal * scale
    off = seat.share / seat.ideal - 1 if seat.ideal else 0.0
    alarm = seat.condition == "unhealthy"
    shown = seat.id if len(seat.id) <= 14 else seat.id[:13] + "…"  # noqa: PLR2004 – what fits
    state = "" if seat.condition == "active" else f"  {seat.condition}"
    return [
        svg.text(shown, x=_LEFT - 10, y=middle, size=13, text_anchor="end",
                 font_weight=None if seat.serves else 600),
        svg.element("rect", x=_LEFT, y=y + 1, width=WIDTH - _LEFT - _RIGHT, height=18, rx=3,
                    fill=svg.LINE, fill_opacity=0.35, class_="rm-track"),
        svg.element(
            "rect",
            svg.element("title", escape(f"{seat.id}: {seat.share:.3%}, due {seat.ideal:.3%}")),
            x=_LEFT, y=y + 1, width=seat.share * scale, height=18, rx=3, fill=seat.colour,
            fill_opacity=None if seat.serves else _FADED,
            stroke=svg.ALARM if alarm else None, stroke_dasharray="3 2" if alarm else None,
            class_=f"rm-member rm-{seat.condition}", data_member=seat.id,
        ),
        svg.element("line", x1=due, x2=due, y1=y - 2, y2=y + 22, stroke=svg.INK, stroke_width=1.5,
                    class_="rm-due"),
        svg.text(f"{seat.share:.2%}", x=WIDTH - _RIGHT + 8, y=middle - 1, size=12.5,
                 font_weight=600),
        svg.text(f"{off:+.1%}", x=WIDTH - 20, y=middle - 1, size=11.5, text_anchor="end",
                 fill=svg.FAINT, class_="rm-faint"),
        svg.text(state.strip(), x=_LEFT + 6, y=middle - 1, size=11.5,
                 fill=svg.ALARM if alarm else svg.INK,
                 class_="rm-alarm" if alarm else "rm-ink") if state else "",
    ]  # fmt: skip


def _skyline(scene: scenes.Scene) -> list[str]:
    """Thin columns side by side, the due share as a line across."""
    length = WIDTH - 60
    step = length / len(scene.seats)
    scale = _scale(scene, _SKYLINE - 30)
    ground = _TOP + _SKYLINE - 22
    columns = [
        svg.element(
            "rect",
            svg.element("title", escape(f"{seat.id}: {seat.share:.3%}, {seat.condition}")),
            x=30 + index * step, y=ground - seat.share * scale,
            width=max(step - (1 if step > 3 else 0), 0.4),  # noqa: PLR2004 – room for a gap
            height=seat.share * scale, fill=seat.colour,
            fill_opacity=None if seat.serves else _FADED,
            class_=f"rm-member rm-{seat.condition}", data_member=seat.id,
        )
        for index, seat in enumerate(scene.seats)
    ]  # fmt: skip
    due = "".join(
        f"{'M' if index == 0 else 'L'}{svg.number(30 + index * step)} "
        f"{svg.number(ground - seat.ideal * scale)}"
        f"L{svg.number(30 + (index + 1) * step)} {svg.number(ground - seat.ideal * scale)}"
        for index, seat in enumerate(scene.seats)
    )
    return [
        *columns,
        svg.element("path", d=due, fill="none", stroke=svg.INK, stroke_width=1.2, class_="rm-due"),
        svg.text(scene.seats[0].id, x=30, y=ground + 18, size=11.5, fill=svg.FAINT,
                 class_="rm-faint"),
        svg.text(scene.seats[-1].id, x=WIDTH - 30, y=ground + 18, size=11.5, text_anchor="end",
                 fill=svg.FAINT, class_="rm-faint"),
        svg.text("the line is what is due", x=WIDTH / 2, y=ground + 18, size=11.5,
                 text_anchor="middle", fill=svg.FAINT, class_="rm-faint"),
    ]  # fmt: skip
