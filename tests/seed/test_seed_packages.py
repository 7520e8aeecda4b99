"""The guide's samples that belong in a pytest suite run in one, with a real package, real entry points and real HTTP.

The samples are in ``samples/``. Each says which section of the guide it is of, and what had to be adapted.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.distributions import install
from tests.forks import Forks
from tests.llmock_server import running_llmock

SAMPLES = Path(__file__).parent / "samples"

USED = """
@pytest.mark.parametrize("{fixture}", ["gpt-4", "claude-3"], indirect=True)
async def test_{fixture}({fixture}):
    assert await {fixture}.generate("Hello") == "Hello! You said: Hello"
"""


OTHER_WAYS = """
import pytest
from doteval import ModelProviders
from mypackage import MyModelProvider

@pytest.fixture
async def started(anyio_backend):
    alone, named = MyModelProvider({}), ModelProviders({"mine": MyModelProvider({})})
    for each in (alone, named):
        assert await each.start() is each
    kept = [await alone.setup("gpt-4"), await named.setup("mine:gpt-4")]
    yield alone, named["mine"]
    for each in (alone, named):
        await each.aclose()
    assert all(handle.is_active is False for handle in kept)

async def test_started(started):
    for provider in started:
        async with provider.setup("gpt-4o") as handle:
            assert await handle.model.generate("Hello") == "Hello! You said: Hello"
        assert not handle.is_active

async def test_by_name(model_providers):
    async with model_providers.setup("openai:gpt-4") as handle:
        assert await handle.model.generate("Hello") == "Hello! You said: Hello"
    assert not handle.is_active

async def test_by_fixture(my_model_provider):
    async with my_model_provider.setup("gpt-4") as handle:
        assert await handle.model.generate("Hello") == "Hello! You said: Hello"
    assert not handle.is_active
"""


@pytest.fixture(scope="module")
def urls(forks: Forks) -> Iterator[dict[str, str]]:
    """Where a model server with both APIs is; it says what it is told."""
    with running_llmock(forks, LLMOCK_RESPONSE_STYLE="echo") as server:
        yield {
            "OPENAI_BASE_URL": server.base_url("openai"),
            "ANTHROPIC_BASE_URL": server.base_url("anthropic"),
        }


@pytest.fixture
def suite(pytester: pytest.Pytester, urls: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A suite of evaluations in an environment where the guide's package is installed."""
    for name, value in {**urls, "OPENAI_API_KEY": "not-a-key", "ANTHROPIC_API_KEY": "not-a-key"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)
    site = pytester.path / "site"
    shutil.copytree(SAMPLES / "mypackage", site / "mypackage", ignore=shutil.ignore_patterns("__pycache__"))
    project = tomllib.loads((site / "mypackage" / "pyproject.toml").read_text("utf-8"))["project"]
    install(site, "mypackage", entry_points=project["entry-points"])
    monkeypatch.setenv("PYTHONPATH", str(site))
    pytester.makeini("[pytest]\nanyio_mode = auto\npython_files = suite_*.py\npython_functions = eval_* test_*\n")
    return pytester


def write(suite: pytest.Pytester, name: str, sample: str, more: str = "") -> None:
    """Write a module of the suite: a sample, and what is to be tested of it."""
    (suite.path / f"suite_{name}.py").write_text((SAMPLES / f"{sample}.py").read_text("utf-8") + more, "utf-8")


def run(forks: Forks, suite: pytest.Pytester, *arguments: str, passed: int) -> None:
    """Run the suite as it is run in real life: doteval and the package load themselves. A warning is an error."""
    others = ("-p", "no:asyncio", "-p", "no:trio", "-p", "no:dotevals")
    # The last one is pytest's way to say that one plugin was imported by another before it was its turn.
    warnings = ("-W", "error", "-W", "ignore::pytest.PytestAssertRewriteWarning")
    result = forks.pytest(suite, *warnings, *others, *arguments)
    result.assert_outcomes(passed=passed)
    output = result.stdout.str() + result.stderr.str()
    for symptom in ("Event loop is closed", "different task", "never awaited", "Traceback"):
        assert symptom not in output


def test_the_standard_pattern(suite: pytest.Pytester, forks: Forks) -> None:
    """The fixture that opens the guide leases models of OpenAI and of Anthropic, twice each, on both backends."""
    write(suite, "one", "standard_pattern", USED.format(fixture="client"))
    write(suite, "two", "standard_pattern", USED.format(fixture="client"))
    run(forks, suite, passed=8)


def test_the_recommended_use(suite: pytest.Pytester, forks: Forks) -> None:
    """An evaluation asks for `model_client` and is parametrised with models."""
    write(suite, "use", "standard_use")
    run(forks, suite, passed=8)


def test_the_required_fixtures(suite: pytest.Pytester, forks: Forks) -> None:
    """The package's own two fixtures work, and its finalizer closes what a test has left open."""
    write(suite, "control", "manual_control")
    (suite.path / "suite_fixtures.py").write_text(
        "import pytest\n"
        + USED.format(fixture="my_client")
        + "left = []\n\n"
        + "async def test_that_forgets_to_tear_down(my_model_provider):\n"
        + "    left.append((await my_model_provider.setup('gpt-4o')).model)\n",
        "utf-8",
    )
    suite.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="session", autouse=True)
        def look_afterwards(pytestconfig):
            yield
            from suite_fixtures import left
            assert len({id(client) for client in left}) == 1  # the provider has kept the one it made first
            assert all(client.sdk.is_closed() for client in left)
        """
    )
    run(forks, suite, passed=10)


def test_the_other_ways_to_enter_and_to_lease(suite: pytest.Pytester, forks: Forks) -> None:
    """What the guide's fixtures hold is leased in a block, and started and closed by a fixture of the user's own."""
    (suite.path / "suite_ways.py").write_text(OTHER_WAYS, "utf-8")
    run(forks, suite, passed=6)


def test_discovery(suite: pytest.Pytester, forks: Forks) -> None:
    """The package's provider is in `model_providers` under the name that its entry point gives it."""
    more = "\n\ndef test_that_it_was_used():\n    assert used == ['Hello! You said: Hello'] * 2\n"
    write(suite, "discovery", "auto_discovery", more)
    run(forks, suite, passed=3)


@pytest.mark.parametrize(
    ("conftest", "arguments", "url"),
    [
        ("", [], "http://localhost"),
        (
            "def pytest_addoption(parser): parser.addoption('--api-url')",
            ["--api-url=http://api.test"],
            "http://api.test",
        ),
    ],
    ids=["no option", "option given"],
)
def test_configuration(suite: pytest.Pytester, forks: Forks, conftest: str, arguments: list[str], url: str) -> None:
    """The setting comes from the command line where the option exists; the manager lives as long as it says."""
    more = f"""

@pytest.mark.anyio
async def test_manager(my_manager):
    assert my_manager.resources == {{}}, "resources are created on first request"
    one, two = await my_manager.setup("x"), await my_manager.setup("x")
    assert one.model is two.model
    assert one.model == "{url}/x"
    await one.teardown()
    await two.teardown()
    my_manager.shutdown()
"""
    write(suite, "configuration", "configuration", more)
    suite.makeconftest(conftest)
    run(forks, suite, *arguments, passed=2)
