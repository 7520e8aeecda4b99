"""``Store``: the results of all evaluations, in one SQLite file that many processes may write to at once."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

from anyio import CancelScope, to_thread

from ..._forked import tell_when_forked
from ..._writer import Writer
from .._errors import ConcurrentRunError, StoreError
from . import claims
from .changed import Changed, changes_since
from .database import PATIENCE, Connection, Database
from .gone import add_unknown, add_usage, keep_usage
from .holding import Holding
from .identity import Identity, note_what_is_left, with_what_was_known, with_what_was_written
from .plain import storable
from .reading import Moved, Results, Snapshot, Stored, counted, find
from .record import Record
from .rows import PendingRow, Work, move_rows, write_pending
from .runs import check_idle, note
from .usage import ModelUsage

_LAST_EVALUATION = "SELECT seq FROM sqlite_sequence WHERE name = 'evaluations'"
_IS_RUN = "is being run already,"
_ADVICE = (
    "Wait for that run, give this one an experiment of its own, or start over with fresh=True, or --doteval-fresh in "
    "pytest, which ends the other."
)

DEFAULT_PATH = Path(".doteval", "results.db")
"""Where results are kept, seen from the directory of the project."""


class Store(Results):
    """The results of all evaluations.

    Use it with ``async with``, or with ``with``, or call `close`. Reading needs neither.

    Args:
        path: The file; it is made when something is written. Where the process goes later makes no difference.
    """

    def __init__(self, path: Path | str = DEFAULT_PATH) -> None:
        if str(path) == ":memory:":
            raise ValueError("a store is a file: without store= the results are in the outcome, and nowhere else")
        self._database = Database(Path(path))
        self.path = self._database.path
        self._writer: Writer[PendingRow | Work, Connection] | None = None
        self._lock = Lock()
        self._is_closed = False
        self._ending: Writer[PendingRow | Work, Connection] | None = None
        """What still writes after the store was closed."""
        self._holding = Holding(self._database.path)
        self._pending: set[int] = set()
        """The evaluations that take the place of others with their first result."""
        tell_when_forked(self)

    def _connected(self) -> AbstractContextManager[sqlite3.Connection | None]:
        return self._database.reading()

    @contextmanager
    def snapshot(self) -> Generator[Snapshot]:
        """The results as they are now, as long as the block lasts, whoever writes meanwhile; for one thread.

        Raises:
            StoreError: The file cannot be read, or is something else.
        """
        with self._database.opened() as connection:
            yield Snapshot(connection, self._database.explaining)

    def file(self) -> str | None:
        """What the file is known by as long as no other takes its place; `None` where there is none."""
        identity = self._database.identity()
        return None if identity is None else "-".join(map(str, identity))

    # ---------------------------------------------------------------- writing

    def begin(
        self,
        experiment: str,
        name: str,
        *,
        model: str,
        identity: Identity,
        epochs: int = 1,
        fresh: bool = False,
        changed: Changed = "error",
    ) -> tuple[Stored, tuple[str, ...]]:
        """Find an evaluation or enter it, unfinished; blocks. It belongs to the caller until `leave`.

        What is to be thrown away is there until the first new result is.

        Args:
            experiment: The experiment.
            name: The evaluation's name in it.
            model: The spec of its model, or nothing.
            identity: What its results depend on.
            epochs: How many samples of each row count.
            fresh: Whether what is there of it is thrown away, also where another run is at it.
            changed: What becomes of results that are of something else; see `run`.

        Returns:
            The evaluation, and what has changed since its results were stored, where that is not an error.

        Raises:
            ConcurrentRunError: Another run is at it.
            EvaluationChangedError: Its results are of something else.
            StoreError: The file cannot be written.
        """
        self._check_open()
        self._renew()
        claims.wait_until_left(self._database.path, PATIENCE)
        experiment, name, model = storable(experiment), storable(name), storable(model)
        names = experiment, name
        claim = ""
        differences: tuple[str, ...] = ()
        try:
            with self._database.writing() as connection:
                if not fresh:
                    check_idle(connection, self._database.path, *names, _IS_RUN, _ADVICE)
                before = find(connection, *names)
                if before is not None:
                    add_unknown(connection, before.id, "experiment = ? AND name = ? AND pending", *names)
                connection.execute("DELETE FROM evaluations WHERE experiment = ? AND name = ? AND pending", names)
                if before is not None and not fresh:
                    differences = changes_since(counted(connection, before, None), identity, changed)
                # Where they are no error, all that is there has failed.
                is_new = before is None or fresh or (bool(differences) and changed != "keep")
                if before is not None and not is_new:
                    identity = with_what_was_known(identity, before.identity)
                    add_unknown(connection, before.id, "id = ?", before.id)
                values = (model, _encode(identity), epochs)
                if before is not None and not is_new:
                    number: int | None = before.id
                    connection.execute(
                        "UPDATE evaluations SET model = ?, identity = ?, epochs = ?, finished = NULL WHERE id = ?",
                        (*values, number),
                    )
                    # So a copy that was made before is known by it, as with an evaluation that is new.
                    connection.execute("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'evaluations'")
                else:
                    number = connection.execute(
                        "INSERT INTO evaluations (experiment, name, model, identity, epochs, started, pending) "
                        "VALUES (?, ?, ?, ?, ?, ?, ?)",
                        (*names, *values, time.time(), before is not None),
                    ).lastrowid
                assert number is not None
                claim = claims.new_claim(self._database.path, number)
                connection.execute("UPDATE evaluations SET run = ? WHERE id = ?", (claim, number))
                stored = find(connection, *names, number=number)
                (last,) = connection.execute(_LAST_EVALUATION).fetchone()
        except BaseException:
            claims.drop(claim)
            raise
        assert stored is not None
        self._database.begun = last  # not before it is in the log
        self._holding.has(stored.id, claim)
        if is_new and before is not None:
            self._pending.add(stored.id)
        return stored, differences

    def note(self, evaluation: Stored, about: Mapping[str, Any]) -> None:
        """Have it noted what an evaluation is run with, if it still is."""
        claim = self._holding.of(evaluation.id)
        if claim is not None:
            self._write().put(partial(note, evaluation=evaluation.id, about=about, claim=claim))

    def note_written(self, evaluation: Stored, after: Identity) -> None:
        """Have it noted what a run has written of what its results seem to depend on: that is state.

        Args:
            evaluation: As it was when the run began.
            after: What they seem to depend on at its end.
        """
        note_what_is_left(evaluation.identity, after)
        identity, claim = with_what_was_written(evaluation.identity, after), self._holding.of(evaluation.id)

        def work(connection: sqlite3.Connection) -> None:
            values = (_encode(identity), evaluation.id, claim)
            connection.execute("UPDATE evaluations SET identity = ? WHERE id = ? AND run = ?", values)

        if identity != evaluation.identity and claim is not None and not self._is_closed:
            with suppress(StoreError):  # it has been told
                self._write().put(work)

    def adopt(self, evaluation: Stored, identity: Identity) -> None:
        """Take results for those of something else from now on, and count as many samples as it has; blocks.

        What another run has begun since they were finished is its own affair.

        Raises:
            StoreError: The file cannot be written.
        """
        with self._database.writing() as connection:
            identity = with_what_was_known(identity, evaluation.identity)
            values = (_encode(identity), evaluation.epochs, evaluation.id, evaluation.finished)
            connection.execute("UPDATE evaluations SET identity = ?, epochs = ? WHERE id = ? AND finished IS ?", values)

    def lose(self, evaluation: Stored, usage: Sequence[ModelUsage]) -> None:
        """Have it kept what rows have cost that a run was at when it ended."""
        claim = self._holding.of(evaluation.id)

        def work(connection: sqlite3.Connection) -> None:
            if self._holding.is_held(connection, evaluation.id, claim):
                before = find(connection, evaluation.experiment, evaluation.name)  # which it may not have replaced yet
                add_usage(connection, evaluation.id if before is None else before.id, usage)

        if claim is not None and not self._is_closed:
            with suppress(StoreError):  # it has been told
                self._write().put(work)

    def leave(self, evaluation: Stored, *, is_unfit: bool = False) -> None:
        """Let others run it, as soon as all that was put is written; does not wait for that.

        Args:
            evaluation: Which one.
            is_unfit: Whether its dataset is none; where there are no results of it, it is forgotten.
        """
        claim = self._holding.leave(evaluation.id)
        self._pending.discard(evaluation.id)
        if claim is None:
            return

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE evaluations SET run = NULL WHERE id = ? AND run = ?", (evaluation.id, claim))
            connection.execute("DELETE FROM evaluations WHERE id = ? AND pending AND run IS NULL", (evaluation.id,))
            if is_unfit:
                connection.execute(
                    "DELETE FROM evaluations WHERE id = ? AND run IS NULL AND finished IS NULL "
                    "AND NOT EXISTS (SELECT 1 FROM rows WHERE evaluation = evaluations.id)",
                    (evaluation.id,),
                )
            self._holding.is_written(claim)

        if self._is_closed:  # its run was given up before it had begun, or has gone on after that
            if self._ending is not None:
                self._ending.join()
            with suppress(StoreError), self._database.writing() as connection:
                work(connection)
            self._holding.drop([claim])
            return
        try:
            writer = self._write()
            writer.put(work)
            writer.hurry()
        except StoreError:  # it has been told
            self._holding.drop([claim])

    def replaces(self, evaluation: Stored) -> bool:
        """Whether it is to take the place of results that are there, and has none of its own yet."""
        return evaluation.id in self._pending

    def check(self, evaluation: Stored, found: Stored | None = None) -> None:
        """Nobody else has begun it again meanwhile, as far as that is known by now.

        Args:
            evaluation: Whose results.
            found: What is there now.

        Raises:
            ConcurrentRunError: Somebody has.
        """
        if evaluation.id in self._holding.lost or (found is not None and found.id != evaluation.id):
            raise ConcurrentRunError(
                evaluation.name,
                "was begun again by another run, and results of this one are not kept any more",
                "Let one run end before the next begins, or give each an experiment of its own.",
            )

    def put(self, evaluation: Stored, record: Record) -> int:
        """Have the result of a row written; does not wait for it. Its number, for `wait`.

        Raises:
            StoreError: Writing has failed before.
            ConcurrentRunError: Another run has thrown the evaluation away.
        """
        self.check(evaluation)
        row = PendingRow(evaluation.id, self._holding.of(evaluation.id) or "", record, time.time())
        return self._write().put(*self._taking_place(evaluation), row)

    def move(self, evaluation: Stored, rows: Sequence[Moved]) -> None:
        """Have it written, in this order, that rows stand at other places of the dataset now, or have other keys."""
        claim = self._holding.of(evaluation.id)

        def work(connection: sqlite3.Connection) -> None:
            if self._holding.is_held(connection, evaluation.id, claim):
                move_rows(connection, evaluation.id, rows)

        self._write().put(work)

    def hurry(self) -> None:
        """Commit what was put: nothing more comes before."""
        self._write().hurry()

    def wait(self, evaluation: Stored, number: int, seconds: float) -> int:
        """Wait until a result is committed, or for some time, and tell the last one that is; blocks.

        Raises:
            StoreError: It could not be written.
            ConcurrentRunError: Another run has thrown the evaluation away.
        """
        writer = self._writer
        if writer is None:  # it was closed meanwhile, and all is written; nobody waits for the answer
            return number
        committed = writer.wait(number, seconds)
        self.check(evaluation)
        return committed

    def finish(self, evaluation: Stored, rows: int, gone: Collection[str] = ()) -> None:
        """Have it written that all rows are done.

        Args:
            evaluation: Which one.
            rows: How many there are.
            gone: The keys of those that the dataset has no more; their results are removed.
        """
        claim = self._holding.of(evaluation.id)

        def work(connection: sqlite3.Connection) -> None:
            if self._holding.is_held(connection, evaluation.id, claim):
                keep_usage(connection, evaluation.id, evaluation.id, gone)
                connection.executemany(
                    "DELETE FROM rows WHERE evaluation = ? AND key = ?", [(evaluation.id, key) for key in gone]
                )
                update = "UPDATE evaluations SET finished = ?, rows = ? WHERE id = ?"
                connection.execute(update, (time.time(), rows, evaluation.id))

        self._write().put(*self._taking_place(evaluation), work)

    def _taking_place(self, evaluation: Stored) -> Sequence[Work]:
        """With its first result, one that was begun anew takes the place of what was there: in the same transaction."""
        if evaluation.id not in self._pending:
            return ()
        self._pending.discard(evaluation.id)
        names, claim = (evaluation.experiment, evaluation.name), self._holding.of(evaluation.id)

        def work(connection: sqlite3.Connection) -> None:
            if self._holding.is_held(connection, evaluation.id, claim):  # else yet another run has begun anew
                before = find(connection, *names)
                if before is not None:
                    keep_usage(connection, evaluation.id, before.id)
                connection.execute("DELETE FROM evaluations WHERE experiment = ? AND name = ? AND NOT pending", names)
                connection.execute("UPDATE evaluations SET pending = 0 WHERE id = ?", (evaluation.id,))

        return (work,)

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
        with self._lock:
            writer, self._writer = self._writer, None
            self._ending = writer or self._ending
            self._is_closed = True
        if writer is not None:
            writer.close()

    def __enter__(self) -> Self:
        self._is_closed = False
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        self._is_closed = False
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            with CancelScope(shield=True):  # bounded by the patience of SQLite
                await to_thread.run_sync(self.close)
        except BaseException:
            self.close()  # a task that is cancelled as such may not have come so far
            raise

    def __repr__(self) -> str:
        return f"<Store {self._database.shown}>"

    def _write(self) -> Writer[PendingRow | Work, Connection]:
        with self._lock:
            self._check_open()
            if self._writer is None:
                connect, explained = self._database.connect_to_go_on, self._database.explained
                self._writer = Writer("results", connect, self._write_items, explained, self._holding.drop)
            return self._writer

    def _renew(self) -> None:
        """What could not be written to may be writable now; whoever has lost anything by it was told."""
        with self._lock:
            if self._writer is not None and self._writer.has_failed and not self._holding:
                self._writer = None

    def forked(self) -> None:
        """A child has no thread that writes, nobody who could release the lock, and no runs."""
        self._lock = Lock()
        self._writer = self._ending = None
        self._holding.forget()
        self._pending.clear()

    def _check_open(self) -> None:
        if self._is_closed:
            raise StoreError(
                self._database.shown, "is closed", "Write to it before its block ends, or open another Store."
            )

    def _write_items(self, connection: Connection, items: Sequence[PendingRow | Work]) -> None:
        self._database.check(connection)  # before anything is added to the file of somebody else
        self._holding.begin_to_write()
        write_pending(connection, items, lost=self._holding.lost)
        self._holding.committed()
        self._database.check(connection)


def _encode(identity: Identity) -> str:
    return json.dumps({**identity}, ensure_ascii=True)
