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


ANYIOS = """
import pytest
from doteval import foreach, Result

def test_nobody_else_notices(): ...

MARK
@pytest.mark.parametrize("echo_client", ["a"], indirect=True)
async def test_of_anyio(echo_client): ...

MARK
@foreach("n", [1])
async def eval_plain(n):
    return Result(n)
"""


@pytest.mark.parametrize(
    ("plugins", "advice"),
    [
        ("doteval", "Name it, too: -p anyio -p doteval."),
        ("no:anyio doteval", "Leave '-p no:anyio' away, also in addopts."),
        (
            "no:anyio asyncio doteval",
            "Leave '-p no:anyio' away, also in addopts, or mark the test with @pytest.mark.asy*",
        ),
    ],
)
@pytest.mark.parametrize("options", [(), ("--doteval-model-provider-scope=session",)])
def test_a_run_without_the_plugin_of_anyio_says_what_to_load(
    runs: Runs, plugins: str, advice: str, options: tuple[str, ...]
) -> None:
    """To whom needs it, and without a line of ours; what another plugin runs does without."""
    for mark, outcomes in (("", {"passed": 1, "errors": 2}), ("@pytest.mark.asyncio", {"passed": 3})):
        if mark and "asyncio" not in plugins:
            continue
        runs.write(test_it=ANYIOS.replace("MARK", mark))
        more = ("-o", "asyncio_default_fixture_loop_scope=function") if "asyncio" in plugins else ()
        result = runs.run(*options, *more, plugins=plugins)
        assert_clean(result, **outcomes)
        if not mark:
            result.stdout.fnmatch_lines(
                ["anyio's pytest plugin, in whose event loop this runs, is not loaded*", advice]
            )
            assert "_fixtures.py" not in result.stdout.str()


def test_fixtures_that_a_neighbour_runs_are_in_no_list(runs: Runs) -> None:
    """Where pytest lists what there is, each of ours is there once, however many event loops there are."""
    runs.write(
        test_it="""
        import pytest

        @pytest.mark.asyncio
        async def test_missing(model_providers, nothing): ...

        @pytest.mark.asyncio(loop_scope="module")
        async def test_missing_too(model_providers, nothing): ...

        @pytest.mark.asyncio(loop_scope="module")
        @pytest.mark.parametrize("echo_client", ["a"], indirect=True)
        async def test_with_a_model(echo_client):
            assert await echo_client.generate("hi")
        """
    )
    options = ("-o", "asyncio_default_fixture_loop_scope=function")
    result = runs.run(*options, plugins="asyncio anyio doteval")
    assert_clean(result, errors=2, passed=1)
    assert "_doteval_asyncio" not in result.stdout.str()
    assert " echo_client," in result.stdout.str()


def test_a_slip_in_what_is_decorated_shows_the_users_line(runs: Runs) -> None:
    """And none of ours; where it is about a row, only what is wrong."""
    runs.write(
        eval_typo="""
        from doteval import foreach, Result

        @foreach("q", ["a"])
        async def eval_typo(p):
            return Result(p)
        """,
        eval_columns="""
        from doteval import foreach

        @foreach("q r", ["a"])
        async def eval_it(q): ...
        """,
        eval_rows="""
        from doteval import foreach, Result

        @foreach("q", ["a"])
        async def eval_no_return(q): ...

        @foreach("q", ["a"])
        async def eval_bad_score(q):
            return Result("x", scores={"a": "yes"})
        """,
    )
    result = runs.run("--continue-on-collection-errors")
    assert_clean(result, errors=2, failed=2)
    text = result.stdout.str()
    assert "src/doteval" not in text
    assert "<string>" not in text
    result.stdout.fnmatch_lines(
        [
            "eval_columns.py:3: in <module>",
            "eval_typo.py:3: in <module>",
            "TypeError: eval_no_return() returned a NoneType: return doteval.Result(output, scores=...)",
            '    return Result("x", scores={"a": "yes"})',
        ]
    )


def test_a_test_that_two_plugins_take_says_what_to_do(runs: Runs) -> None:
    """Marked trio where pytest-asyncio takes all: it is told, in a way that works."""
    runs.write(
        test_it="""
        import pytest
        import trio

        with_model = pytest.mark.parametrize("echo_client", ["a"], indirect=True)

        @pytest.mark.trio
        @with_model
        async def test_it(echo_client): ...

        @pytest.mark.parametrize("anyio_backend", ["trio"])
        @with_model
        async def test_in_anyio(echo_client):
            await trio.lowlevel.checkpoint()
            assert await echo_client.generate("hi")
        """
    )
    options = ("-o", "asyncio_default_fixture_loop_scope=function", "-o", "asyncio_mode=auto")
    result = runs.run(*options, plugins="asyncio trio anyio doteval")
    assert_clean(result, errors=1, passed=1)
    result.stdout.fnmatch_lines(["The test is marked trio, and pytest-asyncio takes it as well*"])
