"""One fact, one outcome: what servers answer, as bytes over real HTTP, through both SDKs, whole and streamed.

Each fact is met by both SDKs, whole and as a stream, each of the four ways on one of the loops. Nothing but a
`ModelRequestError` ever comes out of a failure, it repeats what the server said, and no part of it holds a key.
"""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import astuple, dataclass, field
from typing import Any

import httpx2
import pytest
from tests.providers.conftest import CHATS, KEY
from tests.providers.parts import is_no_circle, parts_of
from tests.providers.wire import EVENTS, JSON, Reply, Sent, WireServer, answer, event, events

from doteval import ChatModel, Completion, ModelRequestError, ToolCall, Usage
from doteval._printed import printable

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]

KINDS = ("openai", "anthropic")
USAGE = Usage(5, 3)


@pytest.fixture(scope="module")
async def models(anyio_backend: Any, wire: WireServer) -> AsyncIterator[Mapping[str, ChatModel]]:
    """A model of each SDK on the server, made once: making a client costs more than asking."""
    async with AsyncExitStack() as stack:
        made = {}
        for kind in KINDS:
            provider_class, _, spec = CHATS[kind]
            provider = provider_class(base_url=f"{wire.url}/v1", api_key=KEY, max_retries=0, timeout=30)
            handle = await (await stack.enter_async_context(provider)).setup(spec)
            made[kind] = handle.model
        yield made


async def reply_of(model: ChatModel, streamed: bool) -> Completion:
    if not streamed:
        return await model.generate("Hello")
    async with model.stream("Hello") as stream:
        pieces = [piece async for piece in stream]
    assert "".join(pieces) == stream.completion
    return stream.completion


def each(table: Mapping[str, Any]) -> Any:
    """Every entry of a table, and its number."""
    cases = [pytest.param(what, number, id=name) for number, (name, what) in enumerate(table.items())]
    return pytest.mark.parametrize(("what", "number"), cases)


def ways(number: int, loop: str) -> Iterator[tuple[str, bool]]:
    """An SDK, and whether it streams: each of both on one of the loops, the other two on the other loop."""
    for at, kind in enumerate(KINDS):
        yield kind, bool((number + at + (loop == "trio")) % 2)


EVERY_WAY = [(kind, streamed) for kind in KINDS for streamed in (False, True)]


# ---------------------------------------------------------------- replies


def ends(openai: str | None, anthropic: str | None) -> dict[str, str | None]:
    return {"openai": openai, "anthropic": anthropic}


def counts(openai: Any, anthropic: Any) -> dict[str, Any]:
    return {"openai": openai, "anthropic": anthropic}


@dataclass(frozen=True)
class Good:
    """A reply, and what is to come of it."""

    reply: Reply
    text: str = "Hi there"
    finish: str | None = "stop"
    rest: Mapping[str, Any] = field(default_factory=dict)
    usage: Usage | None = USAGE


HI = ("Hi ", "there")
ROME_JSON = '{"city": "Rome"}'
WEATHER = ToolCall("call-1", "weather", ROME_JSON)
TIME = ToolCall("call-2", "time", "{}")
ROME = ("call-1", "weather", ('{"city"', ': "Ro', 'me"}'))
TOOLS = ends("tool_calls", "tool_use")
PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "Hi "}]

REPLIES: dict[str, Good] = {
    "stop": Good(Reply(HI)),
    "stop sequence": Good(Reply(HI, finish=ends("stop", "stop_sequence"))),
    "another word for stop": Good(Reply(HI, finish=ends("eos", "end_turn"))),
    "length": Good(Reply(HI, finish=ends("length", "max_tokens")), finish="length"),
    "length of the model": Good(
        Reply(HI, finish=ends("model_length", "model_context_window_exceeded")), finish="length"
    ),
    "content filter": Good(Reply(HI, finish=ends("content_filter", "content_filter")), finish="content_filter"),
    "a word of their own": Good(Reply(HI, finish=ends("pause_turn", "pause_turn")), finish="pause_turn"),
    "empty": Good(
        Reply((), usage=counts({"prompt_tokens": 5, "total_tokens": 5}, {"input_tokens": 5})), "", usage=Usage(5, 0)
    ),
    "refusal": Good(
        Reply(refusal=("I can", "not."), finish=ends("stop", "refusal")), "", "refusal", {"refusal": "I cannot."}
    ),
    "refusal after some text": Good(
        Reply(HI, refusal=("No.",), finish=ends("stop", "refusal")), "Hi there", "refusal", {"refusal": "No."}
    ),
    "reasoning": Good(Reply(HI, reasoning=("Let me ", "think.")), rest={"reasoning": "Let me think."}),
    "only reasoning": Good(
        Reply(reasoning=("Hm.",), finish=ends("length", "max_tokens")), "", "length", {"reasoning": "Hm."}
    ),
    "reasoning under another name": Good(
        Reply(HI, ("Hm.",), openai=({"reasoning": "Hm."}, {"content": "Hi "}, {"content": "there"})),
        rest={"reasoning": "Hm."},
    ),
    "content in parts": Good(
        Reply(HI, ("Hm.",), openai=({"content": PARTS}, {"content": [{"type": "text", "text": "there"}]})),
        rest={"reasoning": "Hm."},
    ),
    "content in parts with what is no text": Good(
        Reply(HI, openai=({"content": [{"type": "reference", "ids": [1]}, {"type": "text", "text": "Hi there"}]},))
    ),
    "a tool call": Good(Reply(tools=[ROME], finish=TOOLS), "", "tool_calls", {"tool_calls": (WEATHER,)}),
    "text and tool calls": Good(
        Reply(HI, tools=[ROME, ("call-2", "time", ("{}",))], finish=TOOLS),
        "Hi there",
        "tool_calls",
        {"tool_calls": (WEATHER, TIME)},
    ),
    "a tool call without arguments": Good(
        Reply(tools=[("call-2", "time", ("{}",))], finish=TOOLS), "", "tool_calls", {"tool_calls": (TIME,)}
    ),
    "tool calls that are not numbered": Good(
        Reply(
            tools=[ROME, ("call-2", "time", ("{}",))],
            finish=TOOLS,
            openai=(
                {
                    "tool_calls": [
                        {"index": 0, "id": "call-1", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
                    ]
                },
                {"tool_calls": [{"index": 0, "id": "call-2", "function": {"name": "time", "arguments": "{}"}}]},
            ),
        ),
        "",
        "tool_calls",
        {"tool_calls": (WEATHER, TIME)},
    ),
    "all counts": Good(
        Reply(
            HI,
            usage=counts(
                {
                    "prompt_tokens": 100,
                    "completion_tokens": 50,
                    "total_tokens": 150,
                    "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
                    "completion_tokens_details": {"reasoning_tokens": 40},
                },
                {
                    "input_tokens": 10,
                    "cache_read_input_tokens": 60,
                    "cache_creation_input_tokens": 30,
                    "output_tokens": 50,
                    "output_tokens_details": {"thinking_tokens": 40},
                },
            ),
        ),
        usage=Usage(100, 50, 60, 30, 40),
    ),
    "reasoning counted apart": Good(
        Reply(
            HI,
            usage=counts(
                {
                    "prompt_tokens": 5,
                    "completion_tokens": 3,
                    "total_tokens": 18,
                    "completion_tokens_details": {"reasoning_tokens": 10},
                },
                {"input_tokens": 5, "output_tokens": 13, "output_tokens_details": {"thinking_tokens": 10}},
            ),
        ),
        usage=Usage(5, 13, reasoning_tokens=10),
    ),
    "reasoning in the total only": Good(  # Gemini's servers
        Reply(
            HI,
            usage=counts(
                {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 18},
                {"input_tokens": 5, "output_tokens": 13, "output_tokens_details": {"thinking_tokens": 10}},
            ),
        ),
        usage=Usage(5, 13, reasoning_tokens=10),
    ),
    "a cache counted apart": Good(
        Reply(
            HI,
            usage=counts(
                {
                    "prompt_tokens": 5,
                    "completion_tokens": 3,
                    "total_tokens": 18,
                    "prompt_tokens_details": {"cached_tokens": 10},
                },
                {"input_tokens": 5, "output_tokens": 3, "cache_read_input_tokens": 10},
            ),
        ),
        usage=Usage(15, 3, 10),
    ),
    "a total that is odd": Good(
        Reply(
            HI,
            usage=counts(
                {
                    "prompt_tokens": 5,
                    "completion_tokens": 3,
                    "total_tokens": 99,
                    "completion_tokens_details": {"reasoning_tokens": 0},
                },
                {"input_tokens": 5, "output_tokens": 3},
            ),
        ),
    ),
    "a total that is too small": Good(
        Reply(
            HI,
            usage=counts(
                {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 3}, {"input_tokens": 5, "output_tokens": 3}
            ),
        ),
    ),
    "no count of the reply": Good(
        Reply(HI, usage=counts({"prompt_tokens": 5, "total_tokens": 5}, {"input_tokens": 5})), usage=Usage(5, 0)
    ),
    "no count of the prompt": Good(
        Reply(HI, usage=counts({"completion_tokens": 3}, {"output_tokens": 3})), usage=Usage(0, 3)
    ),
    "a count of null": Good(
        Reply(
            HI,
            usage=counts({"prompt_tokens": 5, "completion_tokens": None}, {"input_tokens": 5, "output_tokens": None}),
        ),
        usage=Usage(5, 0),
    ),
    "details of null": Good(
        Reply(
            HI,
            usage=counts(
                {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": None},
                {"input_tokens": 5, "output_tokens": 3, "cache_read_input_tokens": None},
            ),
        )
    ),
    "counts that are none": Good(
        Reply(
            HI,
            usage=counts(
                {"prompt_tokens": "five", "completion_tokens": -1}, {"input_tokens": "five", "output_tokens": -1}
            ),
        ),
        usage=None,
    ),
    "counts with a point or as a text": Good(
        Reply(
            HI,
            usage=counts(
                {"prompt_tokens": 5.0, "completion_tokens": "3", "total_tokens": "8.0"},
                {"input_tokens": 5.0, "output_tokens": "3"},
            ),
        ),
    ),
    "one count that is none": Good(
        Reply(
            HI,
            usage=counts({"prompt_tokens": 5.5, "completion_tokens": 3}, {"input_tokens": 5.5, "output_tokens": 3}),
        ),
        usage=None,
    ),
    "empty counts": Good(Reply(HI, usage=counts({}, {})), usage=None),
    "no counts": Good(Reply(HI, usage=counts(None, None)), usage=None),
}


@each(REPLIES)
async def test_a_reply_is_the_same_whoever_gives_it(
    models: Mapping[str, ChatModel], wire: WireServer, what: Good, number: int, anyio_backend_name: str
) -> None:
    """Text, finish reason, refusal, reasoning, tool calls and counts, in the same words."""
    for kind, streamed in ways(number, anyio_backend_name):
        wire.script((events if streamed else answer)(kind, what.reply))
        reply = await reply_of(models[kind], streamed)
        assert (reply, kind) == (what.text, kind)
        assert reply.finish_reason == what.finish
        assert reply.usage == what.usage
        expected = {"refusal": None, "reasoning": None, "tool_calls": (), **what.rest}
        assert {name: getattr(reply, name) for name in expected} == expected
        assert pickle.loads(pickle.dumps(reply.usage)) == what.usage


# ---------------------------------------------------------------- failures


@dataclass(frozen=True)
class Bad:
    """What is no reply, and what is to be told of it.

    Args:
        openai: What is sent in OpenAI's words; `None` breaks the connection off.
        anthropic: In Anthropic's.
        streamed: What is sent for a stream, where that is something else.
        told: What the error says.
        rest: Its fields.
    """

    openai: Sent | None
    anthropic: Sent | None
    streamed: Mapping[str, Sent] | None
    told: tuple[str, ...]
    rest: Mapping[str, Any]

    def sent(self, kind: str, streamed: bool) -> Sent | None:
        if streamed and self.streamed is not None:
            return self.streamed[kind]
        return self.openai if kind == "openai" else self.anthropic


def same(sent: Sent | None, *told: str, streamed: Sent | None = None, **rest: Any) -> Bad:
    """The same bytes for all."""
    return Bad(sent, sent, None if streamed is None else dict.fromkeys(KINDS, streamed), told, rest)


WORDS = f"So says the server to {KEY}."
SHOWN = "So says the server to ***."


def error_body(kind: str, name: str, words: str = WORDS) -> dict[str, Any]:
    error = {"type": name, "message": words}
    return {"error": error} if kind == "openai" else {"type": "error", "error": error}


def refused(
    number: int,
    *told: str,
    name: str = "some_error",
    words: str = WORDS,
    headers: Mapping[str, str] | None = None,
    **rest: Any,
) -> Bad:
    """An error status, with a body as the SDK's own server writes it."""
    headers = {"x-echo": KEY, **(headers or {})}
    sent = [Sent(json.dumps(error_body(kind, name, words)).encode(), JSON, number, headers) for kind in KINDS]
    told = (SHOWN, *told) if words is WORDS else told
    return Bad(*sent, None, told, {"status": number, "code": name, **rest})


def told_in(name: str, *told: str, **rest: Any) -> Bad:
    """An error in an answer of status 200: whole, and after the first pieces of a stream."""
    whole = {kind: Sent(json.dumps(error_body(kind, name)).encode()) for kind in KINDS}
    streamed = {
        kind: Sent(
            events(kind, Reply(HI)).body[:200].rpartition(b"\n\n")[0]
            + b"\n\n"
            + event(error_body(kind, name), None if kind == "openai" else "error"),
            EVENTS,
        )
        for kind in KINDS
    }
    return Bad(*whole.values(), streamed, (SHOWN, *told), {"code": name, **rest})


def replied(reply: Reply, *told: str, **rest: Any) -> Bad:
    """A reply that is none."""
    return Bad(
        answer("openai", reply), answer("anthropic", reply), {kind: events(kind, reply) for kind in KINDS}, told, rest
    )


def cut(at: int, **how: Any) -> Bad:
    """A good reply that breaks off."""
    whole = {kind: answer(kind, Reply(HI)) for kind in KINDS}
    parts = {kind: events(kind, Reply(HI)) for kind in KINDS}
    return Bad(
        *(Sent(whole[kind].body[:at], JSON, **how) for kind in KINDS),
        {kind: Sent(parts[kind].body[:at], EVENTS, **how) for kind in KINDS},
        (),
        {"status": None, "retryable": True},
    )


PAGE = (
    f"<html><head><title>502 Bad Gateway</title><style>h1 {{}}</style></head><body>Sorry, {KEY}</body></html>".encode()
)
NO_API = "the answer is not what the API describes"

FAILURES: dict[str, Bad] = {
    "400": refused(400, "(400: ", retryable=False),
    "401": refused(401, "the API key was refused", retryable=False),
    "400 with a key where its words are cut": refused(400, "x***…", words=f"{'x' * 488}{KEY}", retryable=False),
    "400 with what a terminal obeys": refused(
        400, r"(400: \x1b]0;pwned\x07\x1b[2J red\u202e)", words="\x1b]0;pwned\x07\x1b[2J red\u202e", retryable=False
    ),
    "500 with a code without an end": refused(500, name="\x1b" * 300_000, code="\\x1b" * 199 + "…", retryable=True),
    "402": refused(402, retryable=False),
    "403": refused(403, "does not allow this", retryable=False),
    "404": refused(404, "does not know the model", retryable=False),
    "408": refused(408, retryable=True),
    "409": refused(409, retryable=True),
    "413": refused(413, retryable=False),
    "422": refused(422, retryable=False),
    "429": refused(429, "Wait 7 s", headers={"retry-after": "7"}, retryable=True, retry_after=7.0),
    "429 in milliseconds": refused(429, headers={"retry-after-ms": "1500"}, retryable=True, retry_after=1.5),
    "429 that never ends": refused(429, "no quota left", name="insufficient_quota", retryable=False),
    "429 without a time": refused(429, headers={"retry-after": "soon"}, retryable=True, retry_after=None),
    "500": refused(500, "the server failed", retryable=True),
    "503": refused(503, "the server failed", headers={"retry-after": "1"}, retryable=True, retry_after=1.0),
    "529": refused(529, "the server failed", name="overloaded_error", retryable=True),
    "500 that says to stop": refused(500, headers={"x-should-retry": "false"}, retryable=False),
    "502 with a page": same(
        Sent(PAGE, "text/html", 502), "(502: 502 Bad Gateway Sorry, ***)", status=502, code=None, retryable=True
    ),
    "401 with a text": same(Sent(WORDS.encode(), "text/plain", 401), f"(401: {SHOWN})", status=401),
    "404 with nothing": same(Sent(b"", None, 404), "(404", status=404, retryable=False),
    "500 with half of it": same(Sent(b'{"error": {"mess', JSON, 500), "(500: ", status=500, retryable=True),
    "500 with null": same(Sent(b"null", JSON, 500), "(500", status=500, retryable=True),
    "400 in a list": same(
        Sent(json.dumps([{"error": {"code": 400, "message": WORDS, "status": "INVALID"}}]).encode(), JSON, 400),
        SHOWN,
        status=400,
        code="400",
    ),
    "400 with a detail": same(Sent(json.dumps({"detail": WORDS}).encode(), JSON, 400), SHOWN, status=400),
    "400 with details": same(Sent(json.dumps({"detail": [{"msg": WORDS}]}).encode(), JSON, 400), SHOWN, status=400),
    "302 to nowhere": same(Sent(b"", None, 302), "points elsewhere", status=302, retryable=False),
    "error in a good answer": told_in("some_error", "the server reported an error", status=None, retryable=True),
    "overload in a good answer": told_in("overloaded_error", status=529, retryable=True),
    "a wrong request in a good answer": told_in("invalid_request_error", status=400, retryable=False),
    "finish reason error": replied(Reply(HI, finish=ends("error", "error")), "finish reason 'error'", retryable=True),
    "finish reason abort": replied(Reply(HI, finish=ends("abort", "abort")), "finish reason 'abort'", retryable=True),
    "finish reason that is none": replied(Reply(HI, finish=ends(7, 7)), NO_API),  # type: ignore[arg-type]
    "a page": same(Sent(PAGE, "text/html"), NO_API, "502 Bad Gateway Sorry, ***", retryable=False),
    "a page as JSON": same(Sent(PAGE, JSON), NO_API, "Sorry, ***"),
    "a page as events": same(Sent(PAGE, EVENTS), NO_API, "Sorry, ***"),
    "an error as JSON": same(Sent(json.dumps({"error": WORDS}).encode(), JSON), SHOWN),
    "an error as text": same(Sent(json.dumps({"error": WORDS}).encode(), "text/plain"), SHOWN),
    "an error as nothing": same(Sent(json.dumps({"message": WORDS}).encode(), None), SHOWN),
    "empty": same(Sent(b"", JSON), retryable=True),
    "empty without a type": same(Sent(b"", None)),
    "empty events": same(Sent(b"\n\n", EVENTS)),
    "an object": same(Sent(b"{}"), NO_API, streamed=Sent(event({}, "message_start"), EVENTS)),
    "a list": same(Sent(b"[1]"), NO_API, streamed=Sent(event([1], "message_start"), EVENTS)),
    "null": same(Sent(b"null"), NO_API, streamed=Sent(event(None, "message_start"), EVENTS)),
    "a text": same(Sent(b'"no"'), NO_API, streamed=Sent(event('"no"', "message_start"), EVENTS)),
    "a number": same(Sent(b"7"), NO_API, streamed=Sent(event(7, "message_start"), EVENTS)),
    "no JSON": same(Sent(b"{", JSON), NO_API, streamed=Sent(event(f"{{{KEY}", "message_start"), EVENTS)),
    "no text": same(
        Sent(b"\xff\xfe", JSON), NO_API, streamed=Sent(b"event: message_start\ndata: \xff\xfe\n\n", EVENTS)
    ),
    "wrong types": same(
        Sent(b'{"choices": 7, "content": 7, "stop_reason": "end_turn"}'),
        NO_API,
        streamed=Sent(event({"type": "message_delta", "choices": 7, "delta": 7}, "message_delta"), EVENTS),
    ),
    "nothing to choose from": same(
        Sent(b'{"choices": [], "content": null}'),
        NO_API,
        streamed=Sent(event({"type": "message_start", "choices": [7]}, "message_start"), EVENTS),
    ),
    "a message of null": same(
        Sent(b'{"choices": [{"message": null}], "content": null}'),
        NO_API,
        streamed=Sent(event({"type": "message_start", "choices": [None], "message": 7}, "content_block_delta"), EVENTS),
    ),
    "no gzip": same(Sent(b"not at all", JSON, headers={"content-encoding": "gzip"}), NO_API, status=None),
    "cut off": cut(120, promised=50),
    "cut off and well closed": cut(120),
    "reset": cut(120, promised=50, breaks=True),
    "dropped": same(None, "was lost", status=None, retryable=True),
    "bad HTTP": same(Sent(b"", None, 7), "was lost", status=None),
}


OF_THE_CONNECTION = ("no gzip", "cut off", "cut off and well closed", "reset", "dropped", "bad HTTP")
"""Failures of which the loop tells, too."""


@each(FAILURES)
async def test_a_failure_is_the_same_whoever_fails(
    models: Mapping[str, ChatModel], wire: WireServer, what: Bad, number: int, anyio_backend_name: str
) -> None:
    """A `ModelRequestError`, with the server's own words, without the key, which may be copied and sent elsewhere."""
    is_everywhere = what in [FAILURES[name] for name in OF_THE_CONNECTION]
    for kind, streamed in EVERY_WAY if is_everywhere else ways(number, anyio_backend_name):
        wire.script(what.sent(kind, streamed))
        with pytest.raises(ModelRequestError) as caught:
            await reply_of(models[kind], streamed)
        error = caught.value
        for words in what.told:
            assert words in str(error), kind
        assert {name: getattr(error, name) for name in what.rest} == what.rest
        assert "AttributeError" not in str(error)
        assert "TypeError" not in str(error)
        if "was lost" not in str(error) and "DecodingError" not in str(error):  # where the SDK has no response to show
            assert error.request_id == "req-1"
        shown = [place for place, text in parts_of(error) if KEY[:8] in text]
        assert shown == []
        assert is_no_circle(error)
        for text in (str(error), str(error.__cause__), error.problem, error.code or "", error.request_id or ""):
            assert printable(text) == text
        assert len(str(error)) < 5_000
        for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
            assert (type(twin), str(twin), vars(twin)) == (ModelRequestError, str(error), vars(error))


ANYTHING: tuple[Any, ...] = (None, 7, "x", "", True, [], [7], {}, {"x": None})
FULL = Reply(HI, ("Hm.",), ("No.",), [ROME], ends("stop", "refusal"), REPLIES["all counts"].reply.usage)


def broken(value: Any) -> Iterator[Any]:
    """A JSON value in which one part, wherever it is, is something else or missing; in all ways."""
    yield from ANYTHING
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for place, part in list(items):
        for other in broken(part):
            twin = copy.copy(value)
            twin[place] = other
            yield twin
        twin = copy.copy(value)
        del twin[place]
        yield twin


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_whatever_is_wrong_in_an_answer_it_is_a_reply_or_one_error(
    kind: str, streamed: bool, anyio_backend_name: str
) -> None:
    """Each part of a reply, with each other value in its place: never an exception of another kind.

    All of it takes half a minute, so it is every third answer and every eleventh stream.
    """
    sent: list[bytes] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": EVENTS if streamed else JSON}, content=sent.pop())

    if streamed:
        parts = [
            (lines, json.loads(lines[-1].removeprefix("data: ")))
            for text in events(kind, FULL).body.decode().strip().split("\n\n")
            if (lines := text.split("\n"))[-1] != "data: [DONE]"
        ]
        names = [f"{lines[0]}\n" if len(lines) > 1 else "" for lines, _ in parts]
        bodies = [
            "".join(
                f"{name}data: {json.dumps(other if index == at else part)}\n\n"
                for index, (name, (_, part)) in enumerate(zip(names, parts, strict=True))
            ).encode()
            for at, (_, whole) in enumerate(parts)
            for other in broken(whole)
        ]
    else:
        bodies = [json.dumps(other).encode() for other in broken(json.loads(answer(kind, FULL).body))]
    bodies = bodies[:: (11 if streamed else 3) * (1 if anyio_backend_name == "asyncio" else 7)]
    replies = 0
    provider_class, _, spec = CHATS[kind]
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(respond)) as http_client:
        async with provider_class(base_url="http://host/v1", api_key=KEY, http_client=http_client) as provider:
            async with await provider.setup(spec) as handle:
                for body in bodies:
                    sent.append(body)
                    try:
                        reply = await reply_of(handle.model, streamed)
                    except ModelRequestError:
                        continue
                    replies += 1
                    assert reply.usage is None or all(type(count) is int for count in astuple(reply.usage))
                    assert all(type(text) is str for call in reply.tool_calls for text in astuple(call)), body
                    assert type(reply.refusal) in (str, type(None)), body
                    assert type(reply.reasoning) in (str, type(None)), body
                    assert type(reply.finish_reason) in (str, type(None)), body
    assert 0 < replies < len(bodies)


async def test_no_finish_reason_is_none_in_a_whole_reply_and_an_error_in_a_stream(
    models: Mapping[str, ChatModel], wire: WireServer
) -> None:
    """A whole reply is whole anyway; a stream may have broken off."""
    for kind in KINDS:
        reply = Reply(HI, finish=ends(None, None))
        wire.script(answer(kind, reply))
        assert (await reply_of(models[kind], False)).finish_reason is None
        wire.script(events(kind, reply))
        with pytest.raises(ModelRequestError, match="no finish reason came") as caught:
            await reply_of(models[kind], True)
        assert caught.value.retryable


async def test_an_empty_finish_reason_is_none(models: Mapping[str, ChatModel], wire: WireServer) -> None:
    """Some servers have one in every piece; a tool call is not torn apart by it."""
    whole = events("openai", Reply(tools=[ROME], finish=TOOLS))
    wire.script(Sent(whole.body.replace(b'"finish_reason": null', b'"finish_reason": ""'), EVENTS))
    reply = await reply_of(models["openai"], True)
    assert (reply.finish_reason, reply.tool_calls) == ("tool_calls", (WEATHER,))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_retries_are_counted(wire: WireServer, kind: str, streamed: bool) -> None:
    """Those of the SDK, with the reply as with the error that came after all."""
    busy = Sent(b"{}", JSON, 503, {"retry-after-ms": "1"})
    provider_class, _, spec = CHATS[kind]
    async with provider_class(base_url=f"{wire.url}/v1", api_key=KEY, max_retries=2) as provider:
        async with await provider.setup(spec) as handle:
            wire.script(busy, busy, (events if streamed else answer)(kind, Reply(HI)))
            reply = await reply_of(handle.model, streamed)
            assert (reply.retries, len(wire.asked)) == (2, 3)
            assert repr(reply).endswith(", retries=2)")
            wire.script(busy)
            with pytest.raises(ModelRequestError, match="failed after 2 retries: the server failed") as caught:
                await reply_of(handle.model, streamed)
            assert caught.value.retries == 2
            wire.script(busy, Sent(b"", JSON))
            with pytest.raises(ModelRequestError, match="failed after 1 retry: ") as caught:
                await reply_of(handle.model, streamed)
            assert caught.value.retries == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_is_a_message(models: Mapping[str, ChatModel], wire: WireServer, kind: str) -> None:
    """What an SDK returned goes into the next conversation as it is: an answer with a tool call, to be continued."""
    wire.script(answer(kind, Reply(HI, tools=[ROME], finish=TOOLS)))
    first = await models[kind].generate("Hello")
    message = first.raw.choices[0].message if kind == "openai" else first.raw
    await models[kind].generate([{"role": "user", "content": "Hello"}, message, {"role": "user", "content": "And?"}])
    sent = wire.bodies()[-1]["messages"][1]
    if kind == "openai":
        function = {"name": "weather", "arguments": ROME_JSON}
        calls = [{"id": "call-1", "type": "function", "function": function}]
        assert sent == {"role": "assistant", "content": "Hi there", "tool_calls": calls}
    else:
        block = {"type": "tool_use", "id": "call-1", "name": "weather", "input": {"city": "Rome"}}
        assert sent == {"role": "assistant", "content": [{"type": "text", "text": "Hi there"}, block]}


def test_there_are_enough_cases() -> None:
    """A table that is not read is not a test."""
    assert 4 * (len(REPLIES) + len(FAILURES)) > 300
