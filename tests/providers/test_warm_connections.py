"""Connections that are open before they are needed: as many as asked for, never an error, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import httpx2
import pytest
from tests.checkpoints import at_every_checkpoint, cancelled_at
from tests.providers.network import Network
from tests.virtual_time import virtual_time

from doteval import AnthropicProvider, ChatModel, OpenAICompatibleProvider
from doteval.providers._sdk.warming import _open

pytestmark = [pytest.mark.anyio, virtual_time, pytest.mark.concurrency]
PROVIDERS: dict[str, Callable[..., Any]] = {"openai": OpenAICompatibleProvider, "anthropic": AnthropicProvider}


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    """Where all connections are opened."""
    network = Network()
    monkeypatch.setattr("httpcore2._async.connection_pool.AutoBackend", lambda: network)
    return network


@pytest.fixture(params=PROVIDERS)
def provider_of(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return partial(PROVIDERS[request.param], api_key="key-of-nobody", max_retries=0)


async def ask(model: ChatModel) -> None:
    model.client._platform = "Linux"  # else the SDK asks a thread, for which no virtual time waits
    assert await model.generate("Hello") == "Hi"


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_they_are_open_before_they_are_needed(network: Network, provider_of: Any, count: int) -> None:
    """Once for all models that share a client, and beside the setup, which does not wait for them."""
    async with provider_of(base_url="http://a/chat", warm_connections=count) as provider:
        async with provider.setup("m") as handle, provider.setup("n"):
            assert network.opened == 0
            await anyio.sleep(1)
            assert (network.opened, network.began) == (count, ["/chat"] * count)
            async with anyio.create_task_group() as task_group:
                for _ in range(3):
                    task_group.start_soon(ask, handle.model)
            assert network.opened <= 3
    assert not network.open


@pytest.mark.parametrize("place", ["refusing/chat", "a/garbage", "a/nothing", "a/half", "a/slow", "a/bye", "a/ok"])
async def test_whatever_goes_wrong_the_first_request_finds(network: Network, provider_of: Any, place: str) -> None:
    async with provider_of(base_url=f"http://{place}", warm_connections=2) as provider:
        async with provider.setup("m"):
            await anyio.sleep(30)
            assert len(network.used) <= 2
    assert not network.open


async def test_a_provider_ends_whatever_they_have_come_to(network: Network, provider_of: Any) -> None:
    """At once, and with the lease where nothing is kept."""
    for milliseconds in range(0, 130, 9):
        began = anyio.current_time()
        async with provider_of(base_url="http://a/chat", warm_connections=3, keep_alive=0) as provider:
            async with provider.setup("m"):
                await anyio.sleep(milliseconds / 1000)
            assert not network.open
        assert anyio.current_time() - began < 0.2


async def test_there_are_no_more_than_the_pool_has_room_for(network: Network, provider_of: Any) -> None:
    """Nor does a request wait for the room that they take longer than for an answer."""
    async with httpx2.AsyncClient(limits=httpx2.Limits(max_connections=1)) as http_client:
        async with provider_of(base_url="http://a/chat", warm_connections=3, http_client=http_client) as provider:
            async with provider.setup("m") as handle:
                began = anyio.current_time()
                await ask(handle.model)
                assert anyio.current_time() - began < 1
    assert network.opened == 1


async def test_they_may_be_cancelled_at_every_checkpoint(network: Network) -> None:
    async def trial(k: int) -> bool:
        async with httpx2.AsyncClient() as http_client:
            reached = await cancelled_at(k, partial(_open, http_client, "http://a/chat", 2))
            assert (await http_client.get("http://a/ok")).is_success
        assert not network.open
        return reached

    assert await at_every_checkpoint(trial)
