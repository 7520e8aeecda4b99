"""Cancellation injected at the k-th checkpoint of a coroutine, for every k."""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

from anyio import CancelScope


@types.coroutine
def _driven(coroutine: Coroutine[Any, Any, None], at: int, action: Callable[[], object]) -> Generator[Any, Any, int]:
    """Run `coroutine` in this task; call `action` when it suspends for the `at`-th time. Returns the suspensions."""
    count = 0
    send, value = coroutine.send, None
    while True:
        try:
            trap = send(value)
        except StopIteration:
            return count
        count += 1
        if count == at:
            action()
        try:
            send, value = coroutine.send, (yield trap)
        except BaseException as exc:
            send, value = coroutine.throw, exc  # type: ignore[assignment]


async def cancelled_at(k: int, operation: Callable[[], Coroutine[Any, Any, None]]) -> bool:
    """Run `operation` in a cancel scope that is cancelled at its k-th checkpoint.

    Returns:
        Whether the operation has a k-th checkpoint, so that it makes sense to go on with k + 1.
    """
    reached = False

    def cancel() -> None:
        nonlocal reached
        reached = True
        scope.cancel()

    with CancelScope() as scope:
        await _driven(operation(), k, cancel)
    return reached


async def suspensions(operation: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """How often `operation` lets others run."""
    return await _driven(operation(), 0, lambda: None)


async def at_every_checkpoint(trial: Callable[[int], Awaitable[bool]]) -> int:
    """Call `trial(k)` for k = 1, 2, ... until it says that there is no k-th checkpoint; returns how many there are."""
    k = 1
    while await trial(k):
        k += 1
        assert k < 500, "the operation never comes to an end"
    return k - 1
