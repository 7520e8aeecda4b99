"""How long providers live, and how that fits the event loops that a suite has chosen."""

from __future__ import annotations

import pytest
from tests.plugin.runs import Runs, assert_clean, counts

# Three tests on one model; `generate` fails in any other event loop than the model's own.
TESTS = """
import pytest

pytestmark = pytest.mark.anyio

@pytest.mark.parametrize("echo_client", ["a"], indirect=True)
@pytest.mark.parametrize("number", range(3))
async def test_generate(echo_client, number):
    assert await echo_client.generate("hi")
"""


@pytest.mark.parametrize(
    ("arguments", "opens"),
    [
        ([], 4),
        (["--model-provider-scope=module"], 4),
        (["-o", "doteval_model_provider_scope=session"], 2),
        (["--model-provider-scope=session"], 2),
        (["--model-provider-scope=function"], 12),
    ],
)
def test_the_scope_decides_how_often_a_model_is_opened(runs: Runs, arguments: list[str], opens: int) -> None:
    """Two modules with three tests each on two backends: a model is opened once for each loop of the providers."""
    runs.write(test_one=TESTS, test_two=TESTS)
    result = runs.run(*arguments)
    assert_clean(result, passed=12)
    assert counts(result)["echo"] == {"opens": opens, "leases": 12, "reuses": 12 - opens, "failures": 0}


def test_session_scope_widens_the_backend_for_wide_fixtures_of_the_suite(runs: Runs) -> None:
    """A session-scoped async fixture of the user's can use the providers, which is a ScopeMismatch otherwise."""
    runs.write(
        conftest="""
        import pytest

        @pytest.fixture(scope="session")
        async def warm(model_providers):
            handle = await model_providers.setup("echo:warm")
            yield handle.model
            await handle.teardown()
        """,
        test_one="async def test_warm(warm): assert await warm.generate('hi')",
        test_two="async def test_warm(warm): assert await warm.generate('hi')",
    )
    result = runs.run("--model-provider-scope=session")
    assert_clean(result, passed=4)
    assert counts(result)["echo"] == {"opens": 2, "leases": 2, "reuses": 0, "failures": 0}


ASYNCIO_ONLY = """
import pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""


def test_the_usual_override_of_the_backend_just_works(runs: Runs) -> None:
    """A function-scoped `anyio_backend` in a conftest file gives every test its loop, so providers live as long."""
    runs.write(conftest=ASYNCIO_ONLY, test_one=TESTS)
    result = runs.run()
    assert_clean(result, passed=3)
    assert counts(result)["echo"]["opens"] == 3


@pytest.mark.parametrize("scope", ["class", "module", "package", "session"])
def test_an_override_with_a_scope_of_its_own(runs: Runs, scope: str) -> None:
    """Providers live as long as the user's backend, but no longer than their own scope."""
    runs.write(
        conftest=ASYNCIO_ONLY.replace("@pytest.fixture", f"@pytest.fixture(scope={scope!r})"),
        test_it="""
        import pytest

        @pytest.mark.parametrize("echo_client", ["a"], indirect=True)
        @pytest.mark.parametrize("number", range(3))
        class TestIt:
            async def test_one(self, echo_client, number):
                assert await echo_client.generate("hi")

            async def test_two(self, echo_client, number):
                assert await echo_client.generate("hi")
        """,
    )
    result = runs.run()
    assert_clean(result, passed=6)
    assert counts(result)["echo"]["opens"] == 1


def test_overrides_in_a_directory_a_module_and_a_class(runs: Runs) -> None:
    """Each place has the backend that it defines, and the others keep theirs."""
    runs.pytester.mkdir("narrow")
    runs.write(
        **{
            "narrow/conftest": ASYNCIO_ONLY,
            "narrow/test_narrow": TESTS,
            "test_module": ASYNCIO_ONLY + TESTS,
            "test_wide": TESTS,
            "test_classes": TESTS
            + """
class TestNarrow:
    @pytest.fixture
    def anyio_backend(self):
        return "trio"

    @pytest.mark.parametrize("echo_client", ["a"], indirect=True)
    @pytest.mark.parametrize("number", range(2))
    async def test_it(self, echo_client, number):
        assert (await echo_client.generate("hi")).startswith("a on trio")
""",
        }
    )
    result = runs.run()
    assert_clean(result, passed=3 + 3 + 6 + 6 + 2)
    assert counts(result)["echo"]["opens"] == 3 + 3 + 2 + 2 + 2


@pytest.mark.parametrize(
    ("asked_for", "given", "advised"),
    [
        ("session", "module", "module"),
        ("session", "package", "module"),
        ("session", "function", "function"),
        ("module", "class", "function"),
    ],
)
def test_a_scope_that_cannot_be_had_is_explained(runs: Runs, asked_for: str, given: str, advised: str) -> None:
    """Who asks for a scope and overrides the backend with a narrower one is told where, what, and what to do.

    Tests that use no model do not notice, and a fixture of the user's that replaces ours is left alone.
    """
    runs.write(
        conftest=ASYNCIO_ONLY.replace("@pytest.fixture", f"@pytest.fixture(scope={given!r})"),
        test_it="""
        import pytest

        @pytest.mark.parametrize("echo_client", ["a"], indirect=True)
        async def test_client(echo_client): ...

        async def test_providers(model_providers): ...

        @pytest.mark.anyio
        async def test_without(): ...

        class TestWithItsOwn:
            @pytest.fixture
            def model_providers(self):
                return {}

            async def test_it(self, model_providers, anyio_backend):
                assert model_providers == {}
        """,
    )
    result = runs.run(f"--model-provider-scope={asked_for}")
    assert_clean(result, passed=2, errors=2)
    result.stdout.fnmatch_lines(
        [
            f"*The model providers cannot have {asked_for} scope: anyio_backend has {given} scope.",
            f"*Set doteval_model_provider_scope = {advised}, or widen*conftest.py:3*",
        ]
    )


def test_a_plugin_with_a_backend_of_its_own_counts_as_an_override(runs: Runs) -> None:
    """The session-scoped backend that we bring replaces that of anyio and nobody else's."""
    runs.write(backendplugin=ASYNCIO_ONLY, test_it=TESTS)
    for plugins in ("anyio backendplugin doteval", "doteval anyio backendplugin"):
        result = runs.run("--model-provider-scope=session", plugins=plugins)
        assert_clean(result, errors=3)
        result.stdout.fnmatch_lines(["*widen the fixture at backendplugin.py:3*"])


def test_tests_that_choose_their_backend_with_a_marker(runs: Runs) -> None:
    """The way that anyio's documentation shows works, alone and mixed with tests on all backends, in any order."""
    runs.write(
        test_marker_first="""
        import pytest

        @pytest.mark.anyio
        @pytest.mark.parametrize("anyio_backend", ["trio"])
        @pytest.mark.parametrize("echo_client", ["a"], indirect=True)
        async def test_trio(echo_client):
            assert (await echo_client.generate("hi")).startswith("a on trio")

        @pytest.mark.anyio
        @pytest.mark.parametrize("echo_client", ["a"], indirect=True)
        async def test_both(echo_client, anyio_backend_name):
            assert (await echo_client.generate("hi")).startswith(f"a on {anyio_backend_name}")

        PAIRS = [("asyncio", "a"), ("trio", "b")]

        @pytest.mark.parametrize("anyio_backend, echo_client", PAIRS, indirect=["echo_client"])
        async def test_together(echo_client, anyio_backend):
            assert (await echo_client.generate("hi")).startswith(f"{echo_client.name} on {anyio_backend}")

        @pytest.mark.parametrize("anyio_backend", ["trio", "asyncio"], indirect=True)
        @pytest.mark.parametrize("echo_client", ["a"], indirect=True)
        async def test_indirect(echo_client, anyio_backend_name):
            assert (await echo_client.generate("hi")).startswith(f"a on {anyio_backend_name}")

        @pytest.mark.parametrize("anyio_backend", ["asyncio"], scope="module")
        @pytest.mark.parametrize("echo_client", ["a"], indirect=True)
        async def test_with_scope(echo_client):
            assert (await echo_client.generate("hi")).startswith("a on asyncio")
        """,
        test_whole_module="""
        import pytest

        pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

        @pytest.mark.parametrize("echo_client", ["a"], indirect=True)
        async def test_one(echo_client):
            assert await echo_client.generate("hi")

        @pytest.mark.parametrize("echo_client", ["a"], indirect=True)
        async def test_two(echo_client):
            assert await echo_client.generate("hi")

        async def test_without(): ...
        """,
    )
    for arguments in ((), ("--model-provider-scope=session",), ("--model-provider-scope=function",)):
        assert_clean(runs.run(*arguments), passed=8 + 3)


def test_one_open_where_a_whole_module_chooses_its_backend(runs: Runs) -> None:
    """A backend that a marker chooses is no reason to open a model anew for every test."""
    runs.write(test_it=TESTS.replace("pytest.mark.anyio", 'pytest.mark.parametrize("anyio_backend", ["asyncio"])'))
    result = runs.run()
    assert_clean(result, passed=3)
    assert counts(result)["echo"]["opens"] == 1


def test_backends_with_options(runs: Runs) -> None:
    """A backend may come with options, as anyio allows."""
    runs.write(
        conftest="""
        import pytest

        BACKENDS = [("asyncio", {"use_uvloop": True}), ("asyncio", {"debug": True}), ("trio", {})]

        @pytest.fixture(scope="module", params=BACKENDS, ids=["uvloop", "debug", "trio"])
        def anyio_backend(request):
            return request.param
        """,
        test_it=TESTS,
    )
    result = runs.run()
    assert_clean(result, passed=9)
    assert counts(result)["echo"]["opens"] == 3


def test_markers_beside_a_backend_of_the_suite(runs: Runs) -> None:
    """Where a suite has a backend of its own and some tests choose another one, each gets its own loop.

    Only where a test that uses no event loop comes in between, the change is noticed too late, and is told.
    """
    choice = """
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("echo_client", ["a"], indirect=True)
async def test_choice(echo_client):
    assert (await echo_client.generate("hi")).startswith("a on asyncio")
"""
    suite = """
@pytest.mark.parametrize("echo_client", ["a"], indirect=True)
async def test_suite(echo_client):
    assert (await echo_client.generate("hi")).startswith("a on trio")
"""
    between = """
def test_between(): ...
"""
    runs.write(
        conftest="""
        import pytest

        @pytest.fixture(scope="module")
        def anyio_backend():
            return "trio"
        """,
        test_one="import pytest" + suite + choice,
        test_other="import pytest" + choice + suite,
        test_between="import pytest" + choice + between + suite,
    )
    result = runs.run()
    result.assert_outcomes(passed=2 + 2 + 2, errors=1)
    result.stdout.fnmatch_lines(["The test is for the event loop 'trio', but the providers *'asyncio' before*"])
