from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from ringmaster_balancer.ring import hashing

ANY_64_BITS = st.integers(min_value=0, max_value=2**64 - 1)


@pytest.mark.parametrize("key", [b"", b"a", b"web-0", bytes(range(256)) * 5])
def test_xxh3_and_xxh64_are_the_librarys_own(key: bytes) -> None:
    assert hashing.xxh3(key) == xxhash.xxh3_64(key, seed=0).intdigest()
    assert hashing.xxh64(key) == xxhash.xxh64(key, seed=0).intdigest()


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        # xxHash's published sanity values for an empty input and seed 0.
        ("xxh3", b"", 0x2D06_8005_38D3_94C2),
        ("xxh64", b"", 0xEF46_DB37_51D8_E999),
        # RFC 1321 appendix A.5.
        ("md5", b"", 0xD41D_8CD9_8F00_B204),
        ("md5", b"abc", 0x9001_5098_3CD2_4FB0),
        # The check value of CRC-32/ISO-HDLC, and the published FNV-1a of "foobar", then mixed.
        ("crc32", b"123456789", hashing.mix64(0xCBF4_3926)),
        ("fnv1a", b"foobar", hashing.mix64(0x8594_4171_F739_67E8)),
    ],
)
def test_a_hash_has_its_published_value(name: str, key: bytes, value: int) -> None:
    assert hashing.BY_NAME[name](key) == value


def test_mix64_is_splitmix64s_output() -> None:
    # splitmix64 seeded with 0 mixes the multiples of the golden gamma: its first three outputs.
    gamma = 0x9E37_79B9_7F4A_7C15
    outputs = [hashing.mix64(step * gamma % 2**64) for step in (1, 2, 3)]
    assert outputs == [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4, 0x06C4_5D18_8009_454F]


@given(st.lists(ANY_64_BITS, min_size=1, max_size=50))
def test_mixing_an_array_is_mixing_each_element(values: list[int]) -> None:
    array = np.array(values, dtype=np.uint64)
    mixed = hashing.mix64_in_place(array, np.empty_like(array))
    assert mixed.tolist() == [hashing.mix64(value) for value in values]


@given(ANY_64_BITS, ANY_64_BITS)
def test_mix64_never_maps_two_values_to_one(one: int, other: int) -> None:
    assert (hashing.mix64(one) == hashing.mix64(other)) == (one == other)


@pytest.mark.parametrize("name", sorted(hashing.BY_NAME))
@given(key=st.binary(max_size=64))
def test_every_hash_is_an_unsigned_64_bit_integer(name: str, key: bytes) -> None:
    assert 0 <= hashing.BY_NAME[name](key) < 2**64


@pytest.mark.parametrize("name", sorted(hashing.BY_NAME))
def test_every_hash_spreads_consecutive_numbers_over_its_high_bits(name: str) -> None:
    # 65,536 keys in 64 slots, 1,024 expected in each: chi-square with 63 degrees of freedom stays
    # below 120 but once in 40,000 draws, and the keys are fixed.
    counts = [0] * 64
    for number in range(65_536):
        counts[hashing.BY_NAME[name](str(number).encode()) >> 58] += 1
    assert sum((count - 1024) ** 2 / 1024 for count in counts) < 120


def test_hashes_do_not_depend_on_pythons_own_seed() -> None:
    code = (
        "from ringmaster_balancer.ring import hashing;"
        "print([hash64(b'web-0') for hash64 in hashing.BY_NAME.values()])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_md5_works_where_it_is_barred_from_security() -> None:
    assert hashing.md5(b"x") == int.from_bytes(hashlib.md5(b"x").digest()[:8])
