"""The lab rules over HTTP, for the balancer's control process: `/lab/v1/…/add`, `/rm`, `/rep`.

Law: one atomic change of the ServerSet, then patience: the answer comes when the ring shows what
was asked for, or after a minute with the counts; the spec stays either way. Two requests at once
both take effect, because each change is made from the document as it then is. The runtime is asked
before the change and never inside it: whatever an engine takes, the store goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from ringmaster_operator import conditions, errors
from ringmaster_operator.api import asking, bodies, lab, problems, views, wakeups

Document = dict[str, Any]
Replicas = Callable[[str, str], Sequence[views.ReplicaView]]
# Why a runtime cannot call a replica so, or nothing.
NameFault = Callable[[str], str]

# A write wakes us up; what changes without one (who exactly is in the ring) is seen this late.
_LOOK_SECONDS = 0.5


class _OvertakenError(errors.RetryLater):
    """The spec has changed since its replicas were looked at: a name may be theirs by now."""


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
        threads: asking.Threads | None = None,
    ) -> None:
        self._sets = sets
        self._replicas = replicas
        self._name_fault = name_fault
        self._seconds = seconds
        self._threads = threads or asking.Threads()

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
        reached = lab.is_added if more else lab.is_removed
        wakeup = wakeups.Wakeup(self._sets)
        try:
            wish = await asyncio.to_thread(lab.parse, await request.read(), more=more)
            deadline = asyncio.get_running_loop().time() + self._seconds
            fresh = await self._wished(namespace, name, wish, wakeup, deadline, more=more)
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

    async def _wished(
        self,
        namespace: str,
        name: str,
        wish: lab.Request,
        wakeup: wakeups.Wakeup,
        deadline: float,
        *,
        more: bool,
    ) -> Document:
        """The ServerSet with what was asked for; a name whose last bearer goes is waited for."""
        rule = lab.added if more else lab.removed
        now = asyncio.get_running_loop().time
        while True:
            before, seen = await self._look(namespace, name)
            if before is None:
                raise errors.NotFoundError(name)
            try:
                await asyncio.to_thread(rule, before, wish, seen)
                if more:
                    await self._refuse_names(wish)
                change = _current(rule, before, wish, seen)
                return await asyncio.to_thread(self._sets.update, namespace, name, change)
            except _OvertakenError:
                if now() >= deadline:
                    raise
            except lab.NotYetError:
                if now() >= deadline:
                    raise
                await wakeup.wait(min(_LOOK_SECONDS, deadline - now()))

    async def _refuse_names(self, wish: lab.Request) -> None:
        """400 for what the runtime cannot call a replica."""
        for name in wish.names:
            if fault := await self._threads.ask(self._name_fault, name):
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
            vain = _in_vain(document, goal, seen)
            if vain is not None and await self._is_current(namespace, name, document):
                return web.json_response(vain, status=409)
            if now() >= deadline:
                return web.json_response(_late(document, seen, self._seconds), status=504)
            await wakeup.wait(min(_LOOK_SECONDS, deadline - now()))

    async def _is_current(self, namespace: str, name: str, document: Document) -> bool:
        """Whether the replicas, which were looked at later, are those of this very document."""
        now = await asyncio.to_thread(self._sets.get, namespace, name)
        return now == document

    async def _look(
        self, namespace: str, name: str
    ) -> tuple[Document | None, Sequence[views.ReplicaView]]:
        document = await asyncio.to_thread(self._sets.get, namespace, name)
        return document, await self._threads.ask(self._replicas, namespace, name)


def _current(
    rule: Callable[[Document, lab.Request, Sequence[views.ReplicaView]], Document],
    before: Document,
    wish: lab.Request,
    seen: Sequence[views.ReplicaView],
) -> Callable[[Document], Document]:
    """The rule as a change that is made of what was looked at, where names are at stake."""

    def change(now: Document) -> Document:
        if wish.names and _generation(now) != _generation(before):
            raise _OvertakenError("the ServerSet is being changed all the time")
        return rule(now, wish, seen)

    return change


def _generation(document: Document) -> int | None:
    generation: int | None = document["metadata"].get("generation")
    return generation


def _key(request: web.Request) -> tuple[str, str]:
    return request.match_info["namespace"], request.match_info["name"]


def _gone(namespace: str, name: str) -> web.Response:
    return web.json_response(
        lab.failure(f"ServerSet {namespace}/{name} does not exist"), status=404
    )


def _in_vain(document: Document, goal: _Goal, seen: Sequence[views.ReplicaView]) -> Document | None:
    """The answer to a wish that is not worth waiting for."""
    if goal.more and (name := lab.unused(document, goal.request, seen, wanted=goal.count)):
        return _overtaken(document, name)
    if why := lab.held(document, seen):
        return lab.failure(f"The change is held back: {why}; the wish stays until then")
    return None


def _overtaken(document: Document, name: str) -> Document:
    return lab.failure(
        f"The ServerSet was scaled to {document['spec']['replicas']} meanwhile; "
        f"Hostname '{name}' waits for the next server that is added"
    )


def _late(document: Document, seen: Sequence[views.ReplicaView], seconds: float) -> Document:
    active, wanted = len(lab.serving(seen)), document["spec"]["replicas"]
    troubles = conditions.troubles(document)
    why = f" ({'; '.join(troubles)})" if troubles else ""
    return lab.failure(
        f"{active} servers serve after {seconds:g} s where {wanted} are wanted; "
        f"the wish stays, the rest follows{why}"
    )
