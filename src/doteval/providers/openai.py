"""``OpenAIProvider``, and ``OpenAICompatibleProvider`` for every other server that speaks the same protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

import openai
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from typing_extensions import Unpack

from .._model import Completion, Usage
from ._sdk.failures import SDK
from ._sdk.model import EventStream, SDKModel
from ._sdk.options import PoolOptions
from ._sdk.provider import SDKProvider

if TYPE_CHECKING:
    import httpx
    import httpx2

OPENAI = SDK(
    key_variable="OPENAI_API_KEY",
    url_variable="OPENAI_BASE_URL",
    url="https://api.openai.com/v1",
    error=openai.OpenAIError,
    timeout_error=openai.APITimeoutError,
    connection_error=openai.APIConnectionError,
    status_error=openai.APIStatusError,
)

NO_KEY = "no-key-needed"


class OpenAIModel(SDKModel[openai.AsyncOpenAI, ChatCompletion, ChatCompletionChunk]):
    """A model behind an OpenAI client: chat completions."""

    sdk = OPENAI

    async def _ask(self, messages: list[dict[str, Any]], params: dict[str, Any]) -> ChatCompletion:
        # Not with `stream=False`, which the SDK would look at for longer than all that is ours takes.
        create = cast("Callable[..., Awaitable[ChatCompletion]]", self.client.chat.completions.create)
        return await create(model=self.name, messages=messages, **params)

    async def _ask_for_stream(
        self, messages: list[dict[str, Any]], params: dict[str, Any]
    ) -> EventStream[ChatCompletionChunk]:
        params = {"stream_options": {"include_usage": True}, **params}
        completions = self.client.chat.completions
        events: EventStream[ChatCompletionChunk] = await completions.create(
            model=self.name, messages=cast(Any, messages), stream=True, **params
        )
        return events

    def _read_answer(self, answer: ChatCompletion) -> Completion:
        choice = answer.choices[0]
        return Completion(
            choice.message.content or "", usage=_usage(answer.usage), finish_reason=choice.finish_reason, raw=answer
        )

    def _read_event(self, event: ChatCompletionChunk) -> Completion:
        text, finish_reason = "", None
        for choice in event.choices:
            if choice.index == 0:
                text += choice.delta.content or ""
                finish_reason = choice.finish_reason or finish_reason
        usage = None if event.usage is None else _usage(event.usage)
        return Completion(text, usage=usage, finish_reason=finish_reason, raw=event)


class OpenAIProvider(SDKProvider[OpenAIModel, openai.AsyncOpenAI]):
    """Leases models of OpenAI.

    ::

        async with OpenAIProvider() as provider:
            async with await provider.setup("gpt-4o") as handle:
                reply = await handle.model.generate("Hello")

    What is given here holds for all models; ``setup(spec, **config)`` takes the same names up to `params` for one
    model. Models whose settings agree share one `openai.AsyncOpenAI`.

    Args:
        api_key: The key; `None`: ``OPENAI_API_KEY`` at the time of `setup`.
        base_url: The address; `None`: ``OPENAI_BASE_URL`` at the time of `setup`, else OpenAI's own.
        organization: `None`: ``OPENAI_ORG_ID``.
        project: `None`: ``OPENAI_PROJECT_ID``.
        timeout: How long a request may take, in seconds, or an `openai.Timeout`. `None`: what the SDK thinks right.
        max_retries: How often the SDK tries again. `None`: what the SDK thinks right.
        default_headers: Headers of every request.
        http_client: The HTTP client to send with, an `httpx2.AsyncClient` or an older `httpx.AsyncClient`. It stays
            yours: close it after the provider.
        max_concurrency: How many requests one model takes at once. `None`: no limit.
        params: What every request is sent with where it does not say otherwise, such as ``{"temperature": 0}``.
        options: What every `PooledProvider` takes, such as ``keep_alive``.
    """

    patterns: ClassVar[tuple[str, ...]] = ("gpt-*", "o1*", "o3*", "o4*", "chatgpt-*")
    sdk = OPENAI

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        organization: str | None = None,
        project: str | None = None,
        timeout: float | openai.Timeout | None = None,
        max_retries: int | None = None,
        default_headers: Mapping[str, str] | None = None,
        http_client: httpx2.AsyncClient | httpx.AsyncClient | None = None,
        max_concurrency: int | None = None,
        params: Mapping[str, Any] | None = None,
        **options: Unpack[PoolOptions],
    ) -> None:
        settings = {
            "api_key": api_key,
            "base_url": base_url,
            "organization": organization,
            "project": project,
            "timeout": timeout,
            "max_retries": max_retries,
            "default_headers": default_headers,
            "http_client": http_client,
        }
        super().__init__(settings, max_concurrency, params, options)

    def _make_client(self, *, api_key: str, base_url: str, **settings: Any) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(api_key=api_key, base_url=base_url, **settings)

    def _make_model(
        self, name: str, client: openai.AsyncOpenAI, *, max_concurrency: int | None, params: Mapping[str, Any]
    ) -> OpenAIModel:
        return OpenAIModel(name, client, max_concurrency=max_concurrency, params=params)


class OpenAICompatibleProvider(OpenAIProvider):
    """Leases models of any server that speaks OpenAI's protocol: vLLM, llama.cpp, Ollama, a gateway.

    ::

        async with OpenAICompatibleProvider("http://127.0.0.1:8000/v1") as provider:
            ...

    Nothing that belongs to OpenAI is sent there: keys, organizations and projects of the environment are not used.

    Args:
        base_url: The server's address, mostly with ``/v1`` at its end.
        api_key: The server's key; `None`: it needs none.
        timeout: How long a request may take, in seconds, or an `openai.Timeout`. `None`: what the SDK thinks right.
        max_retries: How often the SDK tries again. `None`: what the SDK thinks right.
        default_headers: Headers of every request.
        http_client: The HTTP client to send with, an `httpx2.AsyncClient` or an older `httpx.AsyncClient`. It stays
            yours: close it after the provider.
        max_concurrency: How many requests one model takes at once. `None`: no limit.
        params: What every request is sent with where it does not say otherwise, such as ``{"temperature": 0}``.
        options: What every `PooledProvider` takes, such as ``keep_alive``.
    """

    patterns: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        timeout: float | openai.Timeout | None = None,
        max_retries: int | None = None,
        default_headers: Mapping[str, str] | None = None,
        http_client: httpx2.AsyncClient | httpx.AsyncClient | None = None,
        max_concurrency: int | None = None,
        params: Mapping[str, Any] | None = None,
        **options: Unpack[PoolOptions],
    ) -> None:
        super().__init__(
            api_key=api_key,
            base_url=base_url,
            timeout=timeout,
            max_retries=max_retries,
            default_headers=default_headers,
            http_client=http_client,
            max_concurrency=max_concurrency,
            params=params,
            **options,
        )

    def secrets(self) -> Collection[str]:
        """The API keys, which no message shows; the placeholder for none is not one."""
        return set(super().secrets()) - {NO_KEY}

    def _key_from_environment(self) -> str:
        return NO_KEY

    def _make_client(self, *, api_key: str, base_url: str, **settings: Any) -> openai.AsyncOpenAI:
        return compatible_client(api_key=api_key, base_url=base_url, **settings)


def compatible_client(*, api_key: str, base_url: str, **settings: Any) -> openai.AsyncOpenAI:
    """A client for a server that is not OpenAI's, with nothing of what the environment has for OpenAI."""
    client = openai.AsyncOpenAI(api_key=api_key, base_url=base_url, **settings)
    client.admin_api_key = client.webhook_secret = None
    client.organization = settings.get("organization")
    client.project = settings.get("project")
    return client


def _usage(usage: CompletionUsage | None) -> Usage | None:
    return None if usage is None else Usage(usage.prompt_tokens, usage.completion_tokens)
