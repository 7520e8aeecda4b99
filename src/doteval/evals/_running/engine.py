"""Runs the rows of one evaluation: many at once, each on its own, their results in the order of the dataset.

Nothing here grows with the dataset: at most `_WINDOW` rows are between the dataset and the end, the one that is waited
for included. So one slow row lets the others run ahead of it, but not for ever.

A row gives its place back when its call has ended, and is done when its result is kept. No row begins while as many
are between the two as may be called at once; so at most twice as many are in flight.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from random import uniform
from typing import Any

from anyio import CancelScope, Event, create_task_group, current_time

from ... import ModelRequestError
from .._result import Result
from .._results.record import Inputs, Record, succeeded
from .._results.record import failed as failed_record
from .arguments import Arguments
from .dataset import Row
from .limits import Limit

_WINDOW = 256
_OVERLOAD = (429, 503, 529)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0


@dataclass(frozen=True, slots=True)
class Known:
    """A row whose result is there already.

    Args:
        row: The row.
        failed: Whether the result is an error.
    """

    row: Row
    failed: bool


@dataclass(frozen=True, slots=True)
class Attempts:
    """How often a row may be run again.

    Args:
        lost: After its model, or the connection to it, was lost.
        overloaded: After its server was overloaded, or refused it because of a rate limit.
    """

    lost: int = 1
    overloaded: int = 8


@dataclass(slots=True)
class Progress:
    """What has been done so far.

    Args:
        total: How many rows there are, where that is known.
        done: How many have a result.
        known: How many of these had one before.
        errors: How many of these are errors.
        calls: How often the evaluation was called.
        wasted: How many of the calls failed and were made again.
        tokens: What the calls cost, as far as that is known.
    """

    total: int | None = None
    done: int = 0
    known: int = 0
    errors: int = 0
    calls: int = 0
    wasted: int = 0
    tokens: int = 0


class Engine:
    """One run over the rows.

    Args:
        call: Evaluates one row.
        arguments: What it is called with besides the columns.
        limit: How many at once.
        attempts: How often a row may be run again.
        failures: What counts as the failure of a row; everything else ends the run.
        keep: Is given every record at once, in the order in which they come, and calls what it is given with it when
            the record is kept.
        drain: Is called when the last row has begun.
        emit: Is given every record in the order of the dataset.
        progress: Is kept up to date.
        tell: Is called when it has changed.
    """

    def __init__(
        self,
        call: Callable[[Mapping[str, Any]], Awaitable[Result]],
        arguments: Arguments,
        limit: Limit,
        *,
        attempts: Attempts,
        failures: tuple[type[BaseException], ...],
        keep: Callable[[Record, Callable[[], object]], object],
        drain: Callable[[], Awaitable[object]],
        emit: Callable[[Record], object],
        progress: Progress,
        tell: Callable[[], object],
    ) -> None:
        self._call = call
        self._arguments = arguments
        self._limit = limit
        self._attempts = attempts
        self._failures = failures
        self._keep = keep
        self._drain = drain
        self._emit = emit
        self._progress = progress
        self._tell = tell
        self._window = max(_WINDOW, 4 * limit.most)
        self._next = 0
        self._waiting: dict[int, Record | None] = {}
        self._being_kept = 0
        self._error: Exception | None = None
        self._moved: Event | None = None

    async def run(self, rows: AsyncIterator[Row | Known]) -> int:
        """Run them all; how many there were.

        Raises:
            BaseException: What reading the rows raised, after those that were read before are done; or what whoever is
                told or keeps records has raised, at once.
        """
        count = 0
        error: Exception | None = None
        async with create_task_group() as task_group:
            try:
                async for entry in rows:
                    count += 1
                    if isinstance(entry, Known):
                        self._progress.known += 1
                        self._done(entry.row.number, None, failed=entry.failed)
                        continue
                    while entry.number >= self._next + self._window or self._being_kept >= self._limit.most:
                        await self._until_a_row_is_done()
                    await self._limit.acquire(entry)
                    task_group.start_soon(self._row, entry, task_group.cancel_scope)
                await self._drain()
            except Exception as exc:
                error = exc
        if self._error is not None:
            raise self._error  # as it is, and not in a group
        while self._being_kept:
            await self._until_a_row_is_done()
        if error is not None:
            raise error
        return count

    async def _row(self, row: Row, scope: CancelScope) -> None:
        """Run one row, and have kept what comes of it; it has a place, which it gives back."""
        try:
            record = await self._record(row)
            self._being_kept += 1
            self._keep(record, partial(self._is_kept, record))
        except Exception as exc:  # not the evaluation's: those are recorded
            self._error = self._error or exc
            scope.cancel()
        finally:
            self._limit.release(row)

    async def _record(self, row: Row) -> Record:
        inputs = Inputs(row.number, row.values)  # before the call, which may change them
        lost = overloaded = 0
        while True:
            epoch, started = self._limit.epoch, current_time()
            self._progress.calls += 1
            try:
                result = await self._call({**row.values, **self._arguments.present()})
                record = succeeded(inputs, result, current_time() - started, 1 + lost + overloaded)
            except self._failures as exc:
                seconds = current_time() - started
                if _is_overload(exc):
                    pause = _retry_after(exc)
                    self._limit.overloaded(epoch, pause)
                    if overloaded == self._attempts.overloaded:
                        return failed_record(inputs, exc, seconds, 1 + lost + overloaded)
                    overloaded += 1
                    await self._limit.pause(row, _pause(overloaded) if pause is None else pause)
                else:
                    again = lost < self._attempts.lost and await self._renewed(exc)
                    if again is not True:
                        return failed_record(inputs, again or exc, seconds, 1 + lost + overloaded)
                    lost += 1
                self._progress.wasted += 1
            else:
                self._limit.succeeded()
                return record

    async def _renewed(self, error: BaseException) -> bool | BaseException:
        """Whether the row may be run again, or why the model cannot be leased again."""
        try:
            return await self._arguments.again(error)
        except self._failures as exc:
            exc.__context__ = error
            return exc

    def _is_kept(self, record: Record) -> None:
        self._being_kept -= 1
        self._done(record.number, record, failed=record.failed)

    def _done(self, number: int, record: Record | None, *, failed: bool) -> None:
        progress = self._progress
        progress.done += 1
        progress.errors += failed
        if record is not None:
            progress.tokens += (record.input_tokens or 0) + (record.output_tokens or 0)
        self._waiting[number] = record
        if number == self._next:
            while self._next in self._waiting:
                ready = self._waiting.pop(self._next)
                self._next += 1
                if ready is not None:
                    self._emit(ready)
        if self._moved is not None:
            self._moved.set()
            self._moved = None
        self._tell()

    async def _until_a_row_is_done(self) -> None:
        """Wait for the next one."""
        if self._moved is None:
            self._moved = Event()
        await self._moved.wait()


def _status(error: BaseException) -> int | None:
    """The HTTP status behind an error of ours, or of an SDK that is used without us."""
    status = getattr(error, "status", None)
    if not isinstance(status, int):
        status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def _is_overload(error: BaseException) -> bool:
    return _status(error) in _OVERLOAD


def _retry_after(error: BaseException) -> float | None:
    seconds = error.retry_after if isinstance(error, ModelRequestError) else None
    if seconds is None and (headers := getattr(getattr(error, "response", None), "headers", None)) is not None:
        try:
            seconds = float(headers.get("retry-after"))
        except (TypeError, ValueError):
            return None
    return seconds if seconds is not None and math.isfinite(seconds) and seconds >= 0 else None


def _pause(attempt: int) -> float:
    """Seconds before the next attempt, where the server does not say."""
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (attempt - 1)) * uniform(0.5, 1.0)  # noqa: S311 - not all at once
