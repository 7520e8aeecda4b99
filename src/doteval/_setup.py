"""``Setup``: what ``setup()`` returns; awaited or entered, it gives a handle."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, cast
from weakref import WeakSet

from typing_extensions import TypeVar

from ._handle import ModelHandle
from ._hooks_written import checked_handle
from ._undelivered import deliver_cancellation

ModelT_co = TypeVar("ModelT_co", covariant=True, default=Any)
ModelT = TypeVar("ModelT")
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
P = ParamSpec("P")
_FORMS = "'async with provider.setup(...) as handle:' or 'handle = await provider.setup(...)'"
_ENTERABLE: WeakSet[Callable[..., Any]] = WeakSet()


class Setup(Coroutine[Any, Any, ModelHandle[ModelT_co]], Generic[ModelT_co]):
    """A lease that is about to be taken.

    ::

        async with provider.setup("gpt-4o") as handle:  # torn down at the end of the block
            ...

        handle = await provider.setup("gpt-4o")  # torn down when you say so

    It is a coroutine, so whatever runs one runs it: `asyncio.create_task`, `asyncio.wait_for`, and the ``start_soon``
    of anyio and trio with ``provider.setup``. As every coroutine, it does nothing before that and works once, and
    Python warns where it is forgotten.

    Args:
        coroutine: Gives the handle.
    """

    __slots__ = ("_coroutine", "_handle")

    def __init__(self, coroutine: Coroutine[Any, Any, ModelHandle[ModelT_co]], /) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, ModelHandle[ModelT_co]]:
        return self._coroutine.__await__()

    def send(self, value: Any, /) -> Any:
        return self._coroutine.send(value)

    def throw(self, *exception: Any) -> Any:
        return self._coroutine.throw(*exception)

    def close(self) -> None:
        self._coroutine.close()

    if not TYPE_CHECKING:  # where these are mistakes anyway

        def __getattr__(self, name: str) -> NoReturn:
            told = f"'Setup' object has no attribute {name!r}"
            if not name.startswith("_") and hasattr(ModelHandle, name):
                told += f": the handle has it. An 'await' is missing, or an 'async with': {_FORMS}"
            raise AttributeError(told, name=name, obj=self)

        def __enter__(self) -> NoReturn:
            self.close()  # else Python says, too, that it was never awaited
            raise TypeError(f"a model is leased with 'async with', not with 'with': {_FORMS}")

        def __exit__(self, *_: object) -> None: ...

    def __repr__(self) -> str:
        return "<doteval.Setup: 'await' it, or enter it with 'async with'>"

    async def __aenter__(self) -> ModelHandle[ModelT_co]:
        self._handle = await self._coroutine
        return await self._handle.__aenter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._handle.__aexit__(exc_type, exc_value, traceback)


class WrittenSetup(Setup[ModelT_co]):
    """One whose coroutine an author has written, and may give something else than a handle.

    Args:
        coroutine: Gives the handle.
        owner: The provider, for the message.
    """

    __slots__ = ("_owner",)

    def __init__(self, coroutine: Coroutine[Any, Any, ModelHandle[ModelT_co]], owner: object, /) -> None:
        super().__init__(coroutine)
        self._owner = owner

    def __await__(self) -> Generator[Any, Any, ModelHandle[ModelT_co]]:
        deliver_cancellation()
        return checked_handle((yield from self._coroutine.__await__()), self._owner)

    def send(self, value: Any, /) -> Any:
        try:
            return self._coroutine.send(value)
        except StopIteration as exc:
            checked_handle(exc.value, self._owner)
            raise

    async def __aenter__(self) -> ModelHandle[ModelT_co]:
        deliver_cancellation()
        self._handle = checked_handle(await self._coroutine, self._owner)
        return await self._handle.__aenter__()


def enterable(function: Callable[P, Coroutine[Any, Any, ModelHandle[ModelT]]]) -> Callable[P, Setup[ModelT]]:
    """Let a ``setup`` that an author has written return a `Setup`, where it returns a coroutine."""

    @functools.wraps(function)
    def setup(*args: P.args, **kwargs: P.kwargs) -> Setup[ModelT]:
        made = function(*args, **kwargs)
        if hasattr(made, "__aenter__") or not (hasattr(made, "send") and inspect.isawaitable(made)):
            return cast("Setup[ModelT]", made)
        return WrittenSetup(made if hasattr(made, "__await__") else _run(made), args[0] if args else None)

    return marked(setup)


async def _run(generator: Awaitable[ModelT]) -> ModelT:
    """A coroutine that is a generator, as one of the usual kind."""
    return await generator


def is_enterable(function: Callable[..., Any]) -> bool:
    """Whether a ``setup`` returns a `Setup` already, or is the abstract one."""
    return function in _ENTERABLE


def marked(function: FunctionT) -> FunctionT:
    """Say of a ``setup`` that it returns a `Setup`, and that this is a coroutine, for who asks before they call."""
    _ENTERABLE.add(function)  # an attribute would be copied by `functools.wraps`
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(function)
    return function
