"""What a page asks for that is open while evaluations go on; each answer is of the store as it is at that moment.

Rows are given in blocks, in the order in which they were written: SQLite numbers them, a row that is written again gets
a new number, and none is given twice, so whoever remembers the last one misses none. Nothing is written, and no reader
keeps a writer from writing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any, TypeAlias, cast

from .blocks import Index, details_of, line_of
from .compare import compare
from .overview import overview
from .plain import storable
from .pricing import Prices
from .reading import Results, Snapshot, Stored
from .report import as_told, described, overview_part, page_around
from .store import Store

Choose: TypeAlias = Callable[[Snapshot], Sequence[Stored]]
"""Which of the evaluations that are there are shown."""

BLOCK = 8192
"""How many rows a block has at most; the first one has fewer, so that it is soon there."""


class Live:
    """A store, as a page sees it.

    Args:
        store: Where results are.
        choose: Which of them are shown.
        title: What the page is called.
        prices: What tokens cost.
    """

    def __init__(self, store: Store, choose: Choose, title: str, prices: Prices) -> None:
        self._store = store
        self._choose = choose
        self._title = storable(title)
        self._prices = prices
        self._lock = Lock()
        self._seen: tuple[str, dict[str, Any]] | None = None

    def page(self) -> str:
        """The page, without anything in it that takes time."""
        file = self._store.file()
        with self._store.snapshot() as results:
            evaluations = self._choose(results)
            told = {"title": self._title, "file": file, "evaluations": described(evaluations), "comparisons": []}
        return "".join(page_around(told))

    def overview(self) -> str:
        """What the page says of evaluations as wholes."""
        with self._store.snapshot() as results:
            return overview_part(self._overview(results, self._choose(results)))

    def state(self) -> dict[str, Any]:
        """Which evaluations there are, how far they are, and which file they are in."""
        file = self._store.file()  # before it is read: one that takes its place meanwhile is another one the next time
        with self._store.snapshot() as results:
            evaluations = self._choose(results)
            found = described(evaluations)
            for each, stored in zip(found, evaluations, strict=True):
                each["last"] = results.last_written(stored)
            return {"file": file, "evaluations": found, "counter": results.counter()}

    def rows(self, evaluation: int, after: int) -> str | None:
        """The next block of rows that were written after one, as JSON; `None` where the evaluation is not shown.

        Args:
            evaluation: Its number.
            after: The number of the last row that is known; 0 for all.
        """
        index, last = Index(self._prices), after
        most = BLOCK if after else BLOCK // 8
        with self._store.snapshot() as results:
            stored = self._stored(results, evaluation)
            if stored is None:
                return None
            for number, record in results.written_after(stored, after, most):
                index.add(record)
                last = number
        more = json.dumps(len(index) == most)
        return f'{{"block":{line_of(index.take())},"last":{last},"more":{more}}}'

    def row(self, evaluation: int, key: str) -> str | None:
        """All of the samples of one row, as JSON."""
        with self._store.snapshot() as results:
            stored = self._stored(results, evaluation)
            found = [] if stored is None else results.row(stored, key)
            lines = [
                line_of(details_of(record, results.transcript_text(stored, key, record.sample)))
                for record in found
                if stored is not None
            ]
        return f"[{','.join(lines)}]" if lines else None

    def search(self, evaluation: int, text: str) -> dict[str, Any] | None:
        """The keys and numbers of the samples that have a text anywhere, in upper or lower case."""
        wanted = text.lower()
        in_json = json.dumps(wanted, ensure_ascii=False)[1:-1].lower()
        with self._store.snapshot() as results:
            stored = self._stored(results, evaluation)
            if stored is None:
                return None
            found = [
                (key, sample)
                for key, sample, json_texts, others in results.texts(stored)
                if any(wanted in each.lower() for each in others)
                or any(in_json in each.lower() and _has_text(json.loads(each), wanted) for each in json_texts)
            ]
            known = set(found)
            for key, sample, text in results.transcript_texts(stored):
                if (
                    (key, sample) not in known
                    and in_json in text.lower()
                    and _has_text(json.loads(text)["texts"], wanted, names=False)
                ):
                    found.append((key, sample))
        return {"found": found}

    def compare(self, before: int, after: int) -> dict[str, Any] | None:
        """How much two evaluations differ."""
        with self._store.snapshot() as results:
            one, other = self._stored(results, before), self._stored(results, after)
            return None if one is None or other is None else as_told(compare(results, one, other))

    def _stored(self, results: Snapshot, number: int) -> Stored | None:
        return next((stored for stored in self._choose(results) if stored.id == number), None)

    def _overview(self, results: Results, evaluations: Sequence[Stored]) -> dict[str, Any]:
        """It takes time, so several who ask at once get the same, and as long as nothing is written."""
        with self._lock:
            now = repr([self._store.file(), *((stored, results.last_written(stored)) for stored in evaluations)])
            if self._seen is None or self._seen[0] != now:
                self._seen = now, overview(results, evaluations, self._prices)
            return self._seen[1]


def _has_text(value: Any, wanted: str, *, names: bool = True) -> bool:
    """Whether a value has a text anywhere in it, also in the names of what it holds, unless these are ours."""
    if isinstance(value, str):
        return wanted in value.lower()
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Any]", value).items()
        return any((names and wanted in name.lower()) or _has_text(each, wanted, names=names) for name, each in items)
    if isinstance(value, list):
        return any(_has_text(each, wanted, names=names) for each in cast("Sequence[Any]", value))
    return value is not None and wanted in json.dumps(value)
