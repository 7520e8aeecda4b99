"""Removes and renames what is in a store: all that is asked for, or nothing of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import NamedTuple

from .._errors import StoreError
from .names import checked_name
from .plain import storable
from .reading import Results, Snapshot, Stored
from .runs import check_idle
from .store import Store

_PATIENCE = 2_000
"""How long to wait for others before the file stays as large as it is, in milliseconds."""


class Removed(NamedTuple):
    """What was removed.

    Args:
        freed: By how many bytes the file is smaller.
        is_compact: Whether no room is left in it.
    """

    freed: int
    is_compact: bool


def last_written(results: Results, evaluation: Stored) -> float:
    """When an evaluation was last begun, written to or finished, in seconds since 1970."""
    times = [evaluation.started, evaluation.finished or 0.0, *(run.started for run in results.runs(evaluation))]
    with results._connected() as connection:
        if connection is not None:
            row = connection.execute("SELECT max(written) FROM rows WHERE evaluation = ?", (evaluation.id,)).fetchone()
            times.append(row[0] or 0.0)
    return max(times)


def remove(store: Store, evaluations: Sequence[Stored], still: Callable[[Snapshot], Sequence[Stored]]) -> Removed:
    """Remove evaluations, and make the file smaller; blocks.

    Args:
        store: The store.
        evaluations: Which ones.
        still: Which ones may be removed, of what is there when it is done.

    Raises:
        ConcurrentRunError: A run is at one of them; then all are there.
        StoreError: The file cannot be written, or one of them may not be removed any more; then all are there, too.
    """
    before = _size(store)
    with store._database.writing() as connection:
        may_go = {stored.id for stored in still(Snapshot(connection))}
        for stored in evaluations:
            if stored.id not in may_go:
                raise StoreError(
                    stored.experiment,
                    f"is not what it was when it was chosen: '{stored.name}' was written to or removed since",
                    "Nothing was deleted. Look again what there is.",
                )
        for stored in evaluations:
            check_idle(connection, store._database.path, stored.experiment, stored.name)
            names = stored.experiment, stored.name
            connection.execute("DELETE FROM evaluations WHERE id = ?", (stored.id,))
            connection.execute("DELETE FROM evaluations WHERE experiment = ? AND name = ? AND pending", names)
    is_compact = _compact(store)
    return Removed(max(0, before - _size(store)), is_compact)


def rename(store: Store, before: str, after: str) -> list[Stored]:
    """Give an experiment another name; blocks.

    Args:
        store: The store.
        before: Its name.
        after: The new one.

    Returns:
        Its evaluations.

    Raises:
        ValueError: The new name is none.
        ConcurrentRunError: A run is at one of them.
        StoreError: There is an experiment of that name, or the file cannot be written.
    """
    before, after = storable(before), storable(checked_name(after))
    with store._database.writing() as connection:
        if connection.execute("SELECT 1 FROM evaluations WHERE experiment = ?", (after,)).fetchone():
            raise StoreError(
                str(store.path), f"has an experiment {after!r} already", "Name another one, or delete that one first."
            )
        for (name,) in connection.execute("SELECT name FROM evaluations WHERE experiment = ?", (before,)).fetchall():
            check_idle(connection, store._database.path, before, name)
        connection.execute("UPDATE evaluations SET experiment = ? WHERE experiment = ?", (after, before))
    return store.evaluations(after)


def _compact(store: Store) -> bool:
    """Give room back to the file system; whether that could be, as nobody else was at it."""
    try:
        with closing(store._database.connect()) as connection:
            connection.execute(f"PRAGMA busy_timeout = {_PATIENCE}")
            connection.execute("VACUUM")
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error:  # somebody writes, or the disk has no room for a copy
        return False
    return not busy


def _size(store: Store) -> int:
    files = (store.path, store.path.with_name(f"{store.path.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())
