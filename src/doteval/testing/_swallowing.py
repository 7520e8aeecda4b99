"""Ends what an author's ``open()`` does where it swallows one cancellation after the other, and says where.

Nothing else would end it: no deadline, and no end of a test. So what it awaits goes through here.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager
from functools import wraps
from types import TracebackType, coroutine
from typing import Any, TypeVar, cast

from anyio import get_cancelled_exc_class

from .. import PooledProvider
from ._patience import ENDED, StuckError, place_of_the_author

T = TypeVar("T")

MOST = 1000
"""How many cancellations may be swallowed one after the other, as by who closes one thing after the other."""
_ATTEMPTS = 3
_LEFT: list[object] = []
"""What did not end even so; nobody may finalize it, as that would wait for its end."""


def watch_for_swallowing(provider: object) -> None:
    """Have the provider's ``open()`` end where it swallows cancellations, if it has one."""
    if not isinstance(provider, PooledProvider):
        return
    own: Callable[..., AbstractAsyncContextManager[Any]] = provider.open

    @wraps(own)
    def open_(*args: Any, **config: Any) -> AbstractAsyncContextManager[Any]:
        manager = own(*args, **config)
        return _Watched(manager) if hasattr(type(manager), "__aexit__") else manager

    vars(provider)["open"] = open_


class _Watched(AbstractAsyncContextManager[Any]):
    def __init__(self, manager: AbstractAsyncContextManager[Any]) -> None:
        self._manager = manager

    async def __aenter__(self) -> Any:
        return await _ended(self._manager.__aenter__())

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await _ended(self._manager.__aexit__(exc_type, exc_value, traceback))


@coroutine
def _ended(work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Do it; raises `StuckError` where it would never end."""
    swallowed = 0
    step: Callable[[Any], Any] = work.send
    given: Any = None
    while True:
        try:
            awaited = step(given)
        except StopIteration as exc:
            return cast("T", exc.value)
        if swallowed >= MOST:  # what is raised now has to pass all that passes cancellations on
            place = place_of_the_author(work)
            where = f", at {place}" if place else ""
            step, given = work.throw, StuckError(f"open() swallows every cancellation{where}: re-raise it")
            ENDED.append(given)
            if swallowed >= MOST + _ATTEMPTS:  # it swallows that, too
                _LEFT.append(work)
                raise given
            swallowed += 1
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
        swallowed = swallowed + 1 if isinstance(error, get_cancelled_exc_class()) else 0
