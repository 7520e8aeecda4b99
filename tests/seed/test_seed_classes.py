"""The guide's samples that need no pytest: classes, as an application would use them, on every backend.

The samples are in ``samples/``. Each says which section of the guide it is of, and what had to be adapted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anyio import create_task_group
from anyio.lowlevel import checkpoint
from tests.seed.samples import practices
from tests.seed.samples.mypackage import MyModelProvider
from tests.seed.ways import ways_to_enter, ways_to_lease

import doteval
from doteval import HandleInactiveError, ModelHandle, ModelProvider, ModelProviders, ModelSetupError, PooledProvider

pytestmark = pytest.mark.anyio


class Client:
    def __init__(self, **config: Any) -> None:
        self.config = config


# ---------------------------------------------------------------- a provider of one's own


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not-a-key")


@ways_to_lease
async def test_the_custom_provider_works_on_its_own(lease: Any) -> None:
    """Not entered: the same spec gives the same client, and tearing the handle down closes it."""
    provider = MyModelProvider({})
    async with lease(provider.setup("gpt-4", max_retries=0)) as handle:
        assert (await provider.setup("gpt-4")).model is handle.model
        client = handle.model
        assert client.sdk.max_retries == 0
    assert client.sdk.is_closed()
    with pytest.raises(HandleInactiveError):
        _ = handle.model
    assert (await provider.setup("gpt-4")).model is not client
    await provider.teardown_all()
    assert not provider._resources


@ways_to_enter
@ways_to_lease
async def test_the_custom_provider_closes_what_is_left(enter: Any, lease: Any) -> None:
    """Entered: at the end every client is closed, alone and among others; and each lease with its own end."""
    async with enter(MyModelProvider({})) as provider:
        alone = (await provider.setup("gpt-4")).model
        async with lease(provider.setup("gpt-4o")) as handle:
            other = handle.model
        assert other.sdk.is_closed()
        assert not alone.sdk.is_closed()
    async with enter(ModelProviders({"mine": MyModelProvider({})})) as providers:
        by_name = (await providers.setup("mine:gpt-4")).model
        async with lease(providers["mine"].setup("gpt-4o")) as one, lease(providers.setup("mine:gpt-4o")) as same:
            assert one is same
        assert not by_name.sdk.is_closed()
    assert alone.sdk.is_closed()
    assert by_name.sdk.is_closed()


# ---------------------------------------------------------------- caching


class Caching(practices.CachingManager):
    """What the sample leaves to the application."""

    def __init__(self) -> None:
        super().__init__()
        self.created: list[Client] = []

    def _make_key(self, config: dict[str, Any]) -> object:
        return tuple(sorted(config.items()))

    async def _create_client(self, **config: Any) -> Client:
        await checkpoint()
        self.created.append(Client(**config))
        return self.created[-1]


async def test_the_caching_manager_caches() -> None:
    """One client for each configuration. Its lock is asyncio's: on trio it serves one caller after the other only."""
    manager = Caching()
    one, same = await manager.get_client(port=1), await manager.get_client(port=1)
    other = await manager.get_client(port=2)
    assert one is same
    assert [client.config for client in manager.created] == [{"port": 1}, {"port": 2}]
    assert other is manager.created[1]


async def test_the_caching_manager_makes_one_client_for_a_crowd(anyio_backend_name: str) -> None:
    """Ten callers at once share it on asyncio; those of a pooled provider do on every backend."""

    class Cached(PooledProvider[Client]):
        created = 0

        @asynccontextmanager
        async def open(self, spec: str, /, **config: Any) -> AsyncIterator[Client]:
            self.created += 1
            await checkpoint()
            yield Client(**config)

    manager = Caching()
    async with Cached() as provider, create_task_group() as task_group:
        for _ in range(10):
            task_group.start_soon(lambda: provider.setup("client", port=1))
            if anyio_backend_name == "asyncio":
                task_group.start_soon(lambda: manager.get_client(port=1))
    assert provider.created == 1
    assert len(manager.created) == (1 if anyio_backend_name == "asyncio" else 0)


# ---------------------------------------------------------------- failures


class Careful(ModelProvider[Client]):
    """The class that the sample's method belongs to; port 0 is not there."""

    setup = practices.setup

    async def _create_resource(self, spec: str) -> Client:
        await checkpoint()
        if spec == "nobody":
            raise ConnectionRefusedError("nobody listens")
        return Client()

    async def teardown(self, resource_id: str, /) -> None:
        await checkpoint()


@ways_to_enter
@ways_to_lease
async def test_a_failing_setup_says_what_to_do(enter: Any, lease: Any) -> None:
    """The guide's wording and the type it promises; a pooled provider raises the same by itself, with the cause."""

    class Pooled(PooledProvider[Client]):
        @asynccontextmanager
        async def open(self, spec: str, /, **config: Any) -> AsyncIterator[Client]:
            yield await Careful()._create_resource(spec)

    with pytest.raises(RuntimeError) as by_hand:
        async with lease(Careful().setup("nobody")):
            pytest.fail("there is nobody")
    async with enter(Pooled()) as provider:
        with pytest.raises(ModelSetupError) as by_itself:
            async with lease(provider.setup("nobody")):
                pytest.fail("there is nobody")
        async with lease(provider.setup("somebody")) as handle:
            assert handle.is_active
    assert isinstance(by_itself.value, RuntimeError)
    assert isinstance(by_itself.value.__cause__, ConnectionRefusedError)
    first, last = str(by_hand.value).splitlines()
    assert first == "Failed to setup resource 'nobody': nobody listens"
    assert str(by_itself.value).splitlines() == [first.replace("nobody l", "ConnectionRefusedError: nobody l"), last]
    async with enter(Careful()) as careful, lease(careful.setup("somebody")) as handle:
        assert handle.is_active
    assert not handle.is_active


# ---------------------------------------------------------------- one pattern


@ways_to_enter
@ways_to_lease
async def test_there_is_one_way_to_obtain_a_model(enter: Any, lease: Any) -> None:
    """No provider of ours has the ways that the guide warns of; one with `setup` alone, as it advises, can be used."""
    warned_of = {"get_client", "create"}
    assert warned_of < vars(practices.ManyPatterns).keys()
    assert warned_of.isdisjoint(vars(practices.OnePattern))
    for name in doteval.__all__:
        if name.endswith(("Provider", "Providers")):
            assert warned_of.isdisjoint(dir(getattr(doteval, name)))

    class Provider(practices.OnePattern):
        async def setup(self, model: str) -> Any:
            assert await super().setup(model) is None, "the guide leaves the body open"
            return ModelHandle(resource_id=model, model=f"a model of {model}", manager=self)

        async def teardown(self, resource_id: str) -> None: ...

    async with enter(ModelProviders({"one": Provider()}, discover=False)) as providers:
        async with lease(providers.setup("one:gpt-4")) as handle:
            assert handle.model == "a model of gpt-4"
