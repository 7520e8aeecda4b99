"""The SQLite file of a cache, which many processes may use at once.

A reply belongs to the requests that have got it, its *uses*, and no use is ever taken from the request that has it. So
what a row got, it gets again, whatever else is asked. Within one evaluation, a reply has one use: that is what the keys
of the table say, so it holds for processes beside each other, too. Other evaluations that ask the same share the reply.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import Any, NamedTuple

from .._errors import ReplyCacheError
from .._forked import tell_when_forked
from .._writer import Writer
from .opening import PATIENCE, Opener

_PATIENCE_OF_PEOPLE = 10.0
"""How long somebody waits at most who removes replies, in seconds."""
_UNUSED = "NOT EXISTS (SELECT 1 FROM uses WHERE uses.reply = replies.id AND uses.scope = :scope)"
_OF_THE_SAME_ROW = f"""
    SELECT id, reply FROM replies WHERE request = :request AND tag = :tag AND {_UNUSED} ORDER BY id LIMIT 1
"""  # noqa: S608
_OF_ANY_ROW = f"""
    SELECT id, reply FROM replies WHERE request = :request AND id > :after AND {_UNUSED}
    AND (NOT :has_id OR hex(tag) NOT GLOB '*[13579BDF]') ORDER BY id LIMIT 1
"""  # noqa: S608
_USE = "INSERT OR IGNORE INTO uses SELECT :scope, :request, :tag, id FROM replies WHERE id = :reply"


class Use(NamedTuple):
    """Who gets a reply.

    Args:
        scope: The evaluation.
        request: What is asked.
        tag: By whom in the evaluation, and for which time; see `tag_of`.
    """

    scope: bytes
    request: bytes
    tag: bytes

    @property
    def has_id(self) -> bool:
        """Whether its row is known by a name of its own."""
        return bool(self.tag[-1] & 1)


def tag_of(digest: bytes, *, has_id: bool) -> bytes:
    """What a use is known by in its evaluation; the last bit says whether its row has a name of its own.

    A reply of such a row waits for the row of that name in other evaluations, and is given to no other that has one.
    """
    return digest[:-1] + bytes([digest[-1] & 0xFE | has_id])


class Kept(NamedTuple):
    """A reply on its way into the file.

    Args:
        use: Who got it.
        model: Who replied.
        reply: What.
        replaces: Whether it takes the place of another one that is there.
    """

    use: Use
    model: str
    reply: str
    replaces: bool


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
    """The file. It may be called from any thread. A thread of its own writes; all else blocks for about a second.

    Args:
        path: Where it is; it is made when something is to be kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.shown = str(path)
        """How it was named, for messages."""
        self._lock = RLock()
        self._opener = Opener(path)
        self._connection: sqlite3.Connection | None = None
        self._writer: Writer[Kept, sqlite3.Connection] | None = None
        self._pending: dict[Use, Kept] = {}
        self._seen: dict[tuple[object, ...], int] = {}
        """Up to which number no reply to a request is free in an evaluation, for rows with and without an id."""
        self._waits = True
        tell_when_forked(self)

    def check(self) -> None:
        """Raise where there is something else under the path.

        Raises:
            ReplyCacheError: There is.
        """
        try:
            if self.path.exists():
                self._connected()
        except ReplyCacheError:
            raise
        except (sqlite3.Error, OSError) as exc:
            if getattr(exc, "sqlite_errorcode", 0) == sqlite3.SQLITE_NOTADB:
                raise ReplyCacheError(self.shown, f"is no cache of replies: {exc}") from exc
            # else it cannot be read or written now: then it does not answer

    def pending(self, use: Use) -> str | None:
        """The reply of a use that is about to be written; never blocks."""
        kept = self._pending.get(use)
        return None if kept is None else kept.reply

    def find(self, use: Use) -> str | None:
        """The reply of a use."""
        with self._reading() as connection:
            return None if connection is None else _found(connection, self._named(use))

    def same(self, use: Use) -> str | None:
        """The reply that the same row of another evaluation has, and none of this one."""
        with self._reading() as connection:
            found = None if connection is None else connection.execute(_OF_THE_SAME_ROW, self._named(use)).fetchone()
            return None if found is None else found[1]

    def share(self, use: Use) -> str | None:
        """A reply that no request of the evaluation has; from now on this one does."""
        with self._reading() as connection:
            if connection is None:
                return None
            named = self._named(use)
            while True:
                number, reply = connection.execute(_OF_THE_SAME_ROW, named).fetchone() or (None, "")
                if number is None:
                    number, reply = self._next(connection, named) or (None, "")
                if number is None:
                    return None
                connection.execute(f"PRAGMA busy_timeout = {int(PATIENCE * 1000) if self._waits else 0}")
                if connection.execute(_USE, {**named, "reply": number}).rowcount == 1:
                    return reply
                if (known := _found(connection, named)) is not None:  # another process was faster
                    return known

    def put(self, kept: Kept) -> None:
        """Have a reply written; never blocks.

        Raises:
            Exception: What writing has raised before.
        """
        with self._lock:
            if self._writer is None:
                self._writer = Writer("replies", self._opener.open_for_writing, self._write, _as_it_is)
            try:
                self._pending[kept.use] = kept
                self._writer.put(kept)
            except BaseException:
                self._pending.clear()
                raise

    def flush(self) -> None:
        """Wait until all that was put is written.

        Raises:
            Exception: What writing has raised.
        """
        writer = self._writer
        if writer is not None:
            writer.flush()

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
            connection.execute(f"PRAGMA busy_timeout = {int(_PATIENCE_OF_PEOPLE * 1000)}")
            try:
                where = "(:before IS NULL OR written < :before) AND (:model IS NULL OR model = :model)"
                cursor = connection.execute(
                    f"DELETE FROM replies WHERE {where}",  # noqa: S608
                    {"before": before, "model": model},
                )
                if cursor.rowcount:
                    with suppress(sqlite3.OperationalError):  # somebody uses it: the room is used again
                        connection.execute("VACUUM")
                return cursor.rowcount
            finally:
                connection.execute(f"PRAGMA busy_timeout = {int(PATIENCE * 1000)}")

    def close(self) -> None:
        """Write what is left, and close it; it is opened again where it is used again."""
        with self._lock:
            connection, self._connection = self._connection, None
            writer, self._writer = self._writer, None
            self._seen.clear()
        try:
            if writer is not None:
                with suppress(Exception):  # who flushes is told
                    writer.close()
        finally:
            self._pending.clear()
            self._opener.forget()
            if connection is not None:
                with self._lock:
                    connection.close()

    def _named(self, use: Use) -> dict[str, Any]:
        return {**use._asdict(), "request": self._opener.keyed(use.request), "has_id": use.has_id}

    def _next(self, connection: sqlite3.Connection, named: dict[str, Any]) -> tuple[int, str] | None:
        """The first reply to a request that is free for a row of the evaluation."""
        place = named["scope"], named["request"], named["has_id"]
        after = self._seen.get(place, 0)
        found: tuple[int, str] | None = connection.execute(_OF_ANY_ROW, {**named, "after": after}).fetchone()
        if found is not None:
            self._seen[place] = found[0] - 1
        else:
            (last,) = connection.execute("SELECT max(id) FROM replies WHERE request = :request", named).fetchone()
            if last is not None:
                self._seen[place] = last
        return found

    def _write(self, connection: sqlite3.Connection, items: list[Kept]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            for kept in items:
                _put(connection, self._named(kept.use), kept)
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            self._opener.check_place()
            raise
        self._opener.check_place()
        self._waits = True
        for kept in items:
            if self._pending.get(kept.use) is kept:
                self._pending.pop(kept.use, None)

    @contextmanager
    def _reading(self) -> Generator[sqlite3.Connection | None]:
        """A connection; `None` where there is no file yet.

        Whoever has waited in vain has waited for all: until something is written to the file again, nobody does.
        """
        with self._lock:
            if self._connection is None and not self._opener.is_known and not self.path.exists():
                yield None
                return
            try:
                self._opener.check_place()
                yield self._connected()
            except sqlite3.OperationalError as exc:
                if is_busy(exc):
                    self._waits = False
                raise

    def _connected(self) -> sqlite3.Connection:
        with self._lock:
            if self._connection is None:
                self._connection = self._opener.open(PATIENCE if self._waits else 0.0)
            return self._connection

    def forked(self) -> None:
        """A child has no thread that writes, nobody who could release the lock, and must not use the connection."""
        self._lock = RLock()
        self._connection = self._writer = None
        self._pending.clear()
        self._seen.clear()
        self._opener.forked()


def _as_it_is(error: Exception) -> Exception:
    return error


def is_busy(error: BaseException) -> bool:
    """Whether another process uses the file, which passes."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, sqlite3.OperationalError) and code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _found(connection: sqlite3.Connection, named: dict[str, Any]) -> str | None:
    found = connection.execute(
        "SELECT replies.reply FROM uses JOIN replies ON replies.id = uses.reply "
        "WHERE uses.scope = :scope AND uses.request = :request AND uses.tag = :tag",
        named,
    ).fetchone()
    return None if found is None else found[0]


def _put(connection: sqlite3.Connection, named: dict[str, Any], kept: Kept) -> None:
    """Keep a reply, unless its use has one that it does not replace: another process was faster, or read for longer."""
    where = "scope = :scope AND request = :request AND tag = :tag"
    before = connection.execute(f"SELECT reply FROM uses WHERE {where}", named).fetchone()  # noqa: S608
    if before is not None:
        if not kept.replaces:
            return
        connection.execute(f"DELETE FROM uses WHERE {where}", named)  # noqa: S608
        connection.execute(
            "DELETE FROM replies WHERE id = ? AND NOT EXISTS (SELECT 1 FROM uses WHERE reply = replies.id)", before
        )
    cursor = connection.execute(
        "INSERT INTO replies (request, tag, model, reply, written) VALUES (?, ?, ?, ?, ?)",
        (named["request"], named["tag"], kept.model, kept.reply, time.time()),
    )
    connection.execute(
        "INSERT INTO uses (scope, request, tag, reply) VALUES (:scope, :request, :tag, :reply)",
        {**named, "reply": cursor.lastrowid},
    )
