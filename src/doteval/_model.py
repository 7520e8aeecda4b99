"""What a model offers, whoever serves it: ``ChatModel``, and what its methods take and return."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeAlias, cast, runtime_checkable

from ._errors import ModelRequestError

Prompt: TypeAlias = str | Sequence[Mapping[str, Any]]
"""One user message as text, or a conversation: mappings with ``role`` and ``content``, oldest first."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a request cost.

    Args:
        input_tokens: Tokens of the prompt, those served from a cache included.
        output_tokens: Tokens of the reply.
    """

    input_tokens: int
    output_tokens: int

    @property
    def total(self) -> int:
        """Tokens of prompt and reply together."""
        return self.input_tokens + self.output_tokens


class Completion(str):
    """A model's reply: a string that also says how it came about.

    Args:
        text: The reply.
        usage: What the request cost, where the server said so.
        finish_reason: Why the reply ends, in the same words for every provider: ``"stop"``, ``"length"``,
            ``"tool_calls"``, ``"content_filter"``, or what the provider calls it where none of these fits.
        raw: What the SDK returned, for all that is not wrapped; of a stream, the list of its events.
    """

    __slots__ = ("finish_reason", "raw", "usage")

    usage: Usage | None
    finish_reason: str | None
    raw: Any  # the SDKs have no type in common

    def __new__(
        cls,
        text: str = "",
        *,
        usage: Usage | None = None,
        finish_reason: str | None = None,
        raw: Any = None,
    ) -> Self:
        self = str.__new__(cls, text)
        self.usage = usage
        self.finish_reason = finish_reason
        self.raw = raw
        return self

    def __repr__(self) -> str:
        known = {"usage": self.usage, "finish_reason": self.finish_reason}
        details = "".join(f", {name}={value!r}" for name, value in known.items() if value is not None)
        return f"Completion({str.__repr__(self)}{details})"


class CompletionStream:
    """The pieces of a reply as they arrive.

    `ChatModel.stream` yields it::

        async with model.stream("Hello") as stream:
            async for text in stream:
                print(text, end="")
        print(stream.completion.usage)

    Args:
        model: The model's name, for messages.
        pieces: What arrives: the text of each piece, with the finish reason and the usage so far on the pieces that
            bring them.
    """

    def __init__(self, model: str, pieces: AsyncIterator[Completion]) -> None:
        self._model = model
        self._pieces = pieces
        self._texts: list[str] = []
        self._raw: list[Any] = []
        self._usage: Usage | None = None
        self._finish_reason: str | None = None
        self._ended = False

    @property
    def text(self) -> str:
        """What has arrived so far."""
        return "".join(self._texts)

    @property
    def completion(self) -> Completion:
        """The whole reply.

        Raises:
            RuntimeError: The stream was not read to its end.
        """
        if not self._ended:
            raise RuntimeError(
                f"the stream of '{self._model}' was not read to its end; read it with 'async for', "
                "or take what has arrived so far from .text"
            )
        return Completion(self.text, usage=self._usage, finish_reason=self._finish_reason, raw=self._raw)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        """Wait for the next piece of text; pieces without text are left out.

        Raises:
            ModelRequestError: The stream broke off, or ended without saying that the reply is complete.
        """
        while not self._ended:
            try:
                piece = await anext(self._pieces)
            except StopAsyncIteration:
                if self._finish_reason is None:
                    raise ModelRequestError(
                        self._model,
                        "the stream ended before the reply did: no finish reason came",
                        "Try again; what arrived is incomplete.",
                    ) from None
                self._ended = True
                break
            self._raw.append(piece.raw)
            if piece.usage is not None:
                self._usage = _later(self._usage, piece.usage)
            self._finish_reason = piece.finish_reason or self._finish_reason
            if piece:
                text = str(piece)
                self._texts.append(text)
                return text
        raise StopAsyncIteration

    def __repr__(self) -> str:
        state = f"ended: {self._finish_reason}" if self._ended else "open"
        return f"<CompletionStream of '{self._model}' {state}, {len(self.text)} characters>"


@runtime_checkable
class ChatModel(Protocol):
    """What ``handle.model`` of every chat provider offers, so that one evaluation runs on all of them."""

    @property
    def name(self) -> str:
        """The model's name as its server knows it."""
        ...

    @property
    def client(self) -> Any:
        """The SDK's own client, for all that is not wrapped. It is shared; do not close it."""
        ...

    async def generate(self, prompt: Prompt, /, **params: Any) -> Completion:
        """Ask for a reply.

        A cancellation passes through; the place among the model's concurrent requests and the connection are free
        again when it does.

        Args:
            prompt: A text, or a conversation of mappings with ``role`` and ``content``.
            params: What the provider's API takes, such as ``temperature``.

        Raises:
            ModelRequestError: The request failed; says what failed and what to do. The SDK's exception is the cause.
            TypeError: `prompt` is neither a text nor a conversation.
        """
        ...

    def stream(self, prompt: Prompt, /, **params: Any) -> AbstractAsyncContextManager[CompletionStream]:
        """Ask for a reply that is read while it is made; use it with ``async with``.

        The request is sent on entering, and counts as one of the model's concurrent requests until the block is left.
        The block may be left at any time: that ends the request.

        Args:
            prompt: A text, or a conversation of mappings with ``role`` and ``content``.
            params: What the provider's API takes, such as ``temperature``.

        Raises:
            ModelRequestError: The request failed, on entering or while reading.
            TypeError: `prompt` is neither a text nor a conversation.
        """
        ...


def _later(known: Usage | None, news: Usage) -> Usage:
    """Counts only grow while a reply is made, and not every piece brings all of them."""
    if known is None:
        return news
    return Usage(max(known.input_tokens, news.input_tokens), max(known.output_tokens, news.output_tokens))


def messages_of(prompt: Prompt) -> list[dict[str, Any]]:
    """The conversation that a prompt stands for.

    Raises:
        TypeError: It is neither a text nor a sequence of mappings with ``role`` and ``content``.
        ValueError: The sequence is empty.
    """
    if isinstance(prompt, str):
        return [{"role": "user", "content": str(prompt)}]
    given = cast(object, prompt)  # what callers without a type checker pass may be anything
    if isinstance(given, bytes) or not isinstance(given, Sequence):
        raise TypeError(
            f"a prompt is a text or a list of messages such as {{'role': 'user', 'content': 'Hello'}}, "
            f"not a {type(prompt).__name__}"
        )
    messages = [_message(index, message) for index, message in enumerate(cast("Sequence[object]", given))]
    if not messages:
        raise ValueError("a prompt needs at least one message")
    return messages


def _message(index: int, message: object) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise TypeError(
            f"message {index} of the prompt is a {type(message).__name__}, not a mapping with 'role' and 'content'"
        )
    fields = dict(cast("Mapping[str, Any]", message))
    if not isinstance(fields.get("role"), str):
        raise TypeError(f"message {index} of the prompt has no 'role': give it one, such as 'user' or 'system'")
    if "content" not in fields and "tool_calls" not in fields:
        raise TypeError(f"message {index} of the prompt, of role {fields['role']!r}, has no 'content'")
    return fields
