"""``Writer``: a thread that writes to the file of a cache, so that no row waits for a disk or for another process."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import Generic, TypeVar

_ItemT = TypeVar("_ItemT")

_GATHER_SECONDS = 0.05
"""How long to gather items before a transaction begins: one for each item would take the event loop's time."""
_MOST = 1024
"""How many items a transaction may have."""


class Writer(Generic[_ItemT]):
    """Writes what it is given, in that order, until something cannot be written. Who gives it something does not wait.

    Args:
        connect: Opens the database.
        write: Writes items, in one transaction.
    """

    def __init__(
        self, connect: Callable[[], sqlite3.Connection], write: Callable[[sqlite3.Connection, list[_ItemT]], object]
    ) -> None:
        self._connect = connect
        self._write = write
        self._queue: SimpleQueue[_ItemT | Event | None] = SimpleQueue()
        self._lock = Lock()
        self._error: Exception | None = None
        self._told: list[Event] = []
        self._hurry = Event()
        self._thread = Thread(target=self._run, name="doteval-replies", daemon=True)
        self._thread.start()

    def put(self, item: _ItemT) -> None:
        """Have something written.

        Raises:
            Exception: What writing has raised before.
        """
        self._give(item)

    def flush(self) -> None:
        """Wait until all that was given before is written.

        Raises:
            Exception: What writing has raised.
        """
        done = Event()
        self._give(done)
        self._hurry.set()
        done.wait()
        self._check()

    def close(self) -> None:
        """Write what is left, and end the thread.

        Raises:
            Exception: What writing has raised.
        """
        self._queue.put(None)
        self._hurry.set()
        self._thread.join()
        self._check()

    def _give(self, item: _ItemT | Event) -> None:
        with self._lock:  # whoever comes after a failure is told of it, and whoever came before is woken by it
            self._check()
            self._queue.put(item)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

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
        items: list[_ItemT] = []
        self._told = []
        while item is not None:
            if isinstance(item, Event):
                self._told.append(item)
            else:
                items.append(item)
            if len(items) == _MOST:
                break
            try:
                item = self._queue.get_nowait()
            except Empty:
                break
        if items:
            self._write(connection, items)
        for event in self._told:
            event.set()
        return item is not None

    def _fail(self, error: Exception) -> None:
        """Remember it, and let nobody wait for ever."""
        with self._lock:
            self._error = error
        for event in self._told:
            event.set()
        while True:
            try:
                item = self._queue.get_nowait()
            except Empty:
                return
            if isinstance(item, Event):
                item.set()
