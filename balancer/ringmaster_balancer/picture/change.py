"""The difference of two rings: everybody's share before and after, and what moves between.

Law: pure. Of few members the whole key space is drawn, what stays faintly; of many only what moves,
those with little of it as one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from ringmaster_balancer.picture import scene as scenes
from ringmaster_balancer.picture import svg

WIDTH, HEIGHT = 560.0, 360.0
_TOP, _BOTTOM = 78.0, 26.0
_LEFT, _RIGHT, _COLUMN = 120.0, 440.0, 22.0
_GAP = 5.0
_MOST = 14  # members that are drawn by themselves
_NOBODY = "nobody"
_SMALL = 0.01  # shares below are told with two decimals

Pair = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class Change:
    """Shares 0 to 1; `moves` from whom to whom, None is nobody; `exact`, or to be expected."""

    title: str
    labels: tuple[str, str]
    before: Mapping[str, float]
    after: Mapping[str, float]
    moves: Mapping[Pair, float]
    needless: float
    exact: bool

    @property
    def moved(self) -> float:
        """What leaves a member."""
        return sum(share for (source, _), share in self.moves.items() if source is not None)


def draw(change: Change, *, name: str = "change") -> str:
    """The picture of a change."""
    flows, names = _flows(change)
    colours = scenes.colours(list({*change.before, *change.after}))
    drawn = _drawn(flows, names, colours)
    return svg.picture(
        svg.text("What moved", x=20, y=30, size=16, font_weight=600),
        svg.text(_said(change), x=WIDTH - 20, y=30, size=12, text_anchor="end", fill=svg.FAINT,
                 class_="rm-faint"),
        svg.text(change.labels[0], x=_LEFT, y=60, size=12, text_anchor="middle"),
        svg.text(change.labels[1], x=_RIGHT, y=60, size=12, text_anchor="middle"),
        *drawn,
        name=name,
        width=WIDTH,
        height=HEIGHT,
        title=f"What moved in {change.title}",
        description=words(change),
    )  # fmt: skip


def words(change: Change) -> str:
    """The change for those who do not see it."""
    moves = sorted(change.moves.items(), key=lambda move: -move[1])
    listed = "; ".join(
        f"{share:.2%} from {source or _NOBODY} to {target or _NOBODY}"
        for (source, target), share in moves[:50]
    )
    return f"From {change.labels[0]} to {change.labels[1]}: {_said(change)}. {listed or 'Nothing'}."


def _said(change: Change) -> str:
    how = "" if change.exact else "about "
    return f"{how}{change.moved:.1%} of the keys, {how}{change.needless:.1%} needlessly"


def _flows(change: Change) -> tuple[dict[tuple[str, str], float], list[str]]:
    """The key space as flows between at most so many names; of few members with what stays."""
    ids = sorted({*change.before, *change.after}, key=scenes.natural)
    names = {each: each for each in ids}
    if len(ids) > _MOST:
        weight = {
            each: sum(share for pair, share in change.moves.items() if each in pair) for each in ids
        }
        keep = set(sorted(ids, key=lambda each: -weight[each])[: _MOST - 1])
        rest = f"{len(ids) - len(keep)} others"
        names = {each: each if each in keep else rest for each in ids}
    flows: dict[tuple[str, str], float] = {}
    for (source, target), share in change.moves.items():
        pair = (names.get(source or "", _NOBODY), names.get(target or "", _NOBODY))
        flows[pair] = flows.get(pair, 0.0) + share
    for each in ids if len(ids) <= _MOST else ():
        left = sum(share for (source, _), share in change.moves.items() if source == each)
        stays = change.before.get(each, 0.0) - left
        if stays > 0:
            flows[names[each], names[each]] = flows.get((names[each], names[each]), 0.0) + stays
    order = list(dict.fromkeys(names[each] for each in ids if names[each] == each))
    order += [each for each in dict.fromkeys(names.values()) if each not in order]
    if any(_NOBODY in pair for pair in flows):
        order.append(_NOBODY)
    return flows, order


def _drawn(
    flows: Mapping[tuple[str, str], float], names: list[str], colours: Mapping[str, str]
) -> list[str]:
    room = HEIGHT - _TOP - _BOTTOM
    left = _spans(
        {each: sum(s for (a, _), s in flows.items() if a == each) for each in names}, room
    )
    right = _spans(
        {each: sum(s for (_, b), s in flows.items() if b == each) for each in names}, room
    )
    scale_left, scale_right = _scale(left), _scale(right)
    if not flows:
        return [
            svg.text("nothing moved", x=(_LEFT + _RIGHT) / 2, y=HEIGHT / 2, text_anchor="middle")
        ]
    at_left = {each: span[0] for each, span in left.items()}
    at_right = {each: span[0] for each, span in right.items()}
    bands = []
    for source in names:
        for target in names:
            share = flows.get((source, target), 0.0)
            if share <= 0:
                continue
            y0, y1 = at_left[source], at_left[source] + share * scale_left
            z0, z1 = at_right[target], at_right[target] + share * scale_right
            at_left[source], at_right[target] = y1, z1
            bands.append(_band((source, target), share, (y0, y1), (z0, z1), colours))
    columns = [
        part
        for x, spans, anchor in ((_LEFT, left, "end"), (_RIGHT, right, "start"))
        for each, (begin, end, share) in spans.items()
        if share > 0
        for part in _column(each, share, x=x, begin=begin, end=end, anchor=anchor, colours=colours)
    ]
    return [*bands, *columns]


def _spans(shares: Mapping[str, float], room: float) -> dict[str, tuple[float, float, float]]:
    """Where each begins and ends in a column, one below the other."""
    there = [each for each, share in shares.items() if share > 0]
    scale = (room - _GAP * max(len(there) - 1, 0)) / (sum(shares.values()) or 1.0)
    y, spans = _TOP, {}
    for each in there:
        end = y + shares[each] * scale
        spans[each] = (y, end, shares[each])
        y = end + _GAP
    return spans


def _scale(spans: Mapping[str, tuple[float, float, float]]) -> float:
    total = sum(share for _, _, share in spans.values())
    return sum(end - begin for begin, end, _ in spans.values()) / total if total else 0.0


def _band(
    pair: tuple[str, str],
    share: float,
    left: tuple[float, float],
    right: tuple[float, float],
    colours: Mapping[str, str],
) -> str:
    source, target = pair
    stays = source == target
    said = f"{source} keeps {share:.2%}" if stays else f"{source} → {target}: {share:.2%}"
    return svg.element(
        "path",
        svg.element("title", escape(said)),
        d=svg.ribbon(_LEFT + _COLUMN / 2, _RIGHT - _COLUMN / 2, left=left, right=right),
        fill=colours.get(source if stays else target, svg.FAINT),
        fill_opacity=0.13 if stays else 0.55,
        class_="rm-stays" if stays else "rm-moves",
    )


def _column(
    each: str, share: float, *, x: float, begin: float, end: float, anchor: str,
    colours: Mapping[str, str],
) -> list[str]:  # fmt: skip
    side = -1 if anchor == "end" else 1
    label = x + side * (_COLUMN / 2 + 8)
    middle = (begin + end) / 2 + 4
    shown = each if len(each) <= 12 else each[:11] + "…"  # noqa: PLR2004 – what fits
    return [
        svg.element("rect", x=x - _COLUMN / 2, y=begin, width=_COLUMN, height=max(end - begin, 0.6),
                    rx=2, fill=colours.get(each, svg.FAINT)),
        svg.text(f"{shown} {share:.1%}" if share >= _SMALL else f"{shown} {share:.2%}", x=label, y=middle, size=11.5, text_anchor=anchor)
        if end - begin > 9 else "",  # noqa: PLR2004 – the height of a line
    ]  # fmt: skip
