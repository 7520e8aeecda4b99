"""What is read of a store while others write to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from doteval import Result, foreach
from doteval.evals import Record, Store, StoreError, delete, run
from doteval.evals._results.reading import Moved, Stored
from doteval.evals._running.outcome import StoredRecords

ROWS = 1200

READERS: dict[str, Callable[[Store, Stored], Iterable[str]]] = {
    "records": lambda store, stored: (record.key for record in store.records(stored)),
    "those that failed": lambda store, stored: (record.key for record in store.records(stored, failed=True)),
    "scores": lambda store, stored: (str(scores["size"]) for scores, _ in store.scores(stored)),
    "known": lambda store, stored: (known.key for known in store.known(stored)),
    "texts": lambda store, stored: (key for key, *_ in store.texts(stored)),
    "of an outcome": lambda store, stored: (record.key for record in StoredRecords(store, stored, ROWS, "")),
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
