"""What the operator serves on a cluster: its health, and the lab routes for the balancers.

Law: ServerSets are the API server's business, nothing here serves them. Whoever is not the kubelet
asking for the health bears the token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web
from aiohttp.typedefs import Handler

from ringmaster_operator.api import asking, bodies, guard, lab, lab_routes


def make_app(
    sets: lab.Sets,
    replicas: lab_routes.Replicas,
    *,
    token: str,
    alive: Callable[[], bool],
    ready: Callable[[], bool],
    name_fault: lab_routes.NameFault = lambda _name: "",
) -> web.Application:
    """The application; `alive` and `ready` are asked in threads."""
    app = web.Application(
        middlewares=[guard.statuses, guard.bearer(token)], client_max_size=bodies.MAX_BYTES
    )
    app.add_routes(
        [
            web.get("/healthz", _health(alive, "no reconcile has succeeded for too long")),
            web.get("/livez", _health(alive, "no reconcile has succeeded for too long")),
            web.get("/readyz", _health(ready, "the operator does not act yet")),
        ]
    )
    threads = asking.Threads()
    app.on_cleanup.append(threads.close)
    routes = lab_routes.Lab(sets, replicas, name_fault=name_fault, threads=threads)
    app.add_routes(routes.routes())
    return app


def _health(good: Callable[[], bool], otherwise: str) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        if await asyncio.to_thread(good):
            return web.Response(text="ok")
        return web.Response(text=otherwise, status=503)

    return answer
