"""The lab rules over HTTP, for the balancer's control process: `/lab/v1/…/add`, `/rm`, `/rep`.

Law: one atomic change of the ServerSet, then patience: the answer comes when the ring shows what
was asked for, or after a minute with the counts; the spec stays either way. Two requests at once
both take effect, because each change is made from the document as it then is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from ringmaster_operator import errors
from ringmaster_operator.api import bodies, lab, problems, views, wakeups

Document = dict[str, Any]
Replicas = Callable[[str, str], Sequence[views.ReplicaView]]
# Why a runtime cannot call a replica so, or nothing.
NameFault = Callable[[str], str]

# A write wakes us up; what changes without one (who exactly is in the ring) is seen this late.
_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class _Goal:
    """What a request waits for."""

    request: lab.Request
    count: int
    reached: Callable[..., bool]
    more: bool


class Lab:
    """The three routes. `seconds` bounds how long an answer waits."""

    def __init__(
        self,
        sets: lab.Sets,
        replicas: Replicas,
        *,
        name_fault: NameFault = lambda _name: "",
        seconds: float = lab.SECONDS,
    ) -> None:
        self._sets = sets
        self._replicas = replicas
        self._name_fault = name_fault
        self._seconds = seconds

    def routes(self) -> list[web.RouteDef]:
        """To be added to an application."""
        base = "/lab/v1/namespaces/{namespace}/serversets/{name}"
        return [
            web.get(f"{base}/rep", self.rep),
            web.post(f"{base}/add", self.add),
            web.post(f"{base}/rm", self.rm),
        ]

    async def rep(self, request: web.Request) -> web.Response:
        """Who serves now."""
        namespace, name = _key(request)
        document, seen = await self._look(namespace, name)
        return _gone(namespace, name) if document is None else web.json_response(lab.answer(seen))

    async def add(self, request: web.Request) -> web.Response:
        """More servers."""
        return await self._change(request, more=True)

    async def rm(self, request: web.Request) -> web.Response:
        """Fewer servers."""
        return await self._change(request, more=False)

    async def _change(self, request: web.Request, *, more: bool) -> web.Response:
        if request.content_type != bodies.JSON:
            raise problems.media_type((bodies.JSON,))
        namespace, name = _key(request)
        rule, reached = (lab.added, lab.is_added) if more else (lab.removed, lab.is_removed)
        wakeup = wakeups.Wakeup(self._sets)
        try:
            wish = lab.parse(await request.read(), more=more)

            def change(now: Document) -> Document:
                fresh = rule(now, wish, self._replicas(namespace, name))
                if more:
                    self._refuse_names(wish)
                return fresh

            deadline = asyncio.get_running_loop().time() + self._seconds
            fresh = await self._update(namespace, name, change, wakeup, deadline)
            goal = _Goal(wish, count=fresh["spec"]["replicas"], reached=reached, more=more)
            return await self._outcome(namespace, name, goal, wakeup, deadline)
        except lab.LabError as error:
            return web.json_response(lab.failure(str(error)), status=400)
        except errors.NotFoundError:
            return _gone(namespace, name)
        except errors.RetryLater as error:
            return web.json_response(lab.failure(str(error)), status=503)
        finally:
            wakeup.close()

    async def _update(
        self,
        namespace: str,
        name: str,
        change: Callable[[Document], Document],
        wakeup: wakeups.Wakeup,
        deadline: float,
    ) -> Document:
        """Make the change; a name whose last bearer is about to be gone is waited for."""
        now = asyncio.get_running_loop().time
        while True:
            try:
                return await asyncio.to_thread(self._sets.update, namespace, name, change)
            except lab.NotYetError:
                if now() >= deadline:
                    raise
            await wakeup.wait(min(_LOOK_SECONDS, deadline - now()))

    def _refuse_names(self, wish: lab.Request) -> None:
        """400 for what the runtime cannot call a replica."""
        for name in wish.names:
            if fault := self._name_fault(name):
                raise lab.LabError(f"Hostname '{name}' is {fault}")

    async def _outcome(
        self, namespace: str, name: str, goal: _Goal, wakeup: wakeups.Wakeup, deadline: float
    ) -> web.Response:
        """Wait for the goal."""
        now = asyncio.get_running_loop().time
        while True:
            document, seen = await self._look(namespace, name)
            if document is None:
                return _gone(namespace, name)
            if goal.reached(document, goal.request, seen, wanted=goal.count):
                return web.json_response(lab.answer(seen))
            if goal.more and (
                name_left := lab.unused(document, goal.request, seen, wanted=goal.count)
            ):
                return web.json_response(_overtaken(document, name_left), status=409)
            if now() >= deadline:
                return web.json_response(_late(document, seen, self._seconds), status=504)
            await wakeup.wait(min(_LOOK_SECONDS, deadline - now()))

    async def _look(
        self, namespace: str, name: str
    ) -> tuple[Document | None, Sequence[views.ReplicaView]]:
        document = await asyncio.to_thread(self._sets.get, namespace, name)
        return document, await asyncio.to_thread(self._replicas, namespace, name)


def _key(request: web.Request) -> tuple[str, str]:
    return request.match_info["namespace"], request.match_info["name"]


def _gone(namespace: str, name: str) -> web.Response:
    return web.json_response(
        lab.failure(f"ServerSet {namespace}/{name} does not exist"), status=404
    )


def _overtaken(document: Document, name: str) -> Document:
    return lab.failure(
        f"The ServerSet was scaled to {document['spec']['replicas']} meanwhile; "
        f"Hostname '{name}' waits for the next server that is added"
    )


def _late(document: Document, seen: Sequence[views.ReplicaView], seconds: float) -> Document:
    active, wanted = len(lab.serving(seen)), document["spec"]["replicas"]
    return lab.failure(
        f"{active} servers serve after {seconds:g} s where {wanted} are wanted; "
        "the wish stays, the rest follows"
    )
