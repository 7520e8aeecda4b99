"""What the results of an evaluation in pytest depend on: parameters, fixtures, helpers, options."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.plugin.runs import Runs, assert_clean

CONFTEST = """
import pytest
import time
from pathlib import Path

FEW_SHOT = ["one", "two"]

@pytest.fixture
def few_shot():
    return FEW_SHOT

@pytest.fixture(scope="session")
def prompt_file():
    print("reading the file")
    return Path("prompt.txt").read_text()

@pytest.fixture
async def connection(anyio_backend, few_shot):
    yield "connection", few_shot

@pytest.fixture(autouse=True)
def directory(tmp_path):
    return tmp_path

@pytest.fixture
def wrapped(echo_provider):
    return echo_provider

@pytest.fixture(scope="session")
def server():
    yield time.time()

@pytest.fixture
def address(server):
    return f"http://127.0.0.1:{server}"
"""
HELPERS = """
def score(output, answer):
    return output == answer
"""
EVALUATION = """
import pytest
from pathlib import Path
from doteval import foreach, Result
from helpers import score

DATASET = "dataset.txt"

def rows():
    return [line.split() for line in Path(DATASET).read_text().splitlines()]

class Template:
    def __init__(self, text):
        self.text = text

@pytest.mark.parametrize("template", [Template("a {}"), Template("b {}")])
@pytest.mark.parametrize("echo_client", ["echo-4"], indirect=True)
@foreach("question,answer", rows)
async def eval_it(question, answer, template, echo_client, few_shot, prompt_file, connection, wrapped, address):
    output = await echo_client.generate(template.text.format(question))
    return Result(output, scores={"exact": score(output, answer)})
"""
FILES = {
    "conftest.py": CONFTEST,
    "helpers.py": HELPERS,
    "eval_it.py": EVALUATION,
    "prompt.txt": "Be brief.",
    "dataset.txt": "q1 a1\nq2 a2\n",
}
COUNTED = ("eval_it.py", "--eval-experiment", "it", "--model-summary", "-rA")


def write(runs: Runs, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (runs.pytester.path / name).write_text(text)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test of many keeps the files as they are after two runs, of which the second uses no model."""
    return tmp_path_factory.mktemp("evaluated") / "files"


@pytest.mark.parametrize(
    ("file", "old", "new", "names"),
    [
        ("eval_it.py", 'Template("a {}")', 'Template("c {}")', ["the parameter 'template' has changed*"]),
        (
            "eval_it.py",
            '[Template("a {}"), Template("b {}")]',
            '[Template("b {}"), Template("a {}")]',
            ["the parameter 'template' has changed*"],
        ),
        ("eval_it.py", "await echo_client", "'!' + await echo_client", ["its code has changed*"]),
        ("helpers.py", "output == answer", "output.strip() == answer", ["the function 'score' has changed*"]),
        ("conftest.py", '"two"', '"three"', ["*what the fixture 'few_shot' gives has changed*"]),
        ("conftest.py", '"connection", few', '"another", few', ["the fixture 'connection' has changed*"]),
        ("conftest.py", "read_text()", "read_text().strip()", ["the fixture 'prompt_file' has changed*"]),
        ("prompt.txt", "brief", "verbose", ["what the fixture 'prompt_file' gives has changed*"]),
        ("eval_it.py", "line.split()", "line.split(' ')", ["the function that makes the dataset has changed*"]),
    ],
)
def test_what_has_changed_is_said_before_any_model_is_leased(
    runs: Runs, evaluated: Path, file: str, old: str, new: str, names: list[str]
) -> None:
    """Whatever it is, and wherever it stands; what is the same is answered, and opens nothing."""
    if not evaluated.exists():
        write(runs, FILES)
        assert_clean(runs.run(*COUNTED), passed=2)
        again = runs.run(*COUNTED)
        assert_clean(again, passed=2)
        again.stdout.fnmatch_lines(["none was used"])
        again.stdout.fnmatch_lines(["reading the file"])
        shutil.copytree(runs.pytester.path, evaluated, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(evaluated, runs.pytester.path, dirs_exist_ok=True)
    assert old in FILES[file]
    write(runs, {file: FILES[file].replace(old, new)})
    changed = runs.run(*COUNTED, strict=False)
    assert changed.parseoutcomes()["errors"] >= 1
    changed.stdout.fnmatch_lines(names)
    changed.stdout.fnmatch_lines(["none was used"])
    again = runs.run(*COUNTED, "--doteval-eval-changed", "rerun", strict=False)
    assert again.parseoutcomes()["passed"] == 2


def test_rows_of_a_file_that_has_changed_are_run(runs: Runs) -> None:
    """A function that reads them is asked again; what was there is known, wherever it stands."""
    write(runs, FILES)
    assert_clean(runs.run(*COUNTED), passed=2)
    write(runs, {"dataset.txt": "q0 a0\nq2 a2\nq1 a1\n"})
    result = runs.run(*COUNTED, strict=False)
    assert result.parseoutcomes()["passed"] == 2
    assert "echo" in result.stdout.str().partition("model providers")[2]
    lines = [line for line in result.outlines if line.startswith("eval_it.py::eval_it[")]
    assert len(lines) == 2
    assert all(line.split()[1] == "3" for line in lines), lines


def test_what_lies_elsewhere_each_time_changes_nothing(runs: Runs) -> None:
    """Neither temporary directories, nor the event loop, nor where objects lie."""
    write(runs, FILES)
    assert_clean(runs.run(*COUNTED), passed=2)
    again = runs.run(*COUNTED, "--eval-backend", "trio")
    assert_clean(again, passed=2)
    again.stdout.fnmatch_lines(["none was used"])


def test_how_pytest_runs_assertions_explains_that_code_is_another(runs: Runs) -> None:
    """Where there is one; where there is none it changes nothing."""
    runs.write(
        eval_it="""
        from doteval import foreach, Result

        @foreach("value", [1])
        def eval_with(value):
            assert value
            return Result(value)

        @foreach("value", [1])
        def eval_without(value):
            return Result(value)
        """
    )
    assert_clean(runs.run("--eval-experiment", "it"), passed=2)
    again = runs.run("--eval-experiment", "it", "--assert=plain", strict=False)
    again.assert_outcomes(errors=1, passed=1)
    again.stdout.fnmatch_lines(
        ["how pytest runs assertions was rewrite, and is plain, which changes code*", "*- its code has changed*"]
    )


@pytest.mark.parametrize("option", ["--model-setting=echo.greeting=Hi", "--model-base-url=echo=http://127.0.0.1:1"])
def test_settings_of_the_provider_count(runs: Runs, option: str) -> None:
    """Whoever's fixture leases the model, also where the fixture of another one would be called as the one of all."""
    runs.install(
        "settablepkg",
        {"settable": "settablepkg:Settable", "model": "echopkg:EchoProvider"},
        settablepkg="""
        from contextlib import asynccontextmanager
        from doteval import PooledProvider

        class Settable(PooledProvider):
            def __init__(self, greeting="Hello", base_url="http://localhost", timeout=3, **options):
                super().__init__(**options)

            operational = frozenset({"timeout"})

            @asynccontextmanager
            async def open(self, spec):
                yield spec
        """,
    )
    runs.write(
        eval_it="""
        import pytest
        from doteval import foreach, Result

        @pytest.mark.parametrize("settable_client", ["it"], indirect=True)
        @foreach("value", [1])
        async def eval_it(value, settable_client):
            return Result(value)

        @pytest.mark.parametrize("model_client", ["settable:it"], indirect=True)
        @foreach("value", [1])
        async def eval_any(value, model_client):
            return Result(value)
        """
    )
    option = option.replace("echo", "settable")
    common = ("--eval-experiment", "it", "--model-setting=settable.timeout=7")
    assert_clean(runs.run("--eval-experiment", "it"), passed=2)
    assert_clean(runs.run(*common), passed=2)
    changed = runs.run(*common, option, strict=False)
    changed.assert_outcomes(errors=2)
    changed.stdout.fnmatch_lines(["the model's * is *"])


PROVIDERS = """
import pytest
from doteval import foreach, Result

@pytest.fixture
def judge(openai_provider):
    return openai_provider

@foreach("value", [1])
async def eval_by_fixture(value, judge):
    return Result(value)

@foreach("value", [1])
async def eval_by_name(value, openai_provider):
    return Result(value)

@foreach("value", [1])
async def eval_by_any(value, model_providers):
    return Result(value)
"""


@pytest.mark.parametrize(
    "option", ["--model-base-url=openai=http://127.0.0.1:2/v1", "--model-setting=openai.timeout=7"]
)
def test_settings_of_a_provider_count_however_it_is_asked_for(runs: Runs, option: str) -> None:
    """By a fixture of the user's, by its name, or through all of them; and not where no answer depends on them."""
    runs.write(eval_it=PROVIDERS)
    arguments = ("--eval-experiment", "it", "--model-base-url=openai=http://127.0.0.1:1/v1")
    assert_clean(runs.run(*arguments), passed=3)
    result = runs.run(*arguments, option, strict=False)
    result.assert_outcomes(**({"errors": 3} if "url" in option else {"passed": 3}))


def test_what_one_evaluation_leaves_behind_does_not_count_for_the_next(runs: Runs) -> None:
    """Caches in modules and classes, whoever writes and whoever reads them."""
    runs.write(
        eval_it="""
        import pytest
        from doteval import foreach, Result

        CACHE = {}

        def remember(cache, value):
            cache[value] = value

        class Counted:
            made = 0

            def make(self):
                Counted.made += 1
                return self

        @pytest.mark.parametrize("name", ["one", "two", "three"])
        @foreach("value", range(3))
        async def eval_it(value, name):
            remember(CACHE, value)
            return Result(len(CACHE) + Counted().make().made)
        """
    )
    for _ in range(3):
        assert_clean(runs.run("--eval-experiment", "it"), passed=3)


def test_a_fixture_that_fails_may_be_set_up_again(runs: Runs) -> None:
    """As plugins do it that run a test again."""
    runs.write(
        conftest="""
        import pytest
        from _pytest.runner import runtestprotocol

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_protocol(item, nextitem):
            item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
            if any(report.failed for report in reports):
                item._initrequest()
                reports = runtestprotocol(item, nextitem=nextitem, log=False)
            for report in reports:
                item.ihook.pytest_runtest_logreport(report=report)
            item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
            return True
        """,
        eval_it="""
        import pytest
        from doteval import foreach, Result

        tries = []

        @pytest.fixture
        def prompt():
            tries.append(1)
            if len(tries) == 1:
                raise ConnectionError("not yet")
            return "a prompt"

        @foreach("value", range(3))
        async def eval_it(value, prompt, echo_provider):
            return Result(prompt)
        """,
    )
    assert_clean(runs.run("--eval-experiment", "it"), passed=1)


MARKED_CONFTEST = """
import pytest

def style_of(request):
    mark = request.node.get_closest_marker("style")
    return mark.args[0] if mark else "plain"

@pytest.fixture
def brief():
    return "be brief"

@pytest.fixture
def long():
    return "be long"

@pytest.fixture
def style(request):
    return style_of(request)

@pytest.fixture
def by_name(request):
    yield request.getfixturevalue(request.param)

@pytest.fixture
def by_module(request):
    yield request.module.SYSTEM

@pytest.fixture
async def by_async(request):
    return style_of(request)

@pytest.fixture
def by_mark(request):
    yield request.getfixturevalue("brief")
"""
MARKED = """
import pytest
from doteval import Result, foreach

SYSTEM = "be kind"

@foreach("q", [("a",), ("b",)])
async def eval_of_module(q, by_module, model_client):
    return Result(await model_client.generate(by_module + q))

@pytest.mark.style("rude")
@foreach("q", [("a",), ("b",)])
async def eval_async(q, by_async, model_client):
    return Result(await model_client.generate(by_async + q))

@pytest.mark.slow
@pytest.mark.style("terse")
@foreach("q", [("a",), ("b",)])
async def eval_marked(q, style, model_client):
    return Result(await model_client.generate(style + q))

@pytest.mark.style("terse")
@pytest.mark.parametrize("by_name", ["long"], indirect=True)
@foreach("q", [("a",), ("b",)])
async def eval_unmarked(q, by_name, model_client):
    return Result(await model_client.generate(by_name + q))

@foreach("q", [("a",), ("b",)])
async def eval_yielding(q, by_mark, model_client):
    return Result(await model_client.generate(by_mark + q))

@foreach("q", [("a",), ("b",)])
async def eval_asking(q, request, model_client):
    return Result(await model_client.generate(request.getfixturevalue("long") + q))
"""


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("conftest.py", '"be long"', '"be very long"', {"unmarked", "asking"}),
        ("conftest.py", '"be brief"', '"be terse"', {"yielding"}),
        ("conftest.py", 'else "plain"', 'else "none"', {"marked", "async"}),
        ("eval_it.py", '.style("terse")', '.style("wordy")', {"marked"}),
        ("eval_it.py", '.style("rude")', '.style("polite")', {"async"}),
        ("eval_it.py", '"be kind"', '"be honest"', {"of_module"}),
        ("eval_it.py", "@pytest.mark.slow\n", "", {"marked"}),
        ("eval_it.py", "@pytest.mark.slow\n", "@pytest.mark.slow\n@pytest.mark.skipif(False, reason='')\n", set()),
    ],
)
def test_what_fixtures_ask_pytest_for_while_they_run_counts(
    runs: Runs, file: str, old: str, new: str, changed: set[str]
) -> None:
    """Marks, where any code looks at them, and fixtures that are asked for by name."""
    ini = "[pytest]\nmarkers =\n    slow\n    style(text)\n"
    files = {"conftest.py": MARKED_CONFTEST, "eval_it.py": MARKED, "pytest.ini": ini}
    write(runs, files)
    arguments = ("eval_it.py", "--eval-experiment", "it", "--model", "echo:echo-4", "-rA")
    assert_clean(runs.run(*arguments), passed=6)
    assert old in files[file]
    write(runs, {file: files[file].replace(old, new)})
    again = runs.run(*arguments, strict=False)
    said = {line.partition("eval_")[2].split()[0] for line in again.outlines if line.startswith("ERROR eval_it.py::")}
    assert {each.partition("eval_")[2].partition("[")[0] for each in said} == changed
    assert again.parseoutcomes().get("passed", 0) == 6 - len(changed)


READING_CONFTEST = """
import pytest
from pathlib import Path

HERE = Path(__file__).parent

@pytest.fixture(scope="session")
def known():
    return (HERE / "known.txt").read_text()

@pytest.fixture(scope="session", params=["one", "two"])
def name(request):
    return request.param

@pytest.fixture(scope="session")
def manual(name):
    yield (HERE / f"{name}.txt").read_text()

@pytest.fixture(scope="module")
def library():
    yield (HERE / "library.txt").read_text()

@pytest.fixture
def agent(model_client, known, library):
    system = (HERE / "system.txt").read_text()
    return lambda q: model_client.generate(system + known + library + q)

@pytest.fixture
async def judge(model_client):
    text = (HERE / "judge.txt").read_text()
    return lambda q: model_client.generate(text + q)
"""
READING = """
from doteval import Result, foreach

@foreach("q", [("a",), ("b",)])
async def eval_agent(q, agent):
    return Result(await agent(q))

@foreach("q", [("a",), ("b",)])
async def eval_judge(q, judge):
    return Result(await judge(q))

@foreach("q", [("a",), ("b",)])
async def eval_library(q, library, model_client):
    return Result(await model_client.generate(library + q))

@foreach("q", [("a",), ("b",)])
async def eval_manual(q, manual):
    return Result(manual + q)
"""


DECLARED = """
import pytest
from pathlib import Path
from doteval import foreach, Result

@pytest.mark.parametrize("name", ["one", "two"])
@foreach("q", [("a",), ("b",)], depends_on={"corpus": Path("corpus"), "here": Path("."), "index": "v1"})
async def eval_it(q, name):
    return Result(q)

@foreach("q", [("a",)], depends_on=[Path("none.txt")])
async def eval_none(q):
    return Result(q)
"""


def test_what_evaluations_say_that_they_depend_on_counts(runs: Runs) -> None:
    """In each worker the same; what is not there fails one evaluation, before anything is leased; no store counts."""
    (runs.pytester.path / "corpus").mkdir()
    write(runs, {"eval_it.py": DECLARED, "corpus/a.md": "one", "pytest.ini": "[pytest]"})
    arguments = ("eval_it.py", "--eval-experiment", "it", "--eval-store", "results.db", "-p", "no:cacheprovider")
    first = runs.run(*arguments, "-n", "2", plugins="anyio xdist doteval", strict=False)
    first.assert_outcomes(passed=2, errors=1)
    first.stdout.fnmatch_lines(["*What 'eval_none' depends on cannot be read: there is no 'none.txt' in '*'."])
    answered = runs.run(*arguments, "--eval-backend", "trio", "-k", "not none", strict=False)
    answered.assert_outcomes(passed=2, deselected=1)
    write(runs, {"corpus/b.md": "two", "eval_it.py": DECLARED.replace("v1", "v2")})
    again = runs.run(*arguments, "-k", "not none", strict=False)
    again.assert_outcomes(errors=2, deselected=1)
    again.stdout.fnmatch_lines_random(
        [
            "the dependency 'index' has changed: *",
            "*- the directory . has changed: corpus/b.md (new), eval_it.py",
            "*- the directory corpus has changed: b.md (new)",
        ]
    )


MEANWHILE = """
import pytest
from pathlib import Path
from doteval import foreach, Result

PROMPT = Path(__file__).parent / "prompts/en.txt"
MADE = Path(__file__).parent / "made/a.md"

@pytest.fixture(scope="session")
def corpus():
    MADE.parent.mkdir(exist_ok=True)
    MADE.write_text(Path("source.txt").read_text())

@foreach("q", ["a"])
async def eval_first(q):
    PROMPT.write_text(Path("next.txt").read_text())
    return Result(q)

@foreach("q", ["a"], depends_on=[Path("prompts")])
async def eval_prompt(q):
    return Result(PROMPT.read_text())

@foreach("q", ["a"], depends_on=[Path("made")])
async def eval_made(q, corpus):
    return Result(MADE.read_text())
"""

PEEKS = """
from pathlib import Path

def pytest_runtest_protocol(item):
    if item.name == "eval_prompt" and Path("edit.txt").exists():
        (running,) = (each for each in item.config.pluginmanager.get_plugins() if type(each).__name__ == "EvalRunning")
        assert running._needs_no_model(item)
        Path("prompts/en.txt").write_text("three")
"""
"""Looks ahead, as whoever loads the next model does, and then changes the file."""


def test_files_count_as_they_are_when_each_evaluation_begins(runs: Runs) -> None:
    """Not as they were when it was collected, or before fixtures had made them."""
    arguments = ("eval_it.py", "--eval-experiment", "it", "--eval-store", "results.db", "-p", "no:cacheprovider")
    (runs.pytester.path / "prompts").mkdir()
    old = {"prompts/en.txt": "one", "source.txt": "one"}
    write(runs, {"conftest.py": PEEKS, "eval_it.py": MEANWHILE, "next.txt": "two", "pytest.ini": "[pytest]", **old})
    first = runs.run(*arguments)
    first.assert_outcomes(passed=3)
    first.stdout.no_fnmatch_line("*EvaluationWarning*")
    runs.run(*arguments).assert_outcomes(passed=3)
    write(runs, {"edit.txt": ""})
    runs.run(*arguments, strict=False).assert_outcomes(passed=2, errors=1)
    (runs.pytester.path / "edit.txt").unlink()
    write(runs, {**old, "source.txt": "two"})
    again = runs.run(*arguments, strict=False)
    again.assert_outcomes(passed=1, errors=2)
    again.stdout.fnmatch_lines([f"the directory {name} has changed: *" for name in ("prompts", "made")])


READ = {
    "system.txt": {"agent"},
    "library.txt": {"agent", "library"},
    "judge.txt": {"judge"},
    "two.txt": {"manual[two]"},
    "other.txt": set[str](),
}


def test_files_that_fixtures_read_are_told_when_they_have_changed(runs: Runs) -> None:
    """Of those whose fixtures manage something, and are not set up to know; whichever item they were set up for."""
    texts = dict.fromkeys((*READ, "known.txt", "one.txt"), "brief")
    write(runs, {"conftest.py": READING_CONFTEST, "eval_it.py": READING, "pytest.ini": "[pytest]", **texts})
    arguments = ("eval_it.py", "--eval-experiment", "it", "--model", "echo:echo-4", "-rA")
    for _ in range(2):
        assert_clean(runs.run(*arguments, process=True), passed=5)
    for file, told in READ.items():
        write(runs, {file: "long"})
        again = runs.run(*arguments, strict=False, process=True)
        assert again.parseoutcomes()["passed"] == 5
        lines = [line for line in again.outlines if f"the file {file} was read, and has changed since" in line]
        names = {line.partition("::eval_")[2].partition("'")[0] for line in lines}
        assert {name.removesuffix("[echo:echo-4]") for name in names} == told
        write(runs, {file: texts[file]})


def test_where_it_is_not_known_what_one_depends_on_that_one_fails(runs: Runs) -> None:
    """And says so; whatever is raised, and whether it is ours or comes of code that is looked at."""
    runs.write(
        conftest="""
        import pytest
        from doteval.evals._identity.walk import Walk

        raises = {"eval_of_ours": RuntimeError("ours"), "eval_ends": SystemExit("ends"), "eval_skips": None}
        add = Walk.add_function

        def add_function(self, name, function, **options):
            if function.__name__ in raises:
                raise raises[function.__name__] or pytest.skip.Exception("needs more")
            add(self, name, function, **options)

        Walk.add_function = add_function

        def pytest_unconfigure():
            Walk.add_function = add  # this is the process of all tests
        """,
        lazy="""
        import pytest

        def __getattr__(name):
            pytest.skip(f"lazy.{name} needs more") if name == "more" else None
            raise ImportError(f"lazy.{name} needs more")
        """,
        eval_it="""
        import pydantic, lazy
        from doteval import foreach, Result

        class Order(pydantic.BaseModel):
            item: "Item | None" = None

        class Item(pydantic.BaseModel):
            name: str = ""

        def evaluation(name):
            async def evaluate(value):
                assert value or (lazy.some, lazy.more)
                return Result(Order(item=Item(name=str(value))).item.name)
            evaluate.__name__ = name
            return foreach("value", [1])(evaluate)

        eval_of_ours, eval_ends, eval_skips, eval_other = map(
            evaluation, ["eval_of_ours", "eval_ends", "eval_skips", "eval_other"]
        )

        def test_another():
            pass
        """,
    )
    result = runs.run()
    result.assert_outcomes(passed=2, errors=2, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "E*RuntimeError: ours",
            "E*This was raised while doteval found out what the results of 'eval_of_ours' depend on.",
        ]
    )


def test_a_store_elsewhere_is_given_with_an_equals_sign(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Else pytest takes it for a file of tests once it is there, and names evaluations from another directory."""
    evaluation = (
        "from doteval import Result, foreach\n\n@foreach('q', [('a',)])\ndef eval_it(q):\n    return Result(q)\n"
    )
    write(runs, {"eval_it.py": evaluation})
    store = tmp_path_factory.mktemp("elsewhere") / "results.db"
    assert_clean(runs.run("eval_it.py", "--eval-store", str(store)), passed=1)
    refused = runs.run("--eval-store", str(store), strict=False)
    assert_clean(runs.run("eval_it.py", f"--eval-store={store}"), passed=1)
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    assert f"Write it with an equals sign: --doteval-eval-store={store}" in refused.stderr.str()


@pytest.mark.parametrize("mark", [".git", ""])
def test_a_package_is_not_answered_with_the_results_of_another(runs: Runs, mark: str) -> None:
    """Of one repository, each run by itself, so that names are the same; nothing is removed. A copy is answered."""
    evaluation = """
        from pathlib import Path

        from doteval import foreach, Result

        @foreach("number", [1, 2])
        def eval_it(number):
            print("is called")
            return Result((Path(__file__).parent / "system.txt").read_text(), scores={"good": True})
    """
    for package in ("a", "b", "copy/a"):
        directory = runs.pytester.mkdir(package) if "/" not in package else runs.pytester.path / package
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "eval_it.py").write_text(textwrap.dedent(evaluation), "utf-8")
        (directory / "pytest.ini").write_text("[pytest]", "utf-8")
        (directory / "system.txt").write_text(package[-1], "utf-8")
    for repository in (".", "copy"):
        if mark:
            (runs.pytester.path / repository / mark).mkdir()
    store = runs.pytester.path / "results.db"

    def run(package: str) -> tuple[bool, str]:
        result = runs.run(package, "-rP", "--eval-experiment", "it", f"--eval-store={store}", "-W", "default")
        return "is called" in (output := result.stdout.str()), output

    assert run("a")[0]
    is_called, output = run("b")
    assert not is_called
    told = "they are of the file a/eval_it.py, and this is b/eval_it.py, so that each needs"
    assert (told in output) == bool(mark)
    assert "system.txt was read" not in output if mark else "system.txt was read" in output
    for package in ("a", "copy/a"):
        is_called, output = run(package)
        assert not is_called
        assert "1 passed" in output
