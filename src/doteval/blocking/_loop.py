"""``Loop``: runs async functions and context managers in an event loop of another thread, and calls them off."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

from anyio import CancelScope, Event
from anyio.from_thread import BlockingPortal

from .. import ProviderClosedError

ResultT = TypeVar("ResultT")


class Loop:
    """The event loop in its thread, as it is seen from the threads that wait for it.

    Args:
        portal: The way into the loop.
        provider: The name of the provider that is entered there, for messages.
    """

    def __init__(self, portal: BlockingPortal, provider: str) -> None:
        self._portal = portal
        self._provider = provider
        self._calls: set[Call] = set()
        self._has_ended = False
        self._lock = threading.Lock()

    def wait_for(
        self,
        function: Callable[[], Awaitable[ResultT]],
        undo: Callable[[ResultT], Awaitable[object]] | None = None,
    ) -> ResultT:
        """Run an async function in the loop and wait for what it returns.

        Where the waiting thread is interrupted, cancels the function, waits for its end, and undoes what it did even
        so.
        """
        outcome: list[ResultT] = []

        async def run() -> None:
            outcome.append(await function())

        with self._calling(run) as call:
            try:
                self._start(call).result()
            except BaseException:
                call.call_off()
                if outcome and undo is not None:
                    self._portal.call(undo, outcome[0])
                raise
        if not outcome:
            raise ProviderClosedError(self._provider)  # called off by `end`
        return outcome[0]

    @contextmanager
    def holding(self, context: AbstractAsyncContextManager[ResultT]) -> Generator[ResultT]:
        """Hold an async context manager open, in one task of the loop, for as long as the block lasts.

        Where the waiting thread is interrupted, while it is entered too, the task is cancelled and waited for.
        """
        entered: Future[tuple[ResultT, Event]] = Future()

        async def hold() -> None:
            async with context as value:
                leave = Event()
                entered.set_result((value, leave))
                await leave.wait()

        with self._calling(hold) as call:
            try:
                ended = self._start(call)
                ended.add_done_callback(lambda _: entered.cancel())  # does nothing where there is a result
                try:
                    value, leave = entered.result()
                except FutureCancelledError:
                    ended.result()  # raises what entering has raised
                    raise ProviderClosedError(self._provider) from None
                yield value
                if not ended.done():  # else `end` has called it off
                    self._portal.call(leave.set)
                    ended.result()
            except BaseException:
                call.call_off()
                raise

    def end(self) -> None:
        """Call off whatever still runs, or the loop would never end."""
        with self._lock:
            self._has_ended = True
            calls = list(self._calls)
        for call in calls:
            call.call_off()

    @contextmanager
    def _calling(self, function: Callable[[], Awaitable[None]]) -> Generator[Call]:
        call = Call(self._portal, function)
        with self._lock:
            if self._has_ended:
                raise ProviderClosedError(self._provider)
            self._calls.add(call)
        try:
            yield call
        finally:
            self._calls.discard(call)

    def _start(self, call: Call) -> Future[None]:
        try:
            return call.start()
        except RuntimeError:
            if self._has_ended:  # since a moment ago
                raise ProviderClosedError(self._provider) from None
            raise


class Call:
    """An async function that runs in the loop; it can be called off at any time, also before it has begun."""

    def __init__(self, portal: BlockingPortal, function: Callable[[], Awaitable[None]]) -> None:
        self._portal = portal
        self._function = function
        self._scope: CancelScope | None = None
        self._called_off = False
        self._ended = threading.Event()

    def start(self) -> Future[None]:
        """Start it. An interrupt may come when it runs already, so whoever calls this calls it off then."""
        return self._portal.start_task_soon(self._run)

    def call_off(self) -> None:
        """Cancel it, where it still runs, and wait for its end."""
        if not self._ended.is_set():
            self._portal.call(self._cancel)
            self._ended.wait()

    async def _run(self) -> None:
        try:
            with CancelScope() as self._scope:
                if not self._called_off:
                    await self._function()
        finally:
            self._ended.set()

    async def _cancel(self) -> None:
        self._called_off = True
        if self._scope is None:
            self._ended.set()  # it has not begun, and now it will not
        else:
            self._scope.cancel()
