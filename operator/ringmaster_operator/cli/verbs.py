"""What the CLI's commands do, once their words are understood.

Law: each verb is a function of a client and plain values; it says lines through `say` and raises
only `errors`. The words themselves are in `cli`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ringmaster_operator import applying, client, errors, naming, printers

Document = dict[str, Any]
Say = Callable[[str], None]
KINDS = frozenset(
    {
        naming.PLURAL,
        naming.SINGULAR,
        naming.SHORT_NAME,
        f"{naming.PLURAL}.{naming.GROUP}",
        f"{naming.SINGULAR}.{naming.GROUP}",
        "all",
    }
)
_POLL = 0.2


@dataclass(frozen=True, slots=True)
class Selection:
    """Which ServerSets are meant. `namespace` None: all of them; no names: all that match."""

    namespace: str | None
    names: tuple[str, ...] = ()
    labels: str = ""


def names(words: Sequence[str], *, needed: bool = False) -> tuple[str, ...]:
    """Names from `TYPE`, `TYPE NAME…`, `TYPE/NAME…` or, since there is one type, `NAME…`.

    Raises:
        UsageError: a type that the server does not have, or no name though one is needed.
    """
    found: list[str] = []
    for index, word in enumerate(words):
        kind, slash, name = word.partition("/")
        if slash:
            if kind.lower() not in KINDS:
                raise errors.UsageError(f'the server doesn\'t have a resource type "{kind}"')
            found.append(name)
        elif index or word.lower() not in KINDS:
            found.append(word)
    if needed and not found:
        raise errors.UsageError("a name is needed, such as serverset/web")
    return tuple(dict.fromkeys(found))


def apply(
    server: client.Client,
    paths: Sequence[str],
    *,
    namespace: str | None,
    dry_run: bool,
    say: Say,
    warn: Say = lambda _line: None,
) -> None:
    """Create or change what the manifests say; faults of all are known before the first write."""
    from ringmaster_operator.up import specfiles  # noqa: PLC0415 – the model takes long to load

    found = specfiles.checked(specfiles.read(paths, namespace=namespace))
    tail = " (server dry run)" if dry_run else ""
    for each in found:
        with each.named(client.ServerError):
            done = _apply(server, each.document, key=each.key(), dry_run=dry_run)
        for warning in server.warnings():
            warn(f"Warning: {warning}")
        say(f"{applying.resource(each.document)} {done}{tail}")


def _apply(
    server: client.Client, document: Document, *, key: tuple[str, str], dry_run: bool
) -> str:
    namespace, name = key
    live = server.find(namespace, name)
    if live is None:
        server.create(namespace, applying.stamped(document), dry_run=dry_run)
        return "created"
    change = applying.patch(document, live)
    if not change:
        return "unchanged"
    server.patch(namespace, name, change, dry_run=dry_run)
    return "configured"


def get(server: client.Client, chosen: Selection, *, output: str, say: Say) -> None:
    """Show ServerSets: as a table, `wide`, `name`, `yaml` or `json`."""
    if output in {"yaml", "json"}:
        text = printers.to_yaml if output == "yaml" else printers.to_json
        say(text(_documents(server, chosen)).rstrip("\n"))
        return
    if output == "name":
        for document in _items(server, chosen):
            say(printers.resource(printers.identity(document)[1]))
        return
    table = printers.Table(wide=output == "wide", namespaces=chosen.namespace is None)
    found = _tables(server, chosen)
    if not any(each.get("rows") for each in found):
        where = "" if chosen.namespace is None else f" in {chosen.namespace} namespace"
        raise NothingFound(f"No resources found{where}.")
    merged = found[0] | {"rows": [row for each in found for row in each.get("rows") or []]}
    for line in table.lines(merged):
        say(line)


class NothingFound(Exception):  # noqa: N818 – it is no error: kubectl says so and exits 0
    """Nothing matches; the message is for standard error."""


def watch(server: client.Client, chosen: Selection, *, output: str, say: Say) -> None:
    """Show ServerSets, then each change, until interrupted.

    An operator that goes away comes back, as with `up`: then it goes on from where it was, or from
    what is there now.
    """
    name = chosen.names[0] if chosen.names else ""
    if name:
        server.get(chosen.namespace or "default", name)  # a missing one is an error
    table = printers.Table(wide=output == "wide", namespaces=chosen.namespace is None)
    as_table = output not in {"yaml", "json", "name"}
    said, version = False, ""
    while True:
        try:
            if not version:
                found = server.many(
                    chosen.namespace, labels=chosen.labels, name=name, table=as_table
                )
                _say_found(found, output=output, table=table, headings=not said, say=say)
                said, version = True, _version(found)
            for _kind, document in server.watch(
                chosen.namespace, version=version, labels=chosen.labels, name=name, table=as_table
            ):
                _say_changed(document, output=output, table=table, say=say)
                version = _version(document) or version
        except client.ExpiredError:
            version = ""
        except client.UnreachableError:
            if not said:
                raise
        time.sleep(_POLL)  # the server ended the stream


def _version(document: Document) -> str:
    """A list's or an object's; that of a watch's Table is its row's."""
    rows = document.get("rows") or ()
    metadata = document.get("metadata") or {}
    if not metadata.get("resourceVersion") and rows:
        metadata = (rows[0].get("object") or {}).get("metadata") or {}
    return str(metadata.get("resourceVersion", ""))


def _say_found(
    found: Document, *, output: str, table: printers.Table, headings: bool, say: Say
) -> None:
    if "rows" in found or found.get("kind") == "Table":
        for line in table.lines(found, headings=headings):
            say(line)
        return
    for document in found.get("items") or []:
        _say_changed(document, output=output, table=table, say=say)


def _say_changed(document: Document, *, output: str, table: printers.Table, say: Say) -> None:
    match output:
        case "yaml":
            say("---\n" + printers.to_yaml(document).rstrip("\n"))
        case "json":
            say(printers.to_json(document).rstrip("\n"))
        case "name":
            say(printers.resource(printers.identity(document)[1]))
        case _:
            for line in table.lines(document, headings=False):
                say(line)


def describe(server: client.Client, chosen: Selection, *, say: Say) -> None:
    """Show everything that is known."""
    documents = _items(server, chosen)
    if not documents:
        raise NothingFound(f"No resources found in {chosen.namespace} namespace.")
    for index, document in enumerate(documents):
        if index:
            say("\n")
        namespace, name = printers.identity(document)
        text = printers.describe(
            document,
            replicas=server.replicas(namespace, name),
            events=printers.events(server.events(namespace, name)),
        )
        say(text.rstrip("\n"))


def scale(
    server: client.Client,
    chosen: Selection,
    *,
    replicas: int,
    current: int | None,
    say: Say,
) -> None:
    """Change how many replicas shall serve.

    Raises:
        ConflictError: there are not `current` of them.
    """
    for name in chosen.names:
        namespace = chosen.namespace or "default"
        change: Document = {"spec": {"replicas": replicas}}
        if current is not None:
            live = server.get(namespace, name)
            there = (live.get("spec") or {}).get("replicas", 1)
            if there != current:
                raise errors.ConflictError(f"Expected replicas to be {current}, was {there}")
            change["metadata"] = {"resourceVersion": live["metadata"]["resourceVersion"]}
        server.patch(namespace, name, change)
        say(f"{printers.resource(name)} scaled")


def delete(server: client.Client, chosen: Selection, *, wait: float | None, say: Say) -> None:
    """Delete ServerSets; with `wait`, return when they are gone or after so many seconds.

    Raises:
        RetryLater: one is still there.
    """
    namespace = chosen.namespace or "default"
    gone: list[tuple[str, str]] = []
    for name in chosen.names:
        document = server.delete(namespace, name)
        gone.append((name, str((document.get("metadata") or {}).get("uid", ""))))
        say(f'{naming.SINGULAR}.{naming.GROUP} "{name}" deleted')
    if wait is None:
        return
    deadline = time.monotonic() + wait
    for name, uid in gone:
        while (left := server.find(namespace, name)) and left["metadata"].get("uid") == uid:
            if time.monotonic() > deadline:
                raise errors.RetryLater(f"timed out waiting for the deletion of {name}")
            time.sleep(_POLL)


def wait_for(
    server: client.Client, chosen: Selection, *, condition: str, seconds: float, say: Say
) -> None:
    """Wait for `condition=TYPE[=STATUS]`, or `delete`.

    Raises:
        UsageError: the condition cannot be read.
        RetryLater: it did not come about in time.
    """
    kind, _, wanted = condition.removeprefix("condition=").partition("=")
    if condition != "delete" and not condition.startswith("condition="):
        raise errors.UsageError(f"unrecognized condition: {condition!r}")
    namespace, deadline = chosen.namespace or "default", time.monotonic() + seconds
    for name in chosen.names:
        while not _is_met(server, namespace, name, kind=kind, wanted=wanted or "True"):
            if time.monotonic() > deadline:
                raise errors.RetryLater(_in_vain(server, namespace, name, kind=kind))
            time.sleep(_POLL)
        say(f"{printers.resource(name)} {'deleted' if condition == 'delete' else 'condition met'}")


def _in_vain(server: client.Client, namespace: str, name: str, *, kind: str) -> str:
    document = None if kind == "delete" else server.find(namespace, name)
    how = f" ({printers.standing(document, kind)})" if document else ""
    return f"timed out waiting for the condition on {name}{how}"


def _is_met(server: client.Client, namespace: str, name: str, *, kind: str, wanted: str) -> bool:
    if kind == "delete":
        return server.find(namespace, name) is None
    document = server.get(namespace, name)
    return printers.condition(document, kind).lower() == wanted.lower()


def _items(server: client.Client, chosen: Selection) -> list[Document]:
    if chosen.names:
        return [server.get(chosen.namespace or "default", name) for name in chosen.names]
    return list(server.many(chosen.namespace, labels=chosen.labels).get("items") or [])


def _documents(server: client.Client, chosen: Selection) -> Document:
    """One object as itself, several or none as a List, as kubectl prints them."""
    items = _items(server, chosen)
    if len(chosen.names) == 1:
        return items[0]
    return {"apiVersion": "v1", "kind": "List", "items": items, "metadata": {"resourceVersion": ""}}


def _tables(server: client.Client, chosen: Selection) -> list[Document]:
    if chosen.names:
        return [server.table(chosen.namespace or "default", name) for name in chosen.names]
    return [server.many(chosen.namespace, labels=chosen.labels, table=True)]
