"""What type checkers make of `doteval.testing` and `doteval.blocking`; never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, assert_type

from doteval import ChatModel, Completion, ModelHandle, ModelProvider, ModelProviders, OpenAIProvider, PooledProvider
from doteval.blocking import BlockingHandle, BlockingModel, BlockingProvider, entered
from doteval.providers.openai import OpenAIModel
from doteval.testing import BasicProviderContract, FakeModel, FakeProvider, ProviderContract


class Connection:
    is_open = True

    async def execute(self, statement: str, *, limit: int = 1) -> list[int]:
        return []


class ConnectionProvider(PooledProvider[Connection]):
    @asynccontextmanager
    async def open(self, spec: str, /, **config: Any) -> AsyncGenerator[Connection]:
        yield Connection()


class TestConnectionProvider(ProviderContract[Connection]):
    """A contract that says what its models are."""

    spec = "results.db"
    bad_spec = "nowhere"
    config: Mapping[str, Any] = {"port": 1}

    def make_provider(self) -> ConnectionProvider:
        return ConnectionProvider()

    def is_open(self, model: Connection) -> bool:
        return model.is_open

    async def use(self, model: Connection) -> None:
        await model.execute("select 1")


class TestInThreeLines(ProviderContract):
    """A contract that says nothing but how to make one."""

    def make_provider(self) -> ConnectionProvider:
        return ConnectionProvider()


class OwnBooks(ModelProvider[Connection]):
    async def setup(self, spec: str, **config: Any) -> ModelHandle[Connection]:
        return ModelHandle(spec, Connection(), self)

    async def teardown(self, resource_id: str) -> None: ...


class TestOwnBooks(BasicProviderContract[Connection]):
    def make_provider(self) -> OwnBooks:
        return OwnBooks()


class TestTheWrongContract(ProviderContract[Connection]):
    def make_provider(self) -> OwnBooks:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        return OwnBooks()


async def fakes_are_chat_models() -> ChatModel:
    async with FakeProvider(replies=["one", OSError("two")], capacity=2) as provider:
        handle = await provider.setup("a", latency=1)
        assert_type(handle.model, FakeModel)
        async with provider.setup("a") as entered_one:
            assert_type(entered_one, ModelHandle[FakeModel])
        assert_type(await handle.model.generate("?"), Completion)
        assert_type(await provider.setup_many("a", "b"), tuple[ModelHandle[FakeModel], ...])
        return handle.model


def a_blocking_handle_knows_its_model() -> None:
    with entered(ConnectionProvider()) as provider:
        assert_type(provider, BlockingProvider[Connection])
        with provider.setup("results.db", port=1) as handle:
            assert_type(handle, BlockingHandle[Connection])
            assert_type(handle.call(Connection.execute, "select 1", limit=2), list[int])
            handle.call(Connection.execute, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with entered(OpenAIProvider(), backend="trio") as openai, openai.setup("gpt-4o") as gpt:
        assert_type(gpt, BlockingHandle[OpenAIModel])
        assert_type(gpt.model, BlockingModel)
        assert_type(gpt.model.generate("Hello"), Completion)
        with gpt.model.stream("Hello") as stream:
            for text in stream:
                assert_type(text, str)
    with entered(ModelProviders()) as providers:
        assert_type(providers, BlockingProvider[Any])
