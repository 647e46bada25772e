"""Functions of the user's own: what they must look like, and how they become a ring's hash.

Law: pure; it calls what `codes` has loaded and loads nothing itself. Three kinds, told apart by the
signature:

- `f(key: bytes) -> int`, 64 bits, of which the high ones choose the slot: a hash like ours;
- `f(request: int) -> int`, taken modulo the slots: a hash of request ids, as the assignment has it;
- `f(members, slots) -> owners`, for scheme `custom`: the index of the member that serves each slot.
"""

from __future__ import annotations

import enum
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ringmaster_balancer import errors
from ringmaster_balancer.ring import classic, hashing, scheme

_REFERENCE = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)", re.ASCII)

Members = Sequence[tuple[str, int]]
Fill = Callable[[Members, int], Sequence[int]]


class Kind(enum.StrEnum):
    """What a function takes."""

    KEY = "key"
    REQUEST = "request"
    FILL = "fill"


@dataclass(frozen=True, slots=True)
class Code:
    """What travels to every process that looks up: the very text that passed the gate.

    `source` is None for an installed module. `golden` holds (key in hex, value) pairs of the
    trial: a process that finds others must not serve.
    """

    reference: str
    source: str | None
    digest: str
    kind: Kind
    golden: tuple[tuple[str, int], ...] = ()

    def to_document(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "reference": self.reference,
            "source": self.source,
            "digest": self.digest,
            "kind": self.kind.value,
            "golden": [[key, str(value)] for key, value in self.golden],
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Code:
        """What `to_document` wrote. KeyError, TypeError or ValueError if it is something else."""
        return cls(
            reference=str(document["reference"]),
            source=document["source"],
            digest=str(document["digest"]),
            kind=Kind(document["kind"]),
            golden=tuple((str(key), int(value)) for key, value in document["golden"]),
        )


@dataclass(frozen=True, slots=True)
class Custom:
    """A loaded function with the code that it came from."""

    code: Code
    function: Callable[..., Any] = field(compare=False)

    def hash64(self, slots: int) -> hashing.Hash64:
        """The function as a hash of keys; a scheme of its own hashes them with xxh3."""
        match self.code.kind:
            case Kind.KEY:
                return guarded(self.function)
            case Kind.REQUEST:
                return of_requests(self.function, slots=slots)
            case Kind.FILL:
                return hashing.xxh3


def parts(reference: str) -> tuple[str, str] | None:
    """Module and name of `module:name`; None for a hash of our own."""
    match = _REFERENCE.fullmatch(reference)
    return (match[1], match[2]) if match else None


def guarded(function: Callable[[bytes], int]) -> hashing.Hash64:
    """No key may fail a request: one that the function cannot hash goes by xxh3."""
    mask, fallback = hashing.MASK64, hashing.xxh3

    def hash64(key: bytes) -> int:
        try:
            return function(key) & mask
        except Exception:  # noqa: BLE001 – it is not our code
            return fallback(key)

    return hash64


def of_requests(function: Callable[[int], int], *, slots: int) -> hashing.Hash64:
    """f(request id) % slots as a hash whose high bits give exactly that slot."""

    def hash64(key: bytes) -> int:
        slot = function(classic.number(key)) % slots
        return -(-(slot << 64) // slots)

    return guarded(hash64)


def hashed(own: Custom, key: bytes) -> dict[str, str]:
    """What `of_requests` computes the slot of a key from, by name, as text."""
    request = classic.number(key)
    try:
        return scheme.request_said(request, operator.index(own.function(request)))
    except Exception:  # noqa: BLE001 – it is not our code
        return scheme.hash64_said(hashing.xxh3(key))


def requests(own: Custom) -> Callable[[int], int]:
    """The function of request ids that never fails; one that it cannot hash is its own hash."""
    function = own.function

    def key_hash(request: int) -> int:
        try:
            return int(function(request))
        except Exception:  # noqa: BLE001 – it is not our code
            return request

    return key_hash


def filled(function: Fill, members: Members, *, slots: int) -> list[int]:
    """The owner of every slot. RingInvalid if what the function returns is no such list."""
    try:
        owners = list(function(list(members), slots))
    except Exception as error:
        raise errors.RingInvalid(
            f"it raises {type(error).__name__}: {error}", path="ring.hash"
        ) from error
    if len(owners) != slots:
        raise errors.RingInvalid(
            f"it gives {len(owners)} owners for {slots} slots", path="ring.hash"
        )
    for owner in owners:
        if not isinstance(owner, int) or isinstance(owner, bool) or not 0 <= owner < len(members):
            raise errors.RingInvalid(
                f"owner {owner!r} is no index of {len(members)} members", path="ring.hash"
            )
    return owners
