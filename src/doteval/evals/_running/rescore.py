"""``rescore``: other scores for results that are in a store, without asking the model again."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias, cast

from anyio import CapacityLimiter, create_task_group, from_thread, to_thread

from ... import Completion, ToolCall
from .._identity.walk import Walk
from .._result import EVALUATION, Result
from .._results.copying import Rescored, Rescoring, check_room, copy_rescored
from .._results.identity import Identity
from .._results.plain import plain
from .._results.reading import Stored
from .._results.record import Record, plain_scores, told
from .._results.store import DEFAULT_PATH, Store
from .circumstances import about_machine

Scorer: TypeAlias = Callable[..., Any]
"""A function that gives an output its scores; see `rescore`."""

_SCORER = "the scorer"
_VERDICTS = "verdicts"
_AT_ONCE = 64


async def rescore(
    experiment: str,
    scorer: Scorer,
    *,
    store: Store | Path | str = DEFAULT_PATH,
    part: str = "",
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

    What is in the store is copied into another experiment, and stays as it is. In the copy, outputs, tokens and times
    are those of before. A later run does not take it for its own: that it was scored by another function is a part of
    what its results depend on.

    Args:
        experiment: The experiment.
        scorer: Gives an output its scores.
        store: The store, or its file.
        part: Only the evaluations that have this in their names.
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
        TypeError: The scorer takes something that there is not.
        ConcurrentRunError: A run is at what would be replaced.
        StoreError: There is something already, the file cannot be written, or a row was run again while the scorer was
            at work. Then nothing was written.
    """
    if not callable(cast("object", scorer)):
        raise TypeError(f"a scorer is a function of the output, not {scorer!r}")
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, not {concurrency!r}")
    opened = store if isinstance(store, Store) else Store(store)
    scoring = _Scoring(scorer, add=add, failed=failed, concurrency=concurrency)
    target = f"{experiment}-rescored" if into is None else into
    return await to_thread.run_sync(_rescore, opened, experiment, part, target, scoring, overwrite)


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
    return copy_rescored(store, made, into, about=about, overwrite=overwrite)


class _Scoring:
    """Gives rows their scores.

    Args:
        scorer: What does it.
        add: Whether other scores are kept.
        failed: Whether rows that have failed are scored.
        concurrency: How many at once.
    """

    def __init__(self, scorer: Scorer, *, add: bool, failed: bool, concurrency: int) -> None:
        self.scorer = scorer
        self.name = getattr(scorer, "__name__", type(scorer).__name__)
        self._add, self._failed, self._concurrency = add, failed, concurrency
        self._parameters = inspect.signature(scorer).parameters

    def identity_of(self, stored: Stored) -> Identity:
        """What rescored results depend on: what they did before, and the scorer."""
        walk = Walk()
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
            from_thread.check_cancelled()
            calls = [self._call(record) for record in chunk]
            answers: list[Any] = [None if call is None else _called(call) for call in calls]
            if any(map(inspect.isawaitable, answers)):
                answers = from_thread.run(self._awaited, answers)
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
                except Exception as exc:
                    found[place] = exc

        try:
            async with create_task_group() as task_group:
                for place, answer in enumerate(answers):
                    if inspect.isawaitable(answer):
                        task_group.start_soon(wait, place, answer)
        finally:
            for answer in answers:
                if inspect.iscoroutine(answer):
                    answer.close()  # those that nobody has begun with, where this was cancelled
        return found

    def _call(self, record: Record) -> Callable[[], Any] | None:
        """The call that scores a row; `None` where that stays as it is."""
        if record.failed and not (self._failed and record.output is not None):
            return None
        known = {"record": record, "prompt": record.prompt, "metadata": record.metadata or {}, **record.inputs}
        known["output"] = _output(record)
        kinds = inspect.Parameter
        if any(parameter.kind is kinds.VAR_KEYWORD for parameter in self._parameters.values()):
            wanted = {name: known[name] for name in (*record.inputs, "output", *self._parameters) if name in known}
        else:
            wanted = {name: known[name] for name in self._parameters if name in known}
        missing = [
            name
            for name, parameter in self._parameters.items()
            if name not in known
            and parameter.default is kinds.empty
            and parameter.kind not in (kinds.VAR_KEYWORD, kinds.VAR_POSITIONAL)
        ]
        if missing:
            raise TypeError(
                f"{self.name}() takes '{missing[0]}', which '{EVALUATION.get()}' has not; it has: "
                f"{', '.join(sorted(known))}"
            )
        return lambda: self.scorer(**wanted)

    def _rescored(self, record: Record, number: int, answer: Any) -> Rescored:
        before = dict(record.metadata or {})
        verdicts = before.pop(_VERDICTS, None)
        if isinstance(answer, Exception):
            return Rescored(record.key, record.sample, number, None, before, *told(answer))
        try:
            result = self._result_of(answer)
        except Exception as exc:
            return Rescored(record.key, record.sample, number, None, before, *told(exc))
        scores = plain_scores(result)
        kept = {name: score for name, score in (record.scores or {}).items() if self._add and name not in scores}
        metadata = {**before, **cast("dict[str, Any]", plain(result.metadata))}
        if kept and isinstance(verdicts, Mapping):
            of_kept = {name: why for name, why in cast("Mapping[str, Any]", verdicts).items() if name in kept}
            if of_kept:
                metadata[_VERDICTS] = {**of_kept, **metadata.get(_VERDICTS, {})}
        return Rescored(record.key, record.sample, number, {**kept, **scores}, metadata, None, None)

    def _result_of(self, answer: Any) -> Result:
        if isinstance(answer, Result):
            return answer
        return Result(scores=cast("Any", answer) if isinstance(answer, Mapping) else {self.name: answer})


def _called(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as exc:
        return exc


def _kept(record: Record, number: int) -> Rescored:
    return Rescored(record.key, record.sample, number, record.scores, record.metadata, record.error, record.traceback)


def _output(record: Record) -> Any:
    """What the evaluation returned; a reply says again why it ended."""
    if not isinstance(record.output, str) or not record.reply:
        return record.output
    calls = [ToolCall(**call) for call in record.reply.get("tool_calls", ())]
    known: dict[str, Any] = {name: record.reply.get(name) for name in ("finish_reason", "refusal", "reasoning")}
    return Completion(record.output, tool_calls=calls, **known)
