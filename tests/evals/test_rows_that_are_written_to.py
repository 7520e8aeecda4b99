"""Rows that are objects into which the evaluation writes: in the same process they are the rows that they were."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import attrs
import pytest
from anyio import CancelScope
from pydantic import BaseModel

from doteval import Result, foreach
from doteval.evals import Evaluation, Outcome, Store, run

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """It is about what rows are known by."""
    return "asyncio"


@dataclass
class Data:
    q: str
    reply: Any = None


@dataclass(slots=True)
class Slots:
    q: str
    reply: Any = None


@attrs.define
class Attrs:
    q: str
    reply: Any = None


class Model(BaseModel):
    q: str
    reply: Any = None


class Plain:
    def __init__(self, q: str) -> None:
        self.q, self.reply = q, None


def columns(row: Any) -> dict[str, Any]:
    return {"id": row.q, "case": row}


def with_a_list(row: Any) -> dict[str, Any]:
    return {"case": [row], "q": row.q}


KINDS: dict[str, Callable[[str], Any]] = {
    "data": Data,
    "slots": Slots,
    "attrs": Attrs,
    "pydantic": lambda q: Model(q=q),
    "plain": Plain,
}
ROWS = {"itself": lambda row: row, "with an id": columns, "in a list": with_a_list}


def reading(rows: Sequence[Any], how: str, calls: list[str], word: str = "reply") -> Evaluation:
    """An evaluation that notes in its rows what comes of them."""
    names = {"itself": "case", "with an id": "id,case", "in a list": "case,q"}[how]

    async def noting(case: Any, **_: Any) -> Result:
        row = case[0] if isinstance(case, list) else case
        calls.append(row.q)
        row.reply = f"{word} {len(calls)}"
        if row.q == "fails":
            raise ValueError
        return Result(row.reply)

    async def itself(case: Any) -> Result:
        return await noting(case)

    async def with_id(id: str, case: Any) -> Result:  # noqa: A002
        return await noting(case)

    async def with_q(case: Any, q: str) -> Result:
        return await noting(case)

    function = {"itself": itself, "with an id": with_id, "in a list": with_q}[how]
    return foreach(names, [ROWS[how](row) for row in rows], concurrency=1)(function)


@pytest.mark.parametrize("how", ROWS)
@pytest.mark.parametrize("kind", KINDS)
async def test_what_an_evaluation_writes_into_its_rows_makes_no_others_of_them(
    kind: str, how: str, tmp_path: Path
) -> None:
    """Whether it was interrupted, is read anew, or takes more samples; an edit by others does."""
    rows, calls = [KINDS[kind](f"q{number}") for number in range(4)], list[str]()
    untouched = copy.deepcopy(rows)
    store = tmp_path / "r.db"

    async def again(**options: Any) -> tuple[Outcome, int]:
        calls.clear()
        return await run(reading(rows, how, calls), store=store, **options), len(calls)

    with CancelScope() as scope:
        await run(
            reading(rows, how, calls), store=store, on_record=lambda record: record.number == 1 and scope.cancel()
        )
    begun = len(calls)
    done = Store(store).evaluations()[0].stored
    assert 2 <= done <= begun
    outcome, count = await again()
    assert (outcome.known, count, outcome.warnings) == (done, 4 - done, ())
    outcome, count = await again()
    assert (outcome.answered, count) == (True, 0)
    outcome, count = await again(epochs=2)
    assert (outcome.known, count, outcome.warnings) == (4, 4, ())
    assert not outcome.summary.gone
    outcome = await run(reading(untouched, how, calls), store=store, epochs=2)  # as in another process
    assert outcome.answered
    rows[2].q = "another"
    outcome, count = await again(epochs=2)
    assert (outcome.known, count) == (6, 2)


@pytest.mark.filterwarnings("ignore::doteval.evals.EvaluationWarning")
async def test_what_another_evaluation_has_written_counts(tmp_path: Path) -> None:
    """As where one judges what the other has got."""
    rows, calls = [Data("a"), Data("b")], list[str]()
    store = tmp_path / "r.db"
    judged: list[Any] = []

    def judging() -> Evaluation:
        @foreach("case", rows)
        async def judge(case: Any) -> Result:
            judged.append(case.reply)
            return Result(case.reply)

        return judge

    for word in ("one", "one", "two"):
        await run(reading(rows, "itself", calls, word), store=store, changed="rerun")
        await run(judging(), store=store)
    assert judged == ["one 1", "one 2", "two 3", "two 4"]


async def test_rows_that_failed_are_tried_again_as_they_were(tmp_path: Path) -> None:
    rows, calls = [Data("a"), Data("fails")], list[str]()
    for _ in range(3):
        outcome = await run(reading(rows, "itself", calls), store=tmp_path / "r.db", max_errors=None)
        assert outcome.summary.rows == 2
        assert not outcome.warnings
    assert calls.count("a") == 1
