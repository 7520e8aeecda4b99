"""Removes, renames and copies what is in a store: all that is asked for, or nothing of it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from ..._database_files import log_of
from .._errors import StoreError
from .copying import copy_whole
from .names import checked_name, meant, parted
from .plain import storable
from .reading import Results, Snapshot, Stored
from .runs import check_idle
from .store import DEFAULT_PATH, Store

_PATIENCE = 2_000
"""How long to wait for others before the file stays as large as it is, in milliseconds."""


def delete(
    *names: str, store: Store | Path | str = DEFAULT_PATH, older_than: timedelta | float | None = None
) -> list[Stored]:
    """Delete results: experiments by their names, those in which nothing was written for long, or both; blocks.

    For example::

        doteval.evals.delete("try-1", "try-2", store="results.db")
        doteval.evals.delete(older_than=timedelta(days=30))

    Args:
        names: Experiments, or ``EXPERIMENT@PART`` for the evaluations of one that have that in their names.
        store: The store, or its file.
        older_than: Only experiments in which nothing was written for so long; a number is one of seconds.

    Returns:
        What was deleted.

    Raises:
        ValueError: There is no such experiment, nothing is named and no age is given, or the age is none.
        ConcurrentRunError: A run is at one of the evaluations. Then nothing was deleted.
        StoreError: The file cannot be read or written, or one of the evaluations was written to meanwhile; likewise.
    """
    if not names and older_than is None:
        raise ValueError("name what to delete, or say older_than=timedelta(days=30)")
    opened = store if isinstance(store, Store) else Store(store)
    age = older_than.total_seconds() if isinstance(older_than, timedelta) else older_than
    if age is not None and not age >= 0:
        raise ValueError(f"older_than is a time of at least 0, not {older_than!r}")
    with opened.snapshot() as results:
        found = old_enough(results, names, age)
    if found:
        remove(opened, found, lambda now: old_enough(now, names, age))
    return found


def rename(before: str, after: str, *, store: Store | Path | str = DEFAULT_PATH) -> list[Stored]:
    """Give an experiment another name; blocks.

    Args:
        before: Its name.
        after: The new one.
        store: The store, or its file.

    Returns:
        Its evaluations.

    Raises:
        ValueError: There is no such experiment, or the new name is none.
        ConcurrentRunError: A run is at one of its evaluations.
        StoreError: There is an experiment of that name, or the file cannot be written.
    """
    opened = store if isinstance(store, Store) else Store(store)
    before, after = storable(before), storable(checked_name(after))
    with opened.snapshot() as results:
        _check_is_there(results, before)
    with opened._database.writing() as connection:
        if connection.execute("SELECT 1 FROM evaluations WHERE experiment = ?", (after,)).fetchone():
            raise StoreError(
                opened._database.shown,
                f"has an experiment {after!r} already",
                "Name another one, or delete that one first.",
            )
        for (name,) in connection.execute("SELECT name FROM evaluations WHERE experiment = ?", (before,)).fetchall():
            check_idle(connection, opened.path, before, name)
        connection.execute("UPDATE evaluations SET experiment = ? WHERE experiment = ?", (after, before))
    return opened.evaluations(after)


def copy(before: str, after: str, *, store: Store | Path | str = DEFAULT_PATH, replace: bool = False) -> list[Stored]:
    """Keep the results of an experiment under another name as well, all of them or none; blocks.

    What stands under that name goes in the same moment as the copy is there, also where the process is killed.

    Args:
        before: Its name.
        after: The other one.
        store: The store, or its file.
        replace: Whether an experiment of that name is replaced.

    Returns:
        The evaluations of the copy.

    Raises:
        ValueError: There is no such experiment, or the other name is none, or the same.
        ConcurrentRunError: A run is at one of the evaluations of either.
        StoreError: There is an experiment of that name, and it is not to be replaced, or only by results that are
            whole; or the file cannot be written.
    """
    opened = store if isinstance(store, Store) else Store(store)
    before, after = storable(before), storable(checked_name(after))
    if before == after:
        raise ValueError(f"an experiment is no copy of itself: give {before!r} another name")
    with opened.snapshot() as results:  # a file that is not there is not made
        _check_is_there(results, before)
    with opened._database.writing() as connection:
        results = Snapshot(connection)
        found = _check_is_there(results, before)
        there = results.evaluations(after)
        if not replace and there:
            advice = "Name another one, or replace it: replace=True."
            raise StoreError(str(opened.path), f"has an experiment {after!r} already", advice)
        lacking = [why for each in found if (why := _what_is_lacking(results, each))] if there else []
        if lacking:
            problem = (
                f"has results of {before!r} that are not whole, and {after!r} is not replaced by these: {lacking[0]}"
            )
            raise StoreError(str(opened.path), problem, f"Run {before!r} to its end first.")
        select = "SELECT experiment, name FROM evaluations WHERE experiment IN (?, ?)"
        for experiment, name in connection.execute(select, (before, after)).fetchall():
            check_idle(connection, opened._database.path, experiment, name)
        connection.execute("DELETE FROM evaluations WHERE experiment = ?", (after,))
        for each in found:
            copy_whole(connection, each, after)
    return opened.evaluations(after)


def _what_is_lacking(results: Results, evaluation: Stored) -> str:
    """Why an evaluation is not whole, where it is not: the next run goes on with it, or tries rows again."""
    if evaluation.finished is None:
        return evaluation.name
    runs = results.runs(evaluation)
    allowed = runs[-1].about.get("settings", {}).get("max_errors") if runs else None
    if not isinstance(allowed, int) or evaluation.errors <= allowed:
        return ""
    rows = "row" if evaluation.errors == 1 else "rows"
    return f"{evaluation.errors:,} {rows} of {evaluation.name} failed, and {allowed:,} may"


def _check_is_there(results: Results, experiment: str) -> list[Stored]:
    found = results.evaluations(experiment)
    if not found:
        raise ValueError(f"there is no experiment {experiment!r}; there are: {_names_in(results)}")
    return found


def chosen(results: Results, name: str) -> list[Stored]:
    """The evaluations of ``EXPERIMENT``, or of ``EXPERIMENT@PART``, those that this means.

    Raises:
        ValueError: There are none.
    """
    name = storable(name)
    experiment, part = parted(name)
    if part == "":
        raise ValueError(f"{name!r} has nothing behind its @, as where a variable of a script is not set")
    there = results.evaluations(experiment)
    if not there:
        raise ValueError(f"there is no experiment {experiment!r}; there are: {_names_in(results)}")
    if part is None:
        return there
    found = meant(there, part)
    if not found:
        names = ", ".join(stored.name for stored in there)
        raise ValueError(f"no evaluation of {experiment!r} has {part!r} in its name; there are: {names}")
    return found


def _names_in(results: Results) -> str:
    return ", ".join(dict.fromkeys(stored.experiment for stored in results.evaluations())) or "none"


def old_enough(results: Results, names: Sequence[str], age: float | None) -> list[Stored]:
    """What is named, and old enough: an experiment is as old as what was written of it last.

    Raises:
        ValueError: There is nothing of one of the names.
    """
    stored = [each for name in names for each in chosen(results, name)] if names else results.evaluations()
    found = [*{each.id: each for each in stored}.values()]
    if age is None:
        return found
    last = {
        name: max(last_written(results, each) for each in results.evaluations(name))
        for name in {each.experiment for each in found}
    }
    return [each for each in found if last[each.experiment] <= time.time() - age]


class Removed(NamedTuple):
    """What was removed.

    Args:
        freed: By how many bytes the file is smaller.
        why_not: Why room is left in it, as a sentence without its end; empty where none is.
    """

    freed: int
    why_not: str


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
    with _told_of_room(store), store._database.writing() as connection:
        try:
            may_go = {stored.id for stored in still(Snapshot(connection))}
        except ValueError:  # all of one of the names is gone
            may_go = set[int]()
        for stored in evaluations:
            if stored.id not in may_go:
                raise StoreError(
                    stored.experiment,
                    f"is not what it was when it was chosen: '{stored.name}' was written to or removed since",
                    "Nothing was deleted. Look again what there is.",
                )
        for stored in evaluations:
            check_idle(connection, store.path, stored.experiment, stored.name)
            names = stored.experiment, stored.name
            connection.execute("DELETE FROM evaluations WHERE id = ?", (stored.id,))
            connection.execute("DELETE FROM evaluations WHERE experiment = ? AND name = ? AND pending", names)
    why_not = _compact(store)
    return Removed(max(0, before - _size(store)), why_not)


@contextmanager
def _told_of_room(store: Store) -> Generator[None]:
    """Where the disk is full, it is no use to say that one should make room."""
    try:
        yield
    except StoreError as exc:
        if not _is(exc.__cause__, sqlite3.SQLITE_FULL):
            raise
        raise StoreError(
            exc.path,
            "cannot be made smaller: the disk is full, and that takes room first",
            "Nothing was deleted. Remove or move another file, such as the kept replies (replies.db, where no run is "
            f"at it), or move {store.path.name}, with {store.path.name}-wal if there is one, to another disk and name "
            "it with --store.",
        ) from exc.__cause__


def _compact(store: Store) -> str:
    """Give room back to the file system; why that could not be, as a sentence, or nothing."""
    in_use = "Somebody else is using it"
    try:
        with closing(store._database.connect()) as connection:
            connection.execute(f"PRAGMA busy_timeout = {_PATIENCE}")
            connection.execute("VACUUM")
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as exc:
        if _is(exc, sqlite3.SQLITE_BUSY):
            return in_use
        if _is(exc, sqlite3.SQLITE_FULL):
            return "The disk has no room for a copy of it"
        return f"It {store._database.explained(exc).problem}"
    return in_use if busy else ""


def _is(error: object, code: int) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == code


def _size(store: Store) -> int:
    files = (store.path, log_of(store.path))
    return sum(file.stat().st_size for file in files if file.exists())
