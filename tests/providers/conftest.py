"""What the provider tests share: a mock server over real HTTP, and the chat providers pointed at it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.llmock_server import LLMock
from tests.providers.wire import WireServer, running

from doteval import AnthropicProvider, OpenAICompatibleProvider, OpenAIProvider

KEY = "sk-nobody-may-see-this"


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """What is sent, read and counted is the same on uvloop; modules in which the loop matters run on every one."""
    return request.param


SDK_ON = {"asyncio": "openai", "trio": "anthropic"}
"""On each loop another SDK, for what has been seen to be the same on both, as ``test_wire.py`` shows."""


@pytest.fixture
def server(mock_server: LLMock) -> LLMock:
    """The mock server, as if just started."""
    mock_server.reset()
    return mock_server


@pytest.fixture(scope="module")
def wire() -> Iterator[WireServer]:
    """A server that sends what it is told to, byte by byte."""
    with running() as server:
        yield server


@pytest.fixture(autouse=True)
def no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "BASE_URL", "ORG_ID", "PROJECT_ID", "ADMIN_KEY", "CUSTOM_HEADERS", "AUTH_TOKEN"):
        monkeypatch.delenv(f"OPENAI_{name}", raising=False)
        monkeypatch.delenv(f"ANTHROPIC_{name}", raising=False)


Provider = OpenAIProvider | AnthropicProvider


@dataclass(frozen=True)
class Chat:
    """One of the chat providers, and how to get one that talks to the mock server."""

    provider_class: type[Provider]
    kind: str
    spec: str
    server: LLMock

    @property
    def base_url(self) -> str:
        return self.server.base_url(self.kind)

    def provider(self, **settings: Any) -> Any:
        defaults = {"base_url": self.base_url, "api_key": KEY, "max_retries": 0, "timeout": 30}
        return self.provider_class(**(defaults | settings))


CHATS = {
    "openai": (OpenAIProvider, "openai", "gpt-4o"),
    "compatible": (OpenAICompatibleProvider, "openai", "llama3:8b"),
    "anthropic": (AnthropicProvider, "anthropic", "claude-sonnet-5-5"),
}


CHATS_ON = {"asyncio": ("openai", "anthropic"), "trio": ("compatible", "anthropic")}
"""OpenAI's own API and one that is compatible are asked in the same way, each on one of the loops."""


@pytest.fixture(params=[0, 1], ids=["openai", "anthropic"])
def chat(request: pytest.FixtureRequest, anyio_backend_name: str, server: LLMock) -> Chat:
    return Chat(*CHATS[CHATS_ON[anyio_backend_name][request.param]], server)


@pytest.fixture(params=["openai", "anthropic"])
def sdk(request: pytest.FixtureRequest, server: LLMock) -> Chat:
    """One for each SDK, where the provider makes no difference."""
    return Chat(*CHATS[request.param], server)


@pytest.fixture
def one_sdk(anyio_backend: str, server: LLMock) -> Chat:
    """On each loop another SDK, where neither loop nor server has to do with what is tested."""
    return Chat(*CHATS[SDK_ON[anyio_backend]], server)
