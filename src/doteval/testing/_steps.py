"""``Steps``: runs a coroutine step by step, to see how long each takes, and to cancel it at a given one."""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from time import perf_counter
from typing import Any, Self

from anyio import CancelScope, get_cancelled_exc_class

STUBBORN = 100
"""After how many steps a coroutine that was cancelled is taken to go on for ever."""


class Steps:
    """What happened while a coroutine ran in the current task.

    Args:
        cancel_at: Cancel it when it suspends for the so many-th time; 0: never.
    """

    def __init__(self, cancel_at: int = 0) -> None:
        self.count = 0
        """How often it has suspended."""
        self.longest = 0.0
        """How long it kept the event loop at most, in seconds."""
        self.was_cancelled = False
        """Whether a cancellation has been raised in it, after `cancel_at`."""
        self.is_stubborn = False
        """Whether it went on and on after that."""
        self._cancel_at = cancel_at
        self._scope = CancelScope()

    @property
    def reached(self) -> bool:
        """Whether it has suspended so often that it was cancelled."""
        return self.count >= self._cancel_at

    async def run(self, coroutine: Coroutine[Any, Any, None]) -> Self:
        """Run it to its end."""
        with self._scope:
            await self._driven(coroutine)
        return self

    @types.coroutine
    def _driven(self, coroutine: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
        step: Callable[[Any], Any] = coroutine.send
        value: Any = None
        while True:
            began = perf_counter()
            try:
                trap = step(value)
            except StopIteration:
                return
            finally:
                self.longest = max(self.longest, perf_counter() - began)
            self.count += 1
            if self.count == self._cancel_at:
                self._scope.cancel()
            if self.was_cancelled and self.count > self._cancel_at + STUBBORN:
                self.is_stubborn = True  # it may come to its end all the same, which is the cleanest
                if self.count > self._cancel_at + 100 * STUBBORN:
                    return
            try:
                step, value = coroutine.send, (yield trap)
                self._look_at(getattr(value, "error", None))  # trio sends in what is raised then
            except BaseException as exc:
                self._look_at(exc)
                step, value = coroutine.throw, exc

    def _look_at(self, error: object) -> None:
        if self._scope.cancel_called and isinstance(error, get_cancelled_exc_class()):
            self.was_cancelled = True
