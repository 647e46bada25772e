"""Hash functions and schemes as users write them, good ones and bad ones."""

from __future__ import annotations

from pathlib import Path

GOOD = '''
import hashlib


def blake(key: bytes) -> int:
    """BLAKE2b's first eight bytes."""
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest())
'''

FIBONACCI = """
def fibonacci(request: int) -> int:
    return ((request * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF) >> 20
"""

ASSIGNMENT = '''
def H(i: int) -> int:
    return i * i + 2 * i + 17


def modulo(i: int) -> int:
    return i


def phi(i, j):
    return i * i + j * j + 2 * j + 25


def ring(members, slots):
    """Nine virtual servers of each, linear probing, the nearest clockwise."""
    points = [None] * slots
    for number in range(len(members)):
        for virtual in range(9):
            slot = phi(number + 1, virtual) % slots
            while points[slot] is not None:
                slot = (slot + 1) % slots
            points[slot] = number
    owner = next(point for point in points if point is not None)
    owners = [0] * slots
    for slot in reversed(range(slots)):
        owner = points[slot] if points[slot] is not None else owner
        owners[slot] = owner
    return owners
'''

BAD = """
import zlib


def seeded(key: bytes) -> int:
    return hash(key) & 0xFFFFFFFFFFFFFFFF


def crc(key: bytes) -> int:
    return zlib.crc32(key)


def fnv(key: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in key:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


calls = 0


def counter(key: bytes) -> int:
    global calls
    calls += 1
    return calls


def negative(key: bytes) -> int:
    return -1


def too_large(key: bytes) -> int:
    return 1 << 64


def text(key: bytes) -> str:
    return key.decode("ascii")


def floating(key: bytes) -> float:
    return 0.5


def slow(key: bytes) -> int:
    value = 0
    for _ in range(2_000):
        value = (value * 31 + len(key)) & 0xFFFFFFFFFFFFFFFF
    return value


def endless(key: bytes) -> int:
    while True:
        pass


def leaves(key: bytes) -> int:
    raise SystemExit(3)


def three(a, b, c):
    return 1


nothing = 4
"""

SCHEMES = '''
import xxhash


def rendezvous(members, slots):
    """Weights are not heeded."""
    names = [name.encode() for name, _ in members]
    return [
        max(range(len(names)), key=lambda m: xxhash.xxh64_intdigest(b"%d %b" % (slot, names[m])))
        for slot in range(slots)
    ]


def round_robin(members, slots):
    return [slot % len(members) for slot in range(slots)]


def short(members, slots):
    return [0]


def strangers(members, slots):
    return [len(members)] * slots
'''

HOGS = """
import os
import sys
import time


def memory(key: bytes) -> int:
    return len(bytearray(1 << 30))


def prints(key: bytes) -> int:
    while True:
        print("x" * 4096)


children = []


def forks(key: bytes) -> int:
    if not children:
        children.append(os.fork())
        if not children[0]:
            time.sleep(600)
    return 1


def forks_silently(key: bytes) -> int:
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)


def places_slowly(members, slots):
    while ("web-0", 100) in members:
        pass
    return PLACES(members, slots)


def places_after_all(members, slots):
    if ("web-0", 100) in members and "ringmaster_balancer.control.gate" in sys.modules:
        raise AssertionError("in the control process")
    return PLACES(members, slots)


def PLACES(members, slots):
    import xxhash

    names = [name.encode() for name, _ in members]
    return [
        max(range(len(names)), key=lambda m: xxhash.xxh64_intdigest(b"%d %b" % (slot, names[m])))
        for slot in range(slots)
    ]
"""

BROKEN = "def broken(:\n"


def folder(path: Path) -> Path:
    """All of them as files, as `--hash-path` has them."""
    path.mkdir(exist_ok=True)
    for name, text in {
        "good": GOOD,
        "fib": FIBONACCI,
        "students": ASSIGNMENT,
        "bad": BAD,
        "schemes": SCHEMES,
        "hogs": HOGS,
        "broken": BROKEN,
    }.items():
        (path / f"{name}.py").write_text(text)
    return path
