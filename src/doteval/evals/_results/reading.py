"""What can be read of a store: at any moment, or all of it as it was at one."""

from __future__ import annotations

import json
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from .._result import Score
from .gone import usage_gone, usage_in
from .identity import Identity
from .moments import cluster_of
from .pairing import Pairs, RowScores, by_values, paired
from .plain import storable
from .record import ASIDE, Record
from .rows import FIELDS, record_of
from .runs import StoredRun, noted
from .statistics import Summary, Summing
from .transcript import RecordedRequest, decoded

_CHUNK = 512
_ALL = 2**31
"""More samples than anybody takes."""


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
        stored: How many results there are: one of each sample of each row.
        errors: How many of these are errors.
        epochs: How many samples of each row count, and are read; there may be more.
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
    epochs: int = 1


class KnownRow(NamedTuple):
    """A sample of a row whose result is in the store.

    Args:
        number: The row's place in the dataset, when it was last run.
        key: What it is known by.
        sample: Which of its samples it is.
        digest: A fingerprint of its values.
        failed: Whether it raised.
    """

    number: int
    key: str
    sample: int
    digest: str
    failed: bool


class Moved(NamedTuple):
    """A row whose result is in the store, and that stands elsewhere now, or is known by something else.

    Args:
        before: What it was known by.
        key: What it is known by now.
        number: Its place in the dataset.
    """

    before: str
    key: str
    number: int


def _clustered(column: str) -> str:
    """The inputs, where they may say which rows belong together; else they are not read."""
    return f"CASE WHEN instr({column}, '\"cluster\"') THEN {column} END"


_BRIEF = ", ".join("NULL" if name in ("prompt", "traceback", "reply") else name for name in FIELDS.split(", "))
"""The columns that a list of rows is made of, in the places of all."""
IS_ASIDE = f"rows.key GLOB '*{ASIDE}*'"
"""Whether another row of its id took the place of a row."""
_NOT_ASIDE = f"AND NOT {IS_ASIDE}"
_THERE = "FROM rows WHERE evaluation = ? AND sample <= ?"
_COUNTED = f"{_THERE} {_NOT_ASIDE}"
"""What belongs to an evaluation, with its number and how many samples of each row count."""
_PART = "LIMIT ? OFFSET ?"
"""How many, all where it is negative, and after how many."""
_ALL_OF_THEM = -1
_OF_IT = f"FROM rows WHERE evaluation = evaluations.id AND sample <= epochs {_NOT_ASIDE}"
EVALUATION = f"""
SELECT id, experiment, name, model, identity, started, finished, evaluations.rows,
    (SELECT count(*) {_OF_IT}), (SELECT count(*) {_OF_IT} AND error IS NOT NULL), epochs
FROM evaluations
"""  # noqa: S608 - of constants

_PAGE = """
WITH wanted (place, its_key, its_sample) AS (
    SELECT key, json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)
)
SELECT {columns} FROM wanted CROSS JOIN rows ON key = its_key AND sample = its_sample
WHERE evaluation = ? {where} ORDER BY place
"""
"""Some rows of an evaluation, by a list of their keys and samples as JSON."""

_NUMBERED = "SELECT id, {columns} FROM rows WHERE id IN ({found}) ORDER BY id"


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

    def with_epochs(self, evaluation: Stored, epochs: int | None) -> Stored:
        """The same evaluation, as it is where so many samples of each row count.

        Args:
            evaluation: Which one.
            epochs: How many; `None`: all that are there, also those that another row of their id took the place of.
        """
        with self._connected() as connection:
            return evaluation if connection is None else counted(connection, evaluation, epochs)

    def runs(self, evaluation: Stored) -> list[StoredRun]:
        """What an evaluation was run with, each time that it was, oldest first."""
        with self._connected() as connection:
            return [] if connection is None else noted(connection, evaluation.id)

    def records(
        self,
        evaluation: Stored,
        *,
        failed: bool = False,
        first: int = 0,
        most: int = _ALL_OF_THEM,
        until: int | None = None,
    ) -> Iterator[Record]:
        """The rows of an evaluation, in the order of the dataset, each with its samples, read as they are needed.

        Args:
            evaluation: Which one.
            failed: Whether only those that raised are wanted.
            first: How many of these are left out at the beginning.
            most: How many of the others are wanted at most; all where it is negative.
            until: The number of the row up to which they were written; `None`: those that were written later, too.
        """
        where = "AND error IS NOT NULL " * failed + ("" if until is None else f"AND +rows.id <= {until:d}")
        for row in self._pages(FIELDS, evaluation, where, first=first, most=most):
            yield record_of(row)

    def row(self, evaluation: Stored, key: str) -> list[Record]:
        """The samples of one row, by what it is known by; none where it is not there."""
        with self._connected() as connection:
            if connection is None:
                return []
            select = f"SELECT {FIELDS} {_COUNTED} AND key = ? ORDER BY sample"
            place = evaluation.id, evaluation.epochs, storable(key)
            return [record_of(row) for row in connection.execute(select, place)]

    def written_until(self, evaluation: Stored, last: int) -> int:
        """How many of the rows that are there were written up to the one of a number, and stand where they stood."""
        with self._connected() as connection:
            if connection is None:
                return 0
            select, values = f"SELECT count(*) {_COUNTED} AND +rows.id <= ?", (evaluation.id, evaluation.epochs, last)
            return int(connection.execute(select, values).fetchone()[0])

    def last_written(self, evaluation: Stored) -> int:
        """The number of the row that was written last, of those that are there; 0 where there is none."""
        with self._connected() as connection:
            if connection is None:
                return 0
            select = f"SELECT max(id) {_COUNTED}"
            last = connection.execute(select, (evaluation.id, evaluation.epochs)).fetchone()
        return last[0] or 0

    def ids(self, evaluation: Stored) -> dict[tuple[str, int], int]:
        """The numbers of the rows, by key and sample: a row that is written again gets another one."""
        with self._connected() as connection:
            if connection is None:
                return {}
            rows = connection.execute(f"SELECT key, sample, id {_COUNTED}", (evaluation.id, evaluation.epochs))
            return {(key, sample): number for key, sample, number in rows}

    def counter(self) -> int:
        """How many rows were ever written to the store: the greatest number of one, also where it is gone by now."""
        with self._connected() as connection:
            if connection is None:
                return 0
            row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'rows'").fetchone()
        return row[0] if row else 0

    def written_after(self, evaluation: Stored, after: int, most: int) -> Iterator[tuple[int, Record]]:
        """Rows with their numbers, in the order in which they were written; without prompt, traceback and reply.

        Args:
            evaluation: Which one.
            after: The number after which they begin.
            most: How many at most.
        """
        with self._connected() as connection:
            if connection is not None:
                found = f"SELECT id {_COUNTED} AND +rows.id > ? ORDER BY id LIMIT ?"  # an index has all of that
                values = evaluation.id, evaluation.epochs, after, most
                for number, *row in connection.execute(_NUMBERED.format(columns=_BRIEF, found=found), values):
                    yield number, record_of(row)

    def texts(self, evaluation: Stored) -> Iterator[tuple[str, int, list[str], list[str]]]:
        """All that is text: the key of a row, the sample, its values as JSON, and its error and traceback."""
        columns = "number, key, sample, inputs, output, prompt, scores, metadata, reply, error, traceback"
        for _, key, sample, *texts in self._pages(columns, evaluation):
            values, problems = texts[:-2], texts[-2:]
            yield key, sample, [text for text in values if text is not None], [text for text in problems if text]

    def requests(self, evaluation: Stored, key: str, sample: int = 1) -> tuple[RecordedRequest, ...]:
        """The requests that were made in a row, in the order in which they ended; none where they were not kept.

        Args:
            evaluation: Which one.
            key: What the row is known by: `Record.key`.
            sample: Which sample of it: `Record.sample`.
        """
        return decoded(self.transcript_text(evaluation, key, sample))

    def transcript_text(self, evaluation: Stored, key: str, sample: int) -> str:
        """The same as they are kept, as JSON; nothing where they were not."""
        with self._connected() as connection:
            if connection is None:
                return ""
            select = "SELECT requests FROM transcripts WHERE evaluation = ? AND key = ? AND sample = ?"
            row = connection.execute(select, (evaluation.id, storable(key), sample)).fetchone()
        return "" if row is None else row[0]

    def transcript_texts(self, evaluation: Stored) -> Iterator[tuple[str, int, str]]:
        """All that was kept of requests, as JSON: the key of a row, the sample, the text."""
        with self._connected() as connection:
            if connection is not None:
                select = "SELECT key, sample, requests FROM transcripts WHERE evaluation = ? AND sample <= ?"
                yield from connection.execute(select, (evaluation.id, evaluation.epochs)).fetchall()

    def summary(self, evaluation: Stored) -> Summary:
        """What the rows of an evaluation say together."""
        summing = Summing(evaluation.epochs)
        place = evaluation.id, evaluation.epochs
        with self._connected() as connection:
            if connection is not None:
                rows = connection.execute(
                    f"SELECT key, {_clustered('inputs')}, "
                    f"scores, error, seconds, input_tokens, output_tokens, attempts {_COUNTED} ORDER BY number",
                    place,
                )
                for key, inputs, scores, error, *counts in rows:
                    cluster = None if inputs is None else cluster_of(json.loads(inputs))
                    values = None if scores is None else json.loads(scores)
                    summing.add(key, values, error is not None, cluster, *counts)
                usages = usage_in(connection, "rows", f"evaluation = ? AND sample <= ? {_NOT_ASIDE}", *place)
                aside = usage_in(connection, "rows", f"evaluation = ? AND {IS_ASIDE}", evaluation.id)
                summing.usage.add(usages)
                summing.gone.add(aside)
                summing.gone.add(usage_gone(connection, evaluation.id))
        return summing.summary()

    def scores(self, evaluation: Stored) -> Iterator[tuple[Mapping[str, Score], float]]:
        """The scores of each sample that returned, and how long it took."""
        columns = "number, key, sample, scores, seconds"
        for _, _, _, scores, seconds in self._pages(columns, evaluation, "AND error IS NULL"):
            yield json.loads(scores or "null") or {}, seconds

    def pairs(self, before: Stored, after: Stored, reduced: Collection[str] = ()) -> Pairs:
        """The scores of the rows that two evaluations have in common, wherever they stand in either.

        Args:
            before: One side.
            after: The other side.
            reduced: What the samples of rows say together that is wanted, such as ``exact.pass@3``. There is none of it
                where not all samples of all rows are 0 or 1.
        """
        with self._connected() as connection:
            if connection is None:
                return Pairs()
            one, other = by_values(_scores_of_rows(connection, before), _scores_of_rows(connection, after))
        return paired(one, other, reduced, is_finished=after.finished is not None)

    def known(self, evaluation: Stored, *, with_aside: bool = False) -> Iterator[KnownRow]:
        """What is known of each sample that is there, in the order of the dataset.

        Args:
            evaluation: Which one.
            with_aside: Also of those that another row of their id took the place of, in a run that has not ended.
        """
        among = _THERE if with_aside else _COUNTED
        for row in self._pages("number, key, sample, digest, error IS NOT NULL", evaluation, among=among):
            number, key, sample, digest, failed = row
            yield KnownRow(number, key, sample, digest, bool(failed))

    def _pages(
        self,
        columns: str,
        evaluation: Stored,
        where: str = "",
        *,
        among: str = _COUNTED,
        first: int = 0,
        most: int = _ALL_OF_THEM,
    ) -> Iterator[tuple[Any, ...]]:
        """Columns of all rows of an evaluation, read as they are needed, in the order that they have at the beginning.

        Wherever they are moved meanwhile, each is there once, as it is when it is read, if it is not gone.
        """
        with self._connected() as connection:
            if connection is None:
                return
            found = connection.execute(
                f"SELECT key, sample {among} {where} ORDER BY number, key, sample {_PART}",
                (evaluation.id, evaluation.epochs, most, first),
            )
            pages = [json.dumps(page) for page in iter(partial(found.fetchmany, _CHUNK), [])]  # a few bytes a row
        for page in pages:
            with self._connected() as connection:
                if connection is None:
                    return
                rows = connection.execute(_PAGE.format(columns=columns, where=where), (page, evaluation.id)).fetchall()
            yield from rows


class Snapshot(Results):
    """A store as it was at one moment, whoever writes to it meanwhile; `Store.snapshot` makes it.

    Args:
        connection: Sees that moment; `None` where there is nothing to read.
        explaining: Makes a block that tells what SQLite raises in it as what is wrong with the store.
    """

    def __init__(
        self,
        connection: sqlite3.Connection | None,
        explaining: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._connection = connection
        self._explaining = explaining

    @property
    def is_empty(self) -> bool:
        """Whether there was no store, or nothing in it yet."""
        return self._connection is None

    @contextmanager
    def _connected(self) -> Generator[sqlite3.Connection | None]:
        with self._explaining():
            yield self._connection

    def _pages(
        self,
        columns: str,
        evaluation: Stored,
        where: str = "",
        *,
        among: str = _COUNTED,
        first: int = 0,
        most: int = _ALL_OF_THEM,
    ) -> Iterator[tuple[Any, ...]]:
        """The same, row by row: what is read stays as it is, and some rows are huge."""
        with self._connected() as connection:
            if connection is not None:
                rows = connection.execute(
                    f"SELECT {columns} {among} {where} ORDER BY number, key, sample {_PART}",
                    (evaluation.id, evaluation.epochs, most, first),
                )
                # Not "yield from", which would close it after the connection where nobody reads on.
                for row in rows:  # noqa: UP028
                    yield row


def find(connection: sqlite3.Connection, experiment: str, name: str, *, number: int | None = None) -> Stored | None:
    """One evaluation, if it is there; with its number, also one that is to take the place of another."""
    if number is None:
        where, values = "NOT pending AND experiment = ? AND name = ?", (storable(experiment), storable(name))
        row = connection.execute(f"{EVALUATION} WHERE {where}", values).fetchone()
    else:
        row = connection.execute(f"{EVALUATION} WHERE id = ?", (number,)).fetchone()
    return None if row is None else _stored(row)


def counted(connection: sqlite3.Connection, evaluation: Stored, epochs: int | None) -> Stored:
    """An evaluation as it is where so many samples of each row count; `None`: all, also those that wait aside."""
    if evaluation.epochs == epochs:
        return evaluation
    asked, among = (_ALL, _THERE) if epochs is None else (epochs, _COUNTED)
    stored, errors = connection.execute(f"SELECT count(*), count(error) {among}", (evaluation.id, asked)).fetchone()
    return replace(evaluation, epochs=asked, stored=stored, errors=errors)


def _scores_of_rows(connection: sqlite3.Connection, evaluation: Stored) -> dict[str, RowScores]:
    """The scores of an evaluation, by the keys of its rows."""
    rows: dict[str, RowScores] = {}
    found = connection.execute(
        f"SELECT key, digest, {_clustered('inputs')}, error IS NOT NULL, scores {_COUNTED} ORDER BY number",
        (evaluation.id, evaluation.epochs),
    )
    for key, digest, inputs, failed, scores in found:
        row = rows.get(key)
        if row is None:
            row = rows[key] = RowScores(digest, None if inputs is None else cluster_of(json.loads(inputs)))
        row.add(digest, None if failed else json.loads(scores or "null") or {})
    return rows


def _stored(row: Sequence[Any]) -> Stored:
    number, experiment, name, model, identity, *others = row
    return Stored(number, experiment, name, model, json.loads(identity), *others)
