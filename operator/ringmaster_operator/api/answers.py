"""What a client wants, read from its query and headers; and lists and tables in that form.

Law: pure but for the request it reads. kubectl asks for tables with `Accept: …;as=Table`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from ringmaster_operator import store
from ringmaster_operator.api import problems, selectors, tables

Document = dict[str, Any]
_TABLE = re.compile(r"application/json\s*;(?=[^,]*as=Table)(?=[^,]*v=v1\b)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource: how it is listed, selected and shown."""

    resource: str
    kind: str
    api_version: str
    columns: tuple[tables.Column, ...]
    fields: frozenset[str]
    list: Callable[[str | None], store.Listing]


@dataclass(frozen=True, slots=True)
class Form:
    """How documents of a kind are shown to this client."""

    kind: Kind
    table: bool
    include: str
    clock: Callable[[], float]

    def one(self, document: Document) -> Document:
        """An object, or a table of one row."""
        version = document["metadata"].get("resourceVersion", "")
        return self._table([document], version) if self.table else document

    def many(self, documents: Sequence[Document], version: int) -> Document:
        """A list, or a table."""
        if self.table:
            return self._table(documents, version)
        return {
            "kind": f"{self.kind.kind}List",
            "apiVersion": self.kind.api_version,
            "metadata": {"resourceVersion": str(version)},
            "items": list(documents),
        }

    def nothing(self, version: int) -> Document:
        """An object that says how far a watch has come, and no more."""
        if self.table:
            return self._table([], version)
        return {
            "kind": self.kind.kind,
            "apiVersion": self.kind.api_version,
            "metadata": {"resourceVersion": str(version), "creationTimestamp": None},
        }

    def _table(self, documents: Sequence[Document], version: int | str) -> Document:
        return tables.table(
            self.kind.columns, documents, now=self.clock(), version=version, include=self.include
        )


def form(request: web.Request, kind: Kind, *, clock: Callable[[], float]) -> Form:
    """What the client accepts."""
    return Form(
        kind=kind,
        table=bool(_TABLE.search(request.headers.get("Accept", ""))),
        include=request.query.get("includeObject", "") or "Metadata",
        clock=clock,
    )


def selection(request: web.Request, kind: Kind) -> selectors.Predicate:
    """The label and field selectors of the query, both of which must match."""
    by_label = selectors.labels(request.query.get("labelSelector", ""))
    by_field = selectors.fields(request.query.get("fieldSelector", ""), known=kind.fields)
    namespace = request.match_info.get("namespace")

    def matches(document: Document) -> bool:
        inside = namespace is None or document["metadata"]["namespace"] == namespace
        return inside and by_label(document) and by_field(document)

    return matches


def dry_run(*wishes: Sequence[str]) -> bool:
    """Whether nothing is to be written: `dryRun=All`, in the query or in DeleteOptions."""
    given = {value for wish in wishes for value in wish if value}
    if given - {"All"}:
        raise problems.bad_request(f"dryRun must be All, not {', '.join(sorted(given))}")
    return bool(given)


def truth(text: str) -> bool:
    """A boolean of the query, as Go reads it."""
    return text.lower() in ("1", "t", "true")


def whole(text: str, *, field: str) -> int | None:
    """A number of the query, None if it is not given."""
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):  # noqa: PLR2004 – 64 bits
        raise problems.bad_request(f"{field} must be a whole number, not {text!r}")
    return int(text)


def warned(response: web.Response, warnings: Sequence[str]) -> web.Response:
    """The response with warnings in its header, which kubectl prints (RFC 7234, section 5.5)."""
    for warning in warnings:
        text = warning.replace("\\", "\\\\").replace('"', '\\"')
        if text.isascii() and text.isprintable():
            response.headers.add("Warning", f'299 - "{text}"')
    return response
