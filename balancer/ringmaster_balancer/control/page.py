"""The page for people on the control port: the ring as pictures, with live counts.

Law: edge, read-only. It needs no token: it tells what `/metrics` tells, names, states and counts,
no secret, and nothing can be changed through it. It loads nothing from elsewhere, and neither may
a browser on its behalf. Who calls: `api`, once, and for the key that is asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import flask
import markupsafe
import werkzeug.exceptions

from ringmaster_balancer.control import keeper, metrics, store
from ringmaster_balancer.dataplane import keys
from ringmaster_balancer.picture import change as changes
from ringmaster_balancer.picture import ring, shares, sheet
from ringmaster_balancer.picture import scene as scenes
from ringmaster_balancer.ring import comparison

T = TypeVar("T")

# Nothing from elsewhere, no inline code, in nobody's frame.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Call(Protocol):
    """Runs a coroutine on the control process' event loop, from a thread of the web server."""

    def __call__(self, coroutine: Coroutine[Any, Any, T], /) -> T:
        """Its result, or its exception."""
        ...


@dataclass(slots=True)
class _Kept:
    """The last comparison and scene: they are asked for more often than they change."""

    change: tuple[tuple[int, int], comparison.Comparison] | None = None
    scene: tuple[Any, scenes.Scene] | None = None


class Page:
    """What the page shows of one ring."""

    def __init__(self, title: str, *, keep: keeper.Keeper, call: Call) -> None:
        self._title = title
        self._keep = keep
        self._call = call
        self._kept = _Kept()

    def scene(self) -> scenes.Scene | None:
        """The ring of this moment; None without one."""
        current = self._keep.current()
        if current is None:
            return None
        healthy = self._keep.healthy()
        of = (current.table_version, current.membership.version, tuple(sorted(healthy.items())))
        kept = self._kept.scene
        if kept is not None and kept[0] == of:
            return kept[1]
        scene = scenes.of(
            current.table, title=self._title, membership=current.membership, healthy=healthy
        )
        self._kept.scene = (of, scene)
        return scene

    def change(self) -> changes.Change | None:
        """What the last change of the table has moved; None if it was the first one."""
        current = self._keep.current()
        if current is None or current.earlier is None:
            return None
        found = self._compared(current, current.earlier)
        return changes.Change(
            title=self._title,
            labels=(f"generation {current.earlier.generation}", f"generation {current.since}"),
            before=found.before,
            after=found.after,
            moves=found.moves,
            needless=found.needless,
            exact=found.exact,
        )

    def live(self) -> dict[str, Any]:
        """Everything that changes, for the page to ask for once a second."""
        numbers = self._call(self._keep.numbers())
        scene = self.scene()
        seats = {seat.id: seat for seat in scene.seats} if scene else {}
        return {
            "ring": self._title,
            "version": _version(self._keep.current(), scene),
            "summary": scenes.summary(scene) if scene else "No membership is held",
            "workers": [numbers.workers, numbers.workers_expected],
            "source": str(numbers.held.source) if numbers.held else "",
            "members": [{**each, **_seat(seats.get(each["id"]))} for each in _members(numbers)],
        }

    def where(self, key: bytes) -> dict[str, Any]:
        """Where a key goes, and why."""
        found = self._keep.explain(key)
        if found is None:
            werkzeug.exceptions.abort(503, "no membership is held")
        return found

    def _compared(self, current: store.Current, earlier: store.Earlier) -> comparison.Comparison:
        of = (current.table_version, current.since)
        kept = self._kept.change
        if kept is not None and kept[0] == of:
            return kept[1]
        found = comparison.compare(earlier.table, current.table, same_keys=earlier.same_keys)
        self._kept.change = (of, found)
        return found


def blueprint(title: str, *, keep: keeper.Keeper, call: Call) -> flask.Blueprint:
    """The page's routes."""
    views = flask.Blueprint(
        "page", __name__, template_folder="templates", static_folder="static",
        static_url_path="/static",
    )  # fmt: skip
    page = Page(title, keep=keep, call=call)

    @views.get("/")
    def show() -> Any:
        drawn = {part: markupsafe.Markup(_picture(page, part)) for part in _DRAWN}  # noqa: S704 – our own SVG, its texts escaped
        return flask.render_template("page.html", live=page.live(), title=title, **drawn)

    @views.get("/page.json")
    def live() -> Any:
        return page.live()

    @views.get("/where.json")
    def where() -> Any:
        return page.where(asked_key())

    @views.get("/picture/<part>.svg")
    def picture(part: str) -> Any:
        if part not in {*_DRAWN, "sheet"}:
            werkzeug.exceptions.abort(404, f"pictures are {', '.join(_DRAWN)} and sheet")
        return flask.Response(_picture(page, part), content_type="image/svg+xml; charset=utf-8")

    @views.after_request
    def harden(response: flask.Response) -> flask.Response:
        response.headers.update(_HEADERS)
        return response

    return views


def asked_key() -> bytes:
    """The key that the request in hand asks about, byte for byte; without one it ends with 400."""
    key = keys.parameter(flask.request.query_string, b"key")
    if not key:
        werkzeug.exceptions.abort(400, "name the key, which is not empty: ?key=…")
    return key


def _ring(page: Page) -> str:
    return _drawn(page.scene(), ring.draw)


def _shares(page: Page) -> str:
    return _drawn(page.scene(), shares.draw)


def _change(page: Page) -> str:
    change = page.change()
    return changes.draw(change) if change else ""


def _sheet(page: Page) -> str:
    change = page.change()
    return _drawn(page.scene(), lambda scene: sheet.draw(scene, change))


def _drawn(scene: scenes.Scene | None, draw: Callable[[scenes.Scene], str]) -> str:
    return draw(scene) if scene else ""


_DRAWN: Mapping[str, Callable[[Page], str]] = {
    "ring": _ring,
    "shares": _shares,
    "change": _change,
}


def _picture(page: Page, part: str) -> str:
    return {**_DRAWN, "sheet": _sheet}[part](page)


def _version(current: store.Current | None, scene: scenes.Scene | None) -> str:
    """Changes when a picture would."""
    if current is None or scene is None:
        return ""
    states = "".join(seat.condition[0] for seat in scene.seats)
    return f"{current.table_version}.{current.membership.generation}.{states}"


def _seat(seat: scenes.Seat | None) -> dict[str, Any]:
    if seat is None:
        return {"share": 0.0, "ideal": 0.0, "colour": "#888888"}
    return {"share": seat.share, "ideal": seat.ideal, "colour": seat.colour}


def _members(numbers: metrics.Numbers) -> list[dict[str, Any]]:
    """One entry a replica, in the natural order of ids."""
    counts = {
        (each["id"], each["replica"], each["address"]): each
        for each in numbers.stats.get("members", ())
    }
    held = numbers.held.membership.members if numbers.held else ()
    return [
        {
            "id": member.id,
            "replica": member.replica,
            "address": member.address or "",
            "state": _state(str(member.state), healthy=numbers.healthy.get(member.replica, False)),
            "inFlight": numbers.in_flight.get(member.replica, 0),
            **_counts(counts.get((member.id, member.replica, member.address))),
        }
        for member in sorted(held, key=lambda member: scenes.natural(member.id))
    ]


def _state(state: str, *, healthy: bool) -> str:
    return "unhealthy" if state == "active" and not healthy else state


def _counts(counted: Mapping[str, Any] | None) -> dict[str, int]:
    if counted is None:
        return {"requests": 0, "failures": 0}
    return {"requests": sum(counted["codes"].values()), "failures": counted["failures"]}
