"""Who is asked when the first candidate is not plain: fail-over, bounds, limits, ramps, panic."""

from __future__ import annotations

import asyncio
import functools
import math
from array import array
from collections import Counter
from typing import Any

import scripted
from ringmaster_balancer import members
from ringmaster_balancer.dataplane import selection, snapshot, upstreams
from ringmaster_balancer.ring import table

IDS = "abcd"


def world(
    *, proxy: dict[str, Any] | None = None, ring: dict[str, Any] | None = None
) -> tuple[snapshot.Snapshot, list[snapshot.Pool]]:
    """A snapshot of four members, and their pools in the order of slot 7."""
    membership = members.Membership(
        epoch=1,
        generation=1,
        uid="u",
        replicas=4,
        ring=members.Ring.model_validate({"slots": 64, **(ring or {})}),
        proxy=members.Proxy.model_validate(proxy or {}),
    )
    compiled = table.compile(membership.ring, [(name, 100) for name in IDS])
    load = upstreams.Load()
    pools: dict[str, snapshot.Pool] = {}
    for name in IDS:
        pools[name] = upstreams.Pool(upstreams.Identity(name, name, "h:1"), host="h", port=1)
        pools[name].join(load)
        load.weight += 100
    hits = array("I", bytes(4 * compiled.slots))
    snap = snapshot.build(membership, compiled, pools, workers=1, hits=hits)
    return snap, [pools[compiled.ids[index]] for index in compiled.more(7)]


def walked(snap: snapshot.Snapshot, *, now: float = 0.0) -> list[snapshot.Pool]:
    walk = selection.Walk(snap, 7)
    return list(iter(lambda: walk.next(now), None))  # type: ignore[arg-type]  # until None


def test_a_walk_asks_who_may_be_asked_and_then_who_is_in_doubt() -> None:
    snap, order = world()
    assert walked(snap) == order
    order[1].healthy = False
    order[1].judge()
    order[2].retire()
    assert walked(snap) == [order[0], order[3], order[1]]
    walk = selection.Walk(snap, 7, tried=order[:1])
    assert [walk.next(0.0) for _ in range(3)] == [order[3], order[1], None]


def test_only_a_place_with_somebody_new_is_worth_another_walk() -> None:
    snap, order = world()
    walk = selection.Walk(snap, 7, tried=order[:1])
    walk.next(0.0)
    assert not walk.may_ask(order[:2])
    assert walk.may_ask(order[:3])
    assert not walk.may_ask([])


def test_another_one_is_sound_and_new_and_has_a_place_unless_there_is_time_to_wait() -> None:
    snap, order = world(proxy={"limits": {"perMember": 5}})
    walk = selection.Walk(snap, 7, tried=order[:2])
    assert walk.has_another(wait=False)
    order[2].inflight = 5
    order[3].healthy = False
    order[3].judge()
    assert not walk.has_another(wait=False)
    assert walk.has_another(wait=True)
    order[2].retire()
    assert not walk.has_another(wait=True)


def test_a_limit_is_hard_and_who_is_in_doubt_does_not_take_what_the_others_cannot() -> None:
    snap, order = world(proxy={"limits": {"perMember": 5}})
    order[1].healthy = False
    order[1].judge()
    for pool in (order[0], order[2], order[3]):
        pool.inflight = 5
    walk = selection.Walk(snap, 7)
    assert (walk.next(0.0), walk.limited) == (None, True)
    order[2].inflight = 4
    assert walk.next(0.0) is order[2]


def test_who_has_more_than_its_share_is_passed_over_and_asked_last() -> None:
    snap, order = world(ring={"boundedLoad": 1.25})
    for _ in range(4):
        order[0].enter()
    assert walked(snap) == [*order[1:], order[0]]
    for pool in order[1:]:
        for _ in range(4):
            pool.enter()
    assert walked(snap) == order


def test_a_member_that_warms_up_is_passed_over_on_its_own_slots_only() -> None:
    snap, order = world()
    order[0].warm_up(0.0, seconds=10, seed=1)
    order[1].warm_up(0.0, seconds=10, seed=1)
    assert walked(snap) == [*order[1:], order[0]]
    assert walked(snap, now=10.0) == order


def test_skewed_keys_stay_under_the_bound_and_one_key_alone_is_spread() -> None:
    """Everybody asks for the same key, and nobody is answered."""

    async def silent(peer: scripted.Peer) -> None:
        await peer.rest()

    async def scenario() -> None:
        ring = members.Ring(slots=4096, bounded_load=1.25)
        async with scripted.stand(silent, silent, silent, silent, ring=ring) as stand:
            order = stand.order("k")
            for count in range(1, 41):
                client = await stand.connect()
                client.send(scripted.get())
                await scripted.eventually(functools.partial(has, stand, count))
                loads = stand.plane.in_flight()
                assert max(loads.values()) <= math.ceil(1.25 * count / 4)
            assert loads[f"{order[0]}-r"] == math.ceil(1.25 * 40 / 4)
            assert min(loads.values()) > 0

    scripted.run(scenario())


def has(stand: scripted.Stand, count: int) -> bool:
    return sum(stand.plane.in_flight().values()) == count


def test_with_a_bound_keys_stay_where_they_belong_while_there_is_room() -> None:
    async def scenario() -> None:
        ring = members.Ring(slots=4096, bounded_load=1.25)
        plays = [scripted.answering() for _ in range(3)]
        async with scripted.stand(*plays, ring=ring) as stand:
            client = await stand.connect()
            for number in range(60):
                owner = stand.upstreams[stand.owner(f"k{number}")]
                before = owner.requests
                client.send(scripted.get(key=f"k{number}"))
                assert (await client.response())[0] == 200
                assert owner.requests == before + 1

    scripted.run(scenario())


def test_a_new_member_takes_over_its_own_keys_bit_by_bit_and_no_other_moves() -> None:
    keys = [f"k{number}" for number in range(400)]

    async def scenario() -> None:
        async with scripted.stand(
            *(scripted.answering() for _ in range(4)),
            rules={"slowStartSeconds": 1000, "memberHeader": True},
        ) as stand:
            client = await stand.connect()

            async def owners() -> dict[str, str]:
                found = {}
                for key in keys:
                    client.send(scripted.get(key=key))
                    found[key] = (await client.response())[1]["x-ringmaster-member"]
                return found

            stand.install(states={"web-3": members.State.ABSENT})
            before = await owners()
            stand.install()
            (pool,) = (p for who, p in stand.plane.pools.items() if who.id == "web-3")
            assert not pool.plain
            its_own = {key for key in keys if stand.owner(key) == "web-3"}
            moved: set[str] = set()
            for elapsed in (-1000, 250, 500, 750, 1000):  # negative: before it begins
                pool.warm_since = asyncio.get_running_loop().time() - elapsed
                pool.warm_until = pool.warm_since + 1000
                now = await owners()
                gone = {key for key in keys if now[key] != before[key]}
                assert moved <= gone <= its_own
                assert abs(len(gone) / len(its_own) - max(elapsed, 0) / 1000) < 0.2
                moved = gone
            assert moved == its_own

    scripted.run(scenario())


def test_nobody_warms_up_at_the_balancers_own_start_or_when_a_drain_is_called_off() -> None:
    async def scenario() -> None:
        rules = {"slowStartSeconds": 1000}
        async with scripted.stand(scripted.answering(), scripted.answering(), rules=rules) as stand:
            stand.install(states={"web-0": members.State.DRAINING})
            stand.plane.sweep(0.0)
            stand.install()
            assert all(pool.plain for pool in stand.plane.pools.values())
            stand.install(replicas={"web-0": "another"})
            assert [pool.plain for pool in stand.plane.pools.values()] == [False, True]

    scripted.run(scenario())


def test_when_too_many_are_out_those_that_answer_their_probes_with_errors_serve_again() -> None:
    """A health check that depends on something shared takes all out at once."""

    async def scenario() -> None:
        async with scripted.stand(*(scripted.answering() for _ in range(4))) as stand:
            panics: list[bool] = []
            stand.plane._on_panic = panics.append  # as a worker passes it
            order = stand.order("k")
            first, second, third = (f"{name}-r" for name in order[:3])
            stand.plane.set_health({first: False, second: False}, erring=[first, second])
            await stand.get()
            assert served(stand)[order[2]] == 1
            stand.plane.set_health({third: False}, erring=[second, third])
            assert panics == [True]
            await stand.get()
            assert served(stand)[order[1]] == 1  # the first does not answer at all any more
            stand.plane.set_health({third: True}, erring=[second])
            assert panics == [True, False]
            await stand.get()
            assert served(stand)[order[2]] == 2

    scripted.run(scenario())


def served(stand: scripted.Stand) -> Counter[str]:
    return Counter({name: upstream.requests for name, upstream in stand.upstreams.items()})
