"""The requests of the last five minutes, by slot.

Law: pure, with numpy; in the control process. Workers count each request in a plain array and hand
over what came since they were last asked; here it is kept in pieces of half a minute. Counts belong
to one way of finding slots: another begins at nothing. Times are seconds on one clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ringmaster_balancer.ring import comparison

SECONDS = 300.0
PIECE_SECONDS = 30.0
_PIECES = int(SECONDS / PIECE_SECONDS)

_Counts = NDArray[np.uint32]


@dataclass(slots=True)
class _Piece:
    """What was counted from `since` on: pairs of slots and counts."""

    since: float
    parts: list[tuple[_Counts, _Counts]] = field(default_factory=list)


class Window:
    """Counts of one ring; `begin` for another."""

    def __init__(self, *, now: float) -> None:
        self._since = now
        self._pieces = deque([_Piece(now)], maxlen=_PIECES + 1)

    def begin(self, *, now: float) -> None:
        """From now on slots mean something else."""
        self._since = now
        self._pieces.clear()
        self._pieces.append(_Piece(now))

    def add(self, counts: bytes, *, now: float) -> None:
        """What a worker has counted: an unsigned 32-bit number (native order) for every slot."""
        piece = self._pieces[-1]
        if now - piece.since >= PIECE_SECONDS:
            self._pieces.append(piece := _Piece(now))
        dense = np.frombuffer(counts, dtype=np.uint32)
        slots = np.flatnonzero(dense)
        if len(slots):
            piece.parts.append((slots.astype(np.uint32), dense[slots].copy()))

    def hits(self, *, now: float) -> comparison.Hits:
        """The last five minutes, or as long as there is something to tell."""
        kept = [piece for piece in self._pieces if now - piece.since <= SECONDS + PIECE_SECONDS]
        parts = [part for piece in kept for part in piece.parts]
        since = max(self._since, kept[0].since) if kept else now
        if not parts:
            nothing = np.zeros(0, dtype=np.uint32)
            return comparison.Hits(now - since, nothing, nothing)
        slots, places = np.unique(np.concatenate([part[0] for part in parts]), return_inverse=True)
        counts = np.bincount(places, weights=np.concatenate([part[1] for part in parts]))
        return comparison.Hits(now - since, slots, counts.astype(np.uint32))
