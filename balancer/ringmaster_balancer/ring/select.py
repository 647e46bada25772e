"""From `spec.ring` and a list of members to a scheme: the one place that knows them all.

Law: pure. What a scheme can not do with these members is said here, before anything is built.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from ringmaster_balancer import errors, members
from ringmaster_balancer.ring import classic, custom, filled, hashing, hrw, ketama, maglev, scheme

_SLOTS = "ring.slots"
_HASH = "ring.hash"
_DEFAULT_SLOTS = {
    "hrw": hrw.DEFAULT_SLOTS,
    "maglev": maglev.DEFAULT_SLOTS,
    "classic": classic.DEFAULT_SLOTS,
    "custom": filled.DEFAULT_SLOTS,
}
# The ids over which the shares of a custom hash of requests are counted: it may have any period.
_CUSTOM_PERIOD = 65_536
_ORDINAL = re.compile(r"-(0|[1-9][0-9]{0,8})$")


def places(
    ring: members.Ring,
    ids_and_weights: Sequence[tuple[str, int]],
    *,
    ordinals: Mapping[str, int] | None = None,
) -> scheme.Places:
    """The members, sorted by id. RingInvalid if there are too many, or two of one id."""
    if len(ids_and_weights) > scheme.MAX_MEMBERS:
        raise errors.RingInvalid(
            f"{len(ids_and_weights)} members: a ring has at most {scheme.MAX_MEMBERS}",
            path="members",
        )
    by_id = dict(ids_and_weights)
    if len(by_id) != len(ids_and_weights):
        raise errors.RingInvalid("two members have the same id", path="members")
    ids = tuple(sorted(by_id))
    return scheme.Places(
        ids=ids,
        weights=tuple(by_id[member] for member in ids),
        ordinals=_ordinals(ids, ordinals) if ring.scheme == "classic" else (),
    )


def slots(ring: members.Ring) -> int:
    """How many slots the ring has by its settings; 0 for ketama, whose points are its slots."""
    return ring.slots or _DEFAULT_SLOTS.get(ring.scheme, 0)


def hash64(ring: members.Ring, own: custom.Custom | None = None) -> hashing.Hash64:
    """The hash function that `ring.hash` names; `own` is the loaded one if it is the user's.

    RingInvalid if there is none of that name.
    """
    if custom.parts(ring.hash) is not None and ring.scheme != "ketama":
        return _own(ring, own).hash64(slots(ring))
    if ring.scheme == "custom":
        raise errors.RingInvalid("scheme custom needs a function, module:name", path=_HASH)
    if ring.hash in classic.KEY_HASHES and ring.hash not in hashing.BY_NAME:
        if ring.scheme != "classic":
            raise errors.RingInvalid(_why_only_classic(ring), path=_HASH)
        return hashing.xxh64
    if ring.scheme == "classic" and ring.hash in classic.KEY_HASHES:
        return hashing.xxh64
    function = hashing.BY_NAME.get(ring.hash)
    if function is None:
        known = ", ".join(
            (*hashing.BY_NAME, *(classic.KEY_HASHES if ring.scheme == "classic" else ()))
        )
        raise errors.RingInvalid(
            f"hash {ring.hash!r} is not known: one of {known}, or module:name", path=_HASH
        )
    return function


def _own(ring: members.Ring, own: custom.Custom | None) -> custom.Custom:
    """The user's function, if it is one that the scheme can use."""
    if own is None:
        raise errors.RingInvalid(f"{ring.hash} was not loaded", path=_HASH)
    fills = own.code.kind is custom.Kind.FILL
    if fills != (ring.scheme == "custom"):
        raise errors.RingInvalid(
            f"{ring.hash} places members: it needs scheme custom"
            if fills
            else f"{ring.hash} hashes keys: scheme custom needs f(members, slots)",
            path=_HASH,
        )
    return own


def _why_only_classic(ring: members.Ring) -> str:
    """The assignment's functions are no default, with the numbers."""
    function = classic.KEY_HASHES[ring.hash]
    words = f"{ring.hash} is a hash of request ids, which only scheme classic knows"
    if function is not classic.h:
        return words
    sizes = dict.fromkeys((classic.DEFAULT_SLOTS, slots(ring) or classic.DEFAULT_SLOTS))
    reached = " and ".join(f"{classic.reach(function, size)} of {size} slots" for size in sizes)
    return f"{words}: H(i) = i² + 2i + 17 reaches {reached}, the others never serve a key"


def scheme_of(
    ring: members.Ring,
    members_: scheme.Places,
    *,
    hash64: hashing.Hash64,
    own: custom.Custom | None = None,
) -> scheme.Scheme:
    """The ring's scheme over these members. RingInvalid if it can not be built."""
    match ring.scheme:
        case "hrw":
            return hrw.Hrw(members_, hash64=hash64, slots=slots(ring))
        case "classic":
            return _classic(ring, members_, hash64=hash64, own=own)
        case "ketama":
            return _ketama(ring, members_)
        case "maglev":
            return _maglev(ring, members_, hash64=hash64)
        case "custom":
            fill = _own(ring, own).function
            return filled.Filled(members_, fill=fill, hash64=hash64, slots=slots(ring))


def unpack(
    ring: members.Ring,
    members_: scheme.Places,
    *,
    hash64: hashing.Hash64,
    packed: bytes,
    own: custom.Custom | None = None,
) -> scheme.Scheme:
    """The scheme in a process that looks up, from what it packed where it was made."""
    if ring.scheme == "ketama":
        return ketama.unpack(members_, packed, flavour=_flavour(ring))
    return scheme_of(ring, members_, hash64=hash64, own=own)


def _ketama(ring: members.Ring, members_: scheme.Places) -> scheme.Scheme:
    flavour, points = _flavour(ring), ring.virtual_nodes or ketama.DEFAULT_POINTS
    if ring.slots is not None:
        raise errors.RingInvalid("ketama has points, see virtualNodes", path=_SLOTS)
    if points * sum(members_.weights) > ketama.MAX_POINTS * ketama.WEIGHT_ONE:
        raise errors.RingInvalid(
            f"weights and virtualNodes ask for more than {ketama.MAX_POINTS} points",
            path="ring.virtualNodes",
        )
    if flavour == "md5" and points < ketama.POINTS_OF_A_DIGEST:
        raise errors.RingInvalid("md5 gives points by four: at least 4", path="ring.virtualNodes")
    return ketama.place(members_, flavour=flavour, points=points)


def _flavour(ring: members.Ring) -> Literal["crc32", "md5"]:
    if ring.hash == "crc32":
        return "crc32"
    if ring.hash == "md5":
        return "md5"
    raise errors.RingInvalid(
        "ketama needs crc32 (as nginx) or md5 (as libmemcached)", path="ring.hash"
    )


def _maglev(
    ring: members.Ring, members_: scheme.Places, *, hash64: hashing.Hash64
) -> scheme.Scheme:
    size = slots(ring)
    if not maglev.is_prime(size):
        raise errors.RingInvalid(f"maglev needs a prime number of slots, not {size}", path=_SLOTS)
    if len(members_) >= size:
        raise errors.RingInvalid(f"{len(members_)} members need more slots", path=_SLOTS)
    return maglev.Maglev(members_, hash64=hash64, slots=size)


def _ordinals(ids: tuple[str, ...], given: Mapping[str, int] | None) -> tuple[int, ...]:
    """Each id's ordinal; from its end (`web-3`) unless given. RingInvalid for one without."""
    if given is not None:
        return tuple(given[member] for member in ids)
    found = [_ORDINAL.search(member) for member in ids]
    for member, match in zip(ids, found, strict=True):
        if match is None:
            raise errors.RingInvalid(
                f"member id {member!r} does not end in its ordinal", path="members"
            )
    return tuple(int(match[1]) for match in found if match)


def _classic(
    ring: members.Ring,
    members_: scheme.Places,
    *,
    hash64: hashing.Hash64,
    own: custom.Custom | None,
) -> scheme.Scheme:
    size = slots(ring)
    points = ring.virtual_nodes or classic.DEFAULT_POINTS
    if size > classic.MAX_SLOTS:
        raise errors.RingInvalid(f"classic has at most {classic.MAX_SLOTS} slots", path=_SLOTS)
    if len(members_) * points > size:
        raise errors.RingInvalid(
            f"{len(members_)} members with {points} virtual nodes each do not fit {size} slots",
            path=_SLOTS,
        )
    if len(set(members_.weights)) > 1:
        raise errors.RingInvalid("classic knows no weights: let all be equal", path="members")
    of_requests = own is not None and own.code.kind is custom.Kind.REQUEST
    return classic.Classic(
        members_,
        key_hash=custom.requests(own) if own and of_requests else classic.KEY_HASHES.get(ring.hash),
        hash64=hash64,
        slots=size,
        points=points,
        probing=ring.probing,
        period=-(-_CUSTOM_PERIOD // size) * size if of_requests else 0,
    )
