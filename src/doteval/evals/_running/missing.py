"""Runs the rows that are missing: those whose results are in the store already are not run again."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, nullcontext, suppress
from dataclasses import replace
from functools import partial
from itertools import zip_longest

from anyio import CapacityLimiter, to_thread

from ... import CachedReplies
from .._errors import DatasetError, StoreError
from .._results.baselines import NoBaseline, beside_baseline, coverage, is_out_of_reach, unjudged
from .._results.changed import changes_since
from .._results.compare import Comparison
from .._results.gates import decided_by_some
from .._results.plain import storable
from .._results.reading import Results, Stored
from .._results.record import Record
from .._results.reducers import REDUCED
from .._results.statistics import Summary, summarise
from .abort import Abort
from .arguments import Arguments
from .beginning import begun, warnings_of, warnings_of_doubts
from .blocking import in_own_thread
from .caching import answering
from .changes import Changes
from .commits import Commits
from .dataset import Known, Row
from .engine import Engine, Progress
from .evaluation import Evaluation
from .left_open import told_of_requests_left_open
from .limits import limit_of
from .notes import Notes
from .outcome import Outcome, StoredRecords
from .settings import Place, Settings
from .telling import Chosen

_MOVED_AT_ONCE = 256
_LEAKS_SHOWN = 3
_LEAST_ASKED_AGAIN, _MUCH_ASKED_AGAIN = 5, 0.2
"""How many requests, and which share, are worth a word where they were for nothing."""


def answered(evaluation: Evaluation, place: Place, settings: Settings) -> Outcome | None:
    """What is in the store, where that is all there is to know, so that nothing has to be run; blocks.

    The rows of the dataset are compared with those in the store. Where they cannot be read without an event loop, or
    not again afterwards, that is done when they are run: async iterables, functions that make such, and iterators.

    Raises:
        EvaluationChangedError: What is in the store is of something else, and that is an error.
    """
    place = place.with_contents()
    if settings.fresh:
        return None
    with place.store.snapshot() as results:
        before = results.find(place.experiment, place.name)
        if before is None or not before.stored:
            return None
        differences = changes_since(before, place.identity, settings.changed)
        stored = results.with_epochs(before, settings.epochs)
        if stored.finished is None or stored.errors > settings.errors_allowed:
            return None
        if differences and settings.changed != "keep":
            return None
        if not _are_same(evaluation, settings, results, stored):
            return None
        summary = results.summary(stored)
        shortfalls, told = _judged(evaluation, settings, summary, results, stored)
        last = results.last_written(stored)
    if differences or stored.epochs != before.epochs:
        with suppress(StoreError):  # where nobody can write, it is said again
            place.store.adopt(stored, place.identity)
    return Outcome(
        place.name,
        summary,
        StoredRecords(place.store, stored, summary.samples, last, place.store._database.shown),
        answered=True,
        known=stored.stored,
        warnings=(*warnings_of(stored, differences, settings), *warnings_of_doubts(evaluation, stored, place), *told),
        shortfalls=shortfalls,
        origin=evaluation.source.origin,
    )


def out_of_reach(evaluation: Evaluation, place: Place, settings: Settings) -> str:
    """Why gates of an evaluation cannot be reached, whatever its rows come to, as far as that is known; blocks."""
    gates = [gate for gate in (*evaluation.gates, *settings.gates) if gate.has_baseline]
    scores = {gate.whole: gate.score for gate in gates}
    if not scores:
        return ""
    with place.store.snapshot() as results:
        return is_out_of_reach(results, settings.baseline, place.name, place.identity, place.experiment, scores)


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
    is_left: Callable[[], bool] = lambda: False,
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
        is_left: Whether nobody waits for the rows any more, though they have not been cancelled yet.

    Raises:
        ReplyCacheError: The cache is a file of something else.
    """
    async with answering(settings.cache) as replies:
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
            is_left=is_left,
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
    is_left: Callable[[], bool],
    replies: CachedReplies | None,
) -> Outcome:
    size = settings.selection.size(evaluation.source.size)
    progress.epochs = settings.epochs
    progress.total = None if size is None else size * settings.epochs
    limit = limit_of(settings.concurrency, evaluation.concurrency)
    kept: list[Record] = []
    records: Sequence[Record]
    warnings: list[str] = []
    stored: Stored | None = None
    changes = Changes(())
    if place is not None:
        stored, changes, told = await begun(evaluation, place, settings)
        warnings += told

    is_unfit = False
    notes = None if place is None or stored is None else Notes(place, stored)
    commits = None if place is None or stored is None or notes is None else Commits(place.store, stored, limit, notes)

    def emit(record: Record) -> None:
        if place is None:
            kept.append(record)
        if on_record is not None:
            on_record(record)

    def keep(record: Record, kept: Callable[[], object]) -> None:
        if commits is None:
            kept()  # the outcome has it
        else:
            commits.keep(record, kept)

    engine = Engine(
        evaluation.caller(CapacityLimiter(limit.most)),
        arguments,
        limit,
        retries=settings.retries,
        row_timeout=settings.row_timeout,
        ends=settings.ends,
        keep=keep,
        drain=drain or _go_on,
        emit=emit,
        abort=Abort(name, settings.abort_after, settings.errors_allowed),
        progress=progress,
        tell=tell,
        opened=None
        if replies is None
        else partial(replies.row, evaluation=name.removesuffix(settings.selection.suffix)),
        transcripts=settings.transcripts,
        watching=nullcontext if place is None else place.files.watching,
        is_left=is_left,
    )
    try:
        async with nullcontext() if commits is None else commits.told():
            async with aclosing(_missing(evaluation, place, stored, settings, changes, arguments)) as rows:
                with nullcontext() if place is None else place.files.running():
                    count = await engine.run(rows) // settings.epochs
        if place is not None and stored is not None:
            _check_what_is_gone(evaluation, name, changes, count, replaces=place.store.replaces(stored))
            place.store.finish(stored, count, changes.known)
            await place.store.flush()
            summary, records, shortfalls, judged = await to_thread.run_sync(
                _added_up, evaluation, settings, place, stored
            )
        else:
            if settings.selection.shuffle:
                kept.sort(key=lambda record: (record.number, record.sample))
            summary, records = summarise(kept), kept
            shortfalls, judged = _judged(evaluation, settings, summary, None, None)
    except DatasetError:
        is_unfit = settings.selection.row is not None  # a name of a sample that there is none of
        raise
    finally:
        if place is not None and stored is not None and notes is not None:
            lost = engine.lost.by_model()
            if lost:
                place.store.lose(stored, lost)
            try:
                warnings += await notes.at_the_end(has_called=progress.calls > 0)
            finally:
                place.store.leave(stored, is_unfit=is_unfit)
                await place.store.flush()
    warnings += [*changes.warnings(name), *judged]
    if progress.left_open:
        warnings.append(told_of_requests_left_open(progress.left_open, name))
    if progress.asked_again >= _LEAST_ASKED_AGAIN and progress.asked_again > progress.answered * _MUCH_ASKED_AGAIN:
        warnings.append(_told_of_requests_asked_again(progress.asked_again, progress.answered, name))
    if progress.leaks:
        warnings.append(_told_of_leaks(progress.leaks, name))
    if progress.past_cache:
        warnings.append(_told_of_requests_past_cache(progress.past_cache, name))
    return Outcome(
        name,
        summary,
        records,
        answered=place is not None and progress.known > 0 and not progress.calls,
        known=progress.known,
        calls=progress.calls,
        wasted=progress.wasted,
        warnings=tuple(warnings),
        shortfalls=shortfalls,
        origin=evaluation.source.origin,
    )


def _told_of_requests_asked_again(count: int, answered: int, name: str) -> str:
    return (
        f"{count:,} of the {answered:,} requests that were answered for '{name}' were for nothing, as the server "
        "refused or failed a later one of their row, which then started over. Leave the provider its max_retries, "
        'lower the concurrency, or turn the cache of replies on (cache="on").'
    )


def _told_of_leaks(numbers: set[int], name: str) -> str:
    shown = ", ".join(str(number) for number in sorted(numbers)[:_LEAKS_SHOWN])
    more = f" and {len(numbers) - _LEAKS_SHOWN:,} more" if len(numbers) > _LEAKS_SHOWN else ""
    rows = "Row" if len(numbers) == 1 else "Rows"
    return (
        f"{rows} {shown}{more} of '{name}' left a timeout or a task group open, such as one around the 'yield' of an "
        "async generator that is left early: 'async with aclosing(...)' closes it. It has ended with the row."
    )


def _told_of_requests_past_cache(models: set[str], name: str) -> str:
    listed = ", ".join(f"'{each}'" for each in sorted(map(storable, map(str, models))))
    return (
        f"The cache of replies has nothing of what rows of '{name}' asked {listed}: it is for the models of SDK and "
        "server providers. A FakeModel, or a model of your own, is always asked."
    )


async def _go_on() -> None:
    """There is nothing to do."""


async def _missing(
    evaluation: Evaluation,
    place: Place | None,
    stored: Stored | None,
    settings: Settings,
    changes: Changes,
    arguments: Arguments,
) -> AsyncGenerator[Row | Known]:
    """The samples of the rows; those whose results are in the store are marked. `changes` is told of differences."""
    # Where more rows failed than may, the evaluation has not passed, and they are tried again.
    allowed = settings.errors_allowed
    retries_failed = changes.failed(settings.epochs) > allowed
    if retries_failed and allowed:  # else those that the dataset has no more make no difference
        retries_failed = await in_own_thread(_failed, evaluation, settings, changes) > allowed
    wanted = settings.selection.row

    def move() -> None:
        moved = changes.take_moved()
        if moved and place is not None and stored is not None:
            place.store.move(stored, moved)

    async with (
        aclosing(evaluation.source.read()) as all_rows,
        aclosing(settings.selection.read(all_rows, evaluation.name)) as rows,
    ):
        async for row in rows:
            wanted = None
            if place is not None:
                changes.check(row, place.name)
            there = changes.of(row)
            if len(changes.moved) >= _MOVED_AT_ONCE:
                move()
            for sample in row.samples(settings.epochs):
                known = there.get(sample.sample)
                if known is None or (known.failed and retries_failed):
                    if changes.has_other_keys:  # before a result is written that has one of them
                        move()
                    await arguments.prepare()
                    yield sample
                else:
                    yield Known(sample, known.failed)
    if wanted is not None:
        advice = "Name one by what its column 'id' holds, or by its number, counted from 0."
        raise DatasetError(evaluation.name, f"it has no row {wanted!r}", advice)
    move()


def _failed(evaluation: Evaluation, settings: Settings, changes: Changes) -> int:
    """How many of the samples that failed are of rows that the dataset still has; blocks.

    Of a dataset whose rows are still to be made, which may take long or depend on results, it may have all.

    Args:
        evaluation: Whose dataset.
        settings: Which of its rows, and how many samples of each.
        changes: What is known, before any of it was read.
    """
    with suppress(Exception):  # whoever runs it is told
        rows = evaluation.source.look() if evaluation.source.is_at_hand else None
        if rows is not None:
            left = changes.anew()
            chosen = settings.selection.look(rows)
            samples = [sample for row in chosen for sample in left.of(row).values()]
            return sum(each.failed for each in samples if each.sample <= settings.epochs)
    return changes.failed(settings.epochs)


def _added_up(
    evaluation: Evaluation, settings: Settings, place: Place, stored: Stored
) -> tuple[Summary, Sequence[Record], tuple[str, ...], tuple[str, ...]]:
    """What the results of a run that still has its claim come to, they, and what its gates say of that; blocks.

    Raises:
        ConcurrentRunError: Another run has thrown them away.
    """
    with place.store.snapshot() as results:
        finished = results.find(place.experiment, place.name)
        place.store.check(stored, finished)
        summary, last = results.summary(stored), results.last_written(stored)
        records = StoredRecords(place.store, stored, summary.samples, last, place.store._database.shown)
        return summary, records, *_judged(evaluation, settings, summary, results, finished)


def _judged(
    evaluation: Evaluation, settings: Settings, summary: Summary, results: Results | None, stored: Stored | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which gates are not reached, and what is to be said of how they were judged."""
    gates = [gate.meant(summary.scores) for gate in (*evaluation.gates, *settings.gates)]
    with_baseline = {gate.score for gate in gates if gate.has_baseline}
    baseline: Comparison | NoBaseline = NoBaseline("there is no store, in which another experiment could be")
    told = [*decided_by_some(gates, summary, evaluation.name if stored is None else stored.name)]
    if results is not None and stored is not None and with_baseline:
        reduced = [score for score in with_baseline if REDUCED.fullmatch(score)]
        baseline = beside_baseline(results, settings.baseline, stored, settings.selection.suffix, reduced)
        if not isinstance(baseline, NoBaseline):
            told += coverage(baseline, with_baseline)
        elif baseline.is_new and settings.allows_new:
            told.append(Chosen(unjudged(stored, baseline)))
            gates = [gate for gate in gates if not gate.has_baseline]
    found = (gate.shortfall(summary, baseline, settings.errors_allowed) for gate in gates)
    return tuple(shortfall for shortfall in found if shortfall is not None), tuple(told)


def _check_what_is_gone(evaluation: Evaluation, name: str, changes: Changes, count: int, *, replaces: bool) -> None:
    """Remove no results because of a dataset that is empty, or was read up before."""
    gone = changes.gone
    once = "It is an iterator, which can be read once: pass a function that makes it instead."
    advice = once if evaluation.source.can_be_read_once else f"Look at {evaluation.source.origin}."
    if not count and (gone or replaces):
        raise DatasetError(name, "it has no rows, and there are results of it", f"{advice} The results stay there.")
    if gone and evaluation.source.can_be_read_once:
        problem = f"it had {count:,} rows, and not {gone:,} others that there are results of"
        raise DatasetError(name, problem, f"{advice} The results stay there.")


def _are_same(evaluation: Evaluation, settings: Settings, results: Results, stored: Stored) -> bool:
    """Whether the dataset is the one whose results are in the store, as far as it can be read now."""
    try:
        rows = evaluation.source.look()
        if rows is None:
            return False
        samples = (sample for row in settings.selection.look(rows) for sample in row.samples(settings.epochs))
        here = ((row.inputs.key, row.sample, row.inputs.digest, row.inputs.unknown) for row in samples)
        there = ((row.key, row.sample, row.digest, ()) for row in results.known(stored))
        return all(one == other for one, other in zip_longest(here, there))
    except Exception:  # whoever runs it is told
        return False
