"""``Store``: the results of all evaluations, in one SQLite file that many processes may write to at once."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from anyio import CancelScope, to_thread

from .._errors import ConcurrentRunError, StoreError
from .claims import drop, new_claim, process_of
from .database import Connection, Database
from .plain import storable
from .reading import Results, Snapshot, Stored, find
from .record import Record
from .rows import PendingRow, Work, write_pending
from .writer import Writer

DEFAULT_PATH = Path(".doteval", "results.db")
"""Where results are kept, seen from the directory of the project."""


class Store(Results):
    """The results of all evaluations.

    Use it with ``async with``, or with ``with``, or call `close`. Reading needs neither.

    Args:
        path: The file; it is made when something is written.
    """

    def __init__(self, path: Path | str = DEFAULT_PATH) -> None:
        self.path = Path(path)
        self._database = Database(self.path)
        self._writer: Writer[PendingRow | Work] | None = None
        self._claims: dict[int, str] = {}
        self._lost: set[int] = set()
        """The evaluations that somebody else has thrown away."""

    def _connected(self) -> AbstractContextManager[sqlite3.Connection | None]:
        return self._database.reading()

    @contextmanager
    def snapshot(self) -> Generator[Snapshot]:
        """The results as they are now, as long as the block lasts, whoever writes meanwhile; for one thread.

        Raises:
            StoreError: The file cannot be read, or is something else.
        """
        with self._connected() as connection:
            yield Snapshot(connection)

    # ---------------------------------------------------------------- writing

    def begin(self, experiment: str, name: str, *, model: str, code: str, fresh: bool) -> Stored:
        """Find an evaluation or enter it, unfinished; blocks. It belongs to the caller until `leave`.

        Args:
            experiment: The experiment.
            name: The evaluation's name in it.
            model: The spec of its model, or nothing.
            code: A fingerprint of its code.
            fresh: Whether what is there of it is thrown away, also where another run is at it.

        Raises:
            ConcurrentRunError: Another run is at it.
            StoreError: The file cannot be written.
        """
        experiment, name, model = storable(experiment), storable(name), storable(model)
        names = experiment, name
        claim = new_claim()
        try:
            with self._database.writing() as connection:
                if fresh:
                    connection.execute("DELETE FROM evaluations WHERE experiment = ? AND name = ?", names)
                _refuse_another(connection, *names)
                connection.execute(
                    "INSERT INTO evaluations (experiment, name, model, code, started, run) VALUES (?, ?, ?, ?, ?, ?) "
                    "ON CONFLICT (experiment, name) DO UPDATE "
                    "SET model = excluded.model, finished = NULL, run = excluded.run",
                    (*names, model, code, time.time(), claim),
                )
                stored = find(connection, *names)
        except BaseException:
            drop(claim)
            raise
        assert stored is not None
        self._claims[stored.id] = claim
        return stored

    def leave(self, evaluation: Stored) -> None:
        """Let others run it."""
        claim = self._claims.pop(evaluation.id, None)
        if claim is None:
            return

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE evaluations SET run = NULL WHERE id = ? AND run = ?", (evaluation.id, claim))

        drop(claim)
        with suppress(StoreError):  # it has been told
            self._write().put(work)

    def check(self, evaluation: Stored) -> None:
        """Nobody else has thrown away what is written of it, as far as that is known by now.

        Raises:
            ConcurrentRunError: Somebody has.
        """
        if evaluation.id in self._lost:
            raise ConcurrentRunError(
                evaluation.name,
                "was started over by another run, and the results of this one thrown away",
                "Let one run end before the next begins, or give each an experiment of its own.",
            )

    def put(self, evaluation: Stored, record: Record) -> int:
        """Have the result of a row written; does not wait for it. Its number, for `wait`.

        Raises:
            StoreError: Writing has failed before.
            ConcurrentRunError: Another run has thrown the evaluation away.
        """
        self.check(evaluation)
        return self._write().put(PendingRow(evaluation.id, record, time.time()))

    def hurry(self) -> None:
        """Commit what was put: nothing more comes before."""
        self._write().hurry()

    def wait(self, evaluation: Stored, number: int, seconds: float) -> int:
        """Wait until a result is committed, or for some time, and tell the last one that is; blocks.

        Raises:
            StoreError: It could not be written.
            ConcurrentRunError: Another run has thrown the evaluation away.
        """
        committed = self._write().wait(number, seconds)
        self.check(evaluation)
        return committed

    def finish(self, evaluation: Stored, rows: int) -> None:
        """Have it written that all rows are done; those that the dataset has no more are removed."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM rows WHERE evaluation = ? AND number >= ?", (evaluation.id, rows))
            update = "UPDATE evaluations SET finished = ?, rows = ? WHERE id = ?"
            if not connection.execute(update, (time.time(), rows, evaluation.id)).rowcount:
                self._lost.add(evaluation.id)

        self._write().put(work)

    async def flush(self) -> None:
        """Wait until all that was put is committed, also where the caller is cancelled.

        Raises:
            StoreError: It could not be written.
        """
        if self._writer is not None:
            with CancelScope(shield=True):  # bounded by the patience of SQLite
                await to_thread.run_sync(self._writer.flush)

    def close(self) -> None:
        """Write what is left; blocks.

        Raises:
            StoreError: It could not be written.
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

    def _write(self) -> Writer[PendingRow | Work]:
        if self._writer is None:
            self._writer = Writer(self._database.connect, self._write_items, self._database.explained)
        return self._writer

    def _write_items(self, connection: Connection, items: Sequence[PendingRow | Work]) -> None:
        write_pending(connection, items, lost=self._lost)
        self._database.check(connection)


def _refuse_another(connection: sqlite3.Connection, experiment: str, name: str) -> None:
    found = connection.execute("SELECT run FROM evaluations WHERE experiment = ? AND name = ?", (experiment, name))
    (run,) = found.fetchone() or (None,)
    process = None if run is None else process_of(run)
    if process is not None:
        raise ConcurrentRunError(
            name,
            f"is being run already, by process {process}",
            "Wait for that run, give this one an experiment of its own, or start over with --doteval-fresh, which ends "
            "the other.",
        )
