"""The check that a custom function must pass before it serves: numbers in, findings out.

Law: pure; it calls the function and knows no file, process or clock but the one that it is given.
`trial` runs it in a process of its own. What is asked for is what a bad hash costs: keys that
another process would find elsewhere, slots that no key reaches, members with more than their
share, neighbours that stay neighbours, time for every request.
"""

from __future__ import annotations

import collections
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ringmaster_balancer import errors
from ringmaster_balancer.ring import classic, custom, hashing, samples, scheme

# Of what chance reaches; of 16,384 keys on 65,536 slots the deviation of chance is 0.3 %.
REACH = 0.98
# Standard deviations of the chi-square statistic (Wilson and Hilferty): one in a thousand million.
DEVIATIONS = 6.0
BINS = 1_024  # at least 16 keys in each
# How often a bit that the slot depends on changes with one bit of the key: half the time.
FLIPS, WORST_FLIPS = (0.45, 0.55), (0.35, 0.65)
MICROSECONDS = 25.0  # a whole proxied request costs about 30
_FLIPPED_KEYS = 256
_FLIPPED_BITS = 32
_TIMED = 1_000
_ROUNDS = 5
# Of a scheme: how many members it is tried with, and what it may do to them.
MEMBERS = (1, 2, 3, 5, 8)
LARGEST = 1.25  # share of a member, of what its weight asks for
NEEDLESS = 0.10  # of the slots, when one member comes
FILL_SECONDS = 2.0  # to place members: the operator waits for it


@dataclass(frozen=True, slots=True)
class Finding:
    """One number and what it should be; `about` says of which keys."""

    check: str
    good: bool
    words: str
    about: str = ""
    measured: float | None = None

    def to_document(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


def hash_findings(
    own: custom.Custom, *, slots: int, even: bool, clock: Callable[[], float]
) -> Iterator[Finding]:
    """Everything about a hash of keys or requests, on a ring of `slots`.

    Not `even`: for a ring that is uneven by construction, only what would break it counts.
    """
    sound = list(_range(own))
    yield from sound
    if not all(finding.good for finding in sound):
        return
    cost = _cost(own, clock=clock)
    yield cost
    if not even or not cost.good:  # what is slow would be at it for minutes
        return
    if own.code.kind is custom.Kind.REQUEST:
        yield _reachable(own.function, slots=slots)
    slot_of = scheme.by_high_bits(own.hash64(slots), slots=slots)
    for about, keys in samples.KINDS.items():
        yield from _spread(Counted.of(map(slot_of, keys())), slots=slots, about=about)
    yield from _avalanche(own, slots=slots)


def fill_findings(
    own: custom.Custom, *, slots: int, whole: int, clock: Callable[[], float]
) -> Iterator[Finding]:
    """Everything about a scheme: whom it gives how much, and what one more member moves.

    It is tried on `slots`; only how long it takes on the `whole` ring. A member comes last, first
    and in the middle of the sorted ids: who numbers members by their place fails on the latter.
    """
    worst, uneven, needless = 0.0, 0, 0.0
    for count in MEMBERS:
        every = [f"m-{number}" for number in range(count + 1)]
        after = _filled(own, every, slots)
        shares = collections.Counter(after)
        largest = max(shares.values()) * (count + 1) / slots
        if largest > worst:
            worst, uneven = largest, count + 1
        for newcomer in {0, count // 2, count}:
            rest = every[:newcomer] + every[newcomer + 1 :]
            before = (rest[owner] for owner in _filled(own, rest, slots))
            now = (every[owner] for owner in after)
            moved = sum(b not in (a, every[newcomer]) for a, b in zip(before, now, strict=True))
            needless = max(needless, moved / slots)
    yield Finding(
        check="evenness",
        good=worst <= LARGEST,
        measured=round(worst, 3),
        words=f"of {uneven} equal members one has {worst:.2f} times its share, "
        f"at most {LARGEST} is wanted",
    )
    yield Finding(
        check="moves",
        good=needless <= NEEDLESS,
        measured=round(needless, 4),
        words=f"one member more or less moves {needless:.1%} of the slots between others, "
        f"at most {NEEDLESS:.0%} is wanted",
    )
    start = clock()
    _filled(own, [f"m-{number}" for number in range(max(MEMBERS))], whole)
    seconds = (clock() - start) / 2
    yield Finding(
        check="cost",
        good=seconds <= FILL_SECONDS,
        measured=round(seconds, 3),
        words=f"{seconds:.2f} s to place {max(MEMBERS)} members on {whole} slots, "
        f"at most {FILL_SECONDS:g} are wanted",
    )
    weighted = [("m-0", 100), ("m-1", 300)]
    share = custom.filled(own.function, weighted, slots=slots).count(1) / slots
    yield Finding(
        check="weights",
        good=True,
        measured=round(share, 4),
        words=f"a member of three times the weight gets {share:.1%}, 75 % would be its share",
    )


def values(own: custom.Custom) -> list[tuple[str, int]]:
    """The golden values: (key in hex, value)."""
    return [(key.hex(), value_of(own, key)) for key in samples.golden()]


def value_of(own: custom.Custom, key: bytes) -> int:
    """What the bare function makes of a key. Its own exceptions pass."""
    match own.code.kind:
        case custom.Kind.REQUEST:
            value = own.function(classic.number(key))
        case custom.Kind.KEY:
            value = own.function(key)
        case custom.Kind.FILL:
            return hashing.xxh3(key)
    if type(value) is not int:
        raise TypeError(f"{value!r} is no integer")
    return value


def differing(first: Sequence[tuple[str, int]], second: Sequence[tuple[str, int]]) -> str:
    """The first golden key on which two processes differ, in words; nothing if there is none."""
    for (key, one), (_, other) in zip(first, second, strict=True):
        if one != other:
            return (
                f"key {_shown(bytes.fromhex(key))} gives {one} in one process, {other} in another"
            )
    return ""


@dataclass(frozen=True, slots=True)
class Counted:
    """How many keys there were, and how many met each slot."""

    keys: int
    by_slot: Mapping[int, int]

    @classmethod
    def of(cls, slots: Iterator[int]) -> Counted:
        """Count them."""
        by_slot = collections.Counter(slots)
        return cls(keys=by_slot.total(), by_slot=by_slot)


def chi_square(counted: Counted, *, slots: int) -> tuple[float, int]:
    """How many standard deviations the spread over up to 1,024 parts is off chance, and the parts."""
    bins = min(slots, BINS)
    if bins == 1:
        return 0.0, 1
    observed = [0] * bins
    for slot, count in counted.by_slot.items():
        observed[slot * bins // slots] += count
    ends = [-(-number * slots // bins) for number in range(bins + 1)]
    widths = [end - start for start, end in itertools.pairwise(ends)]
    statistic = sum(
        (count - counted.keys * width / slots) ** 2 / (counted.keys * width / slots)
        for count, width in zip(observed, widths, strict=True)
    )
    spread = 2 / (9 * (bins - 1))
    return ((statistic / (bins - 1)) ** (1 / 3) - 1 + spread) / math.sqrt(spread), bins


def _range(own: custom.Custom) -> Iterator[Finding]:
    """Integers of 64 bits, for whatever comes, and the same when asked again."""
    first: dict[bytes, int] = {}
    for key in samples.golden():
        try:
            first[key] = value_of(own, key)
        except Exception as error:  # noqa: BLE001 – it is not our code
            said = f"it fails on the key {_shown(key)}: {type(error).__name__}: {error}"
            yield Finding(check="range", good=False, words=said)
            return
    smallest, biggest = min(first.values()), max(first.values())
    top = hashing.MASK64 if own.code.kind is custom.Kind.KEY else math.inf
    fits = smallest >= 0 and biggest <= top
    wanted = "0 to 2⁶⁴ - 1" if own.code.kind is custom.Kind.KEY else "0 or more"
    yield Finding(
        check="range",
        good=fits,
        words=f"values lie between {_number(smallest)} and {_number(biggest)}, {wanted} is wanted",
    )
    changed = [key for key in reversed(first) if value_of(own, key) != first[key]]
    yield Finding(
        check="repeatable",
        good=not changed,
        words=f"key {_shown(changed[0])} gives another value the second time"
        if changed
        else "the same value each time",
    )


def _reachable(function: Callable[[int], int], *, slots: int) -> Finding:
    """How many slots any request id reaches at all."""
    requests = max(65_536, 2 * slots)
    reached = len({function(request) % slots for request in range(requests)})
    wanted = REACH * slots * -math.expm1(-requests / slots)
    words = f"reaches {reached} of {slots} slots"
    if slots != classic.DEFAULT_SLOTS:
        words += f" ({classic.reach(function, classic.DEFAULT_SLOTS)} of {classic.DEFAULT_SLOTS})"
    return Finding(
        check="reachable slots",
        good=reached >= wanted,
        measured=reached / slots,
        words=f"{words} with {requests} request ids, at least {math.ceil(wanted)} are wanted",
    )


def _spread(counted: Counted, *, slots: int, about: str) -> Iterator[Finding]:
    chance = slots * -math.expm1(counted.keys * math.log1p(-1 / slots)) if slots > 1 else 1.0
    reached = len(counted.by_slot)
    yield Finding(
        check="reachable slots",
        good=reached >= math.floor(REACH * chance),
        measured=round(reached / chance, 4),
        words=f"{counted.keys} keys reach {reached} slots, chance reaches {chance:.0f}",
        about=about,
    )
    deviations, bins = chi_square(counted, slots=slots)
    yield Finding(
        check="chi-square",
        good=deviations <= DEVIATIONS,
        measured=round(deviations, 2),
        words=f"over {bins} parts {deviations:.1f} standard deviations off chance, "
        f"at most {DEVIATIONS:g} are wanted",
        about=about,
    )


def _avalanche(own: custom.Custom, *, slots: int) -> Iterator[Finding]:
    """One bit of a key changed: each bit that decides the slot changes half the time."""
    bits = min(max((slots - 1).bit_length(), 1), 16)
    hash64 = own.hash64(slots)
    for about, kind in samples.KINDS.items():
        if own.code.kind is custom.Kind.REQUEST and about != "integers":
            continue  # other keys are hashed to a number before
        changes = [0] * bits
        pairs = 0
        for number, key in enumerate(kind()[:: samples.COUNT // _FLIPPED_KEYS]):
            before = hash64(key)
            for other in _neighbours(own.code.kind, key, seed=number):
                pairs += 1
                difference = (before ^ hash64(other)) >> (64 - bits)
                for bit in range(bits):
                    changes[bit] += difference >> bit & 1
        shares = [count / pairs for count in changes]
        mean = sum(shares) / bits
        worst = max(shares, key=lambda share: abs(share - 0.5))
        yield Finding(
            check="avalanche",
            good=FLIPS[0] <= mean <= FLIPS[1] and WORST_FLIPS[0] <= worst <= WORST_FLIPS[1],
            measured=round(mean, 4),
            words=f"one bit of the key changes {mean:.1%} of the {bits} bits that choose the slot, "
            f"the worst of them {worst:.1%} of the time; 50 % is wanted",
            about=about,
        )


def _neighbours(kind: custom.Kind, key: bytes, *, seed: int) -> Iterator[bytes]:
    """The key with one bit changed, at up to 32 places."""
    if kind is custom.Kind.REQUEST:
        number = int(key)
        yield from (b"%d" % (number ^ 1 << bit) for bit in range(16))
        return
    length = len(key) * 8
    for step in range(min(_FLIPPED_BITS, length)):
        bit = hashing.mix64(seed << 8 | step) % length
        changed = bytearray(key)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def _cost(own: custom.Custom, *, clock: Callable[[], float]) -> Finding:
    """CPU time for a UUID, the best of some rounds: what the function costs, not the machine."""
    keys = samples.uuids(_TIMED)
    numbers = list(map(classic.number, keys))
    arguments: Sequence[Any] = numbers if own.code.kind is custom.Kind.REQUEST else keys
    best = math.inf
    for _ in range(_ROUNDS):
        start = clock()
        for argument in arguments:
            own.function(argument)
        best = min(best, clock() - start)
    cost = best / _TIMED * 1e6
    return Finding(
        check="cost",
        good=cost <= MICROSECONDS,
        measured=round(cost, 3),
        words=f"{cost:.2f} µs for a key of 36 bytes, at most {MICROSECONDS:g} are wanted",
    )


def _filled(own: custom.Custom, ids: Sequence[str], slots: int) -> list[int]:
    members = [(each, 100) for each in ids]
    owners = custom.filled(own.function, members, slots=slots)
    again = custom.filled(own.function, members, slots=slots)
    if owners != again:
        raise errors.RingInvalid("it places the same members differently the second time")
    return owners


def _number(value: int) -> str:
    """As a person reads it: 10⁷⁸ has too many digits."""
    return str(value) if abs(value) <= hashing.MASK64 else f"{float(value):.3g}"


def _shown(key: bytes) -> str:
    text = repr(key)[1:]
    return text if len(text) <= 40 else f"{text[:36]}…"  # noqa: PLR2004 – a line's worth
