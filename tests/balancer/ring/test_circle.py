from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from ringmaster_balancer.ring import circle

OWNERS = st.lists(st.integers(min_value=0, max_value=5), min_size=1, max_size=40)


@given(owners=OWNERS, width=st.integers(min_value=1, max_value=3))
def test_first_is_the_beginning_of_the_walk_from_every_slot(owners: list[int], width: int) -> None:
    table = circle.first(owners, members=6, width=width)
    for slot in range(len(owners)):
        walk = dict.fromkeys((*owners[slot:], *owners[:slot]))
        kept = list(table[slot * width : (slot + 1) * width])
        assert kept[: len(walk)] == list(walk)[:width]
        assert len(set(kept)) == width
        ranked = circle.rank(slot, table, members=6, width=width)
        assert ranked[: len(walk)] == list(walk)
        assert sorted(ranked) == list(range(6))


def test_a_circle_of_nobody_is_empty() -> None:
    assert list(circle.first((), members=0, width=0)) == []
    assert circle.rank(0, (), members=0, width=0) == []
