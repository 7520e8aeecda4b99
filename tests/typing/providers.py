"""What type checkers make of our providers. Never run: mypy and pyright check it, each in its strict mode."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, assert_type

import anthropic
import httpx
import httpx2
import openai
from openai.types.chat import ChatCompletionMessage
from typing_extensions import Unpack

from doteval import (
    AnthropicProvider,
    ChatModel,
    CommandProvider,
    Completion,
    CompletionStream,
    ContextProvider,
    HTTPProvider,
    LlamaCppProvider,
    ModelHandle,
    ModelRequest,
    OllamaProvider,
    OpenAICompatibleProvider,
    OpenAIProvider,
    PooledProvider,
    PoolOptions,
    ServerProvider,
    SGLangProvider,
    ToolCall,
    TransformersProvider,
    Usage,
    VLLMProvider,
    counting_requests,
)
from doteval.servers import HTTPReady, LocalLauncher, LogLine, ReadinessView, ReadyWhen, Server


class Connection:
    """Something of an author's own."""

    def __init__(self, spec: str) -> None: ...

    async def __aenter__(self) -> Session:
        return Session()

    async def __aexit__(self, *details: object) -> None: ...


class Session:
    """What it is entered for."""


@asynccontextmanager
async def connect(spec: str, *, port: int = 1) -> AsyncGenerator[Connection]:
    yield Connection(spec)


async def is_open(connection: Connection) -> bool:
    return True


async def evaluate(model: ChatModel) -> None:
    """What is written for one chat model takes all of them."""
    assert_type(await model.generate("Hello", temperature=0), Completion)
    reply = await model.generate([{"role": "user", "content": "Hello"}])
    assert_type(reply.usage, Usage | None)
    assert_type(reply.finish_reason, str | None)
    assert_type(reply.refusal, str | None)
    assert_type(reply.tool_calls, tuple[ToolCall, ...])
    assert_type(reply.retries, int)
    await model.generate([{"role": "user", "content": "Hello"}, ChatCompletionMessage(role="assistant", content="Hi")])
    with counting_requests() as requests:
        async with model.stream("Hello") as stream:
            assert_type(stream, CompletionStream)
            async for text in stream:
                assert_type(text, str)
    assert_type(requests, list[ModelRequest])
    assert_type(stream.completion, Completion)


async def chat_models_need_no_cast() -> None:
    async with OpenAIProvider(keep_alive=30, http_client=httpx.AsyncClient()) as provider:
        handle = await provider.setup("gpt-4o", params={"temperature": 0})
        assert_type(handle.model.client, openai.AsyncOpenAI)
        await evaluate(handle.model)

    async with OpenAICompatibleProvider("http://127.0.0.1:8000/v1", max_concurrency=4) as provider:
        handle = await provider.setup("llama3:8b")
        assert_type(handle.model.client, openai.AsyncOpenAI)

    async with AnthropicProvider(timeout=anthropic.Timeout(5), http_client=httpx2.AsyncClient()) as claude:
        handles = await claude.setup_many("claude-opus-5", "claude-haiku-5-5")
        assert_type(handles[0].model.client, anthropic.AsyncAnthropic)
        await evaluate(handles[0].model)


async def other_models_have_the_type_of_what_they_are() -> None:
    async with HTTPProvider() as http:
        assert_type(await http.setup("http://127.0.0.1"), ModelHandle[httpx.AsyncClient])

    async with ContextProvider(connect, is_healthy=is_open) as connections:
        assert_type(connections, ContextProvider[Connection])
        assert_type(await connections.setup("a", port=2), ModelHandle[Connection])

    async with ContextProvider(Connection) as sessions:
        assert_type(await sessions.setup("a"), ModelHandle[Session])


async def is_loaded(view: ReadinessView) -> bool:
    return view.pid is not None


def client_of(server: Server) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url)


async def the_model_of_a_server_needs_no_cast() -> None:
    ready = HTTPReady("/health") & (LogLine("ready") | ReadyWhen(is_loaded))
    async with ServerProvider(["serve", "{port}"], ready=ready, restarts=1, launcher=LocalLauncher()) as provider:
        handle = await provider.setup("a", context=1)
        assert_type(handle.model.server, Server)

    async with CommandProvider(["serve", "{port}"], stop_command=["stop"], gpus=[0]) as servers:
        assert_type(servers, CommandProvider[Server])
        assert_type(await servers.setup("a", context=1), ModelHandle[Server])

    async with CommandProvider(["serve", "{port}"], model=client_of) as clients:
        assert_type(clients, CommandProvider[httpx.AsyncClient])
        assert_type(await clients.setup("a"), ModelHandle[httpx.AsyncClient])
        assert_type(handle.model.server.pid, int | None)
        assert_type(handle.model.base_url, str)
        assert_type(handle.model.client, openai.AsyncOpenAI)
        await evaluate(handle.model)


def what_is_wrong_is_found() -> None:
    ServerProvider(["serve"], capacity="2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ServerProvider(["serve"], slots=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    OpenAIProvider(timeout="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    OpenAIProvider(keepalive=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    OpenAICompatibleProvider()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    AnthropicProvider(http_client=httpx.AsyncClient())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    CommandProvider(["x"], restarts=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    ContextProvider(is_open)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def options_of_servers_are_checked() -> None:
    VLLMProvider(max_model_len=4096, lora_modules={"sql": "/loras/sql"}, gpus=None, restarts=1, keep_alive=5, timeout=2)
    VLLMProvider(max_model_len=None, extra_args=["--max-logprobs", "5"], python="/env/bin/python")
    LlamaCppProvider(gpu_layers="all", tensor_split=[3, 1], flash_attn=True)
    VLLMProvider(max_model_len="4096")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    VLLMProvider(max_modellen=4096)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    VLLMProvider(restarts="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    VLLMProvider(health_after=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    SGLangProvider(context_length=1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    SGLangProvider(max_model_len=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    TransformersProvider(trust_remote_code="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    LlamaCppProvider(gpu_layers="some")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    OllamaProvider(pull="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    HTTPProvider(keep_alive="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


class Hooks(PooledProvider[Connection]):
    """The hooks as the documentation prints them, with the configuration by name."""

    patterns = ("hooks-*",)

    def __init__(self, **options: Unpack[PoolOptions]) -> None:
        super().__init__(**options)

    @asynccontextmanager
    async def open(self, spec: str, /, *, mode: str = "a", slots: tuple[str, ...] = ()) -> AsyncGenerator[Connection]:
        yield Connection(spec)

    async def healthy(self, model: Connection, /) -> bool:
        return True

    def is_broken(self, model: Connection, /) -> bool:
        return False

    def breaks(self, error: Exception, /) -> bool:
        return isinstance(error, ConnectionError)

    def idle(self, model: Connection, /) -> None: ...

    def slots(self, spec: str, /, *, mode: str = "a") -> int:
        return 2 if spec == "large" else 1

    def secrets(self) -> set[str]:
        return {"key"}

    def identity(self, spec: str = "", /, *, mode: str = "a") -> Mapping[str, Any]:
        return {**super().identity(spec, mode=mode), "version": "1.0"}


class ByTheSpec(PooledProvider[Connection]):
    """Who takes no configuration needs not say so."""

    @asynccontextmanager
    async def open(self, spec: str, /, *, slots: tuple[str, ...]) -> AsyncGenerator[Connection]:
        yield Connection(spec)

    def slots(self, spec: str, /) -> int:
        return 1

    def identity(self, spec: str = "", /) -> Mapping[str, Any]:
        return super().identity(spec)
