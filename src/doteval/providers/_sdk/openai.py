"""What speaks OpenAI's protocol, whoever answers: the model, its client, and what they are given."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Sequence
from types import ModuleType
from typing import Annotated, Any, ClassVar, cast

import openai
from openai.resources.chat import AsyncCompletions
from openai.types import chat
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage
from openai.types.chat.chat_completion_chunk import ChoiceDelta

from ..._keywords import Keyword
from ..._model import Completion, ToolCall, Usage
from .failures import SDK
from .model import SDKModel
from .options import TIMEOUT, ModelOptions, timeout
from .outcomes import ToldError, finish_reason, text_of, texts_of, usage_of
from .plain import is_of, is_plain, own_method, raw_of

OPENAI = SDK(
    key_variable="OPENAI_API_KEY",
    url_variable="OPENAI_BASE_URL",
    url="https://api.openai.com/v1",
    error=openai.OpenAIError,
    timeout_error=openai.APITimeoutError,
    connection_error=openai.APIConnectionError,
    status_error=openai.APIStatusError,
    credentials={
        "AsyncAzureOpenAI": "AZURE_OPENAI_API_KEY or AZURE_OPENAI_AD_TOKEN, or what the client was given",
        "CompatibleClient": "api_key=, or the variable that key_variable= names",
        "AsyncBedrockOpenAI": "AWS_BEARER_TOKEN_BEDROCK or the AWS credentials, or what the client was given",
    },
)

NO_KEY = "no-key-needed"

_CREATE = own_method(AsyncCompletions, "create")
_NOT_PLAIN = {"self", "model", "extra_headers", "extra_query", "extra_body", "timeout"}
_PARAMETERS: set[str] = set() if _CREATE is None else {*inspect.signature(_CREATE).parameters} - _NOT_PLAIN
"""What of a request is sent as it is given."""
_OPTIONS: openai.RequestOptions = {"security": {"bearer_auth": True}}
"""What the SDK's own method says."""


class OpenAIModelOptions(ModelOptions, total=False):
    """What a model behind an OpenAI client is given."""

    timeout: Annotated[
        float | openai.Timeout | None,
        Keyword(
            f"{TIMEOUT} An `openai.Timeout` says it for each. `None`: what the SDK thinks right.",
            check=timeout,
            operational=True,
        ),
    ]


class OpenAIModel(SDKModel[openai.AsyncOpenAI, ChatCompletion, ChatCompletionChunk]):
    """A model behind an OpenAI client: chat completions."""

    sdk = OPENAI
    types: ClassVar[ModuleType] = chat

    def _request(self, messages: list[dict[str, Any]], params: dict[str, Any]) -> dict[str, Any]:
        if "stream" in params:  # never as `False`, which the SDK would look at for longer than all that is ours takes
            params = {"stream_options": {"include_usage": True}, **params}
        return {**params, "messages": messages}

    def _create(self) -> Callable[..., Awaitable[Any]]:
        return cast("Callable[..., Awaitable[Any]]", self.client.chat.completions.create)

    def _send_plain(self, request: dict[str, Any]) -> Awaitable[Any] | None:
        if not is_of(self._create(), _CREATE) or not request.keys() <= _PARAMETERS or not is_plain(request):
            return None
        return self.client.post(
            "/chat/completions",
            cast_to=object,
            body={"model": self.name, **request},
            options=_OPTIONS,
            stream="stream" in request,
            stream_cls=openai.AsyncStream[object],
        )

    def _read_answer(self, answer: ChatCompletion) -> Completion:
        _check(answer)
        choice = answer.choices[0]
        message = choice.message
        text, reasoning, refusal = _texts(message)
        calls = _ToolCalls()
        calls.add(message)
        reason = finish_reason(_field(choice, "finish_reason"), _field(choice, "error"))
        return Completion(
            text,
            usage=_usage(answer.usage),
            finish_reason="refusal" if refusal else reason,
            refusal=refusal or None,
            reasoning=reasoning or None,
            tool_calls=calls.whole(),
            raw=raw_of(answer, ChatCompletion),
        )

    def _usage_in(self, answer: object) -> Usage | None:
        return _usage(_field(answer, "usage"))

    def _reader(self) -> Callable[[ChatCompletionChunk], Completion]:
        return _Reader().read


class _Reader:
    """Reads one stream. The parts of its tool calls are kept until they are whole."""

    def __init__(self) -> None:
        self._calls = _ToolCalls()
        self._is_refused = False

    def read(self, chunk: ChatCompletionChunk) -> Completion:
        """What a chunk brings."""
        _check(chunk)
        text, reasoning, refusal, reason = "", "", "", None
        for choice in chunk.choices:
            if _field(choice, "index"):
                continue  # another reply, which n= asks for
            if (delta := _field(choice, "delta")) is not None:
                text, reasoning, refusal = _texts(delta)
                self._calls.add(delta)
            reason = finish_reason(choice.finish_reason, _field(choice, "error"))
        self._is_refused = self._is_refused or bool(refusal)
        if reason is not None and self._is_refused:
            reason = "refusal"
        return Completion(
            text,
            usage=_usage(chunk.usage),
            finish_reason=reason,
            refusal=refusal or None,
            reasoning=reasoning or None,
            tool_calls=() if reason is None else self._calls.whole(),
            raw=raw_of(chunk, ChatCompletionChunk),
        )


class _ToolCalls:
    """The tool calls of one reply, whole or in parts.

    Parts belong together by their index. But some servers number nothing, or give all calls the index 0, so a new id
    begins a new call as well.
    """

    def __init__(self) -> None:
        self._calls: dict[object, list[str]] = {}
        self._current: dict[str, object] = {}

    def add(self, message: ChatCompletionMessage | ChoiceDelta) -> None:
        """Add what a message or a part of one has."""
        for call in cast("Sequence[Any]", message.tool_calls or ()):
            function = _field(call, "function") or _field(call, "custom")
            arguments = _field(function, "arguments") or _field(function, "input")
            self._add(str(_field(call, "index")), text_of(_field(call, "id")), function, arguments)
        if (legacy := message.function_call) is not None:
            self._add("function", "", legacy, _field(legacy, "arguments"))

    def whole(self) -> tuple[ToolCall, ...]:
        """All of them, in the order in which they began; each is told once."""
        calls = tuple(ToolCall(*call) for call in self._calls.values())
        self._calls.clear()
        return calls

    def _add(self, index: str, call_id: str, function: object, arguments: object) -> None:
        place = self._current.get(index)
        if place is None or (call_id and self._calls[place][0] not in ("", call_id)):
            place = self._current[index] = object()
            self._calls[place] = ["", "", ""]
        call = self._calls[place]
        call[0] = call[0] or call_id
        call[1] = call[1] or text_of(_field(function, "name"))
        call[2] += json.dumps(arguments) if isinstance(arguments, (dict, list)) else text_of(arguments)


class CompatibleClient(openai.AsyncOpenAI):
    """A client for a server that is not OpenAI's, with nothing of what the environment has for OpenAI.

    Its `with_options` makes another one of these, so it does not bring any of that along either.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.admin_api_key = settings.get("admin_api_key")
        self.webhook_secret = settings.get("webhook_secret")
        self.organization = settings.get("organization")
        self.project = settings.get("project")
        self._custom_headers = dict(settings.get("default_headers") or {})  # the SDK mixes those of the environment in


def _check(answer: Any) -> None:
    if (error := getattr(answer, "error", None)) is not None:
        raise ToldError(error)


def _texts(message: ChatCompletionMessage | ChoiceDelta) -> tuple[str, str, str]:
    """Reply, reasoning and refusal; the last two have more than one place, and some servers fill several."""
    text, thought, declined = texts_of(message.content)
    shown = text_of(_field(message, "reasoning_content")) or text_of(_field(message, "reasoning"))
    return text, thought or shown, declined or text_of(_field(message, "refusal"))


def _field(part: Any, name: str) -> Any:
    """A field that not every server sends, or that is not OpenAI's."""
    return getattr(part, name, None)


def _usage(usage: object) -> Usage | None:
    prompt, reply = _field(usage, "prompt_tokens_details"), _field(usage, "completion_tokens_details")
    cached = _field(prompt, "cached_tokens")
    return usage_of(
        _field(usage, "prompt_tokens"),
        _field(usage, "completion_tokens"),
        total=_field(usage, "total_tokens"),
        cached=_field(usage, "prompt_cache_hit_tokens") if cached is None else cached,
        written=_field(prompt, "cache_write_tokens"),
        reasoning=_field(reply, "reasoning_tokens"),
    )
