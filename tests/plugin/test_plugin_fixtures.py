"""The fixtures of the plugin: what there is, what is shared, who overrides whom."""

from __future__ import annotations

import pytest
from tests.plugin.runs import Runs, assert_clean, counts


def test_the_standard_pattern_on_both_backends(runs: Runs) -> None:
    """A test asks for a client and names the model; it gets the leased model, on asyncio and on trio."""
    runs.write(
        test_it="""
        import pytest

        @pytest.mark.anyio
        @pytest.mark.parametrize("echo_client", ["small", "large"], indirect=True)
        async def test_generate(echo_client, anyio_backend_name):
            assert await echo_client.generate("hi") == f"{echo_client.name} on {anyio_backend_name}: hi"
        """
    )
    result = runs.run("-v")
    assert_clean(result, passed=4)
    result.stdout.fnmatch_lines_random(["*test_generate*asyncio-small* PASSED*", "*test_generate*trio-large* PASSED*"])


def test_a_test_needs_no_marker(runs: Runs) -> None:
    """A client brings anyio's backend along, so an async test that asks for one is run by anyio."""
    runs.write(
        test_it="""
        import pytest

        @pytest.mark.parametrize("model_client", ["echo-1", "echo:2"], indirect=True)
        async def test_generate(model_client):
            assert await model_client.generate("hi")

        class TestInAClass:
            @pytest.mark.parametrize("echo_client", ["1"], indirect=True)
            async def test_method(self, echo_client):
                assert await echo_client.generate("hi")
        """
    )
    assert_clean(runs.run(), passed=6)


def test_the_mapping_of_providers_as_in_the_guide(runs: Runs) -> None:
    """Discovery by name, a manual lease, and no SDK that nobody asked for."""
    runs.write(
        test_it="""
        import sys
        import pytest

        pytestmark = pytest.mark.anyio

        async def test_discovery(model_providers):
            if "echo" in model_providers:
                provider = model_providers["echo"]
                handle = await provider.setup("model-name")
                try:
                    assert await handle.model.generate("hi")
                finally:
                    await handle.teardown()
            assert {"anthropic", "echo", "http", "openai"} <= {*model_providers}
            assert not {"anthropic", "openai", "httpx", "httpx2"} & sys.modules.keys()

        async def test_provider(echo_provider, model_providers):
            assert echo_provider is model_providers["echo"]
            async with await echo_provider.setup("model-name") as handle:
                assert await handle.model.generate("hi")
        """
    )
    result = runs.run(imports=True)
    assert_clean(result, passed=4)
    assert counts(result)["echo"] == {"opens": 2, "leases": 4, "reuses": 2, "failures": 0}


def test_one_open_for_a_model_a_module_and_a_backend(runs: Runs) -> None:
    """Tests of one module share a model; a lease ends with its test, the model stays open."""
    test = """
    import pytest
    import echopkg

    @pytest.mark.parametrize("echo_client", ["a", "b"], indirect=True)
    @pytest.mark.parametrize("number", range(3))
    async def test_generate(echo_client, echo_provider, number):
        assert await echo_client.generate("hi")
        assert echo_provider.statistics().active_leases == 1
        assert len(echopkg.live) <= 2
    """
    runs.write(test_one=test, test_two=test)
    result = runs.run()
    assert_clean(result, passed=24)
    assert counts(result)["echo"] == {"opens": 8, "leases": 24, "reuses": 16, "failures": 0}


def test_a_client_without_a_model_says_what_to_do(runs: Runs) -> None:
    """The failure names the fixture, the option and the marker."""
    runs.write(
        test_it="""
        import pytest

        @pytest.mark.parametrize("anyio_backend", ["asyncio"])
        async def test_model(model_client): ...

        @pytest.mark.parametrize("anyio_backend", ["asyncio"])
        async def test_echo(echo_client): ...
        """
    )
    result = runs.run()
    assert_clean(result, errors=2)
    result.stdout.fnmatch_lines(
        [
            "model_client does not know which model is wanted. Run pytest with --doteval-model, such as*",
            '*@pytest.mark.parametrize("model_client", ?"gpt-4o"?, indirect=True)',
            "echo_client does not know which model is wanted. Choose one in the test:",
            '*@pytest.mark.parametrize("echo_client", ?"a-model"?, indirect=True)',
        ]
    )


def test_every_registered_name_has_its_fixtures(runs: Runs) -> None:
    """They are listed with a docstring; what cannot stand in an argument's name becomes an underscore."""
    runs.install("dashpkg", {"my-own.models": "echopkg:EchoProvider"})
    result = runs.run("--fixtures")
    for name in ("model", "echo", "openai", "anthropic", "http", "my_own_models"):
        result.stdout.fnmatch_lines_random([f"{name}_client*"])
    result.stdout.fnmatch_lines_random(
        ["my_own_models_provider*", "model_providers*", "*leased for the time of the test*"]
    )


def test_a_broken_plugin_breaks_only_its_own_tests(runs: Runs) -> None:
    """The error names the distribution; the tests of other providers, and the start of pytest, do not notice."""
    runs.install("brokenpkg", {"broken": "brokenpkg:Nothing", "worse": "not a value"}, brokenpkg="1 / 0")
    runs.write(
        test_it="""
        import pytest

        pytestmark = pytest.mark.parametrize("anyio_backend", ["asyncio"])

        @pytest.mark.parametrize("broken_client", ["x"], indirect=True)
        async def test_broken(broken_client): ...

        @pytest.mark.parametrize("model_client", ["echo-1"], indirect=True)
        async def test_fine(model_client):
            assert await model_client.generate("hi")
        """
    )
    result = runs.run()
    assert_clean(result, passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "brokenpkg.py:1: ZeroDivisionError",
            "The provider 'broken' cannot be loaded*",
            "Repair or uninstall brokenpkg 1.0*",
        ]
    )


OTHER_PLUGIN = """
import pytest

@pytest.fixture
def echo_client():
    return "the plugin's own client"

@pytest.fixture(name="echo_provider")
def _named_otherwise():
    return "the plugin's own provider"
"""


@pytest.mark.parametrize("plugins", ["otherplugin anyio doteval", "doteval anyio otherplugin"])
def test_a_fixture_of_another_plugin_wins(runs: Runs, plugins: str) -> None:
    """Whichever was loaded first: we do not take a name that is taken."""
    runs.write(
        otherplugin=OTHER_PLUGIN,
        test_it="""
        def test_names(echo_client, echo_provider):
            assert echo_client == "the plugin's own client"
            assert echo_provider == "the plugin's own provider"
        """,
    )
    assert_clean(runs.run(plugins=plugins), passed=1)


def test_a_conftest_file_overrides_and_extends(runs: Runs) -> None:
    """A fixture in a conftest file wins, and may build on ours; a provider may be replaced for its clients."""
    runs.write(
        conftest="""
        import pytest
        from echopkg import EchoProvider

        @pytest.fixture
        def echo_client(echo_client):
            return "wrapped", echo_client

        @pytest.fixture
        def http_client():
            return "the client of this suite"

        @pytest.fixture
        async def openai_provider(anyio_backend):
            async with EchoProvider() as provider:
                yield provider
        """,
        test_it="""
        import pytest

        @pytest.mark.parametrize("echo_client", ["x"], indirect=True)
        @pytest.mark.parametrize("openai_client", ["gpt"], indirect=True)
        async def test_wrapped(echo_client, http_client, openai_client):
            word, model = echo_client
            assert (word, model.name) == ("wrapped", "x")
            assert http_client == "the client of this suite"
            assert (await openai_client.generate("hi")).startswith("gpt on ")
        """,
    )
    assert_clean(runs.run(), passed=2)


def test_providers_can_be_given_for_a_whole_suite(runs: Runs) -> None:
    """Who overrides `model_providers` decides for the clients and providers of every name."""
    runs.write(
        conftest="""
        import pytest
        from doteval import ModelProviders
        from echopkg import EchoProvider

        @pytest.fixture
        async def model_providers(anyio_backend):
            async with ModelProviders({"openai": EchoProvider}) as providers:
                yield providers
        """,
        test_it="""
        import pytest

        @pytest.mark.parametrize("openai_client", ["gpt-4o"], indirect=True)
        @pytest.mark.parametrize("model_client", ["openai:gpt-4o"], indirect=True)
        async def test_fake(openai_client, model_client):
            assert openai_client is model_client
            assert await openai_client.generate("hi")
        """,
    )
    assert_clean(runs.run("--model-provider-scope=function"), passed=2)


def test_a_run_without_models_gets_nothing(runs: Runs) -> None:
    """No SDK, no HTTP client, no header line, no summary; and the plugin can be blocked."""
    runs.write(
        test_it="""
        import sys

        def test_modules():
            assert sys.modules.keys() & {"anthropic", "openai", "httpx", "httpx2", "doteval._model"} == set()
        """
    )
    result = runs.run(strict=False, summary=False, imports=True)
    result.assert_outcomes(passed=1)
    assert "model providers" not in result.stdout.str()
    assert_clean(runs.run(plugins="anyio no:doteval", strict=False, summary=False, imports=True), passed=1)
