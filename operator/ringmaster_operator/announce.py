"""Pushes the full membership to every balancer, and reads back what they hold.

Law: every balancer is asked by itself and all at once; one that is dead costs the others nothing
and is no error here, its view says so. One that was silent for its whole time is asked no more by
those who wait for the answer, but by a thread of its own, until it says something. A balancer that
answers 404 serves another ring and is none of this ServerSet's. Who calls: `reconcile`, from worker
threads.
"""

from __future__ import annotations

import http.cookiejar
import json
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from dataclasses import dataclass, replace
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import requests

from ringmaster_operator import errors, observed

if TYPE_CHECKING:
    from pathlib import Path

    from ringmaster_operator import spec

# 409: it is another ServerSet's by now.
_WITHDRAWN = frozenset(
    {
        requests.codes.ok,
        requests.codes.no_content,
        requests.codes.not_found,
        requests.codes.conflict,
    }
)


@dataclass(frozen=True, slots=True)
class Found:
    """Control addresses of balancers. `sought`: what was looked for, empty if none was named."""

    urls: tuple[str, ...]
    sought: str


_UNCONNECTED, _SILENT, _SLOW = "no connection in time", "no answer in time", "answers too slowly"
_TIMES = frozenset({_UNCONNECTED, _SILENT, _SLOW})  # who says that has let somebody wait

Find = Callable[[observed.Owner, "spec.Balancer"], Found]
_Said = TypeVar("_Said", observed.BalancerView, observed.Judgement)


@dataclass(frozen=True, slots=True)
class Settings:
    """How patient and how trusting to be; times in seconds."""

    connect_seconds: float = 1.0  # a balancer is near: no SYN needs longer
    live_seconds: float = 5.0  # design: live is what answers within 5 s, the body included
    body_bytes: int = 8 * 1024 * 1024  # 10,000 members need about 2 MB
    ca: str | None = None  # who signs the balancers' certificates; else the system's authorities
    parallel: int = 8  # balancers asked at the same time
    # Between two questions to one that is silent: as long as it may be back and count as dead.
    again_seconds: float = 0.1
    forget_seconds: float = 60.0  # until an address that nobody asks for is forgotten


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one balancer said; status 0: nothing in time, `message` says why.

    `asked`: false if we ourselves lacked what it takes, so that its silence means nothing.
    """

    status: int
    body: dict[str, Any]
    message: str = ""
    asked: bool = True

    @property
    def live(self) -> bool:
        """Whether it must be reckoned with: it spoke, or was not asked."""
        return bool(self.status) or not self.asked


@dataclass(slots=True)
class _Line:
    """The connections to one control address. `silent`: it let somebody wait in vain."""

    session: requests.Session
    used: float
    silent: bool = False


def trusting(ca: Path | None) -> Settings:
    """The defaults, with balancers' certificates signed by `ca`."""
    return Settings(ca=str(ca) if ca else None)


def listed(urls: Sequence[str]) -> Find:
    """Find balancers where there is no cluster to ask: the spec's own list, else `urls`."""

    def find(_key: observed.Owner, config: spec.Balancer) -> Found:
        found = tuple(dict.fromkeys(url.rstrip("/") for url in (config.urls or urls)))
        return Found(found, sought=", ".join(found))

    return find


class HttpAnnouncer:
    """`ports.Announcer` over HTTP. `find` tells the control addresses of a set's balancers."""

    def __init__(self, *, find: Find, token: str, settings: Settings | None = None) -> None:
        self._find = find
        self._token = token
        self._settings = settings or Settings()
        self._lines: dict[str, _Line] = {}
        self._lock = Lock()
        self._closed = Event()
        self._pool = futures.ThreadPoolExecutor(
            max_workers=self._settings.parallel, thread_name_prefix="announce"
        )

    def read_back(self, key: observed.Owner, config: spec.Balancer) -> observed.Balancers:
        """Find every balancer and read what it holds; dead ones have `live=False`."""
        return self._each(key, config, self._read)

    def announce(
        self, key: observed.Owner, config: spec.Balancer, document: dict[str, Any]
    ) -> observed.Balancers:
        """Push `document` to every balancer; the views tell who holds what afterwards.

        Raises:
            FencedError: a balancer knows a higher epoch than the document's.
        """
        found = self._each(key, config, lambda url: self._push(url, document))
        for view in found.views:
            if view.epoch > int(document["epoch"]):
                raise errors.FencedError(
                    f"{view.url} knows epoch {view.epoch}, ours is {document['epoch']}"
                )
        return found

    def judge(
        self, key: observed.Owner, config: spec.Balancer, change: dict[str, Any]
    ) -> Sequence[observed.Judgement]:
        """Ask every balancer what a change would do; dead ones have `live=False`."""
        _, said = self._all(key, config, lambda url: self._judge(url, change, uid=key.uid))
        return tuple(replace(judgement, url=url) for url, judgement in said)

    def withdraw(self, key: observed.Owner, config: spec.Balancer) -> None:
        """End the ring on every balancer that answers.

        Raises:
            RetryLater: a live balancer did not confirm.
        """
        found = self._each(key, config, lambda url: self._withdraw(url, uid=key.uid))
        kept = [view for view in found.views if view.live]
        if kept:
            raise errors.RetryLater(f"{kept[0].url} keeps the ring: {kept[0].message}")

    def close(self) -> None:
        """Give back threads and connections."""
        self._closed.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            for line in self._lines.values():
                line.session.close()

    def _each(
        self,
        key: observed.Owner,
        config: spec.Balancer,
        ask: Callable[[str], observed.BalancerView | None],
    ) -> observed.Balancers:
        found, said = self._all(key, config, ask)
        views = tuple(replace(_ours(view, key), url=url) for url, view in said)
        return observed.Balancers(views, missing="" if views else _missing(found, key))

    def _all(
        self, key: observed.Owner, config: spec.Balancer, ask: Callable[[str], _Said | None]
    ) -> tuple[Found, list[tuple[str, _Said]]]:
        """What was found, and what every balancer of this ring said, by its control address."""
        path = f"/v1/rings/{key.namespace}/{key.name}"
        found = self._find(key, config)
        said = zip(found.urls, self._pool.map(ask, [url + path for url in found.urls]), strict=True)
        return found, [(url, each) for url, each in said if each is not None]

    def _read(self, url: str) -> observed.BalancerView | None:
        answer = self._ask("GET", url)
        return None if answer.status == requests.codes.not_found else _view(url, answer)

    def _push(self, url: str, document: dict[str, Any]) -> observed.BalancerView | None:
        pushed = self._ask("PUT", url, document)
        if pushed.status == requests.codes.not_found:
            return None
        if not pushed.status:
            return _view(url, pushed)
        # The answer to a push has no members, and a refusal not always what is held instead.
        held = self._ask("GET", url)
        if pushed.status != requests.codes.ok:
            refused = str(pushed.body.get("reason", ""))
            known = _tells(held)
            view = replace(_view(url, held), live=True, known=known)
            return replace(view, message=_said(pushed), refused=refused)
        view = _view(url, pushed)
        source = str(held.body.get("source", ""))
        known = _tells(held)
        return replace(view, members=_members(held.body), source=source, known=known)

    def _judge(self, url: str, change: dict[str, Any], *, uid: str) -> observed.Judgement | None:
        answer = self._ask("POST", f"{url}/plan", change)
        holder = answer.body.get("uid", "")
        if answer.status == requests.codes.not_found or holder not in {"", uid}:
            return None  # it serves another ring, or another set's: nothing moves in ours
        if answer.status == requests.codes.ok:
            return _judgement(url, answer.body)
        refused = str(answer.body.get("reason") or "Refused") if answer.live else ""
        message = str(answer.body.get("message") or _said(answer))
        return observed.Judgement(url=url, live=answer.live, refused=refused, message=message)

    def _withdraw(self, url: str, *, uid: str) -> observed.BalancerView | None:
        answer = self._ask("DELETE", f"{url}?uid={quote(uid, safe='')}")
        if answer.status in _WITHDRAWN:
            return None
        return observed.BalancerView(url=url, live=answer.live, message=_said(answer))

    def _ask(self, method: str, url: str, document: dict[str, Any] | None = None) -> _Answer:
        line = self._line(url)
        if line.silent:
            return _Answer(status=0, body={}, message=_SILENT)
        answer = self._answer(line, method, url, document)
        if answer.message in _TIMES and not self._closed.is_set():
            self._wait_for(line, url)
        return answer

    def _answer(
        self, line: _Line, method: str, url: str, document: dict[str, Any] | None
    ) -> _Answer:
        try:
            try:
                return self._once(line, method, url, document)
            except requests.ConnectionError as error:
                if isinstance(error, requests.Timeout):
                    raise
                # A kept connection that the other side closed this moment; all three methods
                # are idempotent, so once more on a fresh one.
                return self._once(line, method, url, document)
        except requests.RequestException as error:
            lacking = errors.shortage(error)
            if lacking:
                return _Answer(0, {}, f"could not be asked: no {lacking} left here", asked=False)
            return _Answer(status=0, body={}, message=_reason(error))

    def _wait_for(self, line: _Line, url: str) -> None:
        with self._lock:
            if line.silent:
                return
            line.silent = True
        # A daemon: an ending operator does not wait for it.
        asking = Thread(target=self._until_it_speaks, args=(line, url), name="silent", daemon=True)
        try:
            asking.start()
        except RuntimeError:  # no thread to be had: whoever looks next asks again
            line.silent = False

    def _until_it_speaks(self, line: _Line, url: str) -> None:
        """Ask a silent balancer for its ring until it answers, or nobody wants to know any more.

        There is nearly always a question under way, which it answers the moment that it is back.
        """
        url = url.partition("?")[0]
        try:
            while self._answer(line, "GET", url, None).message in _TIMES and self._wanted(line):
                if self._closed.wait(self._settings.again_seconds):
                    break
        finally:
            line.silent = False

    def _wanted(self, line: _Line) -> bool:
        return time.monotonic() - line.used < self._settings.forget_seconds

    def _once(self, line: _Line, method: str, url: str, document: dict[str, Any] | None) -> _Answer:
        deadline = time.monotonic() + self._settings.live_seconds
        response = line.session.request(
            method,
            url,
            json=document,
            headers={"Authorization": f"Bearer {self._token}"},
            timeout=(self._settings.connect_seconds, self._settings.live_seconds),
            allow_redirects=False,  # the token goes to the balancer that was found, nowhere else
            stream=True,
        )
        with response:
            return self._bounded(response, deadline)

    def _bounded(self, response: requests.Response, deadline: float) -> _Answer:
        raw = bytearray()
        for piece in response.iter_content(65_536):
            raw += piece
            if len(raw) > self._settings.body_bytes:
                return _Answer(status=0, body={}, message="answers without end")
            if time.monotonic() > deadline:
                return _Answer(status=0, body={}, message=_SLOW)
        try:
            body = json.loads(raw) if raw else {}
        except ValueError:
            body = {}
        return _Answer(response.status_code, body if isinstance(body, dict) else {})

    def _line(self, url: str) -> _Line:
        origin = url.split("/v1/", 1)[0]
        now = time.monotonic()
        with self._lock:
            line = self._lines.get(origin)
            if line is None:
                self._forget()
                line = self._lines[origin] = _Line(_new_session(self._settings.ca), now)
            line.used = now
            return line

    def _forget(self) -> None:
        """Balancers come and go with addresses of their own."""
        for origin in [each for each, line in self._lines.items() if not self._wanted(line)]:
            self._lines.pop(origin).session.close()


def _new_session(ca: str | None) -> requests.Session:
    """A session without ambient state: no proxy or .netrc from the environment, no cookies.

    Threads may share it then: nothing of it changes but urllib3's pool, which has a lock.
    """
    session = requests.Session()
    session.trust_env = False
    session.verify = ca or True
    session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
    return session


def _missing(found: Found, key: observed.Owner) -> str:
    """Why nobody spoke of this ring."""
    if found.urls:
        return f"{found.sought} serves another ring than {key.namespace}/{key.name}"
    return found.sought


def _ours(view: observed.BalancerView, key: observed.Owner) -> observed.BalancerView:
    """What a balancer holds of this very ServerSet.

    Epochs are compared among one set's operators only: another set of the same name is no fence.
    """
    if view.holder in {"", key.uid}:
        return replace(view, holder="")
    return replace(view, epoch=0, generation=0, checksum="", source="", members={})


def _view(url: str, answer: _Answer) -> observed.BalancerView:
    if answer.status != requests.codes.ok:
        live = answer.live
        return observed.BalancerView(url=url, live=live, known=not live, message=_said(answer))
    body = answer.body
    return observed.BalancerView(
        url=url,
        live=True,
        boot_id=str(body.get("bootId", "")),
        epoch=_integer(body.get("epoch")),
        # Not confirmed is not held: it will be pushed, and waited for, once more.
        generation=_integer(body.get("generation")) if _confirmed(body) else 0,
        checksum=str(body.get("checksum", "")),
        source=str(body.get("source", "")),
        members=_members(body),
        known=_tells(answer),
        holder=str(body.get("uid", "")),
    )


def _judgement(url: str, body: dict[str, Any]) -> observed.Judgement:
    traffic = body.get("traffic") or {}
    return observed.Judgement(
        url=url,
        live=True,
        moved=float(body.get("moved") or 0),
        exact=bool(body.get("exact")),
        requests=_integer(traffic.get("requests")),
        requests_moved=float(traffic.get("moved") or 0),
    )


def _confirmed(body: dict[str, Any]) -> bool:
    """Whether every worker of the balancer serves what it holds; the answer to a push says so."""
    return body.get("confirmed", True) is not False


def _tells(answer: _Answer) -> bool:
    """Whether a live balancer says what it holds. What is no such document may be anybody's."""
    return answer.status == requests.codes.ok and isinstance(answer.body.get("members"), list)


def _members(body: dict[str, Any]) -> dict[str, observed.HeldMember]:
    entries = body.get("members")
    held = [entry for entry in entries if isinstance(entry, dict)] if entries else []
    return {
        str(entry.get("replica", "")): observed.HeldMember(
            replica=str(entry.get("replica", "")),
            state=str(entry.get("state", "")) if _confirmed(body) else "unconfirmed",
            healthy=bool(entry.get("healthy", False)),
            in_flight=_integer(entry.get("inFlight")),
        )
        for entry in held
    }


def _integer(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _said(answer: _Answer) -> str:
    """One line about an answer that was no success."""
    if not answer.status:
        return answer.message
    said = answer.body.get("message") or answer.body.get("error") or answer.body.get("faults")
    known = {
        401: "refuses the token",
        409: "holds a newer membership, or another ServerSet's",
        422: "refuses the membership",
        503: "its workers have not confirmed",
    }
    words = known.get(answer.status, "answers unexpectedly")
    return f"{words} ({answer.status})" + (f": {said}" if said else "")


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.ConnectTimeout):
        return _UNCONNECTED
    if isinstance(error, requests.Timeout):
        return _SILENT
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return f"no usable answer: {type(error).__name__}"
