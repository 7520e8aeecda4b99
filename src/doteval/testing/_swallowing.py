"""Ends what swallows one cancellation after the other, and says where.

Nothing else would end it: no deadline, and no end of a test. So what an author has written is awaited through here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager
from functools import wraps
from types import TracebackType, coroutine
from typing import Any, TypeVar, cast

from anyio import current_time, get_cancelled_exc_class

from .. import ModelProvider, PooledProvider
from .._context_managers import Explaining, check_made
from ._patience import ENDED, StuckError, place_of_the_author

T = TypeVar("T")

MOST = 1000
"""How many cancellations may be swallowed one after the other, as by who closes one thing after the other."""
_ATTEMPTS = 3
_LEFT: list[object] = []
"""What did not end even so; nobody may finalize it, as that would wait for its end."""
_OURS = (ModelProvider, PooledProvider)
_IN_OTHER_TASKS = ("healthy", "teardown", "teardown_all")
"""Besides ``open()``, what may be awaited by another task than that of the test, which is looked at as a whole."""


def watch_for_swallowing(provider: object, patience: float) -> None:
    """Have what the author of a provider has written end where it swallows cancellations, in whatever task it runs.

    Args:
        provider: The provider.
        patience: For how long it may do so, in seconds.
    """
    if not issubclass(type(provider), ModelProvider):
        return
    if issubclass(type(provider), PooledProvider):
        _watch_opening(cast("PooledProvider[Any]", provider), patience)
    for name in _IN_OTHER_TASKS:
        written = getattr(type(provider), name, None)
        if written is not None and written not in [getattr(kind, name, None) for kind in _OURS]:
            vars(provider)[name] = _ended_call(getattr(provider, name), patience)


def _watch_opening(provider: PooledProvider[Any], patience: float) -> None:
    own: Callable[..., AbstractAsyncContextManager[Any]] = provider.open
    called = f"{type(provider).__name__}.open"

    @wraps(own)
    def open_(*args: Any, **config: Any) -> AbstractAsyncContextManager[Any]:
        manager = own(*args, **config)
        check_made(manager, called)
        return _Watched(manager, patience) if hasattr(type(manager), "__aexit__") else manager

    vars(provider)["open"] = open_


def _ended_call(own: Callable[..., Any], patience: float) -> Callable[..., Any]:
    @wraps(own)
    def call(*args: Any) -> Any:
        return ended(own(*args), patience)

    return call


async def ended(work: Awaitable[T], patience: float) -> T:
    """Do it; raises `StuckError` where it would never end.

    Args:
        work: What to do.
        patience: For how long it may swallow cancellations, in seconds: who waits, in good order, for what was
            cancelled with it is told of many, too, as `asyncio.TaskGroup` is.
    """
    if hasattr(work, "send"):
        return await _stepped(cast("Coroutine[Any, Any, T]", work), patience)
    return await work


class _Watched(AbstractAsyncContextManager[Any]):
    def __init__(self, manager: AbstractAsyncContextManager[Any], patience: float) -> None:
        self._manager = manager
        self._patience = patience

    async def __aenter__(self) -> Any:
        with Explaining(self._manager):
            return await ended(self._manager.__aenter__(), self._patience)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        with Explaining(self._manager):
            return await ended(self._manager.__aexit__(exc_type, exc_value, traceback), self._patience)


@coroutine
def _stepped(work: Coroutine[Any, Any, T], patience: float) -> Generator[Any, Any, T]:
    swallowed, since, attempts = 0, 0.0, 0
    step: Callable[[Any], Any] = work.send
    given: Any = None
    while True:
        told = len(ENDED)
        try:
            awaited = step(given)
        except StopIteration as exc:
            return cast("T", exc.value)
        if len(ENDED) > told:  # something inside of it was ended
            swallowed = 0
        # What is raised now has to pass all that passes cancellations on.
        if swallowed >= MOST and current_time() >= since + patience:
            place = place_of_the_author(work)
            where = f", at {place}" if place else ""
            step, given = work.throw, StuckError(f"it swallows every cancellation{where}: re-raise it")
            ENDED.append(given)
            attempts += 1
            if attempts > _ATTEMPTS:  # it swallows that, too
                _LEFT.append(work)
                raise given
            continue
        error: object
        try:
            given = yield awaited
        except GeneratorExit:
            work.close()
            raise
        except BaseException as exc:
            step, given, error = work.throw, exc, exc
        else:
            step, error = work.send, getattr(given, "error", None)  # trio sends what is to be raised
        if not isinstance(error, get_cancelled_exc_class()):
            swallowed = attempts = 0
        else:
            since = since if swallowed else current_time()
            swallowed += 1
