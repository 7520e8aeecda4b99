"""``Loop``: runs async functions and context managers in an event loop of another thread, and calls them off.

A child process that was forked has no such thread: whoever waited for it there would wait for ever, after waking the
parent's loop, whose pipe it shares. So there nothing is asked of the loop, and what ends there is left to the parent.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import CancelledError as FutureCancelledError
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from contextvars import Context
from typing import Any, TypeVar

import anyio
from anyio import CancelScope, Event
from anyio.from_thread import BlockingPortal

from .. import ForkedProcessError, ProviderClosedError
from .._caller import Caller, is_nobodys, serve

ResultT = TypeVar("ResultT")
_SHUTDOWN = "interpreter shutdown"
"""What Python says to who asks for a thread when the program has ended."""


class Loop:
    """The event loop in its thread, as it is seen from the threads that wait for it; it runs from now on.

    Args:
        provider: The name of the provider that is entered there, for messages.
        backend: The event loop: ``"asyncio"`` or ``"trio"``.
        backend_options: What `anyio.run` takes for that backend.
    """

    def __init__(self, provider: str, backend: str, backend_options: dict[str, Any] | None) -> None:
        self._provider = provider
        self._calls: set[Call] = set()
        self.has_ended = False
        self._lock = threading.Lock()
        self._process = os.getpid()
        started: Future[BlockingPortal] = Future()

        async def serve() -> None:
            async with BlockingPortal() as portal:
                started.set_result(portal)
                await portal.sleep_until_stopped()

        def run() -> None:
            try:
                anyio.run(serve, backend=backend, backend_options=backend_options)
            except BaseException as exc:
                if not started.done():  # later ones have been told to who waited
                    started.set_exception(exc)

        # A daemon, as Python waits for other threads before it lets anybody end them.
        thread = threading.Thread(target=Context().run, args=(run,), name="doteval event loop", daemon=True)
        self._thread = is_nobodys(thread)
        self._thread.start()
        self._portal = started.result()

    @property
    def is_elsewhere(self) -> bool:
        """Whether this process was forked off the one that the loop runs in."""
        return os.getpid() != self._process

    def wait_for(
        self,
        function: Callable[[], Awaitable[ResultT]],
        undo: Callable[[ResultT], Awaitable[object]] | None = None,
        caller: Caller | None = None,
    ) -> ResultT:
        """Run an async function in the loop and wait for what it returns.

        Where the waiting thread is interrupted, cancels the function, waits for its end, and undoes what it did even
        so.

        Args:
            function: What to run.
            undo: Undoes it, given what it has returned.
            caller: Who waits for it, where that is known already.
        """
        outcome: list[ResultT] = []
        caller = caller or Caller()

        async def run() -> None:
            serve(caller)
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

    def run(self, function: Callable[[], Awaitable[object]]) -> None:
        """Run an async function that is sure to end, and wait for it; an interrupt does not call it off."""
        self._portal.call(function)

    @contextmanager
    def holding(self, context: AbstractAsyncContextManager[ResultT]) -> Generator[ResultT]:
        """Hold an async context manager open, in one task of the loop, for as long as the block lasts.

        Where the waiting thread is interrupted, while it is entered too, the task is cancelled and waited for.
        """
        entered: Future[tuple[ResultT, Event]] = Future()
        caller = Caller()

        async def hold() -> None:
            serve(caller)
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
                if not ended.done() and not self.is_elsewhere:  # else `end` has called it off, or the parent does it
                    self._portal.call(leave.set)
                    ended.result()
            except BaseException:
                if not self.is_elsewhere:
                    call.call_off()
                raise

    def end(self) -> None:
        """Call off whatever still runs, and end the loop and its thread."""
        try:
            with self._lock:
                self.has_ended = True
                calls = list(self._calls)
            for call in calls:
                call.call_off()
        finally:
            try:
                self._portal.call(self._portal.stop, True)  # what still runs was interrupted while it was waited for
            finally:
                self._thread.join()

    def join(self) -> None:
        """Wait until nothing runs in it any more."""
        self._thread.join()

    @contextmanager
    def _calling(self, function: Callable[[], Awaitable[None]]) -> Generator[Call]:
        if self.is_elsewhere:  # before the lock, which some other thread may have held in the moment of the fork
            raise ForkedProcessError(self._provider)
        call = Call(self._portal, function)
        with self._lock:
            if self.has_ended:
                raise ProviderClosedError(self._provider)
            self._calls.add(call)
        try:
            yield call
        except RuntimeError as exc:
            if _SHUTDOWN not in str(exc):
                raise
            raise ProviderClosedError(
                self._provider
            ) from exc  # Python has ended what the loop needs, and soon the loop
        finally:
            self._calls.discard(call)

    def _start(self, call: Call) -> Future[None]:
        try:
            return call.start()
        except RuntimeError:
            if self.has_ended:  # since a moment ago
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
