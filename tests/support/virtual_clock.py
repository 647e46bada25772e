"""Time that passes only when a test says so, and threads that are none."""

from __future__ import annotations

from collections.abc import Callable
from concurrent import futures
from typing import Any


class VirtualClock:
    """Call it for the time in seconds since 1970; `advance` it."""

    def __init__(self, now: float = 1_763_863_200.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class InlineExecutor(futures.Executor):
    """Runs each call at once, in this thread, so that a simulation is the same every time.

    A BaseException that is no Exception (an operator's sudden death) is not kept for `result`.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> futures.Future[Any]:
        future: futures.Future[Any] = futures.Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class OperatorKilledError(BaseException):
    """The operator dies here: nothing of it runs any more."""


class Effects:
    """Every side effect on the world passes here; the n-th one can be the operator's last.

    `before`: whether the operator dies just before the effect happens, or just after.
    """

    def __init__(self) -> None:
        self.log: list[str] = []
        self.kill_in: int | None = None
        self.before = True

    def apply(self, what: str, effect: Callable[[], Any]) -> Any:
        dies = self._dies()
        if dies and self.before:
            raise OperatorKilledError(what)
        self.log.append(what)
        result = effect()
        if dies:
            raise OperatorKilledError(what)
        return result

    def _dies(self) -> bool:
        if self.kill_in is None:
            return False
        self.kill_in -= 1
        if self.kill_in > 0:
            return False
        self.kill_in = None
        return True
