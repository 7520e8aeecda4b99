"""What speaks OpenAI's protocol, whoever answers: the model, its client, and what they are given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, cast

import openai
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from ..._keywords import Keyword
from ..._model import Completion, Usage
from .failures import SDK
from .model import EventStream, SDKModel
from .options import ModelOptions

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


class OpenAIModelOptions(ModelOptions, total=False):
    """What a model behind an OpenAI client is given."""

    timeout: Annotated[
        float | openai.Timeout | None,
        Keyword("How long a request may take, in seconds, or an `openai.Timeout`. `None`: what the SDK thinks right."),
    ]


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


def compatible_client(*, api_key: str, base_url: str, **settings: Any) -> openai.AsyncOpenAI:
    """A client for a server that is not OpenAI's, with nothing of what the environment has for OpenAI."""
    client = openai.AsyncOpenAI(api_key=api_key, base_url=base_url, **settings)
    client.admin_api_key = client.webhook_secret = None
    client.organization = settings.get("organization")
    client.project = settings.get("project")
    return client


def _usage(usage: CompletionUsage | None) -> Usage | None:
    return None if usage is None else Usage(usage.prompt_tokens, usage.completion_tokens)
