"""What a row is said to have cost is what the server has counted, whatever the row does; on each loop another SDK."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest
import trio
from anyio import CancelScope, create_task_group, from_thread, to_thread
from tests.providers.conftest import CHATS, KEY, SDK_ON
from tests.providers.wire import EVENTS, Reply, Sent, WireServer, answer, event, events, running

from doteval import ChatModel, ModelRequestError, Result, Usage, blocking, counting_requests, foreach
from doteval.evals import Record, llm_judge, run

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]

ROWS = 4
TOOL = ("call", "look", ('{"at": "it"}',))
WORDS = ("Yes", ", all", " right")
COUNTS = ("requests", "failed", "input", "output", "cached", "written", "reasoning")
Row = Callable[[str, ChatModel, ChatModel], Awaitable[Result]]


class CountingServer(WireServer):
    """Answers by the prompt, and counts what it says that each row of each model has cost.

    No two requests cost the same. The prompt says which row it is of, and what is to happen: ``tools`` asks for a tool
    until two have been called, ``refuse`` is refused once, ``give up`` fails in the middle, ``hang`` waits.
    """

    counted: dict[tuple[int, str], Counter[str]]

    def start_over(self) -> None:
        """Nothing was counted."""
        self.counted = defaultdict(Counter)
        self.hangs, self.may_go_on = threading.Event(), threading.Event()
        self._served = 0
        self._refused: set[int] = set()

    def _sent(self, head: bytes, body: bytes) -> Sent:
        kind = "anthropic" if b"/messages" in head.partition(b"\r\n")[0] else "openai"
        asked, text = json.loads(body), body.decode()
        found = re.search(r"row (\d+)", text)
        assert found is not None
        row, counted = int(found[1]), self.counted[int(found[1]), asked["model"]]
        self._served += 1
        counted["requests"] += 1
        if "refuse" in text and row not in self._refused:
            self._refused.add(row)
            counted["failed"] += 1
            return Sent(b'{"error": {"message": "slowly"}}', status=429, headers={"retry-after-ms": "1"})
        if "hang" in text:
            self.hangs.set()
            self.may_go_on.wait(30)
        n = self._served
        spent = {"input": 1000 + n, "output": 500 + 3 * n, "cached": 5 * n, "written": 7 * n, "reasoning": 11 * n}
        counted.update(spent)
        reply = Reply(WORDS, usage=said(spent))
        if "tools" in text and len(asked["messages"]) < 5:
            reply = replace(reply, text=(), tools=[TOOL], finish={"openai": "tool_calls", "anthropic": "tool_use"})
        if "give up" in text:
            counted["failed"] += 1
            reply = replace(reply, finish={"openai": "error", "anthropic": "error"})
        return events(kind, reply) if asked.get("stream") else answer(kind, reply)


def said(spent: Mapping[str, int]) -> dict[str, Any]:
    """Counts in the words of both."""
    return {
        "openai": {
            "prompt_tokens": spent["input"],
            "completion_tokens": spent["output"],
            "total_tokens": spent["input"] + spent["output"],
            "prompt_tokens_details": {"cached_tokens": spent["cached"], "cache_write_tokens": spent["written"]},
            "completion_tokens_details": {"reasoning_tokens": spent["reasoning"]},
        },
        "anthropic": {
            "input_tokens": spent["input"] - spent["cached"] - spent["written"],
            "cache_read_input_tokens": spent["cached"],
            "cache_creation_input_tokens": spent["written"],
            "output_tokens": spent["output"],
            "output_tokens_details": {"thinking_tokens": spent["reasoning"]},
        },
    }


@pytest.fixture(scope="module")
def counting() -> Iterator[CountingServer]:
    with running(CountingServer) as server:
        yield server


@pytest.fixture
def server(counting: CountingServer) -> CountingServer:  # type: ignore[override]
    """The server, as if just started."""
    counting.start_over()
    return counting


@dataclass(frozen=True)
class Models:
    """What evaluations ask, and how to make more."""

    kind: str
    provider: Any
    model: ChatModel
    judge: ChatModel


@pytest.fixture(scope="module")
async def models(anyio_backend: str, counting: CountingServer) -> AsyncIterator[Models]:
    provider_class, kind, _ = CHATS[SDK_ON[anyio_backend]]
    async with AsyncExitStack() as stack:
        made = provider_class(base_url=f"{counting.url}/v1", api_key=KEY, max_retries=0, timeout=30)
        provider: Any = await stack.enter_async_context(made)
        handles = [await provider.setup(spec) for spec in ("asked", "judging")]
        yield Models(kind, provider, handles[0].model, handles[1].model)


def counts_of(record: Record) -> dict[str, tuple[int, ...]]:
    """What a record says of each model."""
    return {
        usage.model: (
            usage.requests, usage.failed, usage.input_tokens, usage.output_tokens, usage.cached_tokens,
            usage.cache_write_tokens, usage.reasoning_tokens,
        )
        for usage in record.usage_by_model
        if usage.model is not None
    }  # fmt: skip


def counted_for(server: CountingServer, row: int) -> dict[str, tuple[int, ...]]:
    """What the server says of each model."""
    return {
        model: tuple(counted[name] for name in COUNTS) for (of, model), counted in server.counted.items() if of == row
    }


async def ask(model: ChatModel, prompt: str) -> str:
    return str(await model.generate(prompt))


# ---------------------------------------------------------------- what rows do


async def strips(prompt: str, model: ChatModel, judge: ChatModel) -> Result:
    reply = await model.generate(prompt)
    return Result(reply.strip())


async def loops(prompt: str, model: ChatModel, judge: ChatModel) -> Result:
    messages: list[dict[str, Any]] = [{"role": "user", "content": f"{prompt}: with tools"}]
    for _ in range(3):
        reply = await model.generate(messages)
        for call in reply.tool_calls:
            if model.client.__class__.__name__ == "AsyncAnthropic":
                block = {"type": "tool_use", "id": call.id, "name": call.name, "input": call.parsed()}
                result = {"type": "tool_result", "tool_use_id": call.id, "content": "this"}
                messages += [{"role": "assistant", "content": [block]}, {"role": "user", "content": [result]}]
            else:
                asked = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": "{}"}}
                messages.append({"role": "assistant", "content": None, "tool_calls": [asked]})
                messages.append({"role": "tool", "tool_call_id": call.id, "content": "this"})
    assert (len(messages), reply) == (5, "Yes, all right")
    return Result(reply)


async def judges(prompt: str, model: ChatModel, judge: ChatModel) -> Result:
    reply = await model.generate(prompt)
    return Result(reply, scores={"good": await llm_judge(judge, reply, "it is good", prompt=prompt)})


async def raises(prompt: str, model: ChatModel, judge: ChatModel) -> Result:
    await ask(model, prompt)
    await ask(judge, prompt)
    raise ValueError("after two")


async def streams(prompt: str, model: ChatModel, judge: ChatModel) -> Result:
    async with model.stream(prompt) as stream:
        return Result([piece async for piece in stream])


async def is_refused(prompt: str, model: ChatModel, judge: ChatModel) -> Result:
    await ask(judge, prompt)
    await ask(model, prompt)
    return Result(await model.generate(f"{prompt}: refuse"))


async def is_refused_as_a_stream(prompt: str, model: ChatModel, judge: ChatModel) -> Result:
    async with model.stream(f"{prompt}: refuse") as stream:
        return Result([piece async for piece in stream])


async def is_given_up(prompt: str, model: ChatModel, judge: ChatModel) -> Result:
    return Result(await model.generate(f"{prompt}: give up"))


async def goes_on_after_a_failure(prompt: str, model: ChatModel, judge: ChatModel) -> Result:
    with pytest.raises(ModelRequestError):
        await model.generate(f"{prompt}: give up")
    return Result(await judge.generate(prompt))


async def starts_tasks(prompt: str, model: ChatModel, judge: ChatModel) -> Result:
    async with create_task_group() as tasks:
        for each in (model, model, judge):
            tasks.start_soon(ask, each, prompt)
    return Result()


async def starts_tasks_of_the_loop(prompt: str, model: ChatModel, judge: ChatModel) -> Result:
    if "trio" in sys.modules and is_trio():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, model, prompt)
            nursery.start_soon(ask, judge, prompt)
    else:
        await asyncio.gather(asyncio.create_task(ask(model, prompt)), ask(judge, prompt))
    return Result()


async def asks_from_a_thread(prompt: str, model: ChatModel, judge: ChatModel) -> Result:
    return Result(await to_thread.run_sync(from_thread.run, ask, model, prompt))


async def runs_rows_itself(prompt: str, model: ChatModel, judge: ChatModel) -> Result:
    @foreach("again", range(3))
    async def eval_it(again: int) -> Result:
        return Result(await model.generate(prompt))

    inner = (await run(eval_it)).summary
    outer = await judge.generate(prompt)
    assert outer.usage is not None
    return Result(outer, metadata={"inner": inner.requests})


def is_trio() -> bool:
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True


ASYNC_ROWS = [
    strips, loops, judges, raises, streams, is_refused, is_refused_as_a_stream, is_given_up, goes_on_after_a_failure,
    starts_tasks, starts_tasks_of_the_loop, asks_from_a_thread, runs_rows_itself,
]  # fmt: skip


async def check(server: CountingServer, models: Models, function: Callable[..., Any]) -> list[Record]:
    """Run it, several rows at once; each record, and their sum, has what the server has counted."""
    evaluation = foreach("prompt", [f"row {number}" for number in range(ROWS)])(function)
    outcome = await run(evaluation, model=models.model, judge=models.judge)
    records = list(outcome.records)
    assert [counts_of(record) for record in records] == [counted_for(server, row) for row in range(ROWS)]
    assert {usage.unknown for record in records for usage in record.usage_by_model} == {0}
    total = sum(server.counted.values(), Counter[str]())
    summary = outcome.summary
    assert (
        summary.requests, summary.input_tokens, summary.output_tokens, summary.cached_tokens,
        summary.cache_write_tokens, summary.reasoning_tokens,
    ) == tuple(total[name] for name in COUNTS if name != "failed")  # fmt: skip
    assert sum(record.input_tokens or 0 for record in records) == total["input"]
    assert {(usage.role, usage.model) for usage in summary.usage_by_model} <= {("model", "asked"), ("judge", "judging")}
    return records


@pytest.mark.parametrize("row", ASYNC_ROWS, ids=lambda row: row.__name__)
async def test_what_a_row_asks_is_counted_to_it(server: CountingServer, models: Models, row: Row) -> None:
    """Of an agent, a judge, a row that fails, a stream, a second attempt, and whatever tasks and threads a row has."""
    records = await check(server, models, row)
    assert all(record.failed == (row in (raises, is_given_up)) for record in records), records[0].traceback
    again = (is_refused, is_refused_as_a_stream, is_given_up)
    assert {record.attempts for record in records} == {2 if row in again else 1}


async def test_what_a_plain_function_asks_is_counted_to_its_row(server: CountingServer, models: Models) -> None:
    """It returns what an async model gives it."""

    def eval_it(prompt: str, model: ChatModel, judge: ChatModel) -> Result:
        return Result(model.generate(prompt), prompt=prompt)

    assert {record.output for record in await check(server, models, eval_it)} == {"Yes, all right"}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_what_is_asked_through_the_blocking_face_is_counted_to_its_row(
    server: CountingServer, models: Models, backend: str
) -> None:
    """Although it is asked in the event loop of another thread; whole and streamed."""
    provider_class, _, _ = CHATS[models.kind]

    def ask_all() -> list[Record]:
        provider: Any = provider_class(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, timeout=30)
        with blocking.entered(provider, backend=backend) as entered:
            model, judge = entered.setup("asked"), entered.setup("judging")

            def eval_it(prompt: str, model: Any, judge: Any) -> Result:
                with judge.model.stream(prompt) as stream:
                    pieces = list(stream)
                return Result([model.model.generate(prompt), *pieces])

            blocked = replace(models, model=model, judge=judge)
            return from_thread.run(check, server, blocked, eval_it)

    assert not any(record.failed for record in await to_thread.run_sync(ask_all))


async def test_each_time_that_an_sdk_sends_a_request_counts(server: CountingServer, models: Models) -> None:
    """The retries of an SDK are requests that failed."""
    async with models.provider.setup("asked", max_retries=3) as handle:
        for row in (is_refused, is_refused_as_a_stream):
            server.start_over()
            records = await check(server, replace(models, model=handle.model), row)
            assert {record.attempts for record in records} == {1}


# ---------------------------------------------------------------- what is known of what was not read to its end


async def test_of_a_stream_that_is_left_what_had_arrived_is_counted(server: CountingServer, models: Models) -> None:
    """Anthropic says at the beginning what the prompt costs, OpenAI's protocol all at the end; some is not known."""

    @foreach("prompt", ["row 0"])
    async def eval_it(prompt: str, model: ChatModel) -> Result:
        async with model.stream(prompt) as stream:
            return Result([await anext(stream), stream.usage])

    (record,) = (await run(eval_it, model=models.model)).records
    (usage,) = record.usage_by_model
    assert (usage.requests, usage.failed, usage.unknown) == (1, 0, 1)
    counted = server.counted[0, "asked"]
    if models.kind == "anthropic":
        assert (usage.input_tokens, usage.cached_tokens) == (counted["input"], counted["cached"])
        assert (record.input_tokens, record.output_tokens) == (counted["input"], 0)
    else:
        assert (record.input_tokens, record.output_tokens, usage.input_tokens) == (None, None, 0)


BEGUN = {"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def chunk(text: str, count: int, finish: str | None = None) -> bytes:
    """A piece, with what has been spent so far."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": 10, "completion_tokens": count, "total_tokens": 10 + count}
    return event({**BEGUN, "choices": [choice], "usage": usage})


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        pytest.param([chunk("a", 1), chunk("b", 2), chunk("", 3, "stop")], (Usage(10, 3), False, True), id="whole"),
        pytest.param([chunk("a", 1), chunk("LEAVE", 2), chunk("c", 3)], (Usage(10, 2), False, False), id="left"),
        pytest.param([chunk("a", 1), chunk("b", 2)], (Usage(10, 2), True, False), id="breaks off"),
        pytest.param([chunk("a", 1), chunk("", 4, "error")], (Usage(10, 4), True, False), id="given up"),
    ],
)
async def test_a_stream_counts_as_far_as_its_server_has_counted(
    anyio_backend: Any, wire: WireServer, pieces: list[bytes], expected: tuple[Usage, bool, bool]
) -> None:
    """Where it says so with each piece, as vLLM can, and in the piece that says that it failed."""
    wire.script(Sent(b"".join(pieces), EVENTS))
    provider: Any = CHATS["compatible"][0](base_url=f"{wire.url}/v1", api_key=KEY, max_retries=0)
    async with provider, provider.setup("m") as handle:
        with counting_requests() as requests:
            try:
                async with handle.model.stream("Hello") as stream:
                    async for text in stream:
                        if text == "LEAVE":
                            break
            except ModelRequestError:
                pass
    (request,) = requests
    assert (request.usage, request.failed, request.is_known) == expected


async def test_a_request_that_is_cancelled_may_have_cost_something(server: CountingServer, models: Models) -> None:
    """One that waits for its place was not sent, and one with a parameter that the SDK does not know neither."""
    async with models.provider.setup("asked", max_concurrency=1) as handle:
        with counting_requests() as requests:
            with pytest.raises(TypeError):
                await handle.model.generate("row 0", no_such_parameter=1)
            async with create_task_group() as tasks:
                tasks.start_soon(handle.model.generate, "row 0: hang")
                await to_thread.run_sync(server.hangs.wait, 30)
                with CancelScope() as waiting:
                    waiting.cancel()
                    await handle.model.generate("row 0")
                assert requests == []
                tasks.cancel_scope.cancel()
            server.may_go_on.set()
    (request,) = requests
    assert (request.usage, request.failed, request.is_known) == (None, False, False)


async def test_two_leases_of_one_spec_are_counted_each_in_its_role(server: CountingServer, models: Models) -> None:
    """They have one model, as the pool has one resource for them."""

    @foreach("n", range(3))
    async def eval_it(n: int, model: Any, judge: Any) -> Result:
        await model.generate(f"row {n}")
        await judge.generate(f"row {n}")
        await judge.generate(f"row {n}")
        return Result(n)

    outcome = await run(eval_it, model=models.model, judge=models.model)
    assert {each.role: each.requests for each in outcome.summary.usage_by_model} == {"model": 3, "judge": 6}
