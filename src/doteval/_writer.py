"""``Writer``: one thread that writes to a database, so that no event loop waits for a disk or for another process."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from queue import Empty, SimpleQueue
from threading import Condition, Event, Thread
from typing import Generic, TypeVar

_ItemT = TypeVar("_ItemT")
_ConnectionT = TypeVar("_ConnectionT", bound=sqlite3.Connection)

_GATHER_SECONDS = 0.05
"""How long to gather items before a transaction begins: one for each item would take the event loop's time."""
_MOST = 1024
"""How many items a transaction has, before no more are added."""
_LOOK_SECONDS = 1.0
"""How often who flushes looks whether there still is a thread: a forked child has none."""


class Writer(Generic[_ItemT, _ConnectionT]):
    """Writes what it is given, in that order, until something cannot be written.

    Whoever gives it something does not wait. All that was given to it until a transaction begins is written by it: what
    was committed survives the death of the process.

    Args:
        name: What the thread is for; a part of its name.
        connect: Opens the database; called in the thread.
        write: Writes items, in one transaction; called in the thread.
        explained: Makes of what the thread has met what its users are told.
        ended: Called in the thread when it writes nothing any more.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], _ConnectionT],
        write: Callable[[_ConnectionT, list[_ItemT]], object],
        explained: Callable[[Exception], Exception],
        ended: Callable[[], object] = lambda: None,
    ) -> None:
        self._connect = connect
        self._write = write
        self._explained = explained
        self._ended = ended
        self._queue: SimpleQueue[tuple[_ItemT, ...] | Event | None] = SimpleQueue()
        self._changed = Condition()
        self._error: Exception | None = None
        self._given = self._committed = 0
        self._told: list[Event] = []
        self._hurry = Event()
        self._thread = Thread(target=self._run, name=f"doteval-{name}", daemon=True)
        self._thread.start()

    @property
    def has_failed(self) -> bool:
        """Whether it writes nothing any more."""
        return self._error is not None

    def put(self, *items: _ItemT) -> int:
        """Have something written, all of it in one transaction; the number of the last item, for `wait`.

        Raises:
            Exception: As `explained` says, where writing has failed before.
        """
        with self._changed:
            self._check()
            self._given += len(items)
            self._queue.put(items)
            return self._given

    def hurry(self) -> None:
        """Do not wait for more: nothing comes before this is committed."""
        self._hurry.set()

    def wait(self, number: int, seconds: float) -> int:
        """Wait until what has this number is committed, or for some time; the number of the last one that is.

        Raises:
            Exception: As `explained` says, where it could not be written.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._committed >= number or self._error is not None, seconds)
        self._check()
        return self._committed

    def flush(self) -> None:
        """Wait until all that was given before is committed.

        Raises:
            Exception: As `explained` says, where it could not be written.
        """
        done = Event()
        with self._changed:  # who comes after a failure is told of it, and who came before is woken by it
            self._check()
            self._queue.put(done)
        self._hurry.set()
        while not done.wait(_LOOK_SECONDS) and self._thread.is_alive():
            pass
        self._check()

    def close(self) -> None:
        """Write what is left, and end the thread.

        Raises:
            Exception: As `explained` says, where it could not be written.
        """
        self._queue.put(None)
        self._hurry.set()
        self.join()
        self._check()

    def join(self) -> None:
        """Wait until the thread has ended, which `close` ends."""
        self._thread.join()

    def _check(self) -> None:
        if self._error is not None:
            told = self._explained(self._error)
            raise told from (None if told is self._error else self._error)

    def _run(self) -> None:
        try:
            with closing(self._connect()) as connection:
                while self._write_some(connection):
                    pass
        except Exception as exc:
            self._fail(exc)
        finally:
            self._ended()

    def _write_some(self, connection: _ConnectionT) -> bool:
        """Write what is there, in one transaction; whether there may be more."""
        given = self._queue.get()
        if not isinstance(given, Event):
            self._hurry.wait(_GATHER_SECONDS)
        self._hurry.clear()
        items: list[_ItemT] = []
        told = self._told = []
        while given is not None:
            if isinstance(given, Event):
                told.append(given)
            else:
                items += given
            if len(items) >= _MOST:
                break
            try:
                given = self._queue.get_nowait()
            except Empty:
                break
        if items:
            self._write(connection, items)
        with self._changed:
            self._committed += len(items)
            self._changed.notify_all()
        for event in told:
            event.set()
        return given is not None

    def _fail(self, error: Exception) -> None:
        """Remember it, and let nobody wait for ever."""
        with self._changed:
            self._error = error
            self._changed.notify_all()
        for event in self._told:
            event.set()
        while True:
            try:
                item = self._queue.get_nowait()
            except Empty:
                return
            if isinstance(item, Event):
                item.set()
