"""``run``: one evaluation from beginning to end, in any async program."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

from ... import ModelHandle, ModelProviders, ReplyCache
from ..._undelivered import deliver_cancellation
from .._results.changed import Changed
from .._results.gates import Passes, gates_of
from .._results.names import checked_name
from .._results.record import Record
from .._results.store import Store
from .arguments import Arguments, Lease, LeasedArguments
from .blocking import in_own_thread
from .caching import cache_of
from .checks import (
    arguments_of,
    check_baseline,
    check_kinds,
    concurrency_of,
    seconds_of,
    unused_baseline,
    whole_number,
    whole_number_or_none,
)
from .circumstances import tags_of
from .declared import DependsOn
from .depends import contents_of, files_of, identity_of_run, spec_of
from .evaluation import Evaluation
from .interrupts import ended_by_ctrl_c
from .limits import Concurrency
from .missing import answered, run_rows
from .outcome import Outcome
from .retries import Retries, retries_of
from .selection import Selection
from .settings import Place, Settings
from .telling import tell

_VARIABLE = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


async def run(
    evaluation: Evaluation,
    *,
    store: Store | Path | str | None = None,
    experiment: str = "default",
    name: str | None = None,
    fresh: bool = False,
    changed: Changed = "error",
    limit: int | None = None,
    sample: int | None = None,
    seed: int = 0,
    row: str | int | None = None,
    shuffle: bool = False,
    epochs: int | None = None,
    concurrency: Concurrency | None = None,
    max_errors: int | None = None,
    passes: Passes = (),
    baseline: str = "",
    allow_new: bool = False,
    abort_after: int = 10,
    row_timeout: float | None = None,
    retries: Retries | None = None,
    cache: ReplyCache | Literal["on", "read", "write", "off"] | None = None,
    transcripts: bool = False,
    on_record: Callable[[Record], object] | None = None,
    tags: Mapping[str, str] | None = None,
    depends_on: DependsOn = (),
    model: Any = None,  # a model of any kind, too
    arguments: Mapping[str, Any] | None = None,
    **others: Any,
) -> Outcome:
    """Run an evaluation, in any async program.

    For example::

        outcome = await doteval.evals.run(eval_sums, model="openai:gpt-4o")
        print(outcome.summary.scores["exact"].mean)

    A row that raises is recorded, and the others go on. A cancellation ends the rows in flight; what is in the store by
    then stays there, and the next run does the rest. A row that the end of a run has cancelled is neither a failure nor
    a result, whatever it makes of that, but for a function that is not ``async``: what it returns is kept.

    What is odd about the results is in `Outcome.warnings`, and each is an `EvaluationWarning`, also where it raises;
    where warnings are errors, it is in the notes of what is raised then.

    Args:
        evaluation: What `foreach` has made.
        store: Where results are kept: a `Store`, or its file. Rows that are in it are not run again, and where all
            are, no model is opened. `None`: results are only returned.
        experiment: The experiment in the store.
        name: The evaluation's name in the experiment; the default is the function's, with the model's spec.
        fresh: Throw away what is in the store of it, with the first new result.
        changed: What becomes of results in the store that are of something else: of another model or configuration,
            other arguments, or other code. ``"error"``: a refusal that says what has changed; ``"rerun"``: they are
            thrown away; ``"keep"``: they are taken for its own, with a warning.
        limit: How many rows are run, the first ones; `None` for all. That is a part of the name in the store.
        sample: How many of these are run, drawn at random; likewise.
        seed: Chooses the sample, and the order of `shuffle`.
        row: The only row that is run: what its column ``id`` holds, or else its number, counted from 0. Likewise.
        shuffle: Run the rows in a random order, so that those that are done when a run ends early are like all others.
            Results do not depend on it, and stand in the order of the dataset. The dataset is read first, all of it.
        epochs: How many samples are taken of each row; the default is what `foreach` says, else 1. What is in the store
            is not taken again: raised from 3 to 5, two more of each row are; lowered, the others stay in the store, and
            are neither read nor counted until they are asked for again.
        concurrency: How many rows at once: a number, or ``"adaptive"``; the default is what `foreach` says, else 10.
        max_errors: Raise where more rows raised than that, or the dataset is empty; `None`: never.
        passes: Gates besides those of `foreach`. `Outcome.shortfalls` says which are not reached; with `max_errors`,
            and in `Outcome.check`, that is an error.
        baseline: The experiment in the store that gates with a ``baseline`` compare with, row by row; another one than
            this run's.
        allow_new: Whether gates with a ``baseline`` are not judged, with a warning, where that experiment has other
            evaluations and nothing of this one.
        abort_after: Where more rows raised than `max_errors`: after how many rows that failed alike, one after the
            other, the run ends; 0: never.
        row_timeout: How many seconds an attempt of a row may take; 0: as long as it takes. The default is what
            `foreach` says, which says more about it, else 0.
        retries: When a row is run again, and how often: after its model was lost, while its server refuses it, and
            after what else. The default is what `foreach` says, else `Retries()`.
        cache: Answers requests that were made before with the replies that they got: a `ReplyCache`, or its mode, for
            the file ``replies.db`` beside that of the store. ``"off"``: nothing does. `None`: what does so in the block
            of `ReplyCache.answering` around it, if there is one.
        transcripts: Keep what is asked in each row that is run, with messages and replies: see `Store.requests`, and
            `Record.transcript` where there is no store.
        on_record: Called with every new record, in the order of the dataset, or in that of `shuffle`; must not block.
        tags: What is noted of the run in the store, beside what it is run with; see `Store.runs`.
        depends_on: What results depend on besides what `foreach` says, in the same way, and seen from there; under
            other names.
        model: Given to the argument ``model`` of the evaluation, or to ``model_client``. A spec is leased from the
            providers that are installed, and an async function that returns a handle, such as
            ``partial(provider.setup, "gpt-4o")``, is called, only where a row has to be run; both are leased again when
            the model is lost. Else a handle, or the model itself.
        arguments: Arguments of the evaluation by name, as they are: those that are called like one of `run`.
        others: All other arguments of the evaluation.

    Raises:
        TypeError: An argument is missing, there is one too many, or one is of a kind that cannot be meant; or the
            evaluation has one that is called like one of `run`, and it is not in `arguments`.
        EvaluationWarning: Something is odd about the results, where warnings are errors, and nothing else is raised.
            What else is odd is in its notes.
        ValueError: An experiment has no name, a number is too small or none, or a choice is none that there is; what is
            thrown away is the baseline; or `depends_on` has a name that `foreach` has.
        EvaluationChangedError: The results in the store are of something else.
        DependencyError: What `depends_on` names is not there, or cannot be read.
        DatasetError: The dataset does not fit; all rows before that are recorded. Or it is empty, with `max_errors`.
        TooManyErrorsError: More rows raised than `max_errors`; as an `EvaluationAbortedError` before all were run.
        GateError: A gate is not reached, with `max_errors`.
        ModelSetupError: The model could not be opened.
        ModelRequestError: A request was refused for a reason that concerns every row, such as the key. Where a row has
            made another exception or a group of it, or asked an SDK by itself, that is raised as it is, with a note.
        OSError: The results cannot be written.
        ReplyCacheError: The cache is a file of something else.
    """
    defaults = run.__kwdefaults__ or {}
    given = {name for name, value in locals().items() if name in defaults and value is not defaults[name]}
    values = _values_of(evaluation, arguments_of(arguments), others, given)
    check_kinds(
        store=store,
        experiment=experiment,
        name=name,
        fresh=fresh,
        changed=changed,
        row=row,
        shuffle=shuffle,
        baseline=baseline,
        allow_new=allow_new,
        cache=cache,
        transcripts=transcripts,
        on_record=on_record,
        tags=tags,
        model=model,
    )
    checked_name(experiment)
    declared = evaluation.declared.more(depends_on)
    check_baseline(experiment, baseline, fresh=fresh, changed=changed)
    chosen = _model_argument(evaluation, values, given=model is not None)
    _check_arguments(evaluation, {*values, *([chosen] if chosen else [])})
    max_errors = whole_number_or_none("max_errors", max_errors, 0)
    abort_after = whole_number("abort_after", abort_after, 0)
    settings = Settings(
        concurrency_of(concurrency, may_adapt=True),
        max_errors,
        0 if max_errors is None else abort_after,
        retries=evaluation.retries if retries is None else retries_of(retries),
        row_timeout=evaluation.row_timeout if row_timeout is None else seconds_of("row_timeout", row_timeout),
        selection=Selection(limit, sample, seed, None if row is None else str(row), shuffle),
        epochs=evaluation.epochs if epochs is None else whole_number("epochs", epochs, 1),
        gates=gates_of(passes),
        baseline=baseline,
        allows_new=allow_new,
        fresh=fresh,
        changed=changed,
        cache=cache_of(cache, store),
        transcripts=transcripts,
        tags=tags_of(tags or {}),
    )

    unused = unused_baseline(baseline, (*evaluation.gates, *settings.gates))
    unused = unused and f"{unused[0].upper()}{unused[1:]}."

    @asynccontextmanager
    async def lease() -> AsyncGenerator[Arguments]:
        async with AsyncExitStack() as stack:
            given = cast("object", model)
            if chosen is None:
                yield LeasedArguments(values, {})
            elif isinstance(given, str) or inspect.isroutine(given) or isinstance(given, partial):

                async def pending(argument: str = chosen) -> Mapping[str, Lease]:
                    setup = cast("Callable[[], Awaitable[ModelHandle[Any]]]", given)
                    if isinstance(given, str):
                        setup = partial((await stack.enter_async_context(ModelProviders())).setup, given)
                    handle = await setup()
                    if not hasattr(handle, "teardown"):
                        raise TypeError(
                            f"what model= names returned a {type(handle).__name__}, which is no handle: pass an async "
                            "function such as partial(provider.setup, 'gpt-4o'), or the model itself"
                        )
                    lease = Lease(setup, handle)
                    stack.push_async_callback(lease.teardown)
                    return {argument: lease}

                yield LeasedArguments(values, {}, pending)
            else:
                value = cast("Any", given).model if isinstance(given, ModelHandle) else given
                yield LeasedArguments({**values, chosen: value}, {})

    deliver_cancellation()
    async with ended_by_ctrl_c(), AsyncExitStack() as stack:
        place = None
        spec = "" if chosen is None else spec_of(model)
        name = name or (f"{evaluation.name}[{spec}]" if spec else evaluation.name)
        if store is not None and settings.selection.row is not None:
            selection = await in_own_thread(settings.selection.named, evaluation.source)
            settings = replace(settings, selection=selection)
        name += settings.selection.suffix
        if store is not None:
            opened = store if isinstance(store, Store) else await stack.enter_async_context(Store(store))
            look = partial(identity_of_run, evaluation, chosen, model, values, declared, {})
            identity = await in_own_thread(look)
            contents = contents_of(evaluation, declared, opened.path)
            place = Place(opened, experiment, name, spec, identity, look, files_of(evaluation.function), contents)
            answer = await in_own_thread(answered, evaluation, place, settings)
            if answer is not None:
                return _told(answer, unused, max_errors)
        arguments_of_rows = await stack.enter_async_context(lease())
        outcome = await run_rows(evaluation, arguments_of_rows, settings, place, name=name, on_record=on_record)
    return _told(outcome, unused, max_errors)


def _told(outcome: Outcome, unused: str, max_errors: int | None) -> Outcome:
    """An outcome, when whoever has called `run` has been told of it.

    Raises:
        DotevalError: It has not passed.
        EvaluationWarning: It has, and something is odd, where warnings are errors.
    """
    if unused:
        outcome = replace(outcome, warnings=(*outcome.warnings, unused))
    caller = sys._getframe(2)
    tell(outcome, max_errors, partial(warnings.warn, stacklevel=5), (caller.f_code.co_filename, caller.f_lineno))
    return outcome


_OWN = {"evaluation", *(run.__kwdefaults__ or ())} - {"model"}


def _values_of(
    evaluation: Evaluation, arguments: Mapping[str, Any], others: Mapping[str, Any], of_run: Collection[str]
) -> Mapping[str, Any]:
    """What the evaluation is given, by name.

    Args:
        evaluation: The evaluation.
        arguments: What it is given by itself.
        others: What it is given beside what `run` is.
        of_run: What `run` itself is given.

    Raises:
        TypeError: It is not known whether something is given to it or to `run`.
    """
    twice = [name for name in others if name in arguments]
    if twice:
        raise TypeError(f"{evaluation.name}() is given its argument {twice[0]!r} twice: in arguments= and beside it")
    for name, parameter in evaluation.arguments.items():
        is_given = name in of_run or parameter.default is parameter.empty
        if name in _OWN and is_given and name not in arguments and parameter.kind not in _VARIABLE:
            raise TypeError(
                f"{evaluation.name}() has an argument {name!r}, and run() has one of that name, which is another: "
                f"give the evaluation's in arguments={{{name!r}: ...}}, or call it something else"
            )
    return {**others, **arguments}


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
    columns = [name for name in unknown if name in evaluation.columns]
    if columns:
        raise TypeError(f"{evaluation.name}() gets {columns[0]!r} from its dataset, where it is a column")
    if unknown and not takes_any:
        raise TypeError(f"{evaluation.name}() has no argument {unknown[0]!r}")
    missing: Sequence[str] = [
        parameter.name
        for parameter in parameters
        if parameter.name not in given and parameter.default is parameter.empty and parameter.kind not in _VARIABLE
    ]
    if missing:
        raise TypeError(f"{evaluation.name}() needs an argument {missing[0]!r}: run(evaluation, {missing[0]}=...)")
