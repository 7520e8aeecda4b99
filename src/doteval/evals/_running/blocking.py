"""Calls what may block for ever, such as a dataset or a look at anybody's objects, in a thread that can be left behind.

A thread cannot be ended. So it is a daemon, which keeps no program from ending, and whoever waits for it waits in a
worker thread that is woken when it is cancelled. That is why no worker thread does the call itself: on asyncio the end
of the program waits for these.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextvars import copy_context
from threading import Condition, Event, Thread
from typing import Any, Generic, TypeVar

from anyio import CancelScope, CapacityLimiter, to_thread
from anyio.lowlevel import current_token

from .._identity.special import LOOP

T = TypeVar("T")

_CHUNK = 64
_CHUNK_SECONDS = 0.005
"""How many rows are read in one go at most, and for how long."""
_PATIENCE = 0.5
"""How long a generator that is in the middle of something may take to be closed, in seconds, before it is left."""
_END = object()


async def in_own_thread(function: Callable[..., T], *args: Any) -> T:
    """Call a function in a thread of its own; who is cancelled meanwhile leaves it behind."""
    call = _Call(function, args)
    try:
        await to_thread.run_sync(call.make, abandon_on_cancel=True, limiter=CapacityLimiter(1))
    finally:
        call.done.set()
    return call.result()


class _Call(Generic[T]):
    def __init__(self, function: Callable[..., T], args: tuple[Any, ...]) -> None:
        self._function = function
        self._args = args
        self._loop = current_token()
        self._result: list[T] = []
        self._error: BaseException | None = None
        self.done = Event()

    def make(self) -> None:
        """Call the function, and wait until it has returned or `done` is set."""
        _start(self._run)
        self.done.wait()

    def result(self) -> T:
        """What it has returned.

        Raises:
            BaseException: What it has raised.
        """
        if self._error is not None:
            raise self._error
        return self._result[0]

    def _run(self) -> None:
        LOOP.set(self._loop)
        try:
            self._result.append(self._function(*self._args))
        except BaseException as exc:
            self._error = _for_a_coroutine(exc)
        self.done.set()


async def read_in_thread(rows: Iterable[Any]) -> AsyncGenerator[Any]:
    """Read what may block, such as a file or a download, where it hinders nobody.

    A row that was read waits for no other: it is handed over within milliseconds. Nothing is read that nobody waits
    for, but for the rows of one chunk. A generator is closed before this ends, unless it blocks.
    """
    reader = _Reader(rows)
    limiter = CapacityLimiter(1)
    is_over = False
    try:
        while not is_over:
            found, is_over = await to_thread.run_sync(reader.take, abandon_on_cancel=True, limiter=limiter)
            for row in found:
                yield row
    except GeneratorExit:
        await reader.leave(limiter)
        reader.check()
        raise
    except BaseException:
        await reader.leave(limiter)
        raise
    reader.check()


class _Reader:
    """Reads rows in a thread of its own, a chunk whenever it is asked."""

    def __init__(self, rows: Iterable[Any]) -> None:
        self._rows = rows
        self._changed = Condition()
        self._has_begun = False
        self._is_asked = False
        self._is_left = False
        self._is_over = False
        self._found: list[Any] = []
        self._error: BaseException | None = None

    def take(self) -> tuple[list[Any], bool]:
        """The rows that were read, and whether these are all; waits for the first one, and a moment for others."""
        with self._changed:
            if not self._has_begun:
                self._has_begun = True
                _start(self._run)
            if not self._found and not self._is_over:
                self._is_asked = True
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._found or self._is_over or self._is_left)
            self._changed.wait_for(lambda: not self._is_asked or self._is_left, _CHUNK_SECONDS)
            found, self._found = self._found, []
            return found, self._is_over

    async def leave(self, limiter: CapacityLimiter) -> None:
        """Ask for no more, and wait until the rows are closed, but not for what blocks."""
        with self._changed:
            self._is_left = True
            self._changed.notify_all()
        with CancelScope(shield=True):
            await to_thread.run_sync(self._wait_until_over, limiter=limiter)

    def check(self) -> None:
        """Raise what reading has raised.

        Raises:
            BaseException: That.
        """
        if self._error is not None:
            raise self._error

    def _wait_until_over(self) -> None:
        with self._changed:
            if self._has_begun:
                self._changed.wait_for(lambda: self._is_over, _PATIENCE)

    def _run(self) -> None:
        rows: Any = None
        error: BaseException | None = None
        try:
            rows = iter(self._rows)
            while self._is_asked_for_more() and self._has_read_chunk(rows):
                pass
            if inspect.isgenerator(rows):
                rows.close()
        except BaseException as exc:  # after the rows that were read before
            error = _for_a_coroutine(exc)
        with self._changed:
            self._error = error
            self._is_over, self._is_asked = True, False
            self._changed.notify_all()

    def _is_asked_for_more(self) -> bool:
        """Wait until somebody wants more rows, or none ever."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_asked or self._is_left)
            return not self._is_left

    def _has_read_chunk(self, rows: Any) -> bool:
        """Read some; whether there may be others."""
        end = time.perf_counter() + _CHUNK_SECONDS
        for number in range(1, _CHUNK + 1):
            row = next(rows, _END)
            if row is _END:
                return False
            with self._changed:
                self._found.append(row)
                is_chunk = number == _CHUNK or time.perf_counter() > end or self._is_left
                if is_chunk:
                    self._is_asked = False
                if is_chunk or len(self._found) == 1:
                    self._changed.notify_all()
            if is_chunk:
                break
        return True


def _start(function: Callable[[], object]) -> None:
    Thread(target=copy_context().run, args=(function,), name="doteval-dataset", daemon=True).start()


def _for_a_coroutine(error: BaseException) -> BaseException:
    """What may be raised in one: some errors would end the coroutine that waits, and not only what it waits for."""
    if not isinstance(error, (GeneratorExit, StopIteration, StopAsyncIteration)):
        return error
    told = RuntimeError(f"the dataset raised {type(error).__name__}")
    told.__cause__ = error
    return told
