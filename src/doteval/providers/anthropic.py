"""``AnthropicProvider``: the Claude models, through the messages API."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Collection
from functools import cached_property
from types import ModuleType
from typing import Annotated, Any, ClassVar, cast

import anthropic
import httpx2
from anthropic.resources import AsyncMessages
from anthropic.types import Message, RawMessageStreamEvent
from opentelemetry.trace import ProxyTracerProvider, get_tracer_provider
from typing_extensions import Unpack

from .._keywords import Keyword, takes
from .._model import Completion, ToolCall, Usage
from .._pool_options import PoolOptions
from .._secrets import Secret
from ._connections import pool_connections
from ._sdk.anthropics import request_of
from ._sdk.attempts import hooks
from ._sdk.failures import SDK
from ._sdk.model import SDKModel
from ._sdk.options import TIMEOUT, ClientOptions, ModelOptions, timeout
from ._sdk.outcomes import ToldError, count, finish_reason, text_of, usage_of
from ._sdk.plain import Plain, PlainAnswers, is_of, own_method, raw_of
from ._sdk.provider import SDKProvider

ANTHROPIC = SDK(
    key_variable="ANTHROPIC_API_KEY",
    url_variable="ANTHROPIC_BASE_URL",
    url="https://api.anthropic.com",
    error=anthropic.AnthropicError,
    timeout_error=anthropic.APITimeoutError,
    connection_error=anthropic.APIConnectionError,
    status_error=anthropic.APIStatusError,
    credentials={
        "AsyncAnthropicAWS": "ANTHROPIC_AWS_API_KEY or the AWS credentials, or what the client was given",
        "AsyncAnthropicBedrock": "the AWS credentials, or what the client was given",
        "AsyncAnthropicBedrockMantle": "AWS_BEARER_TOKEN_BEDROCK or the AWS credentials, or what the client was given",
        "AsyncAnthropicFoundry": "ANTHROPIC_FOUNDRY_API_KEY, or what the client was given",
        "AsyncAnthropicGoogleCloud": "the Google Cloud credentials, or what the client was given",
        "AsyncAnthropicVertex": "the Google Cloud credentials, or what the client was given",
    },
)

_TOKEN_VARIABLE = "ANTHROPIC_AUTH_TOKEN"  # noqa: S105
_CREATE = own_method(AsyncMessages, "create")


class AnthropicModel(SDKModel[anthropic.AsyncAnthropic, Message, RawMessageStreamEvent]):
    """A model behind an Anthropic client. Messages of the role ``system`` become the request's ``system`` prompt."""

    sdk = ANTHROPIC
    types: ClassVar[ModuleType] = anthropic.types

    def _request(self, messages: list[dict[str, Any]], params: dict[str, Any]) -> dict[str, Any]:
        return request_of(messages, params)

    def _create(self) -> Callable[..., Awaitable[Any]]:
        return cast("Callable[..., Awaitable[Any]]", self.client.messages.create)

    def _send_plain(self, request: dict[str, Any]) -> Awaitable[Any] | None:
        if self.client.middleware or not is_of(self._create(), _CREATE) or _is_traced(self.client):
            return None
        return cast("Awaitable[Any]", self._plain_messages.create(model=self.name, **request))

    @cached_property
    def _plain_messages(self) -> Any:
        """Where the SDK's method is, which has a word on the length of a reply and on models that end soon."""
        return AsyncMessages(cast(Any, PlainAnswers(self.client, anthropic.AsyncStream[object])))

    def _read_answer(self, answer: Message) -> Completion:
        _check(answer)
        text, reasoning, calls = "", "", list[ToolCall]()
        content, stop_reason = _field(answer, "content"), _field(answer, "stop_reason")
        if content is None and stop_reason is None:
            raise ValueError("neither content nor a stop reason")
        for block in content or ():
            match block.type:
                case "text":
                    text += text_of(block.text)
                case "thinking":
                    reasoning += text_of(block.thinking)
                case "tool_use":
                    calls.append(ToolCall(text_of(block.id), text_of(block.name), json.dumps(block.input)))
                case _:
                    pass
        reason = finish_reason(stop_reason)
        return Completion(
            text,
            usage=_usage(_field(answer, "usage")),
            finish_reason=reason,
            refusal=_refusal(reason, answer),
            reasoning=reasoning or None,
            tool_calls=calls,
            raw=raw_of(answer, Message),
        )

    def _usage_in(self, answer: object) -> Usage | None:
        return _usage(_field(answer, "usage"))

    def _reader(self) -> Callable[[RawMessageStreamEvent], Completion]:
        return _Reader().read


class _Reader:
    """Reads one stream. The parts of a tool call are kept until its block ends."""

    def __init__(self) -> None:
        self._calls: dict[int, list[str]] = {}

    def read(self, event: RawMessageStreamEvent) -> Completion:
        """What an event brings."""
        if (piece := _text_only(event)) is not None:
            return Completion(piece, raw=raw_of(event, _Event))
        _check(event)
        text, usage, reason, refusal, reasoning, calls = "", None, None, None, None, list[ToolCall]()
        match event.type:
            case "message_start":
                usage = _usage(_field(_object(event.message), "usage"))
            case "content_block_start":
                block = _object(event.content_block)
                if block.type == "tool_use":
                    known = json.dumps(block.input) if block.input else ""
                    self._calls[event.index] = [text_of(block.id), text_of(block.name), known]
                text = text_of(block.text) if block.type == "text" else ""
            case "content_block_delta":
                delta = _object(event.delta)
                match delta.type:
                    case "text_delta":
                        text = text_of(delta.text)
                    case "thinking_delta":
                        reasoning = text_of(delta.thinking)
                    case "input_json_delta":
                        if event.index in self._calls:  # those of the server's own tools are not the caller's
                            self._calls[event.index][2] += text_of(delta.partial_json)
                    case _:
                        pass
            case "content_block_stop":
                if event.index in self._calls:
                    call, name, arguments = self._calls.pop(event.index)
                    calls.append(ToolCall(call, name, arguments or "{}"))
            case "message_delta":
                usage = _usage(_field(event, "usage"))
                reason = finish_reason(_field(_object(event.delta), "stop_reason"))
                refusal = _refusal(reason, event.delta)
            case _:
                pass
        return Completion(
            text,
            usage=usage,
            finish_reason=reason,
            refusal=refusal,
            reasoning=reasoning,
            tool_calls=calls,
            raw=raw_of(event, _Event),
        )


def _text_only(event: Any) -> str | None:
    """The text of an event that brings nothing else, as nearly all do, where it is in JSON."""
    if type(event) is not Plain or event.get("type") != "content_block_delta" or "error" in event:
        return None
    delta = event.get("delta")
    if type(delta) is not dict:
        return None
    fields = cast("dict[str, Any]", delta)
    text = fields.get("text")
    return text if type(text) is str and fields.get("type") == "text_delta" else None


class _Holder(anthropic.BaseModel):
    """Has the SDK find the class of an event."""

    event: RawMessageStreamEvent


class _Event:
    """An event of any class."""

    @staticmethod
    def construct(**fields: Any) -> Any:
        """The SDK's object for it."""
        return _Holder.construct(event=fields).event


class AnthropicOptions(ClientOptions, ModelOptions, total=False):
    """What `AnthropicProvider` takes."""

    auth_token: Annotated[
        str | None, Keyword("A token instead of a key; `None`: ``ANTHROPIC_AUTH_TOKEN``, likewise.", operational=True)
    ]
    base_url: Annotated[
        str | None, Keyword("The address; `None`: ``ANTHROPIC_BASE_URL`` at the time of `setup`, else Anthropic's own.")
    ]
    timeout: Annotated[
        float | anthropic.Timeout | None,
        Keyword(
            f"{TIMEOUT} An `anthropic.Timeout` says it for each. `None`: what the SDK thinks right.",
            check=timeout,
            operational=True,
        ),
    ]
    http_client: Annotated[
        httpx2.AsyncClient | None,
        Keyword(
            "The HTTP client to send with, an `httpx2.AsyncClient`. It stays yours: close it after the provider. "
            "`None`: one with the SDK's own settings, and a faster pool of connections.",
            operational=True,
        ),
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
        api_key: The key; `None`: ``ANTHROPIC_API_KEY`` at the time of `setup`, else a token.
        params: What every request is sent with where it does not say otherwise, such as ``{"temperature": 0}``.
            ``max_tokens`` is 4096 unless given here or with the request.
    """

    patterns: ClassVar[tuple[str, ...]] = ("claude-*",)
    sdk = ANTHROPIC
    declaration = AnthropicOptions

    def __init__(self, **options: Unpack[AnthropicOptions]) -> None:
        super().__init__(**options)

    def _make_client(self, *, api_key: str, base_url: str, **settings: Any) -> anthropic.AsyncAnthropic:
        if "http_client" not in settings:
            settings["http_client"] = anthropic.DefaultAsyncHttpxClient(event_hooks=hooks(base_url))
            pool_connections(settings["http_client"])
        if settings.pop("is_token", False):
            return anthropic.AsyncAnthropic(auth_token=api_key, base_url=base_url, **settings)
        return anthropic.AsyncAnthropic(api_key=api_key, base_url=base_url, **settings)

    def _make_model(self, name: str, client: anthropic.AsyncAnthropic, **settings: Any) -> AnthropicModel:
        return AnthropicModel(name, client, **settings)

    def _with_credentials(self, settings: dict[str, Any]) -> dict[str, Any]:
        """With the key, or with the token in its place; what is given comes before the environment, the key first."""
        token = settings.pop("auth_token", None)
        variable = self._key_variable or self.sdk.key_variable
        if settings.get("api_key") is None and token is None and not os.environ.get(variable):
            token = os.environ.get(_TOKEN_VARIABLE)
        if settings.get("api_key") is None and token:
            return {**settings, "api_key": Secret(token), "is_token": True}
        return super()._with_credentials(settings)

    def secrets(self) -> Collection[str]:
        """The API keys and tokens, which no message shows."""
        return {*super().secrets(), os.environ.get(_TOKEN_VARIABLE, "")} - {""}


def _is_traced(client: anthropic.AsyncAnthropic) -> bool:
    """Whether the SDK tells OpenTelemetry of its calls, in which case it looks into its objects."""
    option = client.open_telemetry
    if not option["traces"]["enabled"]:
        return False
    is_named = "tracer_provider" in option or "OTEL_PYTHON_TRACER_PROVIDER" in os.environ
    return is_named or type(get_tracer_provider()) is not ProxyTracerProvider


def _check(answer: Any) -> None:
    if (error := _field(answer, "error")) is not None:
        raise ToldError(error)
    if not isinstance(_field(answer, "type"), str):
        raise TypeError("it has no type")


def _field(part: Any, name: str) -> Any:
    """A field that not every server sends."""
    return getattr(part, name, None)


def _object(part: Any) -> Any:
    """A part that has to be there; the SDK does not look."""
    if not isinstance(part, (anthropic.BaseModel, Plain)):
        raise TypeError(f"a part of it is a {type(part).__name__}")
    return part


def _refusal(reason: str | None, ending: Any) -> str | None:
    """Why the model declined, in the server's words; those it always has are the stop reason itself."""
    if reason != "refusal":
        return None
    details = _field(ending, "stop_details")
    return text_of(_field(details, "explanation")) or text_of(_field(details, "category")) or reason


def _usage(usage: object) -> Usage | None:
    cached, written = _field(usage, "cache_read_input_tokens"), _field(usage, "cache_creation_input_tokens")
    told = _field(usage, "input_tokens")
    prompt = count(told)
    return usage_of(
        # Anthropic counts the three apart.
        told if prompt is None else prompt + (count(cached) or 0) + (count(written) or 0),
        _field(usage, "output_tokens"),
        cached=cached,
        written=written,
        reasoning=_field(_field(usage, "output_tokens_details"), "thinking_tokens"),
    )
