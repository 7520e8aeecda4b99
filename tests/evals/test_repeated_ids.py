"""Rows whose ids repeat: each has the result of its own id and values, wherever it stands; nothing is asked twice."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import anyio
import pytest
from anyio import CancelScope
from hypothesis import given, settings
from hypothesis import strategies as st

from doteval import Result, foreach
from doteval.evals import DatasetError, EvaluationChangedError, Record, Store, rescore, run
from doteval.evals._results.compare import compare
from doteval.evals._results.reading import Moved
from doteval.evals._results.record import base_of
from doteval.evals._results.transcript import RecordedRequests
from doteval.evals._running.dataset import Source
from doteval.evals._running.selection import Selection

Row: TypeAlias = tuple[Any, str]
ROWS = st.tuples(st.sampled_from(["a", "b", 1, None]), st.sampled_from("xyz"))
DATASETS = st.lists(ROWS, max_size=7)
ROWS_OF_ONE_ID = st.lists(st.tuples(st.sampled_from("ab"), st.tuples(st.integers(0, 2))), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """It is about which rows there are."""
    return "trio"


def dicts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [{"id": each, "value": value} for each, value in rows]


class Stream:
    """Rows whose number nobody knows before they are read."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[Any]:
        return iter(dicts(self.rows))


def making(asked: list[Row], rows: Sequence[Row], epochs: int = 1) -> Any:
    @foreach("id,value", Stream(rows), concurrency=1, epochs=epochs)
    async def eval_it(id: Any, value: str) -> Result:  # noqa: A002 - the column
        asked.append((id, value))
        return Result([id, value])

    return eval_it


def in_store(store: Store) -> list[Record]:
    return [record for stored in store.evaluations() for record in store.records(stored)]


def kept_in(path: Path) -> Counter[Row]:
    """All that is there, with what waits aside."""
    if not path.exists():
        return Counter()
    with closing(sqlite3.connect(path)) as connection:
        rows = [json.loads(inputs) for (inputs,) in connection.execute("SELECT inputs FROM rows")]
    return Counter((row["id"], row["value"]) for row in rows)


def keys(rows: Sequence[Row]) -> list[str]:
    return [row.inputs.key for row in Source("eval_it", ("id", "value"), dicts(rows)).look() or ()]


STEPS = st.lists(
    st.tuples(
        st.one_of(
            DATASETS.map(lambda rows: lambda _: rows),
            st.permutations(range(7)).map(lambda order: lambda rows: [rows[n] for n in order if n < len(rows)]),
            st.tuples(st.integers(0, 6), ROWS).map(lambda at: lambda rows: [*rows[: at[0]], at[1], *rows[at[0] :]]),
            st.tuples(st.integers(0, 6), ROWS).map(lambda at: lambda rows: [*rows[: at[0]], at[1], *rows[at[0] + 1 :]]),
            st.integers(0, 6).map(lambda at: lambda rows: [*rows[:at], *rows[at + 1 :]]),
        ),
        st.booleans(),
        st.none() | st.integers(1, 4),
    ),
    min_size=2,
    max_size=6,
)


@settings(max_examples=30, deadline=None)
@given(DATASETS, STEPS, st.sampled_from([1, 2]))
def test_only_what_has_no_result_of_its_id_and_values_is_asked(
    rows: list[Row], steps: list[tuple[Callable[[list[Row]], list[Row]], bool, int | None]], epochs: int
) -> None:
    """In whatever way a dataset changes, is read, and wherever a run ends; and each row has its own result."""

    async def history(path: Path) -> None:
        now, done = rows, list[Record]()
        with Store(path) as store:
            for change, shuffle, ends_after in steps:
                now = change(now) or [("a", "x")]
                done.clear()
                before, asked = kept_in(path), list[Row]()
                wanted = Counter({row: count * epochs for row, count in Counter(now).items()})
                evaluation = making(asked, now, epochs)
                with CancelScope() as scope:

                    def told(record: Record, scope: CancelScope = scope, ends_after: int | None = ends_after) -> None:
                        done.append(record)
                        if len(done) == ends_after and epochs == 1:  # else equal rows have other samples each
                            scope.cancel()

                    outcome = await run(evaluation, store=store, shuffle=shuffle, on_record=told)
                await store.flush()
                after = in_store(store)
                assert all(record.output == [record.inputs["id"], record.inputs["value"]] for record in after)
                assert Counter(asked) <= wanted - before
                if scope.cancelled_caught:
                    assert before <= kept_in(path) <= before | wanted
                    continue
                assert Counter(asked) == wanted - before
                assert [record.output for record in after] == [[*row] for row in now for _ in range(epochs)]
                assert [record.key for record in after[::epochs]] == keys(now)
                has_changed = any("has changed since" in text for text in outcome.warnings)
                assert has_changed <= bool(before - wanted)

    with TemporaryDirectory() as folder:
        anyio.run(history, Path(folder) / "results.db", backend="trio")


@settings(max_examples=100, deadline=None)
@given(st.lists(ROWS, max_size=20), st.integers(1, 8), st.integers(-3, 3), st.randoms(use_true_random=False))
def test_a_sample_is_the_same_in_any_order(rows: list[Row], size: int, seed: int, random: Any) -> None:
    """A larger one has all of it, a row more changes one at most, and an edited row whose id is its own stays in it."""

    def drawn(rows: Sequence[Row], size: int = size) -> Counter[Row]:
        source = Source("eval_it", ("id", "value"), dicts(rows))
        looked = [*Selection(sample=size, seed=seed).look(source.look() or iter(()))]
        found = [(row.values["id"], row.values["value"]) for row in looked]
        places = iter(rows)
        assert all(row in places for row in found)
        assert [row.number for row in looked] == [*range(min(size, len(rows)))]
        return Counter(found)

    shuffled = random.sample(rows, len(rows))
    assert drawn(rows) == drawn(shuffled)
    assert drawn(rows) <= drawn(shuffled, size + 1)
    once = [("own", "x"), *rows]
    assert (drawn(once) - drawn(rows)).total() <= 1
    assert drawn(once)["own", "x"] == drawn([*rows, ("own", "edited")])["own", "edited"]


def test_samples_are_fair() -> None:
    """Each row is as probable as any other, also where many have one id."""
    rows: list[Row] = [("own", "0"), *[("many", str(n)) for n in range(1, 10)]]
    counts = Counter[str]()
    for seed in range(1000):
        source = Source("eval_it", ("id", "value"), dicts(rows))
        counts.update(row.values["value"] for row in Selection(sample=3, seed=seed).look(source.look() or iter(())))
    assert all(250 < counts[value] < 350 for _, value in rows), counts


@pytest.mark.anyio
async def test_it_is_said_that_ids_repeat(tmp_path: Path) -> None:
    """Where such rows are run, and not where nothing is new; an edited row of an own id is that row, and no new one."""
    path = tmp_path / "results.db"
    rows: list[Row] = [("a", "x"), ("b", "x"), ("a", "y"), ("a", "z")]
    (said,) = (await run(making([], rows), store=path)).warnings
    assert "'eval_it' repeat: 2 rows have the 'id' of a row before, such as row 2 ('a')" in said
    assert (await run(making([], rows[::-1]), store=path)).warnings == ()
    asked: list[Row] = []
    (said,) = (await run(making(asked, [("a", "x"), ("b", "new"), *rows[2:]]), store=path)).warnings
    assert (asked, "row 1 had other values" in said) == ([("b", "new")], True)
    said = " ".join((await run(making([], rows[:2]), store=path)).warnings)
    assert "row 1 had other values" in said
    assert "the results of 2 rows that were in it are removed" in said


def test_requests_are_kept_with_their_rows(tmp_path: Path) -> None:
    """Whatever their keys become, and in whatever order."""
    with Store(tmp_path / "results.db") as store:
        stored, _ = store.begin("e", "a", model="", identity={})
        for number in range(2):
            store.put(stored, Record(number, f"k{number}", "d", {}, transcript=RecordedRequests(f"[{number}]", 1)))
        store.move(stored, [Moved("k0", "aside", 0), Moved("k1", "k0", 0), Moved("aside", "k1", 1)])
        store.leave(stored)
        anyio.run(store.flush)
        there = [(record.key, record.number) for record in store.records(stored)]
        assert there == [("k0", 0), ("k1", 1)]
        assert [store.transcript_text(stored, key, 1) for key, _ in there] == ["[1]", "[0]"]


@pytest.mark.anyio
async def test_rows_are_compared_in_any_order(tmp_path: Path) -> None:
    """As many as have the same id and values on both sides."""
    rows: list[Row] = [("a", "x"), ("a", "y"), ("a", "y"), ("b", "x"), ("c", "x")]
    with Store(tmp_path / "results.db") as store:
        await run(making([], rows), store=store, experiment="one")
        await run(making([], [("a", "new"), *rows[3::-1], ("c", "edited")]), store=store, experiment="two")
        await store.flush()
        (one,), (two,) = store.evaluations("one"), store.evaluations("two")
        found = compare(store, one, two)
    assert (found.paired, found.unpaired.only_after, found.unpaired.changed) == (4, 1, 1)
    assert {base_of(key) for key in keys(rows)} == {key for key in keys(rows) if base_of(key) == key}


@pytest.mark.anyio
async def test_equal_rows_of_an_id_that_nothing_tells_apart_are_an_error(tmp_path: Path) -> None:
    """As those without an id are: with an own id each, it is the user who knows."""
    values = [Path(__file__).open() for _ in range(2)]  # noqa: SIM115, ASYNC230 - they have no lasting state
    try:
        for ids in (["a", "b"], ["a", "a"]):

            @foreach("id,value", [{"id": each, "value": value} for each, value in zip(ids, values, strict=True)])
            async def eval_it(id: str, value: Any) -> Result:  # noqa: A002 - the column
                return Result(id)

            if len({*ids}) == 2:
                assert (await run(eval_it, store=tmp_path / "results.db")).summary.rows == 2
            else:
                with pytest.raises(DatasetError, match="nothing tells row 1 from one before it"):
                    await run(eval_it, store=tmp_path / "results.db", changed="rerun")
    finally:
        for file in values:
            file.close()


def stopping(rows: Sequence[Row]) -> Callable[[Path], None]:
    """A run that is cancelled at the value "stop"."""

    def go(path: Path) -> None:
        async def cancelled() -> None:
            with CancelScope() as scope:

                @foreach("id,value", dicts(rows), concurrency=1)
                async def eval_it(id: Any, value: str) -> Result:  # noqa: A002 - the column
                    if value == "stop":
                        scope.cancel()
                    await anyio.lowlevel.checkpoint()
                    return Result(value, scores={"is_new": value.startswith("new")})

                await run(eval_it, store=path, name="it")

        anyio.run(cancelled)

    return go


def test_what_waits_aside_is_no_row_of_an_evaluation(tmp_path: Path) -> None:
    """While a run is not finished: neither counted, nor compared, nor read, nor taken for the end of a dataset."""
    path = tmp_path / "results.db"
    stopping([("a", "old a"), ("b", "old b"), ("c", "old c"), ("d", "old d")])(path)
    stopping([("a", "new a"), ("b", "new b"), ("c", "new c"), ("d", "stop")])(path)
    with Store(path) as store:
        (stored,) = store.evaluations()
        records = [each.inputs["value"] for each in store.records(stored)]
        assert records == ["new a", "new b", "new c"]
        assert stored.stored == store.summary(stored).rows == len([*store.known(stored)]) == 3
        assert store.summary(stored).scores["is_new"].mean == 1
    for nothing in ([], iter(dicts([("b", "new b")]))):

        @foreach("id,value", nothing)
        async def eval_nothing(id: Any, value: str) -> Result:  # noqa: A002 - the column
            return Result(value)

        with pytest.raises(DatasetError, match="The results stay there"):
            anyio.run(partial(run, eval_nothing, store=path, name="it", changed="keep"))
        with Store(path) as store:
            assert {each.inputs["value"] for each in store.records(*store.evaluations())} == {*records}


WAITING = [("a", "old a"), ("b", "old b"), ("c", "old c")]


def waiting_aside(path: Path, fails: Collection[str] = (), fails_anew: Collection[str] = ()) -> None:
    """A store of which all results wait aside, as all rows were edited before a run that has not ended."""
    for rows, failing in ((WAITING, fails), ([(name, f"new {name}") for name, _ in WAITING], fails_anew)):
        is_first = rows is WAITING

        async def cancelled(rows: Any = rows, failing: Any = failing, is_first: bool = is_first) -> None:
            with CancelScope() as scope:

                @foreach("id,value", dicts(rows), concurrency=len(rows))
                async def eval_it(id: Any, value: str) -> Result:  # noqa: A002 - the column
                    if value in failing:
                        raise ValueError(value)
                    if not is_first:
                        await anyio.lowlevel.checkpoint()
                        scope.cancel()
                        await anyio.sleep_forever()
                    return Result(value)

                await run(eval_it, store=path, name="it", changed="keep")

        anyio.run(cancelled)


@pytest.mark.parametrize("fails_anew", [(), ("new a",)], ids=["none new", "a new one failed"])
@pytest.mark.parametrize(
    "rows", [WAITING, [(name, f"newer {name}") for name, _ in WAITING]], ids=["as before", "other"]
)
@pytest.mark.parametrize("once", [True, False], ids=["an iterator", "a list"])
def test_what_waits_aside_is_a_result_like_others(
    once: bool, rows: list[Row], fails_anew: Collection[str], tmp_path: Path
) -> None:
    """Other code is refused for its sake; with the same one, it is answered or run again, and nothing is for ever."""
    path, asked = tmp_path / "results.db", list[str]()
    waiting_aside(path, fails=("old c",), fails_anew=fails_anew)

    def evaluation(of: object) -> Any:
        @foreach("id,value", iter(dicts(rows)) if once else dicts(rows), concurrency=1)
        async def eval_it(id: Any, value: str, of: object) -> Result:  # noqa: A002 - the column
            asked.append(value)
            return Result(value)

        return partial(run, eval_it, store=path, name="it", of=of, max_errors=0)

    with pytest.raises(EvaluationChangedError):
        anyio.run(partial(evaluation("other"), changed="error"))
    assert not asked
    outcome = anyio.run(partial(evaluation("other"), changed="keep"))
    expected = ["old c"] if rows is WAITING else [value for _, value in rows]
    assert asked == expected
    assert [record.output for record in outcome.records] == [value for _, value in rows]
    assert not any("removed" in each for each in outcome.warnings)
    asked.clear()
    assert anyio.run(partial(evaluation("other"), changed="error")).answered
    assert not asked


def test_what_waits_aside_is_there_after_rescoring_in_place(tmp_path: Path) -> None:
    """With what it has cost; elsewhere, it is not copied."""
    path = tmp_path / "results.db"
    waiting_aside(path)
    before = kept_in(path)
    options: Any = {"store": path, "overwrite": True}
    anyio.run(partial(rescore, "default", lambda output: {"good": True}, into="default", **options))
    assert kept_in(path) == before
    anyio.run(partial(rescore, "default", lambda output: {"good": True}, into="other", **options))
    with Store(path) as store:
        assert not store.find("other", "it").stored  # type: ignore[union-attr]


@given(ROWS_OF_ONE_ID, st.randoms())
@settings(max_examples=30, deadline=None)
def test_a_scorer_is_given_the_values_of_the_row_itself(
    rows: list[tuple[str, tuple[int, ...]]], random: Random
) -> None:
    """What JSON does not hold, from the dataset in whatever order."""
    shuffled = random.sample(rows, len(rows))

    def evaluation(rows: Sequence[tuple[str, tuple[int, ...]]]) -> Any:
        @foreach("id,value", [{"id": name, "value": value} for name, value in rows])
        async def eval_it(id: Any, value: tuple[int, ...]) -> Result:  # noqa: A002 - the column
            return Result(repr(value))

        return eval_it

    def score(output: str, value: tuple[int, ...]) -> bool:
        return output == repr(value)

    with TemporaryDirectory() as directory:
        path = Path(directory, "results.db")
        anyio.run(partial(run, evaluation(rows), store=path, name="it"))
        (made,) = anyio.run(partial(rescore, "default", score, store=path, evaluation=evaluation(shuffled)))
        with Store(path) as store:
            assert all(record.scores == {"score": True} for record in store.records(made))


def test_who_reads_on_is_told_of_rows_that_have_other_keys(tmp_path: Path) -> None:
    """As a page does that is open meanwhile: what it knows by a key is what it gets by that."""
    path, known = tmp_path / "results.db", dict[str, Any]()
    rows, last = [("a", "x"), ("a", "y"), ("b", "z"), ("a", "y")], 0
    for dataset in (rows, rows[::-1], [rows[1], *rows], rows):
        anyio.run(partial(run, making([], dataset), store=path, name="it"))
        with Store(path) as store:
            (stored,) = store.evaluations()
            for number, record in store.written_after(stored, last, 100):
                known[record.key], last = record.output, number
            assert {record.key: record.output for record in store.records(stored)}.items() <= known.items()


def test_samples_of_one_key_with_other_values_are_not_answered(tmp_path: Path) -> None:
    """As a store of an earlier version may have, whose run ended between the samples of a row that was edited."""
    path, asked = tmp_path / "results.db", list[str]()

    def evaluation(value: str) -> Any:
        @foreach("id,value", dicts([("a", value)]), epochs=2)
        async def eval_it(id: Any, value: str) -> Result:  # noqa: A002 - the column
            asked.append(value)
            return Result(value)

        return eval_it

    anyio.run(partial(run, evaluation("old"), store=path, name="it"))
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE kept AS SELECT * FROM rows WHERE sample = 2")
    anyio.run(partial(run, evaluation("new"), store=path, name="it"))
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM rows WHERE sample = 2")
        connection.execute("INSERT INTO rows SELECT * FROM kept")
        connection.execute("DROP TABLE kept")
        connection.execute("UPDATE evaluations SET finished = NULL")
    connection.close()
    asked.clear()
    outcome = anyio.run(partial(run, evaluation("new"), store=path, name="it"))
    assert asked == ["new"]
    assert [each.output for each in outcome.records] == ["new", "new"]
