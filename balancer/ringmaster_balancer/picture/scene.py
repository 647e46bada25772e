"""What there is to draw: members with their shares and states, and who owns which slot.

Law: pure; made from a table, a membership and health, or by hand.
"""

from __future__ import annotations

import colorsys
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ringmaster_balancer import members
from ringmaster_balancer.ring import table as tables

# Distinct for most eyes, none of them the red of an alarm.
_PALETTE = (
    *("#3b6fb6", "#e08a1e", "#2f9e77", "#8e5bd0", "#d9577a", "#1d9db5"),
    *("#8c6d46", "#b3a31b", "#5560c4", "#74a832", "#a83279", "#607d8b"),
)
_GOLDEN = 0.618033988749895
_ASCII_DIGITS = "0123456789"
_DIGITS = re.compile(r"([0-9]+)")
SECTORS = 720  # of a ring with more slots every so many-th is drawn


@dataclass(frozen=True, slots=True)
class Seat:
    """One member id. `share` and `ideal` are parts of the key space, 0 to 1."""

    id: str
    share: float
    ideal: float
    colour: str
    state: str = "active"
    healthy: bool = True

    @property
    def serves(self) -> bool:
        """Whether its keys meet it; else they go to their next candidates."""
        return self.state == "active" and self.healthy

    @property
    def condition(self) -> str:
        """`active`, `unhealthy`, `draining` or `absent`."""
        return "unhealthy" if self.state == "active" and not self.healthy else self.state


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring slots of one owner, as parts of a turn; `seat` -1: nobody."""

    begin: float
    end: float
    seat: int


@dataclass(frozen=True, slots=True)
class Scene:
    """A ring at one moment. `sampled`: how many slots `runs` stand for, 0 if all are shown."""

    title: str
    scheme: str
    hash: str
    slots: int
    generation: int
    seats: tuple[Seat, ...]
    runs: tuple[Run, ...]
    sampled: int = 0


def colours(ids: Sequence[str]) -> dict[str, str]:
    """A colour for each id; one that comes behind the others changes nobody's."""
    return {each: _colour(index) for index, each in enumerate(sorted(ids, key=natural))}


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """For sorting: web-2 before web-10."""
    return tuple(
        (int(part), "") if part[0] in _ASCII_DIGITS else (-1, part)
        for part in _DIGITS.split(name)
        if part
    )


def of(
    compiled: tables.Table,
    *,
    title: str,
    membership: members.Membership,
    healthy: Mapping[str, bool],
) -> Scene:
    """The scene of a compiled ring and what is known of its members."""
    shares = tables.shares(compiled)
    weights = dict(zip(compiled.ids, compiled.places.weights, strict=True))
    total = sum(weights.values()) or 1
    standing = _standing(membership)
    palette = colours(compiled.ids)
    seats = tuple(
        Seat(
            id=each,
            share=shares[each],
            ideal=weights[each] / total,
            colour=palette[each],
            state=str(standing[each].state) if each in standing else "absent",
            healthy=healthy.get(standing[each].replica, True) if each in standing else False,
        )
        for each in sorted(compiled.ids, key=natural)
    )
    runs, sampled = _runs(compiled, {seat.id: index for index, seat in enumerate(seats)})
    return Scene(
        title=title,
        scheme=compiled.scheme,
        hash=compiled.hash_name,
        slots=compiled.slots,
        generation=membership.generation,
        seats=seats,
        runs=runs,
        sampled=sampled,
    )


def words(scene: Scene) -> str:
    """The scene for those who do not see it."""
    listed = "; ".join(
        f"{seat.id} has {seat.share:.1%} of the keys, {seat.ideal:.1%} would be its due, "
        f"{seat.condition}"
        for seat in scene.seats
    )
    return f"{summary(scene)}. {listed}." if listed else f"{summary(scene)}. Nobody serves."


def summary(scene: Scene) -> str:
    """The scene in one line."""
    count = len(scene.seats)
    return (
        f"{scene.title}, generation {scene.generation}: {count} member{'' if count == 1 else 's'}, "
        f"scheme {scene.scheme}, hash {scene.hash}, {scene.slots} slots"
    )


def _standing(membership: members.Membership) -> dict[str, members.Member]:
    """The entry that stands for each id: the active one, else another."""
    order = {members.State.ACTIVE: 0, members.State.ABSENT: 1, members.State.DRAINING: 2}
    standing: dict[str, members.Member] = {}
    for member in sorted(membership.members, key=lambda member: order[member.state]):
        standing.setdefault(member.id, member)
    return standing


def _runs(compiled: tables.Table, seats: Mapping[str, int]) -> tuple[tuple[Run, ...], int]:
    """The slots of one owner side by side; of a large ring a sample at equal distances."""
    bounds = compiled.bounds()
    if bounds.space.startswith(("crc32", "md5")) and bounds.lasts and bounds.slots:
        return _arcs(compiled, bounds.lasts, bounds.slots, size=bounds.size, seats=seats), 0
    sampled = SECTORS if compiled.slots > SECTORS * 2 else 0
    shown = sampled or compiled.slots
    owners = [_owner(compiled, index * compiled.slots // shown, seats) for index in range(shown)]
    return _merged([(index + 1) / shown for index in range(shown)], owners), sampled


def _arcs(
    compiled: tables.Table,
    lasts: Sequence[int],
    slots: Sequence[int],
    *,
    size: int,
    seats: Mapping[str, int],
) -> tuple[Run, ...]:
    ends = [(last + 1) / size for last in lasts]
    return _merged(ends, [_owner(compiled, slot, seats) for slot in slots])


def _merged(ends: Sequence[float], owners: Sequence[int]) -> tuple[Run, ...]:
    runs, begin = [], 0.0
    for owner, group in itertools.groupby(zip(ends, owners, strict=True), key=lambda pair: pair[1]):
        end = [pair[0] for pair in group][-1]
        runs.append(Run(begin, end, owner))
        begin = end
    return tuple(runs)


def _owner(compiled: tables.Table, slot: int, seats: Mapping[str, int]) -> int:
    first = compiled.first(slot)
    return seats[compiled.ids[first[0]]] if first else -1


def _colour(index: int) -> str:
    if index < len(_PALETTE):
        return _PALETTE[index]
    lightness = (0.40, 0.52, 0.62)[index % 3]
    red, green, blue = colorsys.hls_to_rgb(index * _GOLDEN % 1, lightness, 0.55)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
