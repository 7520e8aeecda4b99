"""Copies an evaluation in a store, with other scores: all of it, or nothing."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .._errors import StoreError
from .._result import Score
from .identity import Identity
from .reading import Snapshot, Stored, find
from .runs import check_idle, note
from .store import Store


class Rescored(NamedTuple):
    """What becomes of a row.

    Args:
        key: What it is known by.
        sample: Which of its samples it is.
        scores: Its scores.
        metadata: Its metadata.
        error: What went wrong, in a line.
        traceback: Where it went wrong.
        altered: What of it is not kept as it was; see `Record`.
    """

    key: str
    sample: int
    scores: Mapping[str, Score] | None
    metadata: Mapping[str, Any] | None
    error: str | None
    traceback: str | None
    altered: Sequence[str]


def check_room(results: Snapshot | Store, experiment: str, found: Sequence[Stored], overwrite: bool) -> None:
    """What is there is not written over, unless that is asked for.

    Raises:
        StoreError: It would be.
    """
    names = {stored.name for stored in found}
    there = [stored.name for stored in results.evaluations(experiment) if stored.name in names]
    if there and not overwrite:
        raise StoreError(
            experiment,
            f"is an experiment that has results of '{there[0]}' already",
            "Name another one (into=, or --as), or have them replaced (overwrite=True, or --overwrite).",
        )


def copy_rescored(
    store: Store,
    evaluation: Stored,
    experiment: str,
    identity: Identity,
    rows: Sequence[Rescored],
    *,
    about: Mapping[str, Any],
    overwrite: bool,
) -> Stored:
    """Copy an evaluation into an experiment, with other scores; blocks.

    All else of its rows stays as it is: outputs, tokens, times, and what other tables have of them.

    Args:
        store: The store.
        evaluation: What is copied.
        experiment: Where to; may be the one where it is.
        identity: What the results depend on.
        rows: What becomes of its rows; those that are not among them are left out.
        about: What is noted of how it came about.
        overwrite: Whether what is there in its place is removed.

    Raises:
        StoreError: There is something in its place, a run is at one of them, or what is copied is gone.
    """
    with store._database.writing() as connection:
        check_room(Snapshot(connection), experiment, [evaluation], overwrite)
        check_idle(connection, experiment, evaluation.name)
        place = experiment, evaluation.name
        changes: dict[str, Any] = {
            "experiment": experiment,
            "identity": json.dumps({**identity}, ensure_ascii=True),
            "started": time.time(),
            "finished": None if evaluation.finished is None else time.time(),
            "run": None,
            "pending": 1,
        }
        whole = [(*changes.values(), evaluation.id)]
        number = _copy(connection, "evaluations", changes, "id = ?", whole, leaving=("id",)).lastrowid
        cells = [
            (
                number, _encoded(row.scores), _encoded(row.metadata), row.error, row.traceback, _encoded(row.altered),
                evaluation.id, *row[:2],
            )
            for row in rows
        ]  # fmt: skip
        changed = ("evaluation", "scores", "metadata", "error", "traceback", "altered")
        if _copy(connection, "rows", changed, "evaluation = ? AND key = ? AND sample = ?", cells).rowcount < len(rows):
            raise StoreError(
                str(store.path), f"has '{evaluation.name}' no more, or not all of it", "Another run has started over."
            )
        for table, columns in _tables_beside_rows(connection):
            known = " AND key IN (SELECT key FROM rows WHERE evaluation = ?)" if "key" in columns else ""
            values = (number, evaluation.id, *([number] if known else []))
            _copy(connection, table, ["evaluation"], f"evaluation = ?{known}", [values], leaving=("id",))
        note(connection, number, about)
        connection.execute("DELETE FROM evaluations WHERE experiment = ? AND name = ? AND NOT pending", place)
        connection.execute("UPDATE evaluations SET pending = 0 WHERE id = ?", (number,))
        stored = find(connection, *place)
    assert stored is not None
    return stored


def _copy(
    connection: sqlite3.Connection,
    table: str,
    changed: Iterable[str],
    where: str,
    values: Sequence[Sequence[Any]],
    *,
    leaving: Collection[str] = (),
) -> sqlite3.Cursor:
    """Copy rows of a table, whatever columns it has, with other values in some of them.

    Args:
        connection: Where.
        table: Which table.
        changed: Columns that get other values.
        where: Which rows.
        values: For each copy these values, in the order of `changed`, and then those of `where`.
        leaving: Columns that are left to the database.
    """
    columns = [name for name in _columns(connection, table) if name not in leaving]
    first = [*changed]
    others = [name for name in columns if name not in first]
    statement = (
        f"INSERT INTO {table} ({', '.join([*first, *others])}) "  # noqa: S608 - names of our own
        f"SELECT {', '.join(['?'] * len(first) + others)} FROM {table} WHERE {where}"
    )
    if len(values) == 1:  # which tells the number of the new row
        return connection.execute(statement, values[0])
    return connection.executemany(statement, values)


def _tables_beside_rows(connection: sqlite3.Connection) -> list[tuple[str, list[str]]]:
    """What else is kept of an evaluation, with its columns."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'rows'").fetchall()
    found = [(name, _columns(connection, name)) for (name,) in tables]
    return [(name, columns) for name, columns in found if "evaluation" in columns]


def _columns(connection: sqlite3.Connection, table: str) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]


def _encoded(value: Mapping[str, Any] | Sequence[str] | None) -> str:
    return json.dumps(value, ensure_ascii=False)
