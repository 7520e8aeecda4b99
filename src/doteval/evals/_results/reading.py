"""What can be read of a store: at any moment, or all of it as it was at one."""

from __future__ import annotations

import json
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Generator, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from .._result import Score
from .identity import Identity
from .moments import cluster_of
from .plain import storable
from .record import Record
from .rows import FIELDS, record_of
from .statistics import Summary, Summing
from .transcript import RecordedRequest, decoded
from .usage import ModelUsage

_CHUNK = 512


@dataclass(frozen=True, slots=True)
class Stored:
    """An evaluation in the store.

    Args:
        id: Its number in the database; no other evaluation ever has it.
        experiment: The experiment that it belongs to.
        name: Its name.
        model: The spec of its model, where it has one.
        identity: What its results depend on: fingerprints by name.
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
    identity: Identity
    started: float
    finished: float | None
    rows: int | None
    stored: int
    errors: int


class KnownRow(NamedTuple):
    """A row whose result is in the store.

    Args:
        number: Its place in the dataset, when it was last run.
        key: What it is known by.
        digest: A fingerprint of its values.
        failed: Whether it raised.
    """

    number: int
    key: str
    digest: str
    failed: bool


class ScorePair(NamedTuple):
    """One row that two evaluations have in common.

    Args:
        cluster: What it belongs to with others, where that is known.
        before: The scores that the first one gave.
        after: The scores that the second one gave.
    """

    cluster: Hashable
    before: Mapping[str, Score]
    after: Mapping[str, Score]


class Pairs(NamedTuple):
    """What two evaluations have in common.

    Args:
        rows: The rows that both have, with the same values, and that failed in neither.
        total: How many rows there are in one or the other.
    """

    rows: Sequence[ScorePair]
    total: int


def _clustered(column: str) -> str:
    """The inputs, where they may say which rows belong together; else they are not read."""
    return f"CASE WHEN instr({column}, '\"cluster\"') THEN {column} END"


_BOTH = "FROM rows AS one JOIN rows AS other USING (key) WHERE one.evaluation = ? AND other.evaluation = ?"
EVALUATION = """
SELECT id, experiment, name, model, identity, started, finished, evaluations.rows,
    (SELECT count(*) FROM rows WHERE evaluation = id),
    (SELECT count(*) FROM rows WHERE evaluation = id AND error IS NOT NULL)
FROM evaluations
"""

_USAGE = f"""
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'),
    {", ".join(f"sum(json_extract(value, '$[{place}]'))" for place in range(2, len(ModelUsage._fields)))}
FROM rows, json_each(usage_by_model) WHERE evaluation = ? GROUP BY 1, 2
"""  # noqa: S608 - numbers of our own


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
        where, values = ("", ()) if experiment is None else ("AND experiment = ?", (storable(experiment),))
        with self._connected() as connection:
            if connection is None:
                return []
            rows = connection.execute(f"{EVALUATION} WHERE NOT pending {where} ORDER BY started, id", values)
            return [_stored(row) for row in rows]

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

    def requests(self, evaluation: Stored, key: str) -> tuple[RecordedRequest, ...]:
        """The requests that were made in a row, in the order in which they ended; none where they were not kept.

        Args:
            evaluation: Which one.
            key: What the row is known by: `Record.key`.
        """
        with self._connected() as connection:
            if connection is None:
                return ()
            select = "SELECT requests FROM transcripts WHERE evaluation = ? AND key = ?"
            row = connection.execute(select, (evaluation.id, key)).fetchone()
        return () if row is None else decoded(row[0])

    def summary(self, evaluation: Stored) -> Summary:
        """What the rows of an evaluation say together."""
        summing = Summing()
        with self._connected() as connection:
            if connection is not None:
                rows = connection.execute(
                    f"SELECT {_clustered('inputs')}, "  # noqa: S608
                    "scores, error, seconds, input_tokens, output_tokens, attempts FROM rows "
                    "WHERE evaluation = ? ORDER BY number",
                    (evaluation.id,),
                )
                for inputs, scores, error, *counts in rows:
                    cluster = None if inputs is None else cluster_of(json.loads(inputs))
                    values = None if scores is None else json.loads(scores)
                    summing.add(values, error is not None, cluster, *counts)
                summing.usage.add(ModelUsage(*row) for row in connection.execute(_USAGE, (evaluation.id,)))
        return summing.summary()

    def pairs(self, before: Stored, after: Stored) -> Pairs:
        """The scores of the rows that two evaluations have in common, wherever they stand in either."""
        with self._connected() as connection:
            if connection is None:
                return Pairs((), 0)
            (both,) = connection.execute(f"SELECT count(*) {_BOTH}", (before.id, after.id)).fetchone()
            rows = connection.execute(
                f"SELECT {_clustered('one.inputs')}, one.scores, other.scores {_BOTH} AND one.digest = other.digest "
                "AND one.error IS NULL AND other.error IS NULL ORDER BY one.number",
                (before.id, after.id),
            )
            found = [
                ScorePair(
                    None if inputs is None else cluster_of(json.loads(inputs)),
                    json.loads(one or "null") or {},
                    json.loads(other or "null") or {},
                )
                for inputs, one, other in rows
            ]
        return Pairs(found, before.stored + after.stored - both)

    def known(self, evaluation: Stored) -> Iterator[KnownRow]:
        """What is known of each row that is there, in the order of the dataset."""
        for number, key, digest, failed in self._pages("number, key, digest, error IS NOT NULL", evaluation):
            yield KnownRow(number, key, digest, bool(failed))

    def _pages(self, columns: str, evaluation: Stored, where: str = "") -> Iterator[tuple[Any, ...]]:
        """Columns, number and key first, of all rows of an evaluation, in order, read as they are needed."""
        last = (-1, "")
        while True:
            with self._connected() as connection:
                if connection is None:
                    return
                rows = connection.execute(
                    f"SELECT {columns} FROM rows WHERE evaluation = ? AND (number, key) > (?, ?) {where} "  # noqa: S608
                    "ORDER BY number, key LIMIT ?",
                    (evaluation.id, *last, _CHUNK),
                ).fetchall()
            if not rows:
                return
            yield from rows
            last = rows[-1][:2]


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


def find(connection: sqlite3.Connection, experiment: str, name: str, *, number: int | None = None) -> Stored | None:
    """One evaluation, if it is there; with its number, also one that is to take the place of another."""
    if number is None:
        where, values = "NOT pending AND experiment = ? AND name = ?", (storable(experiment), storable(name))
        row = connection.execute(f"{EVALUATION} WHERE {where}", values).fetchone()
    else:
        row = connection.execute(f"{EVALUATION} WHERE id = ?", (number,)).fetchone()
    return None if row is None else _stored(row)


def _stored(row: Sequence[Any]) -> Stored:
    number, experiment, name, model, identity, *others = row
    return Stored(number, experiment, name, model, json.loads(identity), *others)
