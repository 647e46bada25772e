"""A child hears of its supervisor's end, and only of that."""

from __future__ import annotations

import asyncio
import os

from ringmaster_balancer import lifeline


def test_the_end_of_the_other_side_is_heard_once():
    async def scenario():
        reading, writing = os.pipe()
        heard = []
        gone = asyncio.Event()

        def on_gone():
            heard.append(1)
            gone.set()

        lifeline.watch(reading, on_gone)
        await asyncio.sleep(0)
        assert heard == []
        os.close(writing)
        await asyncio.wait_for(gone.wait(), 10)
        await asyncio.sleep(0)
        assert heard == [1]
        os.close(reading)

    asyncio.run(scenario())
