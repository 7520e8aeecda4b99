"""What a model takes and returns, without any model."""

from __future__ import annotations

import copy
import pickle
from collections.abc import AsyncGenerator, Sequence
from contextlib import nullcontext

import anyio
import httpx2
import pytest
from tests.providers.conftest import CHATS, KEY
from tests.providers.wire import Reply, events

from doteval import Completion, CompletionStream, ModelRequestError, ToolCall, Usage, messages_of

WHOLE = Completion(
    "Hi there",
    usage=Usage(3, 4, reasoning_tokens=2),
    finish_reason="tool_calls",
    refusal="No.",
    reasoning="Hm.",
    tool_calls=[ToolCall("1", "time", '{"zone": 1}')],
    retries=1,
    raw={"id": 1},
)


def test_a_completion_is_its_text() -> None:
    """It compares, hashes, formats and slices as the string it is."""
    assert WHOLE == "Hi there"
    assert {WHOLE: 1}["Hi there"] == 1
    assert f"{WHOLE}!" == "Hi there!"
    assert WHOLE[:2] == "Hi"
    assert WHOLE.usage is not None
    assert WHOLE.usage.total == 7


def test_a_completion_shows_what_is_known_of_it() -> None:
    """The repr has what there is but for the reasoning; what the SDK returned would only be noise."""
    assert repr(WHOLE) == (
        "Completion('Hi there', usage=Usage(input_tokens=3, output_tokens=4, reasoning_tokens=2), "
        "finish_reason='tool_calls', refusal='No.', "
        "tool_calls=(ToolCall(id='1', name='time', arguments='{\"zone\": 1}'),), retries=1)"
    )
    assert repr(Completion("Hi")) == "Completion('Hi')"


def test_the_arguments_of_a_tool_call_are_what_the_model_wrote() -> None:
    """Parsed when asked for; that they are no JSON is the model's mistake, to be seen."""
    assert WHOLE.tool_calls[0].parsed() == {"zone": 1}
    assert ToolCall("1", "time", "").parsed() == {}
    with pytest.raises(ValueError, match="Expecting"):
        ToolCall("1", "time", "{zone").parsed()


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda whole: pickle.loads(pickle.dumps(whole))])
def test_a_completion_survives_copying_and_pickling(again) -> None:
    """What comes back is the same in all of its parts."""
    twin = again(WHOLE)
    assert type(twin) is Completion
    assert twin == WHOLE
    assert [getattr(twin, name) for name in Completion.__slots__] == [
        getattr(WHOLE, name) for name in Completion.__slots__
    ]


def test_a_text_becomes_a_user_message() -> None:
    """So does a completion that is asked about."""
    assert messages_of("Hello") == [{"role": "user", "content": "Hello"}]
    assert type(messages_of(WHOLE)[0]["content"]) is str


def test_a_conversation_is_copied() -> None:
    """Changing what is sent does not change what the caller gave."""
    mine = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    messages = messages_of(tuple(mine))
    assert messages == mine
    messages[0]["content"] = "Be long."
    assert mine[0]["content"] == "Be brief."


@pytest.mark.parametrize(
    ("prompt", "problem"),
    [
        (None, "not a NoneType"),
        (b"Hello", "not a bytes"),
        ({"role": "user", "content": "Hello"}, "not a dict"),
        (["Hello"], "message 0 of the prompt is a str"),
        ([{"content": "Hello"}], "message 0 of the prompt has no 'role'"),
        ([{"role": "user", "content": "Hi"}, {"role": "user"}], "message 1 of the prompt, of role 'user', has no"),
    ],
)
def test_what_is_no_prompt_is_refused_with_a_reason(prompt, problem: str) -> None:
    """The message says what is wrong, and in which message of the conversation."""
    with pytest.raises(TypeError, match=problem):
        messages_of(prompt)


@pytest.mark.parametrize("name", ["model", "messages", "stream"])
def test_what_the_handle_stands_for_is_no_parameter(name: str) -> None:
    """Whoever writes a model refuses what the others do."""
    with pytest.raises(TypeError, match=f"'{name}' is not a parameter of a request"):
        messages_of("Hello", {name: 1})


def test_a_prompt_without_messages_is_refused() -> None:
    """An empty conversation asks nothing."""
    with pytest.raises(ValueError, match="at least one message"):
        messages_of([])


async def arriving(pieces: Sequence[Completion]) -> AsyncGenerator[Completion]:
    for piece in pieces:
        yield piece


@pytest.mark.anyio
async def test_a_stream_adds_up_to_a_completion() -> None:
    """Texts are joined, counts of usage only grow, and pieces without text are not handed out."""
    stream = CompletionStream(
        "m",
        arriving(
            [
                Completion(usage=Usage(3, 1, cached_tokens=2), reasoning="H", raw=1),
                Completion("Hi ", reasoning="m.", raw=2),
                Completion("there", refusal="N", tool_calls=WHOLE.tool_calls, raw=3),
                Completion(usage=Usage(0, 4), refusal="o.", finish_reason="stop", raw=4),
            ]
        ),
        retries=2,
    )
    assert [text async for text in stream] == ["Hi ", "there"]
    assert stream.completion == "Hi there"
    whole = stream.completion
    assert whole.usage == Usage(3, 4, cached_tokens=2)
    assert (whole.finish_reason, whole.refusal, whole.reasoning) == ("stop", "No.", "Hm.")
    assert (whole.tool_calls, whole.retries) == (WHOLE.tool_calls, 2)
    assert stream.completion.raw == [1, 2, 3, 4]
    assert [text async for text in stream] == []


@pytest.mark.anyio
async def test_a_stream_that_is_not_read_to_its_end_has_no_completion() -> None:
    """Asking for it says what to do; what has arrived can be had."""
    pieces = arriving([Completion("Hi "), Completion("there", finish_reason="stop")])
    stream = CompletionStream("m", pieces)
    assert await anext(stream) == "Hi "
    assert stream.text == "Hi "
    with pytest.raises(RuntimeError, match="not read to its end"):
        stream.completion  # noqa: B018
    assert repr(stream) == "<CompletionStream of 'm' open, 3 characters>"
    await pieces.aclose()


@pytest.mark.anyio
async def test_a_stream_without_a_finish_reason_is_an_error() -> None:
    """A reply that was cut off is not mistaken for a whole one, however often it is asked for."""
    stream = CompletionStream("m", arriving([Completion("Hi ")]))
    with pytest.raises(ModelRequestError, match="no finish reason came"):
        [text async for text in stream]
    with pytest.raises(RuntimeError, match="not read to its end"):
        stream.completion  # noqa: B018
    assert stream.text == "Hi "


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_a_read_that_was_cancelled_is_not_the_servers_fault(kind: str) -> None:
    """The next one, and each after it, says what has ended the stream; it is nothing to try again."""
    body = events(kind, Reply(("Hi ", "there"))).body
    at = body.index(b"Hi ")
    begun = body[: body.index(b"\n\n", at) + 2]

    async def drip() -> AsyncGenerator[bytes]:
        yield begun
        await anyio.sleep_forever()

    def respond(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=drip())

    provider_class, _, spec = CHATS[kind]
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(respond)) as http_client:
        async with provider_class(base_url="http://h/v1", api_key=KEY, http_client=http_client) as provider:
            async with provider.setup(spec) as handle, handle.model.stream("Hello") as stream:
                assert await anext(stream) == "Hi "
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    await anext(stream)
                for _ in range(2):
                    with pytest.raises(RuntimeError, match="a read was cancelled before, as by a time-out") as caught:
                        await anext(stream)
                    assert not isinstance(caught.value, ModelRequestError)
                assert stream.text == "Hi "


class Pieces:
    """Pieces that survive a read that is cancelled."""

    def __init__(self, error: Exception | None = None) -> None:
        self.may_come = anyio.Event()
        self.error = error
        self.left = [Completion("Hi"), Completion(finish_reason="stop")]

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> Completion:
        await self.may_come.wait()
        if self.error is not None:
            raise self.error
        if not self.left:
            raise StopAsyncIteration
        return self.left.pop(0)


@pytest.mark.anyio
async def test_pieces_that_survive_a_cancelled_read_are_read_on() -> None:
    """Only what has ended is over."""
    pieces = Pieces()
    stream = CompletionStream("m", pieces)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await anext(stream)
    pieces.may_come.set()
    assert [text async for text in stream] == ["Hi"]
    assert stream.completion == "Hi"


@pytest.mark.anyio
@pytest.mark.parametrize("error", [None, ModelRequestError("m", "it broke off", "Try again.")])
async def test_a_stream_has_one_reader_at_a_time(error: Exception | None) -> None:
    """Another one is told; the first one reads on, and when it is done the next one may."""
    pieces = Pieces(error)
    stream = CompletionStream("m", pieces)

    async def read() -> None:
        with pytest.raises(ModelRequestError) if error is not None else nullcontext():
            assert await anext(stream) == "Hi"

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        for _ in range(2):
            with pytest.raises(RuntimeError, match="is being read by another task"):
                await anext(stream)
        pieces.may_come.set()
    if error is None:
        assert [text async for text in stream] == []
        assert stream.completion == "Hi"
