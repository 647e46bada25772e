"""The immutable lookup array of a ring: table slot → candidates.

Law: pure, no numpy here: workers load a table and look keys up in it. A request costs one hash and
one array access: `candidates[slot_of(key) * width]` is the index into `ids` of the member that
serves the key, the next ones follow. Compiled over all ids that are not draining-only, from ids
and weights alone; who is active or healthy is not the table's business.
"""

from __future__ import annotations

import collections
import json
import statistics
import struct
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import overload

from ringmaster_balancer import members
from ringmaster_balancer.ring import custom, hashing, select
from ringmaster_balancer.ring import scheme as schemes

WIDTH = 3  # candidates kept per slot: who serves, and two for fail-over without ranking

_ASSIGNMENT = frozenset({"xxh3", "assignment"})  # two names of H in classic
_MAGIC = b"RMT1"
_HEADER = struct.Struct("<4sII")  # lengths of the JSON and of what the scheme packs


@dataclass(frozen=True, slots=True)
class Table:
    """A compiled ring. Equal when compiled from the same ring and members."""

    ring: members.Ring
    places: schemes.Places
    slots: int
    width: int  # candidates per slot, at most WIDTH; 0 without members
    candidates: array[int]  # flat, slots × width indices into `ids`
    hash64: hashing.Hash64 = field(compare=False)
    slot_of: Callable[[bytes], int] = field(compare=False)
    draw: Callable[[float], int] = field(compare=False)  # random() -> a keyless request's slot
    _scheme: schemes.Scheme = field(compare=False, repr=False)
    own: custom.Custom | None = None  # the user's function, if the ring has one

    @property
    def scheme(self) -> str:
        """The ring scheme's name."""
        return self.ring.scheme

    @property
    def hash_name(self) -> str:
        """What `ring.hash` comes to: the default is another one in classic."""
        own = self.scheme == "classic" and self.ring.hash in _ASSIGNMENT
        return "assignment" if own else self.ring.hash

    @property
    def ids(self) -> tuple[str, ...]:
        """Member ids, sorted: what an index in `candidates` means. Take it once, not per key."""
        return self.places.ids

    def first(self, slot: int) -> Sequence[int]:
        """The candidates of a slot that the table holds."""
        return self.candidates[slot * self.width : (slot + 1) * self.width]

    def more(self, slot: int) -> Sequence[int]:
        """All members in their order for `slot`; ranked only once a reader gets past `first`."""
        return Order(self, slot)

    def ranked(self, slot: int) -> list[int]:
        """As `more`, at once; in hrw about 0.5 µs a member."""
        known = self.first(slot)
        order = self._scheme.rank(slot, candidates=self.candidates, width=self.width)
        return [*known, *(index for index in order if index not in known)]

    def weight(self) -> tuple[Sequence[int], int]:
        """How often each slot is hit, and the sum: of equally likely hashes."""
        hits = self._scheme.hits()
        return (hits, sum(hits)) if hits is not None else ((1,) * self.slots, self.slots)

    def bounds(self) -> schemes.Bounds:
        """Which part of the key space each slot has; its `space` names the very hash function."""
        found = self._scheme.bounds()
        return replace(found, space=f"{found.space} {self._function(found.space)}")

    def hashed(self, key: bytes) -> Mapping[str, str]:
        """What the slot of a key is computed from, by name; as text, since JSON rounds integers."""
        if self.own and self.scheme != "classic" and self.own.code.kind is custom.Kind.REQUEST:
            return custom.hashed(self.own, key)
        return self._scheme.hashed(key)

    def _function(self, space: str) -> str:
        """The hash function, by a name that no other one has."""
        if self.own is None or self.own.code.kind is custom.Kind.FILL:
            name = "xxh3" if self.own else self.ring.hash
            return "assignment" if space == "request" and name in _ASSIGNMENT else name
        code = self.own.code
        name = f"{code.reference} {code.digest}"  # a file may hold several
        modulo = code.kind is custom.Kind.REQUEST and space != "request"
        return f"{name}/{self.slots}" if modulo else name

    def to_bytes(self) -> bytes:
        """The table for another process on this machine (native byte order), 2 bytes an entry."""
        document = {
            "ring": self.ring.model_dump(mode="json"),
            "ids": self.places.ids,
            "weights": self.places.weights,
            "ordinals": self.places.ordinals,
            "code": self.own.code.to_document() if self.own else None,
        }
        header = json.dumps(document, separators=(",", ":")).encode()
        packed = self._scheme.pack()
        lengths = _HEADER.pack(_MAGIC, len(header), len(packed))
        return b"".join((lengths, header, packed, self.candidates.tobytes()))


class Order(Sequence[int]):
    """A slot's candidates: the known ones cost nothing, asking for a later one ranks them all."""

    __slots__ = ("_all", "_slot", "_table")

    def __init__(self, table: Table, slot: int) -> None:
        self._table = table
        self._slot = slot
        self._all: list[int] | None = None

    def __len__(self) -> int:
        """How many members there are."""
        return len(self._table.places)

    @overload
    def __getitem__(self, rank: int) -> int: ...
    @overload
    def __getitem__(self, rank: slice) -> list[int]: ...
    def __getitem__(self, rank: int | slice) -> int | list[int]:
        """The member at `rank`, counted from 0."""
        width = self._table.width
        if self._all is None and isinstance(rank, int) and 0 <= rank < width:
            return self._table.candidates[self._slot * width + rank]
        if self._all is None:
            self._all = self._table.ranked(self._slot)
        return self._all[rank]


def from_bytes(
    data: bytes | bytearray | memoryview,
    *,
    load: Callable[[custom.Code], custom.Custom] | None = None,
) -> Table:
    """The table that `to_bytes` wrote. ValueError if it is none, or cut short.

    `load` makes the user's function of its code, if the ring has one, or raises.
    """
    view = memoryview(data)
    if len(view) < _HEADER.size or view[:4] != _MAGIC:
        raise ValueError("not a compiled table")
    _, header, packed = _HEADER.unpack_from(view)
    start, end = _HEADER.size + header, _HEADER.size + header + packed
    document = json.loads(bytes(view[_HEADER.size : start]))
    candidates = array("H")
    candidates.frombytes(view[end:])
    places = schemes.Places(
        ids=tuple(document["ids"]),
        weights=tuple(document["weights"]),
        ordinals=tuple(document["ordinals"]),
    )
    ring = members.Ring.model_validate(document["ring"])
    code = document.get("code")
    own = load(custom.Code.from_document(code)) if code and load else None
    hash64 = select.hash64(ring, own)
    scheme = select.unpack(ring, places, hash64=hash64, packed=bytes(view[start:end]), own=own)
    return _table(ring, scheme, hash64=hash64, candidates=candidates, own=own)


def compile(  # noqa: A001 – read as table.compile
    ring: members.Ring,
    ids_and_weights: Sequence[tuple[str, int]],
    *,
    ordinals: Mapping[str, int] | None = None,
    previous: Table | None = None,
    own: custom.Custom | None = None,
) -> Table:
    """A table over these members; their order does not matter.

    `previous` makes a change of few members cheap and never changes the result. `ordinals` by id,
    which only `classic` needs, come from the ids when not given. `own` is the user's function that
    `ring.hash` names. RingInvalid says why a ring can not be built.
    """
    places = select.places(ring, ids_and_weights, ordinals=ordinals)
    own = own if custom.parts(ring.hash) else None
    function = select.hash64(ring, own)
    scheme = select.scheme_of(ring, places, hash64=function, own=own)
    earlier = None
    if previous is not None and (previous.scheme, previous.slots) == (ring.scheme, scheme.slots):
        earlier = schemes.Previous(previous.places, previous.candidates, width=previous.width)
    candidates = scheme.first(min(len(places), WIDTH), previous=earlier)
    return _table(ring, scheme, hash64=function, candidates=candidates, own=own)


def owners(table: Table) -> Sequence[str | None]:
    """The id that serves each slot, fail-over aside; None in a ring without members."""
    if not table.width:
        return (None,) * table.slots
    ids = table.ids
    return [ids[index] for index in table.candidates[:: table.width]]


def shares(table: Table) -> dict[str, float]:
    """Each member's share of the key space, 0 to 1; exact for the scheme's hash of a request."""
    hits, total = table.weight()
    counts = dict.fromkeys(table.ids, 0)
    for owner, count in zip(owners(table), hits, strict=True):
        if owner is not None:
            counts[owner] += count
    return {member: count / total for member, count in counts.items()}


@dataclass(frozen=True, slots=True)
class Evenness:
    """Shares compared with what each member's weight asks for; 1.0 is exactly that."""

    largest: float  # max/mean where all weigh the same
    smallest: float
    deviation: float  # standard deviation


def evenness(table: Table) -> Evenness:
    """How even the shares are. ValueError for a ring without members."""
    if not table.width:
        raise ValueError("a ring without members has no shares")
    total = sum(table.places.weights)
    ratios = [
        share * total / weight
        for share, weight in zip(shares(table).values(), table.places.weights, strict=True)
    ]
    return Evenness(max(ratios), min(ratios), statistics.pstdev(ratios))


@dataclass(frozen=True, slots=True)
class Difference:
    """What a change of tables does: `moves` holds (from, to) -> share of the key space."""

    moves: Mapping[tuple[str | None, str | None], float]
    needless: float  # of that, between members that both tables have with the same weight

    @property
    def moved(self) -> float:
        """The share of the key space that gets another member."""
        return sum(self.moves.values())


def difference(before: Table, after: Table) -> Difference:
    """Which keys move between two tables, exactly.

    ValueError unless both find a key's slot in the same way: other tables are not comparable slot
    by slot.
    """
    if not same_slots(before, after):
        raise ValueError("the tables find a key's slot in different ways")
    hits, total = before.weight()
    counts: collections.Counter[tuple[str | None, str | None]] = collections.Counter()
    for move, count in zip(zip(owners(before), owners(after), strict=True), hits, strict=True):
        if move[0] != move[1]:
            counts[move] += count
    same = set(zip(before.ids, before.places.weights, strict=True)) & set(
        zip(after.ids, after.places.weights, strict=True)
    )
    stays = {member for member, _ in same}
    return Difference(
        moves={move: count / total for move, count in counts.items() if count},
        needless=sum(count for (a, b), count in counts.items() if {a, b} <= stays) / total,
    )


def same_slots(one: Table, other: Table) -> bool:
    """Whether both find every key in the same slot."""
    here, there = one.bounds(), other.bounds()
    return (here.space, here.size, one.slots) == (there.space, there.size, other.slots) and (
        here.lasts == there.lasts
    )


def _table(
    ring: members.Ring,
    scheme: schemes.Scheme,
    *,
    hash64: hashing.Hash64,
    candidates: array[int],
    own: custom.Custom | None,
) -> Table:
    width = min(len(scheme.places), WIDTH)
    if len(candidates) != scheme.slots * width:
        raise ValueError(f"{len(candidates)} candidates do not fill {scheme.slots} slots")
    return Table(
        ring=ring,
        places=scheme.places,
        slots=scheme.slots,
        width=width,
        candidates=candidates,
        hash64=hash64,
        slot_of=scheme.slot_of(),
        draw=scheme.draw(),
        _scheme=scheme,
        own=own,
    )
