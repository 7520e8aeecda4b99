"""Several samples of each row: each is called, kept, resumed and run again by itself, none lost or counted twice."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from doteval import Result, foreach
from doteval.cli import main
from doteval.evals import (
    EvaluationAbortedError,
    EvaluationChangedError,
    GateError,
    Outcome,
    Record,
    Store,
    Summary,
    TooManyErrorsError,
    run,
    summarise,
)
from doteval.evals._results.compare import compare
from doteval.evals._results.pairing import RowScores

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """It is about what is stored."""
    return "trio"


ROWS = 6


def generator() -> Any:
    yield from range(ROWS)


async def async_generator() -> Any:
    for number in range(ROWS):
        yield number


class Calls:
    """An evaluation that counts how often it is called for each row.

    Args:
        dataset: The rows.
        failing: Which calls of a row raise, counted from 1.
    """

    def __init__(self, dataset: Any = range(ROWS), failing: Callable[[int, int], bool] = lambda *_: False) -> None:
        self.failing = failing
        self.calls: dict[int, int] = {}

        @foreach("value", dataset, concurrency=4)
        async def eval_it(value: int) -> Result:
            self.calls[value] = number = self.calls.get(value, 0) + 1
            for _ in range((7 * value + 3 * number) % 5):  # so that others overtake it
                await checkpoint()
            if self.failing(value, number):
                raise ValueError(value)
            return Result(number, scores={"good": number % 2 == 1, "size": number / 2})

        self.evaluation = eval_it

    def __doteval_identity__(self) -> Mapping[str, Any]:
        return {}  # no result depends on what it counts

    def new(self) -> dict[int, int]:
        """How often it was called since this was asked last."""
        calls, self.calls = self.calls, {}
        return calls


def all_of(summary: Summary) -> str:
    """All that it says, in an order of its own; in a text, what is no number is the same as what is none."""
    return repr(replace(summary, scores=dict(sorted(summary.scores.items()))))


def places(records: Any) -> list[tuple[int, int]]:
    return [(record.number, record.sample) for record in records]


def wanted(epochs: int, rows: int = ROWS) -> list[tuple[int, int]]:
    return [(row, sample) for row in range(rows) for sample in range(1, epochs + 1)]


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"], scope="module")
@pytest.mark.parametrize("is_stored", [True, False])
@pytest.mark.parametrize(
    "make",
    [lambda: range(ROWS), lambda: generator, lambda: async_generator, generator],
    ids=["range", "function", "async", "once"],
)
async def test_samples_of_a_row_come_one_after_the_other(make: Any, is_stored: bool, tmp_path: Path) -> None:
    """Whatever the dataset is, also one that is read once; told in that order, each with its number."""
    told: list[Record] = []
    made = Calls(make())
    store = tmp_path / "results.db" if is_stored else None
    outcome = await run(made.evaluation, epochs=3, store=store, on_record=told.append)
    assert places(outcome.records) == places(told) == wanted(3)
    assert made.new() == dict.fromkeys(range(ROWS), 3)
    summary = outcome.summary
    assert (summary.rows, summary.samples, summary.epochs, outcome.calls) == (ROWS, 3 * ROWS, 3, 3 * ROWS)
    assert all_of(summary) == all_of(summarise(reversed([*outcome.records])))


async def test_a_limit_counts_rows(tmp_path: Path) -> None:
    """And not their samples."""
    made = Calls()
    for selection in ({"limit": 2}, {"sample": 2}, {"limit": 4, "sample": 2}):
        outcome = await run(made.evaluation, epochs=3, store=tmp_path / "results.db", **selection)  # type: ignore[arg-type]
        assert sorted(made.new().values()) == [3, 3]
        assert places(outcome.records) == wanted(3, 2)
        assert outcome.summary.rows == 2


async def test_more_samples_than_fit_between_dataset_and_end() -> None:
    """They are run all the same."""
    outcome = await run(Calls([1, 2]).evaluation, epochs=600)
    assert places(outcome.records) == wanted(600, 2)


async def test_only_what_is_missing_is_run_and_what_is_beyond_is_kept_and_not_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Raised, lowered, and raised again; what is not asked for is neither read nor thrown away."""
    path = tmp_path / "results.db"
    made, store = Calls(), Store(tmp_path / "results.db")
    most = 0
    for epochs in (3, 5, 2, 5, 1, 4, 6):
        outcome = await run(made.evaluation, epochs=epochs, store=path)
        missing = max(0, epochs - most)
        assert made.new() == ({} if not missing else dict.fromkeys(range(ROWS), missing))
        assert (outcome.answered, outcome.known) == (not missing, ROWS * min(most, epochs))
        most = max(most, epochs)
        (stored,) = store.evaluations()
        assert (stored.epochs, stored.rows, stored.stored) == (epochs, ROWS, epochs * ROWS)
        assert places(outcome.records) == places(store.records(stored)) == wanted(epochs)
        assert places(store.records(store.with_epochs(stored, None))) == wanted(most)
        assert all_of(store.summary(stored)) == all_of(outcome.summary) == all_of(summarise(outcome.records))
        assert main(["export", "default", "--store", str(path)]) == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [(line["row"], line["sample"]) for line in lines] == wanted(epochs)


async def test_a_sample_that_failed_is_run_again_by_itself(tmp_path: Path) -> None:
    """The others of its row stay; and it counts as one error."""
    path = tmp_path / "results.db"
    made = Calls(failing=lambda value, number: value in (1, 4) and number == 2)
    first = await run(made.evaluation, epochs=3, store=path)
    assert places(first.failed) == [(1, 2), (4, 2)]
    assert (first.summary.errors, first.summary.rows, first.summary.samples) == (2, ROWS, 3 * ROWS)
    assert "2 of 18 samples failed, and 0 may: " in str(first.error(0))
    assert "row 1, sample 2:" in str(first.error(0))
    assert first.summary.scores["good"].count == 3 * ROWS - 2
    assert [first.summary.reduced[f"good.pass@{of}"].count for of in (1, 2, 3)] == [ROWS, ROWS, ROWS - 2]
    made.new()
    made.failing = lambda *_: False
    second = await run(made.evaluation, epochs=3, store=path)
    assert made.new() == {1: 1, 4: 1}
    assert not second.summary.errors


async def test_a_row_that_moves_takes_its_samples_along_and_one_that_goes_takes_them_away(tmp_path: Path) -> None:
    """Also those that do not count at present."""
    path = tmp_path / "results.db"
    await run(Calls().evaluation, epochs=4, store=path)
    moved = Calls([5, 9, 3, 2])
    outcome = await run(moved.evaluation, epochs=2, store=path, changed="keep")
    assert moved.new() == {9: 2}
    assert [record.inputs["value"] for record in outcome.records] == [5, 5, 9, 9, 3, 3, 2, 2]
    assert "2 more" not in "".join(outcome.warnings)
    again = Calls([5, 9, 3, 2])
    outcome = await run(again.evaluation, epochs=4, store=path, changed="keep")
    assert again.new() == {9: 2}
    assert places(outcome.records) == wanted(4, 4)


async def test_samples_of_a_row_that_is_gone_go_also_where_none_of_them_counts(tmp_path: Path) -> None:
    """A run that was killed may leave the third sample of a row, and not the first."""
    path = tmp_path / "results.db"
    await run(Calls().evaluation, epochs=3, store=path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM rows WHERE sample = 1 AND number = 5")
        connection.execute("UPDATE evaluations SET finished = NULL")
    fewer = Calls(range(5))
    await run(fewer.evaluation, epochs=1, store=path, changed="keep")
    assert fewer.new() == {}
    store = Store(path)
    (stored,) = store.evaluations()
    assert places(store.records(store.with_epochs(stored, None))) == wanted(3, 5)


async def test_samples_of_other_values_are_run_again_when_they_are_asked_for(tmp_path: Path) -> None:
    """And are nothing to be told of before."""
    path = tmp_path / "results.db"

    def made(*values: int) -> Calls:
        return Calls([{"id": place, "value": value} for place, value in enumerate(values)])

    await run(made(1, 2).evaluation, epochs=3, store=path)
    changed = made(1, 5)
    outcome = await run(changed.evaluation, epochs=1, store=path, changed="keep")
    assert changed.new() == {5: 1}
    assert "row 1 had other values" in "".join(outcome.warnings)
    longer = made(1, 5, 3)
    outcome = await run(longer.evaluation, epochs=1, store=path, changed="keep")
    assert longer.new() == {3: 1}
    assert "had other values" not in "".join(outcome.warnings)
    more = made(1, 5, 3)
    outcome = await run(more.evaluation, epochs=3, store=path, changed="keep")
    assert more.new() == {5: 2, 3: 2}
    assert [record.inputs["value"] for record in outcome.records] == [1, 1, 1, 5, 5, 5, 3, 3, 3]


async def test_samples_that_do_not_count_are_not_thrown_away_with_other_code(tmp_path: Path) -> None:
    """They were paid for as well: where only such succeeded, it is an error, as always."""
    path = tmp_path / "results.db"
    made = Calls(failing=lambda _, number: number == 1)
    await run(made.evaluation, epochs=2, store=path, name="it")
    await run(made.evaluation, epochs=1, store=path, name="it", max_errors=ROWS)
    store = Store(path)
    (before,) = store.evaluations()
    assert before.stored == before.errors == ROWS

    @foreach("value", range(ROWS))
    async def eval_it(value: int) -> Result:
        return Result("other")

    with pytest.raises(EvaluationChangedError):
        await run(eval_it, store=path, name="it")
    assert store.evaluations() == [before]


async def test_epochs_of_foreach_hold_where_the_run_says_nothing() -> None:
    """And are a number of samples."""

    @foreach("value", [1, 2], epochs=3)
    async def eval_it(value: int) -> Result:
        return Result(value)

    assert (await run(eval_it)).summary.samples == 6
    assert (await run(eval_it, epochs=2)).summary.samples == 4
    bad: Any
    for bad in (0, -1, 1.5, True, "3"):
        with pytest.raises(ValueError, match="epochs must be a whole number, at least 1"):
            foreach("value", [1], epochs=bad)
        with pytest.raises(ValueError, match="epochs must be a whole number, at least 1"):
            await run(eval_it, epochs=bad)


async def scored(
    scores: Mapping[str, list[bool | float | None]], path: Path | None = None, name: str = "it", **settings: Any
) -> Outcome:
    """Run rows whose samples have these scores, by the rows' clusters and values; `None` fails."""
    left = {value: iter(given) for value, given in scores.items()}

    @foreach("cluster,value", [(key.partition("/")[0] or None, key) for key in scores], concurrency=1)
    async def eval_it(cluster: str | None, value: str) -> Result:
        score = next(left[value])
        if score is None:
            raise ValueError(value)
        return Result(score, scores={"good": score})

    epochs = max(map(len, scores.values()))
    return await run(eval_it, epochs=epochs, store=path, name=name, **settings)


async def test_gates_on_what_samples_say_together(tmp_path: Path) -> None:
    """By the names that the table has, for any number up to the samples that there are."""
    rows: dict[str, list[bool | float | None]] = {"/a": [True, False, False], "/b": [True, True, True]}
    passes = ["good.pass@3 >= 1", "good.pass^3 >= 50%", "good.majority <= 0.5", "good.pass@2.low > 0.2", "good > 0.6"]
    outcome = await scored(rows, max_errors=0, passes=passes)
    assert outcome.summary.reduced["good.pass@2"].mean == pytest.approx((2 / 3 + 1) / 2)
    with pytest.raises(GateError) as caught:
        await scored(
            rows, max_errors=0, passes={"good.pass^3": 0.6, "good.pass@4": 0, "other.majority": 1, "good": 0.9}
        )
    assert [line[:71] for line in caught.value.shortfalls] == [
        "good.pass^3 is 0.5 (0.09453 to 0.9055, 2 rows), and has to be >= 0.6",
        "no row has 4 samples with a score 'good', so there is no 'good.pass@4',",
        "no row has a score 'other.majority', which has to be >= 1",
        "good is 0.6667 (0.1594 to 0.9547, 6 samples), and has to be >= 0.9",
    ]
    one = await scored({"/a": [True]}, passes="good.pass@1 >= 0")
    assert one.shortfalls == (
        "there is one sample of each row (epochs=1), so there is no 'good.pass@1', which has to be >= 0",
    )
    numbers = await scored({"/a": [0.5, 1.0]}, passes="good.majority >= 0")
    assert numbers.shortfalls == (
        "'good' is not 0 or 1 in all rows, so there is no 'good.majority', which has to be >= 0",
    )


async def test_errors_are_clustered_by_row_and_a_cluster_of_the_user_wins() -> None:
    """The samples of a row do not count as independent, nor those of all rows of a cluster."""
    alike: list[bool | float | None] = [True] * 4
    other: list[bool | float | None] = [False] * 4
    apart = (await scored({f"/{row}": [alike, other][row % 2] for row in range(8)})).summary
    assert (apart.scores["good"].count, apart.scores["good"].clusters) == (32, 8)
    assert apart.reduced["good.pass@2"].clusters is None
    few = (await scored({f"{row % 2}/{row}": [alike, other][row % 2] for row in range(8)})).summary
    assert (few.scores["good"].clusters, few.reduced["good.majority"].clusters) == (2, 2)
    assert few.scores["good"].high - few.scores["good"].low > apart.scores["good"].high - apart.scores["good"].low
    single = (await scored({f"/{row}": [row % 2 == 0] for row in range(8)})).summary
    assert apart.scores["good"].low == pytest.approx(single.scores["good"].low, abs=0.05)


async def test_rows_are_compared_by_the_means_of_their_samples(tmp_path: Path) -> None:
    """Each row once, however many samples either side has; one whose samples all failed is left out."""
    path = tmp_path / "results.db"
    await scored({"/a": [True, False, True, False], "/b": [True] * 4, "/c": [None] * 4}, path, "one")
    await scored({"/a": [True, True], "/b": [None, False], "/c": [True, True]}, path, "other")
    store = Store(path)
    sides = {stored.name: stored for stored in store.evaluations()}
    (difference,) = compare(store, sides["one"], sides["other"]).differences
    assert (difference.count, difference.before, difference.after, difference.mean) == (2, 0.75, 0.5, -0.25)
    assert compare(store, sides["one"], sides["other"]).unpaired.failed_before == 1
    assert not difference.is_binary
    fewer = store.with_epochs(sides["one"], 1)
    (difference,) = compare(store, fewer, sides["other"]).differences
    assert (difference.before, difference.is_binary) == (1, True)
    passes = ["good >= baseline", "good.majority >= baseline"]
    later = await scored({"/a": [False]}, path, "one", experiment="later", baseline="default", passes=passes)
    assert later.shortfalls == (
        "good less the baseline is -0.5 (no interval, 1 rows), and has to be >= 0",
    )  # half of them were no majority, either


async def test_a_row_whose_samples_are_of_other_values_is_not_compared() -> None:
    """Only a run that has not ended leaves such."""
    mixed, other = RowScores("a", None), RowScores("a", None)
    for row, digest in ((mixed, "a"), (other, "a"), (other, "a")):
        row.add(digest, {"good": True})
    assert mixed.is_same(other)
    mixed.add("b", {"good": True})
    assert not mixed.is_same(other)
    assert not mixed.is_same(mixed)


async def test_samples_of_one_row_that_fail_alike_do_not_end_the_run() -> None:
    """They fail because of the row; those of many rows do."""
    for failing, is_ended in (({2}, False), (set(range(ROWS)), True)):
        made = Calls(failing=lambda value, _, failing=failing: value in failing)  # type: ignore[misc]
        with pytest.raises(TooManyErrorsError) as caught:
            await run(made.evaluation, epochs=4, concurrency=1, max_errors=0, abort_after=3)
        assert isinstance(caught.value, EvaluationAbortedError) is is_ended
        assert caught.value.errors == (9 if is_ended else 4)


async def test_samples_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the table and for programs: how many there are, and what they say together."""
    path = tmp_path / "results.db"
    await scored({"/a": [True, None, True], "/b": [False, True, False], "/c": [True] * 3}, path)
    assert main(["show", "default", "--store", str(path)]) == 0
    shown = capsys.readouterr().out
    for text in ("3 x 3", "good ", "good.pass@3 (2 rows)", "good.pass^3 (2 rows)", "good.majority ", "row 0, sample 2"):
        assert text in shown
    assert main(["show", "default", "--store", str(path), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["samples"], found["epochs"]) == (3, 9, 3)
    assert sorted(found["reduced"]) == sorted(
        f"good.{name}" for name in ["majority", *(f"pass{sign}{of}" for sign in "@^" for of in (1, 2, 3))]
    )
    assert [(failed["row"], failed["sample"]) for failed in found["failed"]] == [(0, 2)]
