"""Rows as the database holds them: from records to cells and back, many in one statement."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias, cast

from .database import transaction
from .record import Record
from .transcript import RecordedRequests
from .usage import ModelUsage

FIELDS = (
    "number, key, sample, digest, inputs, output, prompt, scores, metadata, error, traceback, seconds, input_tokens, "
    "output_tokens, reply, attempts, usage_by_model, altered"
)
"""The columns that a record is made of, for a SELECT."""
_NAMES = tuple(FIELDS.split(", "))
_values_of = attrgetter(*_NAMES)
_encoder = json.JSONEncoder(ensure_ascii=False)
_JSON = ("inputs", "output", "prompt", "scores", "metadata", "reply", "usage_by_model", "altered")
_ARE_JSON = [name in _JSON for name in _NAMES]
_COLUMNS = f"evaluation, {FIELDS}, written"
_PLACES = f"(?, {', '.join('?' * len(_NAMES))}, ?, ?)"
_CELLS = ", ".join(f"column{number}" for number in range(1, len(_NAMES) + 3))
_CLAIM = f"column{len(_NAMES) + 3}"
_IS_CLAIMED = f"EXISTS (SELECT 1 FROM evaluations WHERE id = column1 AND run = {_CLAIM})"  # noqa: S608 - likewise
"""Whoever has written the row is who runs the evaluation."""
_ROWS_AT_ONCE = 64
"""How many rows one statement writes at most: SQLite's cache of statements has one for each number of rows."""

Work: TypeAlias = Callable[[sqlite3.Connection], object]
"""Anything else that is to be written."""


class PendingRow(NamedTuple):
    """A row that is to be written.

    Args:
        evaluation: The number of its evaluation.
        claim: Of the run that it is of; another run has another one.
        record: What is kept of it.
        written: When it was given, in seconds since 1970.
    """

    evaluation: int
    claim: str
    record: Record
    written: float


def write_pending(connection: sqlite3.Connection, items: Sequence[PendingRow | Work], *, lost: set[int]) -> None:
    """Write rows and whatever else, in this order, in one transaction and with few statements: each may have to wait.

    Args:
        connection: Where to.
        items: What.
        lost: Gets the evaluations that are not there any more, or which another run has claimed; their rows are left
            out.
    """
    statements: list[Work] = []
    rows: list[PendingRow] = []
    for item in items:
        if not isinstance(item, PendingRow):
            rows = []
            statements.append(item)
            continue
        if not rows or len(rows) == _ROWS_AT_ONCE:
            rows = []
            statements.append(partial(_insert, rows=rows, lost=lost))
        rows.append(item)
    is_one = len(statements) == len(rows[:1]) == 1 and not any(row.record.transcript for row in rows)
    # One statement is a transaction of its own; work that is no row may be several.
    with nullcontext() if is_one else transaction(connection):
        for statement in statements:
            statement(connection)


def _insert(connection: sqlite3.Connection, rows: Sequence[PendingRow], lost: set[int]) -> None:
    cells = [cell for row in rows for cell in (row.evaluation, *_cells_of(row.record), row.written, row.claim)]
    places = ", ".join([_PLACES] * len(rows))
    statement = f"INSERT OR REPLACE INTO rows ({_COLUMNS}) SELECT {_CELLS} FROM (VALUES {places}) WHERE {_IS_CLAIMED}"  # noqa: S608 - names of our own
    if connection.execute(statement, cells).rowcount < len(rows):
        claimed = {*connection.execute("SELECT id, run FROM evaluations WHERE run IS NOT NULL")}
        lost.update(row.evaluation for row in rows if (row.evaluation, row.claim) not in claimed)
    transcripts = [
        (row.evaluation, row.record.key, row.record.sample, row.record.transcript.text)
        for row in rows
        if isinstance(row.record.transcript, RecordedRequests) and row.record.transcript and row.evaluation not in lost
    ]
    if transcripts:
        connection.executemany("INSERT OR REPLACE INTO transcripts VALUES (?, ?, ?, ?)", transcripts)


def move_rows(connection: sqlite3.Connection, evaluation: int, moved: Sequence[tuple[str, str, int]]) -> None:
    """Give rows other keys and places, one after the other.

    Args:
        connection: Where; it is in a transaction.
        evaluation: The number of their evaluation.
        moved: The key of each, the key that it is to have, and its place in the dataset.
    """
    connection.execute("PRAGMA defer_foreign_keys = ON")  # of this transaction
    connection.executemany(
        "UPDATE rows SET key = ?, number = ? WHERE evaluation = ? AND key = ?",
        [(key, number, evaluation, before) for before, key, number in moved],
    )
    renamed = [(key, evaluation, before) for before, key, _ in moved if key != before]
    connection.executemany("UPDATE transcripts SET key = ? WHERE evaluation = ? AND key = ?", renamed)
    _renumber(connection, evaluation, {key for _, key, _ in moved})  # who reads on after the last has them as they were


def _renumber(connection: sqlite3.Connection, evaluation: int, keys: Iterable[str]) -> None:
    """Give rows the next numbers, as if they were written now."""
    (last,) = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'rows'").fetchone()
    select = "SELECT id FROM rows WHERE evaluation = ? AND key IN (SELECT value FROM json_each(?)) ORDER BY id"
    numbers = connection.execute(select, (evaluation, json.dumps([*keys]))).fetchall()
    renumbered = [(new, number) for new, (number,) in enumerate(numbers, last + 1)]
    connection.executemany("UPDATE rows SET id = ? WHERE id = ?", renumbered)
    connection.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'rows'", (last + len(numbers),))


def _cells_of(record: Record) -> list[Any]:
    return [_encoded(value) if is_json else value for is_json, value in zip(_ARE_JSON, _values_of(record), strict=True)]


def cells_named(names: Sequence[str], record: Record) -> list[Any]:
    """Some of the columns of a record, as the database holds them."""
    cells: dict[str, Any] = dict(zip(_NAMES, _cells_of(record), strict=True))
    return [cells[name] for name in names]


def _encoded(value: object) -> str:
    if value is None:
        return "null"
    if value == ():
        return "[]"
    return _encoder.encode(value) if value or not isinstance(value, dict) else "{}"


def record_of(row: Sequence[Any]) -> Record:
    """The record whose columns, those of `FIELDS`, are these."""
    cells: dict[str, Any] = {
        name: cast("object", json.loads(value)) if name in _JSON and value is not None else value
        for name, value in zip(_NAMES, row, strict=True)
    }
    cells["usage_by_model"] = tuple(ModelUsage(*usage) for usage in cells["usage_by_model"])
    cells["altered"] = tuple(cells["altered"])
    return Record(**cells)
