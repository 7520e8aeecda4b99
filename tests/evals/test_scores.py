"""How good outputs are, and what many rows say together."""

from __future__ import annotations

import math
import random
from statistics import mean, stdev
from typing import Any

import pytest

from doteval import Completion, Result, Usage, foreach
from doteval.evals import contains, exact_match, json_valid, llm_judge, numeric_close, run, summarise
from doteval.evals._results.intervals import student, wilson
from doteval.testing import FakeModel, FakeProvider

pytestmark = pytest.mark.anyio


def test_exact_match() -> None:
    """Space around it and the encoding of letters do not count; upper and lower case may."""
    assert exact_match(" Paris\n", "Paris")
    assert exact_match("Zu\u0308rich", "Z\u00fcrich")
    assert exact_match(Completion("4"), 4)
    assert not exact_match("paris", "Paris")
    assert exact_match("paris", "Paris", ignore_case=True)


def test_contains() -> None:
    """Somewhere in it."""
    assert contains("It is Paris.", "Paris")
    assert not contains("It is paris.", "Paris")
    assert contains("It is PARIS.", "Paris", ignore_case=True)


@pytest.mark.parametrize(
    ("output", "expected", "is_close"),
    [
        ("The answer is 42.", 42, True),
        ("First 1, then 2: 3.5", 3.5, True),
        ("1,234.5 Euro", 1234.5, True),
        ("about 1e3", 1000, True),
        ("-7", -7, True),
        ("41", 42, False),
        ("no number", 42, False),
        ("0.33333333", 1 / 3, True),
        ("", 0, False),
    ],
)
def test_numeric_close(output: str, expected: float, is_close: bool) -> None:
    """The last number in the text counts."""
    assert numeric_close(output, expected) is is_close


def test_numeric_close_takes_tolerances() -> None:
    """As a share, or as such."""
    assert numeric_close("99", 100, relative=0.01)
    assert numeric_close("0.1", 0, absolute=0.2)


def test_json_valid() -> None:
    """Also in a fence of Markdown."""
    assert json_valid('{"a": [1, 2]}')
    assert json_valid('```json\n{"a": 1}\n```')
    assert not json_valid("{'a': 1}")
    assert not json_valid("")


async def test_llm_judge() -> None:
    """A model or a handle on one says yes or no; anything else is an error, not a no."""
    model = FakeModel("judge", replies=["YES", "no.", "perhaps", "yes and no"])
    assert await llm_judge(model, "4", "It is a number.", prompt="2+2?")
    assert "It is a number." in str(model.calls[0].prompt)
    assert "2+2?" in str(model.calls[0].prompt)
    assert not await llm_judge(model, "4", "It is a {word}.")
    for _ in range(2):
        with pytest.raises(ValueError, match="the judge said neither YES nor NO, but"):
            await llm_judge(model, "4", "It is a number.")
    async with FakeProvider(replies=["Yes"]) as provider, await provider.setup("judge") as handle:
        assert await llm_judge(handle, "4", "It is a number.")


def test_wilsons_interval() -> None:
    """As in the literature: it stays between 0 and 1, and is no point where all are right."""
    assert wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson(0.0, 1) == pytest.approx((0.0, 0.7935), abs=1e-4)


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042), (1000, 1.962)]
)
def test_students_quantile(freedom: int, quantile: float) -> None:
    """As in the tables."""
    assert student(freedom) == pytest.approx(quantile, abs=4e-3)


async def outcome_of(rows: list[tuple[Any, ...]]) -> Any:
    @foreach("right,value,usage", rows)
    async def eval_it(right: bool, value: float, usage: Usage | None) -> Result:
        if value < 0:
            raise ValueError(value)
        return Result(Completion("x", usage=usage), scores={"right": right, "value": value})

    return await run(eval_it)


async def test_scores_are_added_up() -> None:
    """Count, mean, standard error and interval of each; rows that raised have no score."""
    numbers = list(map(random.Random(1).gauss, [5] * 50, [1] * 50))
    rows = [(index % 4 != 0, number, Usage(10, 2)) for index, number in enumerate(numbers)] + [(True, -1, None)]
    summary = (await outcome_of(rows)).summary
    assert (summary.rows, summary.errors) == (51, 1)
    value, right = summary.scores["value"], summary.scores["right"]
    error = stdev(numbers) / math.sqrt(50)
    assert (value.count, value.is_boolean, right.is_boolean) == (50, False, True)
    assert (value.mean, value.error) == pytest.approx((mean(numbers), error))
    assert (value.low, value.high) == pytest.approx(
        (value.mean - 2.0096 * error, value.mean + 2.0096 * error), rel=1e-4
    )
    assert right.mean == 37 / 50
    assert (right.low, right.high) == pytest.approx(wilson(0.74, 50))
    assert (summary.input_tokens, summary.output_tokens) == (500, 100)
    assert summary.p50 is not None
    assert summary.p95 is not None
    assert summary.p50 <= summary.p95


async def test_few_rows_have_no_interval_they_do_not_have() -> None:
    """One number says nothing of how far off it is; no row at all says nothing."""
    value = (await outcome_of([(True, 1.5, None)])).summary.scores["value"]
    assert (value.count, value.mean) == (1, 1.5)
    assert math.isnan(value.low)
    empty = summarise([])
    assert (empty.rows, empty.scores, empty.p50, empty.p95) == (0, {}, None, None)
