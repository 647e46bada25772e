"""What the CLI shows: Tables, descriptions and explanations as text, in kubectl's manner.

Law: pure. A function takes documents as the servers gave them and returns lines; a field that is
missing is shown as `<none>`, never an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from ringmaster_operator import conditions, naming

Document = dict[str, Any]
_GAP = "   "  # kubectl's


class Table:
    """Rows under headings. Columns keep their widths, so that a watch's later rows line up."""

    def __init__(self, *, wide: bool = False, namespaces: bool = False) -> None:
        self._wide = wide
        self._namespaces = namespaces
        self._widths: list[int] = []
        self._columns: list[int] = []

    def lines(self, table: Document, *, headings: bool = True) -> list[str]:
        """A `meta.k8s.io` Table as lines."""
        if definitions := table.get("columnDefinitions"):
            self._columns = [
                index
                for index, column in enumerate(definitions)
                if self._wide or not column.get("priority")
            ]
        rows = [self._cells(row) for row in table.get("rows") or []]
        if headings and definitions:
            names = [str(definitions[index]["name"]).upper() for index in self._columns]
            rows.insert(0, [*(["NAMESPACE"] if self._namespaces else []), *names])
        return self._aligned(rows)

    def _cells(self, row: Document) -> list[str]:
        cells = row.get("cells") or []
        shown = [_cell(cells[index]) for index in self._columns if index < len(cells)]
        if self._namespaces:
            metadata = (row.get("object") or {}).get("metadata") or {}
            shown.insert(0, str(metadata.get("namespace", "")))
        return shown

    def _aligned(self, rows: Sequence[Sequence[str]]) -> list[str]:
        count = max(map(len, rows), default=0)
        self._widths += [0] * (count - len(self._widths))
        for row in rows:
            for index, cell in enumerate(row):
                self._widths[index] = max(self._widths[index], len(cell))
        return [
            _GAP.join(
                cell.ljust(width) for cell, width in zip(row, self._widths, strict=False)
            ).rstrip()
            for row in rows
        ]


def columns(rows: Sequence[Sequence[str]], *, indent: str = "") -> list[str]:
    """Rows of cells, aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        indent
        + _GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


class _Dumper(yaml.SafeDumper):
    """Quotes what Go's YAML reads as another type than PyYAML: `y`, `08`, `0o17`, `1e3`."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:go",  # any but a string's
    re.compile(
        r"[yYnN]$|[-+]?[_0-9]*\.?[_0-9]*(?:[eE][-+_0-9]+)?$|[-+]?_*0_*[xXoObB][0-9a-fA-F_]+$",
        re.ASCII,
    ),
    None,
)


def to_yaml(document: Document, *, sort_keys: bool = True) -> str:
    """As `-o yaml`: keys sorted, as kubectl has them; kubectl and we read it back the same."""
    return yaml.dump(
        document,
        Dumper=_Dumper,
        sort_keys=sort_keys,
        default_flow_style=False,
        allow_unicode=True,
    )


def to_json(document: Document) -> str:
    """As `-o json`."""
    return json.dumps(document, indent=4, ensure_ascii=False) + "\n"


def describe(document: Document, *, replicas: Sequence[Document], events: Sequence[str]) -> str:
    """Everything that is known of one ServerSet."""
    lines = [*_head(document), *_template(document), *_conditions(document)]
    lines += _replicas(replicas)
    lines += (
        ["Events:", *(f"  {line}" for line in events)] if events else [_field("Events", "<none>")]
    )
    return "\n".join(lines) + "\n"


def events(found: Sequence[Document], *, last: int = 20) -> list[str]:
    """The latest events, oldest first."""
    rows = [["TYPE", "REASON", "COUNT", "LAST SEEN", "MESSAGE"]]
    rows += [
        [_cell(each.get(key)) for key in ("type", "reason", "count", "lastTimestamp", "message")]
        for each in found[-last:]
    ]
    return columns(rows) if len(rows) > 1 else []


def explain(told: Document) -> str:
    """Where a key goes, and what stands behind it in line."""
    hashed = told.get("hash64") or told.get("hash32") or _requested(told)
    lines = [
        f"{told.get('key')!r} goes to {_cell(told.get('replica'))} (member {_cell(told.get('member'))})",
        (
            f"scheme {told.get('scheme')}, hash {told.get('hash')} {hashed}, "
            f"slot {told.get('slot')} of {told.get('slots')}, "
            f"membership {told.get('epoch')}.{told.get('generation')}"
        ),
    ]
    rows = [["RANK", "MEMBER", "REPLICA", "ADDRESS", "STATE", "HEALTHY", "WHY"]]
    rows += [
        [_cell(each.get(name)) for name in ("rank", "id", "replica", "address", "state")]
        + ["yes" if each.get("healthy") else "no", _cell(each.get("why"))]
        for each in told.get("candidates") or []
    ]
    return "\n".join([*lines, *(columns(rows) if len(rows) > 1 else [])]) + "\n"


def _requested(told: Document) -> str:
    """A hash of request ids, where the ring has one."""
    if "request" not in told:
        return ""
    value = f" → {told['value']}" if "value" in told else ""
    return f"request {told['request']}{value}"


def resource(name: str) -> str:
    """`serverset.ringmaster.dev/web`."""
    return f"{naming.SINGULAR}.{naming.GROUP}/{name}"


def identity(document: Document) -> tuple[str, str]:
    """Namespace and name."""
    metadata = document.get("metadata") or {}
    return str(metadata.get("namespace", "")), str(metadata.get("name", ""))


def resource_key(document: Document) -> str:
    """`web`, or `prod/web` outside the default namespace: for people."""
    namespace, name = identity(document)
    return name if namespace == "default" else f"{namespace}/{name}"


def progress(document: Document) -> str:
    """One line on how far a ServerSet is: what `up` shows while it waits."""
    status = document.get("status") or {}
    wanted = (document.get("spec") or {}).get("replicas", 1)
    line = f"{resource_key(document)}: {status.get('readyReplicas', 0)} of {wanted} ready"
    line += f", {status.get('inRing', 0)} in the ring"
    return line + "".join(f" ({each})" for each in conditions.troubles(document))


def settled(document: Document) -> bool:
    """Whether all replicas that are wanted are in the ring."""
    status = document.get("status") or {}
    wanted = (document.get("spec") or {}).get("replicas", 1)
    counts = (status.get("replicas"), status.get("readyReplicas"), status.get("inRing"))
    observed = status.get("observedGeneration") == document.get("metadata", {}).get("generation")
    return observed and all((count or 0) == wanted for count in counts)


def condition(document: Document, kind: str) -> str:
    """A condition's status, `Unknown` if it is not there or tells of an earlier generation."""
    found = _condition(document, kind)
    return "Unknown" if found is None or _stale(document, found) else str(found.get("status"))


def standing(document: Document, kind: str) -> str:
    """A condition in words, for somebody who waits for it."""
    found = _condition(document, kind)
    if found is None:
        return f"{kind} is not there"
    tail = ", of an earlier generation" if _stale(document, found) else ""
    why = ": ".join(str(found[key]) for key in ("reason", "message") if found.get(key))
    return f"{found.get('type')} is {found.get('status')}{tail}" + (f": {why}" if why else "")


def _condition(document: Document, kind: str) -> Document | None:
    for each in conditions.told(document):
        if each["type"].lower() == kind.lower():
            return each
    return None


def _stale(document: Document, condition: Document) -> bool:
    """As kubectl judges: by the condition's generation, else the status's, if one is told."""
    generation = (document.get("metadata") or {}).get("generation") or 0
    tellers = (condition, document.get("status") or {})
    told = [each.get("observedGeneration") for each in tellers]
    seen = next((number for number in told if isinstance(number, int)), generation)
    return bool(seen < generation)


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "<none>"
    return str(value).replace("\n", " ")


def _field(name: str, value: Any) -> str:
    return f"{name + ':':<22}{_cell(value)}"


def _pairs(values: Any) -> str:
    items = values.items() if isinstance(values, dict) else ()
    return ",".join(f"{key}={value}" for key, value in items)


def _head(document: Document) -> Iterator[str]:
    metadata, spec = document.get("metadata") or {}, document.get("spec") or {}
    status = document.get("status") or {}
    strategy, ring = spec.get("strategy") or {}, spec.get("ring") or {}
    yield _field("Name", metadata.get("name"))
    yield _field("Namespace", metadata.get("namespace"))
    yield _field("UID", metadata.get("uid"))
    yield _field("Created", metadata.get("creationTimestamp"))
    if metadata.get("deletionTimestamp"):
        yield _field("Deleted", metadata["deletionTimestamp"])
    yield _field("Labels", _pairs(metadata.get("labels")))
    yield _field("Selector", _pairs((spec.get("selector") or {}).get("matchLabels")))
    yield _field(
        "Replicas",
        f"{spec.get('replicas', 1)} desired | {status.get('replicas', 0)} exist | "
        f"{status.get('readyReplicas', 0)} ready | {status.get('availableReplicas', 0)} available | "
        f"{status.get('updatedReplicas', 0)} updated | {status.get('inRing', 0)} in the ring",
    )
    yield _field("Strategy", strategy.get("type", "RollingUpdate"))
    yield _field("Ring", f"{ring.get('scheme', 'hrw')}, hash {ring.get('hash', 'xxh3')}")
    yield _field("Current Revision", status.get("currentRevision"))
    yield _field("Update Revision", status.get("updateRevision"))
    if spec.get("paused"):
        yield _field("Paused", "true")


def _template(document: Document) -> Iterator[str]:
    template = ((document.get("spec") or {}).get("template") or {}).get("spec") or {}
    yield "Template:"
    for container in template.get("containers") or []:
        words = [*(container.get("command") or []), *(container.get("args") or [])]
        yield f"  {_field('Container', container.get('name'))}"
        yield f"  {_field('  Image', container.get('image'))}"
        yield f"  {_field('  Command', ' '.join(map(str, words)))}"


def _conditions(document: Document) -> list[str]:
    found = conditions.told(document)
    if not found:
        return [_field("Conditions", "<none>")]
    rows = [["Type", "Status", "Reason", "Message"], ["----", "------", "------", "-------"]]
    rows += [
        [_cell(each.get(key)) for key in ("type", "status", "reason", "message")] for each in found
    ]
    return ["Conditions:", *columns(rows, indent="  ")]


def _replicas(replicas: Sequence[Document]) -> list[str]:
    if not replicas:
        return [_field("Replicas", "<none>")]
    rows = [["NAME", "MEMBER", "PHASE", "READY", "RING", "ADDRESS", "MESSAGE"]]
    for replica in replicas:
        status = replica.get("status") or {}
        rows.append(
            [
                _cell(status.get("displayName") or replica.get("metadata", {}).get("name")),
                _cell(status.get("memberId")),
                _cell(status.get("phase")),
                "yes" if status.get("ready") else "no",
                _cell(status.get("ring")),
                _cell(status.get("address")),
                _cell(status.get("message")),
            ]
        )
    return ["Replicas:", *columns(rows, indent="  ")]
