"""Some rows of a dataset: the first ones, or a sample; and nobody takes them for all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio import CancelScope

from doteval import Result, foreach
from doteval.evals import DatasetError, Store, run
from doteval.evals._digests import digest_of
from doteval.evals._results.record import key_of_id


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """It is about which rows there are."""
    return "trio"


ROWS = 40


def generator() -> Any:
    yield from range(ROWS)


async def async_generator() -> Any:
    for number in range(ROWS):
        yield number


def making(calls: list[int], dataset: Any) -> Any:
    @foreach("value", dataset, concurrency=3)
    async def eval_it(value: int) -> Result:
        calls.append(value)
        return Result(value)

    return eval_it


DATASETS: list[Any] = [range(ROWS), list(range(ROWS)), generator, async_generator]


@pytest.mark.anyio
@pytest.mark.parametrize("dataset", DATASETS, ids=["range", "list", "generator", "async generator"])
async def test_the_first_rows_and_a_sample(dataset: Any, tmp_path: Path) -> None:
    """In the order of the dataset, the same ones again with the same seed, and kept under a name of their own."""
    calls: list[int] = []
    path = tmp_path / "results.db"
    evaluation = making(calls, dataset)
    first = await run(evaluation, limit=5, store=path)
    assert [record.output for record in first.records] == [0, 1, 2, 3, 4]
    assert first.name == "eval_it (first 5)"
    drawn = [await run(evaluation, sample=8, seed=seed) for seed in (1, 1, 2)]
    outputs = [[record.output for record in outcome.records] for outcome in drawn]
    assert outputs[0] == outputs[1] != outputs[2]
    assert all(found == sorted(set(found)) and len(found) == 8 for found in outputs)
    both = await run(evaluation, limit=10, sample=4, store=path)
    assert both.name == "eval_it (4 of first 10, seed 0)"
    assert all(record.output < 10 for record in both.records)
    assert [record.number for record in both.records] == [0, 1, 2, 3]
    before = len(calls)
    whole = await run(evaluation, store=path)
    assert (len(calls) - before, whole.name, whole.summary.rows) == (ROWS, "eval_it", ROWS)
    for again in ({"limit": 5}, {"limit": 10, "sample": 4}, {}):
        assert (await run(evaluation, store=path, **again)).answered  # type: ignore[arg-type]
    assert {stored.name: stored.rows for stored in Store(path).evaluations()} == {
        "eval_it (first 5)": 5,
        "eval_it (4 of first 10, seed 0)": 4,
        "eval_it": ROWS,
    }


@pytest.mark.anyio
@pytest.mark.parametrize("dataset", DATASETS, ids=["range", "list", "generator", "async generator"])
async def test_rows_are_run_in_another_order(dataset: Any, tmp_path: Path) -> None:
    """One that the seed chooses; what is known of them does not depend on it, also where a run ends early."""
    calls: list[int] = []
    evaluation = making(calls, dataset)
    orders: list[list[int]] = []
    for seed in (1, 1, 2):
        orders.append([])
        outcome = await run(evaluation, shuffle=True, seed=seed, on_record=lambda r: orders[-1].append(r.output))
        assert [(record.number, record.output) for record in outcome.records] == [(n, n) for n in range(ROWS)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == [*range(ROWS)] != orders[0]

    path = tmp_path / "results.db"
    with CancelScope() as scope:
        await run(
            evaluation,
            shuffle=True,
            epochs=2,
            store=path,
            on_record=lambda r: r.output == orders[0][0] or scope.cancel(),
        )
    store = Store(path)
    (stored,) = store.evaluations()
    assert stored.name == "eval_it"
    there = [record.number for record in store.records(stored)]
    assert there == sorted(there) != [*range(len(there))]
    calls.clear()
    outcome = await run(evaluation, epochs=2, store=path)  # in no order, and nothing again
    assert (outcome.known, len(calls)) == (len(there), 2 * ROWS - len(there))
    assert [(r.number, r.sample) for r in outcome.records] == [(n, sample) for n in range(ROWS) for sample in (1, 2)]
    assert (await run(evaluation, epochs=2, store=path, shuffle=True, seed=7)).answered or dataset is async_generator
    assert store.runs(stored)[0].about["settings"]["shuffle"] is True
    some = await run(evaluation, limit=10, sample=4, shuffle=True, seed=1)
    assert [r.output for r in some.records] == [
        r.output for r in (await run(evaluation, limit=10, sample=4, seed=1)).records
    ]


@pytest.mark.anyio
async def test_more_than_there_are_is_all() -> None:
    """A dataset may be smaller than what is asked for."""
    calls: list[int] = []
    assert (await run(making(calls, range(3)), limit=5, sample=9)).summary.rows == 3
    assert sorted(calls) == [0, 1, 2]


@pytest.mark.anyio
async def test_what_is_not_needed_is_not_read() -> None:
    """A dataset may have no end."""

    def endless() -> Any:
        number = 0
        while True:
            yield number
            number += 1

    calls: list[int] = []
    assert (await run(making(calls, endless), limit=7)).summary.rows == 7


class Stream:
    """Rows that are read, and whose number nobody says."""

    def __init__(self, length: Callable[[], Any]) -> None:
        self._length = length

    def __len__(self) -> int:
        result: int = self._length()
        return result

    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


def unknown() -> int:
    raise NotImplementedError("a stream has no length")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "length", [unknown, lambda: -1, lambda: None, lambda: 1 << 70], ids=["unknown", "negative", "none", "huge"]
)
async def test_a_dataset_need_not_know_how_many_rows_it_has(length: Callable[[], Any]) -> None:
    """Whatever it raises when it is asked; `for` reads it all the same."""
    assert (await run(making([], Stream(length)), limit=2)).summary.rows == 2
    assert (await run(making([], Stream(length)))).summary.rows == 3


@pytest.mark.anyio
async def test_every_row_is_as_probable_as_any_other() -> None:
    """Of 400 samples of 10 of 40 rows, each row is in about 100."""
    from doteval.evals._running.selection import Selection

    source = making([], range(ROWS)).source
    look: Callable[[], Any] = source.look
    counts = [0] * ROWS
    for seed in range(400):
        for row in Selection(sample=10, seed=seed).look(look()):
            counts[row.values["value"]] += 1
    assert sum(counts) == 4000
    assert all(60 < count < 145 for count in counts), counts  # five standard deviations


@pytest.mark.anyio
@pytest.mark.parametrize("given", [{"limit": 0}, {"sample": -1}])
async def test_less_than_one_row_is_refused(given: Any) -> None:
    """It would pass for having run."""
    with pytest.raises(ValueError, match="must be a whole number, at least 1"):
        await run(making([], range(3)), **given)


@pytest.mark.anyio
@pytest.mark.parametrize("dataset", DATASETS, ids=["range", "list", "generator", "async generator"])
async def test_one_row_by_its_number(dataset: Any, tmp_path: Path) -> None:
    """It keeps the number, and is kept under a name of its own; what comes after it is not read."""
    calls: list[int] = []
    evaluation = making(calls, dataset)
    for row in (7, "7"):
        outcome = await run(evaluation, row=row, epochs=2, store=tmp_path / "results.db")
        assert (outcome.name, calls) == ("eval_it (row 7)", [7, 7])
        assert [(record.number, record.sample, record.output) for record in outcome.records] == [(7, 1, 7), (7, 2, 7)]
    (record,) = (await run(evaluation, row=record_key(7))).records
    assert record.number == 7
    with pytest.raises(DatasetError, match="it has no row '-1'"):
        await run(evaluation, row=-1)
    with pytest.raises(DatasetError, match=f"it has no row '{ROWS}'"):
        await run(evaluation, row=ROWS)
    for other in ({"limit": 1}, {"sample": 1}):
        with pytest.raises(ValueError, match="one row is run, so there is no"):
            await run(evaluation, row=1, **other)  # type: ignore[arg-type]


def record_key(value: int) -> str:
    return digest_of({"value": value})


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("ids", "wanted", "expected"),
    [
        (["a", "b"], "b", 1),
        ([3, 0, 1], "0", 1),
        ([3, 0, 1], 0, 1),
        (["3", "0"], "0", 1),
        ([2.5, 1], "2.5", 0),
        (["a", "b"], "1", 1),
        (["a", "b", "a"], key_of_id("a"), 0),
        (["a", "b", "a"], f"{key_of_id('a')} {record_key(2)}", 2),
        ([1, "1"], key_of_id("1"), 1),
        (["1", None, "x"], "1", 0),
        (["x y", "\ud83d"], "\ud83d", 1),
        (["a", "b"], "c", None),
        (["a", "b"], "", None),
        ([], "a", None),
    ],
)
async def test_one_row_by_its_id(ids: list[Any], wanted: Any, expected: int | None, tmp_path: Path) -> None:
    """Whatever type it has; an id goes before a number. Where there is none, nothing is left in the store."""
    evaluation = making([], [{"id": each, "value": place} for place, each in enumerate(ids)])
    if expected is None:
        with Store(tmp_path / "results.db") as store:
            with pytest.raises(DatasetError, match="it has no row"):
                await run(evaluation, row=wanted, store=store)
            await store.flush()
            assert store.evaluations() == []
    else:
        (record,) = (await run(evaluation, row=wanted)).records
        assert (record.number, record.output) == (expected, expected)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("ids", "meant"), [([1, "1"], [0, 1]), (["1", 3, 1.0, 1], [0, 2, 3]), (["1", "2", "1"], [0, 2])]
)
async def test_one_row_that_may_be_several_is_none(ids: list[Any], meant: list[int]) -> None:
    """Ids that read the same, or are the same; each has a key by which it is told apart."""
    evaluation = making([], [{"id": each, "value": place} for place, each in enumerate(ids)])
    with pytest.raises(DatasetError, match=f"{len(meant)} rows may be meant by '1': ") as caught:
        await run(evaluation, row="1")
    named = re.findall(r"(\d+) \(key '(.*?)'\)", str(caught.value))
    assert [int(number) for number, _ in named] == meant
    for number, key in named:
        (record,) = (await run(evaluation, row=key)).records
        assert record.number == int(number)


@pytest.mark.parametrize(
    ("ids", "typed", "name"),
    [
        (["a", "b", "c"], ["b", "1"], "b"),
        ([10, 11, 12], ["11", "1", 1], "11"),
        ([0.5, 1.5, 2.5], ["1.5", 1], "1.5"),
        ([1, 0, 2], ["1"], "1"),  # an id goes before a number
        ([None, None, None], ["1", 1], "1"),
        (["a", ("b", 1), "c"], ["1", 1], "1"),
        (["a", "a", "c"], ["1", 1], "1"),  # an id that does not say which
    ],
)
@pytest.mark.anyio
async def test_a_row_has_one_name(ids: list[Any], typed: list[Any], name: str, tmp_path: Path) -> None:
    """Its id, where that says which it is, so that it is asked once, whatever it is called."""

    @foreach("n", [{"id": each, "n": n} for n, each in enumerate(ids)])
    async def eval_it(n: int) -> Result:
        return Result(n)

    outcomes = [await run(eval_it, store=tmp_path / "results.db", row=row) for row in typed]
    assert [outcome.answered for outcome in outcomes] == [False, *[True] * (len(typed) - 1)]
    assert {outcome.name for outcome in outcomes} == {f"eval_it (row {name})"}
