"""What is read of a store while others write to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from doteval.evals import Record, Store
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
