"""One thread that writes to the database, so that no event loop ever waits for a disk or for another process."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Condition, Event, Thread
from typing import Generic, TypeVar

from .database import Connection

_ItemT = TypeVar("_ItemT")

_GATHER_SECONDS = 0.05
"""How long to gather items before a transaction begins: one for each item would take the event loop's time."""
_MOST = 1024
"""How many items a transaction has, before no more are added."""


class Writer(Generic[_ItemT]):
    """Writes what it is given, in that order.

    Whoever gives it something does not wait. All that was given to it until a transaction begins is written by it: what
    was committed survives the death of the process.

    Args:
        connect: Opens the database.
        write: Writes items, in one transaction.
        explained: Makes of what the database raised what is told.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        write: Callable[[Connection, list[_ItemT]], object],
        explained: Callable[[Exception], Exception],
    ) -> None:
        self._connect = connect
        self._write = write
        self._explained = explained
        self._queue: SimpleQueue[tuple[_ItemT, ...] | Event | None] = SimpleQueue()
        self._error: Exception | None = None
        self._changed = Condition()
        self._given = self._committed = 0
        self._hurry = Event()
        self._told: list[Event] = []
        self._thread = Thread(target=self._run, name="doteval-results", daemon=True)
        self._thread.start()

    def put(self, *items: _ItemT) -> int:
        """Have something written, all of it in one transaction; the number of the last item, for `wait`.

        Raises:
            StoreError: Writing has failed before.
        """
        self._check()
        with self._changed:
            self._given += len(items)
            self._queue.put(items)
            return self._given

    def hurry(self) -> None:
        """Do not wait for more: nothing comes before this is committed."""
        self._hurry.set()

    def wait(self, number: int, seconds: float) -> int:
        """Wait until what has this number is committed, or for some time; the number of the last one that is.

        Raises:
            StoreError: It could not be written.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._committed >= number or self._error is not None, seconds)
        self._check()
        return self._committed

    def flush(self) -> None:
        """Wait until all that was given before is committed.

        Raises:
            StoreError: It could not be written.
        """
        self._check()
        done = Event()
        self._queue.put(done)
        self._hurry.set()
        while not done.wait(1.0) and self._thread.is_alive():
            pass
        self._check()

    def close(self) -> None:
        """Write what is left, and end the thread.

        Raises:
            StoreError: It could not be written.
        """
        self._queue.put(None)
        self._hurry.set()
        self._thread.join()
        self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise self._explained(self._error) from self._error

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

    def _write_some(self, connection: Connection) -> bool:
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
