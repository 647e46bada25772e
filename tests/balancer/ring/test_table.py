from __future__ import annotations

import collections
import hashlib
import random
import subprocess
import sys

import pytest
from ringmaster_balancer import errors, members
from ringmaster_balancer.ring import custom, hashing, table

RING = members.Ring()
GOLDEN = "69bb58b0d420635e88d35367d857feffe534ee51c50d91cdcb8f0f8231132de6"
KEYS = [b"user-%d" % number for number in range(900_000)]


def build(count: int, *, name: str = "web") -> table.Table:
    return table.compile(RING, [(f"{name}-{ordinal}", 100) for ordinal in range(count)])


@pytest.fixture(scope="module")
def slots() -> list[int]:
    """The slots of 900,000 keys: they depend on the hash and the number of slots alone."""
    return list(map(build(1).slot_of, KEYS))


def counts(compiled: table.Table, slots: list[int]) -> dict[str | None, int]:
    owners = table.owners(compiled)
    return collections.Counter(map(owners.__getitem__, slots))


@pytest.mark.parametrize("count", range(2, 7))
def test_900_000_keys_are_spread_evenly(count: int, slots: list[int]) -> None:
    by_member = counts(build(count), slots)
    assert sum(by_member.values()) == 900_000
    assert max(by_member.values()) * count / 900_000 <= 1.035
    # The keys follow the table's shares within five standard deviations of their sampling.
    for member, share in table.shares(build(count)).items():
        deviation = (900_000 * share * (1 - share)) ** 0.5
        assert abs(by_member[member] - 900_000 * share) < 5 * deviation


@pytest.mark.parametrize("count", range(2, 7))
def test_a_new_member_takes_its_share_and_not_one_key_more(count: int, slots: list[int]) -> None:
    few, many = table.owners(build(count - 1)), table.owners(build(count))
    newcomer = f"web-{count - 1}"
    moved = sum(few[slot] != many[slot] for slot in slots)
    assert all(many[slot] == newcomer for slot in slots if few[slot] != many[slot])
    assert moved == counts(build(count), slots)[newcomer]
    change = table.difference(build(count - 1), build(count))
    assert change.needless == 0
    assert change.moved == pytest.approx(table.shares(build(count))[newcomer])


@pytest.mark.parametrize("gone", range(4))
def test_a_member_that_goes_moves_its_own_keys_and_no_other(gone: int) -> None:
    rest = [(f"web-{ordinal}", 100) for ordinal in range(4) if ordinal != gone]
    before, after = build(4), table.compile(RING, rest)
    change = table.difference(before, after)
    assert {source for source, _ in change.moves} == {f"web-{gone}"}
    assert change.moved == pytest.approx(table.shares(before)[f"web-{gone}"])
    # Its keys go to their next candidates, which the table knew before.
    owners = table.owners(after)
    for slot in range(before.slots):
        first, second, _ = (before.ids[index] for index in before.first(slot))
        assert owners[slot] == (second if first == f"web-{gone}" else first)


def test_the_order_of_the_list_does_not_matter() -> None:
    listed = [(f"web-{ordinal}", 100 + ordinal) for ordinal in range(20)]
    shuffled = random.Random(7).sample(listed, k=20)
    assert table.compile(RING, listed) == table.compile(RING, shuffled)


@pytest.mark.parametrize("settings", [{}, {"scheme": "classic"}])
def test_two_processes_agree_on_every_slot_and_key(settings: dict[str, str]) -> None:
    code = f"""
import hashlib
from ringmaster_balancer import members
from ringmaster_balancer.ring import table
compiled = table.compile(
    members.Ring(**{settings!r}), list({{f"web-{{i}}": 100 for i in range(9)}}.items())
)
slots = [compiled.slot_of(b"user-%d" % number) for number in range(10_000)]
print(hashlib.sha256(compiled.to_bytes() + repr(slots).encode()).hexdigest())
"""
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout.strip()
        for seed in ("0", "4711")
    }
    compiled = table.compile(
        members.Ring.model_validate(settings), [(f"web-{i}", 100) for i in range(9)]
    )
    slots = [compiled.slot_of(key) for key in KEYS[:10_000]]
    digest = hashlib.sha256(compiled.to_bytes() + repr(slots).encode()).hexdigest()
    assert digests == {digest.encode()}


def test_the_table_is_what_it_was_in_the_first_release() -> None:
    # Balancers of two versions side by side must agree: a new digest here moves users' keys.
    digest = hashlib.sha256(build(5).candidates.tobytes()).hexdigest()
    assert sys.byteorder == "big" or digest == GOLDEN


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10])
def test_a_table_survives_the_way_to_a_worker(count: int) -> None:
    compiled = build(count)
    arrived = table.from_bytes(compiled.to_bytes())
    assert arrived == compiled
    assert arrived.slot_of(b"key") == compiled.slot_of(b"key")
    assert list(arrived.more(5)) == list(compiled.more(5))


def test_a_worker_needs_no_numpy() -> None:
    code = (
        "import sys; from ringmaster_balancer.control import explain; from ringmaster_balancer.dataplane import keys;"
        "from ringmaster_balancer.ring import table;"
        "compiled = table.from_bytes(sys.stdin.buffer.read()); compiled.more(7);"
        "compiled.slot_of(b'key'); print('numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=build(10).to_bytes(), capture_output=True, check=True
    )
    assert done.stdout.strip() == b"False"


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda data: data[:-2],
        lambda data: data[:20],
        lambda data: b"X" + data[1:],
        lambda data: data + b"\0",
    ],
)
def test_damaged_bytes_are_no_table(damage) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError):
        table.from_bytes(damage(build(3).to_bytes()))


def test_more_lists_every_member_once_beginning_with_the_known_ones() -> None:
    compiled = build(10)
    for slot in (0, 1, 999, 65_535):
        ranked = compiled.more(slot)
        assert sorted(ranked) == list(range(10))
        assert list(compiled.first(slot)) == ranked[:3] == [ranked[0], ranked[1], ranked[2]]
        assert (len(ranked), ranked[9], ranked[-1]) == (10, [*ranked][9], [*ranked][9])
        with pytest.raises(IndexError):
            ranked[10]


def test_a_random_slot_is_any_slot() -> None:
    compiled = build(3)
    assert (compiled.draw(0.0), compiled.draw(0.5)) == (0, 32_768)
    assert compiled.draw(1 - 2**-53) == 65_535


def test_known_candidates_are_read_without_ranking() -> None:
    compiled = build(10)
    order = table.Order(compiled, 7)
    assert [order[0], order[1], order[2]] == list(compiled.first(7))
    assert order._all is None


def test_a_ring_without_members_serves_nobody() -> None:
    empty = build(0)
    assert (empty.width, empty.ids, list(empty.candidates)) == (0, (), [])
    assert list(empty.more(3)) == []
    assert table.shares(empty) == {}
    assert table.difference(empty, build(1)).moves == {(None, "web-0"): 1.0}
    with pytest.raises(ValueError, match="without members"):
        table.evenness(empty)


def test_evenness_compares_shares_with_weights() -> None:
    even = table.evenness(table.compile(RING, [("a", 100), ("b", 300)]))
    assert 0.98 <= even.smallest <= 1 <= even.largest <= 1.02
    assert even.deviation == pytest.approx((even.largest - even.smallest) / 2)


def test_tables_that_find_slots_differently_are_not_compared() -> None:
    for other in (members.Ring(hash="xxh64"), members.Ring(slots=512)):
        with pytest.raises(ValueError, match="different ways"):
            table.difference(build(2), table.compile(other, [("web-0", 1)]))


def test_a_previous_table_of_another_kind_is_no_start() -> None:
    listed = [(f"web-{ordinal}", 100) for ordinal in range(10)]
    for other in (members.Ring(slots=512), members.Ring(scheme="classic")):
        previous = table.compile(other, listed)
        assert table.compile(RING, listed, previous=previous) == table.compile(RING, listed)


def test_a_custom_hash_decides_the_slots() -> None:
    ring = members.Ring(hash="my:hash")
    own = own_hash(lambda _key: hashing.MASK64)
    compiled = table.compile(ring, [("a", 1)], own=own)
    assert compiled.slot_of(b"anything") == 65_535
    arrived = table.from_bytes(compiled.to_bytes(), load=lambda _code: own)
    assert arrived == compiled
    assert arrived.slot_of(b"anything") == 65_535


def test_a_ring_whose_function_was_not_loaded_is_none() -> None:
    ring = members.Ring(hash="my:hash")
    with pytest.raises(errors.RingInvalid, match="was not loaded"):
        table.compile(ring, [("a", 1)])
    compiled = table.compile(ring, [("a", 1)], own=own_hash(hashing.md5))
    with pytest.raises(errors.RingInvalid, match="was not loaded"):
        table.from_bytes(compiled.to_bytes())


def own_hash(function, kind: custom.Kind = custom.Kind.KEY) -> custom.Custom:  # type: ignore[no-untyped-def]
    code = custom.Code(reference="my:hash", source="", digest="d", kind=kind, golden=(("00", 7),))
    return custom.Custom(code=code, function=function)
