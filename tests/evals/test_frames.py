"""Tables and arrays as datasets: their rows are the rows, whatever iterating over them gives."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from doteval import Result, foreach
from doteval.evals import DatasetError, Evaluation, Store, run

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """It is about values."""
    return "asyncio"


QUESTIONS, ANSWERS = ["2+2", "3+3", "4+4"], [4, 6, 8]
COLUMNS = {"question": QUESTIONS, "answer": ANSWERS}


class Frame:
    """A DataFrame like those of pandas: iterating gives the names of its columns."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self.columns = list(columns)
        self._values = list(columns.values())

    def __len__(self) -> int:
        return len(self._values[0])

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def itertuples(self, index: bool = True, name: str | None = "Pandas") -> Iterator[tuple[Any, ...]]:
        assert (index, name) == (False, None)
        return zip(*self._values, strict=True)


class PolarFrame:
    """A DataFrame like those of polars: iterating gives its columns."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self.columns = list(columns)
        self._columns = columns

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def __iter__(self) -> Iterator[list[Any]]:
        return iter(self._columns.values())

    def iter_rows(self, *, named: bool = False) -> Iterator[Any]:
        assert named
        for values in zip(*self._columns.values(), strict=True):
            yield dict(zip(self._columns, values, strict=True))


class Scalar:
    """One number of an array like those of numpy: no number of Python."""

    ndim = 0

    def __init__(self, value: Any) -> None:
        self._value = value

    def tolist(self) -> Any:
        return self._value


class Array:
    """An array like those of numpy: iterating gives its scalars, or its rows."""

    def __init__(self, values: list[Any], names: tuple[str, ...] | None = None) -> None:
        self._values = values
        self.dtype = SimpleNamespace(names=names)
        self.ndim = 2 if isinstance(values[0], list) else 1

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[Any]:
        return (Array(value) if isinstance(value, list) else Scalar(value) for value in self._values)

    def tolist(self) -> list[Any]:
        return self._values


def library(name: str) -> Any:
    """What is not installed with the tests is tried where it is."""
    return pytest.importorskip(name, reason=f"{name} is not installed; stand-ins of its types are tested")


def records(numpy: Any) -> Any:
    return numpy.array(list(zip(QUESTIONS, ANSWERS, strict=True)), dtype=[("question", "U9"), ("answer", "i4")])


TABLES: dict[str, Any] = {
    "like pandas": lambda: Frame(COLUMNS),
    "like polars": lambda: PolarFrame(COLUMNS),
    "like numpy, with fields": lambda: Array([*zip(QUESTIONS, ANSWERS, strict=True)], ("question", "answer")),
    "like numpy, of two dimensions": lambda: Array([list(pair) for pair in zip(QUESTIONS, ANSWERS, strict=True)]),
    "pyarrow": lambda: library("pyarrow").table(COLUMNS),
    "pyarrow, in parts": lambda: library("pyarrow").concat_tables([library("pyarrow").table(COLUMNS).slice(0, 1),
                                                                  library("pyarrow").table(COLUMNS).slice(1)]),
    "pyarrow, a batch": lambda: library("pyarrow").table(COLUMNS).to_batches()[0],
    "pandas": lambda: library("pandas").DataFrame(COLUMNS),
    "pandas, by question": lambda: library("pandas").DataFrame(COLUMNS, index=[7, 7, 7]),
    "polars": lambda: library("polars").DataFrame(COLUMNS),
    "numpy, with fields": lambda: records(library("numpy")),
}  # fmt: skip
SERIES: dict[str, Any] = {
    "like numpy": lambda: Array(ANSWERS),
    "pyarrow": lambda: library("pyarrow").array(ANSWERS),
    "pyarrow, in parts": lambda: library("pyarrow").table(COLUMNS)["answer"],
    "pandas": lambda: library("pandas").Series(ANSWERS),
    "polars": lambda: library("polars").Series(ANSWERS),
    "numpy": lambda: library("numpy").array(ANSWERS),
}


def echoing(columns: str, dataset: Any) -> Evaluation:
    @foreach(columns, dataset)
    async def eval_it(**values: Any) -> Result:
        assert all(type(value) in (str, int) for value in values.values())
        return Result(values)

    return eval_it


async def outputs(evaluation: Evaluation, directory: Path) -> list[Any]:
    """Of a second run, which compares the rows with those in the store, and answers from it."""
    with Store(directory / "results.db") as store:
        outcome = await run(evaluation, store=store, max_errors=0)
        again = await run(evaluation, store=store, max_errors=0)
        assert (outcome.answered, again.answered) == (False, True)
        assert outcome.summary.rows == len(ANSWERS)
        return [record.output for record in again.records]


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("is_function", [False, True])
async def test_the_rows_of_a_table_are_the_rows(make: Any, is_function: bool, tmp_path: Path) -> None:
    """Also of one that a function makes; the values are Python's own."""
    table = make()
    evaluation = echoing("question,answer", (lambda: table) if is_function else table)
    expected = [{"question": question, "answer": answer} for question, answer in zip(QUESTIONS, ANSWERS, strict=True)]
    assert await outputs(evaluation, tmp_path) == expected
    assert evaluation.source.size == (None if is_function else len(ANSWERS))


@pytest.mark.parametrize("make", [make for name, make in TABLES.items() if "two dimensions" not in name])
@pytest.mark.parametrize("is_alone", [False, True])
async def test_a_single_column_is_taken_by_its_name(make: Any, is_alone: bool, tmp_path: Path) -> None:
    """Whether the table has others or not; iterating over it would give names."""
    table = Frame({"answer": ANSWERS}) if is_alone else make()
    assert await outputs(echoing("answer", table), tmp_path) == [{"answer": answer} for answer in ANSWERS]
    with pytest.raises(DatasetError, match="row 0 has no 'prompt'; it has "):
        await run(echoing("prompt", table))


@pytest.mark.parametrize("make", SERIES.values(), ids=SERIES)
async def test_a_series_is_its_values(make: Any, tmp_path: Path) -> None:
    """As Python has them, and not the library."""
    assert await outputs(echoing("value", make()), tmp_path) == [{"value": answer} for answer in ANSWERS]


async def test_two_columns_of_one_name_are_an_error() -> None:
    """One of them would be lost."""
    frame = Frame({"question": QUESTIONS, "answer": ANSWERS})
    frame.columns = ["question", "question"]
    with pytest.raises(ValueError, match="several columns called 'question'"):
        await run(echoing("question", frame))


def test_no_library_of_tables_is_imported() -> None:
    """They are known by what they can do."""
    assert import_module("doteval.evals._running.frames")
    assert not {"pandas", "polars", "numpy", "pyarrow"} & vars(sys.modules["doteval.evals._running.frames"]).keys()
