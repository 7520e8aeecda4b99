"""Whatever writes to a store, and between whichever two statements it ends: all that it is about is there, or nothing.

A process that is killed is told from one that meets an error by what it does not do any more: here nothing is written
after the statement at which it ends, but what takes back a transaction, which a kill does as well.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from doteval.evals import Record, Store, StoreError, delete, rename
from doteval.evals._results import database as database_module
from doteval.evals._results.copying import Rescored, Rescoring, copy_rescored
from doteval.evals._results.database import Connection
from doteval.evals._results.reading import Moved, Stored
from doteval.evals._results.transcript import RecordedRequests
from doteval.evals._results.usage import ModelUsage

PAID = ModelUsage("m", None, 1, 0, 0, 10, 5, 0, 0, 0)
OF_THE_MOMENT = {"started", "finished", "written", "run", "about"}
"""Columns of which only counts whether there is anything in them."""


class Mortal(Connection):
    """A connection that does nothing more after so many statements; each of many is one."""

    left: float = float("inf")

    def execute(self, sql: str, values: Any = (), /) -> sqlite3.Cursor:
        Mortal.left -= 1
        if Mortal.left < 0 and sql != "ROLLBACK":
            error = sqlite3.OperationalError("the end")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error
        return super().execute(sql, values)

    def executemany(self, sql: str, values: Iterable[Any], /) -> sqlite3.Cursor:
        cursor = self.cursor()
        for each in values:
            cursor = self.execute(sql, each)
        return cursor


def row(number: int, *, requests: str = "") -> Record:
    return Record(
        number,
        f"k{number}",
        "d",
        {"n": number},
        scores={"s": 1},
        usage_by_model=(PAID,),
        transcript=RecordedRequests(requests, 1) if requests else None,
    )


def begin(store: Store, name: str = "a", **how: Any) -> Stored:
    return store.begin("e", name, model="", identity={"code": "1"}, **how)[0]


def of(store: Store, name: str = "a") -> Stored:
    found = store.find("e", name)
    assert found is not None
    return found


def begun(store: Store) -> Stored:
    return begin(store)


def begun_anew(store: Store) -> Stored:
    return begin(store, fresh=True)


def begun_first(store: Store) -> Stored:
    return begin(store, "new")


def rescored(store: Store, stored: Stored) -> None:
    ids = store.ids(stored)
    rows = [Rescored(ids[each.key, each.sample], replace(each, scores={"s": 0})) for each in store.records(stored)]
    copy_rescored(store, [Rescoring(stored, {"code": "2"}, rows)], "e", about={}, overwrite=True)


WORK: dict[str, tuple[Callable[[Store], Stored], Callable[[Store, Stored], object]]] = {
    "begin": (of, lambda store, _: begin(store)),
    "begin after a kill": (of, lambda store, _: begin(store, "killed")),
    "begin anew": (of, lambda store, _: begin(store, fresh=True)),
    "begin, as the code has changed": (
        of,
        lambda store, _: store.begin("e", "a", model="", identity={"code": "2"}, changed="rerun"),
    ),
    "put": (begun, lambda store, stored: store.put(stored, row(7))),
    "put again": (begun, lambda store, stored: store.put(stored, row(1))),
    "put with a transcript": (begun, lambda store, stored: store.put(stored, row(1, requests="[]"))),
    "put, and take a place": (begun_anew, lambda store, stored: store.put(stored, row(1))),
    "note": (begun, lambda store, stored: store.note(stored, {})),
    "note what was written": (begun, lambda store, stored: store.note_written(stored, {"code": "1", "x": "y"})),
    "adopt": (of, lambda store, stored: store.adopt(stored, {"code": "2"})),
    "lose": (begun, lambda store, stored: store.lose(stored, [PAID])),
    "move": (
        begun,
        lambda store, stored: store.move(stored, [Moved("k0", "k7", 1), Moved("k1", "k0", 0), Moved("k2", "k2", 5)]),
    ),
    "finish": (begun, lambda store, stored: store.finish(stored, 3)),
    "finish, and remove rows": (begun, lambda store, stored: store.finish(stored, 1, ["k0", "k1"])),
    "finish, and take a place": (begun_anew, lambda store, stored: store.finish(stored, 0)),
    "leave": (begun, lambda store, stored: store.leave(stored)),
    "leave what is unfit": (begun_first, lambda store, stored: store.leave(stored, is_unfit=True)),
    "leave what has nothing": (begun_anew, lambda store, stored: store.leave(stored)),
    "rename": (of, lambda store, _: rename("e", "f", store=store)),
    "delete": (of, lambda store, _: delete("e", store=store)),
    "rescore": (of, rescored),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one evaluation that is done, and one whose run was killed."""
    path = tmp_path_factory.mktemp("store") / "results.db"
    with Store(path) as store:
        for name in ("a", "killed"):
            stored = begin(store, name)
            for number in range(3):
                store.put(stored, row(number, requests="[1]"))
            if name == "a":
                store.finish(stored, 3)
            store.leave(stored)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE evaluations SET run = 'gone' WHERE name = 'killed'")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def all_in(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found: dict[str, list[tuple[Any, ...]]] = {}
        for name in names:
            cursor = connection.execute(f"SELECT * FROM {name}")
            columns = [column for column, *_ in cursor.description]
            found[name] = sorted(
                (
                    tuple(
                        value is None if column in OF_THE_MOMENT else value
                        for column, value in zip(columns, cells, strict=True)
                    )
                    for cells in cursor
                ),
                key=repr,
            )
    return found


@pytest.mark.parametrize("kind", WORK)
def test_what_ends_between_two_statements_has_done_all_or_nothing(
    kind: str, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is as it was before, or as it is where nothing ends."""
    monkeypatch.setattr(database_module, "Connection", Mortal)
    before_it, act = WORK[kind]

    def ended_after(statements: float) -> tuple[Any, Any, float]:
        """What was there before and is there then, and how many statements it would have had left."""
        path = tmp_path / f"{statements}.db"
        shutil.copyfile(prepared, path)
        store = Store(path)
        stored = before_it(store)
        try:
            before = all_in(path)
            Mortal.left = statements
            with suppress(StoreError), store:
                act(store, stored)
            left = Mortal.left
        finally:
            Mortal.left = float("inf")
        return before, all_in(path), left

    before, after, _ = ended_after(float("inf"))
    assert before != after
    count, left = 0, -1.0
    while left < 0:
        _, found, left = ended_after(count)
        assert found in (before, after), f"after {count} statements"
        count += 1
    assert count > 2
    assert found == after
