"""A provider package written as in the guide we start from: its own class, its own dictionaries, its own fixtures."""

from __future__ import annotations

import pytest
from tests.plugin.runs import Runs, assert_clean

# The guide's samples, put together; only the client, of which it says nothing, is made up.
PACKAGE = """
from doteval import ModelProvider, ModelHandle
from typing import Dict, Any


class MyClient:
    def __init__(self, spec, **kwargs):
        self.spec = spec
        self.closed = False

    async def generate(self, prompt):
        import anyio
        assert not self.closed
        await anyio.sleep(0)
        return f"{self.spec}: {prompt}"

    async def close(self):
        import anyio
        await anyio.sleep(0)
        self.closed = True


class MyModelProvider(ModelProvider):
    \"""Custom model provider implementation.\"""

    def __init__(self, config: Dict[str, Any]):
        self.config = config
        self._resources: Dict[str, Any] = {}
        self._handles: Dict[str, ModelHandle] = {}

    async def setup(self, resource_spec: str, **kwargs) -> ModelHandle:
        \"""Setup a resource and return a handle.\"""
        if resource_spec in self._handles:
            return self._handles[resource_spec]

        # Create resource (might be async)
        client = await self._create_resource(resource_spec, **kwargs)

        # Create standard handle
        handle = ModelHandle(
            resource_id=resource_spec,
            model=client,
            manager=self
        )
        self._handles[resource_spec] = handle
        self._resources[resource_spec] = client

        return handle

    async def teardown(self, resource_id: str) -> None:
        \"""Tear down a specific resource.\"""
        if resource_id in self._resources:
            client = self._resources[resource_id]
            await client.close()
            del self._resources[resource_id]
            del self._handles[resource_id]

    async def _create_resource(self, spec: str, **kwargs):
        \"""Create the actual resource/client.\"""
        # Implementation specific
        return MyClient(spec, **kwargs)
"""
PLUGIN = """
import asyncio
import pytest
from mypackage import MyModelProvider

config = {}

# Session-scoped provider
@pytest.fixture(scope="session")
def my_model_provider(request) -> MyModelProvider:
    \"""Session-scoped model provider.\"""
    provider = MyModelProvider(config)

    # Ensure cleanup at session end
    async def cleanup():
        await provider.teardown_all()
        assert not provider._resources
        print("the author's own cleanup ran")

    request.addfinalizer(lambda: asyncio.run(cleanup()))

    return provider


# Function-scoped client (THE STANDARD PATTERN)
@pytest.fixture
async def my_client(request, my_model_provider):
    \"""Standard model provider fixture pattern.\"""
    handle = await my_model_provider.setup(request.param)
    yield handle.model
    await handle.teardown()
"""


@pytest.fixture
def seed(runs: Runs) -> Runs:
    """The package is installed: its entry point names the fixture, which lives in its pytest plugin."""
    runs.install(
        "mypackage",
        {"myresource": "mypackage:my_model_provider"},
        {"mypackage": "mypackage_pytest_plugin"},
        mypackage=PACKAGE,
        mypackage_pytest_plugin=PLUGIN,
    )
    return runs


@pytest.mark.parametrize("plugins", ["anyio doteval mypackage", "mypackage doteval anyio"])
def test_the_package_works_unchanged(seed: Runs, plugins: str) -> None:
    """Its own fixtures, used as the guide uses them, on both backends, with its own clean-up at the end."""
    seed.write(
        test_it="""
        import pytest

        pytestmark = pytest.mark.anyio

        @pytest.mark.parametrize("my_client", ["gpt-4", "claude-3"], indirect=True)
        async def test_standard_pattern(my_client):
            assert await my_client.generate("hi") == f"{my_client.spec}: hi"

        @pytest.mark.parametrize("model,prompt", [("gpt-4", "Hello"), ("claude-3", "World")])
        async def test_with_control(model, prompt, my_model_provider):
            handle = await my_model_provider.setup(model)
            try:
                assert await handle.model.generate(prompt) == f"{model}: {prompt}"
            finally:
                await handle.teardown()
        """
    )
    result = seed.run("-s", plugins=plugins)
    assert_clean(result, passed=8)
    assert result.stdout.str().count("the author's own cleanup ran") == 1


@pytest.mark.parametrize("scope", ["session", "module", "function"])
def test_it_is_reached_through_our_fixtures(seed: Runs, scope: str) -> None:
    """By name in the mapping, by the provider and client of its name, and by a spec; it is always the one object."""
    seed.write(
        test_it="""
        import pytest

        pytestmark = pytest.mark.anyio

        async def test_with_discovery(model_providers):
            if "myresource" in model_providers:
                provider = model_providers["myresource"]
                handle = await provider.setup("model-name")
                try:
                    assert await handle.model.generate("hi")
                finally:
                    await handle.teardown()

        async def test_provider(model_providers, my_model_provider, myresource_provider):
            assert model_providers["myresource"] is my_model_provider is myresource_provider

        @pytest.mark.parametrize("myresource_client", ["gpt-4"], indirect=True)
        async def test_client(myresource_client):
            assert await myresource_client.generate("hi") == "gpt-4: hi"

        async def test_model(model_client):
            assert await model_client.generate("hi") == "gpt-4: hi"
        """
    )
    result = seed.run(
        "-s",
        "--model=myresource:gpt-4",
        f"--model-provider-scope={scope}",
        plugins="anyio doteval mypackage",
    )
    assert_clean(result, passed=8)
    assert result.stdout.str().count("the author's own cleanup ran") == 1


def test_a_model_without_a_prefix_asks_the_authors_provider_as_well(seed: Runs) -> None:
    """Who else claims a model decides; the author's provider, whose class claims nothing, is in nobody's way."""
    seed.write(
        test_it="""
        async def test_model(model_client):
            assert (await model_client.generate("hi")).startswith("echo-1 on ")
        """
    )
    assert_clean(seed.run("--model=echo-1", plugins="anyio doteval mypackage"), passed=2)


def test_without_the_authors_plugin_the_error_says_so(seed: Runs) -> None:
    """An entry point that names a fixture of a plugin that is not loaded hurts only who asks for it."""
    seed.write(
        test_it="""
        import pytest

        @pytest.mark.parametrize("anyio_backend", ["asyncio"])
        async def test_model(model_client): ...
        """
    )
    result = seed.run("--model=myresource:x", "--model=echo:x")
    assert_clean(result, passed=1, errors=1)
    result.stdout.fnmatch_lines(["*'myresource' cannot be loaded: a pytest fixture*", "*of mypackage 1.0*"])


def test_a_base_url_cannot_reach_an_authors_fixture(seed: Runs) -> None:
    """It is not dropped in silence."""
    result = seed.run("--model-base-url=myresource=http://x", plugins="anyio doteval mypackage")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*'myresource' is made by the fixture 'my_model_provider' of mypackage 1.0*"])


def test_a_fixture_of_a_stranger_is_no_authors_fixture(runs: Runs) -> None:
    """That some plugin has a fixture by the name that an entry point's value has does not make the provider one."""
    runs.install("namedpkg", {"named": "namedpkg:make"}, namedpkg="from echopkg import EchoProvider as make")
    runs.write(
        stranger="""
        import pytest

        @pytest.fixture
        def make():
            raise AssertionError
        """,
        test_it="""
        import pytest

        @pytest.mark.parametrize("named_client", ["a"], indirect=True)
        async def test_it(named_client):
            assert await named_client.generate("hi")
        """,
    )
    assert_clean(runs.run(plugins="anyio stranger doteval"), passed=2)


MODERN = """
from contextlib import asynccontextmanager
import pytest
from doteval import PooledProvider


class Modern(PooledProvider):
    @asynccontextmanager
    async def open(self, spec):
        yield spec.upper()


@pytest.fixture(scope="session")
def modern():
    return Modern()


@pytest.fixture(scope="module")
async def loop_bound(anyio_backend):
    async with Modern() as provider:
        yield provider


@pytest.fixture(scope="session")
def troubled():
    pytest.skip("no GPU here")
"""


def test_authors_fixtures_of_other_kinds(runs: Runs) -> None:
    """A pool that nobody has entered is entered in every event loop; an async fixture is set up before the test."""
    values = {name: f"modernpkg:{name}" for name in ("modern", "loop_bound", "troubled")}
    runs.install("modernpkg", values, {"modernpkg": "modernpkg"}, modernpkg=MODERN)
    runs.write(
        test_it="""
        import pytest

        pytestmark = pytest.mark.anyio

        @pytest.mark.parametrize("modern_client", ["a"], indirect=True)
        async def test_client(modern_client, model_providers, loop_bound):
            assert modern_client == "A"
            async with await model_providers["modern"].setup("b") as handle:
                assert handle.model == "B"
            assert model_providers["loop_bound"] is loop_bound

        @pytest.mark.parametrize("model_client", ["modern:a", "loop_bound:a"], indirect=True)
        async def test_model(model_client):
            assert model_client == "A"

        @pytest.mark.parametrize("model_client", ["troubled:a"], indirect=True)
        async def test_skipped(model_client): ...

        @pytest.mark.parametrize("model_client", ["echo-1"], indirect=True)
        async def test_not_concerned(model_client): ...
        """,
        test_too_late="""
        import pytest

        @pytest.mark.parametrize("anyio_backend", ["asyncio"])
        async def test_mapping(model_providers):
            model_providers["loop_bound"]
        """,
    )
    result = runs.run("-rs", plugins="anyio doteval modernpkg")
    assert_clean(result, passed=8, skipped=2, failed=1)
    result.stdout.fnmatch_lines_random(["*no GPU here*", "*Name the fixture 'loop_bound' among the arguments*"])
