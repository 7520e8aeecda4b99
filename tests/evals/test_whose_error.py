"""What SQLite raises is told as what is wrong with the store where it is about that, and else it is the user's own."""

from __future__ import annotations

import inspect
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from doteval.evals import Store, StoreError
from doteval.evals._results.database import _APPLICATION, _VERSION
from doteval.evals._results.reading import Results, Snapshot, Stored

STORED = Stored(1, "e", "n", "", {}, 0.0, 0.0, 0, 0, 0)
GIVEN = {"evaluation": STORED, "before": STORED, "after": STORED, "experiment": "e", "name": "n", "key": "k",
         "epochs": 3, "sample": 1, "most": 1, "last": 1}  # fmt: skip
READS = [name for name, value in vars(Results).items() if inspect.isfunction(value) and not name.startswith("_")]


def read(results: Results, name: str) -> None:
    """Call a method, and read all that it gives."""
    method = getattr(results, name)
    given = {**GIVEN, "after": 0} if name == "written_after" else GIVEN
    found = method(**{each: given[each] for each in inspect.signature(method).parameters if each in given})
    if isinstance(found, Iterator):
        list(found)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results.db")


@pytest.fixture
def broken(store: Store) -> Store:
    """It says that it is a store, and has no tables."""
    with closing(sqlite3.connect(store.path)) as connection:
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {_VERSION}")
    return store


@pytest.mark.parametrize("name", READS)
def test_what_is_wrong_with_the_store_is_told_as_that(name: str, broken: Store) -> None:
    """By the store, and by a snapshot of it, whatever is read."""
    with pytest.raises(StoreError, match=r"results\.db"):
        read(broken, name)
    with broken.snapshot() as snapshot, pytest.raises(StoreError, match=r"results\.db"):
        read(snapshot, name)


def own_statement() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("SELECT * FROM others")


def own_file(path: Path) -> None:
    path.write_text("no database, but long enough to be looked at as one" * 99)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("SELECT * FROM others")


def own_constraint() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE it (a UNIQUE)")
        connection.executemany("INSERT INTO it VALUES (?)", [(1,), (1,)])


MISTAKES: list[tuple[Callable[[Path], Any], type[Exception]]] = [
    (lambda _: own_statement(), sqlite3.OperationalError),
    (own_file, sqlite3.DatabaseError),
    (lambda _: own_constraint(), sqlite3.IntegrityError),
    (lambda path: path.read_text(), FileNotFoundError),
    (lambda _: dict[str, int]()["x"], KeyError),
]


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize(("mistake", "kind"), MISTAKES)
def test_what_is_raised_beside_a_snapshot_stays_as_it_is(
    mistake: Callable[[Path], Any], kind: type[Exception], is_there: bool, store: Store, tmp_path: Path
) -> None:
    """Also after reading it, and the connection is closed."""
    if is_there:
        with store:
            store.begin("e", "n", model="", identity={})
    snapshots: list[Snapshot] = []
    with pytest.raises(kind) as caught:
        with store.snapshot() as snapshot:
            snapshots.append(snapshot)
            for _ in range(len(snapshot.evaluations()) or 1):
                mistake(tmp_path / "own.txt")
    assert type(caught.value) is kind
    if is_there:
        with pytest.raises(StoreError, match="closed"):
            snapshots[0].evaluations()
