"""The requests of an experiment: keys drawn from a seed.

Law: pure. The same seed, number of servers and count give the same keys in the same order, on any
machine: that is what makes a run replayable and a simulation comparable with it, key by key.
"""

from __future__ import annotations

import random

LOWEST, HIGHEST = 100_000, 999_999  # the assignment's request ids: decimal numbers of six digits


def keys(seed: int, *, servers: int, count: int) -> list[bytes]:
    """`count` request ids, drawn independently: some come twice, as in real traffic.

    They do not depend on the ring, so that hash functions are compared on the same requests.
    """
    # A text as seed goes through SHA-512 in `random`; choices is floor(random() × range) by its
    # documentation, so it does not change with Python's version.
    source = random.Random(f"{seed}/{servers}/{count}")  # noqa: S311 – a replayable draw, no secret
    return [b"%d" % number for number in source.choices(range(LOWEST, HIGHEST + 1), k=count)]
