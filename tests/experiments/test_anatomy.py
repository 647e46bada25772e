"""Why the assignment's ring is uneven: the numbers that the page quotes."""

from __future__ import annotations

from ringmaster_experiments import anatomy, rings


def of(name, servers=3):
    return anatomy.of(rings.VARIANTS[name], servers)


def test_the_assignments_hash_reaches_87_of_512_slots():
    assert (len(of("assignment").reached), of("assignment").slots) == (87, 512)
    assert set(of("assignment").reached) == {(i * i + 2 * i + 17) % 512 for i in range(100_000)}


def test_the_changed_hash_reaches_all_and_every_virtual_server_stays():
    assert len(of("modulo").reached) == 512
    assert of("modulo").points == of("assignment").points
    assert of("modulo").arcs == of("assignment").arcs


def test_all_virtual_servers_lie_close_together():
    ring = of("assignment")
    assert (ring.lowest, ring.highest, ring.gap) == (26, 114, 423)
    assert [len(points) for points in ring.points] == [9, 9, 9]
    assert ring.owned == (457, 22, 33)


def test_the_arcs_cover_every_slot_once():
    ring = of("assignment", 6)
    covered = [slot for start, length, _ in ring.arcs for slot in range(start, start + length)]
    assert covered == list(range(512))
    for server, owned in enumerate(ring.owned):
        assert owned == sum(length for _, length, owner in ring.arcs if owner == server)
