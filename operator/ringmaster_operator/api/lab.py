"""The students' `/add` and `/rm`: how a request changes a ServerSet, and when it is fulfilled.

Law: pure. A request is taken whole or refused with the assignment's words; nothing changes then.
The rules see the ServerSet's document and its replicas, not where they are kept, so that the same
rules stand behind the local store and behind Kubernetes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ringmaster_operator import conditions, errors, observed, spec
from ringmaster_operator.api import views

Document = dict[str, Any]
_PRESENT = frozenset({observed.Phase.STARTING, observed.Phase.RUNNING})
SECONDS = 60.0  # how long an answer waits for what was asked for


class LabError(errors.RingmasterError):
    """The request is refused; the message is for the student."""


class NotYetError(LabError):
    """A name is that of a server which is leaving: it is free once that is gone."""


@dataclass(frozen=True, slots=True)
class Request:
    """`n` servers more or fewer; `names` are those that were named, at most `n`."""

    n: int
    names: tuple[str, ...]


class Sets(Protocol):
    """Where ServerSets are kept: the local store, or Kubernetes."""

    def get(self, namespace: str, name: str) -> Document | None:
        """The ServerSet as it is now."""
        ...

    def update(self, namespace: str, name: str, change: Callable[[Document], Document]) -> Document:
        """Read, change, write, atomically: `change` may be called again with a newer document.

        Raises:
            NotFoundError: there is no such ServerSet.
        """
        ...

    def subscribe(self, callback: Callable[[Any], None]) -> Callable[[], None]:
        """Call back after each write, in any thread; returns what ends that."""
        ...


def parse(body: bytes, *, more: bool) -> Request:
    """Read a request; `more` says whether it is `/add`.

    Raises:
        LabError: it is not of the form that was agreed.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise LabError("The body must be JSON") from error
    if not isinstance(document, dict):
        raise LabError("The body must be a JSON object with n and hostnames")
    n, names = document.get("n"), document.get("hostnames", [])
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise LabError("n must be a positive integer")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise LabError("hostnames must be a list of strings")
    if len(names) > n:
        kind = "newly added" if more else "removable"
        raise LabError(f"Length of hostname list is more than {kind} instances")
    _refuse_duplicates(names)
    return Request(n=n, names=tuple(names))


def added(document: Document, request: Request, seen: Sequence[views.ReplicaView]) -> Document:
    """The ServerSet with `n` replicas more, some of them named.

    Raises:
        NotYetError: nothing is wrong but that a name's last bearer is not quite gone.
        LabError: a name is in use or no name, or there would be too many.
    """
    taken = _in_use([view for view in seen if not _leaving(view)])
    taken |= {name.lower(): name for name in _pending(document)}
    _refuse_taken(request, taken, LabError)
    server_set = spec.parse(document)
    replicas = server_set.spec.replicas + request.n
    if replicas > server_set.spec.max_replicas:
        raise LabError(
            f"There may be at most {server_set.spec.max_replicas} servers, "
            f"and {server_set.spec.replicas} are there or on their way"
        )
    names = [*_pending(document), *request.names]
    fresh = _checked(_with(document, replicas=replicas, names=names), request)
    _refuse_taken(request, _in_use(seen), NotYetError)
    return fresh


def removed(document: Document, request: Request, seen: Sequence[views.ReplicaView]) -> Document:
    """The ServerSet with `n` replicas fewer, those named first.

    Raises:
        LabError: a name is no server's, or there are not as many.
    """
    pending, victims = dict.fromkeys(_pending(document)), dict.fromkeys(_victims(document))
    wanted = spec.parse(document).spec.replicas
    present = {view.name for view in seen if not _leaving(view)}
    if len(_there(seen)) > wanted:  # else nobody goes, and who was named before stays as well
        present -= victims.keys()
    for name in request.names:
        if name not in present and name not in pending:
            raise LabError(f"Hostname '{name}' is not that of a server")
    if request.n > wanted:
        raise LabError(f"There are only {wanted} servers to remove")
    named = frozenset(request.names)
    names = [name for name in pending if name not in named]
    victims |= dict.fromkeys(name for name in request.names if name in present)
    fresh = _with(document, replicas=wanted - request.n, names=names)
    scale_down = {**(fresh["spec"].get("scaleDown") or {}), "victims": list(victims)}
    fresh["spec"] |= {"scaleDown": scale_down}
    return _checked(fresh, request)


def is_added(
    document: Document, request: Request, seen: Sequence[views.ReplicaView], *, wanted: int
) -> bool:
    """Whether what `added` asked for serves; `wanted` is the count that it led to."""
    active = set(serving(seen))
    coming = {view.name for view in seen if not _leaving(view)} | set(_pending(document))
    # A name that is neither here nor to come was removed, or replaced, in the meantime.
    missing = [name for name in request.names if name in coming and name not in active]
    return not missing and len(active) >= min(wanted, document["spec"]["replicas"])


def unused(
    document: Document, request: Request, seen: Sequence[views.ReplicaView], *, wanted: int
) -> str:
    """Which name no replica will bear, since somebody has scaled down meanwhile; or nothing."""
    replicas = document["spec"]["replicas"]
    if replicas >= wanted:
        return ""
    there, named = _there(seen), frozenset(request.names)
    for name in _pending(document)[max(0, replicas - len(there)) :]:
        if name in named:
            return name
    return ""


def held(document: Document, seen: Sequence[views.ReplicaView]) -> str:
    """Why the operator neither adds nor removes what is wanted (`maxMovedPercent`), or nothing.

    It may hold back another part of the spec alone: then the replicas come, or go.
    """
    if len(_there(seen)) == document["spec"]["replicas"]:
        return ""
    told = ("BalancerSynced", "MoveHeld", document["metadata"].get("generation"))
    for each in conditions.told(document):
        if (each.get("type"), each.get("reason"), each.get("observedGeneration")) == told:
            return str(each.get("message"))
    return ""


def is_removed(
    document: Document, request: Request, seen: Sequence[views.ReplicaView], *, wanted: int
) -> bool:
    """Whether what `removed` asked for serves no more; `wanted` is the count that it led to.

    The count decides. A server that is not ready goes before one that is named (the order of every
    scale-down: who serves is worth more than a wish), and then the named one stays, no longer a
    victim. Waiting for it would be waiting for something that nobody will do; the answer shows who
    is there.
    """
    count = max(wanted, document["spec"]["replicas"])
    active = {view.name for view in seen if view.ring in {views.ACTIVE, views.PARTLY}}
    stays = not set(_victims(document)) & set(request.names) and len(_there(seen)) <= count
    return len(active) <= count and (stays or active.isdisjoint(request.names))


def serving(seen: Sequence[views.ReplicaView]) -> list[str]:
    """The names that `/rep` shows: active in the ring, in order of creation."""
    active = [view for view in seen if view.ring == views.ACTIVE]
    active.sort(key=lambda view: (view.replica.created_at, view.replica.ordinal))
    return [view.name for view in active]


def answer(seen: Sequence[views.ReplicaView]) -> Document:
    """The answer of `/rep`."""
    names = serving(seen)
    return {"message": {"N": len(names), "replicas": names}, "status": "successful"}


def failure(message: str) -> Document:
    """The answer to what was refused."""
    return {"message": f"<Error> {message}", "status": "failure"}


def _checked(document: Document, request: Request) -> Document:
    try:
        spec.parse(document)
    except errors.SpecInvalidError as error:
        wrong = {fault.path for fault in error.faults}
        for position, name in enumerate(reversed(request.names), start=1):
            path = f"spec.names[{len(document['spec'].get('names', ())) - position}]"
            if path in wrong:
                raise LabError(f"Hostname '{name}' cannot be a server's name") from error
        raise LabError(str(error)) from error
    return document


def _with(document: Document, *, replicas: int, names: list[str]) -> Document:
    return {**document, "spec": {**document["spec"], "replicas": replicas, "names": names}}


def _pending(document: Document) -> list[str]:
    return list(document["spec"].get("names") or [])


def _victims(document: Document) -> list[str]:
    return list((document["spec"].get("scaleDown") or {}).get("victims") or [])


def _there(seen: Sequence[views.ReplicaView]) -> list[views.ReplicaView]:
    return [view for view in seen if view.replica.phase in _PRESENT and not _leaving(view)]


def _refuse_taken(request: Request, taken: dict[str, str], refusal: type[LabError]) -> None:
    """Kubernetes lower-cases: what differs in case alone cannot live side by side there."""
    for name in request.names:
        if name.lower() in taken:
            raise refusal(f"Hostname '{taken[name.lower()]}' is already in use")


def _in_use(seen: Sequence[views.ReplicaView]) -> dict[str, str]:
    names = [name for view in seen for name in (view.name, view.replica.name)]
    return {name.lower(): name for name in names}


def _leaving(view: views.ReplicaView) -> bool:
    return (
        views.DRAINING in {view.state, view.ring}
        or view.replica.phase is observed.Phase.TERMINATING
    )


def _refuse_duplicates(names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise LabError(f"Hostname '{name}' is given more than once")
        seen.add(name.lower())
