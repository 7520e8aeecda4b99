"""Runs the rows that are missing: those whose results are in the store already are not run again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing, nullcontext, suppress
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from threading import Lock
from typing import Literal

from anyio import CapacityLimiter, to_thread

from ... import CachedReplies, ReplyCache
from .._errors import DatasetError, StoreError
from .._escapes import INTERRUPTS
from .._results.compare import compare
from .._results.gates import Gate
from .._results.identity import Identity, listed
from .._results.reading import KnownRow, Results, Stored
from .._results.record import Record
from .._results.statistics import Summary, summarise
from .._results.store import Changed, Store, changes_since
from .abort import Abort
from .arguments import Arguments
from .commits import Commits
from .dataset import Row
from .engine import Attempts, Engine, Known, Progress
from .evaluation import Evaluation
from .limits import Concurrency, limit_of
from .outcome import Outcome, StoredRecords
from .selection import Selection

_MOVED_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Place:
    """Where the results of an evaluation are kept.

    Args:
        store: The store.
        experiment: The experiment.
        name: The evaluation's name in it.
        model: The spec of its model, or nothing.
        identity: What its results depend on.
    """

    store: Store
    experiment: str
    name: str
    model: str
    identity: Identity


@dataclass(frozen=True, slots=True)
class Settings:
    """How an evaluation is run.

    Args:
        concurrency: How many rows at once; `None` for the evaluation's own number.
        max_errors: How many rows may raise before the evaluation does not count as finished.
        abort_after: After how many failures alike, one after the other, one that has not passed ends; 0: never.
        attempts: How often a row may be run again.
        selection: Which rows are run.
        gates: What scores have to reach, besides what the evaluation itself says.
        baseline: The experiment with what they are compared with; nothing where there is none.
        fresh: Whether what is in the store is thrown away.
        changed: What becomes of results that are of something else.
        cache: What answers requests; `None`: what does so where it is run. ``"off"``: nothing.
        transcripts: Whether the requests of rows are kept, with their messages.
        ends: What ends the run when a row raises it; all else but the run's cancellation is the failure of the row.
    """

    concurrency: Concurrency | None = None
    max_errors: int = 0
    abort_after: int = 0
    attempts: Attempts = field(default_factory=Attempts)
    selection: Selection = field(default_factory=Selection)
    gates: tuple[Gate, ...] = ()
    baseline: str = ""
    fresh: bool = False
    changed: Changed = "error"
    cache: ReplyCache | Literal["off"] | None = None
    transcripts: bool = False
    ends: tuple[type[BaseException], ...] = INTERRUPTS


def answered(evaluation: Evaluation, place: Place, settings: Settings) -> Outcome | None:
    """What is in the store, where that is all there is to know, so that nothing has to be run; blocks.

    The rows of the dataset are compared with those in the store. Where they cannot be read without an event loop, or
    not again afterwards, that is done when they are run: async iterables, functions that make such, and iterators.

    Raises:
        EvaluationChangedError: What is in the store is of something else, and that is an error.
    """
    if settings.fresh:
        return None
    with place.store.snapshot() as results:
        stored = results.find(place.experiment, place.name)
        if stored is None or not stored.stored:
            return None
        differences = changes_since(stored, place.identity, settings.changed)
        if stored.finished is None or stored.errors > settings.max_errors:
            return None
        if differences and settings.changed != "keep":
            return None
        if not _are_same(evaluation, settings.selection, results, stored):
            return None
        summary = results.summary(stored)
        shortfalls = _shortfalls(evaluation, settings, summary, results, stored)
    if differences:
        with suppress(StoreError):  # where nobody can write, it is said again
            place.store.adopt(stored, place.identity)
    return Outcome(
        place.name,
        summary,
        StoredRecords(place.store, stored, summary.rows, str(place.store.path)),
        answered=True,
        known=stored.stored,
        warnings=_warnings_of(stored, differences, settings),
        shortfalls=shortfalls,
    )


class _Changes:
    """How the dataset differs from the one whose results are in the store.

    Args:
        known: What is in the store of it.
    """

    def __init__(self, known: Iterable[KnownRow]) -> None:
        self.known = {row.key: row for row in known}
        """What is in the store, by key, and was not read yet."""
        self.is_from_before = bool(self.known)
        self.first: int | None = None
        """The first row with other values."""
        self.others = 0
        """How many more there are."""

    def differs(self, number: int) -> None:
        """This row is known, and has other values."""
        if self.first is None:
            self.first = number
        else:
            self.others += 1

    def warnings(self, name: str) -> list[str]:
        """What a user is told, when all has been read."""
        found: list[str] = []
        if self.first is not None:
            more = f" and {self.others:,} more" if self.others else ""
            found.append(
                f"The dataset of '{name}' has changed since it was run: row {self.first}{more} had other values; only "
                "what has changed was run again. --doteval-fresh starts over."
            )
        if self.known:
            rows = f"{len(self.known):,} rows that were" if len(self.known) > 1 else "a row that was"
            found.append(
                f"The dataset of '{name}' has changed since it was run: the results of {rows} in it are removed."
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

    Raises:
        ReplyCacheError: The cache is a file of something else.
    """
    cache = settings.cache
    answering = ReplyCache.paused() if cache == "off" else None if cache is None else cache.answering()
    with answering or ReplyCache.inherited() as replies:
        outcome = await _run_rows(
            evaluation,
            arguments,
            settings,
            place,
            name=name,
            on_record=on_record,
            progress=Progress() if progress is None else progress,
            tell=tell,
            drain=drain,
            replies=replies,
        )
    if replies is None:
        return outcome
    return replace(outcome, warnings=(*outcome.warnings, *replies.problems), cache=replies)


async def _run_rows(
    evaluation: Evaluation,
    arguments: Arguments,
    settings: Settings,
    place: Place | None,
    *,
    name: str,
    on_record: Callable[[Record], object] | None,
    progress: Progress,
    tell: Callable[[], object],
    drain: Callable[[], Awaitable[object]] | None,
    replies: CachedReplies | None,
) -> Outcome:
    progress.total = settings.selection.size(evaluation.source.size)
    limit = limit_of(settings.concurrency, evaluation.concurrency)
    kept: list[Record] = []
    warnings: list[str] = []
    stored: Stored | None = None
    changes = _Changes(())
    if place is not None:
        stored, changes, told = await _begun(place, settings)
        warnings += told

    commits = None if place is None or stored is None else Commits(place.store, stored, limit)

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
        abort=Abort(name, settings.abort_after, settings.max_errors),
        progress=progress,
        tell=tell,
        replies=replies,
        transcripts=settings.transcripts,
    )
    try:
        async with nullcontext() if commits is None else commits.told():
            async with aclosing(_missing(evaluation, place, stored, settings, changes, arguments)) as rows:
                count = await engine.run(rows)
        if place is not None and stored is not None:
            _check_what_is_gone(evaluation, name, changes, count, replaces=place.store.replaces(stored))
            place.store.finish(stored, count, changes.known)
    finally:
        if place is not None and stored is not None:
            place.store.leave(stored)
            await place.store.flush()
    if place is not None and stored is not None:
        place.store.check(stored)
    warnings += changes.warnings(name)
    if place is not None and stored is not None:
        summary = await to_thread.run_sync(place.store.summary, stored)
        finished = await to_thread.run_sync(place.store.find, place.experiment, place.name)
        shortfalls = await to_thread.run_sync(
            _shortfalls, evaluation, settings, summary, place.store, finished or stored
        )
    else:
        summary = summarise(kept)
        shortfalls = _shortfalls(evaluation, settings, summary, None, None)
    return Outcome(
        name,
        summary,
        kept
        if place is None or stored is None
        else StoredRecords(place.store, stored, summary.rows, str(place.store.path)),
        answered=place is not None and progress.known > 0 and not progress.calls,
        known=progress.known,
        calls=progress.calls,
        wasted=progress.wasted,
        warnings=tuple(warnings),
        shortfalls=shortfalls,
    )


def _keep_in_outcome(_record: Record, kept: Callable[[], object]) -> None:
    """Where there is no store, the outcome has it."""
    kept()


async def _go_on() -> None:
    """There is nothing to do."""


async def _begun(place: Place, settings: Settings) -> tuple[Stored, _Changes, tuple[str, ...]]:
    """Begin in a worker thread; where nobody waits for it any more, have the thread leave what it has begun."""
    state = _Beginning()
    try:
        return await to_thread.run_sync(_begin, place, settings, state)
    except BaseException:
        state.call_off(place.store)
        raise


class _Beginning:
    """Whether whoever has begun an evaluation is still there, when it has."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._is_off = False
        self._stored: Stored | None = None

    def has_begun(self, store: Store, stored: Stored) -> None:
        """It has."""
        with self._lock:
            self._stored = stored
            if not self._is_off:
                return
        store.leave(stored)

    def call_off(self, store: Store) -> None:
        """Nobody is there."""
        with self._lock:
            self._is_off = True
            if self._stored is None:
                return
        store.leave(self._stored)


def _begin(place: Place, settings: Settings, state: _Beginning) -> tuple[Stored, _Changes, tuple[str, ...]]:
    stored, differences = place.store.begin(
        place.experiment,
        place.name,
        model=place.model,
        identity=place.identity,
        fresh=settings.fresh,
        changed=settings.changed,
    )
    state.has_begun(place.store, stored)
    return stored, _Changes(place.store.known(stored)), _warnings_of(stored, differences, settings)


async def _missing(
    evaluation: Evaluation,
    place: Place | None,
    stored: Stored | None,
    settings: Settings,
    changes: _Changes,
    arguments: Arguments,
) -> AsyncGenerator[Row | Known]:
    """The rows of the dataset; those whose results are in the store are marked. `changes` is told of differences."""
    # Where more rows failed than may, the evaluation has not passed, and they are tried again.
    retries_failed = stored is not None and stored.errors > settings.max_errors
    moved: dict[str, int] = {}
    async with (
        aclosing(evaluation.source.read()) as all_rows,
        aclosing(settings.selection.read(all_rows)) as rows,
    ):
        async for row in rows:
            known = changes.known.pop(row.inputs.key, None)
            if known is not None and known.digest != row.inputs.digest:
                changes.differs(row.number)
                known = None
            if known is None or (known.failed and retries_failed):
                await arguments.prepare()
                yield row
                continue
            if known.number != row.number:
                moved[known.key] = row.number
                if len(moved) == _MOVED_AT_ONCE and place is not None and stored is not None:
                    place.store.move(stored, moved)
                    moved = {}
            yield Known(row, known.failed)
    if moved and place is not None and stored is not None:
        place.store.move(stored, moved)


def _shortfalls(
    evaluation: Evaluation, settings: Settings, summary: Summary, results: Results | None, stored: Stored | None
) -> tuple[str, ...]:
    """Which gates are not reached."""
    gates = (*evaluation.gates, *settings.gates)
    comparison = None
    if results is not None and stored is not None and any(gate.has_baseline for gate in gates) and settings.baseline:
        before = results.find(settings.baseline, stored.name)
        comparison = None if before is None else compare(results, before, stored)
    found = (gate.shortfall(summary, comparison) for gate in gates)
    return tuple(shortfall for shortfall in found if shortfall is not None)


def _check_what_is_gone(evaluation: Evaluation, name: str, changes: _Changes, count: int, *, replaces: bool) -> None:
    """Remove no results because of a dataset that is empty, or was read up before."""
    gone = len(changes.known)
    once = "It is an iterator, which can be read once: pass a function that makes it instead."
    advice = once if evaluation.source.can_be_read_once else "Look at what makes it."
    if not count and (gone or replaces):
        raise DatasetError(name, "it has no rows, and there are results of it", f"{advice} The results stay there.")
    if gone and evaluation.source.can_be_read_once:
        problem = f"it had {count:,} rows, and not {gone:,} others that there are results of"
        raise DatasetError(name, problem, f"{advice} The results stay there.")


def _are_same(evaluation: Evaluation, selection: Selection, results: Results, stored: Stored) -> bool:
    """Whether the dataset is the one whose results are in the store, as far as it can be read now."""
    try:
        rows = evaluation.source.look()
        if rows is None:
            return False
        here = ((row.inputs.key, row.inputs.digest) for row in selection.look(rows))
        there = ((row.key, row.digest) for row in results.known(stored))
        return all(one == other for one, other in zip_longest(here, there))
    except Exception:  # whoever runs it is told
        return False


def _warnings_of(stored: Stored, differences: tuple[str, ...], settings: Settings) -> tuple[str, ...]:
    """What a user is told of results that are of something else."""
    if not differences or settings.changed == "error":
        return ()
    done = "kept, though" if settings.changed == "keep" else "thrown away, as"
    where = f"of '{stored.name}' in the experiment '{stored.experiment}'"
    return (f"The results {where} were {done} they are of something else: {listed(differences)}.",)
