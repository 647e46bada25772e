"""Templates that were in use, kept as ControllerRevisions, as StatefulSets and DaemonSets do.

Law: a revision's data never changes, so one that was seen is not read again. Created before the
memory that names them, deleted after the memory that does not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

from ringmaster_operator import errors, memory, naming, observed
from ringmaster_operator.kube import client, paths

Template = dict[str, Any]


class Revisions:
    """The ControllerRevisions of all ServerSets; each is used by one thread at a time."""

    def __init__(self, api: client.Api) -> None:
        self._api = api
        self._known: dict[str, dict[str, Template]] = {}  # by uid of the ServerSet, by hash

    def templates(self, owner: observed.Owner, hashes: Iterable[str]) -> Mapping[str, Template]:
        """The templates by hash; read from the cluster only if one is not known yet."""
        known = self._known.get(owner.uid, {})
        if any(each not in known for each in hashes):
            known = self._known[owner.uid] = self._read(owner)
        return known

    def keep(self, owner: observed.Owner, revisions: Iterable[memory.Revision]) -> None:
        """Create those that are not there yet."""
        known = self._known.setdefault(owner.uid, {})
        for revision in revisions:
            if revision.hash not in known:
                with contextlib.suppress(errors.AlreadyExistsError):
                    self._create(owner, revision)
                known[revision.hash] = revision.template

    def drop(self, owner: observed.Owner, revisions: Iterable[memory.Revision]) -> None:
        """Delete those that are not among `revisions`."""
        known = self._known.get(owner.uid, {})
        for gone in set(known) - {revision.hash for revision in revisions}:
            with contextlib.suppress(errors.NotFoundError):
                self._api.delete(paths.revisions(owner.namespace, _name(owner, gone)))
            del known[gone]

    def forget(self, uid: str) -> None:
        """The ServerSet is gone, its revisions are the garbage collector's."""
        self._known.pop(uid, None)

    def _read(self, owner: observed.Owner) -> dict[str, Template]:
        answer = self._api.get(
            paths.revisions(owner.namespace), labelSelector=f"{naming.LABEL_SET_UID}={owner.uid}"
        )
        return {
            item["metadata"]["labels"][naming.LABEL_REVISION]: item["data"]["spec"]["template"]
            for item in answer["items"]
        }

    def _create(self, owner: observed.Owner, revision: memory.Revision) -> None:
        body = {
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {
                "name": _name(owner, revision.hash),
                "labels": {
                    naming.LABEL_SET: owner.name,
                    naming.LABEL_SET_UID: owner.uid,
                    naming.LABEL_REVISION: revision.hash,
                },
                "ownerReferences": [naming.owner_reference(owner)],
            },
            "data": {"spec": {"template": revision.template}},
            "revision": revision.number,
        }
        try:
            self._api.create(paths.revisions(owner.namespace), body)
        except errors.RefusedError as error:
            raise errors.RetryLater(f"a revision cannot be kept: {error}") from error


def _name(owner: observed.Owner, revision: str) -> str:
    """Unlike that of an earlier ServerSet of the same name, which may not be collected yet."""
    return f"{owner.name}-{naming.short_hash(owner.uid)}-{revision}"
