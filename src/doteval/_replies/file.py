"""The SQLite file of a cache, which many processes may use at once."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import NamedTuple

from .._errors import ReplyCacheError

_VERSION = 1
_APPLICATION = 0x64_74_72_63  # "dtrc"
_PATIENCE = 20.0
"""How long to wait for another process that writes, in seconds."""
_SCHEMA = (
    """
    CREATE TABLE replies (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        request BLOB NOT NULL,  -- a digest of what was asked
        tag BLOB NOT NULL,  -- which of several replies to it
        model TEXT NOT NULL,
        reply TEXT NOT NULL,
        written REAL NOT NULL,
        UNIQUE (request, tag)
    )
    """,
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_VERSION}",
)


class KeptReplies(NamedTuple):
    """What a cache has of one model.

    Args:
        model: The model's name.
        replies: How many there are.
        size: How many bytes they take.
        oldest: When the first of them was written, in seconds since 1970.
        newest: When the last one was.
    """

    model: str
    replies: int
    size: int
    oldest: float
    newest: float


class ReplyFile:
    """The file. All of it blocks, and may be called from any thread.

    Args:
        path: Where it is; it is made when something is to be kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = RLock()
        self._connection: sqlite3.Connection | None = None
        self._pid = 0

    def check(self) -> None:
        """Raise where there is something else under the path.

        Raises:
            ReplyCacheError: There is.
        """
        if not self.path.exists():
            return
        try:
            self._connected()
        except sqlite3.DatabaseError as exc:
            if isinstance(exc, sqlite3.OperationalError):
                return  # it cannot be read or written now: then it does not answer
            raise ReplyCacheError(str(self.path), f"is no cache of replies: {exc}") from exc

    def find(self, request: bytes, tag: bytes) -> tuple[int, str] | None:
        """One reply, by its tag: its number, and the reply."""
        with self._reading() as connection:
            if connection is None:
                return None
            select = "SELECT id, reply FROM replies WHERE request = ? AND tag = ?"
            found: tuple[int, str] | None = connection.execute(select, (request, tag)).fetchone()
            return found

    def numbers(self, request: bytes) -> list[int]:
        """The numbers of all replies to a request, the newest last."""
        with self._reading() as connection:
            if connection is None:
                return []
            select = "SELECT id FROM replies WHERE request = ? ORDER BY id"
            return [number for (number,) in connection.execute(select, (request,))]

    def reply(self, number: int) -> str | None:
        """The reply of this number, if it is still there."""
        with self._reading() as connection:
            if connection is None:
                return None
            found = connection.execute("SELECT reply FROM replies WHERE id = ?", (number,)).fetchone()
            return None if found is None else found[0]

    def retag(self, number: int, tag: bytes) -> None:
        """Have a reply known by another tag from now on."""
        with self._lock:
            self._made().execute("UPDATE OR IGNORE replies SET tag = ? WHERE id = ?", (tag, number))

    def put(self, request: bytes, tag: bytes, model: str, reply: str) -> int:
        """Keep a reply in place of the one of this tag; its number."""
        with self._lock:
            cursor = self._made().execute(
                "INSERT OR REPLACE INTO replies (request, tag, model, reply, written) VALUES (?, ?, ?, ?, ?)",
                (request, tag, model, reply, time.time()),
            )
            assert cursor.lastrowid is not None
            return cursor.lastrowid

    def kept(self) -> list[KeptReplies]:
        """What there is, by model."""
        with self._reading() as connection:
            if connection is None:
                return []
            select = (
                "SELECT model, count(*), sum(length(CAST(reply AS BLOB))), min(written), max(written) FROM replies "
                "GROUP BY model ORDER BY model"
            )
            return [KeptReplies(*row) for row in connection.execute(select)]

    def remove(self, *, before: float | None = None, model: str | None = None) -> int:
        """Remove replies, and give the room back; how many.

        Args:
            before: Those that were written before, in seconds since 1970; `None`: all.
            model: Those of this model; `None`: of all.
        """
        with self._reading() as connection:
            if connection is None:
                return 0
            where = "(:before IS NULL OR written < :before) AND (:model IS NULL OR model = :model)"
            cursor = connection.execute(
                f"DELETE FROM replies WHERE {where}",  # noqa: S608
                {"before": before, "model": model},
            )
            if cursor.rowcount:
                with suppress(sqlite3.OperationalError):  # somebody uses it: the room is used again
                    connection.execute("VACUUM")
            return cursor.rowcount

    def close(self) -> None:
        """Close it; it is opened again where it is used again."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None and self._pid == os.getpid():
                connection.close()

    @contextmanager
    def _reading(self) -> Generator[sqlite3.Connection | None]:
        """A connection; `None` where there is no file yet."""
        with self._lock:
            is_open = self._connection is not None and self._pid == os.getpid()
            yield self._connected() if is_open or self.path.exists() else None

    def _made(self) -> sqlite3.Connection:
        """A connection to a file that is there now."""
        directory = self.path.parent
        if self._connection is None and not directory.exists():
            directory.mkdir(parents=True, exist_ok=True)
            (directory / ".gitignore").write_text("# what was measured here is no source\n*\n", "utf-8")
        return self._connected()

    def _connected(self) -> sqlite3.Connection:
        with self._lock:
            if self._pid != os.getpid():  # a connection must not be taken along into a child
                self._connection, self._pid = None, os.getpid()
            if self._connection is None:
                self._connection = self._opened()
            return self._connection

    def _opened(self) -> sqlite3.Connection:
        connection = self._connect()
        try:
            self._prepare(connection)
        except sqlite3.OperationalError as exc:
            connection.close()
            if exc.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
                raise
            # Where nobody can write, it is read without the files that readers and writers otherwise share.
            connection = self._connect("?immutable=1")
            if not self._is_ready(connection):
                connection.close()
                raise
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self, how: str = "") -> sqlite3.Connection:
        address = f"{self.path.absolute().as_uri()}{how}"
        return sqlite3.connect(address, uri=True, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if not self._is_ready(connection):
            # What models said is nobody else's business; SQLite gives its other files the same permissions. Not by
            # opening it: whoever closes a file gives up all locks that its process has on it, SQLite's too.
            with suppress(OSError):
                self.path.chmod(0o600)
            connection.execute("BEGIN IMMEDIATE")
            if not self._is_ready(connection):  # else another process was faster
                for statement in _SCHEMA:
                    connection.execute(statement)
            connection.execute("COMMIT")
        connection.execute("PRAGMA synchronous = NORMAL")
        with suppress(sqlite3.OperationalError):  # else writers wait for readers
            connection.execute("PRAGMA journal_mode = WAL")

    def _is_ready(self, connection: sqlite3.Connection) -> bool:
        version, application, tables = connection.execute(
            "SELECT user_version, application_id, (SELECT count(*) FROM sqlite_master) "
            "FROM pragma_user_version, pragma_application_id"
        ).fetchone()
        if (version, application) == (_VERSION, _APPLICATION):
            return True
        if version or application or tables:
            problem = "is a cache of another version of doteval"
            if application != _APPLICATION:
                problem = "is no cache of replies, but another program's database"
            raise ReplyCacheError(str(self.path), problem)
        return False
