"""One thread that writes to the database, so that no event loop ever waits for a disk or for another process."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Condition, Event, Thread

Work = Callable[[sqlite3.Connection], object]

_GATHER_SECONDS = 0.02
"""How long to gather rows before a transaction begins: one for each row would take the event loop's time."""
_COMMIT_SECONDS = 0.5
"""How long a transaction may last. It ends before that where there is nothing left to write."""


class Writer:
    """Writes what it is given, in that order.

    Whoever gives it something does not wait. It commits when there is nothing more to write, and in any case after
    half a second: what was given to it before that survives the death of the process.

    Args:
        path: The database.
        connect: Opens it.
    """

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection]) -> None:
        self._path = path
        self._connect = connect
        self._queue: SimpleQueue[Work | Event | None] = SimpleQueue()
        self._error: Exception | None = None
        self._changed = Condition()
        self._given = self._committed = 0
        self._hurry = Event()
        self._thread = Thread(target=self._run, name="doteval-results", daemon=True)
        self._thread.start()

    def put(self, work: Work) -> int:
        """Have something written; its number, for `wait`.

        Raises:
            OSError: Writing has failed before.
        """
        self._check()
        with self._changed:
            self._given += 1
            self._queue.put(work)
            return self._given

    def hurry(self) -> None:
        """Do not wait for more: nothing comes before this is committed."""
        self._hurry.set()

    def wait(self, number: int, seconds: float) -> int:
        """Wait until what has this number is committed, or for some time; the number of the last one that is.

        Raises:
            OSError: It could not be written.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._committed >= number or self._error is not None, seconds)
        self._check()
        return self._committed

    def flush(self) -> None:
        """Wait until all that was given before is committed.

        Raises:
            OSError: It could not be written.
        """
        done = Event()
        self._queue.put(done)
        self._hurry.set()
        while not done.wait(1.0) and self._thread.is_alive():
            pass
        self._check()

    def close(self) -> None:
        """Write what is left, and end the thread.

        Raises:
            OSError: It could not be written.
        """
        self._queue.put(None)
        self._hurry.set()
        self._thread.join()
        self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise OSError(f"the results cannot be written to {self._path}: {self._error}") from self._error

    def _run(self) -> None:
        try:
            connection = self._connect()
        except Exception as exc:
            self._fail(exc)
            return
        try:
            while self._write_some(connection):
                pass
        except Exception as exc:
            self._fail(exc)
        finally:
            connection.close()

    def _write_some(self, connection: sqlite3.Connection) -> bool:
        """Write what is there, in one transaction; whether there may be more."""
        item = self._queue.get()
        if not isinstance(item, Event):
            self._hurry.wait(_GATHER_SECONDS)
        self._hurry.clear()
        told: list[Event] = []
        count = 0
        connection.execute("BEGIN IMMEDIATE")
        try:
            end = time.monotonic() + _COMMIT_SECONDS
            while item is not None:
                if isinstance(item, Event):
                    told.append(item)
                else:
                    item(connection)
                    count += 1
                if time.monotonic() > end:
                    break
                try:
                    item = self._queue.get_nowait()
                except Empty:
                    break
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        with self._changed:
            self._committed += count
            self._changed.notify_all()
        for event in told:
            event.set()
        return item is not None

    def _fail(self, error: Exception) -> None:
        """Remember it, and let nobody wait for ever."""
        with self._changed:
            self._error = error
            self._changed.notify_all()
        while True:
            try:
                item = self._queue.get_nowait()
            except Empty:
                return
            if isinstance(item, Event):
                item.set()
