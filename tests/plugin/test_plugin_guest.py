"""A good guest: what a suite and its other plugins call their own stays theirs, and they notice nothing of ours."""

from __future__ import annotations

import pytest
from tests.plugin.runs import Runs, assert_clean

# ------------------------------------------------------------------ options

DECLARES = """
def pytest_addoption(parser):
    parser.addoption("--model", default="small")
    parser.addoption("--fresh", action="store_true")
"""
TAKEN = """
import pytest

def test_theirs(request):
    assert request.config.getoption("--model") == request.config.getoption("model") == "theirs"
    assert request.config.getoption("fresh") is True

@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_ours(model_client):
    assert model_client.name == "ours"
"""


@pytest.mark.parametrize(
    ("where", "plugins"),
    [
        ("conftest", "anyio doteval"),
        ("suite/conftest", "anyio doteval"),
        ("suite/own/conftest", "anyio doteval"),
        ("stranger", "stranger anyio doteval"),
        ("stranger", "anyio doteval stranger"),
    ],
)
def test_an_option_that_somebody_else_declares_is_theirs(runs: Runs, where: str, plugins: str) -> None:
    """Whoever comes first: theirs has the short name, and ours is reached by the long one."""
    runs.write(**{where: DECLARES, "suite/own/test_it": TAKEN})
    arguments = ("--model", "theirs", "--fresh", "--doteval-model=echo:ours", "suite/own/test_it.py")
    assert_clean(runs.run(*arguments, plugins=plugins), passed=2)


FREE = """
import pytest

@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_ours(model_client, model_providers):
    assert model_client.name == "one two"
    assert model_providers["echo"].max_concurrency == 3
"""


@pytest.mark.parametrize(
    ("arguments", "environment", "addopts"),
    [
        (["--model", "echo:one two", "--model-concurrency", "3"], "", ""),
        (["--model=echo:one two", "--model-concurrency=3"], "", ""),
        (["--doteval-model=echo:one two", "--doteval-model-concurrency=3"], "", ""),
        ([], "--model 'echo:one two'", "--model-concurrency=3"),
        (["@arguments.txt"], "", ""),
        (["-n1", "-p", "xdist", "--model=echo:one two"], "", "--model-concurrency 3"),
        (["--model=echo:one two", "--model-concurrency=3", "--", "test_it.py"], "", ""),
    ],
    ids=["apart", "together", "long", "elsewhere", "file", "xdist", "end"],
)
def test_a_name_that_nobody_else_declares_is_short(
    runs: Runs, monkeypatch: pytest.MonkeyPatch, arguments: list[str], environment: str, addopts: str
) -> None:
    """However it is written, wherever it stands, and in every process of the run."""
    runs.write(test_it=FREE)
    runs.pytester.path.joinpath("arguments.txt").write_text("--model\necho:one two\n--model-concurrency=3\n", "utf-8")
    runs.pytester.makeini(f"[pytest]\naddopts = {addopts}\n")
    monkeypatch.setenv("PYTEST_ADDOPTS", environment)
    assert_clean(runs.run(*arguments), passed=1)


def test_a_short_name_does_not_hide_the_conftest_files_of_a_suite(runs: Runs) -> None:
    """The value of the option is no path; so testpaths count, and what the conftest file there declares is known."""
    declares = "def pytest_addoption(parser): parser.addoption('--size', type=int)"
    uses = "\n    assert request.config.getoption('size') == 3"
    runs.write(
        **{
            "checks/conftest": declares,
            "checks/test_it": FREE.replace("model_client,", "request, model_client,") + uses,
        }
    )
    runs.pytester.makeini("[pytest]\ntestpaths = checks\n")
    assert_clean(runs.run("--model", "echo:one two", "--model-concurrency", "3", "--size=3"), passed=1)


def test_a_conftest_file_that_is_read_late_declares_what_it_likes(runs: Runs) -> None:
    """It is read when its directory is collected; what was typed is ours by then, and it has its default."""
    uses = "def test_theirs(request):\n    assert request.config.getoption('model') == 'small'"
    runs.write(**{"deep/down/conftest": DECLARES, "deep/down/test_theirs": uses, "test_ours": FREE})
    assert_clean(runs.run("--model=echo:one two", "--model-concurrency=3"), passed=2)


def test_what_is_behind_the_end_of_the_options_is_a_path(runs: Runs) -> None:
    """As for pytest's own options."""
    runs.write(test_it=FREE)
    result = runs.run("--", "--model=echo:one", in_process=True)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: file or directory not found: --model=echo:one"])


@pytest.mark.parametrize("arguments", [["--model"], ["--fresh=yes"], ["--models=x"], ["--concurrency=3"]])
def test_a_mistake_is_told_by_pytest(runs: Runs, arguments: list[str]) -> None:
    """With the long name of the option that was meant, or as an option that does not exist."""
    result = runs.run(*arguments, in_process=True)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    name = arguments[0].partition("=")[0]
    ours = f"*argument --doteval-{name[2:]}: *"
    result.stderr.fnmatch_lines([ours if name in ("--model", "--fresh") else f"*unrecognized arguments: {name}*"])


def test_the_help_has_the_long_names_and_says_when_short_ones_will_do(runs: Runs) -> None:
    """Also where somebody else has some of the short names."""
    runs.write(conftest=DECLARES)
    result = runs.run("--help", in_process=True)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "model providers (doteval); --doteval-NAME may be typed --NAME where nobody else declares that:",
            "*--doteval-model=SPEC*",
            "evaluations (doteval); --doteval-NAME may be typed --NAME where nobody else declares that:",
            "*--doteval-fresh*",
        ]
    )


# ------------------------------------------------------------------ fixtures

OTHERS = """
import pytest

@pytest.fixture
def model_providers():
    return ["somebody", "else's"]

@pytest.fixture
def openai_provider():
    return "not what you think"

@pytest.fixture
def echo_provider(request):
    return request.node.name
"""
USES = """
import pytest

def test_theirs(model_providers, openai_provider, echo_provider):
    assert model_providers == ["somebody", "else's"]
    assert openai_provider == "not what you think"
    assert echo_provider == "test_theirs"

@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("echo_client", ["a"], indirect=True)
@pytest.mark.parametrize("model_client", ["echo:a"], indirect=True)
async def test_ours(echo_client, model_client, http_provider):
    assert echo_client is model_client
    assert await echo_client.generate("hi") == "a on asyncio: hi"
"""
PLUGIN_OBJECT = """
import pytest

class Base:
    @pytest.fixture
    def model_providers(self):
        return ["somebody", "else's"]

class Late(Base):
    def __init__(self):
        self.openai_provider = pytest.fixture(lambda: "not what you think", name="openai_provider")

    @pytest.fixture(name="echo_provider")
    def _named_otherwise(self, request):
        return request.node.name

def HOOK:
    MANAGER.register(Late())
"""


def registered_in(hook: str, manager: str) -> str:
    return PLUGIN_OBJECT.replace("HOOK", hook).replace("MANAGER", manager)


@pytest.mark.parametrize("scope", ["function", "module", "session"])
@pytest.mark.parametrize(
    ("where", "source", "plugins"),
    [
        ("conftest", OTHERS, "anyio doteval"),
        ("test_it", OTHERS, "anyio doteval"),
        ("stranger", OTHERS, "stranger anyio doteval"),
        ("stranger", OTHERS, "anyio doteval stranger"),
        ("stranger", registered_in("pytest_configure(config)", "config.pluginmanager"), "anyio doteval stranger"),
        (
            "stranger",
            registered_in("pytest_sessionstart(session)", "session.config.pluginmanager"),
            "anyio doteval stranger",
        ),
    ],
)
def test_a_fixture_that_somebody_else_has_is_theirs(
    runs: Runs, where: str, source: str, plugins: str, scope: str
) -> None:
    """Whatever it is, wherever it comes from, and ours that build on a fixture of that name work none the less."""
    files = {where: source}
    files["test_it"] = files.get("test_it", "") + USES
    runs.write(**files)
    assert_clean(runs.run(f"--model-provider-scope={scope}", plugins=plugins), passed=2)
