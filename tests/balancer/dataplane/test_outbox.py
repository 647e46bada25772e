"""Writes collected over one turn of the loop."""

from __future__ import annotations

import asyncio
from typing import Any

from ringmaster_balancer.dataplane import outbox


class Transport:
    """Records what it is given."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def is_closing(self) -> bool:
        return self.closing


async def turn() -> None:
    """Let what was called soon happen."""
    await asyncio.sleep(0)


def made() -> tuple[outbox.Outbox, Any, Any]:
    return outbox.Outbox(), Transport(), Transport()


def test_what_one_turn_writes_goes_out_at_its_end() -> None:
    async def scenario() -> None:
        box, one, two = made()
        for data in (b"a", b"b"):
            box.write(one, data)
            box.write(two, data * 2)
        assert one.writes == []
        await turn()
        assert (one.writes, two.writes) == ([b"a", b"b"], [b"aa", b"bb"])

    asyncio.run(scenario())


def test_order_holds_whatever_the_sizes() -> None:
    async def scenario() -> None:
        box, one, _ = made()
        box.write(one, b"a")
        box.write(one, b"b" * 70_000)
        box.write(one, b"c")
        await turn()
        assert b"".join(one.writes) == b"a" + b"b" * 70_000 + b"c"

    asyncio.run(scenario())


def test_much_in_one_turn_reaches_the_transport_so_that_it_can_object() -> None:
    async def scenario() -> None:
        box, one, _ = made()
        for _ in range(600):
            box.write(one, b"x" * 120)
        assert sum(map(len, one.writes)) > 60_000

    asyncio.run(scenario())


def test_what_is_pushed_does_not_go_out_again() -> None:
    async def scenario() -> None:
        box, one, _ = made()
        box.write(one, b"a")
        box.push()
        box.push()
        await turn()
        assert one.writes == [b"a"]

    asyncio.run(scenario())


def test_nothing_is_written_to_what_is_closing() -> None:
    async def scenario() -> None:
        box, one, two = made()
        box.write(one, b"a")
        box.write(two, b"a")
        one.closing = two.closing = True
        box.push()
        await turn()
        assert one.writes == two.writes == []

    asyncio.run(scenario())
