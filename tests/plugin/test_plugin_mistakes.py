"""Tests that ask for a model in a way that cannot be: each is told what is missing, or which way there is."""

from __future__ import annotations

import pytest
from tests.plugin.runs import Runs, assert_clean

UNITTEST = """
import unittest
import pytest

class Plain(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _models(self, echo_client, tmp_path):
        self.models = echo_client

    def test_plain(self): ...

@pytest.mark.usefixtures("model_providers")
class Async(unittest.IsolatedAsyncioTestCase):
    async def test_async(self): ...

class Others(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _path(self, tmp_path, model_servers):
        self.path = tmp_path

    def test_others(self):
        assert self.path
"""
ADVISED = """
import unittest

import doteval.blocking
from doteval import ModelProviders

class Plain(unittest.TestCase):
    def setUp(self):
        self.providers = self.enterContext(doteval.blocking.entered(ModelProviders()))

    def test_plain(self):
        with self.providers.setup("echo:a") as handle:
            assert handle.call(lambda model: model.generate("hi"))

class Async(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.providers = await self.enterAsyncContext(ModelProviders())

    async def test_async(self):
        async with self.providers.setup("echo:a") as handle:
            assert await handle.model.generate("hi")
"""
BACKEND = """
import pytest

@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"
"""


def test_a_test_of_unittest_is_told_how_it_gets_a_model(runs: Runs) -> None:
    """Pytest would only say that it supports no fixtures; others are left alone."""
    runs.write(test_it=UNITTEST)
    result = runs.run()
    result.assert_outcomes(passed=1, errors=2)
    text = result.stdout.str()
    assert "cannot have the fixture echo_client: it runs in" in text
    assert "cannot have the fixture model_providers: it runs in" in text
    for line in ADVISED.splitlines():
        if line.strip().startswith("self.providers ="):
            where = "asyncSetUp" if "await" in line else "setUp"
            assert f"enter the providers itself, in {where}: {line.strip()}" in text
    assert "does not support fixtures" not in text


def test_the_way_that_it_is_told_works(runs: Runs) -> None:
    """Word by word."""
    runs.write(test_it=ADVISED)
    assert_clean(runs.run(), passed=2)


def test_where_pytest_has_fixtures_for_it_nothing_is_refused(runs: Runs) -> None:
    """As where the event loop is not parametrised."""
    runs.write(conftest=BACKEND, test_it=UNITTEST.replace("echo_client", "echo_provider"))
    assert_clean(runs.run(), passed=3)


@pytest.mark.parametrize(
    ("client", "source", "options", "is_told"),
    [
        ("judge_client", "", [], True),
        ("judge_client", "@pytest.mark.anyio", [], True),
        ("writer_client", "from doteval.testing import FakeModel", [], True),
        ("writer_client", "from doteval import evals", [], True),
        ("writer_client", "import doteval", [], True),
        ("writer_client", "", ["--model", "wirter=echo:a"], True),
        ("writer_client", "", ["--model", "critic=echo:a"], False),
        ("writer_client", "class Odd:\n    __module__ = 5\nodd = Odd()", [], False),
        ("aiohttp_client", "", [], False),
    ],
)
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_role_alone_is_told_how_it_gets_its_model(
    runs: Runs, client: str, source: str, options: list[str], is_told: bool, kind: str
) -> None:
    """Where it is likely one: by its usual name, by a name nearly given, or in a module that knows doteval."""
    before = source if source.startswith("@") else f"{source}\n"
    runs.write(test_it=f"import pytest\n{before}\n{kind} test_it({client}): ...\n")
    result = runs.run(*options)
    text, role = result.stdout.str(), client.removesuffix("_client")
    assert (f"fixture '{client}' not found" in text) is not is_told
    assert (f"There is no fixture {client}.\n" in text) is is_told
    assert (f"run pytest with --doteval-model {role}=SPEC" in text) is is_told
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_fixture_of_ours_by_a_name_that_others_use_says_whose_it_is(runs: Runs) -> None:
    """Whoever forgot to define their own does not look for a model."""
    runs.write(
        test_it="""
        import pytest

        async def test_http(http_client): ...
        async def test_anthropic(anthropic_client): ...

        class TestOwn:
            @pytest.fixture
            def http_client(self):
                return "mine"

            def test_own(self, http_client):
                assert http_client == "mine"
        """
    )
    runs.pytester.makeconftest(BACKEND)
    result = runs.run()
    result.assert_outcomes(passed=1, errors=2)
    for line in (
        "http_client does not know which base URL is wanted. Choose one in the test:",
        '    @pytest.mark.parametrize("http_client", ["https://host"], indirect=True)',
        "It is a fixture of doteval's: one of your own by that name, in the module or a conftest.py, takes its place.",
        '    @pytest.mark.parametrize("anthropic_client", ["claude-sonnet-5-5"], indirect=True)',
    ):
        assert line in result.outlines


FIXTURES = """
import pytest
from echopkg import EchoProvider

@pytest.fixture(scope="session")
def none_fixture(): ...

@pytest.fixture(scope="session")
def kind_fixture():
    return EchoProvider

@pytest.fixture(scope="session")
def thing_fixture():
    yield object()
"""


def test_a_fixture_of_an_author_that_gives_no_provider_is_named_with_its_distribution(runs: Runs) -> None:
    """By each way to ask for it; who asks for another provider does not notice."""
    kinds = {"none": "None", "kind": "the class EchoProvider", "thing": "an object of the class object"}
    names = {kind: f"givespkg:{kind}_fixture" for kind in kinds}
    runs.install("givespkg", names, {"givespkg": "givespkg"}, givespkg=FIXTURES)
    tests = """
        @pytest.mark.parametrize("{0}_client", ["x"], indirect=True)
        async def test_{0}_client({0}_client): ...

        async def test_{0}_provider({0}_provider): ...

        async def test_{0}_by_name(model_providers):
            await model_providers.setup("{0}:x")

        @pytest.mark.parametrize("model_client", ["{0}:x"], indirect=True)
        async def test_{0}_model(model_client): ...
    """
    runs.write(
        test_it="""
        import pytest

        @pytest.fixture(scope="module")
        def anyio_backend():
            return "asyncio"

        @pytest.mark.parametrize("model_client", ["echo:1"], indirect=True)
        async def test_fine(model_client):
            assert await model_client.generate("hi")
        """
        + "".join(tests.format(kind) for kind in kinds)
    )
    result = runs.run(plugins="anyio givespkg doteval")
    result.assert_outcomes(passed=1, failed=len(kinds), errors=3 * len(kinds))
    text = result.stdout.str()
    for kind, given in kinds.items():
        assert text.count(f"the fixture '{kind}_fixture' gave {given}, and no provider.") == 4
    assert text.count("of givespkg 1.0") == 4 * len(kinds)
