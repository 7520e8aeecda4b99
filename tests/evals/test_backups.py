"""Whoever deletes, moves or writes over a store while it is in use, or puts a backup back, loses nothing unawares."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from doteval import Result, foreach
from doteval.evals import Store, StoreError, run

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"], scope="module")]  # about files


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


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("at", "goes_on"), [(0, False), (0, True), (3, False), (5, True), ("the end", False), ("the end", True)]
)
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

    await run(foreach("number", range(3))(lambda number: Result(number)), store=path, experiment="before")
    if goes_on:
        await run(evaluation, store=path)
    shutil.copy(path, backup)
    with pytest.raises(StoreError, match=r"was deleted, moved or replaced|cannot be used"):
        async with Overwritten(path, happens if at == "the end" else lambda: None) as store:
            await run(evaluation, store=store, concurrency=1)
