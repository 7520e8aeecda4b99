"""``Store``: the results of all evaluations, in one SQLite file that many processes may write to at once."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeAlias, cast

from anyio import CancelScope, to_thread

from .record import Record
from .statistics import Summary, Summing
from .writer import Writer

DEFAULT_PATH = Path(".doteval", "results.db")
"""Where results are kept, seen from the directory of the project."""

_VERSION = 1
_APPLICATION = 0x64_74_65_76  # "dtev"
_PATIENCE = 60.0
"""How long to wait for another process that writes, in seconds."""
_CHUNK = 512

_SCHEMA = """
CREATE TABLE evaluations (
    id INTEGER PRIMARY KEY,
    experiment TEXT NOT NULL,
    name TEXT NOT NULL,
    model TEXT NOT NULL DEFAULT '',
    code TEXT NOT NULL,
    started REAL NOT NULL,
    finished REAL,
    rows INTEGER,
    UNIQUE (experiment, name)
);
CREATE TABLE rows (
    evaluation INTEGER NOT NULL REFERENCES evaluations (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    digest TEXT NOT NULL,
    inputs TEXT NOT NULL,
    output TEXT,
    prompt TEXT,
    scores TEXT,
    metadata TEXT,
    error TEXT,
    traceback TEXT,
    seconds REAL NOT NULL,
    input_tokens INTEGER,
    output_tokens INTEGER,
    attempts INTEGER NOT NULL,
    written REAL NOT NULL,
    PRIMARY KEY (evaluation, number)
);
"""
_FIELDS = (
    "number, digest, inputs, output, prompt, scores, metadata, error, traceback, seconds, input_tokens, output_tokens, "
    "attempts"
)
_NAMES = tuple(_FIELDS.split(", "))
_values_of = attrgetter(*_NAMES)
_encoder = json.JSONEncoder(ensure_ascii=False)
_JSON = ("inputs", "output", "prompt", "scores", "metadata")
_ARE_JSON = [name in _JSON for name in _NAMES]
_PLACES = f"(?, {', '.join('?' * len(_NAMES))}, ?)"
_ROWS_AT_ONCE = 64
"""How many rows one statement writes at most: SQLite's cache of statements has one for each number of rows."""

_Work: TypeAlias = Callable[[sqlite3.Connection], object]


class _PendingRow(NamedTuple):
    evaluation: int
    record: Record
    written: float


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
        self._writer: Writer[_PendingRow | _Work] | None = None

    # ---------------------------------------------------------------- reading

    def evaluations(self, experiment: str | None = None) -> list[Stored]:
        """The evaluations of an experiment, or of all, oldest first."""
        where = "" if experiment is None else "WHERE experiment = ?"
        with self._reading() as connection:
            if connection is None:
                return []
            rows = connection.execute(
                f"{_EVALUATION} {where} ORDER BY started, id", () if experiment is None else (experiment,)
            )
            return [Stored(*row) for row in rows]

    def find(self, experiment: str, name: str) -> Stored | None:
        """One evaluation, if it is there."""
        with self._reading() as connection:
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
        where = "AND error IS NOT NULL" if failed else ""
        last = -1
        while True:
            with self._reading() as connection:
                rows = (
                    []
                    if connection is None
                    else connection.execute(
                        f"SELECT {_FIELDS} FROM rows WHERE evaluation = ? AND number > ? {where} "  # noqa: S608
                        "ORDER BY number LIMIT ?",
                        (evaluation.id, last, _CHUNK),
                    ).fetchall()
                )
            if not rows:
                return
            for row in rows:
                yield _record_of(row)
            last = rows[-1][0]

    def summary(self, evaluation: Stored) -> Summary:
        """What the rows of an evaluation say together."""
        summing = Summing()
        with self._reading() as connection:
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
        last = -1
        while True:
            with self._reading() as connection:
                rows: Sequence[tuple[int, str, int]] = (
                    []
                    if connection is None
                    else connection.execute(
                        "SELECT number, digest, error IS NOT NULL FROM rows WHERE evaluation = ? AND number > ? "
                        "ORDER BY number LIMIT ?",
                        (evaluation.id, last, _CHUNK),
                    ).fetchall()
                )
            if not rows:
                return
            for number, digest, failed in rows:
                yield number, digest, bool(failed)
            last = rows[-1][0]

    @contextmanager
    def _reading(self) -> Generator[sqlite3.Connection | None]:
        if not self.path.exists():
            yield None
            return
        with closing(self._open()) as connection:
            # Another process may have made the file, but not yet its tables.
            yield connection if self._is_ready(connection) else None

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
        self._prepare()
        with closing(self._connect()) as connection, _transaction(connection):
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
        return self._write().put(_PendingRow(evaluation.id, record, time.time()))

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

    # ---------------------------------------------------------------- inside

    def _write(self) -> Writer[_PendingRow | _Work]:
        if self._writer is None:
            self._writer = Writer(self.path, self._connect, _write_pending)
        return self._writer

    def _prepare(self) -> None:
        """Make the file and its tables, where they are not there."""
        directory = self.path.parent
        if not directory.exists():
            directory.mkdir(parents=True, exist_ok=True)
            (directory / ".gitignore").write_text("# what was measured here is no source\n*\n", "utf-8")
        with closing(self._open()) as connection:
            if not self._is_ready(connection):  # what is not ours is not touched
                self._make_tables(connection)
            self._write_ahead(connection)

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        with _transaction(connection):
            if self._is_ready(connection):
                return  # another process was faster
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")

    def _write_ahead(self, connection: sqlite3.Connection) -> None:
        """Have writers write beside readers. SQLite does not wait for one who is about to write."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as exc:
                if exc.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def _connect(self) -> sqlite3.Connection:
        """Open the file, whose tables are there, for writing."""
        connection = self._open()
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")  # with WAL, it survives the death of a process
        return connection

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)

    def _is_ready(self, connection: sqlite3.Connection) -> bool:
        """Whether the tables are there; an empty file is not ready.

        Raises:
            ValueError: There is something else.
        """
        try:
            # One statement, so that it sees another process's transaction whole or not at all.
            version, application, tables = connection.execute(
                "SELECT user_version, application_id, (SELECT count(*) FROM sqlite_master) "
                "FROM pragma_user_version, pragma_application_id"
            ).fetchone()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as exc:
            raise ValueError(f"{self.path} is no store of results: {exc}") from exc
        if (version, application) == (_VERSION, _APPLICATION):
            return True
        if version or application or tables:
            raise ValueError(
                f"{self.path} is no store of results that this version of doteval knows (it has schema {version}, "
                f"known is {_VERSION}): name another file, or move it away"
            )
        return False


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Generator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _write_pending(connection: sqlite3.Connection, items: Sequence[_PendingRow | _Work]) -> None:
    """Write rows and whatever else, in this order, with few statements: each may have to wait for the event loop."""
    statements: list[_Work] = []
    rows: list[_PendingRow] = []
    for item in items:
        if not isinstance(item, _PendingRow):
            rows = []
            statements.append(item)
            continue
        if not rows or len(rows) == _ROWS_AT_ONCE:
            rows = []
            statements.append(partial(_insert, rows=rows))
        rows.append(item)
    # One statement is a transaction of its own.
    with nullcontext() if len(statements) == 1 else _transaction(connection):
        for statement in statements:
            statement(connection)


def _insert(connection: sqlite3.Connection, rows: Sequence[_PendingRow]) -> None:
    cells = [cell for row in rows for cell in (row.evaluation, *_cells_of(row.record), row.written)]
    connection.execute(f"INSERT OR REPLACE INTO rows VALUES {', '.join([_PLACES] * len(rows))}", cells)  # noqa: S608


def _cells_of(record: Record) -> list[Any]:
    return [_encoded(value) if is_json else value for is_json, value in zip(_ARE_JSON, _values_of(record), strict=True)]


def _encoded(value: object) -> str:
    if value is None:
        return "null"
    return _encoder.encode(value) if value or not isinstance(value, dict) else "{}"


def _record_of(row: Sequence[Any]) -> Record:
    cells: dict[str, Any] = {
        name: cast("object", json.loads(value)) if name in _JSON and value is not None else value
        for name, value in zip(_NAMES, row, strict=True)
    }
    return Record(**cells)
