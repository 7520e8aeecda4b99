"""Results are kept, and what is kept is not run again."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.parse  # noqa: F401 - pathlib needs it, where nobody can read the standard library
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from anyio import Event, create_task_group
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.blocked import wait_all_tasks_blocked

from doteval import Completion, Result, ToolCall, Usage, foreach
from doteval.evals import Evaluation, Record, Store, StoreError, TooManyErrorsError, run
from doteval.evals._results.database import Database
from doteval.testing import FakeProvider

pytestmark = pytest.mark.anyio


def making(calls: list[Any], dataset: Any, *, failing: Any = ()) -> Evaluation:
    @foreach("value", dataset, concurrency=1)
    async def eval_it(value: Any) -> Result:
        calls.append(value)
        if value in failing:
            raise ValueError("no")
        return Result(
            Completion(f"<{value}>", usage=Usage(2, 3)), prompt=value, scores={"good": True}, metadata={"a": 1}
        )

    return eval_it


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".doteval" / "results.db"


async def test_what_a_reply_says_besides_its_text_is_kept(path: Path) -> None:
    """Why it ended, what was refused, thought and called, and what a price depends on; only what there is."""
    whole = Completion(
        "",
        usage=Usage(100, 50, 60, 30, 40),
        finish_reason="refusal",
        refusal="I cannot.",
        reasoning="Hm.",
        tool_calls=[ToolCall("1", "time", "{}")],
        retries=2,
    )

    @foreach("reply", [whole, Completion("b"), "c"])
    async def eval_it(reply: str) -> Result:
        return Result(reply)

    records = list((await run(eval_it, store=path)).records)
    assert [record.reply for record in records] == [
        {
            "finish_reason": "refusal",
            "refusal": "I cannot.",
            "reasoning": "Hm.",
            "tool_calls": [{"id": "1", "name": "time", "arguments": "{}"}],
            "retries": 2,
        },
        {},
        None,
    ]
    first = records[0]
    assert (first.input_tokens, first.output_tokens, first.cached_tokens) == (100, 50, 60)
    assert (first.cache_write_tokens, first.reasoning_tokens, first.requests) == (30, 40, 0)
    assert list((await run(eval_it, store=path)).records) == records


async def test_what_is_finished_is_answered_from_the_store(path: Path) -> None:
    """No row is run, and no model is opened; the answer is the same."""
    async with FakeProvider() as provider:

        @foreach("prompt", ["a", "b"])
        async def eval_it(prompt: str, model: Any) -> Result:
            return Result(await model.generate(prompt), prompt=prompt, scores={"long": 5}, metadata={"x": [1]})

        first = await run(eval_it, store=path, model=partial(provider.setup, "m"))
        opens = provider.statistics().opens
        second = await run(eval_it, store=path, model=partial(provider.setup, "m"))
        assert (opens, provider.statistics().opens, provider.statistics().leases) == (1, 1, 1)
    assert (first.answered, second.answered, second.known, second.warnings) == (False, True, 2, ())
    assert repr(first.summary) == repr(second.summary)  # no NaN equals another
    assert list(first.records) == list(second.records)
    assert [record.prompt for record in second.records] == ["a", "b"]
    assert [record.metadata for record in second.records] == [{"x": [1]}] * 2


async def test_only_the_missing_rows_are_run(path: Path) -> None:
    """After a run that was cancelled half-way."""
    calls: list[int] = []

    @foreach("value", range(10), concurrency=1)
    async def eval_it(value: int) -> Result:
        calls.append(value)
        if len(calls) == 6:
            reached.set()
            await Event().wait()
        return Result(value)

    reached = Event()
    async with create_task_group() as task_group:
        task_group.start_soon(partial(run, eval_it, store=path))
        await reached.wait()
        task_group.cancel_scope.cancel()
    assert calls == [0, 1, 2, 3, 4, 5]
    calls.clear()
    calls.extend([-1] * 6)
    outcome = await run(eval_it, store=path)
    assert calls[6:] == [5, 6, 7, 8, 9]
    assert (outcome.known, outcome.calls, outcome.answered) == (5, 5, False)
    assert [record.output for record in outcome.records] == list(range(10))


async def test_a_row_that_changes_its_values_is_known_by_what_it_was_given(path: Path) -> None:
    """What is kept is what the dataset has, so it is the same row in the next run."""

    @foreach("words", lambda: [["a"], ["b"]])
    async def eval_it(words: list[str]) -> Result:
        words.append("more")
        return Result(len(words))

    first = await run(eval_it, store=path)
    assert [record.inputs for record in first.records] == [{"words": ["a"]}, {"words": ["b"]}]
    second = await run(eval_it, store=path)
    assert (second.known, second.calls, second.warnings) == (2, 0, ())


async def test_a_row_is_done_when_it_is_committed(path: Path) -> None:
    """Where the disk does not keep up, twice as many rows are in flight as are evaluated at once, and no more."""
    all_begun, gates = Event(), [Event() for _ in range(40)]
    calls: list[int] = []
    done: list[int] = []

    @foreach("value", range(40), concurrency=3)
    async def eval_it(value: int) -> Result:
        calls.append(value)
        if len(calls) == 3:
            all_begun.set()
        await gates[value].wait()
        return Result(value)

    async def called_after(opened: int) -> list[int]:
        gates[opened].set()
        await wait_all_tasks_blocked()
        return calls

    class OnSlowDisk(Store):
        def begin(self, *args: Any, **keywords: Any) -> Any:
            stored = super().begin(*args, **keywords)
            other.execute("BEGIN IMMEDIATE")  # now nobody else can write
            return stored

    with Store(path) as store:
        store.begin("default", "another", model="", identity={})  # makes the file
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        async with OnSlowDisk(path) as store, create_task_group() as task_group:
            whole = partial(run, eval_it, store=store, on_record=lambda record: done.append(record.number))
            task_group.start_soon(whole)
            try:
                await all_begun.wait()
                for opened, called in ((0, 4), (1, 5), (2, 6), (3, 6), (4, 6), (5, 6)):
                    assert await called_after(opened) == list(range(called))
                assert done == []
            finally:
                other.execute("ROLLBACK")
            for gate in gates:
                gate.set()
    assert done == list(range(40))


async def test_rows_that_failed_are_run_again_where_the_evaluation_did_not_pass(path: Path) -> None:
    """Where as many may fail as did, it has passed, and is answered."""
    calls: list[int] = []
    with pytest.raises(TooManyErrorsError):
        await run(making(calls, range(5), failing={2}), store=path, max_errors=0)
    calls.clear()
    assert (await run(making(calls, range(5)), store=path, max_errors=1, changed="keep")).answered
    outcome = await run(making(calls, range(5)), store=path, max_errors=0, changed="keep")
    assert calls == [2]
    assert (outcome.summary.errors, outcome.known) == (0, 4)


ROWS_LATER = st.sampled_from(["as it was", "removed", "edited", "moved"])


@pytest.mark.parametrize("kind", ["list", "tuple", "function", "async"])
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.booleans(), ROWS_LATER), min_size=1, max_size=5),
    added=st.integers(0, 1),
    lacking=st.integers(0, 1),
)
def test_rows_that_failed_are_run_again_where_more_of_the_dataset_failed_than_may(
    kind: str, rows: list[tuple[bool, str]], added: int, lacking: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As it is now: those that it has no more, or with other values, do not count, where it has not to be made."""
    path = tmp_path_factory.mktemp("store") / "results.db"
    calls: list[str] = []
    now = [f"{number}" for number in range(len(rows))]
    failing = {value for value, (fails, _) in zip(now, rows, strict=True) if fails}

    async def read() -> AsyncIterator[Any]:
        for each in made():
            yield each

    def made() -> list[Any]:
        return [{"id": value.removeprefix("new "), "value": value} for value in now]

    def ran(max_errors: int | None) -> None:
        kinds = {"list": made(), "tuple": (*made(),), "function": made, "async": read}

        @foreach("value", kinds[kind], concurrency=1)
        async def eval_it(value: str) -> Result:
            calls.append(value)
            if value in failing:
                raise ValueError("no")
            return Result(value)

        with suppress(TooManyErrorsError):
            anyio.run(partial(run, eval_it, store=path, max_errors=max_errors, changed="keep", abort_after=0))

    ran(None)
    calls.clear()
    before, now = now, []
    for value, (_, what) in zip(before, rows, strict=True):
        if what != "removed":
            now.insert(0 if what == "moved" else len(now), f"new {value}" if what == "edited" else value)
    now += ["added"] * added
    failed = failing & {*now} if kind in ("list", "tuple") else failing
    allowed = max(len(failing & {*now}) - lacking, 0)
    again = {*now} & failing if len(failed) > allowed else set[str]()
    if now:
        ran(allowed)
        assert {*calls} == again | ({*now} - {*before})
        assert len(calls) == len({*calls})


class Growing(list[int]):
    """Its rows are made as they are read."""

    def __init__(self, rows: Callable[[], Iterator[int]]) -> None:
        super().__init__(range(3))
        self._rows = rows

    def __iter__(self) -> Iterator[int]:
        return self._rows()


KINDS_MADE: dict[str, Callable[[Callable[[], Iterator[int]]], Any]] = {
    "a generator function": lambda rows: rows,
    "a function that makes a list": lambda rows: lambda: [*rows()],
    "an iterable": lambda rows: type("Made", (), {"__iter__": lambda _: rows()})(),
    "an iterable with a length": lambda rows: type(
        "Made", (), {"__iter__": lambda _: rows(), "__len__": lambda _: 3}
    )(),
    "a list of a class of its own": Growing,
    "an iterator": lambda rows: rows(),
}


@pytest.mark.parametrize("kind", KINDS_MADE)
async def test_a_dataset_whose_rows_are_made_is_not_read_ahead(path: Path, kind: str) -> None:
    """Whatever failed before: to make them may take long, or need the results of those before."""
    began: list[int] = []
    calls: list[int] = []

    def rows() -> Iterator[int]:
        began.append(len(calls))
        yield from range(3)

    async def ran() -> None:
        @foreach("value", KINDS_MADE[kind](rows), concurrency=1)
        async def eval_it(value: int) -> Result:
            calls.append(value)
            raise ValueError("no")

        with suppress(TooManyErrorsError):
            await run(eval_it, store=path, max_errors=1, abort_after=0, changed="keep")

    await ran()
    await ran()
    assert began == [0, 3]
    assert calls == [0, 1, 2] * 2


async def test_changed_rows_are_run_again_with_a_warning(path: Path) -> None:
    """Those that are the same are not; those that are gone are forgotten."""
    calls: list[Any] = []
    await run(making(calls, ["a", "b", "c", "d"]), store=path)
    calls.clear()
    outcome = await run(making(calls, ["a", "B", "c"]), store=path)
    assert calls == ["B"]
    assert [record.output for record in outcome.records] == ["<a>", "<B>", "<c>"]
    (warning,) = outcome.warnings
    assert "The dataset of 'eval_it' has changed since it was run: the results of 2 rows that were in it" in warning
    calls.clear()
    assert (await run(making(calls, ["a", "B", "c", "d"]), store=path)).known == 3
    assert calls == ["d"]


async def test_experiments_and_names_are_apart(path: Path) -> None:
    """One store has many of them."""
    calls: list[int] = []
    async with Store(path) as store:
        for experiment in ("one", "two"):
            for name in ("x", "y"):
                await run(making(calls, range(2)), store=store, experiment=experiment, name=name)
        assert len(calls) == 8
        assert [(found.experiment, found.name, found.rows) for found in store.evaluations("one")] == [
            ("one", "x", 2),
            ("one", "y", 2),
        ]
        assert len(store.evaluations()) == 4
        assert store.find("one", "z") is None


async def test_a_generator_is_read_to_find_out_whether_it_has_changed(path: Path) -> None:
    """What is the same is answered, and what is not is run."""
    values = [1, 2, 3]

    def rows() -> Any:
        yield from values[:]

    calls: list[int] = []
    await run(making(calls, rows), store=path)
    assert (await run(making(calls, rows), store=path)).answered
    values.append(4)
    calls.clear()
    assert (await run(making(calls, rows), store=path, changed="keep")).known == 3
    assert calls == [4]


async def test_the_directory_keeps_itself_out_of_git(path: Path) -> None:
    """Results are no source."""
    await run(making([], [1]), store=path)
    assert "*" in (path.parent / ".gitignore").read_text().splitlines()


async def test_a_file_that_is_no_store_is_left_alone(tmp_path: Path) -> None:
    """It is said what it is, and nothing is written."""
    text = tmp_path / "text.db"
    text.write_text("something else entirely\n" * 100)
    with pytest.raises(StoreError, match="is no store of results"):
        await run(making([], [1]), store=text)
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("PRAGMA user_version = 99")
        connection.execute("CREATE TABLE rows (a)")
    connection.close()
    with pytest.raises(StoreError, match="is no store of results, but another program"):
        await run(making([], [1]), store=other)


@pytest.mark.parametrize("anyio_backend", ["asyncio"], scope="module")  # it takes a second
async def test_a_store_that_cannot_be_written_ends_the_run(path: Path) -> None:
    """Results that would be lost are not paid for."""
    calls: list[int] = []

    @foreach("value", range(100000), concurrency=1)
    async def eval_it(value: int) -> Result:
        calls.append(value)
        if value == 3:
            with closing(sqlite3.connect(path)) as connection, connection:
                connection.execute("DROP TABLE rows")
            connection.close()
        return Result(value)

    with pytest.raises((OSError, BaseExceptionGroup)):
        await run(eval_it, store=path)
    assert len(calls) < 100000


def test_a_file_without_tables_is_an_empty_store(path: Path) -> None:
    """It is what another process has just made, or what one left that was killed in that moment."""
    path.parent.mkdir()
    path.touch()
    assert Store(path).evaluations() == []
    assert Store(path).find("an experiment", "eval_it") is None
    assert Store(path).begin("an experiment", "eval_it", model="", identity={})[0].stored == 0
    assert len(Store(path).evaluations()) == 1


def test_tables_of_something_else_are_left_alone(path: Path) -> None:
    """Also where they have no number of a schema."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE guests (name)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="is no store of results"):
        Store(path).begin("an experiment", "eval_it", model="", identity={})
    assert path.read_bytes() == before


def test_making_a_store_waits_for_others_that_make_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite itself refuses at once, where the journal is changed while another process is about to write."""
    begin = partial(Store(path).begin, "an experiment", model="", identity={})
    begin("eval_it")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
        other.execute("BEGIN IMMEDIATE")
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                other.execute("ROLLBACK")

        monkeypatch.setattr(time, "sleep", sleep)
        assert begin("eval_that")[0].name == "eval_that"
        assert len(waits) == 3
    with closing(sqlite3.connect(path)) as later:
        assert later.execute("PRAGMA journal_mode").fetchone() == ("wal",)


WRITER = """
import sys, anyio
from doteval import Result, foreach
from doteval.evals import run

@foreach("value", range(200), concurrency=20)
async def eval_it(value):
    await anyio.lowlevel.checkpoint()
    return Result(value, scores={"right": True})

anyio.run(lambda: run(eval_it, store=sys.argv[1], name=sys.argv[2]), backend=sys.argv[3])
"""


@pytest.mark.process
def test_many_processes_write_at_once(path: Path, tmp_path: Path) -> None:
    """On either event loop; all results are there, none twice."""
    program = tmp_path / "writer.py"
    program.write_text(WRITER)
    processes = [
        subprocess.Popen([sys.executable, str(program), str(path), f"eval {number}", ("asyncio", "trio")[number % 2]])
        for number in range(4)
    ]
    assert [process.wait(120) for process in processes] == [0] * 4
    store = Store(path)
    for found in store.evaluations():
        assert (found.stored, found.rows) == (200, 200)
        assert [record.output for record in store.records(found)] == list(range(200))
    assert len(store.evaluations()) == 4


KILLED = """
import os, signal, sys, anyio
from doteval import Result, foreach
from doteval.evals import run

path, log, ended = sys.argv[1], open(sys.argv[2], "a", buffering=1), -int(sys.argv[3])

@foreach("value", range(300), concurrency=5)
async def eval_it(value):
    global ended
    await anyio.lowlevel.checkpoint()
    print(value, file=log)
    ended += 1
    if ended == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return Result(value)

outcome = anyio.run(lambda: run(eval_it, store=path))
print(outcome.summary.rows, outcome.known)
"""


@pytest.mark.process
def test_a_killed_run_loses_only_what_was_not_committed(path: Path, tmp_path: Path) -> None:
    """Each next run goes on; at the end every row is there once."""
    program, log = tmp_path / "killed.py", tmp_path / "log"
    program.write_text(KILLED)
    for last in (1, 40, 100):
        command = [sys.executable, str(program), str(path), str(log), str(last)]
        assert subprocess.run(command, check=False, timeout=120).returncode == -signal.SIGKILL
    command = [sys.executable, str(program), str(path), str(log), "1000"]
    result = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True)
    assert result.stdout.startswith("300 ")
    store = Store(path)
    (found,) = store.evaluations()
    assert [record.number for record in store.records(found)] == list(range(300))


@pytest.fixture
def nobodys_directory() -> Iterator[Path]:
    """A directory in which nobody can write, and nobody is what this process is while it reads."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    directory.chmod(0o755)
    shutil.rmtree(directory)


async def test_results_can_be_read_where_nothing_can_be_written(nobodys_directory: Path) -> None:
    """An artifact of CI, or a colleague's directory."""
    path = nobodys_directory / "results.db"

    @foreach("value", range(3))
    async def eval_it(value: int) -> Result:
        return Result(value)

    with Store(path) as store:
        await run(eval_it, store=store)
    path.chmod(0o444)
    nobodys_directory.chmod(0o555)  # noqa: ASYNC240
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)  # root may write anywhere
    try:
        with Store(path) as store:
            (stored,) = store.evaluations()
            assert [record.output for record in store.records(stored)] == [0, 1, 2]
            assert store.summary(stored).rows == 3
    finally:
        if is_root:
            os.seteuid(0)


async def test_nothing_can_be_written_in_a_directory_of_somebody_else(nobodys_directory: Path) -> None:
    """Before any row is paid for, it is said which file it is and what to look at."""
    calls: list[Any] = []
    nobodys_directory.chmod(0o555)  # noqa: ASYNC240
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)  # root may write anywhere
    try:
        for name in ("results.db", "deeper/results.db", "much/deeper/results.db"):
            path = nobodys_directory / name
            why = f"{path} cannot be written: {nobodys_directory} may not be written by this user"
            with pytest.raises(StoreError, match=f"{re.escape(why)}.\nName a file elsewhere"):
                await run(making(calls, [1]), store=path)
    finally:
        if is_root:
            os.seteuid(0)
    assert calls == []


def test_a_file_system_that_is_read_only_is_called_so(nobodys_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where only the directory is, in which SQLite makes its other files."""
    path = nobodys_directory / "results.db"
    anyio.run(lambda: run(making([], [1]), store=path))
    read_only = SimpleNamespace(f_flag=os.ST_RDONLY)
    monkeypatch.setattr(os, "statvfs", lambda _: read_only)
    monkeypatch.setattr(os, "access", may_only_read := lambda place, what, **_: what == os.R_OK)
    monkeypatch.setattr(os, "supports_effective_ids", {may_only_read})
    error = sqlite3.OperationalError("unable to open database file")
    error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
    assert str(Database(path).explained(error)).startswith(
        f"{path} cannot be written: {path} is read-only.\nName a file"
    )
    path.unlink()
    assert f"cannot be written: {nobodys_directory} is read-only." in str(Database(path).explained(error))


def test_a_file_that_may_grow_no_more_is_told_as_a_full_disk_is(tmp_path: Path) -> None:
    """With the limit, and that what is there stays."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        with pytest.raises(StoreError, match=r"300,000 bytes here, as 'ulimit -f' says.\nRaise that limit and run it"):
            anyio.run(lambda: run(making([], ["x" * 10_000] * 100), store=tmp_path / "results.db"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_process_that_may_open_no_more_files_is_told_so(path: Path) -> None:
    """And not that something is wrong with the store."""
    anyio.run(lambda: run(making([], [1]), store=path))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
    opened: list[int] = []
    try:
        with suppress(OSError):
            while True:
                opened.append(os.open(os.devnull, os.O_RDONLY))
        for use in (Store(path).evaluations, partial(Store(path).begin, "e", "n", model="", identity={})):
            with pytest.raises(StoreError, match=r"this process has 64 files open, and may have no more\.\nClose some"):
                use()
    finally:
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert Store(path).evaluations()


@pytest.mark.process
@pytest.mark.parametrize("is_link", [False, True])
def test_a_log_that_another_process_has_removed_is_missed(path: Path, is_link: bool) -> None:
    """As SQLite's locks are lost where the process itself copies the file; what is written then may be lost, too."""
    look = f"import sqlite3; sqlite3.connect({str(path)!r}).execute('SELECT 1 FROM rows').fetchone()"
    row = Record(0, "key", "", {})
    named = path
    if is_link:
        path.parent.mkdir()
        (named := path.with_name("link.db")).symlink_to(path.name)
    with (
        pytest.raises(StoreError, match=r"lost results\.db-wal while .* copied the store itself"),
        Store(named) as store,
    ):
        stored, _ = store.begin("e", "n", model="", identity={})
        store.put(stored, row)
        store._write().flush()
        shutil.copytree(path.parent, path.parent.with_name("copy"))
        subprocess.run([sys.executable, "-c", look], check=True)
        store.put(stored, row)
        store._write().flush()
    assert Store(path).evaluations()[0].stored == 1


async def test_a_directory_is_no_store(tmp_path: Path) -> None:
    """The message names a file in it."""
    with pytest.raises(StoreError, match=r"is a directory\.\nName a file, such as .*results\.db"):
        await run(making([], [1]), store=tmp_path)
    with pytest.raises(StoreError, match="is a directory"):
        Store(tmp_path).evaluations()


async def test_a_name_may_be_anything_that_a_shell_hands_over(path: Path) -> None:
    """Bytes that are no UTF-8 come as halves of characters."""
    names = {"experiment": "caf\udce9", "name": "\ud83d[x]"}
    await run(making([], [1, 2]), store=path, **names)
    assert (await run(making([], [1, 2]), store=path, **names)).answered
    store = Store(path)
    (found,) = store.evaluations(names["experiment"])
    assert store.find(names["experiment"], names["name"]) == found


LOOKS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM rows").fetchone()
connection.close()
"""


@pytest.mark.process
def test_whoever_begins_gives_up_no_lock_of_others_in_the_process(tmp_path: Path) -> None:
    """Else another process that looks and leaves takes away what they write to."""
    path = tmp_path / "results.db"
    with Store(path) as store:
        stored, _ = store.begin("it", "one", model="", identity={})
        store.put(stored, Record(0, "a", "a", {}))
        store._write().flush()
        with Store(path) as other:
            other.begin("it", "two", model="", identity={})
        subprocess.run([sys.executable, "-c", LOOKS, str(path)], check=True)
        assert path.with_name("results.db-wal").exists()
        store.put(stored, Record(1, "b", "b", {}))
        store._write().flush()
        assert [record.key for record in store.records(stored)] == ["a", "b"]
