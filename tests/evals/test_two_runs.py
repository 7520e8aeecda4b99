"""Two runs at one store at once: results never mix, and what is looked at is of one moment."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import Event, create_task_group
from tests.blocked import wait_all_tasks_blocked

from doteval import Result, foreach
from doteval.cli import main
from doteval.evals import ConcurrentRunError, Evaluation, Store, run
from doteval.evals._results import claims
from doteval.evals._results.database import Database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".doteval" / "results.db"


def saying(word: str, *, waits: Event | None = None, begun: Event | None = None, rows: int = 6) -> Evaluation:
    """Rows that say a word; the third one waits."""

    @foreach("value", range(rows), concurrency=1)
    async def eval_it(value: int) -> Result:
        if value == 2 and begun is not None and waits is not None:
            begun.set()
            await waits.wait()
        return Result(f"{word} {value}", scores={"good": True})

    return eval_it


def outputs(path: Path, name: str = "eval_it") -> list[str]:
    store = Store(path)
    (found,) = [stored for stored in store.evaluations() if stored.name == name]
    return [record.output for record in store.records(found)]


@pytest.mark.anyio
async def test_a_run_that_is_started_over_by_another_writes_nothing_into_it(path: Path) -> None:
    """It is told so, and the other evaluations of its store are not harmed."""
    begun, go = Event(), Event()
    caught: list[ConcurrentRunError] = []

    async def first() -> None:
        try:
            await run(saying("old", waits=go, begun=begun), store=store)
        except ConcurrentRunError as exc:
            caught.append(exc)

    async def beside() -> None:
        await run(saying("beside", waits=go, begun=Event()), store=store, name="eval_that")

    async with Store(path) as store:
        async with create_task_group() as task_group:
            task_group.start_soon(first)
            task_group.start_soon(beside)
            await begun.wait()
            outcome = await run(saying("new"), store=path, fresh=True)
            go.set()
    assert outcome.summary.rows == 6
    assert "was begun again by another run" in str(caught[0])
    assert outputs(path) == [f"new {number}" for number in range(6)]
    assert outputs(path, "eval_that") == [f"beside {number}" for number in range(6)]
    assert (await run(saying("old"), store=path, changed="keep")).answered


@pytest.mark.anyio
async def test_a_run_whose_rows_were_all_known_is_told_as_well(path: Path) -> None:
    """It has written nothing, but its evaluation is gone."""
    begun, go = Event(), Event()
    await run(saying("old"), store=path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE evaluations SET finished = NULL")
    connection.close()

    @foreach("value", range(6))
    async def eval_it(value: int) -> Result:
        return Result(value)

    async def dataset() -> Any:
        for number in range(6):
            if number == 5:
                begun.set()
                await go.wait()
            yield number

    late = foreach("value", dataset)(eval_it.function)
    with pytest.raises(ConcurrentRunError):
        async with create_task_group() as task_group:

            async def another() -> None:
                await begun.wait()
                await run(saying("new"), store=path, fresh=True)
                go.set()

            task_group.start_soon(another)
            try:
                await run(late, store=path, changed="keep")
            except ConcurrentRunError as exc:
                error = exc
        raise error
    assert outputs(path) == [f"new {number}" for number in range(6)]


@pytest.mark.anyio
async def test_a_second_run_of_the_same_evaluation_is_refused(path: Path) -> None:
    """The first goes on as if nothing had been; afterwards anybody may run it."""
    begun, go = Event(), Event()
    async with create_task_group() as task_group:
        task_group.start_soon(lambda: run(saying("first", waits=go, begun=begun), store=path))
        await begun.wait()
        with pytest.raises(ConcurrentRunError, match=f"is being run already, by process {os.getpid()}"):
            await run(saying("second"), store=path, changed="keep")
        go.set()
    assert outputs(path) == [f"first {number}" for number in range(6)]
    assert (await run(saying("second", rows=7), store=path, changed="keep")).known == 6


@pytest.mark.anyio
async def test_a_run_that_was_cancelled_leaves_its_evaluation_to_others(path: Path) -> None:
    """With all rows that are done."""
    begun = Event()
    async with create_task_group() as task_group:
        task_group.start_soon(lambda: run(saying("first", waits=Event(), begun=begun), store=path))
        await begun.wait()
        task_group.cancel_scope.cancel()
    outcome = await run(saying("second"), store=path, changed="keep")
    assert (outcome.known, outcome.calls) == (2, 4)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_that_is_cancelled_while_it_begins_leaves_no_claim(path: Path) -> None:
    """As `asyncio.timeout` does it, which nothing shields from: the thread that begins tidies up by itself."""
    await run(saying("first", rows=2), store=path)
    entered, left = threading.Event(), threading.Event()

    class Beginning(Store):
        def leave(self, *args: Any, **keywords: Any) -> None:
            super().leave(*args, **keywords)
            left.set()

        def begin(self, *args: Any, **keywords: Any) -> Any:
            entered.set()
            return super().begin(*args, **keywords)

    store = Beginning(path)
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")  # so that it has to wait
        task = asyncio.ensure_future(run(saying("first", rows=4), store=store))
        await anyio.to_thread.run_sync(entered.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        other.execute("ROLLBACK")
    assert await anyio.to_thread.run_sync(left.wait, 60)
    store.close()
    assert (await run(saying("first", rows=4), store=path)).summary.rows == 4


@pytest.mark.parametrize(
    ("claim", "goes_on"),
    [
        ("", False),
        ("nonsense", False),
        ("{host} {parent} {born} 00 - -", True),
        ("{host} {parent} {born} 00 - 1", True),  # its lock was on a file that is not there
        ("{host} {parent} {born} 00 1 1", False),  # and this store is a copy
        ("{host} {parent} 1 00 - -", not Path("/proc/self/stat").exists()),  # another process has its number now
        ("{host} 999999999 - 00 - -", False),
        ("another-host {parent} {born} 00 - -", False),
        ("{host} {me} {born} 00 - -", False),  # of this process, but no run of it
    ],
)
def test_a_claim_without_a_lock_holds_as_long_as_its_process_lives(claim: str, goes_on: bool, path: Path) -> None:
    """Whatever killed it, nobody has to tidy up."""
    host, parent = claims.socket.gethostname(), os.getppid()
    text = claim.format(host=host, parent=parent, me=os.getpid(), born=claims._birth(parent))
    assert claims.process_of(text, path, 1) == (parent if goes_on else None)


@pytest.mark.anyio
async def test_known_rows_wait_for_one_that_is_slow(path: Path) -> None:
    """However many rows are answered from the store, only a few of the dataset are in memory."""
    rows, read = 1000, 0
    go = Event()

    @foreach("value", range(rows), concurrency=50)
    async def eval_it(value: int) -> Result:
        return Result(value)

    await run(eval_it, store=path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM rows WHERE number = 0")
        connection.execute("UPDATE evaluations SET finished = NULL")
    connection.close()

    async def dataset() -> Any:
        nonlocal read
        for number in range(rows):
            read += 1
            yield number

    async def again(value: int) -> Result:
        assert value == 0
        await go.wait()
        return Result(value)

    async with create_task_group() as task_group:
        task_group.start_soon(lambda: run(foreach("value", dataset)(again), store=path, name="eval_it", changed="keep"))
        while not read:
            await anyio.lowlevel.checkpoint()
        await wait_all_tasks_blocked()
        assert read < 300
        go.set()
    assert read == rows
    assert len(outputs(path)) == rows


@pytest.mark.anyio
async def test_a_dataset_that_has_become_shorter_is_said_to_be(path: Path) -> None:
    """Nothing was run again, and it is not said that it was; also where the stored run had not finished."""
    await run(saying("a word"), store=path)
    outcome = await run(saying("a word", rows=5), store=path)
    (warning,) = outcome.warnings
    assert warning.startswith("The dataset of 'eval_it' has changed since it was run: the results of a row that was")
    assert (outcome.summary.rows, outcome.calls) == (5, 0)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE evaluations SET finished = NULL, rows = NULL")
    connection.close()
    (warning,) = (await run(saying("a word", rows=2), store=path)).warnings
    assert "3 rows that were in it are removed" in warning
    assert (await run(saying("a word", rows=8), store=path)).warnings == ()


# ---------------------------------------------------------------- what is looked at


class Meddler:
    """Writes between any two reads: a row with a new score, an evaluation, and rows that fail."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_read = False
        self.written = 0

    def write(self, statement: str) -> None:
        if not statement.lstrip().startswith("SELECT"):
            return
        if not self._is_read:
            self._is_read = True  # what was written before the first read may be seen
            return
        with closing(sqlite3.connect(self._path)) as connection, connection:
            number = 1001 + self.written
            connection.execute("PRAGMA foreign_keys = ON")
            for (evaluation,) in connection.execute("SELECT id FROM evaluations").fetchall():
                new = {
                    "number": number,
                    "key": str(number),
                    "scores": json.dumps({f"new {number}": 0.5, "good": False}),
                    "error": f"new error {number}" if number % 2 else None,
                }
                columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(rows)") if name != "id"]
                values = ", ".join(f":{name}" if name in new else name for name in columns)
                connection.execute(
                    f"INSERT INTO rows ({', '.join(columns)}) SELECT {values} FROM rows WHERE evaluation = :of LIMIT 1",
                    {**new, "of": evaluation},
                )
            connection.execute(
                "INSERT INTO evaluations (experiment, name, identity, started) VALUES ('default', ?, '{}', 9e9)",
                (f"new {number}",),
            )
            if number % 3 == 0:
                connection.execute("DELETE FROM evaluations WHERE id = (SELECT max(id) FROM evaluations)")
            self.written += 1  # SQLite says nothing of what is raised before


@pytest.fixture
def meddler(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Meddler]:
    """A run that goes on."""
    anyio.run(lambda: run(saying("a word"), store=path, name="eval_it[a]"))
    anyio.run(lambda: run(saying("a word"), store=path, name="eval_it[b]"))
    found = Meddler(path)
    before = Database._open

    def traced(self: Database) -> sqlite3.Connection:
        connection = before(self)
        connection.set_trace_callback(found.write)
        return connection

    monkeypatch.setattr(Database, "_open", traced)
    monkeypatch.chdir(path.parent.parent)
    yield found
    assert found.written


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("list", "--json"),
        ("show", "default"),
        ("show", "default", "--json"),
        ("compare", "default@[a]", "default@[b]"),
        ("export", "default"),
        ("export", "default", "--format", "csv"),
        ("report", "default", "-o", "page.html"),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("meddler")
def test_what_is_shown_is_of_one_moment(
    arguments: tuple[str, ...], path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """While a run goes on, in whatever moment: nothing that came later is seen in part."""
    assert main(arguments) == 0
    page = path.parent.parent / "page.html"
    told = page.read_text("utf-8") if arguments[0] == "report" else capfd.readouterr().out
    assert "a word 5" in told or arguments[0] in ("list", "show", "compare", "report")
    assert "new 1" not in told
    assert "new error" not in told
