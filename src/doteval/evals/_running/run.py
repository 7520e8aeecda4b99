"""``run``: one evaluation from beginning to end, in any async program."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, cast

from anyio import CapacityLimiter, to_thread

from ... import ModelHandle, ModelProviders
from .._errors import DatasetError, TooManyErrorsError
from .._results.record import Record
from .._results.statistics import Summary, summarise
from .._results.store import Store, Stored
from .arguments import Arguments, Lease, LeasedArguments
from .commits import Commits
from .dataset import Row
from .engine import Attempts, Engine, Known, Progress
from .evaluation import Evaluation
from .limits import Concurrency, limit_of

_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has come of an evaluation.

    Args:
        name: The evaluation's name.
        summary: What its rows say together.
        records: The rows, in the order of the dataset; those in a store are read when they are iterated.
        answered: Whether all of it was in the store already, so that nothing was run.
        known: How many rows were in the store already.
        calls: How often the evaluation was called now.
        wasted: How many of these calls failed and were made again.
        warnings: What is odd about what was in the store already.
    """

    name: str
    summary: Summary
    records: Iterable[Record] = field(repr=False)
    answered: bool = False
    known: int = 0
    calls: int = 0
    wasted: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def failed(self) -> Iterator[Record]:
        """The rows that raised."""
        return (record for record in self.records if record.failed)

    def check(self, max_errors: int = 0) -> None:
        """Raise where too many rows did.

        Raises:
            TooManyErrorsError: More than `max_errors`.
        """
        if self.summary.errors > max_errors:
            raise self.error(max_errors)

    def error(self, max_errors: int) -> TooManyErrorsError:
        """What is to be raised where too many rows did, with some examples."""
        examples: list[str] = []
        for record in self.failed:
            if len(examples) == _EXAMPLES:
                break
            examples.append(f"row {record.number}:\n{(record.traceback or record.error or '').rstrip()}\n")
        return TooManyErrorsError(self.name, self.summary.errors, self.summary.rows, max_errors, tuple(examples))


@dataclass(frozen=True, slots=True)
class StoredRecords:
    """The rows of an evaluation in a store; each iteration reads them anew."""

    store: Store
    evaluation: Stored

    def __iter__(self) -> Iterator[Record]:
        return self.store.records(self.evaluation)


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
        failures: What counts as the failure of a row.
    """

    concurrency: Concurrency | None = None
    max_errors: int = 0
    attempts: Attempts = field(default_factory=Attempts)
    fresh: bool = False
    failures: tuple[type[BaseException], ...] = (Exception,)


async def run(
    evaluation: Evaluation,
    *,
    store: Store | Path | str | None = None,
    experiment: str = "default",
    name: str | None = None,
    fresh: bool = False,
    concurrency: Concurrency | None = None,
    max_errors: int | None = None,
    retries: int = 1,
    on_record: Callable[[Record], object] | None = None,
    model: Any = None,  # a model of any kind, too
    **arguments: Any,
) -> Outcome:
    """Run an evaluation, in any async program.

    For example::

        outcome = await doteval.evals.run(eval_sums, model="openai:gpt-4o")
        print(outcome.summary.scores["exact"].mean)

    A row that raises is recorded, and the others go on. A cancellation ends the rows in flight; what is in the store by
    then stays there, and the next run does the rest.

    Args:
        evaluation: What `foreach` has made.
        store: Where results are kept: a `Store`, or its file. Rows that are in it are not run again, and where all
            are, no model is opened. `None`: results are only returned.
        experiment: The experiment in the store.
        name: The evaluation's name in the experiment; the default is the function's, with the model's spec.
        fresh: Throw away what is in the store of it.
        concurrency: How many rows at once: a number, or ``"adaptive"``; the default is what `foreach` says, else 10.
        max_errors: Raise where more rows raised than that; `None`: never.
        retries: How often a row is run again after its model, or the connection to it, was lost.
        on_record: Called with every new record, in the order of the dataset; must not block.
        model: Given to the argument ``model`` of the evaluation, or to ``model_client``. A spec is leased from the
            providers that are installed, and an async function that returns a handle, such as
            ``partial(provider.setup, "gpt-4o")``, is called, only where a row has to be run; both are leased again when
            the model is lost. Else a handle, or the model itself.
        arguments: All other arguments of the evaluation.

    Raises:
        TypeError: An argument is missing, or there is one too many.
        DatasetError: The dataset does not fit; all rows before that are recorded.
        TooManyErrorsError: More rows raised than `max_errors`.
        ModelSetupError: The model could not be opened.
        OSError: The results cannot be written.
    """
    chosen = _model_argument(evaluation, arguments, given=model is not None)
    _check_arguments(evaluation, {*arguments, *([chosen] if chosen else [])})
    settings = Settings(concurrency, max_errors or 0, Attempts(lost=retries), fresh)
    label = model if isinstance(model, str) else ""

    @asynccontextmanager
    async def lease() -> AsyncGenerator[Arguments]:
        async with AsyncExitStack() as stack:
            if chosen is None:
                yield LeasedArguments(arguments, {})
                return
            given = cast("object", model)
            if isinstance(given, str):
                providers = await stack.enter_async_context(ModelProviders())
                setup = _setup_of(providers, given)
            elif inspect.isroutine(given) or isinstance(given, partial):
                setup = cast("Callable[[], Awaitable[ModelHandle[Any]]]", given)
            else:
                value = cast("Any", given).model if isinstance(given, ModelHandle) else given
                yield LeasedArguments({**arguments, chosen: value}, {})
                return
            held = Lease(setup, await setup())
            try:
                yield LeasedArguments(arguments, {chosen: held})
            finally:
                await held.handle.teardown()

    async with AsyncExitStack() as stack:
        place = None
        if store is not None:
            opened = store if isinstance(store, Store) else await stack.enter_async_context(Store(store))
            full = f"{evaluation.name}[{label}]" if label else evaluation.name
            place = Place(opened, experiment, name or full, label)
            answer = await to_thread.run_sync(answered, evaluation, place, settings)
            if answer is not None:
                if max_errors is not None:
                    answer.check(max_errors)
                return answer
        arguments_of_rows = await stack.enter_async_context(lease())
        outcome = await run_rows(
            evaluation, arguments_of_rows, settings, place, name=name or evaluation.name, on_record=on_record
        )
    if max_errors is not None:
        outcome.check(max_errors)
    return outcome


def answered(evaluation: Evaluation, place: Place, settings: Settings) -> Outcome | None:
    """What is in the store, where that is all there is to know, so that nothing has to be run; blocks.

    The rows of the dataset are compared with those in the store where they can be read without an event loop and read
    again afterwards. So it is not done for async iterables, for functions that make the dataset, and for iterators.
    """
    if settings.fresh:
        return None
    stored = place.store.find(place.experiment, place.name)
    if stored is None or stored.finished is None or stored.errors > settings.max_errors:
        return None
    if evaluation.source.can_be_looked_at and not _are_same(evaluation, place.store, stored):
        return None
    return Outcome(
        place.name,
        place.store.summary(stored),
        StoredRecords(place.store, stored),
        answered=True,
        known=stored.stored,
        warnings=_changed_code(evaluation, stored),
    )


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
        failures=settings.failures,
        keep=_keep_in_outcome if commits is None else commits.keep,
        drain=drain or _go_on,
        emit=emit,
        progress=progress,
        tell=tell,
    )
    changed: list[int] = []
    try:
        async with nullcontext() if commits is None else commits.told():
            async with aclosing(_missing(evaluation, place, stored, settings, changed)) as rows:
                count = await engine.run(rows)
        if place is not None and stored is not None:
            if stored.rows is not None and count < stored.rows:
                changed += range(count, stored.rows)
            place.store.finish(stored, count)
    finally:
        if place is not None:
            await place.store.flush()
    if changed:
        warnings.append(
            f"The dataset of '{name}' has changed since it was run: row {changed[0]}"
            f"{f' and {len(changed) - 1} more' if len(changed) > 1 else ''} "
            "had other values; these were run again, the others were not. --fresh starts over."
        )
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
    evaluation: Evaluation, place: Place | None, stored: Stored | None, settings: Settings, changed: list[int]
) -> AsyncGenerator[Row | Known]:
    """The rows of the dataset; those whose results are in the store are marked. `changed` gets those that differ."""
    known = iter(()) if place is None or stored is None else place.store.digests(stored)
    # Where more rows failed than may, the evaluation has not passed, and they are tried again.
    retries_failed = stored is not None and stored.errors > settings.max_errors
    number, digest, failed = next(known, (-1, "", False))
    async with aclosing(evaluation.source.read()) as rows:
        async for row in rows:
            while -1 < number < row.number:
                number, digest, failed = next(known, (-1, "", False))
            if number != row.number:
                yield row
            elif digest != row.digest:
                changed.append(row.number)
                yield row
            elif failed and retries_failed:
                yield row
            else:
                yield Known(row, failed)


def _are_same(evaluation: Evaluation, store: Store, stored: Stored) -> bool:
    """Whether the dataset is the one whose results are in the store."""
    try:
        here = (row.digest for row in evaluation.source.look())
        there = (digest for _, digest, _ in store.digests(stored))
        return all(one == other for one, other in zip_longest(here, there))
    except DatasetError:
        return False


def _changed_code(evaluation: Evaluation, stored: Stored) -> tuple[str, ...]:
    if stored.code == evaluation.code:
        return ()
    warning = (
        f"The code of '{stored.name}' has changed since its results were stored in the experiment "
        f"'{stored.experiment}'; they are kept as they are. --fresh starts over."
    )
    return (warning,)


def _setup_of(providers: ModelProviders, spec: str) -> Callable[[], Awaitable[ModelHandle[Any]]]:
    async def setup() -> ModelHandle[Any]:
        return await providers.setup(spec)

    return setup


def _model_argument(evaluation: Evaluation, arguments: Mapping[str, Any], *, given: bool) -> str | None:
    """Which argument of the evaluation gets the model."""
    if not given:
        return None
    for name in ("model", "model_client"):
        if name in evaluation.arguments and name not in arguments:
            return name
    raise TypeError(
        f"{evaluation.name}() has neither an argument 'model' nor 'model_client'; "
        f"it has: {', '.join(evaluation.arguments) or 'none'}"
    )


def _check_arguments(evaluation: Evaluation, given: set[str]) -> None:
    parameters = evaluation.arguments.values()
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    unknown = sorted(given - evaluation.arguments.keys())
    if unknown and not takes_any:
        raise TypeError(f"{evaluation.name}() has no argument {unknown[0]!r}")
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    missing: Sequence[str] = [
        parameter.name
        for parameter in parameters
        if parameter.name not in given and parameter.default is parameter.empty and parameter.kind not in variable
    ]
    if missing:
        raise TypeError(f"{evaluation.name}() needs an argument {missing[0]!r}: run(evaluation, {missing[0]}=...)")
