"""Watches: one line of JSON for each change, for as long as the client stays.

Law: every change after the version asked for is sent once and in order, or the client is told to
list again (410); the store's call only wakes us up, the log says what happened.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from ringmaster_operator import store
from ringmaster_operator.api import answers, problems, selectors, wakeups
from ringmaster_operator.store import watchlog

Document = dict[str, Any]
BOOKMARK_SECONDS = 60.0  # as Kubernetes; also what finds clients that went without a word
LONGEST_SECONDS = 3_600  # then the client begins anew, as with Kubernetes


class Watches:
    """All the streams of a server, which end with it."""

    def __init__(self, kept: store.Store) -> None:
        self._store = kept
        self._open: set[wakeups.Wakeup] = set()
        self._closing = False

    async def close(self, _: web.Application) -> None:
        """End every stream, so that the server need not wait for its clients."""
        self._closing = True
        for wakeup in self._open:
            wakeup.ring()

    async def stream(
        self, request: web.Request, form: answers.Form, matches: selectors.Predicate
    ) -> web.StreamResponse:
        """Answer a watch."""
        query = request.query
        seconds = answers.whole(query.get("timeoutSeconds", ""), field="timeoutSeconds")
        version = answers.whole(query.get("resourceVersion", ""), field="resourceVersion")
        if answers.truth(query.get("sendInitialEvents", "")):
            # Clients then list and watch, as with an older Kubernetes.
            raise problems.Problem(422, "sendInitialEvents is not supported: list, then watch")
        wakeup = wakeups.Wakeup(self._store)
        self._open.add(wakeup)
        try:
            feed = _Feed(self._store, form, matches, namespace=request.match_info.get("namespace"))
            await feed.begin(version or 0)
            return await self._send(
                request,
                feed,
                wakeup,
                seconds=min(seconds or LONGEST_SECONDS, LONGEST_SECONDS),
                bookmarks=answers.truth(query.get("allowWatchBookmarks", "")),
            )
        finally:
            self._open.discard(wakeup)
            wakeup.close()

    async def _send(
        self,
        request: web.Request,
        feed: _Feed,
        wakeup: wakeups.Wakeup,
        *,
        seconds: int,
        bookmarks: bool,
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        now = asyncio.get_running_loop().time
        end, bookmark = now() + seconds, now() + BOOKMARK_SECONDS
        while not self._closing and now() < end:
            for line in await feed.lines():
                await response.write(line)
            if feed.ended:
                break
            if bookmarks and now() >= bookmark:
                await response.write(feed.bookmark())
                bookmark = now() + BOOKMARK_SECONDS
            await wakeup.wait(min(end, bookmark) - now() if bookmarks else end - now())
        await response.write_eof()
        return response


class _Feed:
    """What one watch has still to send."""

    def __init__(
        self,
        kept: store.Store,
        form: answers.Form,
        matches: selectors.Predicate,
        *,
        namespace: str | None,
    ) -> None:
        self._store = kept
        self._form = form
        self._matches = matches
        self._namespace = namespace
        self._version = 0
        self._first: Sequence[Document] = ()
        self.ended = False

    async def begin(self, version: int) -> None:
        """Stand at `version`; without one (0) at now, with all there is as added.

        Raises:
            Problem: 410, the version is too old.
        """
        if version:
            self._version = version
            await self._changes()
        else:
            listing = await asyncio.to_thread(self._form.kind.list, self._namespace)
            self._first, self._version = listing.items, listing.version

    async def lines(self) -> list[bytes]:
        """What has happened since the last call."""
        first = [self._line("ADDED", each) for each in self._first if self._matches(each)]
        self._first = ()
        try:
            changes = await self._changes()
        except watchlog.ExpiredError as error:
            self.ended = True
            return [*first, _encode("ERROR", problems.of(error).document())]
        lines = [self._changed(change) for change in changes]
        if changes:
            self._version = changes[-1].version
        return [*first, *(line for line in lines if line)]

    def bookmark(self) -> bytes:
        """How far this watch has come."""
        return _encode("BOOKMARK", self._form.nothing(self._version))

    async def _changes(self) -> Sequence[watchlog.Change]:
        return await asyncio.to_thread(self._store.changes, self._form.kind.resource, self._version)

    def _changed(self, change: watchlog.Change) -> bytes | None:
        """A change as this selection sees it: what it no longer matches is gone from it."""
        now = change.type != "DELETED" and self._matches(change.document)
        before = change.previous is not None and self._matches(change.previous)
        if not now and not before:
            return None
        kind = "DELETED" if not now else "MODIFIED" if before else "ADDED"
        return self._line(kind, change.document)

    def _line(self, kind: str, document: Document) -> bytes:
        return _encode(kind, self._form.one(document))


def _encode(kind: str, document: Document) -> bytes:
    return json.dumps({"type": kind, "object": document}, separators=(",", ":")).encode() + b"\n"
