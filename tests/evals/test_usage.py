"""What rows are said to have cost: by model and role, together with what they say themselves, kept and shown.

That it is what a server has counted, whatever a row does, is shown in `tests/providers/test_counting.py`.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from sqlite3 import connect
from typing import Any

import anyio
import pytest
from anyio import CancelScope, Event, create_task_group, sleep_forever

from doteval import Completion, ModelRequest, ModelRequestError, Result, Usage, counting_requests, foreach
from doteval.cli import main
from doteval.evals import Evaluation, EvaluationAbortedError, ModelUsage, Record, Store, run
from doteval.evals._results.report import write_page
from doteval.testing import FakeModel, FakeProvider

EXACT = Usage(100, 50, 60, 30, 40)
NOTHING = Completion("the server does not count", finish_reason="stop")


def asking(**usages: Usage | None) -> Callable[[str], FakeModel]:
    """Makes models that cost what is said; the name is the model's."""
    return lambda name: FakeModel(name, replies=lambda _: Completion("x", usage=usages[name], finish_reason="stop"))


async def the_record(evaluation: Evaluation, **arguments: Any) -> Record:
    (record,) = (await run(evaluation, **arguments)).records
    return record


@pytest.mark.anyio
async def test_a_task_that_outlives_its_row_is_counted_to_no_other() -> None:
    """What it asks then was asked in no row that is still there."""
    model, left, asked = FakeModel(), Event(), Event()

    async def outlive() -> None:
        await left.wait()
        await model.generate("much too late")
        asked.set()

    async with create_task_group() as outside:

        @foreach("prompt", ["one", "one two"], concurrency=1)
        async def eval_it(prompt: str, model: FakeModel) -> Result:
            if prompt == "one":
                outside.start_soon(outlive)
            else:
                left.set()
                await asked.wait()
            return Result(await model.generate(prompt))

        outcome = await run(eval_it, model=model)
    assert [(record.requests, record.input_tokens) for record in outcome.records] == [(1, 1), (1, 2)]
    assert len(model.calls) == 3


@pytest.mark.anyio
@pytest.mark.parametrize("transcripts", [False, True])
async def test_what_a_row_begins_and_leaves_behind_is_counted_to_it(*, transcripts: bool) -> None:
    """As a request that may have cost anything: also where the row fails; but not what turned out not to be sent."""
    model, begun, may_end = FakeModel(), Event(), Event()

    async def outlive() -> None:
        async with model.stream("one two three") as stream:
            begun.set()
            await may_end.wait()
            _ = [piece async for piece in stream]

    async with create_task_group() as outside:

        @foreach("prompt", ["leaves", "fails", "refused", "whole"], concurrency=1)
        async def eval_it(prompt: str, model: FakeModel) -> Result:
            nonlocal begun
            begun = Event()
            if prompt in ("leaves", "fails"):
                outside.start_soon(outlive)
                await begun.wait()
            if prompt == "refused":
                with pytest.raises(TypeError), ModelRequest("own"):
                    raise TypeError
            if prompt == "fails":
                raise ValueError
            return Result(await model.generate("done"))

        outcome = await run(eval_it, model=model, transcripts=transcripts)
        may_end.set()
    records = list(outcome.records)
    counted = [[(each.requests, each.failed, each.unknown) for each in record.usage_by_model] for record in records]
    assert counted == [[(2, 0, 1)], [(1, 0, 1)], [(1, 0, 0)], [(1, 0, 0)]]
    assert [record.input_tokens for record in records] == [1, None, 1, 1]
    (warning,) = outcome.warnings
    assert warning.startswith("2 requests of rows of 'eval_it[fake]' had not ended when the rows had")
    if transcripts:
        said = [[request.error for request in record.transcript or ()] for record in records]
        problem = "it had not ended when its row had"
        assert said == [[None, problem], [problem], [None], [None]]


@pytest.mark.anyio
async def test_of_a_stream_that_was_left_unread_is_said_that_it_was_left(tmp_path: Path) -> None:
    """It was not cancelled."""

    @foreach("prompt", ["one"])
    async def eval_it(prompt: str, model: FakeModel) -> Result:
        async with model.stream(prompt):
            pass
        return Result()

    record = await the_record(eval_it, model=FakeModel(), transcripts=True)
    assert record.transcript is not None
    assert [request.error for request in record.transcript] == ["its stream was left before any of it came"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("model", "output", "metadata", "expected", "names"),
    [
        pytest.param(None, Completion("x", usage=EXACT), {}, EXACT, [None], id="output"),
        pytest.param(None, "x", {"usage": EXACT}, EXACT, [None], id="metadata"),
        pytest.param(None, Completion("x", usage=Usage(1, 1)), {"usage": EXACT}, Usage(1, 1), [None], id="both"),
        pytest.param(None, "x", {"usage": 5}, None, [], id="no usage"),
        pytest.param(FakeModel("m"), Completion("x", usage=EXACT), {}, Usage(2, 2), ["m"], id="a model, and output"),
        pytest.param(FakeModel("m"), "x", {"usage": EXACT}, Usage(2, 2), ["m"], id="a model, and metadata"),
        pytest.param(FakeModel("m", replies=[NOTHING]), "x", {}, None, ["m"], id="a model that does not count"),
        pytest.param(
            FakeModel("m", replies=[NOTHING]), "x", {"usage": EXACT}, EXACT, ["m", None], id="metadata in its place"
        ),
    ],
)
async def test_what_a_row_says_itself_counts_where_no_model_says_anything(
    model: FakeModel | None, output: Any, metadata: Any, expected: Usage | None, names: list[str | None]
) -> None:
    """Of its output, else of its metadata; never both, and never what was counted already."""

    @foreach("prompt", ["two words"])
    async def eval_it(prompt: str) -> Result:
        if model is not None:
            model.calls.clear()
            await model.generate(prompt)
        return Result(output, metadata=metadata)

    record = await the_record(eval_it)
    counts = None if record.input_tokens is None or record.output_tokens is None else (
        record.input_tokens, record.output_tokens, record.cached_tokens, record.cache_write_tokens,
        record.reasoning_tokens,
    )  # fmt: skip
    assert counts == (None if expected is None else tuple(asdict(expected).values()))
    assert [usage.model for usage in record.usage_by_model] == names


class Agent:
    """Has a model."""

    def __init__(self, model: FakeModel) -> None:
        self.model = model


class Broken:
    """Has none that could be looked at."""

    @property
    def model(self) -> FakeModel:
        raise RuntimeError("not now")


@pytest.mark.anyio
async def test_the_role_of_a_model_is_the_argument_that_it_came_in() -> None:
    """Itself, in a handle or in something that has it; also where two arguments have models of one name."""
    async with FakeProvider() as provider:

        @foreach("prompt", ["hello"])
        async def eval_it(prompt: str, **given: Any) -> Result:
            for value in given.values():
                if not isinstance(value, (str, Broken)):
                    await getattr(value, "model", value).generate(prompt)
            await FakeModel("own").generate(prompt)
            return Result()

        record = await the_record(
            eval_it,
            judge=FakeModel("first"),
            agent=Agent(FakeModel("second")),
            handle=await provider.setup("third"),
            one=FakeModel("twice"),
            other=FakeModel("twice"),
            text="fourth",
            broken=Broken(),
        )
    assert {(usage.model, usage.role, usage.requests) for usage in record.usage_by_model} == {
        ("first", "judge", 1), ("second", "agent", 1), ("third", "handle", 1), ("twice", "one", 1),
        ("twice", "other", 1), ("own", None, 1),
    }  # fmt: skip


@pytest.mark.anyio
async def test_blocks_that_count_may_be_nested_and_end_with_their_block() -> None:
    """The outer one has what is asked in the inner one; a model of somebody else's is counted likewise."""
    model = FakeModel()
    with counting_requests() as outer:
        await model.generate("a")
        with counting_requests() as inner:
            with ModelRequest("own") as request:
                request.replied(Completion("x", usage=EXACT, retries=2))
            with pytest.raises(ModelRequestError), ModelRequest("own"):
                raise ModelRequestError("own", "no", "Go.", status=429, retries=1)
            with pytest.raises(ZeroDivisionError), ModelRequest("own"):
                raise ZeroDivisionError
        await model.generate("b")
    await model.generate("c")
    assert [(each.model, each.usage, each.failed, each.is_known, each.retries) for each in inner] == [
        ("own", EXACT, False, True, 2),
        ("own", None, True, True, 1),
    ]
    assert [each.model for each in outer] == ["fake", "own", "own", "fake"]
    assert repr(inner) == f"[<ModelRequest to 'own' {EXACT}>, <ModelRequest to 'own' failed, None>]"


# ---------------------------------------------------------------- kept and shown


async def stored(path: Path) -> Store:
    """Two rows that ask two models, of which the second fails when both have answered; and one that says it itself."""
    make = asking(big=EXACT, small=Usage(7, 3))

    @foreach("prompt", ["good", "bad"])
    async def eval_two(prompt: str, model: FakeModel, judge: FakeModel) -> Result:
        await model.generate(prompt)
        await judge.generate(prompt)
        if prompt == "bad":
            raise ValueError(prompt)
        return Result("x")

    @foreach("prompt", ["good"])
    async def eval_said(prompt: str) -> Result:
        return Result(Completion("x", usage=Usage(1, 2)))

    @foreach("prompt", ["good"])
    async def eval_unknown(prompt: str, model: FakeModel) -> Result:
        return Result(await model.generate(prompt))

    async with Store(path) as store:
        arguments = {"model": make("big"), "judge": make("small")}
        outcome = await run(eval_two, store=store, name="two", **arguments)
        here = await run(eval_two, **arguments)
        assert [replace(each, seconds=0) for each in outcome.records] == [
            replace(each, seconds=0) for each in here.records
        ]
        assert outcome.summary.usage_by_model == here.summary.usage_by_model
        await run(eval_said, store=store, name="said")
        await run(eval_unknown, store=store, name="unknown", model=FakeModel(replies=[NOTHING]))
    return store


BIG = ModelUsage("big", "model", 2, 0, 0, 200, 100, 120, 60, 80)
SMALL = ModelUsage("small", "judge", 2, 0, 0, 14, 6, 0, 0, 0)


def test_what_rows_cost_is_kept_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the store, the tables, what programs get, the exports and the page; rows that failed are among them."""
    path = tmp_path / "results.db"
    store = anyio.run(stored, path)
    summary = store.summary(store.evaluations()[0])
    assert summary.usage_by_model == (SMALL, BIG)
    assert (summary.requests, summary.input_tokens, summary.output_tokens) == (4, 214, 106)
    assert (summary.cached_tokens, summary.cache_write_tokens, summary.reasoning_tokens) == (120, 60, 80)

    def said_by(*arguments: str) -> str:
        assert main([arguments[0], "--store", str(path), *arguments[1:]]) == 0
        return capsys.readouterr().out

    shown = said_by("show", "default")
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert {"two small judge 2 0 14 0 0 6 0", "big model 2 0 200 120 60 100 80", "said - 0 0 1 0 0 2 0"} <= {*lines}
    assert "≥ 0" in shown
    (two, *_) = json.loads(said_by("show", "default", "--json"))
    assert two["usage_by_model"] == [SMALL._asdict(), BIG._asdict()]
    assert (two["requests"], two["cached_tokens"], two["reasoning_tokens"]) == (4, 120, 80)
    rows = list(csv.DictReader(io.StringIO(said_by("export", "default", "--format", "csv"))))
    assert [(row["requests"], row["input_tokens"], row["reasoning_tokens"]) for row in rows] == [
        ("2", "107", "40"), ("2", "107", "40"), ("0", "1", "0"), ("1", "", "0"),
    ]  # fmt: skip
    assert (
        json.loads(rows[1]["usage_by_model"])[1] == ModelUsage("big", "model", 1, 0, 0, 100, 50, 60, 30, 40)._asdict()
    )
    file = io.StringIO()
    write_page(file, store, store.evaluations(), "all")
    shown = file.getvalue()
    assert "Requests and tokens" in shown
    assert "≥ 323 tokens" in shown


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("how", "gone"),
    [("failed", 8), ("all failed", 12), ("gone from the dataset", 2), ("fresh", 12), ("rerun", 12), ("samples", 0)],
)
async def test_what_was_paid_for_results_that_are_gone_is_kept(
    how: str, gone: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever throws results away: all that the model was asked is in one count or in the other, and shown."""
    model, path = FakeModel(), tmp_path / "results.db"
    for attempt in range(3):
        failing = {"failed": 4, "all failed": 6}.get(how, 0) if attempt < 2 else 0
        rows = 6 - attempt if how == "gone from the dataset" else 6

        @foreach("number", range(rows), concurrency=1)
        async def eval_it(number: int, model: FakeModel, attempt: int, failing: int = failing) -> Result:
            reply = await model.generate(f"one two {number}")
            if number < failing:
                raise ValueError(attempt)
            return Result(reply, scores={"good": True})

        arguments = {"model": model, "attempt": attempt if how == "rerun" else 0}
        options: dict[str, Any] = {"fresh": how == "fresh", "changed": "rerun" if how == "rerun" else "keep"}
        epochs = 1 + attempt if how == "samples" else 1
        outcome = await run(eval_it, store=path, epochs=epochs, **options, **arguments)
    summary = outcome.summary
    assert sum(usage.requests for usage in summary.gone) == gone
    assert len(model.calls) == summary.requests + gone
    assert sum(usage.input_tokens for usage in summary.gone) == 3 * gone
    told = f"eval_it[fake]: and {gone} requests of results that are gone: {3 * gone} tokens in, "
    assert main(["show", "default", "--store", str(path), "--price", "fake=1,1"]) == 0
    assert (told in capsys.readouterr().out) == bool(gone)
    assert main(["show", "default", "--store", str(path), "--json", "--price", f"fake={10**6},0"]) == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert [ModelUsage(**usage) for usage in shown["gone"]] == [*summary.gone]
    assert shown["cost_of_gone"]["amount"] == 3 * gone
    page = tmp_path / "page.html"
    assert main(["report", "default", "--store", str(path), "-o", str(page)]) == 0
    assert (told in page.read_text("utf-8")) == bool(gone)


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["cancelled", "interrupted", "abort", "refused", "fresh", "killed"])
async def test_what_rows_in_flight_have_cost_at_the_end_of_a_run_is_kept(
    how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """However it ends in order, what they were asking counts as unknown. Of one that is killed nobody knows."""
    model, path, scope, asking = FakeModel(), tmp_path / "results.db", CancelScope(), 0
    ends = True

    @foreach("number", range(6), concurrency=6)
    async def eval_it(number: int) -> Result:
        nonlocal asking
        reply = await model.generate(f"one two {number}")
        if not ends or (number < 2 and how != "fresh"):
            if how == "abort" and ends:
                raise ValueError("alike")
            return Result(reply)
        with ModelRequest("fake"):
            asking += 1
            if asking == 4:
                if how in ("cancelled", "fresh"):
                    scope.cancel()
                elif how == "interrupted":
                    raise KeyboardInterrupt
                elif how == "refused":
                    raise ModelRequestError("fake", "who are you?", "Give a key.", status=401)
                elif how == "killed":
                    with closing(connect(path)) as here, closing(connect(tmp_path / "copy.db")) as there:
                        here.backup(there)
                    scope.cancel()
            await sleep_forever()
        raise AssertionError

    if how == "fresh":
        ends = False
        await run(eval_it, store=path)
        ends = True
    with suppress(KeyboardInterrupt, ModelRequestError, EvaluationAbortedError), scope:
        await run(eval_it, store=path, fresh=how == "fresh", abort_after=2, max_errors=0)
    store = tmp_path / "copy.db" if how == "killed" else path
    with Store(store) as opened:
        (stored,) = opened.evaluations()
        gone = opened.summary(stored).gone
        kept = opened.summary(stored).requests
    if how == "killed":
        assert not gone
    else:
        assert len(model.calls) + asking == kept + sum(usage.requests for usage in gone)
        assert sum(usage.unknown for usage in gone) == asking - (how == "refused")
    ends = False
    outcome = await run(eval_it, store=store, changed="keep")
    assert main(["show", "default", "--store", str(store), "--price", "fake=1,1"]) == 0
    printed = capsys.readouterr().out
    if how == "killed":
        assert "eval_it: and what a run has cost that was killed, which nobody knows\n" in printed
        return
    (line,) = [line for line in printed.splitlines() if "that are gone" in line]
    asked = sum(usage.requests for usage in outcome.summary.gone)
    assert f"eval_it: and {asked} requests of results that are gone: ≥ " in line
    assert ", cost ≥ " in line


@pytest.mark.parametrize(("count", "told"), [(7, 2), (2**53 - 1, 1), (2**53, 1), (2**53, 1100)])
def test_sums_of_any_counts_can_be_read_and_kept(count: int, told: int, tmp_path: Path) -> None:
    """They are exact up to what a count may be, and that beyond; so are those of rows that are gone, and gone again."""
    path = tmp_path / "results.db"
    usage = ModelUsage("m", None, *[count] * (len(ModelUsage._fields) - 2))
    for fresh in (False, True, True):
        with Store(path) as store:
            stored, _ = store.begin("e", "a", model="", identity={}, fresh=fresh)
            for number in range(told):
                store.put(stored, Record(number, f"{number}", "d", {}, usage_by_model=(usage,)))
            store.leave(stored)
    summary = Store(path).summary(Store(path).evaluations()[0])
    (there,), (gone,) = summary.usage_by_model, summary.gone
    assert {*there[2:]} == {min(count * told, 2**53)}
    assert {*gone[2:]} == {min(2 * count * told, 2**53)}


@pytest.mark.anyio
async def test_what_is_no_count_counts_as_nothing_and_ends_no_run(tmp_path: Path) -> None:
    """A model of one's own may say anything, and so may a row; a database holds less."""
    odd: list[Any] = [None, "x", object(), Fraction(7, 2), 10**30, -(10**30), 10**5000, math.nan, True]
    usages = [Usage(each, each, cached_tokens=each) for each in odd]

    @foreach("place", range(3 * len(odd)), concurrency=3)
    async def eval_it(place: int) -> Result:
        usage = usages[place % len(odd)]
        if place < len(odd):
            return Result("said", metadata={"usage": usage})
        for _ in range(2):
            with ModelRequest("m") as request:
                request.replied(Completion("x", usage=usage, retries=usage.input_tokens if place < 2 * len(odd) else 0))
        return Result("done")

    with Store(tmp_path / "results.db") as store:
        outcome = await run(eval_it, store=store)
        (stored,) = store.evaluations()
        records = [*store.records(stored)]
    assert outcome.summary.errors == 0
    assert len(records) == 3 * len(odd)
    assert [record.input_tokens for record in records[:4]] == [0, 0, 0, 3]
    assert all(0 <= (record.input_tokens or 0) <= 2**53 for record in records)
