"""Runs the rows that are missing: those whose results are in the store already are not run again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, field
from itertools import zip_longest

from anyio import CapacityLimiter, to_thread

from .._errors import DatasetError
from .._escapes import INTERRUPTS
from .._results.reading import Results, Stored
from .._results.record import Record
from .._results.statistics import summarise
from .._results.store import Store
from .arguments import Arguments
from .commits import Commits
from .dataset import Row
from .engine import Attempts, Engine, Known, Progress
from .evaluation import Evaluation
from .limits import Concurrency, limit_of
from .outcome import Outcome, StoredRecords


@dataclass(frozen=True, slots=True)
class Place:
    """Where the results of an evaluation are kept.

    Args:
        store: The store.
        experiment: The experiment.
        name: The evaluation's name in it.
        model: The spec of its model, or nothing.
    """

    store: Store
    experiment: str
    name: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """How an evaluation is run.

    Args:
        concurrency: How many rows at once; `None` for the evaluation's own number.
        max_errors: How many rows may raise before the evaluation does not count as finished.
        attempts: How often a row may be run again.
        fresh: Whether what is in the store is thrown away.
        ends: What ends the run when a row raises it; all else but the run's cancellation is the failure of the row.
    """

    concurrency: Concurrency | None = None
    max_errors: int = 0
    attempts: Attempts = field(default_factory=Attempts)
    fresh: bool = False
    ends: tuple[type[BaseException], ...] = INTERRUPTS


def answered(evaluation: Evaluation, place: Place, settings: Settings) -> Outcome | None:
    """What is in the store, where that is all there is to know, so that nothing has to be run; blocks.

    The rows of the dataset are compared with those in the store where they can be read without an event loop and read
    again afterwards. So it is not done for async iterables, for functions that make the dataset, and for iterators.
    """
    if settings.fresh:
        return None
    with place.store.snapshot() as results:
        stored = results.find(place.experiment, place.name)
        if stored is None or stored.finished is None or not stored.stored or stored.errors > settings.max_errors:
            return None
        if evaluation.source.can_be_looked_at and not _are_same(evaluation, results, stored):
            return None
        summary = results.summary(stored)
    return Outcome(
        place.name,
        summary,
        StoredRecords(place.store, stored),
        answered=True,
        known=stored.stored,
        warnings=_changed_code(evaluation, stored),
    )


@dataclass(slots=True)
class _Changes:
    """How the dataset differs from the one whose results are in the store.

    Args:
        first: The first row with other values.
        others: How many more there are.
        gone: How many rows there are no more.
    """

    first: int | None = None
    others: int = 0
    gone: int = 0

    def differs(self, number: int) -> None:
        """This row has other values."""
        if self.first is None:
            self.first = number
        else:
            self.others += 1

    def warnings(self, name: str) -> list[str]:
        """What a user is told of them."""
        found: list[str] = []
        if self.first is not None:
            more = f" and {self.others:,} more" if self.others else ""
            found.append(
                f"The dataset of '{name}' has changed since it was run: row {self.first}{more} had other values; only "
                "what has changed was run again. --doteval-fresh starts over."
            )
        if self.gone:
            rows = f"{self.gone:,} rows that were" if self.gone > 1 else "a row that was"
            found.append(
                f"The dataset of '{name}' has become shorter since it was run: the results of {rows} at its end are "
                "removed."
            )
        return found


async def run_rows(
    evaluation: Evaluation,
    arguments: Arguments,
    settings: Settings,
    place: Place | None,
    *,
    name: str,
    on_record: Callable[[Record], object] | None = None,
    progress: Progress | None = None,
    tell: Callable[[], object] = lambda: None,
    drain: Callable[[], Awaitable[object]] | None = None,
) -> Outcome:
    """Run the rows that are missing.

    Args:
        evaluation: What is run.
        arguments: What it gets besides its columns.
        settings: How it is run.
        place: Where results are kept; `None`: in the outcome.
        name: The evaluation's name.
        on_record: Called with every new record, in the order of the dataset.
        progress: Is kept up to date.
        tell: Called when it has changed.
        drain: Called when the last row has begun.
    """
    progress = Progress() if progress is None else progress
    progress.total = evaluation.source.size
    limit = limit_of(settings.concurrency, evaluation.concurrency)
    kept: list[Record] = []
    warnings: list[str] = []
    stored: Stored | None = None
    if place is not None:
        before = None if settings.fresh else await to_thread.run_sync(place.store.find, place.experiment, place.name)
        if before is not None:
            warnings += _changed_code(evaluation, before)
        stored = await to_thread.run_sync(lambda: _begin(place, evaluation, settings))

    commits = None if place is None or stored is None else Commits(place.store, stored, limit)
    changes = _Changes()

    def emit(record: Record) -> None:
        if place is None:
            kept.append(record)
        if on_record is not None:
            on_record(record)

    engine = Engine(
        evaluation.caller(CapacityLimiter(limit.most)),
        arguments,
        limit,
        attempts=settings.attempts,
        ends=settings.ends,
        keep=_keep_in_outcome if commits is None else commits.keep,
        drain=drain or _go_on,
        emit=emit,
        progress=progress,
        tell=tell,
    )
    try:
        async with nullcontext() if commits is None else commits.told():
            async with aclosing(_missing(evaluation, place, stored, settings, changes)) as rows:
                count = await engine.run(rows)
        if place is not None and stored is not None:
            place.store.finish(stored, count)
    finally:
        if place is not None and stored is not None:
            place.store.leave(stored)
            await place.store.flush()
    if place is not None and stored is not None:
        place.store.check(stored)
    warnings += changes.warnings(name)
    if place is not None and stored is not None:
        summary = await to_thread.run_sync(place.store.summary, stored)
    else:
        summary = summarise(kept)
    return Outcome(
        name,
        summary,
        kept if place is None or stored is None else StoredRecords(place.store, stored),
        known=progress.known,
        calls=progress.calls,
        wasted=progress.wasted,
        warnings=tuple(warnings),
    )


def _keep_in_outcome(_record: Record, kept: Callable[[], object]) -> None:
    """Where there is no store, the outcome has it."""
    kept()


async def _go_on() -> None:
    """There is nothing to do."""


def _begin(place: Place, evaluation: Evaluation, settings: Settings) -> Stored:
    return place.store.begin(
        place.experiment, place.name, model=place.model, code=evaluation.code, fresh=settings.fresh
    )


async def _missing(
    evaluation: Evaluation, place: Place | None, stored: Stored | None, settings: Settings, changes: _Changes
) -> AsyncGenerator[Row | Known]:
    """The rows of the dataset; those whose results are in the store are marked. `changes` is told of differences."""
    known = iter(()) if place is None or stored is None else place.store.digests(stored)
    # Where more rows failed than may, the evaluation has not passed, and they are tried again.
    retries_failed = stored is not None and stored.errors > settings.max_errors
    number, digest, failed = next(known, (-1, "", False))
    last = -1
    async with aclosing(evaluation.source.read()) as rows:
        async for row in rows:
            while -1 < number < row.number:
                number, digest, failed = next(known, (-1, "", False))
            if number != row.number:
                yield row
            elif digest != row.digest:
                changes.differs(row.number)
                yield row
            elif failed and retries_failed:
                yield row
            else:
                yield Known(row, failed)
            last = row.number
    changes.gone = (number > last) + sum(number > last for number, *_ in known)  # the others are new


def _are_same(evaluation: Evaluation, results: Results, stored: Stored) -> bool:
    """Whether the dataset is the one whose results are in the store."""
    try:
        here = (row.digest for row in evaluation.source.look())
        there = (digest for _, digest, _ in results.digests(stored))
        return all(one == other for one, other in zip_longest(here, there))
    except DatasetError:
        return False


def _changed_code(evaluation: Evaluation, stored: Stored) -> tuple[str, ...]:
    if stored.code == evaluation.code:
        return ()
    warning = (
        f"The code of '{stored.name}' has changed since its results were stored in the experiment "
        f"'{stored.experiment}'; they are kept as they are. --doteval-fresh starts over."
    )
    return (warning,)
