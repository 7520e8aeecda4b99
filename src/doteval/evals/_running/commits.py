"""Has a row done only when its result is committed, so that whatever kills the process, no row that is done is lost."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

from anyio import CapacityLimiter, Event, create_task_group, to_thread
from anyio.abc import TaskGroup

from .._errors import ConcurrentRunError, StoreError
from .._escapes import as_it_is, raise_own_cancellation, told_apart
from .._results.reading import Stored
from .._results.record import Record
from .._results.store import Store
from .limits import Limit
from .notes import Notes

_LONGEST_WAIT = 0.25


class Commits:
    """The results of one run on their way into the store.

    Args:
        store: The store.
        stored: The evaluation in it.
        limit: How many rows are called at once.
        notes: Is asked to note what else is known before a result is written.
    """

    def __init__(self, store: Store, stored: Stored, limit: Limit, notes: Notes) -> None:
        self._store = store
        self._stored = stored
        self._limit = limit
        self._notes = notes
        self._early: deque[tuple[Record, Callable[[], object]]] = deque()
        """What waits until it is known what rows write."""
        self._waiting: deque[tuple[int, Callable[[], object]]] = deque()
        self._some = Event()
        self._error: BaseException | None = None

    def keep(self, record: Record, kept: Callable[[], object]) -> None:
        """Have a result written, and `kept` called when it is committed."""
        self._early.append((record, kept))
        if not self._notes.is_waited_for:
            self._put()
            is_last = self._limit.in_flight() <= 1
            if is_last or len(self._waiting) >= self._limit.most:
                self._store.hurry()  # else somebody would wait for it
        self._some.set()

    def _put(self) -> None:
        self._notes.before_a_result()
        while self._early:
            record, kept = self._early.popleft()
            self._waiting.append((self._store.put(self._stored, record), kept))

    @asynccontextmanager
    async def told(self) -> AsyncGenerator[None]:
        """Tell which results are committed, as long as the block lasts.

        Raises:
            StoreError: A result could not be written; the block is cancelled.
            ConcurrentRunError: Another run has thrown the evaluation away; likewise.
            BaseException: What `kept` has raised; likewise.
        """
        error: Exception | None = None
        with as_it_is():
            async with create_task_group() as task_group:
                task_group.start_soon(self._tell, task_group)
                try:
                    yield
                except Exception as exc:
                    error = exc
                finally:
                    if self._early:  # whoever ends the run waits for no look
                        with suppress(StoreError, ConcurrentRunError):  # as the run has ended for another reason
                            self._put()
                task_group.cancel_scope.cancel()
        if self._error is not None:
            raise told_apart(self._error, "whoever is told of results")
        if error is not None:
            raise error

    async def _tell(self, task_group: TaskGroup) -> None:
        limiter = CapacityLimiter(1)
        while True:
            if not self._waiting and not self._early:
                self._some = Event()
                await self._some.wait()
            try:
                if self._early:
                    await self._notes.look()
                    self._put()
                    self._store.hurry()
                first = self._waiting[0][0]
                last = await to_thread.run_sync(
                    self._store.wait, self._stored, first, _LONGEST_WAIT, abandon_on_cancel=True, limiter=limiter
                )
                while self._waiting and self._waiting[0][0] <= last:
                    self._waiting.popleft()[1]()
            except BaseException as exc:
                self._error = exc  # now, as the run may be over before the next line is
                try:
                    await raise_own_cancellation(exc, is_rows_task=True)
                except BaseException:
                    self._error = None
                    raise
                task_group.cancel_scope.cancel()
                return
