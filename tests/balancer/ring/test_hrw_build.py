from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringmaster_balancer import members
from ringmaster_balancer.ring import hashing, hrw, table

SLOTS = 1024
RING = members.Ring(slots=SLOTS)

WEIGHTS = st.one_of(st.just(100), st.integers(min_value=1, max_value=10_000))
SETS = st.dictionaries(st.text(min_size=1, max_size=6), WEIGHTS, max_size=40)


def build(weights: dict[str, int], **settings: Any) -> table.Table:
    return table.compile(RING, list(weights.items()), **settings)


@given(SETS)
def test_the_table_holds_the_beginning_of_every_slots_ranking(weights: dict[str, int]) -> None:
    compiled = build(weights)
    ranking = hrw.Hrw(compiled.places, hash64=hashing.xxh3, slots=SLOTS)
    for slot in range(0, SLOTS, 37):
        assert (
            list(compiled.first(slot))
            == ranking.rank(slot, candidates=(), width=0)[: compiled.width]
        )


@given(SETS, SETS)
def test_an_incremental_table_is_the_one_built_in_full(
    before: dict[str, int], after: dict[str, int]
) -> None:
    assert build(after, previous=build(before)) == build(after)


@given(st.data())
def test_one_members_change_is_the_one_built_in_full(data: st.DataObject) -> None:
    weights = data.draw(SETS.filter(lambda drawn: len(drawn) > 8))
    name = data.draw(st.sampled_from(sorted(weights)))
    without = {member: weight for member, weight in weights.items() if member != name}
    heavier = weights | {name: 10_001 - weights[name]}
    for one, other in ((without, weights), (weights, without), (weights, heavier)):
        assert build(other, previous=build(one)) == build(other)


@given(st.data())
def test_a_chain_of_changes_ends_where_a_full_build_does(data: st.DataObject) -> None:
    compiled, weights = build({}), dict[str, int]()
    for name, weight in data.draw(
        st.lists(st.tuples(st.sampled_from("abcdefghijklmnop"), WEIGHTS))
    ):
        if weights.get(name) == weight:
            del weights[name]
        else:
            weights[name] = weight
        compiled = build(weights, previous=compiled)
    assert compiled == build(weights)


@given(SETS)
def test_candidates_of_a_slot_are_distinct(weights: dict[str, int]) -> None:
    compiled = build(weights)
    assert compiled.width == min(len(weights), 3)
    for slot in range(SLOTS):
        assert len(set(compiled.first(slot))) == compiled.width


@given(st.data())
def test_only_the_keys_of_the_changed_member_move(data: st.DataObject) -> None:
    weights = data.draw(SETS.filter(bool))
    name = data.draw(st.sampled_from(sorted(weights)))
    without = {member: weight for member, weight in weights.items() if member != name}
    many, few = build(weights), build(without)
    for a, b in zip(table.owners(many), table.owners(few), strict=True):
        assert a in {b, name}
    change = table.difference(few, many)
    assert change.needless == 0
    assert change.moved == pytest.approx(table.shares(many)[name])


@given(st.data())
def test_a_heavier_member_only_gains(data: st.DataObject) -> None:
    weights = data.draw(SETS.filter(bool))
    name = data.draw(st.sampled_from(sorted(weights)))
    heavier = weights | {name: weights[name] + data.draw(st.integers(1, 10_000))}
    moves = table.difference(build(weights), build(heavier)).moves
    assert {to for _, to in moves} <= {name}


def test_at_a_thousand_members_a_change_is_merged_exactly() -> None:
    weights = {f"web-{ordinal}": 100 for ordinal in range(1000)}
    without = {member: 100 for member in weights if member != "web-500"}
    heavier = weights | {"web-500": 150}
    full = build(weights)
    assert build(weights, previous=build(without)) == full
    assert build(without, previous=full) == build(without)
    assert build(heavier, previous=full) == build(heavier)
    assert build(weights, previous=build(heavier)) == full
