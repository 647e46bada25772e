from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from ringmaster_balancer.ring import scheme


@given(
    number=st.integers(min_value=0, max_value=2**64 - 1),
    slots=st.sampled_from([1, 2, 3, 512, 1000, 65_536, 65_537, 16_777_216]),
)
def test_a_slot_is_the_hash_times_the_slots_without_its_low_64_bits(
    number: int, slots: int
) -> None:
    slot_of = scheme.by_high_bits(lambda _key: number, slots=slots)
    assert slot_of(b"") == number * slots >> 64 < slots
