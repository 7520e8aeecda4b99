"""A good guest: what a suite and its other plugins call their own stays theirs, and they notice nothing of ours."""

from __future__ import annotations

import contextlib
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from tests.forks import Forks
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


def test_what_is_behind_the_end_of_the_options_is_not_ours(runs: Runs) -> None:
    """It may be a path; pytest says what it makes of it."""
    runs.write(test_it=FREE)
    result = runs.run("--", "--model=echo:one")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--model=echo:one" in result.stderr.str()
    assert "--doteval-model" not in result.stderr.str()


@pytest.mark.parametrize("arguments", [["--model"], ["--fresh=yes"], ["--models=x"], ["--concurrency=3"]])
def test_a_mistake_is_told_by_pytest(runs: Runs, arguments: list[str]) -> None:
    """With the long name of the option that was meant, or as an option that does not exist."""
    result = runs.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    name = arguments[0].partition("=")[0]
    ours = f"*argument --doteval-{name[2:]}: *"
    result.stderr.fnmatch_lines([ours if name in ("--model", "--fresh") else f"*unrecognized arguments: {name}*"])


def test_the_help_has_the_long_names_and_says_when_short_ones_will_do(runs: Runs) -> None:
    """Also where somebody else has some of the short names."""
    runs.write(conftest=DECLARES)
    result = runs.run("--help")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "model providers (doteval); --doteval-NAME may be typed --NAME where nobody else declares that:",
            "*--doteval-model=[[]ROLE=]SPEC*",
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
    @pytest.fixture
    def openai_provider(self):
        return "not what you think"

    @pytest.fixture(name="echo_provider")
    def _named_otherwise(self, request):
        return request.node.name

def HOOK:
    MANAGER.register(Late())
"""


def registered_in(hook: str, manager: str) -> str:
    return PLUGIN_OBJECT.replace("HOOK", hook).replace("MANAGER", manager)


@pytest.mark.parametrize(
    ("where", "source", "plugins", "scope"),
    [
        ("conftest", OTHERS, "anyio doteval", "function"),
        ("conftest", OTHERS, "anyio doteval", "module"),
        ("conftest", OTHERS, "anyio doteval", "session"),
        ("test_it", OTHERS, "anyio doteval", "module"),
        ("stranger", OTHERS, "stranger anyio doteval", "module"),
        ("stranger", OTHERS, "anyio doteval stranger", "session"),
        (
            "stranger",
            registered_in("pytest_configure(config)", "config.pluginmanager"),
            "stranger anyio doteval",
            "module",
        ),
        (
            "stranger",
            registered_in("pytest_sessionstart(session)", "session.config.pluginmanager"),
            "anyio doteval stranger",
            "session",
        ),
    ],
    ids=["function", "module", "session", "test module", "plugin before", "plugin after", "object", "late object"],
)
def test_a_fixture_that_somebody_else_has_is_theirs(
    runs: Runs, where: str, source: str, plugins: str, scope: str
) -> None:
    """Whatever it is, wherever it comes from, and ours that build on a fixture of that name work none the less."""
    files = {where: source}
    files["test_it"] = files.get("test_it", "") + USES
    runs.write(**files)
    assert_clean(runs.run(f"--model-provider-scope={scope}", plugins=plugins), passed=2)


# ------------------------------------------------------------------ files

HEAD = "from doteval import Result, foreach\n"
PLAIN = "def eval_plain(): assert 1 + 1 == 2\n"
EVALUATION = HEAD + "@foreach('x', [1])\ndef eval_it(x): return Result(x)\n"
PARSES = "import argparse\nparser = argparse.ArgumentParser()\nargs = parser.parse_args()\n"
ENDS = "raise SystemExit('it was imported')\n"
IN_MAIN = (
    "\nif __name__ == '__main__':\n    import sys, argparse\n    argparse.ArgumentParser().parse_args(sys.argv[1:])\n"
)
COLLECTED = {
    "eval_it": EVALUATION,
    "eval_with_main": EVALUATION + IN_MAIN,
    "eval_plain": "import doteval.evals\n" + PLAIN,
    "eval_parses_when_called": EVALUATION + "def main():\n    parser.parse_args()\n",
    "eval_class": HEAD + "class TestIt:\n    @foreach('x', [1])\n    def eval_it(self, x): return x\n",
    "eval_assigned": "if True:\n    import doteval\neval_it = doteval.foreach('x', [1])(lambda x: x)\n",
    "deep/down/eval_deep": EVALUATION,
}
LEFT_ALONE = {
    "eval_script": PARSES + PLAIN,
    "eval_script_of_ours": HEAD + PARSES + PLAIN,
    "eval_known_args": "import doteval\nfrom x import parse_known_args\n" + PLAIN + "parse_known_args()\n",
    "eval_argv": "import doteval, sys\nname = sys.argv[1]\n" + PLAIN,
    "eval_app": "import doteval\nprint('it costs money')\n" + ENDS,
    "eval_neighbour": "from dotevals import foreach\n" + PLAIN + ENDS,
    "eval_mentions": "'''not doteval'''\nimport x.doteval\nfrom . import doteval\n" + PLAIN + ENDS,
    "eval_only_when_called": PLAIN + ENDS + "def main():\n    import doteval\n",
    "eval_no_python": "print 'not doteval'\n",
    "evaluate": EVALUATION + ENDS,
}


def collected(result: pytest.RunResult) -> set[str]:
    """The names of the files with what was collected from them, without suffix."""
    return {line.partition(".py::")[0] for line in result.outlines if ".py::" in line}


@pytest.mark.parametrize("arguments", [[], ["."]])
def test_a_file_is_collected_where_its_text_says_that_it_is_for_evaluations(runs: Runs, arguments: list[str]) -> None:
    """It imports doteval and defines one; and no program is imported, whatever it is called. A directory names none."""
    runs.write(**COLLECTED, **LEFT_ALONE)
    result = runs.run("--collect-only", "-q", *arguments, summary=False)
    assert result.ret == pytest.ExitCode.OK
    assert collected(result) == {*COLLECTED}


def test_a_mistake_in_a_file_of_evaluations_is_told(runs: Runs) -> None:
    """It cannot be read, but it begins as one."""
    runs.write(eval_wrong=HEAD + "def eval_it(:\n")
    result = runs.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*eval_wrong.py*", "*SyntaxError*"])


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["eval_own.py::eval_plain"], 1),
        (["./eval_own.py"], 1),
        (["eval_own.py::eval_plain", "eval_own.py::eval_model"], 2),
        (["."], 0),
    ],
)
def test_a_file_is_collected_where_it_is_named(runs: Runs, arguments: list[str], count: int) -> None:
    """Then it need not import doteval, if what it defines is named or uses a model; asserts are explained."""
    leased = "def eval_model(model_providers): assert 1 + 1 == 3\n"
    runs.write(eval_own=PLAIN.replace("== 2", "== 3") + leased, eval_script=PARSES)
    result = runs.run(*arguments)
    result.assert_outcomes(failed=count)
    assert result.stdout.str().count("E   assert (1 + 1) == 3") == count


def test_a_file_is_collected_where_the_ini_file_says_so(runs: Runs) -> None:
    """By its name, or by its directory as well; what is asserted there is explained."""
    fails = PLAIN.replace("== 2", "== 3")
    runs.write(**{"eval_own": fails, "suite/cases/it": fails, "cases": PARSES, "eval_script": PARSES})
    runs.pytester.makeini("[pytest]\ndoteval_eval_files = eval_own.py cases/*.py\n")
    result = runs.run()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*assert (1 + 1) == 3", "*assert (1 + 1) == 3"])


def test_what_is_asserted_in_an_evaluation_is_explained(runs: Runs) -> None:
    """As in every test."""
    runs.write(eval_it="import doteval\n" + PLAIN.replace("== 2", "== 3"))
    runs.run().stdout.fnmatch_lines(["*assert (1 + 1) == 3"])


def test_a_suite_that_collects_every_file_has_as_many_tests_as_before(runs: Runs) -> None:
    """Functions called ``eval_*`` are no tests where nobody says that they are evaluations."""
    runs.write(eval_metrics="def eval_model(model, data): ...\ndef test_it(): ...\n")
    runs.pytester.makeini("[pytest]\npython_files = *.py\n")
    assert_clean(runs.run(), passed=1)


def test_files_that_are_named_are_noted_once_each(runs: Runs) -> None:
    """pytest tries what it knows of wanted files for each import, and asks for each once for each that is named."""
    names = {f"eval_{place}": "import doteval\n" + PLAIN for place in range(4)}
    runs.write(**names)
    runs.pytester.makeconftest("""
        def pytest_sessionfinish(session):
            patterns = session.config.getini("python_files")
            assert len(patterns) == len({*patterns}) == 2 + 4, patterns
    """)
    assert runs.run(*(f"{name}.py" for name in names)).ret == 0


# ------------------------------------------------------------------ versions of pytest

OLD = """
import sys
import pytest

for name in [name for name in sys.modules if name.startswith("doteval.")]:
    del sys.modules[name]
pytest.version_tuple = VERSION
sys.exit(pytest.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("version", ["(7, 0, 0)", "(8, 3, 5)", "(8, 4, 0, 'rc1')", repr(pytest.version_tuple)])
def test_the_plugin_stands_aside_where_pytest_is_too_old(runs: Runs, forks: Forks, version: str) -> None:
    """A line of the header says so; no option, fixture or file pattern is there. `nox -s old_pytest` has real ones."""
    is_old = version < "(8, 4"
    runs.write(
        old=OLD.replace("VERSION", version),
        eval_it=EVALUATION,
        test_it=f"""
        import pytest

        @pytest.mark.anyio
        async def test_it(request):
            assert request.config.pluginmanager.has_plugin("doteval-fixtures") is {not is_old}
            assert hasattr(request.config.option, "doteval_model") is {not is_old}
        """,
    )
    warnings = ["-W", "error", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    result = forks.run("old.py", "-p", "anyio", "-p", "doteval", *warnings, cwd=runs.pytester.path)
    line = "doteval: its fixtures and options need pytest 8.4 or later, so they are not there in"
    assert (line in result.stdout) is is_old
    assert f"{2 if is_old else 3} passed" in result.stdout


# ------------------------------------------------------------------ the number of tests

STRANGER = {
    "conftest": DECLARES + OTHERS,
    "test_stranger": """
    import unittest
    import pytest

    @pytest.mark.anyio
    async def test_on_every_event_loop(anyio_backend): ...

    @pytest.mark.anyio
    @pytest.mark.parametrize("model", ["small", "large"])
    async def test_own_names(model, model_providers, openai_provider): ...

    @pytest.fixture
    async def openai_client():
        yield "somebody else's"

    @pytest.mark.anyio
    async def test_own_client(openai_client):
        assert openai_client == "somebody else's"

    async def test_nobody_runs(): ...

    @pytest.mark.trio
    async def test_of_pytest_trio(openai_client, echo_provider): ...

    @pytest.mark.asyncio
    async def test_of_pytest_asyncio(echo_provider): ...

    class TestInAClass:
        @pytest.mark.parametrize("anyio_backend", ["asyncio"])
        async def test_on_one(self, anyio_backend): ...

    class Case(unittest.IsolatedAsyncioTestCase):
        async def test_it(self): ...

    def eval_metric(model, data): ...
    """,
    "eval_model": PARSES + PLAIN + "def test_it(): ...",
    "metrics/eval_own": "import pytest\ndef test_it(): ...\n" + PLAIN,
}


@pytest.mark.parametrize(
    ("arguments", "others"),
    [
        ([], ""),
        (["--model=x", "--fresh"], "trio"),
        (["metrics"], ""),
        (["metrics/eval_own.py"], ""),
        (["-o", "asyncio_mode=strict", "-o", "asyncio_default_fixture_loop_scope=function"], "asyncio"),
        (["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"], "asyncio"),
        (["-o", "trio_mode=true"], "trio"),
    ],
)
def test_a_suite_of_strangers_is_the_same_with_and_without_us(runs: Runs, arguments: list[str], others: str) -> None:
    """The same tests, in the same order, with the same results."""
    runs.write(**STRANGER)
    options = ["-v", "-p", "no:cacheprovider", *arguments]
    without, beside = (
        [line for line in runs.run(*options, plugins=plugins, strict=False, summary=False).outlines if "::" in line]
        for plugins in (f"{others} anyio", f"{others} anyio doteval")
    )
    assert beside == without
    assert without or arguments == ["metrics"]


def test_the_extra_all_brings_no_event_loop() -> None:
    """Neither by itself nor by what it asks for; where trio is, anyio's plugin runs every test on it as well."""
    pyproject = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text("utf-8"))
    extras = pyproject["project"]["optional-dependencies"]
    asked = [*pyproject["project"]["dependencies"], *extras["all"]]
    brought: set[str] = set()
    while asked:
        requirement = Requirement(asked.pop())
        if requirement.name == pyproject["project"]["name"]:
            asked += [line for extra in requirement.extras for line in extras[extra]]
        elif requirement.name not in brought and applies(requirement):
            brought.add(requirement.name)
            with contextlib.suppress(PackageNotFoundError):
                asked += requires(requirement.name) or ()
    assert {"anyio", "openai", "anthropic", "jinja2", "pydantic"} <= brought
    assert "trio" not in brought
    assert any("trio" in Requirement(line).extras for line in extras["test"])


def applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})
