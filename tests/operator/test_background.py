from __future__ import annotations

import asyncio
import threading

from ringmaster_operator import background


def test_what_is_posted_runs_on_the_loops_own_thread():
    loop = background.Background(name="test")
    seen, done = [], threading.Event()
    loop.post(lambda name: (seen.append((name, threading.current_thread().name)), done.set()), "x")

    assert done.wait(10)
    loop.close()
    assert seen == [("x", "test")]


def test_closing_cancels_what_still_runs():
    loop = background.Background(name="test")
    started, cancelled = threading.Event(), threading.Event()

    async def forever():
        started.set()
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.set()

    tasks = []
    loop.post(lambda: tasks.append(loop.loop.create_task(forever())))
    assert started.wait(10)
    loop.close()

    assert cancelled.is_set()


def test_closing_twice_and_posting_afterwards_does_nothing():
    loop = background.Background(name="test")
    loop.close()
    loop.close()

    loop.post(print, "never")
