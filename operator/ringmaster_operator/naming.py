"""Names, labels and the template's hash: the only place that spells them.

Law: a name is never parsed; what it stands for is read from labels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ringmaster_operator import observed

GROUP = "ringmaster.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "ServerSet"
PLURAL = "serversets"
SINGULAR = "serverset"
SHORT_NAME = "sset"

LABEL_SET = f"{GROUP}/serverset"
LABEL_SET_UID = f"{GROUP}/serverset-uid"
LABEL_NAMESPACE = f"{GROUP}/namespace"
LABEL_MEMBER = f"{GROUP}/member-id"
LABEL_ORDINAL = f"{GROUP}/ordinal"
LABEL_ATTEMPT = f"{GROUP}/attempt"
LABEL_REASON = f"{GROUP}/reason"
LABEL_REVISION = f"{GROUP}/revision"
LABEL_NAME = f"{GROUP}/name"
LABEL_PROBE = f"{GROUP}/probe"  # Docker only: how the container is probed
LABEL_STATE = f"{GROUP}/state-dir"  # Docker only: machine and folder of the operator that made it
ANNOTATION_DELETION_COST = f"{GROUP}/deletion-cost"
ANNOTATION_MEMORY = f"{GROUP}/memory"
ANNOTATION_EPOCH = f"{GROUP}/epoch"
ANNOTATION_ALLOW_MOVE = f"{GROUP}/allow-move"  # a generation, or true

# Kubernetes' own alphabet for generated names (k8s.io/apimachinery util/rand): no vowels, so no
# words, and nothing that reads like another character.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def member_id(set_name: str, ordinal: int) -> str:
    """The place in the set that the ring knows: `web-0`."""
    return f"{set_name}-{ordinal}"


def replica_name(member: str, *, set_uid: str, ordinal: int, attempt: int, emergency: bool) -> str:
    """The replica's name; the same arguments give the same name, so a repeated create meets it."""
    suffix = short_hash(f"{set_uid}/{ordinal}/{attempt}")
    return f"emergency-{member}-{suffix}" if emergency else f"{member}-{suffix}"


def object_name(display_name: str) -> str:
    """The name of the Kubernetes object for a replica whose display name was asked for."""
    return display_name.lower()


def owner_reference(owner: observed.Owner) -> dict[str, Any]:
    """What makes an object ours, and Kubernetes delete it after its ServerSet."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def selector(match_labels: Mapping[str, str]) -> str:
    """A selector as Kubernetes writes it in a query or a scale's status: `app=web,tier=front`."""
    return ",".join(f"{key}={value}" for key, value in sorted(match_labels.items()))


def match_labels(selector: str) -> dict[str, str]:
    """What `selector` was made of; neither keys nor values of labels have `=` or `,`."""
    return dict(pair.split("=", 1) for pair in selector.split(",") if "=" in pair)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a replica's labels say of it."""

    owner: observed.Owner
    member_id: str
    ordinal: int
    attempt: int
    reason: observed.Reason
    revision: str
    display_name: str


def labels(birth: observed.Birth) -> dict[str, str]:
    """The labels that a new replica carries besides its template's; `identity` reads them back."""
    return {
        LABEL_SET: birth.owner.name,
        LABEL_SET_UID: birth.owner.uid,
        LABEL_NAMESPACE: birth.owner.namespace,
        LABEL_MEMBER: birth.member_id,
        LABEL_ORDINAL: str(birth.ordinal),
        LABEL_ATTEMPT: str(birth.attempt),
        LABEL_REASON: birth.reason.value,
        LABEL_REVISION: birth.revision,
        LABEL_NAME: birth.display_name,
    }


def identity(given: Mapping[str, str]) -> Identity | None:
    """What the labels of a replica say; None if they are not of our making."""
    try:
        return Identity(
            owner=observed.Owner(
                namespace=given[LABEL_NAMESPACE], name=given[LABEL_SET], uid=given[LABEL_SET_UID]
            ),
            member_id=given[LABEL_MEMBER],
            ordinal=int(given[LABEL_ORDINAL]),
            attempt=int(given[LABEL_ATTEMPT]),
            reason=observed.Reason(given[LABEL_REASON]),
            revision=given[LABEL_REVISION],
            display_name=given[LABEL_NAME],
        )
    except (KeyError, ValueError):
        return None


def short_hash(text: str, *, length: int = 5) -> str:
    """`length` characters that are safe in a name, derived from `text` alone."""
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
    characters = []
    for _ in range(length):
        number, index = divmod(number, len(_ALPHABET))
        characters.append(_ALPHABET[index])
    return "".join(characters)


def template_hash(template: dict[str, Any]) -> str:
    """The revision of a template: ten characters that change when any field does."""
    return short_hash(json.dumps(template, sort_keys=True, separators=(",", ":")), length=10)
