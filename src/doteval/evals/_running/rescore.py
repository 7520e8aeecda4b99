"""``rescore``: other scores for results that are in a store, without asking the model again."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from anyio import CapacityLimiter, create_task_group, from_thread, get_cancelled_exc_class, to_thread
from anyio.lowlevel import checkpoint

from ... import CachedReplies, ReplyCache
from ..._undelivered import deliver_cancellation
from .._digests import Fingerprint
from .._escapes import INTERRUPTS, ends_the_run, raise_cancellation_of_row
from .._identity.library import project_of
from .._identity.walk import Walk
from .._result import EVALUATION, Result
from .._results.copying import SCORER, Rescored, Rescoring, check_room, copy_rescored
from .._results.identity import Identity
from .._results.kept import VERDICTS
from .._results.names import checked_name, meant
from .._results.plain import storable
from .._results.reading import Stored
from .._results.record import Inputs, Record, base_of
from .._results.store import DEFAULT_PATH, Store
from .._results.usage import UsageSums, added
from .abort import Abort
from .arguments import LeasedArguments
from .caching import answering, cache_of
from .circumstances import about_machine
from .dataset import Row
from .engine import Engine, Progress
from .evaluation import Evaluation
from .interrupts import ended_by_ctrl_c
from .left_open import told_of_requests_left_open
from .limits import limit_of
from .retries import Retries, retries_of
from .scoring import Scorer, ScorerCalls, known_by
from .telling import raise_first, warned

_T = TypeVar("_T")

_SCORER = "the scorer"
_RECORD = "record"
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
    retries: Retries | None = None,
    cache: ReplyCache | Literal["on", "read", "write", "off"] | None = None,
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

    A scorer may ask models, a judge for example. Its requests are counted to the row, in the role ``"scorer"``, beside
    what the row has cost before; a refusal, a stumble and a lost model are treated as in `run`. Where a server refuses
    everything, such as a key or an account without money, that ends it at once, and nothing is written: with `cache`,
    what was paid for is not paid again.

    A cancellation ends it after the row that is being scored; then nothing is written.

    What is in the store is copied into another experiment, and stays as it is. In the copy, outputs and times are those
    of before. A later run does not take it for its own: that it was scored by another function is a part of
    what its results depend on.

    Args:
        experiment: The experiment.
        scorer: Gives an output its scores.
        store: The store, or its file.
        part: Only the evaluations of this name, function or model; where there are none, those with it in their names.
        evaluation: What `foreach` has made, whose dataset has the rows that are in the store: the scorer is given its
            values, and not what is kept of them.
        into: The experiment that the results become; `None`: its name with ``-rescored`` behind it.
        add: Whether scores of other names are kept; else these are all there is.
        failed: Whether rows that had raised are scored, too, where a model had told them something before. That was the
            last that any model of the row had said.
        overwrite: Whether what is in that experiment already is replaced, which may be `experiment` itself.
        concurrency: How many rows at once, where the scorer is async.
        retries: When a row is scored again, and how often; see `run`.
        cache: Answers what the scorer asks of models; see `run`.

    Returns:
        What is in the store now, for `Store.summary` and `Store.records`.

    Raises:
        ValueError: There are no such results.
        TypeError: The scorer takes something that there is not, or that was not kept as it was.
        DatasetError: The dataset cannot be read.
        ConcurrentRunError: A run is at what would be replaced.
        ModelRequestError: A model refused the scorer for a reason that concerns every row, such as the key.
        ReplyCacheError: The cache is a file of something else.
        EvaluationWarning: Something is odd about the results, where warnings are errors; they are in the store.
        StoreError: There is something already, the file cannot be written, or a row was run again while the scorer was
            at work. Then nothing was written.
    """
    deliver_cancellation()
    if not callable(cast("object", scorer)):
        raise TypeError(f"a scorer is a function of the output, not {scorer!r}")
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, not {concurrency!r}")
    opened = store if isinstance(store, Store) else Store(store)
    target = f"{experiment}-rescored" if into is None else checked_name(into)
    if evaluation is not None and not isinstance(cast("object", evaluation), Evaluation):
        raise TypeError(f"evaluation is what foreach has made, not {evaluation!r}")
    rows = None if evaluation is None else await _rows_of(evaluation)
    patience = retries_of(retries)
    async with ended_by_ctrl_c(), answering(cache_of(cache, opened)) as replies:
        scoring = _Scoring(
            scorer, add=add, failed=failed, concurrency=concurrency, retries=patience, rows=rows, replies=replies
        )
        made = await _in_thread(partial(_rescore, opened, experiment, part, target, scoring, overwrite))
    told = [told_of_requests_left_open(scoring.progress.left_open, scoring.name)] if scoring.progress.left_open else []
    odd = *told, *([] if replies is None else replies.problems)
    raise_first(warned(odd, partial(warnings.warn, stacklevel=3)))
    return made


async def _rows_of(evaluation: Evaluation) -> dict[str, Row]:
    """The rows of its dataset, by what tells them from others."""
    async with aclosing(evaluation.source.read()) as rows:
        return {known_by(row.inputs.key, row.inputs.digest): row async for row in rows}


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
    experiment, part = storable(experiment), storable(part)
    with store.snapshot() as results:
        there = results.evaluations(experiment)
        found = meant(there, part) if part else there
        if not found:
            among = f" with {part!r} in their names" if part else ""
            raise ValueError(f"there are no results of {experiment!r}{among} in {store._database.shown}")
        check_room(results, into, found, overwrite)
        for stored in found:
            EVALUATION.set(stored.name)
            every = results.with_epochs(stored, None)
            rows = [*scoring.rows(every, results.records(every), results.ids(every))]
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
        retries: When a row is scored again.
        rows: The rows of the dataset, by what `known_by` says of them; `None` where it was not given again.
        replies: What answers requests, if anything does.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        add: bool,
        failed: bool,
        concurrency: int,
        retries: Retries,
        rows: Mapping[str, Row] | None,
        replies: CachedReplies | None,
    ) -> None:
        self.scorer = scorer
        self._add, self._retries, self._replies = add, retries, replies
        self._limit = limit_of(concurrency, None)
        self._threads = CapacityLimiter(1)  # a function that is not async is called for one row after the other
        self._calls = ScorerCalls(scorer, failed=failed, rows=rows)
        self._is_async = inspect.iscoroutinefunction(scorer)
        self.name = self._calls.name
        self.progress = Progress()
        """What has been done; also of what nobody knows."""

    def identity_of(self, stored: Stored) -> Identity:
        """What rescored results depend on: what they did before, and the scorer."""
        walk = Walk(project=project_of(self.scorer))
        walk.add_function(f"the code of {_SCORER}", self.scorer)
        return {**stored.identity, **walk.parts, _SCORER: f"={self.name}()"}

    def rows(self, stored: Stored, records: Iterable[Record], ids: Mapping[tuple[str, int], int]) -> Iterator[Rescored]:
        """What becomes of rows, in their order; for a worker thread.

        Args:
            stored: Whose rows they are.
            records: The rows.
            ids: Their numbers.
        """
        left = iter(records)
        while chunk := [*islice(left, max(_AT_ONCE, 4 * self._limit.most))]:
            called = [record for record in chunk if self._calls.of(record) is not None]
            answers: dict[tuple[str, int], Record] = {}
            if (error := from_thread.run(self._answer, stored, called, answers)) is not None:
                raise error
            for record in chunk:
                place = record.key, record.sample
                answer = answers.get(place)
                yield Rescored(ids[place], record if answer is None else self._rescored(record, answer))

    async def _answer(
        self, stored: Stored, records: Sequence[Record], answers: dict[tuple[str, int], Record]
    ) -> BaseException | None:
        """Find out what the scorer makes of rows, each a record of its own, as the rows of an evaluation are run.

        Returns:
            What ends it: raised in a task of its own, an interrupt would end the event loop.
        """
        deliver_cancellation()

        def emit(record: Record) -> None:
            answers[record.key, record.sample] = record

        def keep(_: Record, kept: Callable[[], object]) -> None:
            kept()

        replies = self._replies
        engine = Engine(
            self._call,
            LeasedArguments({}, {}),
            self._limit,
            retries=self._retries,
            ends=INTERRUPTS,
            keep=keep,
            drain=checkpoint,
            emit=emit,
            abort=Abort(stored.name, 0, 0),
            progress=self.progress,
            tell=lambda: None,
            opened=None if replies is None else partial(replies.row, evaluation=f"{stored.name} {self.name}"),
        )
        try:
            async with aclosing(_rows(records)) as rows:
                await engine.run(rows)
        except BaseException as exc:
            if ends_the_run(exc):
                return exc
            raise
        return None

    async def _call(self, values: Mapping[str, Any]) -> Result:
        record: Record = values[_RECORD]
        call = self._calls.of(record)
        assert call is not None
        if self._is_async:
            answer = await call()
            await raise_cancellation_of_row()
        else:
            (answer,) = await to_thread.run_sync(_called, call, limiter=self._threads)
            if inspect.isawaitable(answer):
                answer = await answer
        if isinstance(answer, Result):
            return Result(None, scores=answer.scores, metadata=answer.metadata)
        return Result(scores=cast("Any", answer) if isinstance(answer, Mapping) else {self.name: answer})

    def _rescored(self, record: Record, answer: Record) -> Record:
        """The row, with what the scorer made of it."""
        metadata = dict(record.metadata or {})
        verdicts = metadata.pop(VERDICTS, None)
        altered = [*record.altered]
        scores = answer.scores
        if scores is not None:
            kept = {name: score for name, score in (record.scores or {}).items() if self._add and name not in scores}
            metadata |= answer.metadata or {}
            altered = sorted({*altered, *answer.altered})
            if kept and isinstance(verdicts, Mapping):
                of_kept = {name: why for name, why in cast("Mapping[str, Any]", verdicts).items() if name in kept}
                if of_kept:
                    metadata[VERDICTS] = {**of_kept, **metadata.get(VERDICTS, {})}
            scores = {**kept, **scores}
        rescored = replace(
            record, scores=scores, metadata=metadata, error=answer.error, traceback=answer.traceback, altered=altered
        )
        if not answer.usage_by_model:
            return rescored
        usages = UsageSums()
        usages.add(record.usage_by_model)
        usages.add(usage._replace(role=SCORER) for usage in answer.usage_by_model)
        return replace(
            rescored,
            usage_by_model=usages.by_model(),
            input_tokens=_together(record.input_tokens, answer.input_tokens),
            output_tokens=_together(record.output_tokens, answer.output_tokens),
        )


async def _rows(records: Iterable[Record]) -> AsyncGenerator[Row]:
    for record in records:
        inputs = Inputs(record.number, {}, Fingerprint(record.digest, ()))
        inputs.key, inputs.base = record.key, base_of(record.key)
        yield Row(record.number, {_RECORD: record}, inputs, record.sample)


def _called(call: Callable[[], Any]) -> tuple[Any]:
    try:
        return (call(),)  # trio lets no thread return a coroutine
    except GeneratorExit as exc:  # would end the coroutine that waits for it, not only this call
        raise RuntimeError("the scorer raised GeneratorExit") from exc


def _together(one: int | None, other: int | None) -> int | None:
    return one if other is None else added((one or 0, other))
