from __future__ import annotations

import asyncio
import threading

from ringmaster_operator.api import asking


def test_questions_that_wait_leave_the_threads_of_others_alone() -> None:
    answers = threading.Event()

    async def main() -> list[bool]:
        threads = asking.Threads()
        waiting = [asyncio.ensure_future(threads.ask(answers.wait, 60.0)) for _ in range(64)]
        assert await asyncio.wait_for(asyncio.to_thread(lambda: True), timeout=30)
        answers.set()
        found = await asyncio.gather(*waiting)
        await threads.close()
        return found

    assert asyncio.run(main()) == [True] * 64
