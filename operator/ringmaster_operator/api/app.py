"""The application: every path, and nothing but paths."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Middleware

from ringmaster_operator import naming, store
from ringmaster_operator.api import (
    asking,
    bodies,
    discovery,
    guard,
    lab_routes,
    openapi,
    resources,
    watches,
)

Document = dict[str, Any]


def make_app(
    kept: store.Store,
    *,
    token: str | None = None,
    hosts: Collection[str] = (),
    hooks: resources.Hooks | None = None,
) -> web.Application:
    """The API of a store. With a token, every request but health checks must bear it.

    `hosts` are names besides loopback's that requests without TLS may be for.
    """
    hooks = hooks or resources.Hooks()
    middlewares: list[Middleware] = [guard.statuses, guard.no_browsers(hosts)]
    if token is not None:
        middlewares.append(guard.bearer(token))
    app = web.Application(middlewares=middlewares, client_max_size=bodies.MAX_BYTES)
    streams = watches.Watches(kept)
    app.on_shutdown.append(streams.close)
    threads = asking.Threads()
    app.on_cleanup.append(threads.close)
    app.add_routes(_fixed_routes())
    app.add_routes(_health_routes(hooks))
    app.add_routes(_set_routes(resources.Sets(kept, streams, hooks, threads)))
    app.add_routes(
        _event_routes(resources.Lists(resources.events(kept), streams, clock=hooks.clock))
    )
    lab = lab_routes.Lab(kept, hooks.replicas, name_fault=hooks.name_fault, threads=threads)
    app.add_routes(lab.routes())
    return app


def _fixed_routes() -> list[web.RouteDef]:
    documents: dict[str, Callable[[], Document]] = {
        "/version": discovery.version,
        "/api": discovery.core_versions,
        "/api/v1": discovery.core_resources,
        "/apis": discovery.groups,
        f"/apis/{naming.GROUP}": discovery.group,
        f"/apis/{naming.API_VERSION}": discovery.group_resources,
        "/openapi/v3": openapi.index,
        f"/openapi/v3/{openapi.GROUP_PATH}": openapi.group,
        f"/openapi/v3/{openapi.CORE_PATH}": openapi.core,
    }
    return [web.get(path, _fixed(make())) for path, make in documents.items()]


def _fixed(document: Document) -> Callable[[web.Request], Any]:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(document)

    return answer


def _health_routes(hooks: resources.Hooks) -> list[web.RouteDef]:
    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def ready(_: web.Request) -> web.Response:
        if await asyncio.to_thread(hooks.ready):
            return web.Response(text="ok")
        return web.Response(text="the operator does not act yet", status=503)

    return [
        web.get("/healthz", alive),
        web.get("/livez", alive),
        web.get("/readyz", ready),
    ]


def _set_routes(sets: resources.Sets) -> list[web.RouteDef]:
    base = f"/apis/{naming.API_VERSION}"
    many = f"{base}/namespaces/{{namespace}}/{naming.PLURAL}"
    one = f"{many}/{{name}}"
    return [
        web.get(f"{base}/{naming.PLURAL}", sets.list),
        web.get(many, sets.list),
        web.post(many, sets.create),
        web.get(one, sets.get),
        web.put(one, sets.replace),
        web.patch(one, sets.patch),
        web.delete(one, sets.delete),
        web.get(f"{one}/status", sets.get),
        web.put(f"{one}/status", sets.replace_status),
        web.patch(f"{one}/status", sets.patch_status),
        web.get(f"{one}/scale", sets.get_scale),
        web.put(f"{one}/scale", sets.replace_scale),
        web.patch(f"{one}/scale", sets.patch_scale),
        web.get(f"{one}/replicas", sets.replicas),
    ]


def _event_routes(events: resources.Lists) -> list[web.RouteDef]:
    many = "/api/v1/namespaces/{namespace}/events"
    return [
        web.get("/api/v1/events", events.list),
        web.get(many, events.list),
        web.get(f"{many}/{{name}}", events.get),
    ]
