"""One task that enters *and* exits one async context manager.

Structured concurrency ties an ``async with`` to the task that entered it: a cancel scope or a task group inside it may
only be left by that task. A resource that several tasks share, and that a different one closes, therefore needs a task
of its own. Everything the context manager raises ends here, and is reported instead of raised.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from inspect import isawaitable
from types import TracebackType
from typing import Generic, Protocol, TypeVar, cast

from anyio import (
    CancelScope,
    Event,
    current_time,
    get_cancelled_exc_class,
    move_on_after,
)

from .._context_managers import Explaining, kind_of
from .._errors import CloseTimeoutError
from .._loop import with_own_generators
from .containment import ends_the_program
from .interrupts import interruptible, uninterruptible
from .turn import Turn, Turns

ModelT = TypeVar("ModelT")


class ResourceListener(Protocol):
    """Who is told what becomes of a resource; all synchronous, called in the resource's own task."""

    def on_opened(self) -> None:
        """The context manager was entered."""

    def on_checked(self, healthy: bool, /) -> None:
        """The health that was asked for is known."""

    def on_check_raised(self, error: BaseException, /) -> None:
        """Asking for the health raised, which counts as no."""

    def on_losing(self, error: BaseException | None, /) -> None:
        """The context manager broke off by itself and is being left now; why may only be known at its end."""

    def on_ended(self, error: BaseException | None, /) -> None:
        """The task is over; `error` is what opening or closing raised."""


@uninterruptible
class Resource(Generic[ModelT]):
    """The task around one async context manager.

    Args:
        make: Makes the context manager; called in the task, so what it raises is reported as well.
        listener: Who is told.
        healthy: Tells whether the model is still good.
        label: The resource id, for messages.
        opens: Limits how many context managers are being entered at once.
        close_timeout: How long leaving the context manager may take, in seconds.
        health_timeout: How long one health check may take, in seconds.
    """

    def __init__(
        self,
        make: Callable[[], AbstractAsyncContextManager[ModelT]],
        listener: ResourceListener,
        *,
        healthy: Callable[[ModelT], Awaitable[bool]],
        label: str,
        opens: Turns,
        close_timeout: float,
        health_timeout: float,
    ) -> None:
        self._make = make
        self._healthy = healthy
        self._listener = listener
        self._label = label
        self.turn = Turn(opens)
        """Its place among the openings that run at once."""
        self._close_timeout = close_timeout
        self._health_timeout = health_timeout
        self._scope = CancelScope(shield=True)
        self._check_scope: CancelScope | None = None
        self._wake = Event()
        self._check_wanted = False
        self._has_begun = False
        self._closing = False
        self._close_timed_out = False
        self.done = Event()
        self.model = cast(ModelT, None)
        """What the context manager yielded; set before `ResourceListener.on_opened`."""

    def abort(self) -> None:
        """Cancel the opening. What the context manager awaits from now on raises the cancellation."""
        self._closing = True
        self._scope.cancel()

    def close(self) -> None:
        """Leave the context manager, in at most `close_timeout` seconds."""
        if self._closing:
            return  # its time runs already
        self._scope.deadline = current_time() + self._close_timeout
        self._closing = True
        self._wake.set()
        if self._check_scope is not None:
            self._check_scope.cancel()

    def check(self) -> None:
        """Ask for the model's health; `ResourceListener.on_checked` gets the answer.

        A check under way is never called off, or none of a model that hangs would ever end. Where it finds the model
        well, it is asked once more: the resource was idle again since, so that may be out of date.
        """
        self._check_wanted = True
        self._wake.set()

    def examine(self) -> None:
        """Ask for the model's health, unless that is being done."""
        if self._check_scope is None:
            self.check()

    def call_off(self) -> None:
        """Be over if the task has not begun: one that asyncio cancels before its first step never runs."""
        if not self._has_begun:
            self._has_begun = True
            self._end(None)

    async def run(self) -> None:
        """The task; a second one does nothing.

        Shielded from the cancellation of whoever started it: it ends when told to, or by itself.
        """
        await with_own_generators(self._run())

    async def _run(self) -> None:
        if self._has_begun:
            return
        self._has_begun = True
        error: BaseException | None = None
        try:
            with self._scope:
                await self._live()
            if self._scope.cancelled_caught and self._scope.deadline <= current_time():
                error = CloseTimeoutError(self._label, self._close_timeout)
        except BaseException as exc:
            error = exc
            if ends_the_program(exc):
                raise
        finally:
            self._end(error)

    def _end(self, error: BaseException | None) -> None:
        try:
            self._listener.on_ended(error)
        finally:
            self.model = cast(ModelT, None)  # an inactive handle does not keep it alive
            self.done.set()

    async def _live(self) -> None:
        async with _Entered(self._make(), self.turn) as self.model:
            self._listener.on_opened()
            try:
                await self._serve()
            except BaseException as exc:
                if not self._closing:
                    self.close()  # its clean-up may hang as well
                    self._listener.on_losing(None if isinstance(exc, get_cancelled_exc_class()) else exc)
                raise

    async def _serve(self) -> None:
        """Wait for the end, and answer for the model's health until then."""
        while True:
            await self._wake.wait()
            if self._closing:
                return
            self._wake = Event()
            if self._check_wanted:
                self._check_wanted = False
                healthy = await self._is_healthy()
                if not healthy or not self._check_wanted:
                    self._listener.on_checked(healthy)

    async def _is_healthy(self) -> bool:
        try:
            with move_on_after(self._health_timeout) as self._check_scope:
                return await self._ask()
        except BaseException as exc:
            if isinstance(exc, get_cancelled_exc_class()) or ends_the_program(exc):
                raise
            self._listener.on_check_raised(exc)
            return False  # a check that fails has found something: the reason why it was asked for
        finally:
            self._check_scope = None
        return False

    @interruptible
    async def _ask(self) -> bool:
        asked = cast("object", self._healthy(self.model))  # an author's, who may have forgotten the 'async'
        if not isawaitable(asked):
            raise TypeError(f"it returned {kind_of(asked)}, and nothing to await: write it with 'async def'")
        answer: object = await asked
        if answer is None:
            raise TypeError("it returned None, where it has to return True or False")
        return bool(answer)


class _Entered(Generic[ModelT]):
    """A context manager that waits until it may be entered."""

    __slots__ = ("_manager", "_turn")

    def __init__(self, manager: AbstractAsyncContextManager[ModelT], turn: Turn) -> None:
        self._manager = manager
        self._turn = turn

    async def __aenter__(self) -> ModelT:
        await self._turn.begin()
        try:
            return await self._enter()
        finally:
            self._turn.end()

    @interruptible
    async def _enter(self) -> ModelT:
        with Explaining(self._manager):
            return await self._manager.__aenter__()

    @interruptible
    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        with Explaining(self._manager):
            return await self._manager.__aexit__(exc_type, exc_value, traceback)
