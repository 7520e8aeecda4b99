"""What type checkers make of the public names. Never run: mypy and pyright check it, each in its strict mode."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, assert_type

import anthropic
import openai

from doteval import (
    AnthropicProvider,
    ModelHandle,
    ModelProvider,
    ModelProviders,
    OpenAIProvider,
    PooledProvider,
    ProviderStatistics,
    Setup,
)


class Connection:
    """Something of an author's own."""

    async def aclose(self) -> None: ...


class SeedProvider(ModelProvider[Connection]):
    """A provider with its own books: no super().__init__(), its own dictionaries."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self._resources: dict[str, Connection] = {}
        self._handles: dict[str, ModelHandle[Connection]] = {}

    async def setup(self, resource_spec: str, **kwargs: Any) -> ModelHandle[Connection]:
        if resource_spec in self._handles:
            return self._handles[resource_spec]
        client = Connection()
        handle = ModelHandle(resource_id=resource_spec, model=client, manager=self)
        assert_type(handle, ModelHandle[Connection])
        self._handles[resource_spec] = handle
        self._resources[resource_spec] = client
        return handle

    async def teardown(self, resource_id: str) -> None:
        if resource_id in self._resources:
            client = self._resources[resource_id]
            await client.aclose()
            del self._resources[resource_id]
            del self._handles[resource_id]


class UntypedProvider(ModelProvider):
    """A provider that says nothing about the type of its models, as in the seed: they are Any, without a complaint."""

    async def setup(self, spec: str, /, **config: Any) -> ModelHandle:
        return ModelHandle(resource_id=spec, model=config, manager=self)

    async def teardown(self, resource_id: str) -> None: ...


class Manager:
    """What a handle asks of its manager is a `teardown`; it need not be a provider."""

    async def teardown(self, resource_id: str, /) -> None: ...


class ConnectionProvider(PooledProvider[Connection]):
    """A provider that writes its context manager with the decorator, and names its configuration."""

    @asynccontextmanager
    async def open(self, spec: str, /, *, port: int = 0) -> AsyncGenerator[Connection]:
        connection = Connection()
        try:
            yield connection
        finally:
            await connection.aclose()

    async def healthy(self, model: Connection, /) -> bool:
        return True

    def slots(self, spec: str, /, **config: Any) -> int:
        return 2


class LooseProvider(PooledProvider[Connection]):
    """A provider that takes any configuration."""

    @asynccontextmanager
    async def open(self, spec: str, **config: Any) -> AsyncGenerator[Connection]:
        yield Connection()


async def the_model_of_a_handle_has_the_type_of_the_provider() -> None:
    async with SeedProvider({}) as seed:
        assert_type(seed, SeedProvider)
        handle = await seed.setup("spec", any_configuration=True)
        assert_type(handle.model, Connection)
        await seed.teardown_all()

    async with ConnectionProvider(capacity=["0", "1"], keep_alive=30) as provider:
        assert_type(provider, ConnectionProvider)
        handle = await provider.setup("spec", port=1)
        assert_type(handle, ModelHandle[Connection])
        assert_type(handle.model, Connection)
        assert_type(handle.resource_id, str)
        assert_type(handle.is_active, bool)
        await handle.teardown()
        assert_type(provider.setup("spec"), Setup[Connection])
        async with provider.setup("spec") as short:
            assert_type(short, ModelHandle[Connection])
        async with await provider.setup("spec") as entered:
            assert_type(entered.model, Connection)
        several = await provider.setup_many("a", "b", port=1)
        assert_type(several, tuple[ModelHandle[Connection], ...])
        assert_type(provider.statistics(), ProviderStatistics)


async def the_mapping_gives_all_three_forms(providers: ModelProviders, base: ModelProvider[Connection]) -> None:
    assert_type(await providers.setup("a"), ModelHandle[Any])
    async with providers.setup("a") as handle:
        assert_type(handle, ModelHandle[Any])
    async with await base.setup("a") as other:
        assert_type(other, ModelHandle[Connection])
    assert_type(await base.start(), ModelProvider[Connection])
    await base.aclose()


async def the_chat_providers_give_out_what_they_promise() -> None:
    async with OpenAIProvider() as provider:
        gpt = await provider.setup("gpt-4o")
        assert_type(gpt.model.client, openai.AsyncOpenAI)
        assert_type(gpt.model.name, str)

    async with AnthropicProvider() as provider:
        claude = await provider.setup("claude-sonnet-4-5")
        assert_type(claude.model.client, anthropic.AsyncAnthropic)


def a_handle_takes_its_type_from_the_model() -> None:
    assert_type(ModelHandle("spec", Connection(), Manager()), ModelHandle[Connection])


def a_handle_of_a_derived_model_is_a_handle_of_its_base(handle: ModelHandle[bool]) -> ModelHandle[int]:
    return handle


def what_is_wrong_is_found(handle: ModelHandle[Connection]) -> None:
    handle.model = Connection()  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    ModelHandle("spec", 1, manager=object())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ConnectionProvider(capacity=1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    PooledProvider[Connection]()  # type: ignore[abstract]  # pyright: ignore[reportAbstractUsage]
