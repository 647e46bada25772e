"""What makes sense in `spec.ring`: each scheme's hashes, slots and points, and the key of a request.

Law: pure. The balancer judges the same when it compiles a table; a contract test holds the two
together, so that what is applied is not refused later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ringmaster_operator import errors
from ringmaster_operator.spec import sections, shape, syntax

Faults = Iterator[errors.Fault]

_PLAIN_HASHES = ("xxh3", "xxh64", "md5", "crc32", "fnv1a")
HASHES: Mapping[str, tuple[str, ...]] = {
    "hrw": _PLAIN_HASHES,
    "maglev": _PLAIN_HASHES,
    "classic": (*_PLAIN_HASHES, "assignment", "modulo"),
    "ketama": ("crc32", "md5"),  # nginx's, libmemcached's
    "custom": (),
}
_DEFAULT_SLOTS = {"hrw": 65_536, "maglev": 65_537, "classic": 512, "custom": 65_536}
_CLASSIC_POINTS = 9
_CLASSIC_MAX_SLOTS = 65_536
_KETAMA_POINTS = 160
_KETAMA_MAX_POINTS = 4_194_304
_MD5_POINTS = 4  # a digest gives four
_WHERE = "spec.ring"


def slots(ring: sections.Ring) -> int | None:
    """The size of the ring's lookup table; None for ketama, which has points."""
    return ring.slots or _DEFAULT_SLOTS.get(ring.scheme)


def faults(ring: sections.Ring, *, replicas: int | None) -> Faults:
    """What is wrong with a ring for so many replicas; None: their number is not known."""
    yield from _faults_of_hash(ring)
    if ring.probing != "linear" and ring.scheme != "classic":
        yield _fault(f"{_WHERE}.probing", f"has no meaning for {ring.scheme}")
    problems = {
        "slots": _problem_of_slots(ring, replicas),
        "virtualNodes": _problem_of_points(ring, replicas),
    }
    for field, problem in problems.items():
        if problem:
            yield _fault(f"{_WHERE}.{field}", problem)


def _faults_of_hash(ring: sections.Ring) -> Faults:
    known = HASHES[ring.scheme]
    if ring.hash in known or (ring.scheme != "ketama" and syntax.is_python_name(ring.hash)):
        return
    if ring.scheme == "custom":
        wanted = "must be module:name, the function that places members"
    else:
        own = "" if ring.scheme == "ketama" else ", or module:name"
        wanted = f"must be one of {', '.join(known)}{own} for {ring.scheme}"
    why = ""
    if ring.hash == "assignment":
        why = ": H(i) = i² + 2i + 17 reaches 87 of 512 slots, only classic has it"
    yield _fault(f"{_WHERE}.hash", f"{wanted}, not {shape.brief(ring.hash)}{why}")


def _problem_of_slots(ring: sections.Ring, replicas: int | None) -> str | None:
    size = slots(ring)
    if size is None or ring.scheme == "ketama":
        return "has no meaning for ketama: see virtualNodes" if ring.slots else None
    if ring.scheme == "maglev":
        if not _is_prime(size):
            return f"must be a prime for maglev, not {size}"
        needed = (replicas or 0) + 1
        return None if size >= needed else f"must be above replicas for maglev, not {size}"
    if ring.scheme == "classic":
        if size > _CLASSIC_MAX_SLOTS:
            return f"must be at most {_CLASSIC_MAX_SLOTS} for classic, not {size}"
        points = (replicas or 0) * (ring.virtual_nodes or _CLASSIC_POINTS)
        if points > size:
            return f"must be at least replicas × virtualNodes ({points}) for classic, not {size}"
    return None


def _problem_of_points(ring: sections.Ring, replicas: int | None) -> str | None:
    if ring.scheme in ("hrw", "maglev", "custom") and ring.virtual_nodes is not None:
        return f"has no meaning for {ring.scheme}"
    if ring.scheme == "ketama":
        points = ring.virtual_nodes or _KETAMA_POINTS
        if ring.hash == "md5" and points < _MD5_POINTS:
            return f"must be at least {_MD5_POINTS} for md5, not {points}"
        if points * (replicas or 0) > _KETAMA_MAX_POINTS:
            return f"times replicas must be at most {_KETAMA_MAX_POINTS}, not {points}"
    return None


def key_faults(ring: sections.Ring) -> Faults:
    """What is wrong with where a request's key comes from."""
    for index, source in enumerate(ring.key):
        where = f"{_WHERE}.key[{index}]"
        given = source.model_dump(exclude_none=True)
        if len(given) != 1:
            yield _fault(where, "must be exactly one of header, cookie, query, path, clientAddress")
        for kind, name in given.items():
            if kind in ("header", "cookie") and not syntax.is_token(name):
                yield _fault(f"{where}.{kind}", f"must be a token of HTTP, not {shape.brief(name)}")
            if kind == "query" and not name:
                yield _fault(f"{where}.{kind}", "must not be empty")


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % factor for factor in range(2, int(number**0.5) + 1))


def _fault(path: str, message: str) -> errors.Fault:
    return errors.Fault(path=path, message=message)
