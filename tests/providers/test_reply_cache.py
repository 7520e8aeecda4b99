"""The same request is answered from the cache, any other is sent; and no row is ever worse off because of it."""

from __future__ import annotations

import itertools
import json
import os
import random
import sqlite3
import stat
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, closing, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from hashlib import blake2b
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pydantic
import pytest
from anyio import TASK_STATUS_IGNORED, CancelScope, create_task_group, to_thread
from anyio.abc import TaskStatus
from openai.types.chat import ChatCompletionMessage
from tests.providers.conftest import CHATS, KEY, SDK_ON
from tests.providers.numbering import NumberingServer
from tests.providers.test_counting import ASYNC_ROWS, Models
from tests.providers.wire import WireServer, running

from doteval import (
    ChatModel,
    Completion,
    ModelRequestError,
    ReplyCache,
    ReplyCacheError,
    Result,
    Usage,
    counting_requests,
    foreach,
)
from doteval._replies.asked import asked
from doteval._replies.cache import CachedReplies, Row
from doteval._replies.file import ReplyFile, Use
from doteval._replies.form import NoFormError, digest_of
from doteval.cli import main
from doteval.evals import Record, Retries, RowTimeoutError, Store, run
from doteval.evals._running.limits import AdaptiveLimit
from doteval.providers._sdk.openai import CompatibleClient, OpenAIModel
from doteval.providers._sdk.replies import credentials_of, telling
from doteval.providers._served.model import ServerModel
from doteval.testing import FakeModel

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]


@pytest.fixture(scope="module")
def numbering() -> Iterator[NumberingServer]:
    with running(NumberingServer) as server:
        yield server


@pytest.fixture
def server(numbering: NumberingServer) -> NumberingServer:  # type: ignore[override]
    numbering.start_over()
    return numbering


@pytest.fixture(scope="module")
async def models(anyio_backend: str, numbering: WireServer) -> AsyncIterator[Models]:
    provider_class, kind, _ = CHATS[SDK_ON[anyio_backend]]
    async with AsyncExitStack() as stack:
        made = provider_class(base_url=f"{numbering.url}/v1", api_key=KEY, max_retries=0, timeout=30)
        provider: Any = await stack.enter_async_context(made)
        handles = [await provider.setup(spec) for spec in ("asked", "judging")]
        yield Models(kind, provider, handles[0].model, handles[1].model)


@pytest.fixture
def cache(tmp_path: Path) -> ReplyCache:
    return ReplyCache(tmp_path / "replies.db")


async def outputs_of(cache: ReplyCache | None, evaluation: Any, **arguments: Any) -> list[Any]:
    """What the rows of a run returned."""
    outcome = await run(evaluation, cache=cache, **arguments)
    assert not outcome.summary.errors, [record.traceback for record in outcome.failed]
    return [record.output for record in outcome.records]


def facts(reply: Completion) -> tuple[Any, ...]:
    return (
        str(reply), reply.usage, reply.finish_reason, reply.refusal, reply.reasoning, reply.tool_calls, reply.raw,
    )  # fmt: skip


# ---------------------------------------------------------------- the same again


@pytest.mark.parametrize("prompt", ["Hello", "with tools"])
async def test_a_reply_comes_again_as_it_was(
    server: NumberingServer, models: Models, cache: ReplyCache, prompt: str
) -> None:
    """Whole and streamed, with all that it says, and what the SDK had made of it; nothing is sent."""
    found: list[list[Any]] = []
    for number in range(2):
        with cache.answering() as replies, counting_requests() as requests:
            whole = await models.model.generate(prompt)
            async with models.model.stream(prompt) as stream:
                pieces = [piece async for piece in stream]
            found.append([facts(whole), pieces, facts(stream.completion)])
        assert (replies.answered, replies.sent, len(server.asked)) == (2 * number, 2 - 2 * number, 2)
        assert [request.from_cache for request in requests] == [bool(number)] * 2
        assert replies.saved == (Usage(10, 6) if number else Usage(0, 0))
    assert found[0] == found[1]
    assert found[0][1] == ["reply", " 2"]


async def test_each_of_several_requests_that_are_the_same_has_a_reply_of_its_own(
    server: NumberingServer, models: Models, cache: ReplyCache
) -> None:
    """Within a row and in different rows, whatever order the rows run in; and rows get the same ones again."""
    order = random.Random(1)

    @foreach("number", range(12), concurrency=6)
    async def eval_it(number: int, model: ChatModel) -> Result:
        for _ in range(order.randrange(3)):
            await anyio.lowlevel.checkpoint()
        return Result([await model.generate("Say something") for _ in range(3)])

    first = await outputs_of(cache, eval_it, model=models.model)
    assert max(Counter(reply for replies in first for reply in replies).values()) == 1
    for _ in range(3):
        assert await outputs_of(cache, eval_it, model=models.model) == first
    assert len(server.asked) == 36


async def test_equal_rows_have_replies_of_their_own(server: NumberingServer, models: Models, cache: ReplyCache) -> None:
    """Which is how many samples of one question are drawn."""
    evaluation = foreach("prompt", ["Say something"] * 5)(asks)
    first = await outputs_of(cache, evaluation, model=models.model)
    assert len({*first}) == len(server.asked) == 5
    assert await outputs_of(cache, evaluation, model=models.model) == first
    longer = await outputs_of(cache, foreach("prompt", ["Say something"] * 7)(asks), model=models.model)
    assert (longer[:5], len({*longer}), len(server.asked)) == (first, 7, 7)


async def test_samples_of_a_row_have_replies_of_their_own(
    server: NumberingServer, models: Models, cache: ReplyCache
) -> None:
    """The first one is that of a run that draws no more, and more of them ask for what is missing only."""
    found: list[list[Any]] = []
    for epochs in (1, 3, 5, 5):
        evaluation = foreach("prompt", ["A", "B"], epochs=epochs)(asks)
        outcome = await run(evaluation, model=models.model, cache=cache)
        found.append([record.output for record in outcome.records])
        assert len({*found[-1]}) == len(server.asked) == 2 * epochs
    assert found[2] == found[3]
    assert [found[2][place] for place in (0, 5)] == found[0]
    assert [found[2][place] for place in (0, 1, 2, 5, 6, 7)] == found[1]


async def asks(prompt: str, model: ChatModel) -> Result:
    return Result(await model.generate(prompt))


def marked(name: str, rows: list[Any], columns: str = "prompt, expected") -> Any:
    """An evaluation of this name whose rows ask one thing."""

    async def evaluate(prompt: str, model: ChatModel, expected: str = "", **_: Any) -> Result:
        return Result(await model.generate(prompt), scores={"exact": expected == "x"})

    evaluate.__name__ = evaluate.__qualname__ = name
    return foreach(columns, rows, concurrency=1)(evaluate)


async def test_a_row_that_has_changed_costs_no_request_where_it_has_an_id(
    server: NumberingServer, models: Models, cache: ReplyCache
) -> None:
    """Else it is a new one, which never gets what a row of its evaluation has: that may be there again."""
    columns = "prompt, expected, id"
    before = await outputs_of(cache, marked("one", [("A", "x", 1), ("A", "y", 2)], columns), model=models.model)
    after = await outputs_of(cache, marked("one", [("A", "new", 2), ("A", "", 1)], columns), model=models.model)
    assert (after, len(server.asked)) == (before[::-1], 2)
    before = await outputs_of(cache, marked("two", [("A", "x"), ("A", "y")]), model=models.model)
    after = await outputs_of(cache, marked("two", [("A", "z"), ("A", "y"), ("A", "x")]), model=models.model)
    assert (after[1:], len(server.asked)) == (before[::-1], 3)
    assert after[0] not in before


async def test_evaluations_that_ask_the_same_share_replies_one_to_one(
    server: NumberingServer, models: Models, cache: ReplyCache
) -> None:
    """Whatever their rows are, and whichever is run first or again: none takes anything from another."""
    one = marked("one", [("Pick", "1"), ("Pick", "2"), ("Pick", "x")])
    other = marked("other", ["Pick"] * 4, "prompt")
    renamed = marked("renamed", [("Pick", "x"), ("Pick", "2"), ("Pick", "1")])
    first = await outputs_of(cache, one, model=models.model)
    for mode in ("on", "read", "on"):
        used: Any = ReplyCache(cache.path, mode)  # type: ignore[arg-type]
        assert await outputs_of(used, renamed, model=models.model) == first[::-1]
        if mode == "on":
            assert await outputs_of(used, other, model=models.model) == [*first, "reply 4"]
        assert await outputs_of(used, one, model=models.model) == first
    assert len(server.asked) == 4


async def test_a_row_with_an_id_gets_nothing_that_waits_for_another_one(
    server: NumberingServer, models: Models, cache: ReplyCache
) -> None:
    """In a new evaluation each gets what the same id has in another, whichever is run first; rows without one share."""

    def evaluation(name: str, ids: list[str], column: str = "id") -> Any:
        async def ask(model: ChatModel, **row: str) -> Result:
            return Result(str(await model.generate("the same for all")))

        ask.__name__ = f"eval_{name}"
        return foreach(column, ids, concurrency=1)(ask)

    old = await outputs_of(cache, evaluation("old", ["1", "2"]), model=models.model)
    new = await outputs_of(cache, evaluation("new", ["9", "1", "2", "8"]), model=models.model)
    assert (new[1:3], len({*new}), len(server.asked)) == (old, 4, 4)
    assert await outputs_of(cache, evaluation("new", ["2", "8", "9", "1"]), model=models.model) == [*new[2:], *new[:2]]
    without = await outputs_of(cache, evaluation("without", ["a", "b"], "letter"), model=models.model)
    assert (without, len(server.asked)) == (old, 4)


class Script:
    """Requests of rows, made to a cache without a model."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sent = 0

    async def run(self, mode: Any, evaluation: str, rows: list[str], times: int) -> dict[tuple[str, int], str]:
        """What the rows of one run got."""
        got: dict[tuple[str, int], str] = {}
        with ReplyCache(self.path, mode).answering() as replies:

            async def row(name: str) -> None:
                with replies.row(name, evaluation):
                    for number in range(times):
                        got[name, number] = await self.ask()

            async with create_task_group() as tasks:
                for name in rows:
                    tasks.start_soon(row, name)
            assert not replies.problems
        return got

    async def ask(self) -> str:
        request = asked("m", dict, {"messages": ["the same"]})
        assert request is not None
        with request:
            answer = await request.answer()
            if answer is not None:
                request.answered(None)
                return str(answer[0][1]["text"])
            self.sent += 1
            text = f"reply {self.sent}"
            await request.keep(lambda: [("T", {"text": text})])
            return text


@pytest.mark.parametrize("seed", range(6))
async def test_no_row_ever_loses_its_reply(anyio_backend: str, tmp_path: Path, seed: int) -> None:
    """In any order of runs of any rows: what a row got it gets again, no two rows of an evaluation have the same, and
    as much is sent as the evaluation with the most of them needs."""
    rolls = random.Random(f"{seed} on {anyio_backend}")
    script = Script(tmp_path / "replies.db")
    known: dict[str, dict[tuple[str, int], str]] = {}
    for _ in range(12):
        mode = rolls.choice(["on", "on", "read"])
        evaluation = rolls.choice("EFG")
        rows = rolls.sample("abcdef", rolls.randrange(1, 6))
        before = script.sent
        got = await script.run(mode, evaluation, rows, rolls.randrange(1, 4))
        has = known.setdefault(evaluation, {})
        assert {key: text for key, text in got.items() if key in has} == {key: has[key] for key in got if key in has}
        assert len({*got.values()}) == len(got)
        if mode == "on":
            has |= got
            assert len({*has.values()}) == len(has)
            assert script.sent - before <= len(got)
        else:
            script.sent, fresh = before, script.sent - before
            assert fresh <= len([key for key in got if key not in has])
    assert script.sent == len({text for has in known.values() for text in has.values()})
    assert script.sent == max(map(len, known.values()), default=0)


async def test_what_is_new_to_many_processes_at_once_is_given_to_one(anyio_backend: Any, tmp_path: Path) -> None:
    """Each with a connection of its own, as processes have; the file decides."""
    script = Script(tmp_path / "replies.db")
    await script.run("on", "before", list("abcdef"), 1)
    found: list[str] = []
    barrier = threading.Barrier(4)

    def work(name: str) -> None:
        async def main() -> None:
            barrier.wait(30)
            found.extend((await other.run("on", "after", [name + "1", name + "2"], 1)).values())

        other = Script(script.path)
        other.sent = 100 * (1 + "wxyz".index(name))
        anyio.run(main)

    async with create_task_group() as tasks:
        for name in "wxyz":
            tasks.start_soon(to_thread.run_sync, work, name)
    assert len({*found}) == len(found) == 8
    assert len([text for text in found if int(text.split()[1]) <= 6]) == 6
    with closing(sqlite3.connect(script.path)) as connection, connection:
        assert connection.execute("SELECT count(*), count(DISTINCT reply) FROM uses").fetchone() == (14, 8)
    connection.close()


async def test_an_attempt_that_is_made_again_pays_for_nothing_twice(
    server: NumberingServer, models: Models, cache: ReplyCache
) -> None:
    """What was answered before it failed is there, and it is the same when all of it is run again."""
    failed: list[int] = []

    @foreach("number", range(3))
    async def eval_it(number: int, model: ChatModel) -> Result:
        first = await model.generate("Say something")
        if number not in failed:
            failed.append(number)
            raise ConnectionError
        return Result([first, await model.generate("Say something")])

    first = await outputs_of(cache, eval_it, model=models.model)
    assert await outputs_of(cache, eval_it, model=models.model) == first
    assert len(server.asked) == 6


class WrongError(Exception):
    """What a row raises because of a reply."""


def overloaded() -> Exception:
    return ModelRequestError("m", "no", "Later.", status=429, retry_after=0.001)


def stumbled() -> Exception:
    return ModelRequestError("m", "no", "Later.", status=500, retryable=True)


def too_slow() -> Exception:
    return RowTimeoutError(5)


@pytest.mark.parametrize(
    ("failure", "is_new"),
    [(ConnectionError, False), (overloaded, False), (stumbled, False), (WrongError, True), (too_slow, True)],
    ids=["lost", "refused", "stumbled", "as asked", "too slow"],
)
async def test_a_row_gets_another_reply_only_where_the_user_has_it_run_again(
    server: NumberingServer,
    models: Models,
    cache: ReplyCache,
    monkeypatch: pytest.MonkeyPatch,
    failure: Callable[[], Exception],
    is_new: bool,
) -> None:
    """Not after what its server did; and whatever comes of it comes again in the next run."""
    monkeypatch.setattr("doteval.evals._running.engine.pause_before", lambda _count: 0)
    runs: list[list[str]] = []

    @foreach("number", range(2), retries=Retries(on=(WrongError, RowTimeoutError), times=3, pause=0))
    async def eval_it(number: int, model: ChatModel) -> Result:
        got = await model.generate("Say something")
        runs[-1].append(got)
        if runs[-1].count(got) == 1 and int(got.split()[1]) <= 2:
            raise failure()
        return Result(got)

    outputs: list[list[str]] = []
    for _ in range(3):
        runs.append([])
        outputs.append(await outputs_of(cache, eval_it, model=models.model))
    assert len(server.asked) == (4 if is_new else 2)
    assert outputs[0] == outputs[1] == outputs[2]
    assert {*outputs[0]} == ({"reply 3", "reply 4"} if is_new else {"reply 1", "reply 2"})


async def test_a_request_that_failed_gives_its_place_to_the_next(
    server: NumberingServer, models: Models, cache: ReplyCache
) -> None:
    """What fails is not kept, so that it is sent again, and what comes after it is the same again."""
    for _ in range(2):
        with cache.answering():
            with pytest.raises(ModelRequestError):
                await models.model.generate("fail")
    assert len(server.asked) == 2

    provider: Any = models.provider
    server.start_over()
    found: list[list[str]] = []
    for times in (1, 0):
        with cache.answering():
            async with provider.setup("flaky") as handle:
                send, left = handle.model._send, [times]

                def flaky(request: Any, send: Any = send, left: Any = left) -> Any:
                    if left[0]:
                        left[0] -= 1
                        raise ModelRequestError("flaky", "no", "Again.")
                    return send(request)

                handle.model._send = flaky
                texts: list[str] = []
                while len(texts) < 2:
                    with suppress(ModelRequestError):
                        texts.append(await handle.model.generate("Hello"))
                found.append(texts)
                handle.model._send = send
    assert found[0] == found[1]
    assert len(server.asked) == 2


async def request_of_fate(model: ChatModel, prompt: str, fate: str, *, streamed: bool) -> str | None:
    """One request that comes to what is wanted; its reply where that was had."""
    replied: str | None = None
    with CancelScope() as scope, suppress(ZeroDivisionError):
        if fate == "cancelled before":
            scope.cancel()
        cancels.set(scope if fate == "cancelled" else None)
        if not streamed:
            return str(await model.generate(prompt))
        async with model.stream(prompt) as stream:
            await anext(stream)
            if fate == "raised":
                raise ZeroDivisionError
            if fate == "cancelled while it came":
                scope.cancel()
                await anyio.lowlevel.checkpoint()
            if fate != "left":
                async for _ in stream:
                    pass
                replied = str(stream.completion)
    return replied


cancels: ContextVar[CancelScope | None] = ContextVar("cancels", default=None)
"""What is cancelled when a request is sent."""
FATES = {False: ("kept", "cancelled", "cancelled before")}
FATES[True] = (*FATES[False], "left", "raised", "cancelled while it came")


@pytest.mark.parametrize("together", [False, True], ids=["after each other", "at once"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_the_nth_time_gets_the_nth_reply_whatever_became_of_those_before(
    server: NumberingServer,
    models: Models,
    cache: ReplyCache,
    monkeypatch: pytest.MonkeyPatch,
    streamed: bool,
    together: bool,
    anyio_backend_name: str,
) -> None:
    """Also in a run in which nothing is given up: what has no reply is sent, and shifts none of the others."""
    send: Any = models.model._send  # type: ignore[attr-defined]

    async def sent(request: Any) -> Any:
        if (scope := cancels.get()) is not None:
            scope.cancel()
            await anyio.sleep_forever()
        return await send(request)

    monkeypatch.setattr(models.model, "_send", sent)

    async def replies_of(fates: tuple[str, ...], name: str) -> list[str | None]:
        got: list[str | None] = [None] * len(fates)

        async def ask(place: int, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
            take = Row.take

            def taken(row: Row, request: bytes) -> int:
                monkeypatch.setattr(Row, "take", take)
                task_status.started()  # in trio, tasks begin in any order
                return take(row, request)

            monkeypatch.setattr(Row, "take", taken)
            got[place] = await request_of_fate(models.model, name, fates[place], streamed=streamed)

        async with create_task_group() as tasks:
            for place in range(len(fates)):
                if together:
                    await tasks.start(ask, place)
                else:
                    await ask(place)
        return got

    # Every two fates both ways and on both loops, but not both ways on both: half of them here, half there.
    half = (anyio_backend_name == "trio") + together
    numbered = itertools.product(enumerate(FATES[streamed], half), enumerate(FATES[streamed]))
    rows = {str(pair): (pair[0][1], pair[1][1], "kept") for pair in numbered if (pair[0][0] + pair[1][0]) % 2}
    runs: list[list[str | None]] = []
    for only_kept in (False, False, True):
        server.asked.clear()
        runs.append([])
        with cache.answering() as replies:
            for name, fates in rows.items():
                with replies.row(name):
                    runs[-1] += await replies_of(("kept",) * len(fates) if only_kept else fates, name)
    assert [reply is not None for reply in runs[0]] == [fate == "kept" for fates in rows.values() for fate in fates]
    assert runs[1] == runs[0]
    assert len(server.asked) == runs[0].count(None)
    assert [new for new, old in zip(runs[2], runs[0], strict=True) if old is not None] == [*filter(None, runs[0])]


async def test_a_stream_that_is_left_is_not_kept(server: NumberingServer, models: Models, cache: ReplyCache) -> None:
    """Nor one that breaks off; one that was read to its end is, whatever its block raises then."""
    for _ in range(2):
        with cache.answering():
            async with models.model.stream("Hello") as stream:
                await anext(stream)
    assert (len(server.asked), cache.kept()) == (2, [])
    with cache.answering():
        with pytest.raises(ModelRequestError, match="no finish reason came"):
            async with models.model.stream("break off") as stream:
                async for _ in stream:
                    pass
    assert cache.kept() == []
    for number in range(2):
        with cache.answering() as replies:
            with pytest.raises(ZeroDivisionError):
                async with models.model.stream("Hello") as stream:
                    async for _ in stream:
                        pass
                    raise ZeroDivisionError
            assert replies.answered == number
            async with models.model.stream("Hello") as stream:  # the next one, and left
                assert await anext(stream) == "reply"
    assert [kept.replies for kept in cache.kept()] == [1]


@pytest.mark.parametrize("row", ASYNC_ROWS, ids=lambda row: row.__name__)
async def test_whatever_a_row_does_it_asks_nothing_again(
    server: NumberingServer, models: Models, cache: ReplyCache, row: Any
) -> None:
    """Agents, judges, streams, tasks, threads, nested evaluations; what failed is sent again. It is counted apart."""
    if row.__name__ in ("loops", "is_refused", "is_refused_as_a_stream", "is_given_up", "goes_on_after_a_failure"):
        row = {"loops": loops}.get(row.__name__, asks_judge)
    evaluation = foreach("prompt", [f"row {number}" for number in range(4)])(row)
    before = await run(evaluation, model=models.model, judge=models.judge, cache=cache)
    sent = len(server.asked)
    after = await run(evaluation, model=models.model, judge=models.judge, cache=cache)
    assert len(server.asked) == sent == before.summary.requests
    one, other = [*before.records], [*after.records]
    assert [record.output for record in other] == [record.output for record in one]
    assert [record.failed for record in other] == [record.failed for record in one]
    assert after.summary.requests == after.summary.input_tokens == after.summary.output_tokens == 0
    saved = [(u.model, u.role, u.from_cache, u.saved_input_tokens, u.saved_output_tokens) for u in usages(other)]
    assert saved == [(u.model, u.role, u.requests, u.input_tokens, u.output_tokens) for u in usages(one)]
    if row.__name__ != "runs_rows_itself":
        assert after.cache is not None
        assert (after.cache.answered, after.cache.sent) == (sent, 0)


def usages(records: list[Record]) -> list[Any]:
    return [usage for record in records for usage in record.usage_by_model]


async def loops(prompt: str, model: ChatModel, judge: ChatModel) -> Result:
    messages: list[Any] = [{"role": "user", "content": f"{prompt}: with tools"}]
    for _ in range(3):
        reply = await model.generate(messages)
        messages += [{"role": "assistant", "content": str(reply)}, {"role": "user", "content": "go on"}]
    return Result(reply)


async def asks_judge(prompt: str, model: ChatModel, judge: ChatModel) -> Result:
    return Result([await model.generate(prompt), await judge.generate(prompt)])


# ---------------------------------------------------------------- what is the same


class Wanted(pydantic.BaseModel):
    """A schema."""

    first: int
    second: int = 0


class Other(pydantic.BaseModel):
    """Another one."""

    first: str


SCHEMA = {"first": {"type": "integer"}, "second": {"type": "integer"}}
DIFFERENT: dict[str, tuple[dict[str, Any], Any, dict[str, Any]]] = {
    "another model": ({"spec": "other"}, "Hello", {}),
    "another address": ({"path": "/v2"}, "Hello", {}),
    "a header": ({"default_headers": {"X-Routing": "b"}}, "Hello", {}),
    "a default of the provider": ({"params": {"temperature": 1}}, "Hello", {}),
    "a query": ({"params": {"extra_query": {"version": "2"}}}, "Hello", {}),
    "another text": ({}, "Hello!", {}),
    "another role": ({}, [{"role": "assistant", "content": "Hello"}], {}),
    "one message more": ({}, [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}], {}),
    "a field more": ({}, [{"role": "user", "content": "Hello", "name": "me"}], {}),
    "a parameter": ({}, "Hello", {"max_tokens": 5}),
    "another value of it": ({}, "Hello", {"max_tokens": 6}),
    "a header of the request": ({}, "Hello", {"extra_headers": {"X-Routing": "b"}}),
    "a query of the request": ({}, "Hello", {"extra_query": {"version": "3"}}),
    "a field of the body": ({}, "Hello", {"extra_body": {"seed": 1}}),
    "a number that is written differently": ({}, "Hello", {"extra_body": {"seed": 1.0}}),
    "a truth in its place": ({}, "Hello", {"extra_body": {"seed": True}}),
    "nothing in its place": ({}, "Hello", {"extra_body": {"seed": None}}),
    "a schema": ({}, "Hello", {"response_format": Wanted}),
    "another schema": ({}, "Hello", {"response_format": Other}),
    "a tool": ({}, "Hello", {"tools": [{"name": "look", "input_schema": SCHEMA}]}),
    "a tool whose fields have another order": (
        {}, "Hello", {"tools": [{"name": "look", "input_schema": dict(reversed(SCHEMA.items()))}]},
    ),
    "a tool with a field that sounds secret": (
        {}, "Hello", {"tools": [{"name": "look", "input_schema": {**SCHEMA, "api_key": {"type": "string"}}}]},
    ),
    "a picture": (
        {}, [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;AAAA"}}]}], {},
    ),
    "another picture": (
        {}, [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;AAAB"}}]}], {},
    ),
}  # fmt: skip
ONLY_OPENAI: dict[str, dict[str, Any]] = {
    "an organization": {"organization": "ours"},
    "another organization": {"organization": "theirs"},
    "a project": {"project": "this"},
}
SAME: dict[str, tuple[dict[str, Any], Any, dict[str, Any]]] = {
    "another key": ({"api_key": "sk-another-key"}, "Hello", {}),
    "more patience": ({"timeout": 7, "max_retries": 3, "max_concurrency": 2}, "Hello", {}),
    "secret headers": ({"default_headers": {"X-Api-Key": "secret", "Authorization": "Bearer x"}}, "Hello", {}),
    "a conversation": ({}, [{"role": "user", "content": "Hello"}], {}),
    "a tuple": ({}, ({"role": "user", "content": "Hello"},), {}),
    "patience of the request": ({}, "Hello", {"timeout": 9.5}),
    "a secret header of the request": ({}, "Hello", {"extra_headers": {"X-Api-Key": "secret"}}),
}


async def ask(server: NumberingServer, kind: str, case: tuple[dict[str, Any], Any, dict[str, Any]]) -> None:
    settings, prompt, params = case
    settings = {"api_key": KEY, "max_retries": 0, "timeout": 30, "path": "/v1", "spec": "asked"} | settings
    url, spec = server.url + settings.pop("path"), settings.pop("spec")
    provider: Any = CHATS[kind][0](base_url=url, **settings)
    async with provider, provider.setup(spec) as handle:
        await handle.model.generate(prompt, **params)


async def test_whatever_is_different_is_asked_and_whatever_is_the_same_is_not(
    anyio_backend: str, server: NumberingServer, cache: ReplyCache
) -> None:
    """Of the server, its settings, messages and parameters; but keys, and how long one waits, are no part of it."""
    kind = SDK_ON[anyio_backend]
    base: tuple[dict[str, Any], Any, dict[str, Any]] = ({}, "Hello", {})
    known = {"as it is": base, **DIFFERENT}
    if kind == "openai":
        known |= {name: (settings, "Hello", {}) for name, settings in ONLY_OPENAI.items()}
        tools = [tool for tool in known if "tool" in tool]
        known |= {
            name: ({}, "Hello", {"tools": [{"type": "function", "function": known[name][2]["tools"][0]}]})
            for name in tools
        }
    for name, case in known.items():
        before = len(server.asked)
        with cache.answering():
            await ask(server, kind, case)
        assert len(server.asked) == before + 1, f"{name} was taken for something else"
    for name, case in {**known, **SAME}.items():
        before = len(server.asked)
        with cache.answering():
            await ask(server, kind, case)
        assert len(server.asked) == before, f"{name} was asked again"
    stored = b"".join(path.read_bytes() for path in cache.path.parent.iterdir())
    for secret in (KEY, "sk-another-key", "secret", "Bearer x"):
        assert secret.encode() not in stored
    assert stat.S_IMODE(cache.path.stat().st_mode) == 0o600


async def test_a_streamed_request_is_another_one(server: NumberingServer, models: Models, cache: ReplyCache) -> None:
    """Its reply comes in pieces, and a whole one does not."""
    for _ in range(2):
        with cache.answering():
            await models.model.generate("Hello")
            async with models.model.stream("Hello") as stream:
                assert len([piece async for piece in stream]) == 2
    assert len(server.asked) == 2


async def test_what_a_model_said_may_be_a_message_of_the_next_request(
    server: NumberingServer, cache: ReplyCache, anyio_backend: Any
) -> None:
    """As the SDK has it, or as a mapping with the same."""
    provider: Any = CHATS["openai"][0](base_url=f"{server.url}/v1", api_key=KEY)
    said = ChatCompletionMessage(role="assistant", content="Hi")
    async with provider, provider.setup("asked") as handle:
        for message in (said, {"role": "assistant", "content": "Hi"}):
            with cache.answering():
                await handle.model.generate([{"role": "user", "content": "Hello"}, message])
    assert len(server.asked) == 1


CREDENTIALS = ("authorization", "Proxy-Authorization", "X-API-Key", "api-key", "Cookie")
TELLING = (
    "X-Route-Key", "partition-key", "key", "token", "X-Session-Token", "X-Auth", "auth", "x-secret", "password", "Host",
    "User-Agent", "Accept", "Accept-Language", "X-Authorization-Kind", "my-api-key", "cookie2", "x_headers",
    "Credentials",
)  # fmt: skip
PLACES: dict[str, Callable[[str, str], tuple[dict[str, Any], dict[str, Any]]]] = {
    "headers": lambda name, value: ({"default_headers": {name: value}}, {}),
    "headers of a request": lambda name, value: ({}, {"extra_headers": {name: value}}),
    "query": lambda name, value: ({"default_query": {name: value}}, {}),
    "query of a request": lambda name, value: ({}, {"extra_query": {name: value}}),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", [*CREDENTIALS, *TELLING])
def test_only_what_is_known_to_be_a_credential_makes_no_difference(place: str, name: str) -> None:
    """What ends in key, token or auth may say where a request is sent, as a route or a partition."""

    def digest(value: str) -> bytes:
        settings, params = PLACES[place](name, value)
        client = CompatibleClient(base_url="http://localhost/v1", api_key=KEY, **settings)
        model = OpenAIModel("m", client)
        request = {"messages": [], **params}
        return digest_of(model._whom(), telling(request, credentials_of(client)))

    assert (digest("one") == digest("other")) is (name in CREDENTIALS)
    assert digest("one") == digest("one")


class HasItsOwnKeyHeader(CompatibleClient):
    """A client of a server that takes the key in a header of its own."""

    @property
    def auth_headers(self) -> dict[str, str]:
        return {"X-Route-Key": self.api_key}


def test_the_header_that_a_client_sends_its_key_in_makes_no_difference() -> None:
    """Nor does that of the SDK, which names its version; one of the same name elsewhere does."""

    def digest(kind: Any, key: str, **headers: str) -> bytes:
        client = kind(base_url="http://localhost/v1", api_key=key, default_headers=headers)
        extra = {"messages": [], "extra_headers": {"X-Route-Key": key}}
        return digest_of(OpenAIModel("m", client)._whom(), telling(extra, credentials_of(client)))

    assert digest(HasItsOwnKeyHeader, "one") == digest(HasItsOwnKeyHeader, "other")
    assert digest(CompatibleClient, "one") != digest(CompatibleClient, "other")
    newer = type("Newer", (HasItsOwnKeyHeader,), {"user_agent": "AsyncOpenAI/Python 99"})
    assert digest(newer, "one") == digest(HasItsOwnKeyHeader, "one")


async def test_digests_are_made_with_a_key_that_lies_in_the_file(anyio_backend: Any, tmp_path: Path) -> None:
    """So that they are others in each file, and nobody can tell from one, without the file, what was asked."""
    found: list[set[bytes]] = []
    plain = digest_of({}, {"messages": ["the same"]})
    for name in "ab":
        script = Script(tmp_path / f"{name}.db")
        await script.run("on", "E", ["row"], 1)
        with closing(sqlite3.connect(script.path)) as connection, connection:
            found.append({each for (each,) in connection.execute("SELECT request FROM replies")})
            found[-1] |= {each for (each,) in connection.execute("SELECT request FROM uses")}
            ((key,),) = connection.execute("SELECT key FROM hashing").fetchall()
        connection.close()
        assert len(key) == 32
        assert found[-1] == {blake2b(plain, key=key, digest_size=16).digest()}
        assert plain[:12] not in script.path.read_bytes()
        assert stat.S_IMODE(script.path.stat().st_mode) == 0o600
    assert found[0].isdisjoint(found[1])


class Polite(OpenAIModel):
    """A model that asks for something else."""

    def _send(self, request: dict[str, Any]) -> Any:
        return super()._send({**request, "messages": [{"role": "user", "content": "please"}, *request["messages"]]})


async def test_a_model_of_another_class_is_another_one(
    server: NumberingServer, cache: ReplyCache, anyio_backend: Any
) -> None:
    """It may send what it likes."""
    client = CompatibleClient(base_url=f"{server.url}/v1", api_key=KEY)
    for _ in range(2):
        for kind in (OpenAIModel, Polite):
            with cache.answering():
                await kind("m", client).generate("Hello")
    assert len(server.asked) == 2
    await client.close()


SERVERS: list[dict[str, Any]] = [
    {"provider": "vllm", "max_model_len": 8, "environment": {"A": "1", "HF_TOKEN": "x"}},
    {"provider": "vllm", "max_model_len": 9, "environment": {"A": "1"}},
    {"provider": "vllm", "max_model_len": 8, "environment": {"A": "2"}},
    {"provider": "sglang", "max_model_len": 8, "environment": {"A": "1"}},
    {"provider": "vllm", "max_model_len": 8, "environment": {"A": "1", "HF_TOKEN": "y"}},
]


async def test_a_server_of_ones_own_is_known_by_how_it_was_started(
    server: NumberingServer, cache: ReplyCache, anyio_backend: Any
) -> None:
    """Its port and its key are others each time."""
    asked: list[int] = []
    for port in ("localhost", "127.0.0.1"):
        for identity in SERVERS:
            url = server.url.replace("127.0.0.1", port)
            client = CompatibleClient(base_url=f"{url}/v1", api_key=port)
            lease: Any = None
            model = ServerModel("m", client, lease=lease, identity=identity)
            with cache.answering():
                await model.generate("Hello")
            asked.append(len(server.asked))
            await client.close()
    assert asked == [1, 2, 3, 4, 4, 4, 4, 4, 4, 4]


HOLDS_ITSELF: list[Any] = []
HOLDS_ITSELF.append(HOLDS_ITSELF)


@pytest.mark.parametrize(
    "value",
    [
        object(), {1}, (each for each in "abc"), float("nan"), 10**5000, HOLDS_ITSELF, Path("a"), {1: "a"},
        {"\0bytes": 1}, len, type,
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is_known_by_nothing_but_itself_has_no_form(value: Any) -> None:
    with pytest.raises(NoFormError):
        digest_of({}, {"messages": [{"role": "user", "content": value}]})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"a", "61"), (b"a", b"b"), (1, True), (1, 1.0), (0.0, -0.0), (None, "null"), ([], {}), (["ab"], ["a", "b"]),
        ("\ud83d", "\\ud83d"), ({"a": 1, "b": 2}, {"b": 2, "a": 1}), (Wanted, Other),
        (Wanted(first=1), Wanted(first=2)),
    ],
    ids=[*map(str, range(12))],
)  # fmt: skip
def test_different_values_have_different_forms(one: Any, other: Any) -> None:
    assert digest_of({}, {"a": one}) != digest_of({}, {"a": other})
    assert digest_of({}, {"a": one}) == digest_of({}, {"a": one}) != digest_of({"a": one}, {})


async def test_what_has_no_form_is_sent_and_told(server: NumberingServer, models: Models, cache: ReplyCache) -> None:
    """Rather than answered wrongly; once for all of them."""
    send: Any = models.model._send  # type: ignore[attr-defined]
    own = {"_send": lambda request: send({**request, "extra_body": {}}), "_send_plain": lambda request: None}
    vars(models.model).update(own)
    try:
        for _ in range(2):
            with cache.answering() as replies:
                for _ in range(2):
                    await models.model.generate("Hello", extra_body={"odd": object()})
            assert (replies.answered, replies.sent, replies.unknown, len(replies.problems)) == (0, 2, 2, 1)
            assert "an object" not in replies.problems[0]
            assert "a object" in replies.problems[0]
    finally:
        for name in own:
            del vars(models.model)[name]
    assert len(server.asked) == 4


# ---------------------------------------------------------------- modes


@pytest.mark.parametrize("how", ["on", "read", "around", "off", "none"])
async def test_a_model_that_knows_no_cache_is_named_once(
    server: NumberingServer, models: Models, cache: ReplyCache, how: Any
) -> None:
    """Whatever it is asked, and not where nobody wants a cache; one that knows it is no matter."""
    judge = FakeModel("judge", replies=["yes"] * 9)

    @foreach("prompt", ["A", "B"])
    async def evaluation(prompt: str, model: ChatModel, judge: FakeModel) -> Result:
        reply = await model.generate(prompt)
        await judge.generate(reply)
        async with judge.stream(reply) as stream:
            assert [piece async for piece in stream]
        return Result(reply)

    with cache.answering() if how == "around" else nullcontext():
        given = ReplyCache(cache.path, how) if how in ("on", "read") else "off" if how == "off" else None
        outcome = await run(evaluation, model=models.model, judge=judge, cache=given)
    told = [each for each in outcome.warnings if "cache" in each]
    assert len(told) == (how in ("on", "read", "around")), told
    assert all("' asked 'judge': it is for" in each for each in told)


async def test_modes(server: NumberingServer, models: Models, cache: ReplyCache) -> None:
    """``read`` keeps nothing, ``write`` answers nothing and takes the place of what is there; outside, nothing is."""

    async def asked(mode: Any, prompt: str = "Hello") -> tuple[str, int]:
        before = len(server.asked)
        with ReplyCache(cache.path, mode).answering():
            text = await models.model.generate(prompt)
        return str(text), len(server.asked) - before

    assert await asked("read") == ("reply 1", 1)
    assert not cache.path.exists()
    assert await asked("on") == ("reply 2", 1)
    assert await asked("read") == ("reply 2", 0)
    assert await asked("write") == ("reply 3", 1)
    assert await asked("on") == ("reply 3", 0)
    assert await asked("read", "Other") == ("reply 4", 1)
    assert await asked("on", "Other") == ("reply 5", 1)
    with cache.answering(), ReplyCache.paused():
        assert await models.model.generate("Hello") == "reply 6"
    assert await models.model.generate("Hello") == "reply 7"
    with pytest.raises(ValueError, match="one of 'on', 'read', 'write', not 'off'"):
        ReplyCache(cache.path, "off")  # type: ignore[arg-type]


async def test_what_is_asked_anew_is_not_asked_twice_by_one_row(
    server: NumberingServer, models: Models, cache: ReplyCache
) -> None:
    """A second attempt of it gets what the first one got."""
    fails = False

    @foreach("prompt", ["Hello"])
    async def eval_it(prompt: str, model: ChatModel) -> Result:
        nonlocal fails
        reply = await model.generate(prompt)
        if fails:
            fails = False
            raise ConnectionError
        return Result(reply)

    assert await outputs_of(cache, eval_it, model=models.model) == ["reply 1"]
    fails = True
    assert await outputs_of(ReplyCache(cache.path, "write"), eval_it, model=models.model) == ["reply 2"]
    assert await outputs_of(cache, eval_it, model=models.model) == ["reply 2"]
    assert [kept.replies for kept in cache.kept()] == [1]
    other = foreach("prompt", ["Hello"])(asks)
    assert await outputs_of(cache, other, model=models.model) == ["reply 2"]
    assert await outputs_of(ReplyCache(cache.path, "write"), other, model=models.model) == ["reply 3"]
    assert await outputs_of(cache, eval_it, model=models.model) == ["reply 2"], "another evaluation's own"


async def test_an_evaluation_finds_the_cache_beside_its_store(
    server: NumberingServer, models: Models, tmp_path: Path
) -> None:
    """Or that of the block around it; two runs in one block are answered with the same replies."""
    evaluation = foreach("prompt", ["A", "B"])(asks)
    store = tmp_path / "results.db"
    for fresh in (False, True):
        outcome = await run(evaluation, model=models.model, store=store, cache="on", fresh=fresh)
    assert outcome.cache is not None
    assert (outcome.cache.answered, outcome.cache.sent, len(server.asked)) == (2, 0, 2)
    assert ReplyCache(tmp_path / "replies.db").kept()[0].replies == 2
    with ReplyCache(tmp_path / "replies.db").answering():
        for _ in range(2):
            await outputs_of(None, evaluation, model=models.model)
        assert len(server.asked) == 2
        outcome = await run(evaluation, model=models.model, cache="off")
    assert (outcome.cache, len(server.asked)) == (None, 4)
    with Store(store) as opened:
        (stored,) = opened.evaluations()
        (usage,) = opened.summary(stored).usage_by_model
    assert (usage.requests, usage.input_tokens, usage.from_cache, usage.saved_input_tokens) == (0, 0, 2, 10)


async def test_what_a_cache_answers_says_nothing_of_the_server(
    server: NumberingServer, models: Models, cache: ReplyCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An adaptive limit does not grow by it."""
    grown: list[int] = []
    monkeypatch.setattr(AdaptiveLimit, "succeeded", lambda _self: grown.append(1))
    evaluation = foreach("prompt", [f"{number}" for number in range(5)])(asks)
    for _ in range(2):
        await run(evaluation, model=models.model, cache=cache, concurrency="adaptive")
    assert len(grown) == 5


# ---------------------------------------------------------------- when it cannot


def full(*_: object) -> Any:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    raise error


async def test_a_full_disk_costs_no_row(
    server: NumberingServer, models: Models, cache: ReplyCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be kept is told once; what is there answers still."""
    evaluation = foreach("prompt", ["A", "B", "C"])(asks)
    await run(foreach("prompt", ["A"])(asks), model=models.model, cache=cache)
    monkeypatch.setattr(ReplyFile, "_write", full)
    outcome = await run(evaluation, model=models.model, cache=cache)
    assert not outcome.summary.errors
    assert outcome.warnings == (f"The cache of replies {cache.path} keeps no more replies: database or disk is full.",)
    assert outcome.cache is not None
    assert (outcome.cache.answered, outcome.cache.sent) == (1, 2)


@pytest.mark.parametrize("breaks", ["no directory", "corrupt"])
async def test_a_file_that_cannot_be_used_costs_no_row(
    server: NumberingServer, models: Models, tmp_path: Path, breaks: str
) -> None:
    """Requests are sent."""
    path = tmp_path / "replies.db"
    if breaks == "no directory":
        (tmp_path / "file").write_text("")
        path = tmp_path / "file" / "replies.db"
    else:
        with ReplyCache(path).answering():
            for number in range(50):
                await models.model.generate(f"{number}")
        data = path.read_bytes()
        path.write_bytes(data[:4096] + os.urandom(len(data) - 4096))
    outcome = await run(foreach("prompt", ["0", "B"])(asks), model=models.model, cache=ReplyCache(path))
    assert not outcome.summary.errors
    assert len(outcome.warnings) == 1
    assert str(path) in outcome.warnings[0]


async def test_a_file_of_something_else_is_left_alone(server: NumberingServer, models: Models, tmp_path: Path) -> None:
    """Before anything is asked."""
    text, other = tmp_path / "text.db", tmp_path / "other.db"
    text.write_text("It is a text. " * 100)
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("CREATE TABLE mine (a)")
    connection.close()
    for path in (text, other):
        before = path.read_bytes()
        with pytest.raises(ReplyCacheError, match="is no cache of replies"):
            await run(foreach("prompt", ["A"])(asks), model=models.model, cache=ReplyCache(path))
        assert path.read_bytes() == before
    assert server.asked == []


async def test_somebody_has_been_at_the_file(server: NumberingServer, models: Models, cache: ReplyCache) -> None:
    """What cannot be read is asked again."""
    for _ in range(2):
        with cache.answering():
            await models.model.generate("Hello")
    with closing(sqlite3.connect(cache.path)) as connection, connection:
        for odd in ("", "[]", "{}", '[["Nothing", {}]]', '[["__name__", {}]]', "[[1, 2]]", "null", "7"):
            connection.execute("UPDATE replies SET reply = ?", (odd,))
            connection.commit()
            before = len(server.asked)
            with ReplyCache(cache.path, "read").answering():
                assert await models.model.generate("Hello")
            assert len(server.asked) == before + 1, odd
    connection.close()


@contextmanager
def written_by_another(path: Path) -> Iterator[None]:
    """As if another process wrote to the file for the whole block."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    finally:
        connection.close()


async def test_nobody_waits_until_a_reply_is_written(
    server: NumberingServer, models: Models, cache: ReplyCache
) -> None:
    """But the end of the block does; until then a row that is run again, or cancelled, is answered all the same."""
    await cached_hello(cache, models)
    with cache.answering() as replies:
        with written_by_another(cache.path):
            for _ in range(2):
                with replies.row("a"):
                    assert await models.model.generate("Other") == "reply 2"
            async with create_task_group() as tasks:
                tasks.start_soon(models.model.generate, "Third")
                while len(server.asked) < 3:
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
        assert (replies.answered, replies.sent, replies.problems) == (1, 3 - 1, [])
    with cache.answering() as replies, replies.row("a"):
        assert await models.model.generate("Other") == "reply 2"
    assert not replies.problems


async def cached_hello(cache: ReplyCache, models: Models) -> None:
    """Make the file, with a reply."""
    with cache.answering():
        await models.model.generate("Hello")


async def test_a_request_is_sent_rather_than_to_wait_for_the_file(
    server: NumberingServer, models: Models, cache: ReplyCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is told once; who has waited has waited for all. What is only read is read meanwhile."""
    monkeypatch.setattr("doteval._replies.file.PATIENCE", 0.4)
    await cached_hello(cache, models)
    began = time.monotonic()
    with cache.answering() as replies:
        with written_by_another(cache.path):
            for number in range(20):
                with replies.row(f"{number}", "new"):
                    assert await models.model.generate("Hello") == f"reply {number + 2}"
            assert await models.model.generate("Hello") == "reply 1"
        assert time.monotonic() - began < 4
        (problem,) = replies.problems
        assert "was in use by another process" in problem
        await to_thread.run_sync(replies.flush)
        with replies.row("late", "new"):
            assert await models.model.generate("Hello") == "reply 1"
    for _ in range(2):
        with cache.answering() as replies, replies.row("7", "new"):
            assert await models.model.generate("Hello") == "reply 9"


@pytest.mark.parametrize("becomes", ["gone", "another one"])
@pytest.mark.parametrize("first", ["reads", "writes"])
async def test_a_file_that_is_removed_meanwhile_is_told_of_once(
    server: NumberingServer, models: Models, cache: ReplyCache, first: str, becomes: str
) -> None:
    """And costs no row; the next block makes another one."""
    await cached_hello(cache, models)
    before = [*cache.path.parent.iterdir()]
    with cache.answering() as replies:
        await models.model.generate("Hello")
        if first == "writes":
            await models.model.generate("Other")
            await to_thread.run_sync(replies.flush)
        for path in [*before, *cache.path.parent.iterdir()]:
            path.unlink(missing_ok=True)
        if becomes == "another one":
            cache.path.write_text("mine")
        if first == "writes":
            replies.keep(Use(b"", b"", b""), "m", "[]", replaces=False)
            await to_thread.run_sync(replies.flush)
        for number in range(3):
            assert await models.model.generate(f"{number}")
    (problem,) = replies.problems
    assert "was removed, or replaced, while it was in use" in problem
    assert problem.count(".") == 2, "a sentence, and the name"
    if becomes == "another one":
        assert cache.path.read_text() == "mine"
    else:
        assert cache.kept() == []
        await cached_hello(cache, models)
        assert [kept.replies for kept in cache.kept()] == [1]


async def test_looking_after_a_file_that_is_in_use_says_so(
    server: NumberingServer,
    models: Models,
    cache: ReplyCache,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And what to do, rather than what SQLite calls it."""
    monkeypatch.setattr("doteval._replies.file._PATIENCE_OF_PEOPLE", 0)
    await cached_hello(cache, models)
    with written_by_another(cache.path):
        assert main(["cache", "--clear", "--file", str(cache.path)]) == 1
        told = capsys.readouterr().err
        assert main(["cache", "--file", str(cache.path)]) == 0
    assert "is in use by another process.\nTry again when that is done." in told
    assert main(["cache", "--clear", "--file", str(cache.path)]) == 0


async def test_many_may_write_at_once(server: NumberingServer, anyio_backend: Any, cache: ReplyCache) -> None:
    """Event loops in threads, each with a connection of its own, as processes have."""

    def work(name: str) -> None:
        async def ask_all() -> None:
            provider: Any = CHATS["openai"][0](base_url=f"{server.url}/v1", api_key=KEY)
            async with provider, provider.setup("asked") as handle:
                evaluation = foreach("prompt", [f"{name} {number}" for number in range(10)])(asks)
                outcome = await run(evaluation, model=handle.model, cache=ReplyCache(cache.path))
            assert not outcome.warnings

        anyio.run(ask_all)

    async with create_task_group() as tasks:
        for name in "abcd":
            tasks.start_soon(to_thread.run_sync, work, name)
    assert [kept.replies for kept in cache.kept()] == [40]


# ---------------------------------------------------------------- looking after it


async def test_it_can_be_looked_at_and_emptied(server: NumberingServer, models: Models, cache: ReplyCache) -> None:
    """By model, and by age; reading makes no file."""
    assert (cache.kept(), cache.remove(), cache.path.exists()) == ([], 0, False)
    with cache.answering():
        for model in (models.model, models.model, models.judge):
            await model.generate("Hello")
    assert [(kept.model, kept.replies) for kept in cache.kept()] == [("asked", 2), ("judging", 1)]
    assert all(kept.size > 50 and kept.oldest <= kept.newest for kept in cache.kept())
    assert cache.remove(before=0) == 0
    assert cache.remove(model="judging") == 1
    assert [kept.model for kept in cache.kept()] == ["asked"]
    assert cache.remove() == 2
    assert cache.kept() == []
    repr(cache)


def test_rows_are_told_apart_by_their_names(cache: ReplyCache) -> None:
    """Also those within others."""
    with cache.answering() as replies:
        assert isinstance(replies, CachedReplies)
        with replies.row("a"), ReplyCache.inherited() as inner:
            assert inner is replies
        with ReplyCache.inherited() as own:
            assert own is not None
            assert own is not replies
    with ReplyCache.inherited() as none:
        assert none is None


async def test_the_command_looks_at_it_and_empties_it(
    server: NumberingServer, models: Models, cache: ReplyCache, capsys: pytest.CaptureFixture[str]
) -> None:
    """For people and for programs; what is there to be looked at has to be there."""
    where = ["--file", str(cache.path)]
    assert main(["cache", *where]) == 1
    assert "there is no cache of replies" in capsys.readouterr().err
    with cache.answering():
        for model in (models.model, models.judge):
            await model.generate("Hello")
    assert main(["cache", *where]) == 0
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["model", "replies"], ["asked", "1"], ["judging", "1"],
    ]  # fmt: skip
    assert main(["cache", "--json", "--model", "asked", *where]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["model"], told["replies"]) == ("asked", 1)
    for arguments, count in ((["--older-than", "1d"], 0), (["--clear", "--model", "judging"], 1), (["--clear"], 1)):
        assert main(["cache", *arguments, *where]) == 0
        assert capsys.readouterr().out.startswith(f"removed {count} ")
    assert cache.kept() == []
