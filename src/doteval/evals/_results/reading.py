"""What can be read of a store: at any moment, or all of it as it was at one."""

from __future__ import annotations

import json
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from .moments import cluster_of
from .plain import storable
from .record import Record
from .rows import FIELDS, record_of
from .statistics import Summary, Summing

_CHUNK = 512


@dataclass(frozen=True, slots=True)
class Stored:
    """An evaluation in the store.

    Args:
        id: Its number in the database; no other evaluation ever has it.
        experiment: The experiment that it belongs to.
        name: Its name.
        model: The spec of its model, where it has one.
        code: A fingerprint of its code, when it was last run.
        started: When it was first run, in seconds since 1970.
        finished: When all its rows were done; `None` where some are missing.
        rows: How many rows there are, once that is known.
        stored: How many rows have a result.
        errors: How many of these are errors.
    """

    id: int
    experiment: str
    name: str
    model: str
    code: str
    started: float
    finished: float | None
    rows: int | None
    stored: int
    errors: int


EVALUATION = """
SELECT id, experiment, name, model, code, started, finished, evaluations.rows,
    (SELECT count(*) FROM rows WHERE evaluation = id),
    (SELECT count(*) FROM rows WHERE evaluation = id AND error IS NOT NULL)
FROM evaluations
"""


class Results(ABC):
    """What can be read of a store.

    Raises:
        StoreError: From everything: the file cannot be read, or is something else.
    """

    @abstractmethod
    def _connected(self) -> AbstractContextManager[sqlite3.Connection | None]:
        """A connection that sees one state, as long as the block lasts; `None` where there is nothing to read yet."""

    def evaluations(self, experiment: str | None = None) -> list[Stored]:
        """The evaluations of an experiment, or of all, oldest first."""
        where, values = ("", ()) if experiment is None else ("WHERE experiment = ?", (storable(experiment),))
        with self._connected() as connection:
            if connection is None:
                return []
            rows = connection.execute(f"{EVALUATION} {where} ORDER BY started, id", values)
            return [Stored(*row) for row in rows]

    def find(self, experiment: str, name: str) -> Stored | None:
        """One evaluation, if it is there."""
        with self._connected() as connection:
            return None if connection is None else find(connection, experiment, name)

    def records(self, evaluation: Stored, *, failed: bool = False) -> Iterator[Record]:
        """The rows of an evaluation, in the order of the dataset, read as they are needed.

        Args:
            evaluation: Which one.
            failed: Whether only those that raised are wanted.
        """
        for row in self._pages(FIELDS, evaluation, "AND error IS NOT NULL" if failed else ""):
            yield record_of(row)

    def summary(self, evaluation: Stored) -> Summary:
        """What the rows of an evaluation say together."""
        summing = Summing()
        with self._connected() as connection:
            if connection is not None:
                rows = connection.execute(
                    "SELECT CASE WHEN instr(inputs, '\"cluster\"') THEN inputs END, "
                    "scores, error, seconds, input_tokens, output_tokens, attempts FROM rows "
                    "WHERE evaluation = ? ORDER BY number",
                    (evaluation.id,),
                )
                for inputs, scores, error, *counts in rows:
                    cluster = None if inputs is None else cluster_of(json.loads(inputs))
                    values = None if scores is None else json.loads(scores)
                    summing.add(values, error is not None, cluster, *counts)
        return summing.summary()

    def digests(self, evaluation: Stored) -> Iterator[tuple[int, str, bool]]:
        """Of each row that is there, its number, the fingerprint of its values, and whether it raised; in order."""
        for number, digest, failed in self._pages("number, digest, error IS NOT NULL", evaluation):
            yield number, digest, bool(failed)

    def _pages(self, columns: str, evaluation: Stored, where: str = "") -> Iterator[tuple[Any, ...]]:
        """Columns, the number of the row first, of all rows of an evaluation, in order, read as they are needed."""
        last = -1
        while True:
            with self._connected() as connection:
                if connection is None:
                    return
                rows = connection.execute(
                    f"SELECT {columns} FROM rows WHERE evaluation = ? AND number > ? {where} "  # noqa: S608
                    "ORDER BY number LIMIT ?",
                    (evaluation.id, last, _CHUNK),
                ).fetchall()
            if not rows:
                return
            yield from rows
            last = rows[-1][0]


class Snapshot(Results):
    """A store as it was at one moment, whoever writes to it meanwhile; `Store.snapshot` makes it.

    Args:
        connection: Sees that moment; `None` where there is nothing to read.
    """

    def __init__(self, connection: sqlite3.Connection | None) -> None:
        self._connection = connection

    @property
    def is_empty(self) -> bool:
        """Whether there was no store, or nothing in it yet."""
        return self._connection is None

    @contextmanager
    def _connected(self) -> Generator[sqlite3.Connection | None]:
        yield self._connection


def find(connection: sqlite3.Connection, experiment: str, name: str) -> Stored | None:
    """One evaluation, if it is there."""
    names = storable(experiment), storable(name)
    row = connection.execute(f"{EVALUATION} WHERE experiment = ? AND name = ?", names).fetchone()
    return None if row is None else Stored(*row)
