"""Random histories of one evaluation in one store, beside a model of what must be in it.

A history is a number of runs, one after the other. In between the dataset is edited, and more or fewer samples of each
row are asked for; rows fail, or return odd values; the code changes; runs are started over, refused, kept, cancelled,
interrupted, ended by whoever is told, or overtaken.
``FUZZ=2000 pytest tests/evals/test_fuzz.py`` looks at more of them.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import anyio
from anyio import CancelScope
from anyio.lowlevel import checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from doteval import Result, foreach
from doteval.evals import ConcurrentRunError, DatasetError, EvaluationChangedError, Record, Store, run
from doteval.evals._results.digests import digest_of

HISTORIES = int(os.environ.get("FUZZ", "25"))

VALUES: list[Any] = [0, 1, "a", "b", "\ud83d", None, 10**5000, (1, 2), float("nan"), {"x": [1]}, "x" * 5000]
OUTPUTS: list[Any] = ["text", "\udc00", 10**4400, {"a": {1: 2}}, [float("inf")], b"\xff", object]
ERRORS: list[BaseException] = [
    ValueError("no"),
    SystemExit(3),
    GeneratorExit(),
    ExceptionGroup("several", [ValueError("\ud83d")]),
    RuntimeError("x" * 3000),
]
PLACES = {digest_of({"value": value}): place for place, value in enumerate(VALUES)}

Key: TypeAlias = tuple[int, int, int]
"""Which of the values a row has, which of the equal rows it is, and which sample of it."""
Rows: TypeAlias = Mapping[Key, "int | None"]
"""Of each sample the version of the code that made its result; `None` where it failed."""
OTHERS = 99
"""The version of a run that overtakes another."""


@dataclass(frozen=True)
class Run:
    """One run.

    Args:
        values: The dataset, as places in `VALUES`.
        epochs: How many samples of each row.
        version: Of the code.
        changed: What becomes of results of another version.
        fresh: Whether it starts over.
        failing: Which calls raise.
        ends: Which call ends it early, and how.
        concurrency: How many rows at once.
        backend: The event loop.
    """

    values: list[int]
    epochs: int
    version: int
    changed: Literal["error", "rerun", "keep"]
    fresh: bool
    failing: frozenset[int]
    ends: tuple[int, str] | None
    concurrency: int
    backend: str


RUNS = st.builds(
    Run,
    values=st.lists(st.integers(0, len(VALUES) - 1), max_size=12),
    epochs=st.sampled_from([1, 1, 2, 3]),
    version=st.sampled_from([1, 1, 1, 2]),
    changed=st.sampled_from(["error", "rerun", "keep"]),
    fresh=st.sampled_from([False, False, False, True]),
    failing=st.frozensets(st.integers(0, 11), max_size=3) | st.just(frozenset(range(12))),
    ends=st.none() | st.tuples(st.integers(0, 8), st.sampled_from(["cancel", "interrupt", "tell", "overtake"])),
    concurrency=st.sampled_from([1, 3]),
    backend=st.sampled_from(["asyncio", "trio"]),
)


class Interrupt(KeyboardInterrupt):
    """Ctrl-C, told apart from the one of whoever runs this."""


class ToldError(Exception):
    """What ends a run that tells somebody of a row."""


class Script:
    """What happens in one run.

    Args:
        one: The run.
        path: The store.
    """

    def __init__(self, one: Run, path: Path) -> None:
        self.one = one
        self.path = path
        self.calls = 0
        self.called: list[int] = []
        self.told: list[Record] = []

    def __doteval_identity__(self) -> Mapping[str, Any]:
        return {}  # no result depends on it, but on the version

    async def play(self) -> BaseException | None:
        """Make the run; what it was ended with."""
        evaluation = foreach(
            "value", [{"value": VALUES[place]} for place in self.one.values], concurrency=self.one.concurrency
        )
        self.scope = CancelScope()
        try:
            with self.scope:
                await run(
                    evaluation(answer),
                    store=self.path,
                    name="it",
                    epochs=self.one.epochs,
                    fresh=self.one.fresh,
                    changed=self.one.changed,
                    on_record=self.tell,
                    version=self.one.version,
                    script=self,
                )
        except (Interrupt, ToldError, ConcurrentRunError, EvaluationChangedError, DatasetError) as exc:
            return exc
        return TimeoutError() if self.scope.cancelled_caught else None

    async def answer(self, value: Any, version: int) -> Result:
        """Evaluate one row."""
        number, self.calls = self.calls, self.calls + 1
        self.called.append(PLACES[digest_of({"value": value})])
        await checkpoint()
        if self.one.ends is not None and number == self.one.ends[0]:
            await self.end(self.one.ends[1])
        if number in self.one.failing:
            raise ERRORS[number % len(ERRORS)]
        return Result(OUTPUTS[number % len(OUTPUTS)], metadata={"version": version}, scores={"good": number % 2 == 0})

    async def end(self, how: str) -> None:
        """End the run, from within a row."""
        if how == "cancel":
            self.scope.cancel()
        elif how == "interrupt":
            raise Interrupt
        elif how == "overtake":
            await run(foreach("value", [VALUES[0]])(overtake), store=self.path, name="it", fresh=True)

    def tell(self, record: Record) -> None:
        """Be told of a row."""
        self.told.append(record)
        if self.one.ends is not None and self.one.ends[1] == "tell" and len(self.told) > self.one.ends[0]:
            raise ToldError


async def answer(value: Any, version: int, script: Script) -> Result:
    return await script.answer(value, version)


async def overtake(value: Any) -> Result:
    return Result(value, metadata={"version": OTHERS})


def keys_of(values: Sequence[int], epochs: int) -> list[Key]:
    """What the samples of the rows of a dataset are known by."""
    seen: Counter[int] = Counter()
    found: list[Key] = []
    for value in values:
        seen[value] += 1
        found += [(value, seen[value], sample) for sample in range(1, epochs + 1)]
    return found


def key_of(record: Record) -> Key:
    digest, _, number = record.key.partition(" ")
    assert digest == record.digest
    return PLACES[digest], int(number or 1), record.sample


def version_of(record: Record) -> int | None:
    return None if record.failed else (record.metadata or {})["version"]


class History:
    """What must be in the store, run after run.

    Args:
        path: The store.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: Rows = {}
        self.version = 0

    def make(self, one: Run) -> None:
        """Make a run, and look what it has left."""
        keys = keys_of(one.values, one.epochs)
        is_other = bool(self.rows) and self.version != one.version and not one.fresh
        lasts = any(version is not None for version in self.rows.values())
        anew = one.fresh or (is_other and one.changed != "keep")
        known: Rows = {} if anew else self.rows
        missing = [key for key in keys if known.get(key) is None]
        script = Script(one, self.path)
        before = {*threading.enumerate()}
        error = anyio.run(script.play, backend=one.backend)
        told = {key_of(record): version_of(record) for record in script.told}
        found = self.found()
        left = {thread for thread in threading.enumerate() if thread.name.startswith("doteval")} - before
        assert not left

        if is_other and one.changed == "error" and lasts:
            assert isinstance(error, EvaluationChangedError)
            assert (script.called, found) == ([], self.rows)
        elif not keys and self.rows:
            assert isinstance(error, DatasetError)  # a dataset that is empty throws nothing away
            assert found == self.rows
            if is_other and not anew:
                self.version = one.version
        elif error is None:
            assert Counter(script.called) == Counter(value for value, _, _ in missing)
            assert [key_of(record) for record in script.told] == missing
            rows = {key[:2] for key in keys}
            beyond = {key: known[key] for key in known if key[:2] in rows and key[2] > one.epochs}
            assert found == beyond | {key: told.get(key, known.get(key)) for key in keys}
            self.check_finished(keys, one.epochs)
            self.rows, self.version = found, one.version
        elif isinstance(error, ConcurrentRunError):
            assert one.ends is not None
            assert one.ends[1] == "overtake"
            if anew and found == self.rows:
                return  # the other one was ended, as a part of this one, before it had a result
            assert found == {(0, 1, 1): OTHERS}
            self.rows, self.version = found, OTHERS
        else:
            assert not isinstance(error, EvaluationChangedError)
            if anew and found == self.rows and not told:
                return  # nothing came of it, and what was there stays
            new = {key: version for key, version in found.items() if key not in known or known[key] != version}
            assert new.keys() <= {*missing}
            assert {*known} <= {*found}
            assert all(found[key] == version for key, version in told.items())
            assert all(version in (one.version, None) for version in new.values())
            self.rows, self.version = found, one.version

    def found(self) -> Rows:
        """What is in the store, samples included that do not count at present."""
        store = Store(self.path)
        stored = store.find("default", "it")
        records = [] if stored is None else [*store.records(store.with_epochs(stored, None))]
        found = {key_of(record): version_of(record) for record in records}
        assert len(found) == len(records)
        assert len(store.evaluations()) == (stored is not None)
        return found

    def check_finished(self, keys: Sequence[Key], epochs: int) -> None:
        """It is finished, and its rows stand as they do in the dataset."""
        store = Store(self.path)
        stored = store.find("default", "it")
        assert stored is not None
        assert stored.finished is not None
        assert (stored.epochs, stored.stored, (stored.rows or 0) * epochs) == (epochs, len(keys), len(keys))
        records = [*store.records(stored)]
        assert [key_of(record) for record in records] == list(keys)
        assert [record.number for record in records] == [place // epochs for place in range(len(keys))]
        assert store.summary(stored).rows == stored.rows
        assert store.summary(stored).errors == sum(record.failed for record in records)


@settings(max_examples=HISTORIES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(RUNS, min_size=1, max_size=6))
def test_the_store_has_what_the_model_says(history: list[Run]) -> None:
    """After every run, however it ended; no row twice, none of another version, none that was told lost."""
    with tempfile.TemporaryDirectory() as directory:
        made = History(Path(directory, "results.db"))
        for one in history:
            made.make(one)
