"""The providers that talk HTTP keep the contract, with the real clients and SDKs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from tests.conftest import BACKENDS
from tests.llmock_server import LLMock
from tests.seed.samples.mypackage import MyModelProvider

from doteval import AnthropicProvider, HTTPProvider, OpenAICompatibleProvider, OpenAIProvider
from doteval.testing import BasicProviderContract, ProviderContract

LOOPS = {"TestOpenAIProvider": ("asyncio", "trio"), "TestOpenAICompatibleProvider": ("uvloop",)}
"""Both open and close the same clients; the others run on every loop."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "anyio_backend" in metafunc.fixturenames:
        assert metafunc.cls is not None
        loops = LOOPS.get(metafunc.cls.__name__, tuple(BACKENDS))
        each = [BACKENDS[loop] for loop in loops]
        metafunc.parametrize("anyio_backend", each, ids=loops, indirect=True, scope="module")


@pytest.fixture(scope="module")
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


class TestHTTPProvider(ProviderContract[httpx.AsyncClient]):
    bad_spec = "ftp://127.0.0.1"

    @pytest.fixture(autouse=True)
    def _addresses(self, server: LLMock) -> None:
        self.spec = server.url
        self.other_spec = f"{server.url}/v1"

    def make_provider(self) -> HTTPProvider:
        return HTTPProvider()

    def is_open(self, model: httpx.AsyncClient) -> bool:
        return not model.is_closed

    async def use(self, model: httpx.AsyncClient) -> None:
        (await model.get("/models" if str(model.base_url).endswith("/v1/") else "/health")).raise_for_status()


class SDKContract(ProviderContract[Any]):
    bad_config: Mapping[str, Any] = {"api_key": "no header\ncan hold this"}

    @pytest.fixture(autouse=True)
    def _server(self, server: LLMock) -> None:
        self.server = server

    def is_open(self, model: Any) -> bool | None:
        return False if model.client.is_closed() else None  # the client may be open for another model

    async def use(self, model: Any) -> None:
        assert await model.generate("Hello", max_tokens=5)


class TestOpenAIProvider(SDKContract):
    spec, other_spec = "gpt-4o", "gpt-4o-mini"

    def make_provider(self) -> OpenAIProvider:
        return OpenAIProvider(api_key="sk-none", base_url=self.server.base_url("openai"))


class TestOpenAICompatibleProvider(SDKContract):
    spec, other_spec = "llama3:8b", "qwen"

    def make_provider(self) -> OpenAICompatibleProvider:
        return OpenAICompatibleProvider(self.server.base_url("openai"))


class TestAnthropicProvider(SDKContract):
    spec, other_spec = "claude-3", "claude-4"

    def make_provider(self) -> AnthropicProvider:
        return AnthropicProvider(api_key="sk-none", base_url=self.server.base_url("anthropic"))


class TestTheProviderOfTheGuide(BasicProviderContract[Any]):
    """The guide's own sample, unchanged, with the real SDK."""

    bad_spec = "gpt-bad"  # one that is not open yet, as the sample finds what is open by its spec alone
    bad_config: Mapping[str, Any] = {"no_such_setting": 1}

    @pytest.fixture(autouse=True)
    def _key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "not-a-key")

    def make_provider(self) -> MyModelProvider:
        return MyModelProvider({})

    def is_open(self, model: Any) -> bool:
        return not model.sdk.is_closed()
