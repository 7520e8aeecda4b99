"""Writes records as JSON lines, CSV or Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from .reading import Stored
from .record import Record

_COLUMNS = (
    "experiment", "evaluation", "model", "row", "sample", "inputs", "prompt", "output", "scores", "metadata", "error",
    "traceback", "seconds", "requests", "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens",
    "reasoning_tokens", "usage_by_model", "reply", "attempts",
)  # fmt: skip
_NESTED = ("inputs", "prompt", "output", "scores", "metadata", "usage_by_model", "reply")
_WHOLE = (
    "row", "sample", "requests", "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens",
    "reasoning_tokens", "attempts",
)  # fmt: skip
"""What holds whole numbers."""
_CHUNK = 1000


def rows_of(records: Iterable[tuple[Stored, Record]], scores: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """A mapping for each record, with the names of its evaluation.

    Args:
        records: The records.
        scores: The names of the scores that get a column of their own, beside that which has all.
    """
    for stored, record in records:
        values: dict[str, Any] = {
            "experiment": stored.experiment, "evaluation": stored.name, "model": stored.model, "row": record.number,
        }  # fmt: skip
        values |= {name: getattr(record, name) for name in _COLUMNS if name not in values}
        values["usage_by_model"] = [usage._asdict() for usage in record.usage_by_model]
        yield values | {_score(name): (record.scores or {}).get(name) for name in scores}


def write_jsonl(records: Iterable[tuple[Stored, Record]], file: IO[str], scores: Sequence[str]) -> None:
    """An object a line.

    Args:
        records: What to write.
        file: Where to.
        scores: The names of the scores that get a column of their own.
    """
    for row in rows_of(records, scores):
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_csv(records: Iterable[tuple[Stored, Record]], file: IO[str], scores: Sequence[str]) -> None:
    """A line a row; what is nested, as JSON.

    Args:
        records: What to write.
        file: Where to.
        scores: The names of the scores that get a column of their own.
    """
    # What is quoted may hold whatever some reader takes for the end of a row, such as a carriage return.
    writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow([*_COLUMNS, *map(_score, scores)])
    for row in rows_of(records, scores):
        writer.writerow([_cell(name, value) for name, value in row.items()])


def write_parquet(
    records: Iterable[tuple[Stored, Record]], path: Path, scores: Sequence[str], booleans: Collection[str]
) -> None:
    """A Parquet file; what is nested, as JSON.

    Args:
        records: What to write.
        path: Where to.
        scores: The names of the scores that get a column of their own.
        booleans: Those of them that are nothing but `True` and `False`; the others are numbers.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
    """
    pyarrow: Any = import_module("pyarrow")
    parquet: Any = import_module("pyarrow.parquet")
    kinds = {"seconds": "float64", **dict.fromkeys(_WHOLE, "int64")}
    kinds |= {_score(name): "bool_" if name in booleans else "float64" for name in scores}
    columns = [*_COLUMNS, *map(_score, scores)]
    schema = pyarrow.schema([(name, getattr(pyarrow, kinds.get(name, "string"))()) for name in columns])
    with parquet.ParquetWriter(path, schema) as writer:
        chunk: list[dict[str, Any]] = []
        for row in rows_of(records, scores):
            cells = {name: _cell(name, value) for name, value in row.items()}
            chunk.append(
                {name: _as_float(cell) if kinds.get(name) == "float64" else cell for name, cell in cells.items()}
            )
            if len(chunk) == _CHUNK:
                writer.write_table(pyarrow.Table.from_pylist(chunk, schema))
                chunk = []
        writer.write_table(pyarrow.Table.from_pylist(chunk, schema))


def _score(name: str) -> str:
    """The column of a score."""
    return f"score {name}"


def _as_float(cell: Any) -> float | None:
    return None if cell is None else float(cell)


def _cell(name: str, value: Any) -> Any:
    if name not in _NESTED or value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
