"""The check: what our own hashes pass and what the assignment's cannot."""

from __future__ import annotations

import itertools
import random
import zlib

import pytest
from ringmaster_balancer.ring import checks, classic, custom, hashing

CALLS = itertools.count()


def own(function, kind=custom.Kind.KEY):
    code = custom.Code(reference="m:f", source="", digest="", kind=kind)
    return custom.Custom(code=code, function=function)


def clock(step=1e-6):
    ticks = itertools.count()
    return lambda: next(ticks) * step


def found(function, kind=custom.Kind.KEY, *, slots=65_536, even=True):
    return list(checks.hash_findings(own(function, kind), slots=slots, even=even, clock=clock()))


def failed(findings):
    return {finding.check for finding in findings if not finding.good}


@pytest.mark.parametrize("name", sorted(hashing.BY_NAME))
@pytest.mark.parametrize("slots", [512, 65_536, 65_537])
def test_each_of_our_own_hashes_passes(name, slots):
    assert failed(found(hashing.BY_NAME[name], slots=slots)) == set()


def test_the_assignments_hash_reaches_87_of_512_slots_and_is_no_default():
    findings = found(classic.h, custom.Kind.REQUEST, slots=512)
    assert failed(findings) >= {"reachable slots", "chi-square", "avalanche"}
    words = next(finding.words for finding in findings if not finding.good)
    assert words.startswith("reaches 87 of 512 slots")
    wide = next(finding for finding in found(classic.h, custom.Kind.REQUEST) if not finding.good)
    assert "reaches 10924 of 65536 slots (87 of 512)" in wide.words


def test_on_the_assignments_own_ring_only_what_would_break_it_counts():
    assert failed(found(classic.h, custom.Kind.REQUEST, slots=512, even=False)) == set()
    assert failed(found(lambda _r: -1, custom.Kind.REQUEST, slots=512, even=False)) == {"range"}


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (lambda _key: -1, "range"),
        (lambda _key: 1 << 64, "range"),
        (lambda _key: True, "range"),
        (lambda key: key.decode("ascii"), "range"),
        (lambda key: 1 // len(key.strip(b"\0 ")), "range"),
        (lambda key: hashing.xxh3(key) ^ next(CALLS), "repeatable"),
        (lambda _key: 7, "reachable slots"),
        (zlib.crc32, "reachable slots"),
        (lambda key: hashing.xxh3(key[:8]), "chi-square"),
        (lambda key: hashing.xxh3(key) & ~(1 << 58), "chi-square"),
        (lambda key: int.from_bytes(key[:8].ljust(8)), "avalanche"),
    ],
)
def test_each_mistake_is_found(function, wanted):
    assert wanted in failed(found(function))


def test_what_costs_too_much_is_said_with_its_cost():
    slow = list(checks.hash_findings(own(hashing.xxh3), slots=64, even=False, clock=clock(1.0)))
    cost = next(finding for finding in slow if finding.check == "cost")
    assert not cost.good
    assert "1000.00 µs" in cost.words


def test_chi_square_is_that_of_chance_for_chance():
    # The mean of many draws lies within four standard errors of nought, and no draw is far off.
    results = []
    for seed in range(40):
        chance = random.Random(seed)
        counted = checks.Counted.of(chance.randrange(65_537) for _ in range(16_384))
        results.append(checks.chi_square(counted, slots=65_537)[0])
    assert abs(sum(results) / 40) < 4 / 40**0.5
    assert max(map(abs, results)) < 5
    assert checks.chi_square(checks.Counted(1, {0: 1}), slots=1) == (0.0, 1)


def test_a_scheme_is_judged_by_shares_and_moves():
    def judged(function, slots=1_024):
        fill = own(function, custom.Kind.FILL)
        return failed(checks.fill_findings(fill, slots=slots, whole=slots, clock=clock()))

    def rendezvous(members, slots):
        return [
            max(
                range(len(members)),
                key=lambda m: hashing.mix64(slot ^ hashing.xxh64(members[m][0].encode())),
            )
            for slot in range(slots)
        ]

    assert judged(rendezvous) == set()
    assert judged(lambda m, n: [slot % len(m) for slot in range(n)]) == {"moves"}
    assert judged(lambda _m, n: [0] * n) == {"evenness"}
    # Jump hash (Lamping and Veach 2014) numbers members by their place: good at the end alone.
    assert judged(lambda m, n: [jump(hashing.mix64(slot), len(m)) for slot in range(n)]) == {
        "moves"
    }


def jump(key, buckets):
    """The paper's figure 1."""
    chosen, following = -1, 0
    while following < buckets:
        chosen = following
        key = (key * 2862933555777941757 + 1) & hashing.MASK64
        following = int((chosen + 1) * (float(1 << 31) / float((key >> 33) + 1)))
    return chosen


def test_two_processes_that_differ_are_told_the_key():
    same = [("61", 1), ("ff", 2)]
    assert checks.differing(same, same) == ""
    assert checks.differing(same, [("61", 1), ("ff", 3)]) == (
        r"key '\xff' gives 2 in one process, 3 in another"
    )
