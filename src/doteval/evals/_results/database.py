"""The SQLite file of a store: its tables, and connections to it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path

from ..._database_files import log_of, what_is_left_beside
from ..._unwritable import largest_file, may_read, most_open_files, why_unwritable
from .._errors import StoreError
from . import gone
from .overwritten import Seen, expected, seen
from .unclean import Unclean

_VERSION = 8
_APPLICATION = 0x64_74_65_76  # "dtev"
PATIENCE = 60.0
"""How long to wait for another process that writes, in seconds."""

_SCHEMA = """
CREATE TABLE evaluations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- of no other evaluation, ever: a run that goes on may write to it
    experiment TEXT NOT NULL,
    name TEXT NOT NULL,
    model TEXT NOT NULL DEFAULT '',
    identity TEXT NOT NULL,  -- what its results depend on
    started REAL NOT NULL,
    finished REAL,
    rows INTEGER,
    epochs INTEGER NOT NULL DEFAULT 1,  -- how many samples of each row count, of those that are there
    run TEXT,
    pending INTEGER NOT NULL DEFAULT 0  -- takes the place of the one of its name with its first result
);
CREATE UNIQUE INDEX names ON evaluations (experiment, name) WHERE NOT pending;
CREATE TABLE rows (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- another one whenever it is written, and of no other row, ever
    evaluation INTEGER NOT NULL REFERENCES evaluations (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,  -- its place in the dataset
    key TEXT NOT NULL,
    sample INTEGER NOT NULL,  -- which of the row's, counted from 1
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
    usage_by_model TEXT NOT NULL,
    altered TEXT NOT NULL,  -- what of it is not kept as it was
    written REAL NOT NULL,
    UNIQUE (evaluation, key, sample)
);
CREATE INDEX places ON rows (evaluation, number, key, sample);
CREATE TABLE transcripts (  -- apart, so that rows are read without them
    evaluation INTEGER NOT NULL,
    key TEXT NOT NULL,
    sample INTEGER NOT NULL,
    requests TEXT NOT NULL,
    PRIMARY KEY (evaluation, key, sample),
    FOREIGN KEY (evaluation, key, sample) REFERENCES rows (evaluation, key, sample) ON DELETE CASCADE
);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    evaluation INTEGER NOT NULL REFERENCES evaluations (id) ON DELETE CASCADE,
    started REAL NOT NULL,
    about TEXT NOT NULL  -- what it was run with
);
CREATE INDEX runs_of ON runs (evaluation);
"""


class Connection(sqlite3.Connection):
    """A connection that knows its file."""

    file: tuple[int, int] | None = None
    """Device and number of the file; `None` where there is none."""
    log: tuple[int, int] | None = None
    """The same of the log of what is written, once it is there; SQLite removes it where nobody has the file open."""
    seen: Seen | None = None
    """What was last seen in the file, where somebody goes on writing."""


class Database:
    """A file, which is made when something is to be written to it.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()  # what runs meanwhile may go to another directory
        self.shown = str(path)
        """How it was named, for messages."""
        self._unclean = Unclean(self.path)
        self._log: tuple[int, int] | None = None
        """The log to which this process has written itself: nobody who was killed has left it."""
        self.begun = 0
        """The number that an evaluation had last when a run began that is to be written."""

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection | None]:
        """A connection, as long as the block lasts, that sees what was committed when it began and nothing later.

        It is `None` where there is nothing to read yet.

        Raises:
            StoreError: The file cannot be read, or is something else.
        """
        with self.explaining(), self.opened() as connection:
            yield connection

    @contextmanager
    def opened(self) -> Generator[sqlite3.Connection | None]:
        """The same where the block has other things in it, too: what they raise stays as it is."""
        with self.explaining():
            connection = self._open_for_reading()
        try:
            yield connection
        finally:
            if connection is not None:
                connection.close()

    def explaining(self) -> AbstractContextManager[None]:
        """What SQLite raises in the block is about this file."""
        return self._explained(sqlite3.DatabaseError)

    @contextmanager
    def writing(self) -> Generator[sqlite3.Connection]:
        """A connection to write with, as long as the block lasts, all or nothing; the file is made where it is not.

        Raises:
            StoreError: The file cannot be written, or is something else.
        """
        with self.explaining():
            with self._explained(OSError):
                self._prepare()
            with closing(self.connect()) as connection, transaction(connection):
                yield connection

    def connect(self) -> Connection:
        """Open the file, whose tables are there, for writing."""
        file = self.identity()  # before it is opened: what takes its place from now on is noticed
        connection = self._open()
        connection.file = file
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")  # with WAL, it survives the death of a process
        return connection

    def connect_to_go_on(self) -> Connection:
        """The same for who writes many times, and calls `check` before and after each."""
        connection, begun = self.connect(), self.begun
        # So that the file itself knows of the run, unless others read it or write to it just now.
        is_busy, written, taken = connection.execute("PRAGMA wal_checkpoint").fetchone()
        is_in_file = not is_busy and written == taken
        with suppress(OSError):  # it is gone, as `check` says
            connection.seen = seen(self.path, PATIENCE, expected(begun if is_in_file else 0))
        return connection

    def identity(self) -> tuple[int, int] | None:
        """Device and number of the file; `None` where there is none."""
        return _identity(self.path)

    def check(self, connection: Connection) -> None:
        """What the connection writes is found under the path.

        Raises:
            StoreError: The file was deleted, moved or written over; SQLite goes on, and nobody would see that.
        """
        log_file = log_of(self.path)
        log = _identity(log_file)  # before the file: where both move with their directory, it is that
        replaced = "was deleted, moved or replaced while results were written to it"
        if self.identity() != connection.file:
            advice = "Run it again; where the file was moved, put it back, and what it has is not asked again."
            raise StoreError(self.shown, replaced, advice)
        with suppress(OSError):  # it has gone just now
            connection.seen = connection.seen and seen(self.path, PATIENCE, connection.seen)
        if connection.seen is None:
            raise StoreError(self.shown, f"{replaced}: its content is another one", self._how_to_put_back())
        if connection.log is not None and log != connection.log:
            raise StoreError(
                self.shown,
                f"lost {log_file.name} while results were written to it: another process has removed that, as after "
                "this one has copied the store itself, which gives up the locks that SQLite has on it",
                "Run it again, and copy the store with 'sqlite3 FILE .backup', or from another process.",
            )
        connection.log = self._log = log

    def _who_may(self) -> str:
        try:
            owner = f"its owner, {self.path.owner()},"
        except (OSError, KeyError, NotImplementedError):  # a number without a name, or no owners at all
            owner = "its owner"
        return f"Only {owner} can give you a copy, or let you read it: chmod g+rw, for a group that shares it."

    def _check_what_was_left(self) -> None:
        """Before the file is opened.

        Raises:
            StoreError: The log beside it is another one's.
        """
        is_own = self._log is not None and self._log == _identity(log_of(self.path))
        if not is_own and self._unclean.is_damaged(PATIENCE):
            log, shared = self._beside()
            raise StoreError(
                self.shown,
                f"and {log}, which a run that was killed has left, do not belong together, as where a backup was put "
                "back",
                f"Where one was, remove {log} and {shared}. Else copy all three files, and save what is left with "
                f"'sqlite3 {self.shown} .recover'.",
            )

    def _how_to_put_back(self) -> str:
        log, shared = self._beside()
        return f"To put a backup back, end all runs, remove {log} and {shared}, copy it, and run again."

    def _beside(self) -> tuple[str, str]:
        log = log_of(self.path).name
        return log, f"{log.removesuffix('-wal')}-shm"

    def explained(self, error: Exception) -> StoreError:
        """What is to be raised for an error of SQLite, or of the file system."""
        path = self.shown
        if isinstance(error, StoreError):
            return StoreError(error.path, error.problem, error.advice)
        elsewhere = "Name another file, or move it away."
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if _is_directory(self.path):
            return StoreError(path, "is a directory", f"Name a file, such as {Path(self.shown) / 'results.db'}.")
        kept = "what is in the file already stays there."
        match code:
            case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_IOERR if (opened := most_open_files()) is not None:
                problem = f"cannot be opened: this process has {opened} files open, and may have no more"
                return StoreError(path, problem, f"Close some, or raise the limit ('ulimit -n'): {kept}")
            case sqlite3.SQLITE_NOTADB:
                return StoreError(path, f"is no store of results: {error}", elsewhere)
            case sqlite3.SQLITE_CORRUPT:
                advice = f"Save what is left with 'sqlite3 {path} .recover', and move it away."
                return StoreError(path, f"is damaged: {error}", advice)
            case sqlite3.SQLITE_FULL:
                return StoreError(path, "cannot be written: the disk is full", f"Make room and run it again: {kept}")
            case sqlite3.SQLITE_IOERR if (most := largest_file()) is not None:
                problem = f"cannot be written: a file may have {most:,} bytes here, as 'ulimit -f' says"
                return StoreError(path, problem, f"Raise that limit and run it again: {kept}")
            case sqlite3.SQLITE_BUSY:
                problem = f"cannot be written: another process has kept it for {PATIENCE:g} s"
                return StoreError(path, problem, "Look for a program that has it open.")
            case _:
                if self.path.is_symlink() and not self.path.exists():
                    problem = f"is a link to {self.path.readlink()}, which is not there and cannot be made"
                    return StoreError(path, problem, "Make the directory that it leads to, or remove the link.")
                if not may_read(self.path):
                    return StoreError(path, "may not be read by this user", self._who_may())
                if (why := why_unwritable(self.path)) is not None:
                    advice = (
                        "Name a file elsewhere, such as a copy: --doteval-eval-store FILE in pytest, --store FILE of "
                        "the commands, store= of run."
                    )
                    return StoreError(path, f"cannot be written: {why}", advice)
                problem = getattr(error, "strerror", None) or str(error)
                advice = "Look at the permissions of the file and of its directory, or name another file."
                return StoreError(path, f"cannot be used: {problem}", advice)

    @contextmanager
    def _explained(self, kind: type[Exception]) -> Generator[None]:
        try:
            yield
        except StoreError:
            raise
        except kind as exc:
            raise self.explained(exc) from exc

    def _prepare(self) -> None:
        """Make the file and its tables, where they are not there."""
        directory = self.path.parent
        if not directory.exists():
            directory.mkdir(parents=True, exist_ok=True)
            (directory / ".gitignore").write_text("# what was measured here is no source\n*\n", "utf-8")
        self._check_what_was_left()
        with closing(self._open()) as connection:
            if not self._is_ready(connection):  # what is not ours is not touched
                # What was asked and said is nobody else's business; SQLite gives its other files the same permissions.
                # Not by opening it: whoever closes a file gives up all locks that its process has on it, SQLite's too.
                with suppress(OSError):
                    self.path.chmod(0o600)
                self._make_tables(connection)
            self._write_ahead(connection)

    def _open_for_reading(self) -> Connection | None:
        with self._explained(OSError):
            is_there = self.path.exists()
        if not is_there:
            return None
        self._check_what_was_left()
        with ExitStack() as opened:
            connection = opened.enter_context(closing(self._open()))
            # Another process may have made the file, but not yet its tables.
            try:
                is_ready = self._begin_to_read(connection)
            except sqlite3.OperationalError as exc:
                is_about_place = exc.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
                if not is_about_place or most_open_files() is not None:
                    raise
                connection.close()
                connection = opened.enter_context(closing(self._open_where_nobody_can_write()))
                is_ready = self._begin_to_read(connection)
            if is_ready:
                opened.pop_all()
                return connection
        return None

    def _begin_to_read(self, connection: sqlite3.Connection) -> bool:
        """Begin a transaction, which sees what it sees from its first read on; whether the tables are there."""
        connection.execute("BEGIN")
        return self._is_ready(connection)

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        with transaction(connection):
            if self._is_ready(connection):
                return  # another process was faster
            for statement in (*_SCHEMA.split(";"), *gone.SCHEMA):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")

    def _write_ahead(self, connection: sqlite3.Connection) -> None:
        """Have writers write beside readers. SQLite does not wait for one who is about to write."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as exc:
                if exc.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def _open(self) -> Connection:
        return sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None, factory=Connection)

    def _open_where_nobody_can_write(self) -> Connection:
        """Without the files that readers and writers otherwise share: somebody else's directory, or an artifact.

        Raises:
            StoreError: Some of the results are in these files.
        """
        with self._explained(OSError):
            left = what_is_left_beside(self.path)
        if left is not None:
            raise StoreError(
                self.shown,
                "cannot be read here: a run that was killed, or still goes on, has left results in "
                f"{left.name}, which nobody can take over who may not write",
                "Copy both files to where you may write, and read them there.",
            )
        address = f"{self.path.as_uri()}?immutable=1"
        return sqlite3.connect(address, uri=True, isolation_level=None, factory=Connection)

    def _is_ready(self, connection: sqlite3.Connection) -> bool:
        """Whether the tables are there; an empty file is not ready.

        Raises:
            StoreError: There is something else.
        """
        # One statement, so that it sees another process's transaction whole or not at all.
        version, application, tables = connection.execute(
            "SELECT user_version, application_id, (SELECT count(*) FROM sqlite_master) "
            "FROM pragma_user_version, pragma_application_id"
        ).fetchone()
        if (version, application) == (_VERSION, _APPLICATION):
            return True
        if application == _APPLICATION:
            raise StoreError(
                self.shown,
                f"is a store of another version of doteval: its schema is {version}, known is {_VERSION}",
                "Name another file, or move it away.",
            )
        if version or application or tables:
            raise StoreError(
                self.shown,
                "is no store of results, but another program's database",
                "Name another file.",
            )
        return False


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None]:
    """Have all of the block written, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite itself may have rolled it back: where the disk is full, say
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise
