"""What the schemes have in common whose slots lie on a circle: the next members are met clockwise.

Law: pure, no numpy. `owners` holds the serving member's index of every slot, in slot order.
"""

from __future__ import annotations

import collections
import itertools
from array import array
from collections.abc import Sequence


def first(owners: Sequence[int], *, members: int, width: int) -> array[int]:
    """The first `width` different members clockwise of every slot, flat; own slot included.

    Members that own no slot come last. One pass backwards: `nearest` ends with the nearest.
    """
    clockwise = dict.fromkeys((*owners, *range(members)))
    nearest = collections.OrderedDict.fromkeys(reversed(clockwise))
    table = array("H", bytes(2 * len(owners) * width))
    after = None
    candidates = array("H")
    for slot in range(len(owners) - 1, -1, -1):
        owner = owners[slot]
        if owner != after:
            nearest.move_to_end(owner)
            candidates = array("H", itertools.islice(reversed(nearest), width))
            after = owner
        table[slot * width : (slot + 1) * width] = candidates
    return table


def rank(slot: int, candidates: Sequence[int], *, members: int, width: int) -> list[int]:
    """All members in the order in which they are met clockwise of `slot` in a compiled table."""
    met: dict[int, None] = {}
    here = slot * width
    for entry in itertools.chain(
        range(here, len(candidates), width or 1), range(0, here, width or 1)
    ):
        met[candidates[entry]] = None
        if len(met) == members:
            break
    return list(met | dict.fromkeys(range(members)))
