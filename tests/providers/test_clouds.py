"""The SDKs' clients for other clouds, under our models: as the guide says, on loopback."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import openai
import pytest
from tests.providers.conftest import KEY
from tests.providers.wire import Reply, Sent, WireServer, answer, events

from doteval import ModelRequestError, PooledProvider
from doteval.providers.anthropic import AnthropicModel
from doteval.providers.openai import OpenAIModel

pytestmark = [pytest.mark.anyio, pytest.mark.concurrency]

CLOUDS: dict[str, tuple[type[Any], Callable[[str], Any], str, str]] = {
    "Azure": (
        OpenAIModel,
        lambda url: openai.AsyncAzureOpenAI(azure_endpoint=url, api_version="2024-10-21", api_key=KEY, max_retries=0),
        "/openai/deployments/m/chat/completions?api-version=2024-10-21",
        "AZURE_OPENAI_API_KEY",
    ),
    "OpenAI on Bedrock": (
        OpenAIModel,
        lambda url: openai.AsyncBedrockOpenAI(base_url=url, api_key=KEY, max_retries=0),
        "/chat/completions",
        "AWS_BEARER_TOKEN_BEDROCK",
    ),
    "Anthropic on Bedrock": (
        AnthropicModel,
        lambda url: anthropic.AsyncAnthropicBedrock(base_url=url, aws_region="eu", api_key=KEY, max_retries=0),
        "/model/m/invoke",
        "the AWS credentials",
    ),
    "Anthropic on Vertex": (
        AnthropicModel,
        lambda url: anthropic.AsyncAnthropicVertex(
            base_url=url, region="eu", project_id="p", access_token=KEY, max_retries=0
        ),
        "/projects/p/locations/eu/publishers/anthropic/models/m:rawPredict",
        "the Google Cloud credentials",
    ),
    "Anthropic on Foundry": (
        AnthropicModel,
        lambda url: anthropic.AsyncAnthropicFoundry(base_url=url, api_key=KEY, max_retries=0),
        "/v1/messages",
        "ANTHROPIC_FOUNDRY_API_KEY",
    ),
}


class Cloud(PooledProvider[Any]):
    """Leases the models behind a client that is made here."""

    def __init__(self, model_class: type[Any], make: Callable[[], Any]) -> None:
        super().__init__()
        self._model_class, self._make_client = model_class, make

    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Any]:
        async with self._make_client() as client:
            yield self._model_class(spec, client)


@pytest.mark.parametrize("name", CLOUDS)
async def test_a_client_of_another_cloud_is_a_client(wire: WireServer, name: str) -> None:
    """It is asked and streamed from like any other; its errors say where its key comes from, and do not show it."""
    model_class, make, path, credentials = CLOUDS[name]
    kind = "openai" if model_class is OpenAIModel else "anthropic"
    async with Cloud(model_class, lambda: make(wire.url)) as provider, await provider.setup("m") as handle:
        model = handle.model
        wire.script(answer(kind, Reply(["Hi"])))
        assert await model.generate("Hello") == "Hi"
        assert wire.asked[-1].startswith(f"POST {path} ".encode())
        assert KEY not in repr(model)
        if name != "Anthropic on Bedrock":
            wire.script(events(kind, Reply(["Hi"])))
            async with model.stream("Hello") as stream:
                assert [piece async for piece in stream] == ["Hi"]
        wire.script(Sent(f'{{"error": {{"message": "Who is {KEY}?"}}}}'.encode(), status=401))
        with pytest.raises(ModelRequestError) as caught:
            await model.generate("Hello")
        assert credentials in str(caught.value)
        assert "Who is ***?" in str(caught.value)
        assert KEY not in str(caught.value.__cause__)
        if name == "Anthropic on Bedrock" and importlib.util.find_spec("botocore") is None:
            wire.script(events(kind, Reply(["Hi"])))
            # It says what there is to do about it. The SDK keeps the connection, so this comes last.
            with pytest.raises(ModuleNotFoundError, match="botocore"):
                async with model.stream("Hello"):
                    pass
