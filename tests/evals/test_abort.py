"""Evaluations that cannot pass any more end early; what a model said is kept also where its row raised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from doteval import Result, foreach
from doteval.evals import EvaluationAbortedError, Store, TooManyErrorsError, run
from doteval.evals._results.record import Record
from doteval.evals._running.abort import Abort
from doteval.testing import FakeModel

ALIKE = "ValueError: no number in reply 17"
OTHER = "KeyError: 'answer'"


@pytest.mark.parametrize(
    ("errors", "after", "allowed", "ends"),
    [
        ([ALIKE] * 10, 10, 0, 10),
        ([ALIKE] * 9, 10, 0, None),
        ([ALIKE, *[f"ValueError: no number in reply {number}" for number in range(9)]], 10, 0, 10),
        ([*[ALIKE] * 9, None, *[ALIKE] * 9], 10, 0, None),
        ([*[ALIKE] * 9, OTHER, *[ALIKE] * 10], 10, 0, 20),
        ([None] * 100, 10, 0, None),
        ([*[None] * 50, *[ALIKE] * 10], 10, 0, 60),
        ([ALIKE] * 100, 0, 0, None),
        ([ALIKE] * 100, 10, 30, 31),
        ([ALIKE] * 30, 10, 30, None),
        ([ALIKE], 1, 0, 1),
    ],
)
def test_it_is_enough(errors: list[str | None], after: int, allowed: int, ends: int | None) -> None:
    """When more failed than may, and the last ones in the same way, but for the numbers in it."""
    abort = Abort("eval_it", after, allowed)
    failed = 0
    ended, told = None, (0, 0, 0)
    for number, error in enumerate(errors, start=1):
        failed += error is not None
        try:
            abort.check(Record(number, str(number), "", {}, error=error), number, failed)
        except EvaluationAbortedError as exc:
            ended, told = number, (exc.errors, exc.rows, exc.allowed)
            break
    assert ended == ends
    assert ended is None or told == (failed, ended, allowed)


def failing(calls: list[int], good: int = 0) -> Any:
    @foreach("value", range(1000), concurrency=5)
    async def eval_it(value: int) -> Result:
        calls.append(value)
        if value >= good:
            raise ValueError(f"no number in reply {value}")
        return Result(value)

    return eval_it


@pytest.mark.anyio
@pytest.mark.parametrize("stored", [False, True])
async def test_a_run_that_cannot_pass_ends_early(stored: bool, tmp_path: Path) -> None:
    """With the cause, and with what is done kept; the next run goes on."""
    calls: list[int] = []
    path = tmp_path / "results.db" if stored else None
    with pytest.raises(
        EvaluationAbortedError, match=r"(?s)The last 10 rows failed alike: .*\n'eval_it' was ended.*no number"
    ):
        await run(failing(calls, good=3), store=path, max_errors=0)
    assert len(calls) < 40
    if path is None:
        return
    (found,) = Store(path).evaluations()
    assert found.finished is None
    assert found.stored - found.errors == 3
    done = len(calls)
    calls.clear()
    outcome = await run(failing(calls, good=1000), store=path, changed="keep")
    assert (outcome.summary.rows, outcome.summary.errors, outcome.known) == (1000, 0, 3)
    assert done + len(calls) >= 1000


@pytest.mark.anyio
async def test_all_rows_are_run_where_that_is_asked_for() -> None:
    """Without a limit of errors, or without an end."""
    calls: list[int] = []
    assert (await run(failing(calls))).summary.errors == 1000
    with pytest.raises(TooManyErrorsError, match="1000 of 1000 rows"):
        await run(failing(calls), max_errors=0, abort_after=0)
    assert len(calls) == 2000


@pytest.mark.anyio
async def test_what_a_model_said_is_kept_where_a_scorer_raises(tmp_path: Path) -> None:
    """It was paid for; the last reply is what the scorer saw."""
    model = FakeModel(replies=["think", "the answer is twelve"])

    @foreach("question", ["7+5?"])
    async def eval_it(question: str) -> Result:
        await model.generate(question)
        reply = await model.generate(question)
        return Result(reply, scores={"right": int(reply) == 12})

    path = tmp_path / "results.db"
    await run(eval_it, store=path)
    (found,) = Store(path).evaluations()
    (record,) = Store(path).records(found)
    assert record.failed
    assert (record.output, record.reply) == ("the answer is twelve", {"finish_reason": "stop"})
    assert record.requests == 2
