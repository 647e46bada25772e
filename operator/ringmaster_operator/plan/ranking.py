"""Who goes first on scale-down.

Law: one pure function, total and deterministic; the order is design's and is tested as such.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ringmaster_operator import observed


def scale_down_order(
    places: Mapping[int, observed.Replica | None],
    *,
    in_ring: Collection[str],
    victims: Collection[str],
) -> Sequence[int]:
    """The ordinals in the order in which they go.

    `places` has the replica that stands for each ordinal, None where none lives; `in_ring` the
    uids of active members, `victims` names asked to go. First go those not running, not ready,
    not in the ring, named as victims; then lower deletion cost, ready for less long, more
    restarts, highest ordinal.
    """

    def rank(ordinal: int) -> tuple[object, ...]:
        replica = places[ordinal]
        if replica is None:
            return (0, 0, 0, 0, 0, 0.0, 0, -ordinal)
        named = replica.display_name in victims or replica.name in victims
        return (
            1 if replica.phase is observed.Phase.RUNNING else 0,
            1 if replica.ready else 0,
            1 if replica.uid in in_ring else 0,
            0 if named else 1,
            replica.deletion_cost,
            -(replica.ready_since or 0.0) if replica.ready else 0.0,
            -replica.restarts,
            -ordinal,
        )

    return sorted(places, key=rank)
