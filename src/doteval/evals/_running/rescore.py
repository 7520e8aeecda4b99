"""``rescore``: other scores for results that are in a store, without asking the model again."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from contextvars import copy_context
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from anyio import CapacityLimiter, create_task_group, from_thread, get_cancelled_exc_class, to_thread

from .._escapes import ends_the_run, raise_own_cancellation
from .._identity.library import project_of
from .._identity.walk import Walk
from .._result import EVALUATION, Result
from .._results.copying import Rescored, Rescoring, check_room, copy_rescored
from .._results.identity import Identity
from .._results.kept import VERDICTS, is_same_metadata
from .._results.names import checked_name
from .._results.plain import plain
from .._results.reading import Stored
from .._results.record import Record, plain_scores, told
from .._results.store import DEFAULT_PATH, Store
from .circumstances import about_machine
from .dataset import Row
from .evaluation import Evaluation
from .scoring import Scorer, ScorerCalls

_T = TypeVar("_T")

_SCORER = "the scorer"
_AT_ONCE = 64


async def rescore(
    experiment: str,
    scorer: Scorer,
    *,
    store: Store | Path | str = DEFAULT_PATH,
    part: str = "",
    evaluation: Evaluation | None = None,
    into: str | None = None,
    add: bool = False,
    failed: bool = False,
    overwrite: bool = False,
    concurrency: int = 10,
) -> list[Stored]:
    """Give the outputs of an experiment other scores, without asking the model again.

    For example::

        def score(output, answer):
            return {"exact": exact_match(output, answer)}

        await doteval.evals.rescore("main", score)

    The scorer is called with what its arguments are named after: the ``output``; columns of the dataset; and where
    there is no such column, the ``prompt``, the ``metadata``, or the whole ``record``. It returns scores by name, one
    score, or a `Result`, of which scores and metadata count; it may be async. Where it raises, that is the failure of
    its row.

    A store holds what JSON can hold: a tuple is a list there, and a date its ``repr``. So that no score is another one
    for that, a scorer is refused that takes what was not kept as it was, of the same types. Columns come from the
    dataset itself where the `evaluation` is given; of all else, the ``record`` has what is kept. An output that is a
    `Completion` is one again, but for ``usage`` and ``raw``, which raise.

    A cancellation ends it after the row that is being scored; then nothing is written.

    What is in the store is copied into another experiment, and stays as it is. In the copy, outputs, tokens and times
    are those of before. A later run does not take it for its own: that it was scored by another function is a part of
    what its results depend on.

    Args:
        experiment: The experiment.
        scorer: Gives an output its scores.
        store: The store, or its file.
        part: Only the evaluations that have this in their names.
        evaluation: What `foreach` has made, whose dataset has the rows that are in the store: the scorer is given its
            values, and not what is kept of them.
        into: The experiment that the results become; `None`: its name with ``-rescored`` behind it.
        add: Whether scores of other names are kept; else these are all there is.
        failed: Whether rows that had raised are scored, too, where a model had told them something before. That was the
            last that any model of the row had said.
        overwrite: Whether what is in that experiment already is replaced, which may be `experiment` itself.
        concurrency: How many rows at once, where the scorer is async.

    Returns:
        What is in the store now, for `Store.summary` and `Store.records`.

    Raises:
        ValueError: There are no such results.
        TypeError: The scorer takes something that there is not, or that was not kept as it was.
        DatasetError: The dataset cannot be read.
        ConcurrentRunError: A run is at what would be replaced.
        StoreError: There is something already, the file cannot be written, or a row was run again while the scorer was
            at work. Then nothing was written.
    """
    if not callable(cast("object", scorer)):
        raise TypeError(f"a scorer is a function of the output, not {scorer!r}")
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, not {concurrency!r}")
    opened = store if isinstance(store, Store) else Store(store)
    target = f"{experiment}-rescored" if into is None else checked_name(into)
    if evaluation is not None and not isinstance(cast("object", evaluation), Evaluation):
        raise TypeError(f"evaluation is what foreach has made, not {evaluation!r}")
    rows = {} if evaluation is None else await _rows_of(evaluation)
    scoring = _Scoring(scorer, add=add, failed=failed, concurrency=concurrency, rows=rows)
    return await _in_thread(partial(_rescore, opened, experiment, part, target, scoring, overwrite))


async def _rows_of(evaluation: Evaluation) -> dict[str, Row]:
    """The rows of its dataset, by key."""
    async with aclosing(evaluation.source.read()) as rows:
        return {row.inputs.key: row async for row in rows}


async def _in_thread(function: Callable[[], _T]) -> _T:
    """Call it in a worker thread, which is told of every cancellation, and is waited for.

    A task that is cancelled as such, as by Ctrl-C or `asyncio.timeout`, would leave its thread behind; a task group
    makes the cancellation that of a scope.
    """
    made: list[_T] = []
    errors: list[BaseException] = []

    async def call() -> None:
        try:
            made.append(await to_thread.run_sync(function))
        except get_cancelled_exc_class():
            raise
        except BaseException as exc:  # as it is, and not in a group
            errors.append(exc)

    async with create_task_group() as task_group:
        task_group.start_soon(call)
    if errors:
        raise errors[0]
    return made[0]


def _rescore(store: Store, experiment: str, part: str, into: str, scoring: _Scoring, overwrite: bool) -> list[Stored]:
    """Score all that was there when it began, and then write it; a killed run leaves everything as it was."""
    made: list[Rescoring] = []
    with store.snapshot() as results:
        found = [stored for stored in results.evaluations(experiment) if part in stored.name]
        if not found:
            among = f" with {part!r} in their names" if part else ""
            raise ValueError(f"there are no results of {experiment!r}{among} in {store.path}")
        check_room(results, into, found, overwrite)
        for stored in found:
            EVALUATION.set(stored.name)
            every = results.with_epochs(stored, None)
            rows = [*scoring.rows(results.records(every), results.ids(every))]
            made.append(Rescoring(stored, scoring.identity_of(stored), rows))
    about = {**about_machine(scoring.scorer), "scorer": f"{scoring.name}()", "rescored": experiment}
    from_thread.check_cancelled()  # nothing is written after that
    return copy_rescored(store, made, into, about=about, overwrite=overwrite)


class _Scoring:
    """Gives rows their scores.

    Args:
        scorer: What does it.
        add: Whether other scores are kept.
        failed: Whether rows that have failed are scored.
        concurrency: How many at once.
        rows: The rows of the dataset, by key, where it was given again.
    """

    def __init__(self, scorer: Scorer, *, add: bool, failed: bool, concurrency: int, rows: Mapping[str, Row]) -> None:
        self.scorer = scorer
        self._add, self._concurrency = add, concurrency
        self._calls = ScorerCalls(scorer, failed=failed, rows=rows)
        self.name = self._calls.name

    def identity_of(self, stored: Stored) -> Identity:
        """What rescored results depend on: what they did before, and the scorer."""
        walk = Walk(project=project_of(self.scorer))
        walk.add_function(f"the code of {_SCORER}", self.scorer)
        return {**stored.identity, **walk.parts, _SCORER: f"={self.name}()"}

    def rows(self, records: Iterable[Record], ids: Mapping[tuple[str, int], int]) -> Iterator[Rescored]:
        """What becomes of rows, in their order; for a worker thread.

        Args:
            records: The rows.
            ids: Their numbers.
        """
        left = iter(records)
        while chunk := [*islice(left, _AT_ONCE)]:
            calls = [self._calls.of(record) for record in chunk]
            answers = _answers(calls)
            if any(map(inspect.isawaitable, answers)):
                answers = from_thread.run(self._awaited, answers)
                for answer in answers:
                    if isinstance(answer, _Raised) and ends_the_run(answer.error):
                        raise answer.error
            for record, call, answer in zip(chunk, calls, answers, strict=True):
                number = ids[record.key, record.sample]
                yield _kept(record, number) if call is None else self._rescored(record, number, answer)

    async def _awaited(self, answers: Sequence[Any]) -> list[Any]:
        found = [*answers]
        limiter = CapacityLimiter(self._concurrency)

        async def wait(place: int, answer: Awaitable[Any]) -> None:
            async with limiter:
                try:
                    found[place] = await answer
                except BaseException as exc:
                    await raise_own_cancellation(exc, is_rows_task=True)
                    found[place] = _Raised(exc)
                    if ends_the_run(exc):
                        task_group.cancel_scope.cancel()

        try:
            async with create_task_group() as task_group:
                for place, answer in enumerate(answers):
                    if inspect.isawaitable(answer):
                        task_group.start_soon(wait, place, answer)
        finally:
            _close(answers)  # those that nobody has begun with, where this was cancelled
        return found

    def _rescored(self, record: Record, number: int, answer: Any) -> Rescored:
        before = dict(record.metadata or {})
        verdicts = before.pop(VERDICTS, None)
        if isinstance(answer, _Raised):
            return Rescored(record.key, record.sample, number, None, before, *told(answer.error), record.altered)
        try:
            result = self._result_of(answer)
        except Exception as exc:
            return Rescored(record.key, record.sample, number, None, before, *told(exc), record.altered)
        scores = plain_scores(result)
        kept = {name: score for name, score in (record.scores or {}).items() if self._add and name not in scores}
        added = cast("dict[str, Any]", plain(result.metadata))
        metadata = {**before, **added}
        altered = {*record.altered, *([] if is_same_metadata(result.metadata, added) else ["metadata"])}
        if kept and isinstance(verdicts, Mapping):
            of_kept = {name: why for name, why in cast("Mapping[str, Any]", verdicts).items() if name in kept}
            if of_kept:
                metadata[VERDICTS] = {**of_kept, **metadata.get(VERDICTS, {})}
        return Rescored(record.key, record.sample, number, {**kept, **scores}, metadata, None, None, sorted(altered))

    def _result_of(self, answer: Any) -> Result:
        if isinstance(answer, Result):
            return answer
        return Result(scores=cast("Any", answer) if isinstance(answer, Mapping) else {self.name: answer})


class _Raised(NamedTuple):
    """What a scorer has raised."""

    error: BaseException


def _answers(calls: Iterable[Callable[[], Any] | None]) -> list[Any]:
    """What calls return, or what they raise."""
    answers: list[Any] = []
    try:
        answers.extend(None if call is None else _called(call) for call in calls)
    except BaseException:
        _close(answers)
        raise
    return answers


def _close(answers: Iterable[object]) -> None:
    for answer in answers:
        if inspect.iscoroutine(answer):
            answer.close()


def _called(call: Callable[[], Any]) -> Any:
    from_thread.check_cancelled()  # before each, as one may take long
    try:
        return copy_context().run(call)
    except BaseException as exc:
        if ends_the_run(exc):
            raise
        return _Raised(exc)


def _kept(record: Record, number: int) -> Rescored:
    return Rescored(
        record.key,
        record.sample,
        number,
        record.scores,
        record.metadata,
        record.error,
        record.traceback,
        record.altered,
    )
