"""What a model offers, whoever serves it: ``ChatModel``, and what its methods take and return."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

from ._errors import ModelRequestError
from ._messages import Prompt, message_of
from ._unbuilt import Unbuilt, UnbuiltList


@dataclass(frozen=True, slots=True)
class Usage:
    """What a request cost, counted in the same way for every provider.

    A count that the server leaves out is what its total leaves for it, else 0.

    Args:
        input_tokens: Tokens of the prompt, `cached_tokens` and `cache_write_tokens` included.
        output_tokens: Tokens of the reply, `reasoning_tokens` included.
        cached_tokens: Tokens of the prompt that were read from a cache, which costs less.
        cache_write_tokens: Tokens of the prompt that were written into a cache, which may cost more.
        reasoning_tokens: Tokens that the model thought with.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total(self) -> int:
        """Tokens of prompt and reply together."""
        return self.input_tokens + self.output_tokens

    def __repr__(self) -> str:
        details = {
            "cached_tokens": self.cached_tokens,
            "cache_write_tokens": self.cache_write_tokens,
            "reasoning_tokens": self.reasoning_tokens,
        }
        known = "".join(f", {name}={count}" for name, count in details.items() if count)
        return f"Usage(input_tokens={self.input_tokens}, output_tokens={self.output_tokens}{known})"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model wants to have called.

    Args:
        id: What the result is sent back with; empty where the server gives none.
        name: The tool's name.
        arguments: What to call it with: JSON, as the model wrote it, so nothing says that it is valid.
    """

    id: str
    name: str
    arguments: str

    def parsed(self) -> Any:
        """The arguments as Python has them.

        Raises:
            ValueError: The model did not write valid JSON.
        """
        return json.loads(self.arguments or "{}")

    def result(self, content: object) -> dict[str, Any]:
        """The message that tells the model what the tool gave, for every provider.

        Args:
            content: What it gave: a text; anything else becomes JSON, or is told as Python writes it.
        """
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, default=str)
        return {"role": "tool", "tool_call_id": self.id, "content": text}


class Completion(str):
    """A model's reply: a string that also says how it came about.

    Args:
        text: The reply.
        usage: What the request cost, where the server said so.
        finish_reason: Why the reply ends, in the same words for every provider: ``"stop"``, ``"length"``,
            ``"tool_calls"``, ``"refusal"`` (the model declined), ``"content_filter"`` (a filter took the reply away),
            or what the provider calls it where none of these fits. `None`: the server does not say.
        refusal: Why the model declined, in its or its server's words; `None`: it did not.
        reasoning: What the model thought before it replied, where the server shows it.
        tool_calls: The tools that the model wants to have called.
        retries: How often the SDK tried again before it got this reply.
        raw: What the SDK returned, for all that is not wrapped; of a stream, the list of its events.
    """

    __slots__ = ("_raw", "finish_reason", "reasoning", "refusal", "retries", "tool_calls", "usage")

    usage: Usage | None
    finish_reason: str | None
    refusal: str | None
    reasoning: str | None
    tool_calls: tuple[ToolCall, ...]
    retries: int
    _raw: Any  # the SDKs have no type in common

    def __new__(
        cls,
        text: str = "",
        *,
        usage: Usage | None = None,
        finish_reason: str | None = None,
        refusal: str | None = None,
        reasoning: str | None = None,
        tool_calls: Sequence[ToolCall] = (),
        retries: int = 0,
        raw: Any = None,
    ) -> Self:
        self = str.__new__(cls, text)
        self.usage = usage
        self.finish_reason = finish_reason
        self.refusal = refusal
        self.reasoning = reasoning
        self.tool_calls = tuple(tool_calls)
        self.retries = retries
        self._raw = raw
        return self

    @property
    def raw(self) -> Any:
        """What the SDK returned, for all that is not wrapped; of a stream, the list of its events."""
        if isinstance(self._raw, (Unbuilt, UnbuiltList)):
            self._raw = self._raw.built()
        return self._raw

    @property
    def message(self) -> dict[str, Any]:
        """The reply as a message of a conversation that goes on, with the tools it calls, for every provider.

        It has all that the server wants back, such as signed thoughts, where the reply came whole.
        """
        if getattr(self.raw, "role", None) == "assistant" and hasattr(self.raw, "model_dump"):
            return message_of(0, self.raw)
        called = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}
            for call in self.tool_calls
        ]
        return {"role": "assistant", "content": str(self)} | ({"tool_calls": called} if called else {})

    def __repr__(self) -> str:
        known = {
            "usage": self.usage,
            "finish_reason": self.finish_reason,
            "refusal": self.refusal,
            "tool_calls": self.tool_calls or None,
            "retries": self.retries or None,
        }
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
        pieces: What arrives: the text of each piece, with whatever else a `Completion` has on the pieces that bring it:
            refusal and reasoning in parts, tool calls whole, the usage so far.
        retries: How often the SDK tried again before the stream began.
        request_id: What the server calls the request.
        explain: Given why the stream broke off, returns what is raised of it, as who started the server knows more.
    """

    def __init__(
        self,
        model: str,
        pieces: AsyncIterator[Completion],
        *,
        retries: int = 0,
        request_id: str | None = None,
        explain: Callable[[ModelRequestError], Awaitable[ModelRequestError]] | None = None,
    ) -> None:
        self._model = model
        self._pieces: AsyncIterator[Completion] | None = pieces  # `None`: the block was left
        self._retries = retries
        self._request_id = request_id
        self._explain = explain
        self._texts: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._tool_calls: list[ToolCall] = []
        self._raw = UnbuiltList()
        self._usage: Usage | None = None
        self._finish_reason: str | None = None
        self._ended = self._is_read = self._was_cancelled = False
        self._error: ModelRequestError | None = None

    @property
    def text(self) -> str:
        """What has arrived so far."""
        return "".join(self._texts)

    @property
    def usage(self) -> Usage | None:
        """What the request cost, as far as the server has said so by now; most say it at the end."""
        return self._usage

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
        return self.so_far

    @property
    def has_begun(self) -> bool:
        """Whether anything has arrived."""
        return bool(self._raw)

    @property
    def so_far(self) -> Completion:
        """As much of the reply as has arrived."""
        return Completion(
            self.text,
            usage=self._usage,
            finish_reason=self._finish_reason,
            refusal="".join(self._refusal) or None,
            reasoning="".join(self._reasoning) or None,
            tool_calls=self._tool_calls,
            retries=self._retries,
            raw=self._raw,
        )

    def leave(self) -> None:
        """The block that it belongs to is left: no more of it can be read. For those who make one."""
        self._pieces = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        """Wait for the next piece of text; pieces without text are left out.

        A read that is cancelled ends the stream, as half of a piece may be lost with it.

        Raises:
            ModelRequestError: The stream broke off, or ended without saying that the reply is complete.
            RuntimeError: The block of the stream was left, a read of it was cancelled, or somebody else reads it.
        """
        if self._is_read:
            raise RuntimeError(
                f"the stream of '{self._model}' is being read by another task; let one of them read it, and hand on to "
                "the others what it reads"
            )
        while not self._ended:
            if self._pieces is None:
                raise RuntimeError(
                    f"the stream of '{self._model}' is over, as its block was left before it had been read to its end; "
                    "read it inside of 'async with model.stream(...)'"
                )
            self._is_read = True
            try:
                piece = await anext(self._pieces)
            except ModelRequestError as exc:
                self._check_cancelled()
                self._error = exc
            except StopAsyncIteration:
                if self._finish_reason is not None:
                    self._ended = True
                    break
                self._check_cancelled()
                self._error = ModelRequestError(
                    self._model,
                    "the stream ended before the reply did: no finish reason came",
                    "Try again; what arrived is incomplete.",
                    retryable=True,
                    request_id=self._request_id,
                    retries=self._retries,
                )
            except Exception:
                raise
            except BaseException:
                self._was_cancelled = True
                raise
            else:
                self._keep(piece)
                if piece:
                    return self._texts[-1]
                continue
            finally:
                self._is_read = False
            if self._explain is not None:
                self._error = await self._explain(self._error)
            raise self._error
        raise StopAsyncIteration

    def _check_cancelled(self) -> None:
        """Say what has ended the stream, where that was not the server."""
        if self._was_cancelled:
            raise RuntimeError(
                f"the stream of '{self._model}' was ended by who reads it: a read was cancelled before, as by a "
                "time-out around it; put the time-out around the whole stream, or read it in a task of its own"
            ) from None

    def __repr__(self) -> str:
        state = f"ended: {self._finish_reason}" if self._ended else "open"
        return f"<CompletionStream of '{self._model}' {state}, {len(self.text)} characters>"

    def _keep(self, piece: Completion) -> None:
        self._raw.append(piece._raw)
        if piece:
            self._texts.append(str(piece))
        if piece.reasoning:
            self._reasoning.append(piece.reasoning)
        if piece.refusal:
            self._refusal.append(piece.refusal)
        if piece.tool_calls:
            self._tool_calls += piece.tool_calls
        if piece.usage is not None:
            self._usage = later(self._usage, piece.usage)
        self._finish_reason = piece.finish_reason or self._finish_reason


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
            prompt: A text, or a conversation: mappings with ``role`` and ``content``, or message objects of an SDK.
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
            prompt: A text, or a conversation: mappings with ``role`` and ``content``, or message objects of an SDK.
            params: What the provider's API takes, such as ``temperature``.

        Raises:
            ModelRequestError: The request failed, on entering or while reading.
            TypeError: `prompt` is neither a text nor a conversation.
        """
        ...


def later(known: Usage | None, news: Usage | None) -> Usage | None:
    """Counts only grow while a reply is made, and not every piece brings all of them."""
    if known is None or news is None:
        return news or known
    return Usage(*(max(getattr(known, name), getattr(news, name)) for name in Usage.__slots__))
