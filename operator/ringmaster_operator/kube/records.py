"""ServerSets in a Kubernetes cluster: `ports.Records` over the API server.

Law: read from etcd, never from a cache. Every write names the version that it was made from; on a
conflict the document is read again and the change made anew, the memory's only if the memory is
still the one that this operator read: so of two operators one is told. What a reconcile rests on
it alone sets; other threads, whose answers may come late, have `Sets`.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ringmaster_operator import errors, memory, naming, observed
from ringmaster_operator.kube import client, memos, merges, paths, revisions
from ringmaster_operator.store import stored

Document = dict[str, Any]

_TRIES = 10  # a write that meets another one; users and autoscalers write once in a while


class _StaleError(errors.ConflictError):
    """The document has changed since it was read."""


class Sets:
    """`lab.Sets`: ServerSets by namespace and name, for any thread; keeps nothing of them."""

    def __init__(self, api: client.Api) -> None:
        self._api = api
        self._subscribers: list[Callable[[Any], None]] = []

    def get(self, namespace: str, name: str) -> Document | None:
        """The ServerSet as etcd holds it now."""
        try:
            return self._api.get(paths.sets(namespace, name))
        except errors.NotFoundError:
            return None

    def update(self, namespace: str, name: str, change: Callable[[Document], Document]) -> Document:
        """Read, change, write; again from the start if somebody else wrote meanwhile.

        Raises:
            NotFoundError: there is no such ServerSet.
        """
        for _ in range(_TRIES):
            now = self._api.get(paths.sets(namespace, name))
            proposed = change(copy.deepcopy(now))
            with contextlib.suppress(_StaleError):
                fresh = _put(self._api, now, proposed)
                self.woken()
                return fresh
        raise errors.RetryLater(f"{namespace}/{name} is being changed all the time")

    def subscribe(self, callback: Callable[[Any], None]) -> Callable[[], None]:
        """Have `callback` called after our own writes; returns what ends that."""
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            with contextlib.suppress(ValueError):
                self._subscribers.remove(callback)

        return unsubscribe

    def woken(self) -> None:
        """Call every subscriber: something was written."""
        for callback in tuple(self._subscribers):
            callback(None)


class Records:
    """What a reconcile reads and writes, one thread a ServerSet at a time. `post`: an event."""

    def __init__(self, api: client.Api, *, post: Callable[..., None]) -> None:
        self.sets = Sets(api)
        self._api = api
        self._post = post
        self._revisions = revisions.Revisions(api)
        self._latest: dict[tuple[str, str], Document] = {}
        self._texts: dict[str, str] = {}  # by uid, the memory that this operator knows

    def list(self, namespaces: Sequence[str] = ()) -> list[Document]:
        """Every ServerSet of these namespaces; of all if none is named."""
        places = [paths.sets(each) for each in namespaces] or [paths.SETS_EVERYWHERE]
        return [document for path in places for document in self._api.get(path)["items"]]

    def get(self, namespace: str, name: str) -> Document | None:
        """The ServerSet as etcd holds it now; what follows rests on it."""
        document = self.sets.get(namespace, name)
        if document is None:
            self._forget(namespace, name)
        else:
            self._latest[namespace, name] = document
        return document

    def load_memory(self, owner: observed.Owner) -> memory.Memory:
        """What was saved in the ServerSet that `get` read last.

        `kubectl replace` with a manifest drops every annotation: what this operator knows is put
        back, or the set would count as a new one.
        """
        text = memos.text(self._current(owner))
        known = self._texts.get(owner.uid, "")
        if known and not text:
            self._annotate(owner, known, known=known)
            text = known
        self._texts[owner.uid] = text
        value = memos.decode(text)
        templates = self._revisions.templates(owner, [each.hash for each in value.revisions])
        kept = tuple(
            replace(each, template=templates[each.hash])
            for each in value.revisions
            if each.hash in templates
        )
        return replace(value, revisions=kept)

    def save_memory(self, owner: observed.Owner, value: memory.Memory) -> None:
        """Templates first, then what names them.

        Raises:
            ConflictError: another operator has written a memory.
        """
        text = memos.encode(value)
        self._revisions.keep(owner, value.revisions)
        known = self._texts.get(owner.uid)
        if text != known:
            self._annotate(owner, text, known=known)
        self._texts[owner.uid] = text
        self._revisions.drop(owner, value.revisions)
        self.sets.woken()

    def write_status(self, owner: observed.Owner, status: Document) -> None:
        """Put our part of the status; conditions of others stay, nothing changed is not written."""

        def restated(now: Document) -> Document:
            return stored.restated(now, stored.merged_status(now, status))

        self._change(owner, restated, sub="status")
        self.sets.woken()

    def consume(
        self, owner: observed.Owner, *, names: Sequence[str] = (), victims: Sequence[str] = ()
    ) -> None:
        """Take used names and gone victims out of the spec."""
        self._change(owner, lambda now: stored.consumed(now, names=names, victims=victims))

    def forget(self, owner: observed.Owner) -> None:
        """Nothing: the API server removes a deleted ServerSet, the collector what it owned."""

    def event(self, owner: observed.Owner, *, kind: str, reason: str, message: str) -> None:
        """Record an event."""
        self._post(owner, kind=kind, reason=reason, message=message)

    def _current(self, owner: observed.Owner, *, fresh: bool = False) -> Document:
        """The document of this very ServerSet, as it was read last, or (fresh) as it is now."""
        key = (owner.namespace, owner.name)
        document = None if fresh else self._latest.get(key)
        if document is None or document["metadata"]["uid"] != owner.uid:
            document = self.get(*key)
        if document is None or document["metadata"]["uid"] != owner.uid:
            raise errors.NotFoundError(f"ServerSet {owner.name} of uid {owner.uid} is gone")
        return document

    def _annotate(self, owner: observed.Owner, text: str, *, known: str | None) -> None:
        def annotated(now: Document) -> Document:
            # Empty is nobody's writing: a replacement dropped it.
            if memos.text(now) not in {known, text, ""}:
                raise errors.ConflictError("another operator has written a memory")
            metadata = now["metadata"]
            annotations = {**(metadata.get("annotations") or {}), naming.ANNOTATION_MEMORY: text}
            return {**now, "metadata": {**metadata, "annotations": annotations}}

        self._change(owner, annotated)

    def _change(
        self, owner: observed.Owner, change: Callable[[Document], Document], *, sub: str = ""
    ) -> None:
        now = self._current(owner)
        for _ in range(_TRIES):
            try:
                self._latest[owner.namespace, owner.name] = _put(
                    self._api, now, change(now), sub=sub
                )
            except _StaleError:
                now = self._current(owner, fresh=True)
            else:
                return
        raise errors.RetryLater(f"{owner.namespace}/{owner.name} is being changed all the time")

    def _forget(self, namespace: str, name: str) -> None:
        gone = self._latest.pop((namespace, name), None)
        if gone is not None:
            self._texts.pop(gone["metadata"]["uid"], None)
            self._revisions.forget(gone["metadata"]["uid"])


def _put(api: client.Api, now: Document, proposed: Document, *, sub: str = "") -> Document:
    """Make `now` what is proposed, if it is still what it was. No difference, no write."""
    patch = merges.difference(now, proposed)
    if not patch:
        return now
    given = now["metadata"]
    fixed = {"uid": given["uid"], "resourceVersion": given["resourceVersion"]}
    patch["metadata"] = {**patch.get("metadata", {}), **fixed}
    path = paths.sets(given["namespace"], given["name"], sub=sub)
    try:
        return api.patch(path, patch)
    except errors.ConflictError as error:
        raise _StaleError(str(error)) from error
