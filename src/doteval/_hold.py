"""``Hold``: an ``async with`` that a task of its own holds open, so that any tasks may enter and leave it.

Structured concurrency ties an ``async with`` to the task that entered it, and to the order of entering: a cancel scope
or a task group inside it may only be left by that task, and cancels that task when something in it fails. But many
programs enter in one task and leave in another:

- Fixtures of pytest-asyncio, `IsolatedAsyncioTestCase`, the start and stop hooks of an app, two cells of a notebook.
- anyio's plugin for pytest runs all fixtures and tests of one event loop in *one* task. Fixtures are not always
  finalised in the reverse order; what fails inside of one would end the task that all the others need; and after Ctrl-C
  there is another task for the rest.

So the block gets a task that nobody else runs in: it enters, waits, exits, and hands whatever it raised to whoever
closes it. Where the event loop ends before that, the task ends with it, and closes what it holds.
"""

from __future__ import annotations

import atexit
import math
import warnings
import weakref
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from anyio import CancelScope, Event, current_time, get_cancelled_exc_class

from ._caller import place_of_the_caller
from ._errors import CloseTimeoutError, ProviderClosedError
from ._loop import HomeLoop


class Hold:
    """What one provider holds open, time and again.

    Args:
        name: The provider's name, for messages.
    """

    __slots__ = ("_holding", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._holding: _Holding | None = None

    @property
    def is_open(self) -> bool:
        """Whether it is entered, or being entered or left."""
        return self._holding is not None and not self._holding.is_over

    async def open(self, context: AbstractAsyncContextManager[Any, Any], close_timeout: float = math.inf) -> None:
        """Enter a context manager. A cancelled caller calls that off, and waits until nothing of it is left.

        Args:
            context: What to enter.
            close_timeout: How long leaving it may take, in seconds.

        Raises:
            RuntimeError: One is entered already.
            ProviderClosedError: It was closed before it was entered.
            BaseException: What entering raised.
        """
        if self.is_open:
            raise RuntimeError(f"{self._name} is entered already; share it instead of entering it twice")
        if self._holding is not None:
            self._holding.tell()
        holding = self._holding = _Holding(context, self._name, close_timeout)
        try:
            await holding.open()
        except BaseException:
            self._holding = None
            raise

    async def close(self) -> None:
        """Leave it; does nothing where it was left already. Of several callers all wait, and one is told what failed.

        A cancelled caller waits as well. No checkpoint, so that what ends an ``async with`` stays what it is.

        Raises:
            WrongEventLoopError: Called in another event loop than the one that entered it.
            BaseException: What leaving raised, or what broke it before.
        """
        holding = self._holding
        if holding is not None:
            try:
                await holding.close()
            finally:
                if self._holding is holding and holding.is_over:
                    self._holding = None


_all: weakref.WeakSet[_Holding] = weakref.WeakSet()
"""What is told of at the end of the program where an event loop was closed, or left alone, with something open."""


@atexit.register
def _tell_of_all() -> None:
    for holding in list(_all):
        if not holding.is_done:
            holding.tell()


class _Holding:
    """One task, which holds one context manager open."""

    _was_open = False

    def __init__(self, context: AbstractAsyncContextManager[Any, Any], name: str, close_timeout: float) -> None:
        self._loop = HomeLoop(name)
        self._context = context
        self._name = name
        self._close_timeout = close_timeout
        self._scope = CancelScope()
        self._settled = Event()
        self._leave = Event()
        self._done = Event()
        self._error: BaseException | None = None
        self._asked = False
        self._place = place_of_the_caller()
        _all.add(self)

    @property
    def is_done(self) -> bool:
        """Whether nothing of it is open in this process any more."""
        return self._done.is_set() or self._loop.is_elsewhere

    @property
    def is_over(self) -> bool:
        return self._done.is_set() or self._loop.is_closed

    async def open(self) -> None:
        self._loop.spawn(self._run, f"doteval {self._name}")
        try:
            await self._settled.wait()
        except get_cancelled_exc_class():
            self._call_off()
            await wait_out(self._done)
            raise
        if not self._was_open:
            raise ProviderClosedError(self._name) if self._error is None else self._error

    async def close(self) -> None:
        self._asked = True
        if not self._done.is_set():
            self._loop.check()
            self._call_off()
            cancellation = await wait_out(self._done)
            if cancellation is not None:
                raise cancellation
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _call_off(self) -> None:
        self._asked = True
        self._leave.set()
        if not self._was_open:
            self._scope.cancel()

    async def _run(self) -> None:
        try:
            with self._scope:
                async with self._context:
                    self._was_open = True
                    self._settled.set()
                    try:
                        await self._leave.wait()
                    finally:  # also where the event loop ends, and trio would cancel all that closing awaits
                        self._scope.shield = True
                        self._scope.deadline = current_time() + self._close_timeout
            if self._scope.cancelled_caught and self._scope.deadline <= current_time():
                self._error = CloseTimeoutError(self._name, self._close_timeout)
        except get_cancelled_exc_class():
            raise  # the event loop ends
        except BaseException as exc:
            self._error = exc
            self._error = self._loop.contain(exc)
        finally:
            self._settled.set()
            self._done.set()

    def tell(self, warn: Callable[..., object] = warnings.warn) -> None:
        """Warn where nobody has closed it, unless it is another process's."""
        if self._was_open and not self._asked and not self._loop.is_elsewhere:
            self._asked = True
            warn(
                f"{self._name} was entered and never closed: 'await provider.aclose()' before the event loop ends, "
                f"or use 'async with'; it was entered in {self._place}",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )

    __del__ = tell


async def wait_out(*events: Event) -> BaseException | None:
    """Wait for what is sure to happen, in a shield.

    A shield keeps the cancellations of scopes away, but not asyncio's own, such as that at the end of ``asyncio.run``.

    Returns:
        The cancellation that came meanwhile; the caller is to raise it.
    """
    cancellation: BaseException | None = None
    with CancelScope(shield=True):
        for event in events:
            while not event.is_set():
                try:
                    await event.wait()
                except get_cancelled_exc_class() as exc:
                    cancellation = exc
    return cancellation
