"""Our own providers keep the contract; for each test of it there is a provider that breaks just that promise."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from inspect import iscoroutinefunction
from typing import Any

import httpx
import pytest
from anyio import create_task_group, sleep_forever
from tests.llmock_server import LLMock
from tests.seed.samples.mypackage import MyModelProvider
from tests.wrong_providers import WRONG, Client, Looks, OwnBooks, Pooled

from doteval import (
    AnthropicProvider,
    ContextProvider,
    HTTPProvider,
    OpenAICompatibleProvider,
    OpenAIProvider,
)
from doteval.testing import BasicProviderContract, FakeModel, FakeProvider, ProviderContract


@pytest.fixture
def server(mock_server: LLMock) -> LLMock:
    """A server for the providers that talk HTTP."""
    mock_server.reset()
    return mock_server


class TestFakeProvider(ProviderContract[FakeModel]):
    bad_spec = "bad"

    def make_provider(self) -> FakeProvider:
        return FakeProvider(open_failures={"bad": OSError("no such model")})

    def is_open(self, model: FakeModel) -> bool:
        return not model.is_closed

    async def use(self, model: FakeModel) -> None:
        assert await model.generate("Hello") == "Hello"


class TestFakeProviderThatKeepsNothing(TestFakeProvider):
    def make_provider(self) -> FakeProvider:
        return FakeProvider(open_failures={"bad": OSError("no such model")}, keep_alive=0, capacity=2)


class Session:
    is_open = True


class TestContextProvider(ProviderContract[Session]):
    """The context manager holds a task group open, as sessions and browsers do."""

    bad_spec = "bad"

    def make_provider(self) -> ContextProvider[Session]:
        @asynccontextmanager
        async def connect(spec: str, **config: Any) -> AsyncGenerator[Session]:
            async with create_task_group() as task_group:
                if spec == "bad":
                    raise OSError("no such session")
                task_group.start_soon(sleep_forever)
                session = Session()
                try:
                    yield session
                finally:
                    session.is_open = False
                    task_group.cancel_scope.cancel()

        return ContextProvider(connect)

    def is_open(self, model: Session) -> bool:
        return model.is_open


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
    bad_config: Mapping[str, Any] = {"no_such_setting": 1}

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


class TestAProviderWithItsOwnBooks(Looks, BasicProviderContract[Client]):
    """It runs the part of the contract that is about every provider."""

    def make_provider(self) -> OwnBooks:
        return OwnBooks()


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


class TestAPooledProvider(Looks, ProviderContract[Client]):
    """What the wrong ones below are made of is right."""

    def make_provider(self) -> Pooled:
        return Pooled()


WITHOUT_NEIGHBOURS = ("-p", "no:asyncio", "-p", "no:trio", "-p", "no:dotevals")


def is_async(test: str) -> bool:
    return iscoroutinefunction(getattr(ProviderContract, test))


def contract_tests(contract: type[Any]) -> set[str]:
    return {name for name in dir(contract) if name.startswith("test_")}


def test_for_every_test_there_is_a_provider_that_it_catches() -> None:
    """Whoever adds a test to the contract adds a provider that it fails."""
    assert {test for test, _, _ in WRONG} == contract_tests(ProviderContract)


@pytest.mark.process
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_each_test_catches_who_breaks_its_promise(pytester: pytest.Pytester, backend: str) -> None:
    """It fails, and its message says what the author should do."""
    pytester.makepyfile(
        test_wrong="""
        from tests.wrong_providers import WRONG, contract_of

        globals().update({f"Test{kind.__name__}": contract_of(kind) for _, kind, _ in WRONG})
        """
    )
    told_by = {
        f"test_wrong.py::Test{kind.__name__}::{test}" + (f"[{backend}]" if is_async(test) else ""): told
        for test, kind, told in WRONG
    }
    result = pytester.inline_run(*WITHOUT_NEIGHBOURS, *told_by)
    said = {report.nodeid: str(report.longrepr) for report in result.getfailures()}
    missed = {
        nodeid: said.get(nodeid, "passed")[-600:] for nodeid in told_by if told_by[nodeid] not in said.get(nodeid, "")
    }
    assert missed == {}


def test_a_provider_that_is_not_pooled_is_told_which_contract_to_run(pytester: pytest.Pytester) -> None:
    """It is the author who chooses, and nothing is left out in silence."""
    pytester.makepyfile(
        """
        from doteval.testing import ProviderContract
        from tests.wrong_providers import OwnBooks

        class TestMine(ProviderContract):
            def make_provider(self):
                return OwnBooks()
        """
    )
    result = pytester.runpytest_inprocess(*WITHOUT_NEIGHBOURS, "-k", "test_its_repr_counts")
    result.stdout.fnmatch_lines(["*OwnBooks does not inherit PooledProvider: test it with BasicProviderContract*"])


@pytest.mark.process
def test_three_lines_run_all_of_it_on_both_backends(pytester: pytest.Pytester) -> None:
    """As an author has it: no conftest, the usual plugins; what needs a hint is skipped, and says which."""
    pytester.makepyfile(
        """
        from doteval.testing import FakeProvider, ProviderContract

        class TestMyProvider(ProviderContract):
            def make_provider(self):
                return FakeProvider()
        """
    )
    result = pytester.runpytest_subprocess("-rs")
    tests = contract_tests(ProviderContract)
    runs = sum(2 if is_async(test) else 1 for test in tests)
    result.assert_outcomes(passed=runs - 2, skipped=2)
    result.stdout.fnmatch_lines(["SKIPPED*set bad_spec or bad_config to something that the provider cannot open"])


def test_a_contract_without_a_provider_says_what_to_write(pytester: pytest.Pytester) -> None:
    """The one method that has to be there."""
    pytester.makepyfile(
        """
        from doteval.testing import BasicProviderContract, ProviderContract

        class TestNothing(ProviderContract):
            pass

        class TestNothingMuch(BasicProviderContract):
            pass
        """
    )
    result = pytester.runpytest_inprocess(*WITHOUT_NEIGHBOURS, "-k", "test_setup_gives_a_handle and asyncio")
    result.assert_outcomes(failed=2)
    for name in ("TestNothing", "TestNothingMuch"):
        result.stdout.fnmatch_lines([f"*{name} needs a method make_provider(self) that returns a provider"])


@pytest.mark.parametrize("test", sorted(contract_tests(ProviderContract)))
def test_each_test_of_the_contract_says_what_it_shows(test: str) -> None:
    """In its docstring, which is where an author looks first."""
    assert getattr(ProviderContract, test).__doc__
