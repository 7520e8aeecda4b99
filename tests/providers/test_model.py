"""What a model takes and returns, without any model."""

from __future__ import annotations

import copy
import pickle
from collections.abc import AsyncGenerator, Sequence

import pytest

from doteval import Completion, CompletionStream, ModelRequestError, Usage
from doteval._model import messages_of

WHOLE = Completion("Hi there", usage=Usage(3, 4), finish_reason="stop", raw={"id": 1})


def test_a_completion_is_its_text() -> None:
    """It compares, hashes, formats and slices as the string it is."""
    assert WHOLE == "Hi there"
    assert {WHOLE: 1}["Hi there"] == 1
    assert f"{WHOLE}!" == "Hi there!"
    assert WHOLE[:2] == "Hi"
    assert WHOLE.usage is not None
    assert WHOLE.usage.total == 7


def test_a_completion_shows_what_is_known_of_it() -> None:
    """The repr has text, usage and finish reason; what the SDK returned would only be noise."""
    assert repr(WHOLE) == ("Completion('Hi there', usage=Usage(input_tokens=3, output_tokens=4), finish_reason='stop')")
    assert repr(Completion("Hi")) == "Completion('Hi')"


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda whole: pickle.loads(pickle.dumps(whole))])
def test_a_completion_survives_copying_and_pickling(again) -> None:
    """What comes back is the same in all of its parts."""
    twin = again(WHOLE)
    assert type(twin) is Completion
    assert (twin, twin.usage, twin.finish_reason, twin.raw) == (WHOLE, WHOLE.usage, WHOLE.finish_reason, WHOLE.raw)


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
                Completion(usage=Usage(3, 1), raw=1),
                Completion("Hi ", raw=2),
                Completion("there", raw=3),
                Completion(usage=Usage(0, 4), finish_reason="stop", raw=4),
            ]
        ),
    )
    assert [text async for text in stream] == ["Hi ", "there"]
    assert stream.completion == "Hi there"
    assert stream.completion.usage == Usage(3, 4)
    assert stream.completion.finish_reason == "stop"
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
