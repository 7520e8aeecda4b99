"""``Opener``: opens the file of a cache, makes it where it is not there, and sees whether it still is."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from threading import RLock

from .._database_files import what_is_left_beside
from .._errors import ReplyCacheError
from .._hints import command_line

PATIENCE = 1.0
"""How long a request waits for another process that writes, in seconds; then it is sent."""
_PATIENCE_OF_THE_WRITER = 20.0
"""How long replies wait that are to be written; nobody waits for them before the end."""
_VERSION = 2
_APPLICATION = 0x64_74_72_63  # "dtrc"
_KEY_BYTES = 32
_SCHEMA = (
    "CREATE TABLE hashing (key BLOB NOT NULL)",  # what digests of requests are made with
    """
    CREATE TABLE replies (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        request BLOB NOT NULL,  -- a digest of what was asked
        tag BLOB NOT NULL,  -- of the use it was made for
        model TEXT NOT NULL,
        reply TEXT NOT NULL,
        written REAL NOT NULL
    )
    """,
    "CREATE INDEX replies_by_tag ON replies (request, tag)",
    "CREATE INDEX replies_by_request ON replies (request)",
    """
    CREATE TABLE uses (
        scope BLOB NOT NULL,  -- an evaluation
        request BLOB NOT NULL,
        tag BLOB NOT NULL,  -- which of several requests that are the same
        reply INTEGER NOT NULL REFERENCES replies (id) ON DELETE CASCADE,
        PRIMARY KEY (scope, request, tag),
        UNIQUE (reply, scope)
    ) WITHOUT ROWID
    """,
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_VERSION}",
)


class FileGoneError(ReplyCacheError):
    """The file is not what it was when it was opened."""


class Opener:
    """Opens connections to one file; may be called from any thread.

    Args:
        path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()  # what runs meanwhile may go to another directory
        self._shown = str(path)
        self._lock = RLock()
        self._place: tuple[int, int] | None = None
        self._key = b""

    @property
    def is_known(self) -> bool:
        """Whether it was opened."""
        return self._place is not None

    def open(self, patience: float) -> sqlite3.Connection:
        """A connection.

        Args:
            patience: How long it waits for others who write, in seconds.

        Raises:
            ReplyCacheError: The file is something else, or not what it was.
        """
        with self._lock:
            self.check_place()
            connection = self._opened(patience)
            try:
                connection.execute("PRAGMA foreign_keys = ON")
                (self._key,) = connection.execute("SELECT key FROM hashing").fetchone() or (b"",)
                self._place = self._place or self._present_place()
                self.check_place()
            except BaseException:
                connection.close()
                raise
            return connection

    def open_for_writing(self) -> sqlite3.Connection:
        """A connection to a file that is there now."""
        directory = self._path.parent
        if not directory.exists():
            directory.mkdir(parents=True, exist_ok=True)
            (directory / ".gitignore").write_text("# what was measured here is no source\n*\n", "utf-8")
        return self.open(_PATIENCE_OF_THE_WRITER)

    def check_place(self) -> None:
        """Raise where the file is not the one that was opened.

        Raises:
            FileGoneError: It was removed, or replaced.
        """
        if self._place is not None and self._place != self._present_place():
            raise FileGoneError(
                self._shown,
                "was removed, or replaced, while it was in use",
                "What was in it is asked again in the next run. Remove replies with "
                f"`{command_line('cache --clear', option='--file', file=self._path)}` instead.",
            )

    def forget(self) -> None:
        """All that was opened is closed."""
        with self._lock:
            self._place, self._key = None, b""

    def forked(self) -> None:
        """In a child, nobody has the lock, and nothing is open."""
        self._lock = RLock()
        self.forget()

    def keyed(self, digest: bytes) -> bytes:
        """What a request is known by in this file, which tells nothing without it."""
        return blake2b(digest, key=self._key, digest_size=16).digest()

    def _present_place(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _opened(self, patience: float) -> sqlite3.Connection:
        connection = self._connect(patience)
        try:
            self._prepare(connection)
        except sqlite3.OperationalError as exc:
            connection.close()
            if exc.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
                raise
            if what_is_left_beside(self._path) is not None:  # nobody can take it over who cannot write
                raise
            # Where nobody can write, it is read without the files that readers and writers otherwise share.
            connection = self._connect(patience, "?immutable=1")
            if not self._is_ready(connection):
                connection.close()
                raise
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self, patience: float, how: str = "") -> sqlite3.Connection:
        address = f"{self._path.as_uri()}{how}"
        return sqlite3.connect(address, uri=True, timeout=patience, isolation_level=None, check_same_thread=False)

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if not self._is_ready(connection):
            # What models said is nobody else's business; SQLite gives its other files the same permissions. Not by
            # opening it: whoever closes a file gives up all locks that its process has on it, SQLite's too.
            with suppress(OSError):
                self._path.chmod(0o600)
            connection.execute("BEGIN IMMEDIATE")
            if not self._is_ready(connection):  # else another process was faster
                for statement in _SCHEMA:
                    connection.execute(statement)
                connection.execute("INSERT INTO hashing VALUES (?)", (os.urandom(_KEY_BYTES),))
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
            raise ReplyCacheError(self._shown, problem)
        return False
