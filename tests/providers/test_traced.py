"""Who traces the SDKs from outside sees of our requests what it sees of everybody's, and may stand in between."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import anthropic
import openai
import pytest
from anthropic.resources import AsyncMessages
from openai.resources.chat import AsyncCompletions
from tests.conftest import anyio_backend  # noqa: F401 - every loop
from tests.providers.conftest import CHATS, KEY
from tests.providers.wire import Reply, Sent, WireServer, answer, events

from doteval import ModelRequestError, counting_requests

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]

REPLY = Reply(("one ", "two"))
CREATE: dict[str, Any] = {"openai": AsyncCompletions, "anthropic": AsyncMessages}
ANSWERS: dict[str, Any] = {"openai": openai.types.chat.ChatCompletion, "anthropic": anthropic.types.Message}
STREAMS: dict[str, Any] = {"openai": openai.AsyncStream, "anthropic": anthropic.AsyncStream}


class Proxy:
    """Stands for a stream, and shows nothing else of it."""

    def __init__(self, stream: Any) -> None:
        self._self_stream = stream
        self.is_closed = False

    def __aiter__(self) -> Proxy:
        return self

    async def __anext__(self) -> Any:
        return await self._self_stream.__anext__()

    async def close(self) -> None:
        self.is_closed = True
        await self._self_stream.close()


class Transparent(Proxy):
    """Shows all of it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._self_stream, name)


class Iterable:
    """Can be looped over, and nothing else; it sees who does."""

    def __init__(self, stream: Any) -> None:
        self._self_stream = stream

    def __aiter__(self) -> AsyncIterator[Any]:
        return generator(self._self_stream)


async def generator(stream: Any) -> AsyncGenerator[Any]:
    """Gives its events on."""
    try:
        async for event in stream:
            yield event
    finally:
        await stream.close()


@pytest.fixture(params=["openai", "anthropic"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def seen(kind: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any], Any]], list[Any]]:
    """Wraps the SDK's method, and gives what it returns on by way of a function; has what was seen."""
    wrapped = CREATE[kind].create

    def trace(stand_in: Callable[[Any], Any]) -> list[Any]:
        found: list[Any] = []

        async def create(self: Any, **kwargs: Any) -> Any:
            assert "extra_headers" not in kwargs
            made = await wrapped(self, **kwargs)
            found.extend((made, given := stand_in(made)))
            return given

        monkeypatch.setattr(CREATE[kind], "create", create)
        return found

    return trace


async def test_a_tracer_sees_the_answer_itself(wire: WireServer, kind: str, seen: Any) -> None:
    """Not one that it would have to parse, which the SDKs have in different ways."""
    found = seen(lambda made: made)
    wire.script(answer(kind, REPLY))
    async with CHATS[kind][0](base_url=wire.url, api_key=KEY, max_retries=0) as provider:
        async with provider.setup("m") as handle:
            assert await handle.model.generate("Hello") == "one two"
    assert isinstance(found[0], ANSWERS[kind])


@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")  # the SDK's own, where a stand-in hides them
@pytest.mark.parametrize("stand_in", [lambda stream: stream, Proxy, Transparent, Iterable, generator])
@pytest.mark.parametrize("is_whole", [True, False])
async def test_a_tracer_may_put_anything_in_the_place_of_a_stream(
    wire: WireServer, kind: str, seen: Any, stand_in: Any, is_whole: bool
) -> None:
    """It is read to the end or left, and told of that; the request is over either way."""
    found = seen(stand_in)
    wire.script(events(kind, REPLY))
    async with CHATS[kind][0](base_url=wire.url, api_key=KEY, max_retries=0) as provider:
        async with provider.setup("m") as handle:
            with counting_requests() as requests:
                async with handle.model.stream("Hello") as stream:
                    assert await anext(stream)
                    if is_whole:
                        assert [text async for text in stream][-1:] == ["two"]
                        assert stream.completion == "one two"
    stream, given = found
    assert isinstance(stream, STREAMS[kind])
    assert stream.response.is_closed
    assert getattr(given, "is_closed", True)
    assert (requests[0].is_known, requests[0].lost) == (is_whole, 0)


async def test_an_answer_that_cannot_be_read_is_explained_to_who_asks(wire: WireServer, kind: str, seen: Any) -> None:
    """Also where nothing tells of the HTTP response."""
    seen(lambda made: made)
    wire.script(Sent(b"{"))
    async with CHATS[kind][0](base_url=wire.url, api_key=KEY, max_retries=0) as provider:
        async with provider.setup("m") as handle:
            for hooks in handle.model.client._client.event_hooks.values():
                hooks.clear()
            with pytest.raises(ModelRequestError, match="the answer is not what the API describes"):
                await handle.model.generate("Hello")
