"""``SDKModel``: what the models of the SDKs have in common. A subclass adds how its SDK is asked and how it answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import httpx
import httpx2
from anyio import CancelScope, CapacityLimiter, current_time

from ..._model import Completion, CompletionStream, Prompt, messages_of
from ..._spec import masked
from .failures import SDK, Explaining, SDKClient, misunderstood

ClientT = TypeVar("ClientT", bound=SDKClient)
AnswerT = TypeVar("AnswerT")
EventT = TypeVar("EventT")
EventT_co = TypeVar("EventT_co", covariant=True)

_END_SECONDS = 5.0
"""How long ending a request may take; it only closes a connection."""

_NO_LIMIT = nullcontext()

_OURS = {
    "messages": "it is the prompt",
    "model": "it is the spec the handle was set up with",
    "stream": "use stream() to stream, generate() not to",
}


class Response(Protocol):
    """What is closed to end a request."""

    stream: Any

    async def aclose(self) -> None: ...


class EventStream(Protocol[EventT_co]):
    """What the SDKs return for a stream."""

    @property
    def response(self) -> Response: ...

    async def __anext__(self) -> EventT_co: ...

    def __aiter__(self) -> AsyncIterator[EventT_co]: ...


class SDKModel(ABC, Generic[ClientT, AnswerT, EventT]):
    """One model behind an SDK's client.

    Args:
        name: The model's name as its server knows it.
        client: The SDK's client; whoever made it closes it.
        max_concurrency: How many requests the model takes at once, streams for as long as they are open included; the
            others wait in order of arrival. `None`: no limit.
        params: What every request is sent with, where it does not say otherwise.
    """

    sdk: ClassVar[SDK]

    def __init__(
        self,
        name: str,
        client: ClientT,
        *,
        max_concurrency: int | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        self._name = name
        self._client = client
        self._limiter = None if max_concurrency is None else CapacityLimiter(max_concurrency)
        self._params = dict(params or {})
        # Around awaiting the SDK, and nothing else: an exception of the caller's own code is not a failed request.
        self._explaining = Explaining(self.sdk, name, client)

    @property
    def name(self) -> str:
        """The model's name as its server knows it."""
        return self._name

    @property
    def client(self) -> ClientT:
        """The SDK's own client, for all that is not wrapped. It is shared with other models: do not close it."""
        return self._client

    @property
    def limiter(self) -> CapacityLimiter | None:
        """What limits the requests at once; its ``total_tokens`` may be changed at any time."""
        return self._limiter

    async def generate(self, prompt: Prompt, /, **params: Any) -> Completion:
        """Ask for a reply.

        A cancellation passes through; the place among the model's concurrent requests and the connection are free
        again when it does.

        Args:
            prompt: A text, or a conversation of mappings with ``role`` and ``content``.
            params: What the API takes, such as ``temperature``.

        Raises:
            ModelRequestError: The request failed; says what failed and what to do. The SDK's exception is the cause.
            TypeError: `prompt` is neither a text nor a conversation, or the SDK knows no such parameter.
        """
        messages, params = messages_of(prompt), self._merged(params)
        async with self._place():
            with self._explaining:
                answer = await self._ask(messages, params)
        try:
            return self._read_answer(answer)
        except Exception as exc:
            raise misunderstood(exc, self._name) from exc

    @asynccontextmanager
    async def stream(self, prompt: Prompt, /, **params: Any) -> AsyncGenerator[CompletionStream]:
        """Ask for a reply that is read while it is made; use it with ``async with``.

        The request is sent on entering, and counts as one of the model's concurrent requests until the block is left.
        The block may be left at any time: that ends the request, in a shield of a few seconds.

        Args:
            prompt: A text, or a conversation of mappings with ``role`` and ``content``.
            params: What the API takes, such as ``temperature``.

        Raises:
            ModelRequestError: The request failed, on entering or while reading.
            TypeError: `prompt` is neither a text nor a conversation, or the SDK knows no such parameter.
        """
        messages, params = messages_of(prompt), self._merged(params)
        async with self._place():
            with self._explaining:
                events = await self._ask_for_stream(messages, params)
            async with _ending(events):
                yield CompletionStream(self._name, _Pieces(self, events))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name!r} at {masked(str(self._client.base_url))}>"

    # ---------------------------------------------------------------- what a subclass writes

    @abstractmethod
    async def _ask(self, messages: list[dict[str, Any]], params: dict[str, Any]) -> AnswerT:
        """Send a request and wait for the whole answer."""

    @abstractmethod
    async def _ask_for_stream(self, messages: list[dict[str, Any]], params: dict[str, Any]) -> EventStream[EventT]:
        """Send a request and return when the answer begins."""

    @abstractmethod
    def _read_answer(self, answer: AnswerT) -> Completion:
        """The reply in an answer. Whatever it raises says that the answer makes no sense."""

    @abstractmethod
    def _read_event(self, event: EventT) -> Completion:
        """What one event of a stream brings, be it without text. Whatever it raises says that it makes no sense."""

    # ---------------------------------------------------------------- inside

    def _merged(self, params: dict[str, Any]) -> dict[str, Any]:
        for name, reason in _OURS.items():
            if name in params:
                raise TypeError(f"{name!r} is not a parameter of a request: {reason}")
        return {**self._params, **params}

    def _place(self) -> AbstractAsyncContextManager[None]:
        """One of the places for concurrent requests."""
        return _NO_LIMIT if self._limiter is None else _held_place(self._limiter)


@asynccontextmanager
async def _held_place(limiter: CapacityLimiter) -> AsyncGenerator[None]:
    borrower = object()  # not the task: it may have several requests open
    await limiter.acquire_on_behalf_of(borrower)
    try:
        yield
    finally:
        limiter.release_on_behalf_of(borrower)


class _Pieces(Generic[EventT]):
    """The events of a stream as pieces of a reply. Not a generator: those have to be closed, and would be one more."""

    def __init__(self, model: SDKModel[Any, Any, EventT], events: EventStream[EventT]) -> None:
        self._name = model.name
        self._explaining = model._explaining
        self._read = model._read_event
        self._next = events.__anext__

    def __aiter__(self) -> AsyncIterator[Completion]:
        return self

    async def __anext__(self) -> Completion:
        try:
            event = await self._next()
        except StopAsyncIteration:
            raise
        except Exception as exc:
            self._explaining.explain(exc)
            raise
        try:
            return self._read(event)
        except Exception as exc:
            raise misunderstood(exc, self._name) from exc


class _OneReading(httpx2.AsyncByteStream, httpx.AsyncByteStream):
    """The bytes of a response, in one reading for all who ask.

    OpenAI's SDK reads what follows the end of the events in a reading of its own; the connection then serves the next
    request while the first reading is suspended. Resumed, that one would take what belongs to the next request.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._reading: AsyncIterator[bytes] | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        if self._reading is None:
            self._reading = aiter(self._stream)
        return self

    async def __anext__(self) -> bytes:
        assert self._reading is not None
        return await anext(self._reading)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@asynccontextmanager
async def _ending(events: EventStream[object]) -> AsyncGenerator[None]:
    """End the request on the way out, wherever its stream is.

    Closing the response frees the connection. But the SDKs read it through a chain of async generators, which stay
    suspended when the reading stops, even at a well-received end; trio warns of each one that is collected like that,
    asyncio closes them in tasks of its own. Resumed in a cancelled scope, they end here and now; what is buffered comes
    out first. The outermost generator lets go of the others, so the next one is remembered.
    """
    chain: list[AsyncIterator[object]] = [events]
    read: Callable[[], AsyncIterator[object]] | None = getattr(events, "_iter_events", None)

    def remembered() -> AsyncIterator[object]:
        assert read is not None
        chain.append(read())
        return chain[-1]

    events.response.stream = _OneReading(events.response.stream)
    if read is not None:  # both SDKs have it; without it there would only be trio's warnings
        vars(events)["_iter_events"] = remembered
    try:
        yield
    finally:
        with CancelScope(shield=True, deadline=current_time() + _END_SECONDS):
            await events.response.aclose()
            for iterator in chain:
                with CancelScope() as scope, suppress(Exception):
                    scope.cancel()
                    while True:
                        await anext(iterator)
