"""Runs the rows of one evaluation: many at once, each on its own, their results in the order of the dataset.

Nothing here grows with the dataset: at most `_WINDOW` rows are between the dataset and the end, the one that is waited
for included. So one slow row lets the others run ahead of it, but not for ever.

A row gives its place back when its call has ended, and is done when its result is kept. No row begins while as many are
between the two as may be called at once; so at most twice as many are in flight.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any

from anyio import CancelScope, Event, create_task_group, current_time
from anyio.lowlevel import checkpoint_if_cancelled

from ... import counting_requests
from .._errors import RowTimeoutError
from .._escapes import as_it_is, ends_the_run, raise_cancellation_of_row, raise_own_cancellation, told_apart
from .._result import Result
from .._results.begun import RequestsOfRow
from .._results.record import Record, succeeded
from .._results.record import failed as failed_record
from .._results.roles import Roles
from .._results.transcript import Transcript
from .._results.usage import UsageSums
from .abort import Abort
from .arguments import Arguments, with_roles
from .attempt import Attempt
from .dataset import Known, Row, has_name
from .limits import Limit
from .refusals import Refusal, apart_from, pause_before, refusal_of, retry_after, with_cause
from .retries import Retries
from .task_groups import TaskGroups

_WINDOW = 256
_NO_REPLIES = nullcontext()


@dataclass(slots=True)
class Progress:
    """What has been done so far.

    Args:
        total: How many rows there are, where that is known; with several samples of each, how many samples.
        done: How many have a result.
        known: How many of these had one before.
        errors: How many of these are errors.
        calls: How often the evaluation was called.
        wasted: How many of the calls failed and were made again.
        tokens: What the calls cost, as far as that is known.
        epochs: How many samples there are of each row.
        left_open: How many requests had not ended when their row had.
        answered: How many requests were answered by a server.
        asked_again: How many of these were for nothing, as a later one failed and the row started over.
        leaks: The numbers of rows that have left cancel scopes open.
        past_cache: The models that were asked past the cache of replies, where there is one.
    """

    total: int | None = None
    done: int = 0
    known: int = 0
    errors: int = 0
    calls: int = 0
    wasted: int = 0
    tokens: int = 0
    epochs: int = 1
    left_open: int = 0
    past_cache: set[str] = field(default_factory=set[str])
    answered: int = 0
    asked_again: int = 0
    leaks: set[int] = field(default_factory=set[int])


class Engine:
    """One run over the rows.

    Args:
        call: Evaluates one row.
        arguments: What it is called with besides the columns.
        limit: How many at once.
        retries: When a row is run again.
        row_timeout: How long an attempt of a row may take, in seconds; 0: as long as it takes.
        ends: What ends the run when a row raises it, besides the run's own cancellation; all else is the row's failure.
        keep: Is given every record at once, in the order in which they come, and calls what it is given with it when
            the record is kept.
        drain: Is called when the last row has begun.
        emit: Is given every record in the order of the dataset.
        abort: Sees every record as it comes, and ends the run where it is enough.
        progress: Is kept up to date.
        tell: Is called when it has changed.
        opened: Opens the part of a cache of replies that belongs to a row, by its name; is told whether it has an id.
        transcripts: Whether it is taken down what is asked in rows.
        watching: Opens what watches a row while it is run.
        is_left: Whether nobody waits for the rows any more, though they have not been cancelled yet.
    """

    def __init__(
        self,
        call: Callable[[Mapping[str, Any]], Awaitable[Result]],
        arguments: Arguments,
        limit: Limit,
        *,
        retries: Retries,
        row_timeout: float = 0.0,
        ends: tuple[type[BaseException], ...],
        keep: Callable[[Record, Callable[[], object]], object],
        drain: Callable[[], Awaitable[object]],
        emit: Callable[[Record], object],
        abort: Abort,
        progress: Progress,
        tell: Callable[[], object],
        opened: Callable[..., AbstractContextManager[None]] | None = None,
        transcripts: bool = False,
        watching: Callable[[], AbstractContextManager[object]] = nullcontext,
        is_left: Callable[[], bool] = lambda: False,
    ) -> None:
        self._call = call
        self._arguments = arguments
        self._limit = limit
        self._retries = retries
        self._row_timeout = row_timeout
        self._ends = ends
        self._keep = keep
        self._drain = drain
        self._emit = emit
        self._abort = abort
        self._opened = opened
        self._transcripts = transcripts
        self._watching = watching
        self._progress = progress
        self._tell = tell
        self._window = max(_WINDOW, 4 * limit.most)
        self._next = 0
        self.lost = UsageSums()
        """What rows have cost that have no result, as the run has ended before."""
        self._waiting: dict[int, Record | None] = {}
        self._being_kept = 0
        self._error: BaseException | None = None
        self._moved: Event | None = None
        self._has_ended = False
        self._is_left = is_left
        self._unsettled: set[Attempt] = set()
        self._in_hand: BaseException | None = None
        self._given: Mapping[str, Any] | None = None
        self._values: Mapping[str, Any] = {}
        self._roles = Roles()

    @property
    def _is_over(self) -> bool:
        return self._has_ended or self._is_left()

    async def run(self, rows: AsyncIterator[Row | Known]) -> int:
        """Run them all; how many there were.

        Raises:
            BaseException: What reading the rows raised, after those that were read before are done; or what whoever is
                told or keeps records has raised, at once.
        """
        self._in_hand = sys.exc_info()[1]
        self._context = copy_context()  # whoever is told of rows sees nothing of what these have set
        try:
            return await self._run(rows)
        finally:
            # An interrupt may come between the making of a row's task and its being known to the task group.
            self._has_ended = True
            for attempt in self._unsettled:
                self.lost.add(attempt.spending.by_model())

    async def _run(self, rows: AsyncIterator[Row | Known]) -> int:
        count = 0
        error: BaseException | None = None
        with as_it_is(self._ends):
            async with create_task_group() as task_group:
                self._scope = task_group.cancel_scope
                self._task_groups = TaskGroups(task_group, self._row, self._left_open, self._ends)
                try:
                    async for entry in rows:
                        place, count = count, count + 1
                        if isinstance(entry, Known):
                            while place >= self._next + self._window:
                                await self._until_a_row_is_done()
                            self._progress.known += 1
                            self._done(place, None, failed=entry.failed)
                            continue
                        while place >= self._next + self._window or self._being_kept >= self._limit.most:
                            await self._until_a_row_is_done()
                        await self._limit.acquire(entry)
                        attempt = Attempt(place, entry, Transcript() if self._transcripts else RequestsOfRow())
                        self._unsettled.add(attempt)
                        self._task_groups.start(attempt)
                    await self._drain()
                except BaseException as exc:
                    await raise_own_cancellation(exc)
                    if ends_the_run(exc, self._ends):
                        raise
                    error = exc
                finally:
                    self._task_groups.leave()
        if self._error is not None:
            raise told_apart(self._error, "whoever is told of results", self._ends)  # as it is, and not in a group
        while self._being_kept:
            await self._until_a_row_is_done()
        if error is not None:
            raise told_apart(error, "the dataset", self._ends)
        if self._next != count:
            raise RuntimeError(f"{count} rows were read and {self._next} have a result: please report it")
        return count

    async def _row(self, attempt: Attempt) -> None:
        """Make an attempt of a row, and have kept what comes of it; the row has a place, which it gives back."""
        if self._is_over:
            return  # what ends it may still wait for its turn, and a row that blocks would not let it have that
        try:
            await checkpoint_if_cancelled()  # asyncio cancels nothing that has not begun
            failure = None if attempt.error is None else await self._after(attempt)
            if failure is not None:
                row = attempt.row
                record = failed_record(
                    row.inputs, row.sample, failure, attempt.seconds, attempt.count, attempt.spending
                )
                self._settle(attempt, record)
            else:
                with self._watching(), counting_requests(attempt.requests):
                    await self._attempt(attempt)
        except BaseException as exc:  # not the evaluation's: those are recorded
            if self._is_over:
                raise
            if not ends_the_run(exc, self._ends):
                await raise_own_cancellation(exc, is_rows_task=True)
            self._end(exc)

    async def _attempt(self, attempt: Attempt) -> None:
        """Evaluate a row once; what it raises is looked at in another task, as it may have left open anything here."""
        row, spending = attempt.row, attempt.spending
        attempt.epoch, started = self._limit.epoch, current_time()
        self._progress.calls += 1
        try:
            arguments = self._arguments.present()
            if arguments is not self._given:
                self._values, self._roles = with_roles(arguments)
                self._given = arguments
            spending.roles = self._roles
            spending.begin_attempt()
            values = {**row.fresh_values(), **self._values}
            with self._replies_of(attempt):
                result = await (self._in_time(values, attempt) if self._row_timeout else self._call(values))
            record = succeeded(row.inputs, row.sample, result, current_time() - started, attempt.count, spending)
        except BaseException as exc:
            if self._is_over or ends_the_run(exc, self._ends):
                raise
            attempt.error, attempt.seconds = exc, current_time() - started
            await raise_cancellation_of_row(exc)
            if self._is_over:
                raise
            if self._in_hand is not None:
                apart_from(exc, self._in_hand)
            self._task_groups.start_apart(attempt)
            return
        self._progress.answered += spending.answered
        if spending.was_asked:  # what a cache answers says nothing of what a server takes
            self._limit.succeeded()
        self._settle(attempt, record)

    def _settle(self, attempt: Attempt, record: Record) -> None:
        """Have the record of a row kept; nothing more is done for the row."""
        if self._is_over:  # nobody waits for it any more
            return
        self._unsettled.discard(attempt)
        self._limit.release(attempt.row)
        self._progress.left_open += attempt.spending.left_open
        if self._opened is not None:
            self._progress.past_cache.update(each.model for each in attempt.requests if not each.knows_caches)
        self._being_kept += 1
        self._keep(record, partial(self._is_kept, attempt.place, record))

    def _left_open(self, attempt: Attempt, is_done: bool) -> None:
        """The task of an attempt has ended with something left open in it; where it was not done, by that."""
        self._progress.leaks.add(attempt.row.inputs.number)
        if is_done or self._is_over:
            return
        attempt.error = attempt.ended_by_itself(attempt.error)
        self._task_groups.start_apart(attempt)

    def _end(self, error: BaseException) -> None:
        """End the run."""
        if self._error is None:
            self._error = error
        self._scope.cancel()

    async def _after(self, attempt: Attempt) -> BaseException | None:
        """Wait until a row may be run again after what its last attempt has raised, or return why it has failed."""
        error, attempt.error = attempt.error, None
        assert error is not None
        answered, asked = attempt.spending.answered, attempt.asked
        self._progress.answered += answered
        failure = await self._again(error, attempt.epoch, attempt)
        if failure is None:
            attempt.count += 1
            self._progress.wasted += 1
            is_paid_again = attempt.asked == asked and self._opened is None  # else the cache answers
            self._progress.asked_again += answered if is_paid_again else 0
        return failure

    def _replies_of(self, attempt: Attempt) -> AbstractContextManager[None]:
        if self._opened is None:
            return _NO_REPLIES
        return self._opened(attempt.name, has_id=has_name(attempt.row.inputs))

    async def _in_time(self, values: Mapping[str, Any], attempt: Attempt) -> Result:
        """Evaluate one row, and cancel that where it takes too long.

        Raises:
            RowTimeoutError: It took too long, however it ended: it may swallow its cancellation, or run in a thread.
        """
        deadline = current_time() + self._row_timeout
        where: TracebackType | None = None
        raised: BaseException | None = None
        error: BaseException | None = None
        result: Result | None = None
        is_in_time = False
        try:
            with CancelScope(deadline=deadline):
                try:
                    result = await self._call(values)
                except BaseException as exc:
                    raised, where = exc, exc.__traceback__
                    raise
                if current_time() < deadline:
                    return result
        except BaseException as exc:  # what it has made of its cancellation, where that was before
            is_in_time = current_time() < deadline
            if ends_the_run(exc, self._ends) or (is_in_time and exc is raised):
                raise
            error = exc
        try:
            if isinstance(error, RuntimeError) and error is not raised:  # a scope is open in this one
                self._progress.leaks.add(attempt.row.inputs.number)
            if is_in_time and raised is not None:
                raise attempt.ended_by_itself(raised)
            if is_in_time and result is not None:
                return result
            told = RowTimeoutError(self._row_timeout, attempt.spending.waited)
            raise told.with_traceback(where) from error  # it says what the row waited for
        finally:
            del where, error, raised  # they hold this frame

    async def _again(self, error: BaseException, epoch: int, tries: Attempt) -> BaseException | None:
        """Wait until the row may be run again, or return why it has failed.

        Raises:
            BaseException: The error, where it concerns every row.
        """
        if isinstance(error, RowTimeoutError):  # whatever it has to do with a server
            return await self._as_asked(error, tries)
        match refusal_of(error):
            case Refusal.FINAL:
                raise with_cause(error)
            case Refusal.OVERLOADED:
                wait = retry_after(error)
                now = current_time()
                tries.refused_since = min(tries.refused_since, now)
                is_over = now - tries.refused_since >= self._retries.patience
                asks_too_much = wait is not None and wait > self._retries.patience
                if asks_too_much or (is_over and not self._limit.has_succeeded_since(tries.refused_since)):
                    raise with_cause(error)
                if is_over:
                    return error
                self._limit.overloaded(epoch, wait)
                tries.refused += 1
                if not wait:  # "at once" is no help to a server that refuses
                    await self._limit.pause(pause_before(tries.refused))
                else:
                    await self._limit.wait_as_told(wait, tries.refused)
            case Refusal.TRANSIENT:
                if tries.stumbled >= self._retries.stumbled:
                    return await self._as_asked(error, tries)
                tries.stumbled += 1
                await self._limit.pause(pause_before(tries.stumbled))
            case None:
                renewed = await self._renewed(error)  # for other rows as well, where this one is not run again
                again = tries.lost < self._retries.lost and renewed
                if isinstance(again, BaseException):
                    return again
                if not again:
                    return await self._as_asked(error, tries)
                tries.lost += 1
        return None

    async def _as_asked(self, error: BaseException, tries: Attempt) -> BaseException | None:
        """Wait until the row may be run again because the user says so, or return why it has failed."""
        try:
            pause = copy_context().run(self._retries.pause_after, error, tries.asked + 1)
        except Exception as exc:
            exc.__context__ = error
            return exc
        if pause is None:
            return error
        tries.asked += 1
        await self._limit.pause(pause)
        return None

    async def _renewed(self, error: BaseException) -> bool | BaseException:
        """Whether the row may be run again, or why the model cannot be leased again."""
        try:
            return await self._arguments.again(error)
        except BaseException as exc:
            if ends_the_run(exc, self._ends):
                raise
            await raise_cancellation_of_row(exc)
            exc.__context__ = error
            return exc

    def _is_kept(self, place: int, record: Record) -> None:
        self._being_kept -= 1
        self._done(place, record, failed=record.failed)
        self._abort.check(record, self._progress.done, self._progress.errors)

    def _done(self, place: int, record: Record | None, *, failed: bool) -> None:
        progress = self._progress
        progress.done += 1
        progress.errors += failed
        if record is not None:
            progress.tokens += (record.input_tokens or 0) + (record.output_tokens or 0)
        self._waiting[place] = record
        if place == self._next:
            while self._next in self._waiting:
                ready = self._waiting.pop(self._next)
                self._next += 1
                if ready is not None:
                    self._context.run(self._emit, ready)
        if self._moved is not None:
            self._moved.set()
            self._moved = None
        self._tell()

    async def _until_a_row_is_done(self) -> None:
        """Wait for the next one."""
        if self._moved is None:
            self._moved = Event()
        await self._moved.wait()
