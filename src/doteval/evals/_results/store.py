"""``Store``: the results of all evaluations, in one SQLite file that many processes may write to at once."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from anyio import CancelScope, to_thread

from .database import Database, transaction
from .record import Record
from .rows import FIELDS, PendingRow, Work, record_of, write_pending
from .statistics import Summary, Summing
from .writer import Writer

DEFAULT_PATH = Path(".doteval", "results.db")
"""Where results are kept, seen from the directory of the project."""

_CHUNK = 512


@dataclass(frozen=True, slots=True)
class Stored:
    """An evaluation in the store.

    Args:
        id: Its number in the database.
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


_EVALUATION = """
SELECT id, experiment, name, model, code, started, finished, evaluations.rows,
    (SELECT count(*) FROM rows WHERE evaluation = id),
    (SELECT count(*) FROM rows WHERE evaluation = id AND error IS NOT NULL)
FROM evaluations
"""


class Store:
    """The results of all evaluations.

    Use it with ``async with``, or with ``with``, or call `close`. Reading needs neither.

    Args:
        path: The file; it is made when something is written.
    """

    def __init__(self, path: Path | str = DEFAULT_PATH) -> None:
        self.path = Path(path)
        self._database = Database(self.path)
        self._writer: Writer[PendingRow | Work] | None = None

    # ---------------------------------------------------------------- reading

    def evaluations(self, experiment: str | None = None) -> list[Stored]:
        """The evaluations of an experiment, or of all, oldest first."""
        where = "" if experiment is None else "WHERE experiment = ?"
        with self._database.reading() as connection:
            if connection is None:
                return []
            rows = connection.execute(
                f"{_EVALUATION} {where} ORDER BY started, id", () if experiment is None else (experiment,)
            )
            return [Stored(*row) for row in rows]

    def find(self, experiment: str, name: str) -> Stored | None:
        """One evaluation, if it is there."""
        with self._database.reading() as connection:
            if connection is None:
                return None
            row = connection.execute(f"{_EVALUATION} WHERE experiment = ? AND name = ?", (experiment, name)).fetchone()
            return None if row is None else Stored(*row)

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
        with self._database.reading() as connection:
            rows: Iterable[tuple[Any, ...]] = (
                ()
                if connection is None
                else connection.execute(
                    "SELECT scores, error, seconds, input_tokens, output_tokens, attempts FROM rows "
                    "WHERE evaluation = ? ORDER BY number",
                    (evaluation.id,),
                )
            )
            for scores, error, *counts in rows:
                summing.add(None if scores is None else json.loads(scores), error is not None, *counts)
        return summing.summary()

    def digests(self, evaluation: Stored) -> Iterator[tuple[int, str, bool]]:
        """Of each row that is there, its number, the fingerprint of its values, and whether it raised; in order."""
        for number, digest, failed in self._pages("number, digest, error IS NOT NULL", evaluation):
            yield number, digest, bool(failed)

    # ---------------------------------------------------------------- writing

    def begin(self, experiment: str, name: str, *, model: str, code: str, fresh: bool) -> Stored:
        """Find an evaluation or enter it, unfinished; blocks.

        Args:
            experiment: The experiment.
            name: The evaluation's name in it.
            model: The spec of its model, or nothing.
            code: A fingerprint of its code.
            fresh: Whether what is there of it is thrown away.
        """
        self._database.prepare()
        with closing(self._database.connect()) as connection, transaction(connection):
            if fresh:
                connection.execute("DELETE FROM evaluations WHERE experiment = ? AND name = ?", (experiment, name))
            connection.execute(
                "INSERT INTO evaluations (experiment, name, model, code, started) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (experiment, name) DO UPDATE "
                "SET model = excluded.model, finished = NULL",
                (experiment, name, model, code, time.time()),
            )
            row = connection.execute(f"{_EVALUATION} WHERE experiment = ? AND name = ?", (experiment, name)).fetchone()
            return Stored(*row)

    def put(self, evaluation: Stored, record: Record) -> int:
        """Have the result of a row written; does not wait for it. Its number, for `wait`.

        Raises:
            OSError: Writing has failed before.
        """
        return self._write().put(PendingRow(evaluation.id, record, time.time()))

    def hurry(self) -> None:
        """Commit what was put: nothing more comes before."""
        self._write().hurry()

    def wait(self, number: int, seconds: float) -> int:
        """Wait until a result is committed, or for some time, and tell the last one that is; blocks.

        Raises:
            OSError: It could not be written.
        """
        return self._write().wait(number, seconds)

    def finish(self, evaluation: Stored, rows: int) -> None:
        """Have it written that all rows are done; those that the dataset has no more are removed."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM rows WHERE evaluation = ? AND number >= ?", (evaluation.id, rows))
            connection.execute(
                "UPDATE evaluations SET finished = ?, rows = ? WHERE id = ?", (time.time(), rows, evaluation.id)
            )

        self._write().put(work)

    async def flush(self) -> None:
        """Wait until all that was put is committed, also where the caller is cancelled.

        Raises:
            OSError: It could not be written.
        """
        if self._writer is not None:
            with CancelScope(shield=True):  # bounded by the patience of SQLite
                await to_thread.run_sync(self._writer.flush)

    def close(self) -> None:
        """Write what is left; blocks.

        Raises:
            OSError: It could not be written.
        """
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with CancelScope(shield=True):  # bounded by the patience of SQLite
            await to_thread.run_sync(self.close)

    def __repr__(self) -> str:
        return f"<Store {self.path}>"

    def _write(self) -> Writer[PendingRow | Work]:
        if self._writer is None:
            self._writer = Writer(self.path, self._database.connect, write_pending)
        return self._writer

    def _pages(self, columns: str, evaluation: Stored, where: str = "") -> Iterator[tuple[Any, ...]]:
        """Columns, the number of the row first, of all rows of an evaluation, in order, read as they are needed."""
        last = -1
        while True:
            with self._database.reading() as connection:
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
