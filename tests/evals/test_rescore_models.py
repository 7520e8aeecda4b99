"""A scorer may ask models as rows may: what it asks is counted, a refusal costs no row, and what is final ends it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import from_thread, to_thread

from doteval import ModelRequestError, ReplyCache, Result, foreach
from doteval._replies.asked import asked
from doteval.evals import Retries, Store, StoreError, rescore, run
from doteval.testing import FakeModel

pytestmark = pytest.mark.anyio

ROWS = 6


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with an experiment, of which each row has asked a model once."""

    @foreach("id", [f"r{number}" for number in range(ROWS)])
    async def eval_it(id: str, model: Any) -> Result:  # noqa: A002 - the column
        return Result(await model.generate(id), scores={"before": 1})

    file = tmp_path / "results.db"
    anyio.run(partial(run, eval_it, model=FakeModel("asked"), store=file, experiment="main", name="it"))
    return file


def told(status: int | None, code: str | None = None) -> ModelRequestError:
    return ModelRequestError("judging", "no", "Look at that.", status=status, code=code, retry_after=0.001)


class Awaits:
    def __init__(self, judge: FakeModel) -> None:
        self.judge = judge

    async def __call__(self, output: str) -> bool:
        return await self.judge.generate(output) == output


def in_coroutine(judge: FakeModel) -> Callable[[str], Any]:
    async def score(output: str) -> bool:
        return await judge.generate(output) == output

    return score


def in_thread(judge: FakeModel) -> Callable[[str], Any]:
    def score(output: str) -> bool:
        return from_thread.run(judge.generate, output) == output

    return score


KINDS = (in_coroutine, in_thread, Awaits)
STUMBLES = {"429": told(429), "overloaded": told(529), "500": told(500), "in a stream": told(None, "overloaded_error")}
FINAL = {"401": told(401), "402": told(402), "quota": told(429, "insufficient_quota")}


def usage_in(path: Path, experiment: str) -> list[tuple[str | None, str | None, int, int, int]]:
    store = Store(path)
    stored = store.find(experiment, "it")
    assert stored is not None
    by_model = store.summary(stored).usage_by_model
    return [(each.role, each.model, each.requests, each.failed, each.input_tokens) for each in by_model]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stumbles", [None, *STUMBLES])
async def test_what_a_scorer_asks_is_counted_and_a_refusal_costs_no_row(
    path: Path, kind: Any, stumbles: str | None
) -> None:
    """Beside what the row had cost before, by model and role, with what was asked in vain."""
    failures = {} if stumbles is None else {1: STUMBLES[stumbles], 3: STUMBLES[stumbles]}
    judge = FakeModel("judging", failures=failures)
    (stored,) = await rescore("main", kind(judge), store=path)
    assert stored.errors == 0
    assert len(judge.calls) == ROWS + len(failures)
    before = ("model", "asked", ROWS, 0, ROWS)
    assert usage_in(path, "main") == [before]
    assert usage_in(path, "main-rescored") == [
        before,
        ("scorer", "judging", len(judge.calls), len(failures), ROWS),
    ]
    assert [record.input_tokens for record in Store(path).records(stored)] == [2] * ROWS
    await rescore("main-rescored", kind(FakeModel("judging")), store=path, into="again")
    assert usage_in(path, "again")[1][:3] == ("scorer", "judging", len(judge.calls) + ROWS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", FINAL)
async def test_what_is_refused_for_every_row_ends_it_at_once_and_writes_nothing(
    path: Path, kind: Any, error: str
) -> None:
    judge = FakeModel("judging", failures=dict.fromkeys(range(1, 100), FINAL[error]))
    with pytest.raises(ModelRequestError, match="Look at that"):
        await rescore("main", kind(judge), store=path, concurrency=2)
    assert len(judge.calls) <= 2
    assert [stored.experiment for stored in Store(path).evaluations()] == ["main"]


async def test_what_is_asked_in_a_row_that_fails_is_counted_and_a_row_is_scored_again_where_that_is_said(
    path: Path,
) -> None:
    """Each time with the columns as they are."""
    judge = FakeModel("judging")
    seen: list[list[str]] = []

    async def score(output: str, id: list[str]) -> bool:  # noqa: A002 - the column
        reply = await judge.generate(output)
        seen.append([*id])
        id.append("more")
        raise ValueError(f"not {reply}")

    @foreach("id", [["one"]])
    async def eval_list(id: list[str]) -> Result:  # noqa: A002 - the column
        return Result("text")

    await run(eval_list, store=path, experiment="lists", name="it")
    (stored,) = await rescore("lists", score, store=path, retries=Retries(on=ValueError, times=2, pause=0))
    assert stored.errors == 1
    assert seen == [["one"]] * 3
    assert usage_in(path, "lists-rescored") == [("scorer", "judging", 3, 0, 3)]


async def test_a_cache_answers_what_a_scorer_has_asked_before(path: Path, tmp_path: Path) -> None:
    """So that nothing is paid twice; each of the rows that ask the same has a reply of its own."""
    sent = 0

    async def score(output: str) -> float:
        nonlocal sent
        request = asked("m", dict, {"messages": ["the same"]})
        assert request is not None
        with request:
            if (answer := await request.answer()) is not None:
                request.answered(None)
                return float(answer[0][1]["number"])
            sent += 1
            number = sent
            await request.keep(lambda: [("T", {"number": number})])
            return number

    cache = ReplyCache(tmp_path / "replies.db")
    again = partial(rescore, "main", score, store=path, concurrency=1, cache=cache, overwrite=True)
    await again()
    assert sent == ROWS
    scores = [record.scores for record in Store(path).records(Store(path).evaluations("main-rescored")[0])]
    assert sorted(score["score"] for score in scores if score) == [*range(1, ROWS + 1)]
    await again()
    assert sent == ROWS
    assert [record.scores for record in Store(path).records(Store(path).evaluations("main-rescored")[0])] == scores


async def test_replies_of_a_cache_are_those_of_the_row_itself(tmp_path: Path) -> None:
    """Where rows have ids, a scorer that asks the same of two has another reply for each, wherever they were run."""
    sent, path, cache = 0, tmp_path / "results.db", ReplyCache(tmp_path / "replies.db")

    async def score(output: str) -> float:
        nonlocal sent
        request = asked("m", dict, {"messages": ["the same"]})
        assert request is not None
        with request:
            if await request.answer() is None:
                sent += 1
                await request.keep(lambda: [("T", {})])
            request.answered(None)
        return 1.0

    for name in "ab":

        @foreach("text", [{"id": name, "text": "the same"}])
        async def eval_it(text: str) -> Result:
            return Result(text)

        await run(eval_it, store=path, experiment=name, name=name)
        for _ in range(2):
            await rescore(name, score, store=path, cache=cache, overwrite=True)
    assert sent == 2


async def test_a_row_that_is_set_aside_meanwhile_is_told(tmp_path: Path) -> None:
    """Another run has begun with other values of it, and has not ended: its scores would be seen by nobody."""
    path = tmp_path / "results.db"

    def evaluation(text: str) -> Any:
        @foreach("text", [{"id": 1, "text": text}])
        async def eval_it(text: str) -> Result:
            if text == "edited":
                raise KeyboardInterrupt
            return Result(text)

        return partial(run, eval_it, store=path, name="it", changed="keep")

    async def score(output: str) -> bool:
        with pytest.raises(KeyboardInterrupt):
            await to_thread.run_sync(partial(anyio.run, evaluation("edited")))
        return True

    await evaluation("begun")()
    with pytest.raises(StoreError, match="1 of 1 rows were run again meanwhile"):
        await rescore("default", score, store=path)
