"""One process at a time has the turn, and its end gives it back."""

from __future__ import annotations

import asyncio

from ringmaster_balancer.control import turn


def test_the_next_one_waits_until_it_is_given(tmp_path):
    async def scenario():
        first, second = turn.Turn(tmp_path / "x"), turn.Turn(tmp_path / "x")
        assert first.take()
        assert not second.take()
        waiting = asyncio.create_task(second.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        first.give()
        await asyncio.wait_for(waiting, 10)
        assert not first.take()
        second.close()
        assert first.take()
        first.close()

    asyncio.run(scenario())
