"""Gates: what scores have to reach, alone or beside a baseline, and what is said where they do not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doteval import Result, foreach
from doteval.cli import main
from doteval.evals import GateError, Outcome, TooManyErrorsError, run
from doteval.evals._results.gates import gates_of
from doteval.evals._results.intervals import tango, wilson
from doteval.evals._results.tables import number


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("exact >= 0.9", ("exact", "mean", ">=", 0.9, False)),
        ("exact>=90%", ("exact", "mean", ">=", 0.9, False)),
        (" exact.low > .5 ", ("exact", "low", ">", 0.5, False)),
        ("length.high <= 1e2", ("length", "high", "<=", 100.0, False)),
        ("a score.mean < -1", ("a score", "mean", "<", -1.0, False)),
        ("v1.exact >= 0", ("v1.exact", "mean", ">=", 0.0, False)),
        ("exact >= baseline", ("exact", "mean", ">=", 0.0, True)),
        ("exact.low >= baseline - 0.02", ("exact", "low", ">=", -0.02, True)),
        ("cost <= baseline+5", ("cost", "mean", "<=", 5.0, True)),
    ],
)
def test_gates_are_read(text: str, expected: tuple[Any, ...]) -> None:
    """As a person writes them."""
    (gate,) = gates_of(text)
    assert (gate.score, gate.of, gate.sign, gate.value, gate.has_baseline) == expected


@pytest.mark.parametrize(
    "text", ["", "exact", "exact >=", ">= 1", "exact == 1", "exact >= x", "exact >= nan", "a >= 1 2"]
)
def test_what_is_no_gate_is_refused_where_it_is_written(text: str) -> None:
    """Before anything is run."""
    with pytest.raises(ValueError, match=r"is no gate: write it like 'exact >= 0\.9'"):
        foreach("value", [1], passes=text)


def evaluation(scores: list[bool], passes: Any = ()) -> Any:
    @foreach("number", range(len(scores)), passes=passes)
    async def eval_it(number: int, scores: list[bool]) -> Result:
        return Result(number, scores={"exact": scores[number]})

    return partial(run, eval_it, scores=scores)


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.floats(0, 1), st.sampled_from(["mean", "low", "high"]))
def test_a_gate_is_reached_where_the_number_is(scores: list[bool], least: float, of: str) -> None:
    """The mean, or an end of the interval, and nothing else."""
    outcome: Outcome = anyio.run(evaluation(scores, f"exact.{of} >= {least!r}"))
    mean = sum(scores) / len(scores)
    low, high = wilson(mean, len(scores))
    assert bool(outcome.shortfalls) == ({"mean": mean, "low": low, "high": high}[of] < least)


@pytest.mark.anyio
async def test_what_is_not_reached_is_said_with_its_numbers(tmp_path: Path) -> None:
    """By `check`, and by a run that is told how many rows may fail; also where all was answered."""
    give = evaluation([True] * 8 + [False] * 2, {"exact": 0.9, "polite": 0.5})
    path = tmp_path / "results.db"
    for known in (False, True):
        outcome = await give(store=path)
        assert outcome.answered == known
        assert outcome.shortfalls == (
            "exact is 0.8 (0.4902 to 0.9433, 10 rows), and has to be >= 0.9",
            "no row has a score 'polite', which has to be >= 0.5",
        )
    with pytest.raises(GateError, match=r"(?s)'eval_it' has not passed:\n- exact is 0.8"):
        outcome.check()
    with pytest.raises(GateError):
        await give(store=path, max_errors=0)
    assert (await evaluation([True] * 8 + [False] * 2)(passes="exact.low >= 0.4", max_errors=0)).shortfalls == ()


@pytest.mark.anyio
async def test_a_baseline_is_compared_row_by_row(tmp_path: Path) -> None:
    """With the mean of the differences, or an end of their interval; without a baseline nothing passes."""
    path = tmp_path / "results.db"
    before, after = [True] * 40, [True] * 38 + [False] * 2
    await evaluation(before)(store=path, experiment="main")
    give = partial(evaluation(after), store=path, experiment="branch")
    assert (await give(passes="exact >= baseline - 0.05", baseline="main")).shortfalls == ()
    (told,) = (await give(passes="exact >= baseline - 0.04", baseline="main")).shortfalls
    assert told.startswith("exact less the baseline is -0.05 (-0.16")
    assert told.endswith("40 rows), and has to be >= -0.04")
    (told,) = (await give(passes="exact.low >= baseline - 0.05", baseline="main")).shortfalls
    assert told.startswith("the low end of exact less the baseline is -0.1")
    for baseline in ("", "nowhere"):
        (told,) = (await give(passes="exact >= baseline", baseline=baseline)).shortfalls
        assert told == "there is no baseline for 'exact >= baseline'"


@pytest.mark.anyio
async def test_what_samples_say_together_is_compared_with_a_baseline(tmp_path: Path) -> None:
    """Row by row, however many samples either side has; of a score that is not 0 or 1 everywhere there is nothing."""

    async def rows(experiment: str, rights: Sequence[int], epochs: int, *gates: str, **others: Any) -> Outcome:
        calls = Counter[int]()

        async def eval_it(row: int) -> Result:
            calls[row] += 1
            return Result(row, scores={"exact": calls[row] <= rights[row], "length": row / 7, "one": 1})

        give = foreach("row", range(len(rights)), epochs=epochs, concurrency=1)(eval_it)
        where = {"store": tmp_path / "results.db", "experiment": experiment, "baseline": "main"}
        return await run(give, passes=gates, changed="keep", **where, **others)

    await rows("main", [0, 1, 2, 3] * 5, 3)
    better = [0, 2, 4, 4] * 5  # pass@2 of each, of four samples: 0, 5/6, 1, 1, and before, of three: 0, 2/3, 1, 1
    found = await rows("more", better, 4, "exact.pass@2 >= baseline + 0.041", "exact.pass@2 >= baseline + 0.042")
    (told,) = found.shortfalls
    assert told.startswith("exact.pass@2 less the baseline is +0.04167 (")
    assert told.endswith("20 rows), and has to be >= 0.042")
    # pass^3 before: 0, 0, 0, 1; after: 0, 0, 1, 1. So they are paired shares.
    (told,) = (await rows("more", better, 4, "exact.pass^3.low > baseline + 0.2")).shortfalls
    low, high = tango(5, 0, 20)
    assert f"pass^3 less the baseline is {number(low, signed=True)} ({number(low)} to {number(high)}, 20 rows)" in told
    assert (await rows("more", better, 4, "exact.majority >= baseline", "one.pass^3 >= baseline")).shortfalls == ()
    for gate, why in {
        "exact.pass@4 >= baseline": "no row has 4 samples with a score 'exact' of 0 or 1 here and in the baseline",
        "length.pass@2 >= baseline": "no row has 2 samples with a score 'length' of 0 or 1",
        "length.majority >= baseline": "no row has any samples with a score 'length' of 0 or 1",
        "other.pass@2 >= baseline": "no row has 2 samples with a score 'other' of 0 or 1",
    }.items():
        (told,) = (await rows("more", better, 4, gate)).shortfalls
        assert told.startswith(why)


@pytest.mark.anyio
async def test_too_many_errors_come_first() -> None:
    """What the scores are worth then, nobody knows."""

    @foreach("number", range(2), passes={"exact": 0.9})
    async def eval_it(number: int) -> Result:
        return Result(number, scores={"exact": 1 // number > 5})

    with pytest.raises(TooManyErrorsError):
        await run(eval_it, max_errors=0)
    with pytest.raises(GateError):
        await run(eval_it, max_errors=1)


def test_a_number_that_is_none_reaches_nothing() -> None:
    """An interval that is not there is not good enough."""

    @foreach("number", range(3), passes=["length.low >= 0", "length.high <= 10"])
    async def eval_it(number: int) -> Result:
        return Result(number, scores={"length": 3.5})

    outcome = anyio.run(lambda: run(eval_it))
    assert math.isnan(outcome.summary.scores["length"].low)
    assert len(outcome.shortfalls) == 2
    assert "(no interval, 3 rows)" in outcome.shortfalls[0]


@pytest.mark.parametrize(
    ("before", "after", "how", "code"),
    [
        ([True] * 40, [True] * 30 + [False] * 10, "worse", 1),
        ([True] * 40, [True] * 40, "worse", 0),
        ([True] * 30 + [False] * 10, [True] * 40, "worse", 0),
        ([True] * 30 + [False] * 10, [True] * 40, "different", 1),
        ([True] * 40, [True] * 39 + [False], "worse", 0),
    ],
)
def test_a_comparison_fails_a_build(
    before: list[bool], after: list[bool], how: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a score is clearly worse, or different."""
    monkeypatch.chdir(tmp_path)
    for name, scores in (("a", before), ("b", after)):
        give = partial(evaluation(scores), store=".doteval/results.db", experiment=name)
        anyio.run(give)
    assert main(["compare", "a", "b", "--fail-if", how]) == code
    assert main(["compare", "a", "b"]) == 0
