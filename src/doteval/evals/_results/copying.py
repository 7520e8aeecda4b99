"""Copies evaluations in a store, as they are or with other scores: all of them, or nothing."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from .._errors import ConcurrentRunError, StoreError
from .gone import add_unknown, add_usage, usage_gone, usage_in
from .identity import Identity
from .plain import storable
from .reading import IS_ASIDE, Snapshot, Stored, find
from .record import Record
from .rows import cells_named
from .runs import check_idle, note, noted
from .store import Store
from .usage import ModelUsage, UsageSums

SCORER = "scorer"
"""The role of models that were asked for scores of outputs that were there."""
_CHANGED = "scores", "metadata", "altered", "error", "traceback", "input_tokens", "output_tokens", "usage_by_model"


class Rescored(NamedTuple):
    """What becomes of a row.

    Args:
        id: The number that it had when it was read; one that was written again since has another.
        record: The row, with other scores.
    """

    id: int
    record: Record


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


class Rescoring(NamedTuple):
    """What becomes of an evaluation.

    Args:
        evaluation: What it was when it was read.
        identity: What the results depend on now.
        rows: What becomes of its rows; those that are not among them are left out.
    """

    evaluation: Stored
    identity: Identity
    rows: Sequence[Rescored]


def copy_rescored(
    store: Store, made: Sequence[Rescoring], experiment: str, *, about: Mapping[str, Any], overwrite: bool
) -> list[Stored]:
    """Copy evaluations into an experiment, with other scores, all of them or none; blocks.

    All else of their rows stays as it is: outputs, times, and what other tables have of them.

    Args:
        store: The store.
        made: What becomes of each.
        experiment: Where to; may be the one where they are.
        about: What is noted of how it came about.
        overwrite: Whether what is there in their place is removed.

    Raises:
        StoreError: There is something in their place, or what was scored was written again since, or is gone.
        ConcurrentRunError: A run is at what is there in their place.
    """
    experiment = storable(experiment)
    with store._database.writing() as connection:
        check_room(Snapshot(connection), experiment, [each.evaluation for each in made], overwrite)
        for each in made:
            check_idle(connection, store.path, experiment, each.evaluation.name)
            _check_unchanged(connection, store, each)
        return [_copied(connection, store, each, experiment, about) for each in made]


def copy_whole(connection: sqlite3.Connection, evaluation: Stored, experiment: str) -> None:
    """Copy an evaluation into an experiment that has none of its name, with all that there is of it.

    Args:
        connection: Writes to the store.
        evaluation: Which one.
        experiment: Where to.
    """
    changes = {"experiment": experiment, "run": None}
    values = [(*changes.values(), evaluation.id)]
    number = _copy(connection, "evaluations", changes, "id = ?", values, leaving=("id",)).lastrowid
    assert number is not None
    tables = [("rows", _columns(connection, "rows")), *_tables_beside_rows(connection)]
    for table, _ in tables:
        _copy(connection, table, ["evaluation"], "evaluation = ?", [(number, evaluation.id)], leaving=("id",))
    add_unknown(connection, number, "experiment = ? AND name = ?", evaluation.experiment, evaluation.name)


def _check_unchanged(connection: sqlite3.Connection, store: Store, made: Rescoring) -> None:
    """The rows are those that were scored.

    Raises:
        StoreError: Some were written again since, or are gone: the scores would be those of other outputs.
    """
    evaluation = made.evaluation
    there = {number for (number,) in connection.execute("SELECT id FROM rows WHERE evaluation = ?", (evaluation.id,))}
    changed = sum(row.id not in there for row in made.rows)
    if changed or not connection.execute("SELECT 1 FROM evaluations WHERE id = ?", (evaluation.id,)).fetchone():
        raise StoreError(
            store._database.shown,
            f"has other results of '{evaluation.name}' than those that were scored: {changed:,} of "
            f"{len(made.rows):,} rows were run again meanwhile, moved or removed",
            "Nothing was written. Rescore again when no run is at it.",
        )


def _copied(
    connection: sqlite3.Connection, store: Store, made: Rescoring, experiment: str, about: Mapping[str, Any]
) -> Stored:
    evaluation = made.evaluation
    place = experiment, evaluation.name
    changes: dict[str, Any] = {
        "experiment": experiment,
        "identity": json.dumps({**made.identity}, ensure_ascii=True),
        "started": time.time(),
        "finished": None if evaluation.finished is None else time.time(),
        "rows": evaluation.rows,
        "epochs": evaluation.epochs,
        "run": None,
        "pending": 1,
    }
    whole = [(*changes.values(), evaluation.id)]
    number = _copy(connection, "evaluations", changes, "id = ?", whole, leaving=("id",)).lastrowid
    assert number is not None
    cells = [(number, *cells_named(_CHANGED, row.record), row.id) for row in made.rows]
    _copy(connection, "rows", ("evaluation", *_CHANGED), "id = ?", cells, leaving=("id",))
    before = find(connection, *place)
    is_in_place = before is not None and before.id == evaluation.id
    if is_in_place:  # nobody could read there what waits aside any more
        whose = f"evaluation = ? AND {IS_ASIDE}"
        _copy(connection, "rows", ["evaluation"], whose, [(number, evaluation.id)], leaving=("id",))
    for table, columns in _tables_beside_rows(connection):
        known = ""
        if {"key", "sample"} <= {*columns}:  # what a row has that is not among them is left out, too
            known = " AND (key, sample) IN (SELECT key, sample FROM rows WHERE evaluation = ?)"
        values = (number, evaluation.id, *([number] if known else []))
        _copy(connection, table, ["evaluation"], f"evaluation = ?{known}", [values], leaving=("id",))
    with suppress(ConcurrentRunError):  # what a run costs that goes on is known when it ends
        check_idle(connection, store.path, evaluation.experiment, evaluation.name)
        others = " AND NOT pending" if is_in_place else ""  # one that is pending stays there
        names = evaluation.experiment, evaluation.name
        add_unknown(connection, number, f"experiment = ? AND name = ?{others}", *names)
    if before is not None:
        if not is_in_place:
            _keep_what_scores_cost(connection, number, before.id, evaluation.id)
        connection.execute("DELETE FROM evaluations WHERE id = ?", (before.id,))
    note(connection, number, about)
    connection.execute("UPDATE evaluations SET pending = 0 WHERE id = ?", (number,))
    stored = find(connection, *place)
    assert stored is not None
    return stored


def _keep_what_scores_cost(connection: sqlite3.Connection, evaluation: int, before: int, source: int) -> None:
    """Results are going to be replaced: all but their scores was paid where these were copied from.

    So was what scores had cost there, which is in the new copy as well. It is known where nothing has been done there
    since.

    Args:
        connection: Where.
        evaluation: The new copy.
        before: What it replaces.
        source: What it was copied from.
    """
    sums = UsageSums()
    sums.add(_cost_of_scores(connection, before))
    if noted(connection, before)[:-1] == noted(connection, source):
        in_both = _cost_of_scores(connection, source)
        sums.add(ModelUsage(model, role, *(-count for count in counts)) for model, role, *counts in in_both)
    found = [usage for usage in sums.by_model() if any(usage[2:])]
    if found:
        add_usage(connection, evaluation, found)


def _cost_of_scores(connection: sqlite3.Connection, evaluation: int) -> list[ModelUsage]:
    usages = usage_in(connection, "rows", "evaluation = ?", evaluation) + usage_gone(connection, evaluation)
    return [usage for usage in usages if usage.role == SCORER]


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
