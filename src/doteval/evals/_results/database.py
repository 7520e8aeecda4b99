"""The SQLite file of a store: its tables, and connections to it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

_VERSION = 2
_APPLICATION = 0x64_74_65_76  # "dtev"
_PATIENCE = 60.0
"""How long to wait for another process that writes, in seconds."""

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
    reply TEXT,
    attempts INTEGER NOT NULL,
    written REAL NOT NULL,
    PRIMARY KEY (evaluation, number)
);
"""


class Database:
    """A file, which is made when something is to be written to it.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection | None]:
        """A connection, as long as the block lasts; `None` where there is nothing to read yet.

        Raises:
            ValueError: The file is something else.
        """
        if not self.path.exists():
            yield None
            return
        connection = self._open()
        try:
            # Another process may have made the file, but not yet its tables.
            try:
                is_ready = self._is_ready(connection)
            except sqlite3.OperationalError as exc:
                if exc.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
                    raise
                connection.close()
                connection = self._open_where_nobody_can_write()
                is_ready = self._is_ready(connection)
            yield connection if is_ready else None
        finally:
            connection.close()

    def connect(self) -> sqlite3.Connection:
        """Open the file, whose tables are there, for writing."""
        connection = self._open()
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")  # with WAL, it survives the death of a process
        return connection

    def prepare(self) -> None:
        """Make the file and its tables, where they are not there.

        Raises:
            ValueError: The file is something else.
        """
        directory = self.path.parent
        if not directory.exists():
            directory.mkdir(parents=True, exist_ok=True)
            (directory / ".gitignore").write_text("# what was measured here is no source\n*\n", "utf-8")
        with closing(self._open()) as connection:
            if not self._is_ready(connection):  # what is not ours is not touched
                self._make_tables(connection)
            self._write_ahead(connection)

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        with transaction(connection):
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

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)

    def _open_where_nobody_can_write(self) -> sqlite3.Connection:
        """Without the files that readers and writers otherwise share: somebody else's directory, or an artifact."""
        return sqlite3.connect(f"{self.path.absolute().as_uri()}?immutable=1", uri=True, isolation_level=None)

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
def transaction(connection: sqlite3.Connection) -> Generator[None]:
    """Have all of the block written, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
