"""``AnthropicProvider``: the Claude models, through the messages API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, ClassVar, cast

import anthropic
import httpx2
from anthropic.types import Message, MessageDeltaUsage, RawMessageStreamEvent
from anthropic.types import Usage as MessageUsage
from typing_extensions import Unpack

from .._keywords import Keyword, takes
from .._model import Completion, Usage
from .._pool_options import PoolOptions
from ._sdk.failures import SDK
from ._sdk.model import EventStream, SDKModel
from ._sdk.options import ClientOptions, ModelOptions
from ._sdk.provider import SDKProvider

ANTHROPIC = SDK(
    key_variable="ANTHROPIC_API_KEY",
    url_variable="ANTHROPIC_BASE_URL",
    url="https://api.anthropic.com",
    error=anthropic.AnthropicError,
    timeout_error=anthropic.APITimeoutError,
    connection_error=anthropic.APIConnectionError,
    status_error=anthropic.APIStatusError,
)

MAX_TOKENS = 4096
"""How long a reply may be where nobody says otherwise; the API insists on a number."""

_UNNAMED = ("temperature", "top_k", "top_p")
"""Parameters that the SDK names no more, as its newest models do not take them; others do, and so do evaluations."""

_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class AnthropicModel(SDKModel[anthropic.AsyncAnthropic, Message, RawMessageStreamEvent]):
    """A model behind an Anthropic client. Messages of the role ``system`` become the request's ``system`` prompt."""

    sdk = ANTHROPIC

    async def _ask(self, messages: list[dict[str, Any]], params: dict[str, Any]) -> Message:
        request = _request(messages, params)
        # Not with `stream=False`, which the SDK would look at for longer than all that is ours takes.
        create = cast("Callable[..., Awaitable[Message]]", self.client.messages.create)
        return await create(model=self.name, **request)

    async def _ask_for_stream(
        self, messages: list[dict[str, Any]], params: dict[str, Any]
    ) -> EventStream[RawMessageStreamEvent]:
        request = _request(messages, params)
        events: EventStream[RawMessageStreamEvent] = await self.client.messages.create(
            model=self.name, stream=True, **request
        )
        return events

    def _read_answer(self, answer: Message) -> Completion:
        text = "".join(block.text for block in answer.content if block.type == "text")
        return Completion(
            text, usage=_usage(answer.usage), finish_reason=_finish_reason(answer.stop_reason), raw=answer
        )

    def _read_event(self, event: RawMessageStreamEvent) -> Completion:
        text, usage, stop_reason = "", None, None
        match event.type:
            case "message_start":
                usage = _usage(event.message.usage)
            case "content_block_delta":
                text = event.delta.text if event.delta.type == "text_delta" else ""
            case "message_delta":
                usage, stop_reason = _usage(event.usage), event.delta.stop_reason
            case _:
                pass
        return Completion(text, usage=usage, finish_reason=_finish_reason(stop_reason), raw=event)


class AnthropicOptions(ClientOptions, ModelOptions, total=False):
    """What `AnthropicProvider` takes."""

    base_url: Annotated[
        str | None, Keyword("The address; `None`: ``ANTHROPIC_BASE_URL`` at the time of `setup`, else Anthropic's own.")
    ]
    timeout: Annotated[
        float | anthropic.Timeout | None,
        Keyword(
            "How long a request may take, in seconds, or an `anthropic.Timeout`. `None`: what the SDK thinks right."
        ),
    ]
    http_client: Annotated[
        httpx2.AsyncClient | None,
        Keyword("The HTTP client to send with, an `httpx2.AsyncClient`. It stays yours: close it after the provider."),
    ]


@takes(AnthropicOptions, PoolOptions)
class AnthropicProvider(SDKProvider[AnthropicModel, anthropic.AsyncAnthropic]):
    """Leases models of Anthropic.

    ::

        async with AnthropicProvider() as provider:
            async with provider.setup("claude-sonnet-5-5") as handle:
                reply = await handle.model.generate("Hello")

    What is given here holds for all models; ``setup(spec, **config)`` takes the same names for one model, but for the
    `options`. Models whose settings agree share one `anthropic.AsyncAnthropic`.

    Args:
        api_key: The key; `None`: ``ANTHROPIC_API_KEY`` at the time of `setup`.
        params: What every request is sent with where it does not say otherwise, such as ``{"temperature": 0}``.
            ``max_tokens`` is 4096 unless given here or with the request.
    """

    patterns: ClassVar[tuple[str, ...]] = ("claude-*",)
    sdk = ANTHROPIC
    declaration = AnthropicOptions

    def __init__(self, **options: Unpack[AnthropicOptions]) -> None:
        super().__init__(**options)

    def _make_client(self, *, api_key: str, base_url: str, **settings: Any) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(api_key=api_key, base_url=base_url, **settings)

    def _make_model(
        self, name: str, client: anthropic.AsyncAnthropic, *, max_concurrency: int | None, params: Mapping[str, Any]
    ) -> AnthropicModel:
        return AnthropicModel(name, client, max_concurrency=max_concurrency, params=params)


def _request(messages: list[dict[str, Any]], params: dict[str, Any]) -> dict[str, Any]:
    """The request that a conversation becomes; the API takes system messages in a place of their own."""
    system = [params["system"]] if params.get("system") else []
    system += [message["content"] for message in messages if message["role"] == "system"]
    request: dict[str, Any] = {
        "max_tokens": MAX_TOKENS,
        **params,
        "messages": [message for message in messages if message["role"] != "system"],
    }
    if system:
        request["system"] = _joined(system)
    if unnamed := {name: request.pop(name) for name in _UNNAMED if name in request}:
        request["extra_body"] = {**unnamed, **(request.get("extra_body") or {})}
    return request


def _joined(contents: list[Any]) -> str | list[Any]:
    if all(isinstance(content, str) for content in contents):
        return "\n\n".join(contents)
    blocks: list[Any] = []
    for content in contents:
        blocks += [{"type": "text", "text": content}] if isinstance(content, str) else content
    return blocks


def _usage(usage: MessageUsage | MessageDeltaUsage) -> Usage:
    cached = (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0)
    return Usage((usage.input_tokens or 0) + cached, usage.output_tokens or 0)


def _finish_reason(stop_reason: str | None) -> str | None:
    return None if stop_reason is None else _FINISH_REASONS.get(stop_reason, stop_reason)
