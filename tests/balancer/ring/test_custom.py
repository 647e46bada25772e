"""Functions of the user's own as a ring's hash."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringmaster_balancer import errors
from ringmaster_balancer.ring import classic, custom, hashing, scheme


def code(kind, **fields):
    return custom.Code(reference="m:f", source="x", digest="d", kind=kind, **fields)


def own(kind, function):
    return custom.Custom(code=code(kind), function=function)


@pytest.mark.parametrize("reference", ["m:f", "a.b_c:F1", "_m:_f"])
def test_module_and_name_are_told_apart(reference):
    assert custom.parts(reference) == tuple(reference.split(":"))


@pytest.mark.parametrize("reference", ["xxh3", "m:", ":f", "m:f:g", "../m:f", "m/n:f", "m:f()", ""])
def test_anything_else_is_no_function_of_the_users(reference):
    assert custom.parts(reference) is None


def test_code_survives_the_way_to_another_process():
    before = code(custom.Kind.REQUEST, golden=(("00ff", 1 << 70), ("", 0)))
    assert custom.Code.from_document(before.to_document()) == before


@given(st.integers(1, 100_000), st.integers(0, 10**9))
def test_a_hash_of_requests_meets_the_very_slot_that_modulo_gives(slots, request):
    hash64 = own(custom.Kind.REQUEST, classic.h).hash64(slots)
    slot = scheme.by_high_bits(hash64, slots=slots)(b"%d" % request)
    assert slot == classic.h(request) % slots


@given(st.binary(min_size=1, max_size=40))
def test_no_key_can_fail_a_request(key):
    def fails(_key):
        raise ValueError("no")

    for function in (fails, lambda _key: "text", lambda _key: None, lambda _key: 0.5):
        for kind in (custom.Kind.KEY, custom.Kind.REQUEST):
            assert own(kind, function).hash64(512)(key) == hashing.xxh3(key)
    wide = own(custom.Kind.KEY, lambda _key: -1).hash64(512)
    assert wide(key) == hashing.MASK64


def test_a_request_that_the_function_cannot_hash_is_its_own_hash():
    def odd(request):
        return 1 // (request % 2)

    key_hash = custom.requests(own(custom.Kind.REQUEST, odd))
    assert [key_hash(request) for request in (1, 2, 3, 4)] == [1, 2, 1, 4]


def test_owners_are_indices_of_members_and_as_many_as_slots():
    members = [("a", 100), ("b", 100)]
    assert custom.filled(lambda m, n: [len(m) - 1] * n, members, slots=3) == [1, 1, 1]
    for wrong in (lambda _m, _n: [0], lambda _m, n: [2] * n, lambda _m, n: [-1] * n,
                  lambda _m, n: ["a"] * n, lambda _m, n: [True] * n, lambda _m, _n: None,
                  lambda _m, _n: 1 // 0):  # fmt: skip
        with pytest.raises(errors.RingInvalid) as said:
            custom.filled(wrong, members, slots=3)
        assert said.value.faults[0].path == "ring.hash"
