"""Evaluations beside the fixtures of pytest-asyncio and pytest-trio: in one event loop with them, or refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree as ET

import pytest
from tests.plugin.runs import Runs, assert_clean, counts

from doteval.evals import Store

BEFORE_US, AFTER_US = "{} anyio doteval", "doteval anyio {}"
SYMPTOMS = ("INTERNALERROR", "Runner is closed", "different loop", "different task", "Event loop is closed")
Scope = Literal["function", "module", "session"]
WIDTH = ("function", "module", "session")

HEAD = """
import asyncio
from pathlib import Path
import anyio
import pytest
import pytest_asyncio
import pytest_trio
from anyio.lowlevel import current_token
from doteval import foreach, Result

@FIXTURE
async def app():
    Path(__file__).with_suffix(".was_set_up").touch()
    token = current_token()
    yield token
    assert current_token() == token

@pytest.fixture
def around(app):
    return app
"""
EVALUATION = """
@MARK
@pytest.mark.parametrize("echo_client", ["a"], indirect=True)
@foreach("n", range(3))
async def eval_it(n, around, echo_client):
    assert current_token() == around
    await echo_client.generate("hi")  # which looks at its event loop itself
    return Result(n)
"""
TEST = """
@MARK
async def test_it(around):
    assert current_token() == around
"""


@dataclass(frozen=True)
class Cell:
    """One file of a run.

    Args:
        kind: Whether the fixture is declared in the neighbour's way or in pytest's.
        scope: The scope of the fixture, and of its event loop where that is declared.
        mark: The loop scope that the evaluation is marked with, or what else it is marked for.
        company: What is in the file.
    """

    kind: Literal["own", "plain"]
    scope: Scope
    mark: Scope | Literal["bare", "anyio", ""]
    company: Literal["alone", "twice", "tests"]

    @property
    def name(self) -> str:
        """What the file is called."""
        return f"{self.kind}_{self.scope}_{self.mark}_{self.company}"

    def source(self, plugin: str, tests: str) -> str:
        """What is in it.

        Args:
            plugin: The neighbour.
            tests: How the ordinary tests are marked, so that they can use the fixture.
        """
        if plugin == "asyncio":
            loop = f", loop_scope={self.scope!r}" if self.kind == "own" else ""
            own = f"pytest_asyncio.fixture(scope={self.scope!r}{loop})"
        else:
            own = "pytest_trio.trio_fixture"
        marks = {
            "": "(lambda function: function)",
            "bare": f"pytest.mark.{plugin}",
            "anyio": "pytest.mark.anyio",
            **{scope: f"pytest.mark.asyncio(loop_scope={scope!r})" for scope in WIDTH},
        }
        head = HEAD.replace("FIXTURE", own if self.kind == "own" else f"pytest.fixture(scope={self.scope!r})")
        evaluation, test = EVALUATION.replace("MARK", marks[self.mark]), TEST.replace("MARK", marks[tests])
        return (
            head
            + {
                "alone": evaluation,
                "twice": evaluation + evaluation.replace("eval_it", "eval_again"),
                "tests": test + evaluation + test.replace("test_it", "test_again"),
            }[self.company]
        )


def cells(marks: tuple[str, ...]) -> list[Cell]:
    """All files of a run: with two of three companies each, and with all of them any two of the others."""
    found: list[Cell] = []
    for one, kind in enumerate(("own", "plain")):
        for two, scope in enumerate(WIDTH):
            for three, mark in enumerate(marks):
                companies = ["alone", "twice", "tests"]
                del companies[(one + two + three) % 3]
                found += [Cell(kind, scope, mark, company) for company in companies]  # type: ignore[arg-type]
    return found


def checked(runs: Runs, plugin: str, files: dict[Cell, tuple[str, str]], order: str, *options: str) -> None:
    """Each evaluation runs in the loop of its fixture, or is refused before anything is set up.

    Args:
        runs: Starts pytest.
        plugin: The neighbour.
        files: For each file, how its ordinary tests are marked, and the words with which its evaluations are refused.
        order: In which order plugins are loaded.
        options: For the command line.
    """
    runs.write(**{f"test_{cell.name}": cell.source(plugin, tests) for cell, (tests, _) in files.items()})
    options += ("--assert=plain",)  # there are many files, whose asserts nobody reads
    result = runs.run(*options, "--junit-xml=report.xml", "-o", "junit_family=xunit1", plugins=order.format(plugin))
    output = result.stdout.str() + result.stderr.str()
    for symptom in SYMPTOMS:
        assert symptom not in output
    found: dict[str, list[tuple[str, str]]] = {}
    for case in ET.fromstring((runs.pytester.path / "report.xml").read_text()).iter("testcase"):
        problem = next((part.text or "" for part in case if part.tag in ("error", "failure", "skipped")), "")
        found.setdefault(case.attrib["file"], []).append((case.attrib["name"], problem))
    for cell, (_, refusal) in files.items():
        outcomes = found.pop(f"test_{cell.name}.py")
        evaluations = [problem for name, problem in outcomes if name.startswith("eval_")]
        assert len(evaluations) == (2 if cell.company == "twice" else 1)
        assert not any(problem for name, problem in outcomes if name.startswith("test_")), (cell, outcomes)
        for problem in evaluations:
            if refusal:
                assert problem.startswith("The evaluation runs in"), (cell, problem)
                assert "'app'" in problem, cell
            assert refusal in problem, (cell, problem)
            assert bool(problem) is bool(refusal), (cell, problem)
        was_set_up = (runs.pytester.path / f"test_{cell.name}.was_set_up").exists()
        assert was_set_up is (not refusal or cell.company == "tests"), cell
    assert not found


@pytest.mark.parametrize(("mode", "order"), [("strict", AFTER_US), ("auto", BEFORE_US)])
def test_an_evaluation_is_in_one_loop_with_the_fixtures_of_pytest_asyncio(runs: Runs, mode: str, order: str) -> None:
    """Whatever the scopes and marks, alone, beside another, and beside ordinary tests; or it is refused."""
    files: dict[Cell, tuple[str, str]] = {}
    for cell in cells(("", "bare", "module", "session", "anyio")):
        is_plain, is_anyios = cell.kind == "plain", cell.mark == "anyio" or (mode == "strict" and not cell.mark)
        if is_plain and is_anyios and cell.scope == "session":
            continue  # wider than anyio_backend, which pytest refuses
        too_wide = cell.scope == "session" if mode == "strict" else cell.scope != "function" or is_anyios
        if is_plain and cell.company == "tests" and too_wide:
            continue  # the ordinary tests cannot have it either
        tests = cell.scope if not is_plain else "anyio" if mode == "strict" else ""
        here, there = cell.mark if cell.mark in WIDTH else "function", "function" if is_plain else cell.scope
        if is_anyios:
            refusal = "" if is_plain else "Mark the evaluation with @pytest.mark.asyncio, and not for anyio"
        elif is_plain and mode == "strict":
            refusal = "Make it with @pytest_asyncio.fixture"
        elif WIDTH.index(there) < WIDTH.index(cell.scope):
            refusal = f"Make the fixture with loop_scope={cell.scope!r}"
        else:
            refusal = "" if here == there else f"Mark the evaluation with @pytest.mark.asyncio(loop_scope={there!r})"
        files[cell] = tests, refusal
    options = ("-o", f"asyncio_mode={mode}", "-o", "asyncio_default_fixture_loop_scope=function")
    checked(runs, "asyncio", files, order, *options)


@pytest.mark.parametrize(("mode", "order"), [("false", BEFORE_US), ("true", AFTER_US)])
def test_an_evaluation_is_in_one_loop_with_the_fixtures_of_pytest_trio(runs: Runs, mode: str, order: str) -> None:
    """Which all live as long as one test."""
    files: dict[Cell, tuple[str, str]] = {}
    for cell in cells(("", "bare", "anyio")):
        is_plain, is_anyios = cell.kind == "plain", cell.mark == "anyio" or (mode == "false" and not cell.mark)
        if cell.scope == "session" or (not is_plain and cell.scope != "function"):
            continue  # there are none
        if is_plain and mode == "true" and cell.company == "tests" and (cell.scope != "function" or is_anyios):
            continue  # the ordinary tests cannot have it either
        tests = "anyio" if is_plain and (is_anyios or cell.scope != "function") else "bare"
        if is_anyios:
            refusal = "" if is_plain else "Mark the evaluation with @pytest.mark.trio, and not for anyio"
        else:
            refusal = "" if cell.scope == "function" else "Give the fixture function scope"
        files[cell] = tests, refusal
    checked(runs, "trio", files, order, "-o", f"trio_mode={mode}")


IN_A_CLASS = """
import anyio
import pytest
import pytest_asyncio
from anyio.lowlevel import current_token
from doteval import foreach, Result

@pytest.mark.PLUGIN
class TestOfService:
    @pytest.fixture
    def base(self):
        return self

    @pytest.mark.parametrize("model_client", ["echo-a", "echo-b"], indirect=True)
    @foreach("n", range(4), concurrency=1)
    async def eval_lost(self, n, base, model_client):
        assert base is self
        if n == 2 and not hasattr(model_client.provider, "broken"):
            model_client.provider.broken = True
            model_client.break_down()
            while model_client.is_open:
                await anyio.lowlevel.checkpoint()
        return Result(await model_client.generate("hi"))

    @foreach("n", range(4))
    def eval_in_threads(self, n, echo_provider):
        return Result(anyio.from_thread.run(self.reply, echo_provider))

    async def reply(self, provider):
        async with provider.setup("c") as handle:
            return await handle.model.generate("hi")

@pytest.mark.PLUGIN
async def eval_plain(echo_provider):
    await echo_provider.setup("d")
"""


@pytest.mark.parametrize("plugin", ["asyncio", "trio"])
def test_evaluations_in_the_loop_of_a_neighbour_are_like_all_others(runs: Runs, plugin: str) -> None:
    """Methods, plain functions and threads; what is lost is leased again, and what is kept opens no model."""
    runs.write(eval_it=IN_A_CLASS.replace("PLUGIN", plugin))
    options = ["--eval-experiment", "it", "-o", "asyncio_default_fixture_loop_scope=function"]
    options = options if plugin == "asyncio" else options[:2]
    result = runs.run(*options, plugins=BEFORE_US.format(plugin))
    assert_clean(result, passed=4)
    assert counts(result)["echo"]["opens"] == 2 * 2 + 1 + 1
    store = Store(runs.pytester.path / ".doteval" / "results.db")
    stored = {evaluation.name: list(store.records(evaluation)) for evaluation in store.evaluations("it")}
    lost = stored["eval_it.py::TestOfService::eval_lost[echo-a]"]
    assert [record.attempts for record in lost] == [1, 1, 2, 1]
    assert {record.output for record in lost} == {f"echo-a on {plugin}: hi"}
    assert {record.output for record in stored["eval_it.py::TestOfService::eval_in_threads"]} == {f"c on {plugin}: hi"}
    result = runs.run(*options, "-k", "not plain", plugins=AFTER_US.format(plugin))
    assert_clean(result, passed=3, deselected=1)
    assert counts(result) == {}


@pytest.mark.parametrize(
    ("plugin", "mark", "backend", "passes"),
    [
        ("asyncio", "@pytest.mark.asyncio", "asyncio", True),
        ("asyncio", "@pytest.mark.asyncio", "uvloop", False),
        ("asyncio", "", "trio", True),
        ("trio", "@pytest.mark.trio", "asyncio", False),
        ("trio", "@pytest.mark.trio", "trio", True),
    ],
)
def test_the_event_loop_of_all_evaluations_and_a_mark(
    runs: Runs, plugin: str, mark: str, backend: str, passes: bool
) -> None:
    """One that contradicts the option is refused; in auto mode the option decides for those without a mark."""
    runs.write(
        eval_it=f"""
        import pytest, sniffio
        from doteval import foreach, Result

        {mark}
        @foreach("n", [1])
        async def eval_it(n, echo_provider):
            assert sniffio.current_async_library() == {backend!r}
            return Result(n)
        """
    )
    options = ("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function")
    options = options if plugin == "asyncio" else ()
    result = runs.run("--eval-backend", backend, *options, plugins=BEFORE_US.format(plugin))
    assert_clean(result, passed=int(passes), errors=int(not passes))
    if not passes:
        result.stdout.fnmatch_lines([f"The evaluation runs in pytest-{plugin}'s event loop*{backend}*"])


def test_a_mark_that_a_hook_adds_chooses_the_loop_of_our_fixtures_too(runs: Runs) -> None:
    """As pytest-asyncio advises for running all tests of a session in one loop."""
    runs.write(
        conftest="""
        import pytest
        from pytest_asyncio import is_async_test

        def pytest_collection_modifyitems(items):
            for item in filter(is_async_test, items):
                item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
        """,
        test_it=Cell("own", "session", "bare", "tests").source("asyncio", "bare")
        + """
@pytest.mark.asyncio
@pytest.mark.parametrize("echo_client", ["a"], indirect=True)
async def test_with_a_model(around, echo_client):
    assert current_token() == around
    await echo_client.generate("hi")
""",
    )
    assert_clean(
        runs.run("-o", "asyncio_default_fixture_loop_scope=function", plugins="asyncio anyio doteval"), passed=4
    )


def test_a_fixture_that_asks_for_the_event_loop_of_anyio_is_named(runs: Runs) -> None:
    """It keeps an evaluation from the loop that it is marked for, so what lives there is refused, and this is why."""
    runs.write(
        test_it="""
        import pytest
        import pytest_asyncio
        from doteval import foreach, Result

        @pytest.fixture
        def chosen(anyio_backend): ...

        @pytest_asyncio.fixture
        async def app(): ...

        @pytest.mark.asyncio
        @pytest.mark.parametrize("echo_client", ["a"], indirect=True)
        @foreach("n", [1])
        async def eval_it(n, echo_client, app, chosen): ...

        @pytest.mark.asyncio
        @pytest.mark.parametrize("echo_client", ["a"], indirect=True)
        @foreach("n", [1])
        async def eval_without(n, echo_client, chosen):
            return Result(await echo_client.generate("hi"))
        """
    )
    result = runs.run("-o", "asyncio_default_fixture_loop_scope=function", plugins="asyncio anyio doteval")
    assert_clean(result, passed=1, errors=1)
    result.stdout.fnmatch_lines(["The evaluation runs in anyio's event loop, *'app'*'chosen' asks for anyio_backend*"])


BESIDE_DATA = """
import pytest
from doteval import foreach, Result

both = pytest.mark.parametrize("echo_client", ["a", "b"], indirect=True)

@pytest.fixture
def few():
    return ["one"]

@pytest.fixture(scope="session")
def many(request):
    return [*"abc"]

@pytest.fixture
def chosen(request):
    return request.param

@pytest.mark.anyio
@both
async def test_before(echo_client):
    await echo_client.generate("hi")

@both
@foreach("n", range(3))
async def eval_few(n, few, echo_client):
    return Result(await echo_client.generate(few[0]))

@both
@foreach("n", range(3))
async def eval_many(n, many, few, echo_client):
    return Result(await echo_client.generate(many[n]))

@pytest.mark.parametrize("chosen", ["x", "y"], indirect=True)
@both
@foreach("n", range(3))
async def eval_chosen(n, chosen, echo_client):
    return Result(await echo_client.generate(chosen))

@both
@foreach("n", range(3))
def eval_in_threads(n, few, echo_client):
    return Result(few[0])

@both
@foreach("n", range(3))
async def eval_bare(n, echo_client):
    return Result(await echo_client.generate("hi"))

@pytest.mark.anyio
@both
async def test_after(few, echo_client):
    await echo_client.generate(few[0])
"""


@pytest.mark.parametrize(
    ("neighbours", "plugins"),
    [("", BEFORE_US), ("asyncio", AFTER_US), ("trio", BEFORE_US), ("trio asyncio", AFTER_US)],
)
def test_fixtures_that_give_data_change_nothing_of_who_runs_an_evaluation(
    runs: Runs, neighbours: str, plugins: str
) -> None:
    """What is set up for one item serves the next, whatever else is installed, and the second run asks nothing."""
    runs.write(test_it=BESIDE_DATA)
    plugins = plugins.format(neighbours)
    options = ["--eval-experiment", "it", "--eval-backend", "asyncio"]
    options += ["-o", "asyncio_default_fixture_loop_scope=function"] if "asyncio" in neighbours else []
    result = runs.run(*options, plugins=plugins)
    assert_clean(result, passed=20)
    assert counts(result)["echo"]["opens"] == 2 * len({"asyncio", "trio"})
    result = runs.run(*options, "-k", "eval_", plugins=plugins)
    assert_clean(result, passed=12, deselected=8)
    assert counts(result) == {}
