"""A request that is sent as it is, and read as it came, is what it is by way of the SDK's own method."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import anthropic
import openai
import pytest
from openai.resources.chat import AsyncCompletions
from opentelemetry.trace import NonRecordingSpan, NoOpTracer, NoOpTracerProvider, SpanContext, TraceFlags
from tests.providers.conftest import KEY, SDK_ON
from tests.providers.test_wire import FAILURES, FULL, REPLIES, Bad, Good, broken, each, reply_of, ways
from tests.providers.wire import Reply, Sent, WireServer, answer, event, events

from doteval import AnthropicProvider, ChatModel, Completion, ModelRequestError, OpenAIProvider
from doteval._unbuilt import Unbuilt
from doteval.providers._sdk.plain import Plain, is_of, is_plain, own_method
from doteval.providers.anthropic import AnthropicModel

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]

PARTS = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "data:", "detail": "low"}}]
TOOL = {
    "type": "function",
    "function": {"name": "weather", "strict": True, "parameters": {"type": "object", "properties": {"from": {}}}},
}
CALL = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": PARTS, "name": "me"},
    {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "Hm."},
    {"role": "tool", "tool_call_id": "c", "content": "sunny"},
]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}, "strict": True}}
PARAMS: dict[str, Any] = {
    "temperature": 0,
    "top_p": 0.5,
    "max_completion_tokens": 7,
    "stop": ["a", "b"],
    "seed": 1,
    "n": 1,
    "logprobs": True,
    "logit_bias": {"50256": -100},
    "metadata": {"from": "here"},
    "tools": [TOOL],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "response_format": SCHEMA,
    "user": None,
    "web_search_options": {"user_location": {"type": "approximate", "approximate": {"city": "Rome"}}},
    "prediction": {"type": "content", "content": [{"type": "text", "text": "x"}]},
    "audio": {"format": "mp3", "voice": "alloy"},
    "functions": [{"name": "f", "parameters": {}}],
}


MODELS: dict[str, Any] = {"openai": OpenAIProvider, "anthropic": AnthropicProvider}


@pytest.fixture(scope="module")
async def made(anyio_backend: Any, wire: WireServer) -> AsyncIterator[Mapping[str, Mapping[str, ChatModel]]]:
    """Of each SDK, one that has what it can in JSON, and one that has the SDK's method send all."""
    async with AsyncExitStack() as stack:
        found: dict[str, dict[str, ChatModel]] = {}
        for kind, make in MODELS.items():
            for way in ("plain", "method"):
                provider = make(base_url=f"{wire.url}/v1", api_key=KEY, max_retries=0, timeout=30)
                handle = await (await stack.enter_async_context(provider)).setup("m")
                found.setdefault(kind, {})[way] = handle.model
            client = handle.model.client
            owner = client.chat.completions if kind == "openai" else client.messages
            owner.create = partial(owner.create)  # somebody stands in between
        yield found


@pytest.fixture
def models(made: Mapping[str, Mapping[str, ChatModel]]) -> Mapping[str, ChatModel]:
    """Those of OpenAI."""
    return made["openai"]


async def became(model: ChatModel, streamed: bool) -> object:
    """All that is known of a reply, or of a failure."""
    try:
        reply = await reply_of(model, streamed)
    except ModelRequestError as error:
        told = str(error).partition("(no reply is in it")[0]  # the fields follow, of which the SDK has another order
        fields = ("model", "status", "code", "retryable", "retry_after", "request_id", "retries")
        return told, [getattr(error, name) for name in fields]
    raw = reply.raw if streamed else [reply.raw]
    shown = [(type(each), each.to_dict(warnings=False), getattr(each, "_request_id", None)) for each in raw]
    known = (reply.usage, reply.finish_reason, reply.refusal, reply.reasoning, reply.tool_calls, reply.retries)
    return str(reply), known, shown, reply.message


CASES: dict[str, Good | Bad] = {**REPLIES, **{f"{name}, a failure": bad for name, bad in FAILURES.items()}}


@pytest.fixture
def streamed(request: pytest.FixtureRequest, anyio_backend_name: str) -> bool:
    """Half of the cases are streams on one loop, the others on the other: which it is makes no difference."""
    return bool((request.node.callspec.indices["name"] + (anyio_backend_name == "trio")) % 2)


@pytest.mark.filterwarnings(  # of one that is no gzip, httpx2 leaves its generators to trio
    "ignore:Async generator:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@each(CASES)
async def test_what_comes_of_it_is_the_same(
    made: Mapping[str, Mapping[str, ChatModel]],
    wire: WireServer,
    what: Good | Bad,
    number: int,
    anyio_backend_name: str,
) -> None:
    for kind, streamed in ways(number, anyio_backend_name):
        if isinstance(what, Good):
            sent: Sent | None = (events if streamed else answer)(kind, what.reply)
        else:
            sent = what.sent(kind, streamed)
            if kind == "anthropic" and sent is not None and sent.status >= 300:
                continue  # the SDK reads it
        wire.script(sent)
        plainly = await became(made[kind]["plain"], streamed)
        assert plainly == await became(made[kind]["method"], streamed)
        plain, by_method = wire.asked  # the fields are in another order
        assert plain.partition(b"\r\n\r\n")[0] == by_method.partition(b"\r\n\r\n")[0]


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", None])
async def test_whatever_is_wrong_it_is_a_reply_or_an_error_both_ways(
    made: Mapping[str, Mapping[str, ChatModel]], wire: WireServer, content_type: str | None, anyio_backend: str
) -> None:
    kind = SDK_ON[anyio_backend]
    models = made[kind]
    whole = json.loads(answer(kind, FULL).body)
    texts = [json.dumps(each) for each in broken(whole)]
    for text in [*texts[:: 5 if content_type == "application/json" else 50], "{", "\x00"]:
        wire.script(Sent(text.encode(), content_type))
        plainly, by_method = [await became(models[way], False) for way in ("plain", "method")]
        assert plainly == by_method, text


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_whatever_is_wrong_in_a_stream_it_is_a_reply_or_an_error_both_ways(
    made: Mapping[str, Mapping[str, ChatModel]], wire: WireServer
) -> None:
    """Anthropic's, whose events have classes of their own."""
    whole = [json.loads(line[6:]) for line in events("anthropic", FULL).body.decode().split("\n") if line[:1] == "d"]
    for place, data in enumerate(whole):
        for other in [*broken(data)][::20]:
            told = [event(each, each["type"]) for each in whole]
            told[place] = event(other, data["type"])
            wire.script(Sent(b"".join(told), "text/event-stream"))
            plainly, by_method = [await became(made["anthropic"][way], True) for way in ("plain", "method")]
            assert plainly == by_method, other


@pytest.mark.parametrize("name", [None, *PARAMS])
async def test_what_is_sent_is_the_same(
    models: Mapping[str, ChatModel], wire: WireServer, name: str | None, streamed: bool
) -> None:
    """The SDK's method has nothing to translate in what is JSON; where it has, this fails."""
    params = PARAMS if name is None else {name: PARAMS[name]}
    wire.script((events if streamed else answer)("openai", Reply(("Hi",))))
    for model in models.values():
        if streamed:
            async with model.stream(CONVERSATION, **params) as stream:
                assert [text async for text in stream] == ["Hi"]
        else:
            assert await model.generate(CONVERSATION, **params) == "Hi"
    plainly, by_method = wire.bodies()
    assert plainly == by_method


async def test_what_the_sdk_has_to_see_goes_by_its_method(
    models: Mapping[str, ChatModel], wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not JSON, or is no parameter of the API."""
    wire.script(answer("openai", Reply(("Hi",))))
    for params in ({"timeout": 5.0}, {"extra_body": {"top_k": 1}}, {"stop": ("a",)}, {"user": openai.omit}):
        assert type((await models["plain"].generate("Hello", **params))._raw) is not Unbuilt
    assert type((await models["plain"].generate("Hello"))._raw) is Unbuilt
    with pytest.raises(TypeError, match="tempature"):
        await models["plain"].generate("Hello", tempature=1)


async def test_a_reply_is_the_same_wherever_it_is_taken(models: Mapping[str, ChatModel], wire: WireServer) -> None:
    """Copied or pickled before and after somebody looked at what the SDK makes of it; that is made once."""
    for streamed, make in ((False, answer), (True, events)):
        wire.script(make("openai", FULL))
        reply = await reply_of(models["plain"], streamed)
        before = [copy.deepcopy(reply), pickle.loads(pickle.dumps(reply))]
        raw = reply.raw
        assert reply.raw is raw
        after = [copy.deepcopy(reply), pickle.loads(pickle.dumps(reply))]
        for other in before + after:
            assert (type(other), other, other.raw, repr(other)) == (Completion, reply, raw, repr(reply))


async def test_what_has_come_of_a_stream_can_be_looked_at(models: Mapping[str, ChatModel], wire: WireServer) -> None:
    wire.script(events("openai", Reply(("one ", "two"))))
    async with models["plain"].stream("Hello") as stream:
        await anext(stream)
        begun = stream.so_far.raw
        assert all(isinstance(each, openai.types.chat.ChatCompletionChunk) for each in begun)
        await anext(stream)
        assert (begun[-1].choices[0].delta.content, stream.so_far.raw[-1].choices[0].delta.content) == ("one ", "two")
        assert len(begun) + 1 == len(stream.so_far.raw)


def test_a_method_that_somebody_traces_is_not_the_sdks_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before doteval is imported, or after, by a function or by an object that pretends to be one."""
    own = own_method(AsyncCompletions, "create")
    client = openai.AsyncOpenAI(api_key=KEY)
    assert own is not None
    assert is_of(client.chat.completions.create, own)

    class Pretending:
        def __init__(self, method: Any) -> None:
            self.method = method

        @property
        def __class__(self) -> Any:
            return type(self.method)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.method, name)

    assert not is_of(Pretending(client.chat.completions.create), own)
    monkeypatch.setattr(AsyncCompletions, "create", lambda *_, **__: None)
    assert own_method(AsyncCompletions, "create") is None
    assert not is_of(client.chat.completions.create, own)
    monkeypatch.setattr(AsyncCompletions, "create", Pretending(own))
    assert own_method(AsyncCompletions, "create") is None


def test_plain_is_what_json_has() -> None:
    assert all(map(is_plain, [None, 1, 1.5, "x", True, [], {}, {"a": [{"b": None}]}, Completion("x")]))
    assert not any(map(is_plain, [(), b"x", {1: 2}, [set()], {"a": object()}, openai.omit, Plain({})]))


class Recorded(NonRecordingSpan):
    """A span that keeps what it is told."""

    def __init__(self, name: str, told: list[Any], attributes: Any) -> None:
        super().__init__(SpanContext(1, len(told) + 1, is_remote=False, trace_flags=TraceFlags(1)))
        self.told = told
        told.append((name, dict(attributes or {})))

    def is_recording(self) -> bool:
        return True

    def set_attribute(self, key: str, value: Any) -> None:
        self.told.append((key, value))

    def set_attributes(self, attributes: Any) -> None:
        self.told.append(dict(attributes))

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        self.told.append((name, dict(attributes or {})))

    def end(self, end_time: int | None = None) -> None:
        self.told.append("end")


class Recorder(NoOpTracer):
    def __init__(self, told: list[Any]) -> None:
        self.told = told

    def start_span(self, name: str, *arguments: Any, attributes: Any = None, **more: Any) -> Any:
        return Recorded(name, self.told, attributes)


class Recorders(NoOpTracerProvider):
    def __init__(self, told: list[Any]) -> None:
        self.told = told

    def get_tracer(self, *arguments: Any, **more: Any) -> Any:
        return Recorder(self.told)


@pytest.mark.parametrize("is_global", [False, True])
@pytest.mark.parametrize("streamed", [False, True])
async def test_the_traces_that_the_sdk_makes_itself_are_whole(
    wire: WireServer, streamed: bool, is_global: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks for them into its objects."""
    wire.script((events if streamed else answer)("anthropic", FULL))
    told: list[Any] = []
    traced: Any = {"traces": {"content_mode": "content"}}
    if is_global:
        monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", Recorders(told))
    else:
        traced["tracer_provider"] = Recorders(told)
    async with anthropic.AsyncAnthropic(base_url=wire.url, api_key=KEY, open_telemetry=traced) as client:
        model = AnthropicModel("m", client)
        await reply_of(model, streamed)
        known = dict(each for each in told if type(each) is tuple)
        assert (known["gen_ai.usage.output_tokens"], known["anthropic.message.stop_reason"]) == (50, "refusal")
        assert streamed or "Hi there" in known["gen_ai.output.messages"]
        await reply_of(AnthropicModel("m", client.with_options(open_telemetry=False)), streamed)
        assert told.count("end") == 1


async def test_who_stands_between_the_sdk_and_the_server_is_given_its_objects(wire: WireServer) -> None:
    """What Anthropic's SDK calls a middleware."""
    wire.script(answer("anthropic", FULL))
    asked: list[Any] = []

    async def between(request: Any, call_next: Any) -> Any:
        asked.append(request.cast_to)
        return await call_next(request)

    async with anthropic.AsyncAnthropic(base_url=wire.url, api_key=KEY, middleware=[between]) as client:
        assert await AnthropicModel("m", client).generate("Hello") == "Hi there"
    assert asked == [anthropic.types.Message]
