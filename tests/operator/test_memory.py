from __future__ import annotations

import json

import pytest
import simulation
from hypothesis import given
from hypothesis import strategies as st
from ringmaster_operator import memory, observed

SECONDS = st.floats(0, 2e9, allow_nan=False)
TEXT = st.text(max_size=8)
MEMORIES = st.builds(
    memory.Memory,
    epoch=st.integers(0, 2**60),
    places=st.dictionaries(
        st.integers(0, 99),
        st.builds(
            memory.Place,
            reason=st.sampled_from(observed.Reason),
            not_before=SECONDS,
            name=TEXT,
            failures=st.integers(0, 99),
        ),
        max_size=3,
    ),
    drains=st.dictionaries(
        TEXT, st.builds(memory.Drain, since=SECONDS, released_at=st.none() | SECONDS), max_size=2
    ),
    proven=st.lists(TEXT, max_size=2).map(tuple),
    members=st.lists(
        st.builds(
            memory.Member,
            id=TEXT,
            replica=TEXT,
            state=TEXT,
            address=st.none() | TEXT,
            uid=TEXT,
            created_at=SECONDS,
        ),
        max_size=2,
    ).map(tuple),
    revisions=st.lists(
        st.builds(
            memory.Revision,
            hash=TEXT,
            number=st.integers(1, 9),
            template=st.just(simulation.template()),
        ),
        max_size=2,
    ).map(tuple),
    stand_ins=st.dictionaries(
        TEXT, st.builds(memory.StandIn, said=SECONDS, at=SECONDS), max_size=2
    ),
    progress=st.builds(memory.Progress, target=TEXT, at=SECONDS),
    failure=st.tuples(TEXT, TEXT),
)


@given(MEMORIES)
def test_what_was_saved_is_what_is_loaded(value: memory.Memory) -> None:
    assert memory.Memory.from_json(value.to_json()) == value


def test_equal_memories_give_equal_texts() -> None:
    places = {1: memory.Place(), 0: memory.Place()}
    turned = dict(reversed(places.items()))
    assert memory.Memory(places=places).to_json() == memory.Memory(places=turned).to_json()


def test_an_empty_object_is_the_memory_of_a_new_set() -> None:
    assert memory.Memory.from_json("{}") == memory.Memory()


def test_fields_of_a_later_version_are_left_out() -> None:
    raw = json.loads(memory.Memory(places={0: memory.Place()}).to_json())
    raw["mood"] = raw["places"]["0"]["mood"] = "good"
    assert memory.Memory.from_json(json.dumps(raw)) == memory.Memory(places={0: memory.Place()})


def test_what_is_no_value_is_refused() -> None:
    odd = memory.Memory(failure=("", object()))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        odd.to_json()
