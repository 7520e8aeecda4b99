"""The chat providers over real HTTP: what they ask, what they return, and what is left when a request is given up."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pydantic
import pytest
from tests.checkpoints import at_every_checkpoint, cancelled_at
from tests.conftest import anyio_backend  # noqa: F401 - every loop
from tests.providers.conftest import Chat

from doteval import ChatModel, Completion, ModelSetupError
from doteval.testing import FakeModel
from doteval.testing._parameters import check_spelling

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]

STALL = {"type": "stream_fault", "kind": "stall", "after_chunks": 4, "stall_seconds": 60}


def body_of_last_request(chat: Chat) -> dict[str, Any]:
    return chat.server.requests()[-1]["body"]


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(60):
        while not condition():
            await anyio.lowlevel.checkpoint()


async def test_generate_returns_the_reply(chat: Chat) -> None:
    """The reply is a text with usage and a finish reason; what the SDK returned is there as well."""
    async with chat.provider() as provider, await provider.setup(chat.spec) as handle:
        assert isinstance(handle.model, ChatModel)
        assert handle.model.name == chat.spec
        reply = await handle.model.generate("Hello")
    assert isinstance(reply, Completion)
    assert chat.spec in reply  # the mock says its model's name
    assert reply.finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.total == reply.usage.input_tokens + reply.usage.output_tokens > 1
    assert reply.raw.model == chat.spec


async def test_a_conversation_reaches_the_server(chat: Chat) -> None:
    """Roles and contents arrive as they were given; Anthropic gets the system messages where it wants them."""
    async with chat.provider() as provider, await provider.setup(chat.spec) as handle:
        await handle.model.generate(
            [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": "Hi"},
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "How are you?"},
            ]
        )
    body = body_of_last_request(chat)
    if chat.kind == "anthropic":
        assert body["system"] == "Be brief.\n\nBe kind."
        assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    else:
        assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "system", "user"]
    assert body["messages"][-1] == {"role": "user", "content": "How are you?"}


async def test_the_nearest_parameter_counts(chat: Chat) -> None:
    """The request's parameters win over those of its setup, and these over the provider's."""
    async with chat.provider(params={"temperature": 0.1, "top_p": 0.1, "max_tokens": 11}) as provider:
        async with await provider.setup(chat.spec, params={"temperature": 0.2, "top_p": 0.2}) as handle:
            await handle.model.generate("Hello", temperature=0.3)
    body = body_of_last_request(chat)
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.3, 0.2, 11)


async def test_what_is_portable_reaches_both(sdk: Chat) -> None:
    """Where the APIs have different words for it, the one of OpenAI's is understood."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}
    async with sdk.provider() as provider, await provider.setup(sdk.spec) as handle:
        await handle.model.generate("Hello", stop="END", max_tokens=9, temperature=0.5, response_format=wanted)
        body = body_of_last_request(sdk)
        assert (body["max_tokens"], body["temperature"]) == (9, 0.5)
        if sdk.kind == "openai":
            assert (body["stop"], body["response_format"]) == ("END", wanted)
            return
        assert body["stop_sequences"] == ["END"]
        assert body["output_config"] == {"format": {"type": "json_schema", "schema": schema}}
        await handle.model.generate("Hello", stop=["A", "B"], output_config={"effort": "low"}, response_format=wanted)
        body = body_of_last_request(sdk)
        assert body["stop_sequences"] == ["A", "B"]
        assert body["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": schema}}
        with pytest.raises(TypeError, match="response_format has to be"):
            await handle.model.generate("Hello", response_format={"type": "json_object"})


class City(pydantic.BaseModel):
    city: str


async def test_a_class_of_pydantic_is_its_schema(sdk: Chat) -> None:
    """Whole or streamed, also where it came with the provider."""
    schema = City.model_json_schema()
    async with sdk.provider(params={"response_format": City}) as provider, await provider.setup(sdk.spec) as handle:
        await handle.model.generate("Hello")
        whole = body_of_last_request(sdk)
        async with handle.model.stream("Hello", response_format=City) as stream:
            async for _ in stream:
                pass
        for body in (whole, body_of_last_request(sdk)):
            if sdk.kind == "openai":
                wanted = {"type": "json_schema", "json_schema": {"name": "City", "schema": schema}}
                assert body["response_format"] == wanted
            else:
                assert body["output_config"] == {"format": {"type": "json_schema", "schema": schema}}


@pytest.mark.parametrize("name", ["stream", "model", "messages"])
async def test_what_is_not_the_callers_to_say_is_refused(sdk: Chat, name: str) -> None:
    """What the handle and the method already say cannot be said otherwise in the parameters."""
    async with sdk.provider() as provider, await provider.setup(sdk.spec) as handle:
        with pytest.raises(TypeError, match=f"'{name}' is not a parameter of a request"):
            await handle.model.generate("Hello", **{name: True})
        with pytest.raises(ModelSetupError, match=f"'{name}' is not a parameter of a request"):
            await provider.setup(sdk.spec, params={name: True})


async def test_half_a_character_is_the_callers_mistake(sdk: Chat) -> None:
    """It cannot be sent; what it is, and where it may come from, is said."""
    async with sdk.provider() as provider, await provider.setup(sdk.spec) as handle:
        for prompt in ("Hello \ud83d", [{"role": "user", "content": "\udcff"}]):
            with pytest.raises(ValueError, match=r"(?s)half a character in it, '.ud.*which cannot be sent\..*replace"):
                await handle.model.generate(prompt)


async def test_an_unknown_parameter_is_the_callers_mistake(sdk: Chat) -> None:
    """It is told which one is meant, and not as of a failed request."""
    async with sdk.provider() as provider, await provider.setup(sdk.spec) as handle:
        told = (
            r"request to '.*' has no keyword argument max_token; did you mean .*max_tokens.*\n.*extra_body={'max_token'"
        )
        with pytest.raises(TypeError, match=told):
            await handle.model.generate("Hello", max_token=1)
        with pytest.raises(TypeError, match=told):
            async with handle.model.stream("Hello", max_token=1):
                pass


async def test_a_misspelt_parameter_is_refused_by_a_fake_as_by_the_sdks(sdk: Chat) -> None:
    """All that an SDK takes is taken, and so is whatever some other model might."""
    fake = FakeModel()
    async with sdk.provider() as provider, await provider.setup(sdk.spec) as handle:
        taken = inspect.signature(handle.model._create()).parameters.keys() - {"model", "messages", "stream"}
    check_spelling([*taken, "top_k", "min_p", "min_tokens", "foo", "repetition_penalty", "best_of"])
    for name, meant in {"temprature": "temperature", "max_token": "max_tokens", "tool": "tools"}.items():
        with pytest.raises(TypeError, match=f"has no keyword argument {name}; did you mean {meant}"):
            await fake.generate("Hello", **{name: 1})
        with pytest.raises(TypeError, match=f"has no keyword argument {name}; did you mean {meant}"):
            async with fake.stream("Hello", **{name: 1}):
                pass
    assert fake.calls == []


async def test_a_stream_gives_the_same_reply_in_pieces(chat: Chat) -> None:
    """Text, usage and finish reason are those that generate() gives for the same prompt."""
    async with chat.provider() as provider, await provider.setup(chat.spec) as handle:
        whole = await handle.model.generate("Hello")
        async with handle.model.stream("Hello") as stream:
            pieces = [text async for text in stream]
    assert len(pieces) > 1
    assert "".join(pieces) == stream.completion == whole
    assert stream.completion.usage == whole.usage
    assert stream.completion.finish_reason == whole.finish_reason


async def test_a_stream_may_be_left_at_any_time(chat: Chat) -> None:
    """Leaving early frees the connection and the place before the server is done, and leaves nothing to warn of."""
    chat.server.script(STALL)
    async with httpx2.AsyncClient(limits=httpx2.Limits(max_connections=1)) as http_client:
        async with chat.provider(http_client=http_client, max_concurrency=1) as provider:
            async with await provider.setup(chat.spec) as handle:
                async with handle.model.stream("Hello") as stream:
                    async for _ in stream:
                        break
                assert await handle.model.generate("Hello")


@pytest.mark.parametrize("turns", range(8))
async def test_a_stream_that_was_read_to_its_end_lets_go_of_its_connection(sdk: Chat, turns: int) -> None:
    """The connection serves another request already when the block is left, and leaving it does not disturb that."""
    the_other_reads, left = anyio.Event(), anyio.Event()

    async def trace(name: str, info: object) -> None:
        if name == "http11.receive_response_headers.started":
            the_other_reads.set()
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()

    async def watch(request: httpx2.Request) -> None:
        request.extensions["trace"] = trace

    limits = httpx2.Limits(max_connections=1)
    async with httpx2.AsyncClient(limits=limits) as http_client:
        async with sdk.provider(http_client=http_client) as provider, await provider.setup(sdk.spec) as handle:

            async def ask() -> None:
                assert await handle.model.generate("Hello")
                left.set()

            async with anyio.create_task_group() as task_group:
                async with handle.model.stream("Hello") as stream:
                    assert [text async for text in stream]
                    http_client.event_hooks = {"request": [watch]}
                    task_group.start_soon(ask)
                    await the_other_reads.wait()
            assert left.is_set()


async def test_a_stream_that_is_never_read_is_ended_as_well(sdk: Chat) -> None:
    """Entering the block sends the request; leaving it without a look ends the request."""
    sdk.server.script(STALL)
    async with httpx2.AsyncClient(limits=httpx2.Limits(max_connections=1)) as http_client:
        async with sdk.provider(http_client=http_client, max_concurrency=1) as provider:
            async with await provider.setup(sdk.spec) as handle:
                async with handle.model.stream("Hello"):
                    pass
                assert await handle.model.generate("Hello")


async def test_an_exception_in_the_block_of_a_stream_stays_what_it_is(sdk: Chat) -> None:
    """Only what the request does is explained: the caller's own JSON error is not taken for the server's."""
    mine = json.JSONDecodeError("mine", "", 0)
    async with sdk.provider() as provider, await provider.setup(sdk.spec) as handle:
        with pytest.raises(json.JSONDecodeError) as caught:
            async with handle.model.stream("Hello") as stream:
                async for _ in stream:
                    raise mine
        assert caught.value is mine


async def test_a_cancelled_stream_frees_its_connection_and_its_place(chat: Chat) -> None:
    """Cancelled while it waits for the next piece; the only connection and the only place are free at once."""
    chat.server.script(STALL)
    async with httpx2.AsyncClient(limits=httpx2.Limits(max_connections=1)) as http_client:
        async with chat.provider(http_client=http_client, max_concurrency=1) as provider:
            async with await provider.setup(chat.spec) as handle:
                arrived = anyio.Event()

                async def read() -> None:
                    async with handle.model.stream("Hello") as stream:
                        async for _ in stream:
                            arrived.set()

                async with anyio.create_task_group() as task_group:
                    task_group.start_soon(read)
                    await arrived.wait()
                    await anyio.wait_all_tasks_blocked()
                    task_group.cancel_scope.cancel()
                assert await handle.model.generate("Hello")


async def test_a_cancelled_request_frees_its_connection_and_its_place(chat: Chat) -> None:
    """Cancelled while it waits for the answer; the only connection and the only place are free at once."""
    chat.server.script({"type": "delay", "seconds": 60})
    sent = anyio.Event()

    async def on_request(request: httpx2.Request) -> None:
        sent.set()

    async with httpx2.AsyncClient(
        limits=httpx2.Limits(max_connections=1), event_hooks={"request": [on_request]}
    ) as http_client:
        async with chat.provider(http_client=http_client, max_concurrency=1) as provider:
            async with await provider.setup(chat.spec) as handle:
                async with anyio.create_task_group() as task_group:
                    task_group.start_soon(handle.model.generate, "Hello")
                    await sent.wait()
                    await anyio.wait_all_tasks_blocked()
                    task_group.cancel_scope.cancel()
                chat.server.reset()
                assert await handle.model.generate("Hello")


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_request_may_be_cancelled_at_every_checkpoint(sdk: Chat, streamed: bool) -> None:
    """Wherever it is on its way, the only connection and the only place are free again."""

    async def ask() -> None:
        if streamed:
            async with model.stream("Hello") as stream:
                async for _ in stream:
                    pass
        else:
            await model.generate("Hello")

    async def trial(k: int) -> bool:
        reached = await cancelled_at(k, ask)
        assert model.limiter.borrowed_tokens == 0
        assert await model.generate("Hello")
        return reached

    async with httpx2.AsyncClient(limits=httpx2.Limits(max_connections=1)) as http_client:
        limits: Any = {"max_concurrency": 1, "max_concurrency_per_key": 1}
        async with sdk.provider(http_client=http_client, **limits) as provider:
            async with await provider.setup(sdk.spec) as handle:
                model = handle.model
                assert await at_every_checkpoint(trial) > 3


async def test_open_streams_count_as_requests(chat: Chat) -> None:
    """With two places, a third request waits until one of two streams is left, whichever task they are in."""
    async with chat.provider(max_concurrency=2) as provider, await provider.setup(chat.spec) as handle:
        replies: list[Completion] = []

        async def ask() -> None:
            replies.append(await handle.model.generate("Hello"))

        async with anyio.create_task_group() as task_group:
            async with handle.model.stream("one"):
                async with handle.model.stream("two"):
                    task_group.start_soon(ask)
                    await until(lambda: handle.model.limiter.statistics().tasks_waiting == 1)
                    assert [request["body"]["stream"] for request in chat.server.requests()] == [True, True]
                    assert replies == []
                await until(lambda: replies != [])


async def test_no_more_requests_at_once_than_allowed(sdk: Chat) -> None:
    """Three of twenty requests are sent together, and the server, which takes its time, never sees more of them."""
    sdk.server.script({"type": "delay", "seconds": 0.02, "times": None})
    sent_together: list[int] = []

    async def on_request(request: httpx2.Request) -> None:
        sent_together.append(handle.model.limiter.borrowed_tokens)

    async with httpx2.AsyncClient(event_hooks={"request": [on_request]}, timeout=30) as http_client:
        async with sdk.provider(max_concurrency=5, http_client=http_client) as provider:
            async with await provider.setup(sdk.spec, max_concurrency=3) as handle:
                async with anyio.create_task_group() as task_group:
                    for number in range(20):
                        task_group.start_soon(handle.model.generate, f"Hello {number}")
    assert max(sent_together) == 3
    requests = sdk.server.requests()
    assert len(requests) == 20
    starts = [(request["started_at"], 1) for request in requests]
    ends = [(request["ended_at"], -1) for request in requests]
    at_once, most = 0, 0
    for _, change in sorted(starts + ends):
        at_once += change
        most = max(most, at_once)
    assert most <= 3  # a busy machine may be done with one before it comes to the next


@pytest.mark.parametrize("max_concurrency", [0, -1])
async def test_a_limit_below_one_is_refused(sdk: Chat, max_concurrency: int) -> None:
    """It would let nothing through."""
    with pytest.raises(ValueError, match="max_concurrency must be a whole number of at least 1"):
        sdk.provider(max_concurrency=max_concurrency)
