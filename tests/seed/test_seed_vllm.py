"""The guide's example of a provider that starts vLLM: with its own dictionaries, and a small server in vLLM's place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.seed.samples.vllm_provider import VLLMProvider
from tests.seed.ways import ways_to_enter, ways_to_lease

from doteval import HandleInactiveError, ModelProvider, ModelProviders
from doteval.servers import HTTPReady, ReadinessView
from doteval.servers._local.ports import free_port

pytestmark = pytest.mark.anyio

SERVER = Path(__file__).parent.parent / "servers" / "light_server.py"


class Client:
    """What the sample calls a VLLMClient."""

    def __init__(self, port: int) -> None:
        url = f"http://127.0.0.1:{port}/v1"
        self.sdk = openai.AsyncOpenAI(base_url=url, api_key="no-key-needed", max_retries=0)

    async def ask(self, prompt: str) -> str | None:
        message = {"role": "user", "content": prompt}
        reply = await self.sdk.chat.completions.create(model="small", messages=[message])
        return reply.choices[0].message.content


class Filled(VLLMProvider):
    """What the sample leaves to the reader."""

    async def _start_server(self, model: str, port: int, config: dict[str, object]) -> None:
        command = [sys.executable, "-I", "-S", str(SERVER), str(port), f"model={model}"]
        self._servers[model] = subprocess.Popen(command)  # noqa: ASYNC220 - as in the sample
        self._clients[model] = Client(port)
        await HTTPReady().wait(ReadinessView(port, Path()))

    async def teardown(self, model: str) -> None:
        client = self._clients.get(model)
        if client is not None:
            await client.sdk.close()
        await super().teardown(model)


class Ours(Filled, ModelProvider[Client]):
    """The same with our base class, so that it can be entered."""


async def test_the_vllm_provider_works_on_its_own() -> None:
    """The same model gives the same handle, the server answers, and the teardown ends it."""
    provider = Filled(base_port=free_port())
    handle = await provider.setup("small", gpu_memory=0.5)
    process = provider._servers["small"]
    try:
        assert await provider.setup("small") is handle
        assert await handle.model.ask("Hello") == str(process.pid)
    finally:
        await handle.teardown()
    assert process.returncode is not None
    assert (provider._servers, provider._clients, provider._handles) == ({}, {}, {})
    with pytest.raises(HandleInactiveError):
        _ = handle.model


@ways_to_enter
async def test_the_vllm_provider_is_found_by_name_and_closed_with_the_others(enter: Any) -> None:
    """Among all providers, where the end tears down what is left."""
    provider = Ours(base_port=free_port())
    async with enter(ModelProviders({"servers": provider}, discover=False)) as providers:
        handle = await providers.setup("servers:small")
        process = provider._servers["small"]
        assert await handle.model.ask("Hello") == str(process.pid)
    assert process.returncode is not None
    assert not handle.is_active
    assert provider._servers == {}


@ways_to_enter
@ways_to_lease
async def test_the_vllm_provider_can_be_entered_and_so_can_its_leases(enter: Any, lease: Any) -> None:
    """Its class has been written without our base, which is inherited besides; so it is one of ours."""
    async with enter(Ours(base_port=free_port())) as provider, lease(provider.setup("small")) as handle:
        process = provider._servers["small"]
        assert await handle.model.ask("Hello") == str(process.pid)
        kept = await provider.setup("small")
    assert process.returncode is not None
    assert not kept.is_active
