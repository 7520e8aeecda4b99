"""Holds a row in flight until its result is committed, so that whatever kills the process, no other row is lost.

It also holds back rows where the disk cannot keep up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from anyio import CapacityLimiter, Event, create_task_group, to_thread
from anyio.abc import TaskGroup

from ._record import Record
from ._store import Store, Stored

_LONGEST_WAIT = 0.25


class Commits:
    """The results of one run on their way into the store.

    Args:
        store: The store.
        stored: The evaluation in it.
        in_flight: How many rows are in flight at present.
    """

    def __init__(self, store: Store, stored: Stored, in_flight: Callable[[], int]) -> None:
        self._store = store
        self._stored = stored
        self._in_flight = in_flight
        self._waiting: deque[tuple[int, Event]] = deque()
        self._some = Event()
        self._error: OSError | None = None

    async def keep(self, record: Record) -> None:
        """Write a result, and wait until it is committed."""
        done = Event()
        self._waiting.append((self._store.put(self._stored, record), done))
        if len(self._waiting) >= self._in_flight():
            self._store.hurry()
        self._some.set()
        await done.wait()

    @asynccontextmanager
    async def told(self) -> AsyncGenerator[None]:
        """Tell rows that their results are committed, as long as the block lasts.

        Raises:
            OSError: A result could not be written; the block is cancelled.
        """
        error: Exception | None = None
        async with create_task_group() as task_group:
            task_group.start_soon(self._tell, task_group)
            try:
                yield
            except Exception as exc:  # as it is, and not in a group
                error = exc
            task_group.cancel_scope.cancel()
        if self._error is not None:
            raise self._error
        if error is not None:
            raise error

    async def _tell(self, task_group: TaskGroup) -> None:
        limiter = CapacityLimiter(1)
        while True:
            if not self._waiting:
                self._some = Event()
                await self._some.wait()
            first = self._waiting[0][0]
            try:
                last = await to_thread.run_sync(
                    self._store.wait, first, _LONGEST_WAIT, abandon_on_cancel=True, limiter=limiter
                )
            except OSError as exc:
                self._error = exc
                task_group.cancel_scope.cancel()
                return
            while self._waiting and self._waiting[0][0] <= last:
                self._waiting.popleft()[1].set()
