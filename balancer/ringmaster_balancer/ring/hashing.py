"""Hash functions by name: bytes in, an unsigned 64-bit integer out, the same in every process.

Law: pure, and free of numpy: workers import it. A slot is taken from a hash's high bits, so every
function here spreads over all 64; those of 32 bits or with weak high bits go through `mix64`.
Custom functions (`module:name`) are not known here: the gate that admits them hands them over.
"""

from __future__ import annotations

import hashlib
import types
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import xxhash

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Hash64 = Callable[[bytes], int]

MASK64 = 0xFFFF_FFFF_FFFF_FFFF
_FNV_OFFSET = 0xCBF2_9CE4_8422_2325
_FNV_PRIME = 0x0000_0100_0000_01B3
_MULTIPLY_1 = 0xBF58_476D_1CE4_E5B9
_MULTIPLY_2 = 0x94D0_49BB_1331_11EB


def mix64(value: int) -> int:
    """splitmix64's finaliser (Steele, Lea, Flood 2014): a bijection of 64 bits that spreads all."""
    value = ((value ^ (value >> 30)) * _MULTIPLY_1) & MASK64
    value = ((value ^ (value >> 27)) * _MULTIPLY_2) & MASK64
    return value ^ (value >> 31)


def mix64_in_place(values: NDArray[np.uint64], scratch: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """`mix64` of every element, written over `values`; `scratch` has the same shape.

    Python integers take the array's type here (NEP 50), so numpy itself is not needed.
    """
    for shift, factor in ((30, _MULTIPLY_1), (27, _MULTIPLY_2)):
        scratch[...] = values
        scratch >>= shift
        values ^= scratch
        values *= factor
    scratch[...] = values
    scratch >>= 31
    values ^= scratch
    return values


def md5(data: bytes) -> int:
    """The first eight bytes of MD5, big-endian."""
    return int.from_bytes(hashlib.md5(data, usedforsecurity=False).digest()[:8])


def crc32(data: bytes) -> int:
    """CRC-32 (IEEE, as zlib's) spread over 64 bits by `mix64`; 2³² different values at most."""
    return mix64(zlib.crc32(data))


def fnv1a(data: bytes) -> int:
    """FNV-1a of 64 bits, then `mix64`: its own high bits hardly know the last bytes of a key."""
    value = _FNV_OFFSET
    for byte in data:
        value = ((value ^ byte) * _FNV_PRIME) & MASK64
    return mix64(value)


xxh3: Hash64 = xxhash.xxh3_64_intdigest
xxh64: Hash64 = xxhash.xxh64_intdigest

BY_NAME: Mapping[str, Hash64] = types.MappingProxyType(
    {"xxh3": xxh3, "xxh64": xxh64, "md5": md5, "crc32": crc32, "fnv1a": fnv1a}
)
