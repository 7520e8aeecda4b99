"""What `foreach` makes of a function, and what it makes of datasets."""

from __future__ import annotations

import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest
from anyio import current_time, sleep
from anyio.lowlevel import checkpoint
from tests.virtual_time import virtual_time

import doteval
from doteval import Completion, Result, foreach
from doteval.evals import DatasetError, Evaluation, run

pytestmark = pytest.mark.anyio

PAIRS = [("2+2", "4"), ("3+3", "6")]


def echoing(columns: str, dataset: Any) -> Evaluation:
    @foreach(columns, dataset)
    async def eval_it(**values: Any) -> Result:
        return Result(values)

    return eval_it


async def outputs(evaluation: Evaluation, **arguments: Any) -> list[Any]:
    outcome = await run(evaluation, **arguments)
    return [record.output for record in outcome.records]


async def _async_rows() -> AsyncIterator[tuple[str, str]]:
    for pair in PAIRS:
        await checkpoint()
        yield pair


async def _awaited_rows() -> list[tuple[str, str]]:
    await checkpoint()
    return PAIRS


def _generated() -> Iterator[tuple[str, str]]:
    yield from PAIRS


@pytest.mark.parametrize(
    "dataset",
    [
        PAIRS,
        tuple(PAIRS),
        [list(pair) for pair in PAIRS],
        [{"question": question, "answer": answer, "source": "school"} for question, answer in PAIRS],
        dict(PAIRS).items(),
        _generated,
        partial(iter, PAIRS),
        _async_rows,
        partial(_async_rows),
        _awaited_rows,
    ],
    ids=["list", "tuple", "lists", "mappings", "view", "generator function", "partial", "async generator function",
         "partial of an async generator function", "async function"],
)  # fmt: skip
async def test_datasets_of_every_kind(dataset: Any) -> None:
    """The rows of each, in their order, as often as they are asked for."""
    evaluation = echoing("question, answer", dataset)
    expected = [{"question": question, "answer": answer} for question, answer in PAIRS]
    assert await outputs(evaluation) == expected
    assert await outputs(evaluation) == expected


@pytest.mark.parametrize("make", [_generated, _async_rows])
async def test_an_iterator_is_read_once_and_says_so(make: Any) -> None:
    """A second run would find nothing; that is an error which says what to do, not an empty result."""
    evaluation = echoing("question,answer", make())
    assert len(await outputs(evaluation)) == 2
    with pytest.raises(DatasetError, match=r"it is an iterator, and was read before\.\n.*generator function itself"):
        await run(evaluation)


async def test_a_single_column_takes_values_as_they_are() -> None:
    """Scalars, texts and lists are the value; a tuple of one and a mapping are rows."""
    rows = ["a", 1, None, ["x", "y"], ("b",), {"value": "c", "other": 1}]
    evaluation = echoing("value", rows)
    assert [output["value"] for output in await outputs(evaluation)] == ["a", 1, None, ["x", "y"], "b", "c"]


@pytest.mark.parametrize(
    ("columns", "row", "problem"),
    [
        ("a,b", (1, 2, 3), "row 1 has 3 values for 2 columns"),
        ("a,b", "xy", "row 1 is a single str for 2 columns"),
        ("a,b", {"a": 1, "c": 2}, "row 1 has no 'b'; it has 'a', 'c'"),
        ("a", (1, 2), "row 1 has 2 values for 1 columns"),
    ],
)
async def test_a_row_that_does_not_fit_is_named(columns: str, row: Any, problem: str) -> None:
    """The rows before it are run; then the error says which row it is, and what the columns are."""
    good = (1, 2) if "," in columns else 1
    seen: list[int] = []
    with pytest.raises(DatasetError, match=problem) as caught:
        await run(echoing(columns, [good, row, good]), on_record=lambda record: seen.append(record.number))
    assert caught.value.row == 1
    assert seen == [0]


async def test_a_dataset_that_raises_raises_through_the_run() -> None:
    """After the rows before it are done."""

    def rows() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    seen: list[int] = []
    with pytest.raises(OSError, match="the disk is gone"):
        await run(echoing("value", rows), on_record=lambda record: seen.append(record.number))
    assert seen == [0]


async def test_a_dataset_is_read_lazily() -> None:
    """Of an endless dataset, no more is read than is needed for the rows in flight and a few ahead."""
    read = 0

    def endless() -> Iterator[int]:
        nonlocal read
        while True:
            read += 1
            yield read

    @foreach("value", endless, concurrency=2)
    async def eval_it(value: int) -> Result:
        if value == 1000:
            raise KeyboardInterrupt
        return Result(value)

    with pytest.raises(KeyboardInterrupt):
        await run(eval_it)
    assert 1000 <= read < 1500


async def test_a_blocking_dataset_is_read_off_the_event_loop() -> None:
    """What may wait for a disk or a download hinders no row in flight."""
    threads: list[threading.Thread] = []

    def rows() -> Iterator[int]:
        threads.append(threading.current_thread())
        yield 1

    await run(echoing("value", rows))
    assert threads[0] is not threading.current_thread()


def test_what_is_no_dataset_is_refused_where_it_is_written() -> None:
    """A text, a mapping, a number: said at once, not when it is run."""
    for wrong in ("abc", {"a": 1}, 5):
        with pytest.raises(TypeError, match="the dataset of 'eval_it' is an iterable of rows"):
            echoing("a", wrong)


def test_columns_are_checked_where_they_are_written() -> None:
    """A column that is no argument, none at all, one twice."""
    with pytest.raises(TypeError, match=r"eval_it\(\) has no argument 'answr', which is a column"):

        @foreach("question,answr", PAIRS)
        def eval_it(question: str, answer: str) -> Result: ...

    for wrong in ("", "a,", "a,a", "not a name"):
        with pytest.raises(ValueError, match="column"):
            foreach(wrong, PAIRS)
    with pytest.raises(ValueError, match="at least 1"):
        foreach("a", PAIRS, concurrency=0)


async def test_it_is_still_the_function() -> None:
    """Called, it evaluates one row; its name, its documentation and the rest of its arguments are there."""

    @foreach("question,answer", PAIRS)
    async def eval_it(question: str, answer: str, model_client: Any = None) -> Result:
        """It."""
        return Result(question + answer)

    assert (await eval_it("a", answer="b")).output == "ab"
    assert (eval_it.__name__, eval_it.__doc__) == ("eval_it", "It.")
    assert list(inspect.signature(eval_it).parameters) == ["model_client"]
    assert repr(eval_it) == "<Evaluation eval_it for each question, answer>"


async def test_a_method_gets_its_instance() -> None:
    """In a class, the evaluation is bound as a function would be."""

    class Suite:
        sign = "!"

        @foreach("text", ["a", "b"])
        async def eval_it(self, text: str) -> Result:
            return Result(text + self.sign)

    assert await outputs(Suite().eval_it) == ["a!", "b!"]


async def test_a_plain_function_runs_in_threads() -> None:
    """As many as run at once, and none of them the event loop's."""
    together = threading.Barrier(4)

    @foreach("value", range(8), concurrency=4)
    def eval_it(value: int) -> Result:
        together.wait(30)
        return Result(threading.current_thread() is not main)

    main = threading.current_thread()
    assert await outputs(eval_it) == [True] * 8


async def test_a_plain_function_may_return_what_an_async_model_gives_it() -> None:
    """An awaitable output is awaited, in the event loop."""

    async def generate(text: str) -> Completion:
        await checkpoint()
        return Completion(text.upper(), usage=doteval.Usage(3, 4))

    @foreach("text", ["a", "b"])
    def eval_it(text: str) -> Result:
        return Result(generate(text), prompt=text)

    outcome = await run(eval_it)
    assert [record.output for record in outcome.records] == ["A", "B"]
    assert (outcome.summary.input_tokens, outcome.summary.output_tokens) == (6, 8)


def test_scores_are_booleans_and_finite_numbers_by_name() -> None:
    """Whatever else is given is refused where the result is made."""
    assert Result("x", scores={"a": True, "b": 0.5, "c": 3}).scores["b"] == 0.5
    wrong: Any
    for wrong in ({"a": "yes"}, {"a": None}, {1: True}):
        with pytest.raises(TypeError, match="scores are booleans and numbers by name"):
            Result("x", scores=wrong)
    with pytest.raises(ValueError, match="'a' is nan"):
        Result("x", scores={"a": float("nan")})


@virtual_time
async def test_results_have_the_order_of_the_dataset() -> None:
    """However long each row takes; and many run at once."""

    @foreach("wait", [3, 1, 2, 0], concurrency=4)
    async def eval_it(wait: float) -> Result:
        await sleep(wait)
        return Result(wait)

    start = current_time()
    assert await outputs(eval_it) == [3, 1, 2, 0]
    assert current_time() - start == pytest.approx(3, abs=0.1)
