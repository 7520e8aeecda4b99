"""Writes records as JSON lines, CSV or Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
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


def rows_of(records: Iterable[tuple[Stored, Record]]) -> Iterator[dict[str, Any]]:
    """A mapping for each record, with the names of its evaluation."""
    for stored, record in records:
        values: dict[str, Any] = {
            "experiment": stored.experiment, "evaluation": stored.name, "model": stored.model, "row": record.number,
        }  # fmt: skip
        values |= {name: getattr(record, name) for name in _COLUMNS if name not in values}
        yield values | {"usage_by_model": [usage._asdict() for usage in record.usage_by_model]}


def write_jsonl(records: Iterable[tuple[Stored, Record]], file: IO[str]) -> None:
    """An object a line."""
    for row in rows_of(records):
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_csv(records: Iterable[tuple[Stored, Record]], file: IO[str], scores: Sequence[str]) -> None:
    """A line a row; what is nested, as JSON.

    Args:
        records: What to write.
        file: Where to.
        scores: The names of the scores that get a column of their own.
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*_COLUMNS, *(f"score {name}" for name in scores)])
    for row in rows_of(records):
        given: dict[str, Any] = row["scores"] or {}
        writer.writerow([*(_cell(name, row[name]) for name in _COLUMNS), *(given.get(name, "") for name in scores)])


def write_parquet(records: Iterable[tuple[Stored, Record]], path: Path) -> None:
    """A Parquet file; what is nested, as JSON.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
    """
    pyarrow: Any = import_module("pyarrow")
    parquet: Any = import_module("pyarrow.parquet")
    kinds = {"seconds": "float64", **dict.fromkeys(_WHOLE, "int64")}
    schema = pyarrow.schema([(name, getattr(pyarrow, kinds.get(name, "string"))()) for name in _COLUMNS])
    with parquet.ParquetWriter(path, schema) as writer:
        chunk: list[dict[str, Any]] = []
        for row in rows_of(records):
            chunk.append({name: _cell(name, row[name]) for name in _COLUMNS})
            if len(chunk) == _CHUNK:
                writer.write_table(pyarrow.Table.from_pylist(chunk, schema))
                chunk = []
        writer.write_table(pyarrow.Table.from_pylist(chunk, schema))


def _cell(name: str, value: Any) -> Any:
    if name not in _NESTED or value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
