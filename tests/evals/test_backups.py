"""Whoever deletes, moves or writes over a store while it is in use, or puts a backup back, loses nothing unawares."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from doteval import Result, foreach
from doteval.cli import main
from doteval.evals import Evaluation, Record, Store, StoreError, run
from doteval.evals._results.unclean import Unclean


def delete(path: Path, _: Path, __: list[int]) -> None:
    for file in path.parent.glob("results.db*"):
        file.unlink()


def move(path: Path, _: Path, __: list[int]) -> None:
    path.rename(path.parent.parent / "elsewhere.db")


def replace(path: Path, _: Path, __: list[int]) -> None:
    delete(path, _, __)
    path.write_bytes(b"")


def delete_directory(path: Path, _: Path, __: list[int]) -> None:
    shutil.rmtree(path.parent)


def move_directory(path: Path, _: Path, __: list[int]) -> None:
    path.parent.rename(path.parent.parent / "elsewhere")


def move_backup_over(path: Path, backup: Path, _: list[int]) -> None:
    backup.rename(path)


def write(path: Path, content: bytes, opened: list[int]) -> None:
    """As another process does: one that closes the file gives up the locks that SQLite has on it."""
    opened.append(os.open(path, os.O_RDWR))
    os.pwrite(opened[-1], content, 0)


def copy_backup_over(path: Path, backup: Path, opened: list[int]) -> None:
    os.truncate(path, 0)
    write(path, backup.read_bytes(), opened)


def write_backup_in_place(path: Path, backup: Path, opened: list[int]) -> None:
    write(path, backup.read_bytes(), opened)


def truncate(path: Path, _: Path, __: list[int]) -> None:
    os.truncate(path, 0)


def fill_with_something_else(path: Path, _: Path, opened: list[int]) -> None:
    write(path, b"something else" * 1000, opened)


WAYS = (
    delete,
    move,
    replace,
    delete_directory,
    move_directory,
    move_backup_over,
    copy_backup_over,
    write_backup_in_place,
    truncate,
    fill_with_something_else,
)


class Overwritten(Store):
    """A store with which something happens just before a run says that it is finished."""

    def __init__(self, path: Path, happens: Callable[[], object]) -> None:
        super().__init__(path)
        self._happens = happens

    def finish(self, evaluation: Any, rows: int, gone: Collection[str] = ()) -> None:
        self._happens()
        super().finish(evaluation, rows, gone)


@pytest.fixture
def opened() -> Iterator[list[int]]:
    descriptors: list[int] = []
    yield descriptors
    for descriptor in descriptors:
        os.close(descriptor)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"], scope="module")  # it is about files
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("at", "goes_on"), [(0, False), (0, True), (5, False), ("the end", True)])
async def test_a_store_that_is_changed_by_others_while_it_is_written_is_told(
    tmp_path: Path, way: Callable[[Path, Path, list[int]], object], at: object, goes_on: bool, opened: list[int]
) -> None:
    """Before the run ends: SQLite would go on, and what it writes would be found by nobody."""
    path = tmp_path / "there" / "results.db"
    backup = tmp_path / "backup.db"

    def happens() -> None:
        before = path.stat()
        while path.exists() and path.stat().st_mtime_ns == before.st_mtime_ns and path.stat().st_ino == before.st_ino:
            way(path, backup, opened)  # again, where the clock of the file system has not moved

    @foreach("number", range(6))
    async def evaluation(number: int) -> Result:
        if not backup.exists():
            raise ValueError("not yet")
        if number == at:
            happens()
        return Result(number)

    await run(texts(3, []), store=path, experiment="before")
    if goes_on:
        await run(evaluation, store=path)
    shutil.copy(path, backup)
    with pytest.raises(StoreError, match=r"was deleted, moved or replaced|cannot be used|is no store of results"):
        async with Overwritten(path, happens if at == "the end" else lambda: None) as store:
            await run(evaluation, store=store, concurrency=1)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"], scope="module")
@pytest.mark.parametrize("way", [way for way in WAYS if way is not fill_with_something_else])
async def test_between_two_runs_of_one_store_its_file_may_be_changed(
    tmp_path: Path, way: Callable[[Path, Path, list[int]], object], opened: list[int]
) -> None:
    """Whatever there was before: the next run begins with what is there then, where the store was closed."""
    path = tmp_path / "there" / "results.db"
    backup = tmp_path / "backup.db"
    store = Store(path)
    for count in range(6):
        calls: list[int] = []
        async with store:
            await run(texts(3, calls), store=store, experiment=f"run {count}")
        assert len(calls) == 3
        if count == 0:
            shutil.copy(path, backup)
        if count == 3:
            for end in ("-wal", "-shm"):  # as the docs ask for
                path.with_name(f"results.db{end}").unlink(missing_ok=True)
            way(path, backup, opened)
    found = {each.experiment for each in Store(path).evaluations()}
    assert {"run 4", "run 5"} <= found <= {"run 0", "run 4", "run 5"}


def texts(count: int, calls: list[int]) -> Evaluation:
    @foreach("number", range(count))
    async def eval_texts(number: int) -> Result:
        calls.append(number)
        return Result(f"{number} " * 500)

    return eval_texts


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """What a process leaves that is killed, with a backup of what was there before."""
    return left_of(tmp_path / "results.db")


def left_of(path: Path) -> Path:
    left = path.with_name("there") / "results.db"
    left.parent.mkdir()
    anyio.run(partial(run, texts(20, []), store=path, experiment="old"))
    shutil.copy(path, path.with_name("backup.db"))
    anyio.run(partial(run, texts(60, []), store=path, experiment="later"))
    with Store(path) as store:
        anyio.run(partial(run, texts(40, []), store=store, experiment="new"))
        for end in ("", "-wal", "-shm"):
            shutil.copy(f"{path}{end}", f"{left}{end}")
    return left


@pytest.mark.parametrize("way", [move_backup_over, copy_backup_over, "copied with its times", "deleted before"])
def test_a_backup_is_not_mixed_with_what_a_killed_run_has_left(
    left: Path, way: Any, opened: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither by a run, which would pay for what is lost in it, nor by who only looks."""
    backup = left.parent.parent / "backup.db"
    content = backup.read_bytes()
    if way == "deleted before":
        left.unlink()
    if isinstance(way, str):
        shutil.copy2(backup, left)
    else:
        way(left, backup, opened)
    calls: list[int] = []
    for _ in range(2):
        with pytest.raises(StoreError, match=r"do not belong together.*\nWhere one was, remove results.db-wal and"):
            Store(left).evaluations()
        assert main(["list", "--store", str(left)]) == 1
        with pytest.raises(StoreError, match="do not belong together"):
            anyio.run(partial(run, texts(30, calls), store=left, experiment="more"))
    assert calls == []
    assert left.read_bytes() == content
    for end in ("-wal", "-shm"):
        Path(f"{left}{end}").unlink()
    assert [(each.experiment, each.stored) for each in Store(left).evaluations()] == [("old", 20)]


@pytest.mark.parametrize("is_touched", [False, True])
@pytest.mark.parametrize("orphans", ["none", "in the file"])
def test_what_a_killed_run_has_left_is_there(tmp_path: Path, is_touched: bool, orphans: str) -> None:
    """Also where somebody has changed the file's permissions since, or has removed evaluations and left their rows."""
    path = tmp_path / "results.db"
    anyio.run(partial(run, texts(20, []), store=path, experiment="removed"))
    if orphans == "in the file":
        with closing(sqlite3.connect(path)) as connection, connection:  # which knows nothing of foreign keys
            connection.execute("DELETE FROM evaluations")
    killed = left_of(path)
    if is_touched:
        killed.chmod(0o640)
    found = [(each.experiment, each.stored) for each in Store(killed).evaluations()]
    expected = [("removed", 20), ("old", 20), ("later", 60), ("new", 40)]
    assert found == expected[orphans == "in the file" :]


def test_nobody_reads_all_of_a_store_that_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor after SQLite has taken what is new from the log to the file, which is newer then."""
    path = tmp_path / "results.db"
    log = path.with_name("results.db-wal")
    looks: list[bool] = []
    monkeypatch.setattr(Unclean, "is_damaged", lambda *_: looks.append(log.exists() and log.stat().st_size > 0))
    with Store(path) as store:
        for experiment in ("one", "two"):
            anyio.run(partial(run, texts(3, []), store=store, experiment=experiment))
            os.utime(path)
            assert len(store.evaluations(experiment)) == 1
    assert not any(looks)


HOLDING = """
import fcntl, sys
with open(sys.argv[1], "r+b") as shared:
    fcntl.lockf(shared, fcntl.LOCK_EX, 1, 121)
    print("held", flush=True)
    sys.stdin.read()
"""
"""Does as one that takes the log to the file, for as long as it likes."""


@pytest.mark.process
def test_another_who_takes_the_log_to_the_file_is_nobody_who_has_written_over_it(tmp_path: Path) -> None:
    """A second run at the same store may do so at any time; what this one has begun is in the log only then."""

    @foreach("number", range(3))
    async def eval_it(number: int) -> Result:
        return Result(number)

    path = tmp_path / "results.db"
    with Store(path) as store:
        anyio.run(partial(run, eval_it, store=store, experiment="first"))
        command = [sys.executable, "-I", "-S", "-c", HOLDING, f"{path}-shm"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdin is not None
            assert other.stdout is not None
            assert other.stdout.readline() == b"held\n"
            outcome = anyio.run(partial(run, eval_it, store=path, experiment="second"))
            other.stdin.close()
        assert outcome.summary.rows == 3
        assert {each.experiment for each in store.evaluations()} == {"first", "second"}


def test_a_file_torn_by_who_was_killed_is_no_other_one(tmp_path: Path) -> None:
    """The first page, with how many there are, is taken from the log to the file before all others."""
    path = tmp_path / "results.db"

    @foreach("number", range(40))
    async def eval_it(number: int) -> Result:
        if number == 20:
            size, pages = page_size_and_pages(path.with_name("results.db-wal").read_bytes())
            opened = os.open(path, os.O_RDWR)  # closed by nobody before SQLite, whose locks would be given up
            assert size
            os.pwrite(opened, pages[1], 0)
        await anyio.lowlevel.checkpoint()
        return Result("x" * 3000)

    outcome = anyio.run(partial(run, eval_it, store=path, concurrency=1))
    assert outcome.summary.rows == 40
    with Store(path) as store:
        assert len([*store.known(*store.evaluations())]) == 40


def page_size_and_pages(log: bytes) -> tuple[int, dict[int, bytes]]:
    """What SQLite takes from a log to its file: the pages of all that was committed."""
    size, salt = int.from_bytes(log[8:12]), log[16:24]
    pages: dict[int, bytes] = {}
    begun: dict[int, bytes] = {}
    for place in range(32, len(log) - size, 24 + size):
        if log[place + 8 : place + 16] != salt:
            break
        begun[int.from_bytes(log[place : place + 4])] = log[place + 24 : place + 24 + size]
        if int.from_bytes(log[place + 4 : place + 8]):
            pages |= begun
            begun = {}
    return size, pages


def test_evaluations_that_begin_at_once_on_one_store_disturb_nobody(tmp_path: Path) -> None:
    """Whenever the one commits that it has begun, and the other takes the log to the file."""
    for number in range(30):
        with Store(tmp_path / "results.db") as store, ThreadPoolExecutor(2) as pool:

            def begin(name: str, store: Store = store, number: int = number) -> None:
                stored, _ = store.begin(f"experiment {number}", name, model="", identity={})
                store.put(stored, Record(0, "k", "d", {}))
                store.leave(stored)

            assert [*pool.map(begin, ["a", "b"])] == [None, None]
