"""What is read of a store while others write to it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from doteval import Result, foreach
from doteval.evals import Outcome, Record, Store, StoreError, delete, run
from doteval.evals._results.live import Live
from doteval.evals._results.pricing import Prices
from doteval.evals._results.reading import Moved, Stored
from doteval.evals._running.outcome import StoredRecords

ROWS = 1200

READERS: dict[str, Callable[[Store, Stored], Iterable[str]]] = {
    "records": lambda store, stored: (record.key for record in store.records(stored)),
    "those that failed": lambda store, stored: (record.key for record in store.records(stored, failed=True)),
    "scores": lambda store, stored: (str(scores["size"]) for scores, _ in store.scores(stored)),
    "known": lambda store, stored: (known.key for known in store.known(stored)),
    "texts": lambda store, stored: (key for key, *_ in store.texts(stored)),
}


pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """It is about what is in the file."""
    return "asyncio"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "s.db") as store:
        yield store


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("is_rewritten", [False, True])
async def test_rows_that_move_while_they_are_read_come_once(name: str, is_rewritten: bool, store: Store) -> None:
    """In the order of the beginning, also those that are written again; those that are added do not."""
    failed = "no" if name == "those that failed" else None

    def put(numbers: Iterable[int], places: Callable[[int], int]) -> None:
        for number in numbers:
            store.put(stored, Record(places(number), str(number), "", {}, error=failed, scores={"size": number}))

    stored, _ = store.begin("e", "n", model="", identity={})
    put(range(ROWS), lambda number: number)
    await store.flush()
    stored = store.evaluations()[0]
    seen: list[str] = []
    for number, key in enumerate(READERS[name](store, stored)):
        seen.append(key)
        if number == 600:
            if is_rewritten:
                put(range(ROWS), lambda number: ROWS - number)
                put([ROWS + 1], lambda number: number)
            else:
                store.move(stored, [Moved(str(each), str(each), ROWS - each) for each in range(ROWS)])
            await store.flush()
    assert seen == [str(number) for number in range(ROWS)]


async def test_what_is_gone_is_not_there(store: Store) -> None:
    """Nothing comes twice in its place."""
    stored, _ = store.begin("e", "n", model="", identity={})
    for number in range(ROWS):
        store.put(stored, Record(number, str(number), "", {}))
    await store.flush()
    seen: Counter[Any] = Counter()
    for record in store.records(stored):
        seen[record.key] += 1
        if record.number == 0:
            store.finish(stored, ROWS - 100, [str(number) for number in range(600, 700)])
            await store.flush()
    assert seen == Counter([*map(str, range(600)), *map(str, range(700, ROWS))])


@pytest.mark.parametrize("is_rewritten", [False, True])
async def test_records_of_an_outcome_that_change_while_they_are_read_are_told_of(
    is_rewritten: bool, store: Store
) -> None:
    """The others are those of before."""
    stored, _ = store.begin("e", "n", model="", identity={})
    for number in range(ROWS):
        store.put(stored, Record(number, str(number), "", {}))
    await store.flush()
    stored = store.evaluations()[0]
    seen: list[Record] = []
    with pytest.raises(StoreError, match=f"{ROWS - 1:,} of the {ROWS:,} rows"):
        for record in StoredRecords(store, stored, ROWS, store.last_written(stored), ""):
            seen.append(record)
            if record.number == 600:
                if is_rewritten:
                    store.put(stored, Record(1100, "1100", "", {}, output="of another run"))
                else:
                    store.move(stored, [Moved("1100", "1100", 0)])
                await store.flush()
    assert [(record.number, record.output) for record in seen] == [(each, None) for each in range(ROWS) if each != 1100]


Rows = list[tuple[int, str]]
"""Ids, and what is asked."""
LATER: dict[str, Callable[[Rows], Rows]] = {
    "as it is": lambda rows: rows,
    "appended": lambda rows: [*rows, (9, "new")],
    "put before": lambda rows: [(9, "new"), *rows],
    "edited": lambda rows: [(number, f"new {text}") for number, text in rows],
    "one edited": lambda rows: [(number, text.replace("c", "new")) for number, text in rows],
    "last edited": lambda rows: [*rows[:-1], (rows[-1][0], "new")],
    "edited, and one more": lambda rows: [(9, "new"), *((number, f"new {text}") for number, text in rows)],
    "one removed": lambda rows: rows[1:],
    "one exchanged": lambda rows: [*rows[1:], (9, "new")],
    "reversed": lambda rows: rows[::-1],
    "first two": lambda rows: [rows[1], rows[0], *rows[2:]],
    "ids exchanged": lambda rows: [(rows[1][0], rows[0][1]), (rows[0][0], rows[1][1]), *rows[2:]],
}
OPTIONS: dict[str, dict[str, Any]] = {"gone on with": {}, "fresh": {"fresh": True}, "more samples": {"epochs": 2}}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("how", LATER)
@pytest.mark.parametrize("fails", [False, True])
async def test_records_of_an_outcome_are_those_of_its_run_whatever_is_run_later(
    how: str, options: str, fails: bool, tmp_path: Path
) -> None:
    """Or it is said that they are not there any more; and a page that reads on shows what is there."""
    rows: Rows = [(number, text) for number, text in enumerate("abcd")]

    @foreach("text", lambda: [{"id": number, "text": text} for number, text in rows])
    def ask(text: str) -> Result:
        if fails and text in "bd":
            raise ValueError(text)
        return Result(text)

    async def ran(**given: Any) -> Outcome:
        return await run(ask, store=tmp_path / "r.db", changed="keep", max_errors=None, **given)

    live = Live(Store(tmp_path / "r.db"), lambda results: results.evaluations(), "all", Prices({}))
    page: dict[int, dict[tuple[str, int], int]] = {}
    last = 0

    def read_on() -> None:
        nonlocal last
        (now,) = live.state()["evaluations"]
        answer = json.loads(live.rows(now["id"], last) or "")
        block = answer["block"]
        page.setdefault(now["id"], {}).update(
            zip(zip(block["key"], block["sample"], strict=True), block["number"], strict=True)
        )
        last = answer["last"]

    outcome = await ran()
    summary, before = outcome.summary, [*outcome.records]
    read_on()
    is_retried, fails = fails, False
    rows = LATER[how](rows)
    later = await ran(**OPTIONS[options])
    assert [*later.records] == [*later.records[:]]
    readings: list[Callable[[], list[Record]]] = [
        lambda: [*outcome.records],
        lambda: [outcome.records[place] for place in range(len(before))],
        lambda: outcome.records[::-1][::-1],
    ]
    read = 0
    for reading in readings:
        with suppress(StoreError):
            assert reading() == before
            read += 1
    assert outcome.summary == summary
    assert read == (3 if options != "fresh" and how in ("as it is", "appended") and not is_retried else 0)
    read_on()
    there = {(each.key, each.sample): each.number for each in later.records}
    shown = page[max(page)]
    assert {place: shown.get(place) for place in there} == there


@pytest.mark.parametrize("name", [*READERS, "page", "page, further on", "one row", "summary", "count"])
def test_what_is_read_of_an_evaluation_takes_no_steps_for_others(name: str, tmp_path: Path) -> None:
    """As SQLite counts them."""
    readers: dict[str, Callable[[Any, Stored], object]] = {
        **READERS,
        "page": lambda results, stored: [*results.written_after(stored, 0, ROWS)],
        "page, further on": lambda results, stored: [*results.written_after(stored, 3, ROWS)],
        "one row": lambda results, stored: results.row(stored, "3"),
        "summary": lambda results, stored: results.summary(stored),
        "count": lambda results, stored: (results.last_written(stored), results.written_until(stored, 5)),
    }
    steps: list[int] = []
    with Store(tmp_path / "s.db") as store:
        for number in range(4):
            stored, _ = store.begin("e", f"{number}", model="", identity={})
            for place in range(1000 if number else 20):
                error = "no" if name == "those that failed" else None
                store.put(stored, Record(place, str(place), "", {}, error=error, scores={"size": place}))
            store.leave(stored)
            store.close()
            store.__enter__()
            with store.snapshot() as results:
                first = results.evaluations()[0]
                steps.append(0)

                def count() -> None:
                    steps[-1] += 1

                assert results._connection is not None
                results._connection.set_progress_handler(count, 1)
                found: Any = readers[name](results, first)
                assert not isinstance(found, Iterator) or [*found]
                results._connection.set_progress_handler(None, 0)
    assert max(steps) < min(steps) + 100


@pytest.mark.parametrize("is_stored", [True, False])
async def test_records_of_an_outcome_are_a_sequence(is_stored: bool, tmp_path: Path) -> None:
    """Wherever they are kept, each is at its place, and so are slices."""

    @foreach("q", [f"q{number}" for number in range(6)], epochs=2)
    def ask(q: str) -> Result:
        return Result(q)

    outcome = await run(ask, store=tmp_path / "r.db" if is_stored else None)
    records, found = outcome.records, [(record.number, record.sample) for record in outcome.records]
    assert found == [(number, sample) for number in range(6) for sample in (1, 2)]
    assert isinstance(records, Sequence)
    assert len(records) == len(found)
    assert records
    ends = [None, 0, 1, 5, 12, 40, -1, -12, -40]
    steps = [None, 1, 2, 7, -1, -5]
    for one, other, step in product(ends, ends, steps):
        part = slice(one, other, step)
        assert [(record.number, record.sample) for record in records[part]] == found[part], part
    for place in range(-12, 12):
        assert (records[place].number, records[place].sample) == found[place]
    for place in (12, -13):
        with pytest.raises(IndexError):
            records[place]
    assert [record.sample for record in reversed(records)] == [2, 1] * 6
    for start, stop in product([0, 3, -9, 40], [None, 4, -1, 0]):
        part = range(12)[start:stop]
        with nullcontext() if 3 in part else pytest.raises(ValueError, match=r"none of the records|not in list"):
            assert records.index(records[3], start, *[stop] * (stop is not None)) == 3
    assert records.count(records[3]) == 1
    assert records[3] in records
    assert object() not in records


async def test_an_outcome_of_no_rows_is_empty(tmp_path: Path) -> None:
    @foreach("q", [])
    def ask(q: str) -> Result:
        return Result(q)

    outcome = await run(ask, store=tmp_path / "r.db", max_errors=None)
    assert not outcome.records
    assert not outcome.records[:]


async def test_records_of_an_outcome_that_are_gone_are_told_of(tmp_path: Path) -> None:
    @foreach("q", ["a", "b"])
    def ask(q: str) -> Result:
        return Result(q)

    outcome = await run(ask, store=tmp_path / "r.db")
    delete("default", store=tmp_path / "r.db")
    assert len(outcome.records) == 2
    for read in (lambda: outcome.records[1], lambda: outcome.records[:1], lambda: [*outcome.records]):
        with pytest.raises(StoreError, match="has 0 of the 2 rows"):
            read()
