"""The files of results and replies where processes fork, directories change, disks fill and others are at them."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest

from doteval import ReplyCache, ReplyCacheError, Result, foreach
from doteval._replies.file import Use
from doteval.cli import main
from doteval.evals import ConcurrentRunError, Outcome, Store, StoreError, run
from doteval.evals._results import upkeep
from doteval.evals._results.database import transaction
from doteval.evals._running import circumstances

REPLY = Use(b"scope", b"request", b"tag")


@foreach("value", ["a", "b"])
async def two_rows(value: str) -> Result:
    return Result(value, scores={"ok": True})


def kept(store: Store, name: str = "two_rows") -> tuple[int, int] | None:
    """How many results are there of how many."""
    stored = store.find("default", name)
    return None if stored is None else (stored.stored, stored.epochs)


# ---------------------------------------------------------------- forks


def writes_results(path: Path) -> tuple[Any, Callable[[], object]]:
    store = Store(path / "results.db")

    def work() -> None:
        anyio.run(lambda: run(two_rows, store=store))
        store.close()

    return store._lock, work


def reads_replies(path: Path) -> tuple[Any, Callable[[], object]]:
    cache = ReplyCache(path / "replies.db")

    def work() -> None:
        with cache.answering() as replies:
            replies.keep(REPLY, "m", "[]", replaces=False)
            replies.flush()
            assert replies.look(REPLY) == "[]"

    return cache._file._lock, work


def enters_a_cache(path: Path) -> tuple[Any, Callable[[], object]]:
    cache = ReplyCache(path / "replies.db")
    return cache._lock, cache.kept


def looks_for_the_commit(path: Path) -> tuple[Any, Callable[[], object]]:
    return circumstances._commits._lock, lambda: circumstances._commits.of(path, asks_git=False)


@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("case", [writes_results, reads_replies, enters_a_cache, looks_for_the_commit])
def test_a_child_does_not_wait_for_a_thread_that_it_has_not(case: Any, tmp_path: Path) -> None:
    """It was forked while another thread had the lock."""
    lock, work = case(tmp_path)
    has_it, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            has_it.set()
            may_go.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    has_it.wait()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(20)
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    may_go.set()
    holder.join()
    work()
    assert status == 0


# ---------------------------------------------------------------- places


def test_a_cache_stays_where_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a row goes to another directory."""
    (elsewhere := tmp_path / "elsewhere").mkdir()
    for place in (tmp_path, elsewhere):
        monkeypatch.chdir(tmp_path)
        cache = ReplyCache("replies.db")
        with cache.answering() as replies:
            monkeypatch.chdir(place)
            replies.keep(REPLY, "m", "[]", replaces=False)
            replies.flush()
            assert replies.look(REPLY) == "[]"
        assert replies.problems == []
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*.db")] == [Path("replies.db")]


@pytest.mark.parametrize("given", ["results.db", "deep/results.db", Path("results.db"), "a store", "a store, later"])
@pytest.mark.parametrize("is_over_link", [False, True])
def test_all_stays_where_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | Path, is_over_link: bool
) -> None:
    """A row goes to another directory: results, replies and what is looked at afterwards are where they were before."""
    (place := tmp_path / "place").mkdir()
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (place / "data.txt").write_text("one")
    (tmp_path / "link").symlink_to(place)

    def eval_it(prompt: str) -> Result:
        os.chdir(elsewhere)
        return Result(100_000 * prompt)

    def outcome() -> Outcome:
        monkeypatch.chdir(tmp_path / "link" if is_over_link else place)
        store: Any = given
        if isinstance(given, str) and given.startswith("a store"):
            store = Store("results.db")
        if given == "a store, later":
            monkeypatch.chdir(elsewhere)
        it = foreach("prompt", ["a", "b"], depends_on=[place])(eval_it)
        found = anyio.run(lambda: run(it, store=store, cache="on", max_errors=0))
        if isinstance(store, Store):
            store.close()
        return found

    first = outcome()
    assert first.warnings == ()
    assert first.cache is not None
    named = place / ("deep/replies.db" if given == "deep/results.db" else "replies.db")
    assert os.path.realpath(first.cache.cache.path) == str(named)
    assert [*elsewhere.iterdir()] == []
    again = outcome()
    assert (again.answered, again.warnings) == (True, ())
    monkeypatch.chdir(place)
    store = Store("deep/results.db" if given == "deep/results.db" else "results.db")
    monkeypatch.chdir(elsewhere)
    removed = upkeep.remove(store, store.evaluations(), lambda now: now.evaluations())
    assert removed.freed > 0
    assert [*elsewhere.iterdir()] == []


def linked(directory: Path, way: str) -> Path:
    """A directory in which links lead to the databases of another one."""
    if not way:
        return directory
    there = directory.with_name(f"{directory.name} over a {way}")
    if way == "link to the directory":
        there.symlink_to(directory.name)
        return there
    between = directory.with_name("between")
    for place in (between, there) if way == "link to a link" else (there,):
        place.mkdir()
        for name in ("results.db", "replies.db"):
            (place / name).symlink_to(directory / name)
        directory = place
    return there


@contextmanager
def as_nobody() -> Iterator[None]:
    """As somebody who may not write here."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="root may write anywhere")
@pytest.mark.parametrize("was_killed", [False, True])
@pytest.mark.parametrize("way", ["", "link to the file", "link to a link", "link to the directory"])
def test_what_cannot_be_read_is_not_taken_for_nothing(was_killed: bool, way: str) -> None:
    """An artifact has the log beside the file of whoever was killed, and only who may write there can take it over.

    The log is beside the file itself, whatever leads to it.
    """
    with TemporaryDirectory() as directory:
        (place := Path(directory, "place")).mkdir()
        artifact = Path(directory, "artifact")
        with Store(place / "results.db") as store, ReplyCache(place / "replies.db").answering() as replies:
            anyio.run(lambda: run(two_rows, store=store))
            replies.keep(REPLY, "m", "[]", replaces=False)
            replies.flush()
            if was_killed:
                shutil.copytree(place, artifact, ignore=shutil.ignore_patterns("*-shm"))
        if not was_killed:
            shutil.copytree(place, artifact)
        assert bool([*artifact.glob("*-wal")]) is was_killed
        for each in artifact.iterdir():
            each.chmod(0o444)
        artifact.chmod(0o555)
        seen = linked(artifact, way)
        Path(directory).chmod(0o755)
        store, cache = Store(seen / "results.db"), ReplyCache(seen / "replies.db")
        with as_nobody():
            if was_killed:
                with pytest.raises(StoreError, match=r"has left results in results\.db-wal"):
                    store.evaluations()
                with pytest.raises(ReplyCacheError, match="cannot be used"):
                    cache.kept()
            else:
                assert kept(store) == (2, 1)
                assert [each.replies for each in cache.kept()] == [1]
        for each in (artifact, *artifact.iterdir()):
            each.chmod(0o755)
        assert kept(store) == (2, 1)
        assert [each.replies for each in cache.kept()] == [1]


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="root may read anything")
@pytest.mark.parametrize("command", [["list"], ["delete", "default", "--yes"], ["copy", "default", "b"]])
@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_store_of_somebody_else_says_who_can_help(
    command: list[str], mode: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its owner, or whoever reads it may have a copy: with the option of a command."""
    with TemporaryDirectory() as directory:
        path = Path(directory, "results.db")
        with Store(path) as store:
            anyio.run(lambda: run(two_rows, store=store))
        dry = [] if command[0] == "list" else ["--dry-run"]
        assert main([*command, *dry, "--store", str(path)]) == 0  # nobody can read what would be imported
        capsys.readouterr()
        path.chmod(mode)
        Path(directory).chmod(0o755)
        with as_nobody():
            code = main([*command, "--store", str(path)])
        said = capsys.readouterr().err
        if mode == 0o600:
            assert f"may not be read by this user. Only its owner, {path.owner()}, can give you" in " ".join(
                said.split()
            )
        elif command[0] != "list":
            assert "Name a file elsewhere, such as a copy: " in said
            assert "--store FILE of the commands" in " ".join(said.split())
        assert code == (command[0] != "list" or mode == 0o600)


@pytest.mark.parametrize("command", [["list"], ["delete", "default", "--yes"]])
def test_a_link_to_nothing_is_no_store(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And who writes to it is told, too, where the directory is missing; else the file is made, and the link stays."""
    path = tmp_path / "results.db"
    path.symlink_to(tmp_path / "there" / "results.db")
    assert main([*command, "--store", str(path)]) == 1
    assert f"{path} is a link to {tmp_path}/there/results.db, which is not there" in capsys.readouterr().err
    with pytest.raises(StoreError, match=r"is a link to .*there/results.db, which is not there and cannot be made"):
        anyio.run(lambda: run(two_rows, store=path))
    (tmp_path / "there").mkdir()
    anyio.run(lambda: run(two_rows, store=path))
    assert path.is_symlink()
    assert kept(Store(path)) == (2, 1)


# ---------------------------------------------------------------- failures


def test_what_ends_a_transaction_by_itself_is_what_is_told(tmp_path: Path) -> None:
    """SQLite has rolled back already where a disk is full."""
    connection = sqlite3.connect(tmp_path / "any.db", isolation_level=None)
    with pytest.raises(OSError, match="the disk is full"), transaction(connection):
        connection.execute("ROLLBACK")
        raise OSError("the disk is full")
    connection.close()


@pytest.mark.anyio
async def test_a_store_that_could_not_be_written_is_written_again(tmp_path: Path) -> None:
    """An evaluation that comes after the trouble does not pay for it."""
    path = tmp_path / "results.db"

    @foreach("value", range(3))
    async def eval_unlucky(value: int) -> Result:
        path.rename(tmp_path / f"away {value}.db")
        return Result(value)

    async with Store(path) as store:
        await run(two_rows, store=store)
        with pytest.raises(StoreError, match="deleted, moved or replaced"):
            await run(eval_unlucky, store=store, concurrency=1)
        (tmp_path / "away 0.db").rename(path)
        await run(two_rows, store=store, name="after")
        assert kept(store, "after") == (2, 1)


# ---------------------------------------------------------------- others


class Interrupted(Store):
    """A store in which somebody else does something where nobody looks."""

    def __init__(self, path: Path, before: str, work: Callable[[], Awaitable[object]]) -> None:
        super().__init__(path)
        self._before = before
        self._work: Callable[[], Awaitable[object]] | None = work

    async def _now(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            await work()

    async def flush(self) -> None:
        await super().flush()
        if self._before == "summary":
            await self._now()

    def adopt(self, evaluation: Any, identity: Any) -> None:
        if self._before == "adopt":
            thread = threading.Thread(target=lambda: anyio.run(self._now))
            thread.start()
            thread.join()
        super().adopt(evaluation, identity)


@pytest.mark.anyio
async def test_results_that_are_thrown_away_before_they_are_added_up_are_missed(tmp_path: Path) -> None:
    """There is no outcome without rows, and no gate that it passes."""
    path = tmp_path / "results.db"

    async def start_over() -> None:
        await run(two_rows, store=path, fresh=True)

    async with Interrupted(path, "summary", start_over) as store:
        with pytest.raises(ConcurrentRunError, match="was begun again"):
            await run(two_rows, store=store)
    assert kept(Store(path)) == (2, 1)


@pytest.mark.anyio
async def test_who_only_looks_changes_nothing_of_a_run_that_came_meanwhile(tmp_path: Path) -> None:
    """It has more samples of each row now."""
    path = tmp_path / "results.db"
    await run(two_rows, store=path, epochs=2)

    async def have_more() -> None:
        await run(two_rows, store=path, epochs=4)

    async with Interrupted(path, "adopt", have_more) as store:
        assert (await run(two_rows, store=store, epochs=1)).answered
    assert kept(Store(path)) == (8, 4)


def test_who_enters_is_counted_before_anything_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the last one who leaves, in another thread, closes what was just opened."""
    cache = ReplyCache(tmp_path / "replies.db")
    check, counted = cache._file.check, []

    def check_and_count() -> None:
        counted.append(cache._users)
        check()

    monkeypatch.setattr(cache._file, "check", check_and_count)
    with cache.answering():
        cache.kept()
    assert counted == [1, 2]
    assert cache._users == 0


@pytest.mark.anyio
async def test_a_block_may_be_left_in_another_task(tmp_path: Path) -> None:
    """Somebody's generator is closed by somebody else; what it has is written, and nothing stays open."""
    cache = ReplyCache(tmp_path / "replies.db")

    async def block() -> AsyncIterator[None]:
        with cache.answering() as replies:
            replies.keep(REPLY, "m", "[]", replaces=False)
            yield

    async def begin() -> None:
        await generator.__anext__()

    async def end() -> None:
        await generator.aclose()  # type: ignore[attr-defined]

    generator = block()
    for work in (begin, end):
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(work)
    assert [each.replies for each in cache.kept()] == [1]
    assert (cache._users, cache._file._writer) == (0, None)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="root may write anywhere")
@pytest.mark.parametrize("way", ["", "link to the file"])
def test_a_cache_where_nobody_may_write_says_so(way: str) -> None:
    """And not only that SQLite could not open a file."""
    with TemporaryDirectory() as around:
        Path(around).chmod(0o755)
        (directory := Path(around, "place")).mkdir()
        directory.chmod(0o555)
        seen = linked(directory, way)
        with as_nobody(), ReplyCache(seen / "replies.db").answering() as replies:
            replies.keep(REPLY, "m", "[]", replaces=False)
            replies.flush()
            (problem,) = replies.problems
        assert problem.endswith(f"keeps no more replies: {directory} may not be written by this user.")
