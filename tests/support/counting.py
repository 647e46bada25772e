"""How much is done in each turn of a running event loop: a bound that holds on any machine."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from ringmaster_balancer.dataplane import outbox

READ = 262_144 + 64  # bytes: an event loop's largest read, and its framing


class Shares:
    """What calls of a method amount to in each turn of the loop; `most` of them in one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._counts: Counter[int] = Counter()
        self._turn = 0

    def count(self, owner: type, method: str, amount: Callable[..., int] = lambda *_: 1) -> None:
        """From now on; within a running loop."""
        original = getattr(owner, method)

        def counted(this: Any, *args: Any, **options: Any) -> Any:
            self._counts[self._turn] += amount(*args)
            return original(this, *args, **options)

        self._monkeypatch.setattr(owner, method, counted)
        self._tick()

    def _tick(self) -> None:
        self._turn += 1
        asyncio.get_running_loop().call_soon(self._tick)

    def count_writes(self) -> None:
        """Bytes that are handed on, in whichever direction."""
        self.count(outbox.Outbox, "write", lambda _, data: len(data))

    @property
    def most(self) -> int:
        return max(self._counts.values())

    @property
    def sum(self) -> int:
        return self._counts.total()
