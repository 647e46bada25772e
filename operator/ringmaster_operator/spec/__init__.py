"""The ServerSet as its user wrote it: the one door to the model, its rules and its template.

Law: pure. `parse` takes a document whole or refuses it with every fault at once, shape and sense
together.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from ringmaster_operator import errors, naming
from ringmaster_operator.spec import rules, shape
from ringmaster_operator.spec.honour import unsupported
from ringmaster_operator.spec.pod import Probe
from ringmaster_operator.spec.resource import (
    Balancer,
    Metadata,
    ObjectMeta,
    ServerSet,
    Spec,
    Status,
)
from ringmaster_operator.spec.rules import faults_of_change, warnings
from ringmaster_operator.spec.sections import Proxy, Ring
from ringmaster_operator.spec.template import Container, container, health

__all__ = [
    "Balancer",
    "Container",
    "Metadata",
    "Probe",
    "Proxy",
    "Ring",
    "ServerSet",
    "Spec",
    "container",
    "document",
    "faults_of_change",
    "health",
    "parse",
    "parse_sent",
    "parse_status",
    "unsupported",
    "warnings",
]

# What stands in for a required field that is at fault, so that the rest can still be judged; no
# rule reads a field that is at fault.
_PLACEHOLDERS: Mapping[shape.Loc, Any] = {
    ("apiVersion",): naming.API_VERSION,
    ("kind",): naming.KIND,
    ("metadata",): {"name": "x"},
    ("metadata", "name"): "x",
    ("spec",): {"selector": {"matchLabels": {"x": "x"}}, "template": {}},
    ("spec", "selector"): {"matchLabels": {"x": "x"}},
    ("spec", "selector", "matchLabels"): {"x": "x"},
    ("spec", "balancer", "selector", "matchLabels"): {"x": "x"},
    ("spec", "template"): {},
}
_NAMED: Mapping[shape.Loc, Any] = {("name",): "x"}


def parse(document: Any) -> ServerSet:
    """Read a document, a null being the same as an absent field.

    Raises:
        SpecInvalidError: with every fault (of very many the first), those of shape first.
    """
    plain, strange = shape.plain(document)
    value, faults, broken = shape.read(ServerSet, plain, placeholders=_PLACEHOLDERS)
    senseless = rules.faults(value, broken=broken)
    known = {fault.path for fault in strange}  # what is no JSON was left out for the rest
    rest = (each for each in faults if each.path not in known)
    nulls = shape.null_strangers(ServerSet, document)
    if found := shape.first(itertools.chain(strange, rest, nulls, senseless)):
        raise errors.SpecInvalidError(found)
    return value


def parse_sent(document: Mapping[str, Any]) -> ServerSet:
    """As `parse`, for who stores what was sent: its metadata must be known, too.

    What a cluster stores is judged by `parse` alone: later Kubernetes may know more metadata.

    Raises:
        SpecInvalidError: with every fault.
    """
    metadata = document.get("metadata")
    known: tuple[errors.Fault, ...] = ()
    plain, _ = shape.plain(metadata)
    _, strange, _ = shape.read(
        ObjectMeta, {} if plain is None else plain, placeholders=_NAMED, prefix="metadata"
    )
    nulls = shape.null_strangers(ObjectMeta, metadata, prefix="metadata")
    try:
        value = parse(document)
    except errors.SpecInvalidError as error:
        known = error.faults
    told = {fault.path for fault in known}
    more = (fault for fault in (*strange, *nulls) if fault.path not in told)
    if found := shape.first(itertools.chain(known, more)):
        raise errors.SpecInvalidError(found)
    return value


def parse_status(document: Any) -> dict[str, Any]:
    """A status that was sent, as a cluster would store it: without nulls and unknown fields.

    Raises:
        SpecInvalidError: with every fault for which a cluster would refuse it.
    """
    plain, strange = shape.plain(document)
    given = {} if plain is None else plain
    value, faults, broken = shape.read(Status, given, placeholders={}, prefix="status")
    senseless = rules.faults_of_status(value, broken=broken)
    if found := shape.first(itertools.chain(strange, faults, senseless)):
        raise errors.SpecInvalidError(found)
    return value.model_dump(mode="json", exclude_unset=True)


def document(server_set: ServerSet) -> dict[str, Any]:
    """The document with every default filled in; `parse` reads it back to an equal value."""
    dumped = server_set.model_dump(mode="json", exclude_none=True)
    strategy = dumped["spec"]["strategy"]
    if strategy["type"] == "Recreate":
        del strategy["rollingUpdate"]
    return dumped
