"""ServerSets and events over HTTP: each handler reads a request, asks the store once, and answers.

Law: no decisions about replicas here. The store's calls block, and reading and judging what was
sent takes time: both run in threads, never on the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from ringmaster_operator import errors, naming, store
from ringmaster_operator.api import (
    admission,
    answers,
    asking,
    bodies,
    discovery,
    patches,
    problems,
    scales,
    views,
    watches,
)
from ringmaster_operator.store import stored

Document = dict[str, Any]
Change = Callable[[Document], Document]


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the API asks of the rest of the operator; every one may be called in any thread."""

    # Replicas of a ServerSet by namespace and name, as last seen, in order of creation.
    replicas: Callable[[str, str], Sequence[views.ReplicaView]] = lambda _namespace, _name: ()
    # What the runtime cannot honour in a template (`ports.Runtime.check`).
    check: admission.Check = lambda _template: ()
    # Why the runtime cannot call a replica so (`choice.Runtime.name_fault`), or nothing.
    name_fault: Callable[[str], str] = lambda _name: ""
    # Whether the operator acts: `/readyz`.
    ready: Callable[[], bool] = lambda: True
    # Whether the operator has balancers for ServerSets that name none.
    balancers: bool = False
    # Seconds since 1970.
    clock: Callable[[], float] = time.time


def server_sets(kept: store.Store) -> answers.Kind:
    """How ServerSets are listed."""
    return answers.Kind(
        resource=naming.PLURAL,
        kind=naming.KIND,
        api_version=naming.API_VERSION,
        columns=discovery.SET_COLUMNS,
        fields=frozenset({"metadata.name", "metadata.namespace"}),
        list=kept.list,
    )


def events(kept: store.Store) -> answers.Kind:
    """How events are listed."""
    involved = ("apiVersion", "kind", "name", "namespace", "uid", "resourceVersion", "fieldPath")
    return answers.Kind(
        resource="events",
        kind="Event",
        api_version="v1",
        columns=discovery.EVENT_COLUMNS,
        fields=frozenset(
            {
                *("metadata.name", "metadata.namespace", "reason", "type", "source"),
                *(f"involvedObject.{field}" for field in involved),
                "reportingComponent",
            }
        ),
        list=kept.events,
    )


class Lists:
    """What every resource has: get, list and watch."""

    def __init__(
        self, kind: answers.Kind, streams: watches.Watches, *, clock: Callable[[], float]
    ) -> None:
        self._kind = kind
        self._streams = streams
        self._clock = clock

    def form(self, request: web.Request) -> answers.Form:
        """How this client wants to be answered."""
        return answers.form(request, self._kind, clock=self._clock)

    async def list(self, request: web.Request) -> web.StreamResponse:
        """`GET …/serversets`, with or without a namespace; `?watch=true` streams."""
        matches = answers.selection(request, self._kind)
        form = self.form(request)
        if answers.truth(request.query.get("watch", "")):
            return await self._streams.stream(request, form, matches)
        listing = await asyncio.to_thread(self._kind.list, request.match_info.get("namespace"))
        found = [document for document in listing.items if matches(document)]
        return web.json_response(form.many(found, listing.version))

    async def get(self, request: web.Request) -> web.StreamResponse:
        """One of them, by name."""
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        listing = await asyncio.to_thread(self._kind.list, namespace)
        for document in listing.items:
            if document["metadata"]["name"] == name:
                return web.json_response(self.form(request).one(document))
        raise problems.not_found(name, resource=self._kind.resource)


class Sets(Lists):
    """Everything that can be done to ServerSets."""

    def __init__(
        self,
        kept: store.Store,
        streams: watches.Watches,
        hooks: Hooks,
        threads: asking.Threads,
    ) -> None:
        super().__init__(server_sets(kept), streams, clock=hooks.clock)
        self._threads = threads
        self._store = kept
        self._hooks = hooks

    async def get(self, request: web.Request) -> web.StreamResponse:
        """`GET …/serversets/NAME` and `…/status`."""
        return web.json_response(self.form(request).one(await self._found(request)))

    async def create(self, request: web.Request) -> web.StreamResponse:
        """`POST …/serversets`."""
        namespace, dry = request.match_info["namespace"], _dry(request)
        body = await _object(request)
        made = await asyncio.to_thread(self._create, namespace, body, dry_run=dry)
        answer = web.json_response(self.form(request).one(made[0]), status=201)
        return answers.warned(answer, made[1])

    def _create(
        self, namespace: str, body: Document, *, dry_run: bool
    ) -> tuple[Document, Sequence[str]]:
        if not _unversioned(body):
            raise problems.bad_request("resourceVersion should not be set on objects to be created")
        fresh = admission.new(body, namespace=namespace, check=self._hooks.check)
        name = fresh["metadata"]["name"]
        try:
            made = self._store.create(namespace, name, fresh, dry_run=dry_run)
        except errors.AlreadyExistsError as error:
            raise problems.of(error, name=name) from error
        return made, self._warnings(made)

    def _warnings(self, document: Document) -> Sequence[str]:
        return admission.warnings(document, balancers=self._hooks.balancers)

    async def replace(self, request: web.Request) -> web.StreamResponse:
        """`PUT …/serversets/NAME`."""
        body = await _object(request)
        return await self._revise(request, lambda _: body)

    async def patch(self, request: web.Request) -> web.StreamResponse:
        """`PATCH …/serversets/NAME`."""
        return await self._revise(request, await _patch(request))

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """`DELETE …/serversets/NAME`: 200 with the object; it is gone once it has drained."""
        options = await _delete_options(request)
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        marked = await asyncio.to_thread(
            self._store.delete,
            namespace,
            name,
            precondition=lambda now: stored.check_origin(now, options.get("preconditions") or {}),
            dry_run=_dry(request, options.get("dryRun") or ()),
        )
        return web.json_response(self.form(request).one(marked))

    async def get_scale(self, request: web.Request) -> web.StreamResponse:
        """`GET …/scale`."""
        return web.json_response(scales.of(await self._found(request)))

    async def replace_scale(self, request: web.Request) -> web.StreamResponse:
        """`PUT …/scale`."""
        scale = await _object(request)
        return await self._rescale(request, lambda _: scale)

    async def patch_scale(self, request: web.Request) -> web.StreamResponse:
        """`PATCH …/scale`."""
        change = await _patch(request)
        return await self._rescale(request, lambda now: change(scales.of(now)))

    async def replace_status(self, request: web.Request) -> web.StreamResponse:
        """`PUT …/status`: of the body the status alone counts."""
        body = await _object(request)
        return await self._restate(request, lambda _: body)

    async def patch_status(self, request: web.Request) -> web.StreamResponse:
        """`PATCH …/status`."""
        return await self._restate(request, await _patch(request))

    async def replicas(self, request: web.Request) -> web.StreamResponse:
        """`GET …/replicas`: what was seen last, in order of creation."""
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        owner = await self._found(request)
        seen = await self._threads.ask(self._hooks.replicas, namespace, name)
        return web.json_response(
            {
                "kind": "ReplicaList",
                "apiVersion": naming.API_VERSION,
                "metadata": {"resourceVersion": owner["metadata"]["resourceVersion"]},
                "items": [view.document(namespace) for view in seen],
            }
        )

    async def _found(self, request: web.Request) -> Document:
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        document = await asyncio.to_thread(self._store.get, namespace, name)
        if document is None:
            raise problems.not_found(name)
        return document

    async def _revise(self, request: web.Request, change: Change) -> web.StreamResponse:
        updated = await self._update(request, change)
        answer = web.json_response(self.form(request).one(updated))
        return answers.warned(answer, await asyncio.to_thread(self._warnings, updated))

    async def _rescale(self, request: web.Request, change: Change) -> web.StreamResponse:
        updated = await self._update(request, lambda now: scales.onto(now, change(now)))
        return web.json_response(scales.of(updated))

    async def _update(self, request: web.Request, change: Change) -> Document:
        def admitted(now: Document) -> Document:
            proposed = change(now)
            _check_origin(now, proposed)
            return admission.changed(now, proposed, check=self._hooks.check)

        return await asyncio.to_thread(
            self._store.update,
            request.match_info["namespace"],
            request.match_info["name"],
            admitted,
            dry_run=_dry(request),
        )

    async def _restate(self, request: web.Request, change: Change) -> web.StreamResponse:
        def admitted(now: Document) -> Document:
            proposed = change(now)
            _check_origin(now, proposed)
            return admission.restated(proposed, name=now["metadata"]["name"])

        updated = await asyncio.to_thread(
            self._store.update_status,
            request.match_info["namespace"],
            request.match_info["name"],
            admitted,
            dry_run=_dry(request),
        )
        return web.json_response(self.form(request).one(updated))


async def _object(request: web.Request) -> Document:
    media_type = request.content_type
    if request.method == "PUT" and "Content-Type" not in request.headers:
        # kubectl's scale client says nothing; a browser never PUTs without asking us first.
        media_type = bodies.JSON
    found = await asyncio.to_thread(bodies.read_object, await request.read(), media_type)
    admission.metadata_of(found)
    return found


async def _patch(request: web.Request) -> Change:
    media_type = request.content_type
    if media_type not in patches.ACCEPTED:
        raise problems.media_type(patches.ACCEPTED)
    patch = await asyncio.to_thread(bodies.read_json, await request.read())
    return lambda now: patches.apply(now, patch, media_type=media_type)


async def _delete_options(request: web.Request) -> Document:
    body = await request.read()
    if body and request.content_type != bodies.JSON:
        raise problems.media_type((bodies.JSON,))
    options = await asyncio.to_thread(bodies.read_json, body) if body else {}
    if not isinstance(options, dict):
        raise problems.bad_request("the body must be DeleteOptions")
    if not isinstance(options.get("preconditions") or {}, dict):
        raise problems.bad_request("preconditions must be an object")
    dry = options.get("dryRun") or []
    if not isinstance(dry, list) or not all(isinstance(each, str) for each in dry):
        raise problems.bad_request("dryRun must be a list of strings")
    if _orphans(options) or _orphans(request.query):
        raise problems.bad_request("replicas cannot be orphaned here: without a set nobody serves")
    return options


def _unversioned(document: Document) -> bool:
    """Whether it names no version; 0 is none to Kubernetes either."""
    return (document.get("metadata") or {}).get("resourceVersion") in (None, "", "0")


def _check_origin(now: Document, proposed: Document) -> None:
    """An update of a custom resource must say which version it was made from (Kubernetes 1.36).

    Raises:
        ConflictError: it was made from another version, or is another object's.
        Problem: 400, it has another's name; 422, it does not say.
    """
    metadata = proposed.get("metadata") or {}
    admission.refuse_others(metadata, now["metadata"])
    if not _unversioned(proposed):
        stored.check_origin(now, metadata)
        return
    stored.check_origin(now, {"uid": metadata.get("uid")})
    fault = errors.Fault("metadata.resourceVersion", "must be specified for an update")
    raise problems.invalid(now["metadata"]["name"], (fault,))


def _orphans(wish: Mapping[str, Any]) -> bool:
    """Whether the replicas are to outlive their set; the second field is the older one."""
    older = wish.get("orphanDependents")
    return wish.get("propagationPolicy") == "Orphan" or answers.truth(str(older))


def _dry(request: web.Request, *more: Sequence[str]) -> bool:
    return answers.dry_run(request.query.getall("dryRun", []), *more)
