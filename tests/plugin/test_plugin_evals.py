"""Evaluations in pytest: the guide's samples, one event loop, ordinary items, results that are kept."""

from __future__ import annotations

import functools
import re
import shlex
import signal
from contextlib import nullcontext
from xml.etree import ElementTree as ET

import pytest
from tests.plugin.runs import Runs, assert_clean, counts

from doteval.cli import main
from doteval.evals import Store
from doteval.evals._running.engine import Progress
from doteval.pytest_plugin._evals.progress import MovingDisplay, PlainDisplay, described, moving_display
from doteval.pytest_plugin._evals.termination import Termination

# ------------------------------------------------------------------ the guide's samples

STANDARD = """
import pytest
from doteval import foreach, Result

dataset = ["Hello", "World"]

@pytest.mark.parametrize(
    "model_client",
    ["echo-4", "echo-3"],
    indirect=True
)
@foreach("prompt", dataset)
async def eval_models(prompt, model_client):
    '''Standard evaluation using model provider fixture.'''
    response = await model_client.generate(prompt)
    return Result(response)
"""

MANUAL = """
import pytest
from doteval import foreach, Result

@pytest.fixture
def my_model_provider(echo_provider):
    return echo_provider

@foreach("model,prompt", [
    ("gpt-4", "Hello"),
    ("claude-3", "World"),
])
async def eval_with_control(model, prompt, my_model_provider):
    '''Manual resource lifecycle control.'''
    handle = await my_model_provider.setup(model)
    try:
        response = await handle.model.generate(prompt)
        return Result(response)
    finally:
        await handle.teardown()
"""

APPLICATION = """
import pytest
from doteval import foreach, Result

tasks = ["Hello", "World"]

@pytest.fixture
async def vllm_provider(echo_provider, request):
    class Provider:  # the guide's own provider hands out clients by name
        def get_client(self, model):
            return handles[model].model

    handles = {name: await echo_provider.setup(name) for name in ("llama-7b", "mistral-7b")}
    yield Provider()
    for handle in handles.values():
        await handle.teardown()

@pytest.fixture
def application(request, vllm_provider):
    '''Application fixture using model provider.'''
    model = request.param
    client = vllm_provider.get_client(model)

    class Application:
        def __init__(self, client):
            self.client = client

        def process(self, text):
            # Application logic using client
            return self.client.generate(text)

    return Application(client)


@pytest.mark.parametrize(
    "application",
    ["llama-7b", "mistral-7b"],
    indirect=True
)
@foreach("task", tasks)
def eval_application(task, application):
    result = application.process(task)
    return Result(result)
"""


def outputs(runs: Runs, experiment: str = "it") -> dict[str, list[object]]:
    """What is in the store, by evaluation."""
    store = Store(runs.pytester.path / ".doteval" / "results.db")
    return {
        stored.name: [record.output for record in store.records(stored)] for stored in store.evaluations(experiment)
    }


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_samples_of_the_guide(runs: Runs, backend: str) -> None:
    """As they are printed, but for the names of models; on either event loop."""
    runs.write(eval_standard=STANDARD, eval_manual=MANUAL, eval_application=APPLICATION)
    assert_clean(runs.run("--eval-experiment", "it", "--eval-backend", backend), passed=5)
    assert outputs(runs) == {
        "eval_standard.py::eval_models[echo-4]": [f"echo-4 on {backend}: {text}" for text in ("Hello", "World")],
        "eval_standard.py::eval_models[echo-3]": [f"echo-3 on {backend}: {text}" for text in ("Hello", "World")],
        "eval_manual.py::eval_with_control": [f"gpt-4 on {backend}: Hello", f"claude-3 on {backend}: World"],
        "eval_application.py::eval_application[llama-7b]": [
            f"llama-7b on {backend}: {text}" for text in ("Hello", "World")
        ],
        "eval_application.py::eval_application[mistral-7b]": [
            f"mistral-7b on {backend}: {text}" for text in ("Hello", "World")
        ],
    }


# ------------------------------------------------------------------ collecting


def test_what_is_collected_and_on_which_event_loop(runs: Runs) -> None:
    """Evaluations everywhere; other functions called ``eval_`` only in files that are for them; all on one loop."""
    runs.write(
        eval_it="""
        import sniffio
        import pytest
        from doteval import foreach, Result

        def eval_plain():
            assert True

        async def eval_async(model_providers):
            assert sniffio.current_async_library() == "asyncio"

        @foreach("a", [1])
        async def eval_rows(a):
            return Result(sniffio.current_async_library())

        def helper(): raise AssertionError

        class TestClass:
            factor = 3

            @pytest.fixture
            def offset(self):
                return 1

            @pytest.mark.parametrize("b", [10, 20])
            @foreach("a", [1, 2])
            def eval_method(self, a, b, offset):
                return Result(a * self.factor + b + offset)
        """,
        test_it="""
        from doteval import foreach, Result

        def eval_helper(unknown): raise AssertionError

        @foreach("a", [1])
        def eval_here(a):
            return Result(a)

        @foreach("a", [1])
        def test_here(a):
            return Result(a)
        """,
    )
    assert_clean(runs.run("--eval-experiment", "it"), passed=7)
    assert outputs(runs) == {
        "eval_it.py::eval_rows": ["asyncio"],
        "eval_it.py::TestClass::eval_method[10]": [14, 17],
        "eval_it.py::TestClass::eval_method[20]": [24, 27],
        "test_it.py::eval_here": [1],
        "test_it.py::test_here": [1],
    }


def test_the_user_chooses_the_event_loop(runs: Runs) -> None:
    """By option, ini file or fixture; a fixture with parameters does not lead to two runs."""
    evaluation = """
        import sniffio
        from doteval import foreach, Result

        @foreach("a", [1])
        async def eval_it(a, model_providers):
            return Result(sniffio.current_async_library())
        """
    runs.write(eval_a=evaluation)
    runs.pytester.mkpydir("own")
    runs.pytester.mkpydir("both")
    (runs.pytester.path / "own" / "conftest.py").write_text(
        "import pytest\n\n@pytest.fixture(scope='module')\ndef anyio_backend(): return 'trio'\n"
    )
    (runs.pytester.path / "both" / "conftest.py").write_text(
        "import pytest\n\n@pytest.fixture(scope='module', params=['trio', 'asyncio'])\n"
        "def anyio_backend(request): return request.param\n"
    )
    for directory in ("own", "both"):
        (runs.pytester.path / "eval_a.py").rename(runs.pytester.path / directory / "eval_a.py")
        runs.write(eval_a=evaluation)
    assert_clean(runs.run("--eval-experiment", "it"), passed=3)
    assert list(outputs(runs).values()) == [["trio"], ["asyncio"], ["asyncio"]] or sorted(
        outputs(runs).values(), key=str
    ) == [["asyncio"], ["asyncio"], ["trio"]]
    assert outputs(runs)["own/eval_a.py::eval_it"] == ["trio"]
    runs.pytester.makeini("[pytest]\ndoteval_eval_backend = trio\n")
    assert_clean(runs.run("--eval-experiment", "trio", "eval_a.py", "both"), passed=2)
    assert set(map(str, outputs(runs, "trio").values())) == {"['trio']"}
    assert_clean(runs.run("--eval-experiment", "uv", "--eval-backend", "uvloop", "eval_a.py"), passed=1)
    assert outputs(runs, "uv") == {"eval_a.py::eval_it": ["asyncio"]}


def test_it_gets_along_with_its_neighbours(runs: Runs) -> None:
    """Whatever they are told to take."""
    runs.write(eval_standard=STANDARD)
    result = runs.run(
        "--eval-experiment", "it", "-o", "asyncio_mode=auto", "-o", "trio_mode=true",
        "-o", "asyncio_default_fixture_loop_scope=function",
        plugins="anyio asyncio trio dotevals doteval", strict=False,
    )  # fmt: skip
    assert_clean(result, passed=2)
    assert len(outputs(runs)) == 2


# ------------------------------------------------------------------ ordinary items

ROWS = """
import pytest
from doteval import foreach, Result

@foreach("value", range(4))
async def eval_good(value):
    return Result(value, prompt=f"{value}?", scores={"even": value % 2 == 0, "size": value})

@foreach("value", range(4))
def eval_bad(value):
    if value == 3:
        pytest.fail("three is not for me")
    assert value != 2, "two neither"
    return Result(value)

@foreach("value", [(1, 2)])
async def eval_unfit(value):
    return Result(value)
"""


def test_a_row_that_fails_fails_the_item_when_all_are_done(runs: Runs) -> None:
    """With its traceback; ``--eval-max-errors`` says how many may, ``-x`` stops after the item."""
    runs.write(eval_it=ROWS)
    result = runs.run("--eval-experiment", "it")
    assert_clean(result, passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            "2 of 4 rows failed, and 0 may: AssertionError: two neither",
            "'eval_it.py::eval_bad' has not passed. Correct them, *",
            "row 2:",
            "AssertionError: two neither*",
            "row 3:",
            "*Failed: three is not for me",
            "*row 0 has 2 values for 1 columns*",
            "eval_it.py::eval_bad: the next run tries the 2 rows that failed again, unless --eval-max-errors allows*",
            "Look at them: doteval show it; go on with it: --doteval-eval-experiment it",
        ]
    )
    assert outputs(runs)["eval_it.py::eval_bad"] == [0, 1, None, None]
    assert_clean(runs.run("--eval-experiment", "it", "--eval-max-errors", "2", "-k", "bad"), passed=1, deselected=2)
    runs.run("-x", "-k", "bad or unfit").assert_outcomes(failed=1, deselected=1)
    runs.run("--lf", "--eval-max-errors", "2").assert_outcomes(passed=1, failed=1)


def test_an_evaluation_without_rows_fails(runs: Runs) -> None:
    """Every time: nothing has been found out, and nothing is answered from the store."""
    runs.write(
        eval_it="""
        from doteval import foreach, Result

        @foreach("value", [])
        async def eval_nothing(value):
            return Result(value)

        @foreach("value", lambda: iter(()))
        def eval_found_nothing(value):
            return Result(value)
        """
    )
    for _ in range(2):
        result = runs.run("--eval-experiment", "it", "--eval-max-errors", "5")
        assert_clean(result, failed=2)
        result.stdout.fnmatch_lines(
            [
                "*The dataset does not fit: it has no rows.",
                "It is that of 'eval_it.py::eval_nothing'. *look at what makes the dataset*",
            ]
        )


def test_reports_say_what_came_of_it(runs: Runs) -> None:
    """The summary of the run, and JUnit XML."""
    runs.write(eval_it=ROWS)
    result = runs.run("--eval-experiment", "it", "-k", "good", "--junit-xml", "report.xml")
    result.stdout.fnmatch_lines(
        [
            "*= evaluations =*",
            "evaluation * rows *errors *score *mean *95 % *p50 *p95 *tokens",
            "eval_it.py::eval_good * 4 * 0 *even * 50.0% * 15.0 to 85.0% *",
            " *size * 1.5 * -0.55* to 3.55*",
            "Look at them: doteval show it",
        ]
    )
    properties = {
        found.get("name"): found.get("value") for found in ET.parse(runs.pytester.path / "report.xml").iter("property")
    }
    assert properties["rows"] == "4"
    assert properties["score even"] == "0.5"


def test_an_evaluation_that_ends_early_is_in_the_table(runs: Runs) -> None:
    """With what was kept of it, and how to go on; whatever ended it."""
    runs.write(
        eval_it="""
        from doteval import foreach, Result

        def rows():
            yield from range(5)
            raise OSError("the disk is gone")

        @foreach("value", rows)
        async def eval_cut(value):
            return Result(value, scores={"s" * 300: value > 1})

        @foreach("value", [1, (1, 2)])
        async def eval_unfit(value):
            return Result(value)

        @foreach("value", [(1, 2)])
        async def eval_none(value):
            return Result(value)
        """
    )
    result = runs.run("--eval-experiment", "it")
    assert_clean(result, failed=3)
    result.stdout.fnmatch_lines(
        [
            "eval_it.py::eval_cut * 5 * 0 *sss… *60.0%*",
            "eval_it.py::eval_unfit * 1 * 0 *",
            "eval_it.py::eval_cut is not finished: 5 rows are kept",
            "eval_it.py::eval_unfit is not finished: 1 row is kept",
            "eval_it.py::eval_none is not finished: no row is kept",
            "Look at them: doteval show it; go on with it: --doteval-eval-experiment it",
        ]
    )
    assert max(map(len, result.outlines)) < 200


def test_a_store_that_is_none_is_said_once_for_each_test(runs: Runs) -> None:
    """In the words of the error, without a traceback; the run ends as it should."""
    runs.write(eval_it=ROWS)
    result = runs.run("--eval-experiment", "it", "--eval-store", ".", "-k", "good")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*is a directory.", "Name a file, such as *results.db."])
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
    assert "sqlite3" not in result.stdout.str()


def test_a_run_without_a_name_gets_one_and_says_so(runs: Runs) -> None:
    """So its results are not those of the next run, and it can still be gone on with."""
    runs.write(eval_it=ROWS)
    result = runs.run("-k", "good")
    (line,) = [line for line in result.outlines if line.startswith("Look at them")]
    name = re.search(r"doteval show (\S+); go on with it: --doteval-eval-experiment \1$", line)
    assert name is not None
    assert list(outputs(runs, name[1])) == ["eval_it.py::eval_good"]


@pytest.mark.parametrize(
    ("name", "store"),
    [
        ("it", ""),
        ("two words", "here.db"),
        ("-x", "a place/r.db"),
        ("a;b'c", "{outside}/r.db"),
        ("in", "../.doteval/results.db"),
    ],
)
def test_the_command_to_look_at_results_works_as_it_is_printed(
    runs: Runs,
    name: str,
    store: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In the directory in which pytest was run, which need not be that of the project, wherever results are."""
    runs.write(eval_it=ROWS, pytest="")
    runs.pytester.makeini("[pytest]")
    if name == "in":
        monkeypatch.chdir(runs.pytester.mkdir("below"))
    given = [f"--eval-store={store.format(outside=tmp_path_factory.mktemp('out side'))}"] if store else []
    result = runs.run(f"--eval-experiment={name}", *given, f"{runs.pytester.path}/eval_it.py")
    (line,) = [line for line in result.outlines if line.startswith("Look at them: ")]
    words = shlex.split(line.removeprefix("Look at them: ").partition("; go on")[0])
    assert words[0] == "doteval"
    assert main(words[1:]) == 0, line
    assert "eval_it.py::eval_good" in capsys.readouterr().out


INTERRUPTS = (
    "os.kill(os.getpid(), signal.SIGINT)",
    "os.kill(os.getpid(), signal.SIGTERM)",
    "raise KeyboardInterrupt",
    "pytest.exit('enough')",
    "signal.signal(signal.SIGINT, signal.SIG_IGN); os.kill(os.getpid(), signal.SIGTERM)",
)


@pytest.mark.parametrize(
    ("backend", "how"),
    [(backend, how) for backend, some in {"asyncio": 5, "uvloop": 2, "trio": 3}.items() for how in INTERRUPTS[:some]],
)
def test_an_interrupt_ends_the_run_and_says_how_to_go_on(runs: Runs, backend: str, how: str) -> None:
    """On every event loop, not only the row and not only its evaluation; what was done by then is kept."""
    runs.write(
        eval_it=f"""
        import os
        import signal
        import pytest
        from anyio.lowlevel import checkpoint
        from doteval import Result, foreach

        @foreach("value", range(100), concurrency=1)
        async def eval_first(value):
            if value == 7:
                {how}
            await checkpoint()
            return Result(value)

        @foreach("value", range(3))
        async def eval_second(value):
            return Result(value)
        """
    )
    result = runs.run("--eval-backend", backend, "--eval-experiment", "it", process=True)
    assert result.ret == (128 + signal.SIGTERM if "SIGTERM" in how else pytest.ExitCode.INTERRUPTED)
    result.stdout.fnmatch_lines(["Interrupted: what is done is kept; go on with it: --doteval-eval-experiment it"])
    assert "Task exception was never retrieved" not in result.stderr.str()
    (kept,) = outputs(runs).values()
    assert kept[:5] == list(range(5))
    assert 100 > len(kept) >= 5


WORKER_ENDS = """
    import os
    import signal
    import anyio
    from doteval import Result, foreach

    @foreach("value", range(9), concurrency=1)
    async def eval_it(value):
        if value == 3:
            raise ValueError("it failed")
        if value == 6:
            {how}
        return Result(value)
    """


@pytest.mark.parametrize(
    ("how", "code", "kept"),
    [
        ("os._exit(1)", 1, "5 rows are kept, and the next run tries the row that failed again, unless *"),
        (
            "os.kill(int(os.environ['CONTROLLER']), signal.SIGTERM); await anyio.sleep_forever()",
            143,
            "5 rows are kept*",
        ),
    ],
    ids=["a crash", "SIGTERM"],
)
def test_what_a_worker_leaves_is_in_the_table(runs: Runs, how: str, code: int, kept: str) -> None:
    """Where it crashes, of which the controller hears no more than the id, and where the controller is to end."""
    runs.write(
        eval_it=WORKER_ENDS.format(how=how),
        conftest="""
        import os

        def pytest_configure(config):
            if not hasattr(config, "workerinput"):
                os.environ["CONTROLLER"] = str(os.getpid())
        """,
    )
    result = runs.run("-n", "1", "--eval-experiment", "it", plugins="anyio doteval xdist", strict=False)
    assert result.ret == code
    result.stdout.fnmatch_lines(
        [
            "eval_it.py::eval_it * 6 * 1 *",
            f"eval_it.py::eval_it is not finished: {kept}",
            "*--doteval-eval-experiment it",
        ]
    )


@pytest.mark.parametrize(
    ("how", "whom", "ignores"),
    [
        ("SIGTERM", "controller", True),
        ("SIGINT", "controller", True),
        ("SIGTERM", "other, controller, mine", False),
        ("SIGINT", "other, controller, mine", False),
    ],
    ids=["SIGTERM", "SIGINT", "SIGTERM to all", "SIGINT to all"],
)
def test_the_workers_of_an_interrupted_run_end_at_once_and_in_order(
    runs: Runs, how: str, whom: str, ignores: bool
) -> None:
    """Their rows are cancelled, and may tidy up, whoever got the signal besides the controller.

    pytest-xdist itself lets them go on for five seconds and sends SIGINT to them then, which they may ignore.
    """
    runs.write(
        eval_it=f"""
        import os
        import signal
        from pathlib import Path
        import anyio
        from doteval import Result, foreach

        async def row(value, name, name_of_other):
            if value < 3:
                return Result(value)
            mine = os.getpid()
            Path(f"{{name}}.part").write_text(str(mine))
            Path(f"{{name}}.part").rename(name)
            try:
                if name == "here":
                    while not Path(name_of_other).exists():
                        await anyio.lowlevel.checkpoint()
                    other, controller = int(Path(name_of_other).read_text()), int(os.environ["CONTROLLER"])
                    for pid in ({whom},):
                        os.kill(pid, signal.{how})
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    for _ in range(100):
                        await anyio.lowlevel.checkpoint()
                    Path(f"{{name}}-ended").touch()

        @foreach("value", range(9), concurrency=1)
        async def eval_one(value):
            return await row(value, "here", "there")

        @foreach("value", range(9), concurrency=1)
        async def eval_two(value):
            return await row(value, "there", "here")
        """,
        conftest=f"""
        import os
        import signal

        def pytest_configure(config):
            if not hasattr(config, "workerinput"):
                os.environ["CONTROLLER"] = str(os.getpid())
            elif {ignores}:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
        """,
    )
    result = runs.run("-n", "2", "--eval-experiment", "it", plugins="anyio doteval xdist", strict=False)
    assert result.ret == (143 if how == "SIGTERM" else pytest.ExitCode.INTERRUPTED)
    assert sorted(path.name for path in runs.pytester.path.glob("*-ended")) == ["here-ended", "there-ended"]
    result.stdout.fnmatch_lines_random(f"eval_it.py::eval_{name} is not finished: 3 rows *" for name in ("one", "two"))
    result.stdout.fnmatch_lines(["Interrupted: *--doteval-eval-experiment it"])


def test_an_evaluation_leaves_the_signals_of_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of whoever has a handler; a second SIGTERM ends the process, and SIGINT stays ignored where it was."""
    termination = Termination()
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        for others in ((lambda *_: None), signal.SIG_IGN):
            signal.signal(signal.SIGTERM, others)
            termination.begin()
            assert signal.getsignal(signal.SIGTERM) is others
            termination.end()
            assert signal.getsignal(signal.SIGTERM) is others
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        termination.begin()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == (signal.SIG_DFL, signal.SIG_IGN)
        signal.signal(signal.SIGINT, lambda number, _: came.append(number))
        termination.begin()
        signal.raise_signal(signal.SIGTERM)
        assert came == [signal.SIGINT]
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        termination.begin()
        termination.end()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("quiet", [True, False])
def test_a_run_without_evaluations_prints_nothing_of_them(runs: Runs, quiet: bool) -> None:
    """Nor does it write a file."""
    runs.write(test_it="def test_it(): pass")
    result = runs.run(*["-q"] * quiet)
    assert "= evaluations =" not in result.stdout.str()
    assert not (runs.pytester.path / ".doteval").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--eval-backend", "curio"), "*--doteval-eval-backend*is one of asyncio, trio, uvloop, not 'curio'*"),
        (("--eval-concurrency", "0"), "*--doteval-eval-concurrency*1 or more, or 'adaptive' not '0'*"),
        (("--eval-epochs", "0"), "*--doteval-eval-epochs*1 or more, not '0'*"),
        (("--eval-row-timeout", "-1"), "*--doteval-eval-row-timeout*a number of seconds, 0 or more, not '-1'*"),
        (("--eval-row=1", "--eval-limit=2"), "*--doteval-eval-row runs one row, so --doteval-eval-limit and*"),
        (("--eval-max-errors", "x"), "*--doteval-eval-max-errors*0 or more, not 'x'*"),
        (("--eval-tag", "=main"), "*--doteval-eval-tag is NAME=VALUE*not '=main'*"),
        (("--eval-tag", "main"), "*--doteval-eval-tag is NAME=VALUE*not 'main'*"),
        (
            ("--eval-experiment=main", "--eval-baseline=main", "--fresh"),
            "*--doteval-eval-baseline: 'main' is the baseline and the experiment of this run, and to start over*",
        ),
        (("--eval-experiment=main", "--eval-baseline=main", "--eval-changed=rerun"), "*'main' is the baseline*"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(runs: Runs, arguments: tuple[str, str], message: str) -> None:
    """Before anything is run."""
    result = runs.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


# ------------------------------------------------------------------ results that are kept


def test_what_is_finished_opens_no_model(runs: Runs) -> None:
    """Nor does it set up any other fixture; changed code is a warning, and ``--fresh`` starts over."""
    runs.write(eval_standard=STANDARD)
    first = runs.run("--eval-experiment", "it")
    assert counts(first)["echo"]["opens"] == 2
    second = runs.run("--eval-experiment", "it")
    assert_clean(second, passed=2)
    second.stdout.fnmatch_lines(["eval_standard.py::eval_models?echo-4?  *2  *", "none was used"])
    runs.write(eval_standard=STANDARD.replace("generate(prompt)", "generate(prompt + '!')"))
    third = runs.run("--eval-experiment", "it", strict=False)
    third.assert_outcomes(errors=2)
    third.stdout.fnmatch_lines(["*: the results of 'eval_standard.py::eval_models?echo-4?' are of something else.*"])
    third.stdout.fnmatch_lines(["*its code has changed*", "*--doteval-eval-changed*"])
    kept = runs.run("--eval-experiment", "it", "--doteval-eval-changed", "keep", strict=False)
    kept.assert_outcomes(passed=2, warnings=2)
    fresh = runs.run("--eval-experiment", "it", "--fresh")
    assert_clean(fresh, passed=2)
    assert counts(fresh)["echo"]["leases"] == 2
    assert outputs(runs)["eval_standard.py::eval_models[echo-4]"][0] == "echo-4 on asyncio: Hello!"


def test_gates_fail_an_evaluation(runs: Runs) -> None:
    """Those of its decorator, of the command line, and beside another experiment; also where all is answered."""
    source = """
        from doteval import foreach, Result

        @foreach("number", range(10), passes={"even": 0.4})
        async def eval_it(number):
            return Result(number, scores={"even": number % 2 == 0})
        """
    runs.write(eval_it=source)
    assert_clean(runs.run("--eval-experiment", "main"), passed=1)
    runs.write(eval_it=source.replace("% 2", "% 5"))
    failed = runs.run("--eval-experiment", "branch", strict=False)
    failed.assert_outcomes(failed=1)
    failed.stdout.fnmatch_lines(
        [
            "even is 0.2 (*, 10 rows), and has to be >= 0.4.",
            "'eval_it.py::eval_it' has not passed.",
            "FAILED eval_it.py::eval_it - even is 0.2 (*",
        ]
    )
    runs.write(eval_it=source.replace("% 2", "% 5").replace("0.4", "0.2"))
    assert_clean(runs.run("--eval-experiment", "branch"), passed=1)
    gate = ("--doteval-eval-gate", "even >= baseline - 0.1")
    failed = runs.run("--eval-experiment", "branch", *gate, "--doteval-eval-baseline", "main", strict=False)
    failed.assert_outcomes(failed=1)
    failed.stdout.fnmatch_lines(["even less the baseline is -0.3 (*, 10 rows), and has to be >= -0.1."])
    for name, score, why in (
        ("mian", "even", "there is no experiment 'mian'; there are main, branch, and 'main' may be meant."),
        ("main", "evne", "the baseline 'main' has no score 'evne'; there are even, and 'even' may be meant."),
    ):
        gate = ("--doteval-eval-gate", f"{score} >= baseline", "--doteval-eval-baseline", name)
        refused = runs.run("--eval-experiment", "other", *gate, strict=False)
        refused.assert_outcomes(failed=1)
        refused.stdout.fnmatch_lines([why])
        assert not outputs(runs, "other")
    unused = runs.run("--eval-experiment", "branch", "--doteval-eval-baseline", "mian")
    assert_clean(unused, passed=1)
    unused.stdout.fnmatch_lines(["--doteval-eval-baseline: no gate compares with the baseline 'mian': write one such*"])
    usage = runs.run("--doteval-eval-gate", "even = 1")
    assert usage.ret == pytest.ExitCode.USAGE_ERROR
    usage.stderr.fnmatch_lines(["*--doteval-eval-gate: 'even = 1' is no gate*"])


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["here", "xdist"])
def test_samples_of_rows(runs: Runs, workers: tuple[str, ...]) -> None:
    """As many as the decorator, the ini file or the command line says; only what is missing sets up a fixture."""
    runs.write(
        eval_it="""
        import pytest
        from doteval import foreach, Result

        @pytest.fixture
        def printed():
            print("a fixture is set up")
            yield  # it gives no data

        @foreach("number", range(4), epochs=2, passes="odd.pass@2 >= 0.5")
        async def eval_it(number, printed):
            print(f"row {number} is called")
            return Result(number, scores={"odd": number % 2 == 1})
        """
    )
    with_xdist = {"plugins": "anyio doteval xdist"} if workers else {}
    run = functools.partial(runs.run, *workers, "--eval-experiment", "it", "-rP", **with_xdist)  # type: ignore[arg-type]
    several = ((), 8, "4 x 2"), (("--eval-epochs", "3"), 4, "4 x 3"), (("--eval-epochs=1",), 0, "4")
    for options, calls, rows in several[:2] if workers else several:
        result = run(*options, strict=False)
        result.assert_outcomes(passed=1) if rows != "4" else result.assert_outcomes(failed=1)
        assert result.stdout.str().count("is called") == calls
        assert ("a fixture is set up" in result.stdout.str()) == bool(calls)
        result.stdout.fnmatch_lines([f"eval_it.py::eval_it  *{rows}  *"])
    if workers:
        return  # what no row is run for is found out before there are workers
    result.stdout.fnmatch_lines(["there is one sample of each row (epochs=1), so there is no 'odd.pass@2'*"])
    runs.pytester.makeini("[pytest]\ndoteval_eval_epochs = 3")
    assert "4 x 3" in run(strict=False).stdout.str()


def test_a_row_that_hangs_or_stumbles(runs: Runs) -> None:
    """The command line says more than the evaluation, of each number by itself."""
    runs.write(
        eval_it="""
        import anyio
        from doteval import foreach, Result
        from doteval.evals import Retries

        ANSWERS = iter([OSError(), ConnectionError(), ConnectionError(), ConnectionError()])

        @foreach("number", range(1), row_timeout=0.01)
        async def eval_hangs(number):
            await anyio.sleep_forever()

        @foreach("number", range(1), retries=Retries(lost=0, on=OSError, times=1, pause=0))
        async def eval_stumbles(number):
            if (error := next(ANSWERS, None)) is not None:
                raise error
            return Result(number)
        """
    )
    result = runs.run(strict=False)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*RowTimeoutError: An attempt took longer than 0.01 s*", "*ConnectionError*"])
    result = runs.run("--eval-row-timeout", "0.03", "--eval-retries", "3", strict=False)
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*RowTimeoutError: An attempt took longer than 0.03 s*"])


def test_rows_in_another_order(runs: Runs) -> None:
    """On the command line or in the ini file, by the same seed."""
    runs.write(
        eval_it="""
        from doteval import foreach, Result

        @foreach("value", range(20), concurrency=1)
        async def eval_it(value):
            print("row", value)
            return Result(value)
        """
    )
    options = [(), ("--eval-shuffle",), ("-o", "doteval_eval_shuffle=true"), ("--eval-shuffle", "--eval-seed", "1")]
    orders = [re.findall(r"^row (\d+)", str(runs.run(*each, "-rP").stdout), re.MULTILINE) for each in options]
    assert {frozenset(order) for order in orders} == {frozenset(map(str, range(20)))}
    assert orders[0] != orders[1] == orders[2] != orders[3]
    assert orders[0] == [*map(str, range(20))]


def test_one_row(runs: Runs) -> None:
    """By its number, as it is shown where it failed; it is kept by itself, and no gate takes it for all."""
    runs.write(
        eval_it="""
        from doteval import foreach, Result

        @foreach("number", range(100, 105))
        async def eval_it(number):
            print(f"row {number} is called")
            return Result(number, scores={"good": number == 103})
        """
    )
    result = runs.run("--eval-experiment", "it", "--eval-row", "3", "-rP")
    assert_clean(result, passed=1)
    assert result.stdout.str().count("is called") == 1
    result.stdout.fnmatch_lines(["row 103 is called", "eval_it.py::eval_it (row 3)  *1  *"])
    assert outputs(runs) == {"eval_it.py::eval_it (row 3)": [103]}
    failed = runs.run("--eval-row", "5", strict=False)
    failed.assert_outcomes(failed=1)
    failed.stdout.fnmatch_lines(["*The dataset does not fit: it has no row '5'.*"])


def test_a_lost_model_is_leased_again(runs: Runs) -> None:
    """The row that was hit is run again on the next generation, the rows after it, too."""
    runs.write(
        eval_it="""
        import anyio
        import pytest
        from doteval import foreach, Result

        @pytest.mark.parametrize("model_client", ["echo-1"], indirect=True)
        @foreach("value", range(6), concurrency=1)
        async def eval_it(value, model_client):
            if value == 3 and not hasattr(model_client.provider, "broken"):
                model_client.provider.broken = True
                model_client.break_down()
                while model_client.is_open:
                    await anyio.lowlevel.checkpoint()
            return Result(await model_client.generate(str(value)))
        """
    )
    for backend in ("asyncio", "trio"):
        result = runs.run("--eval-experiment", backend, "--eval-backend", backend)
        assert_clean(result, passed=1)
        assert counts(result)["echo"]["opens"] == 2
        store = Store(runs.pytester.path / ".doteval" / "results.db")
        (stored,) = store.evaluations(backend)
        assert [record.attempts for record in store.records(stored)] == [1, 1, 1, 2, 1, 1]
        assert stored.model == "echo-1"


SCARCE = """
from echopkg import EchoProvider

class Scarce(EchoProvider):
    is_scarce = True

    def __init__(self):
        super().__init__()
        self._capacity = 1
"""

ALTERNATING = "\n".join(
    [
        "import pytest",
        "from doteval import foreach, Result",
        *(
            f"""
@pytest.mark.parametrize("model_client", ["scarce:a", "scarce:b", "scarce:c"], indirect=True)
@foreach("prompt", ["x", "y"])
async def eval_{number}(prompt, model_client):
    return Result(await model_client.generate(prompt))
"""
            for number in range(8)
        ),
    ]
)


@pytest.mark.parametrize("arguments", [(), ("-n", "3", "--dist", "loadgroup")], ids=["one process", "three workers"])
def test_scarce_models_are_opened_once_each(runs: Runs, arguments: tuple[str, ...]) -> None:
    """Three models, eight evaluations on each, room for one; results are complete, whoever wrote them."""
    runs.install("scarcepkg", {"scarce": "scarcepkg:Scarce"}, scarcepkg=SCARCE)
    runs.write(eval_it=ALTERNATING)
    result = runs.run("--eval-experiment", "it", *arguments, plugins="anyio doteval xdist", strict=False)
    assert_clean(result, passed=24)
    assert counts(result)["scarce"]["opens"] == 3
    found = outputs(runs)
    assert len(found) == 24
    assert all(len(rows) == 2 for rows in found.values())
    assert "eval_it.py::eval_0[scarce:a]" in found


ROOMY = """
import anyio
from contextlib import asynccontextmanager
from echopkg import EchoProvider

class Roomy(EchoProvider):
    is_scarce = True

    def __init__(self):
        super().__init__()
        self._capacity = 2
        self.opened = {name: anyio.Event() for name in "abc"}

    @asynccontextmanager
    async def open(self, spec):
        async with super().open(spec) as model:
            self.opened[spec].set()
            yield model
"""

DRAINING = """
import anyio
import pytest
from doteval import foreach, Result

@pytest.mark.parametrize("roomy_client", ["a", "b", "c"], indirect=True)
@foreach("number", range(3), concurrency=2)
async def eval_it(number, roomy_client, roomy_provider):
    following = {"a": "b", "b": "c", "c": "c"}[roomy_client.name]
    if number == 1:  # the last row is still to come
        with anyio.fail_after(60):
            await roomy_provider.opened[following].wait()
    assert number != 0 or following == "c" or not roomy_provider.opened[following].is_set()
    return Result(number)
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio", "uvloop"])
def test_the_next_model_is_loaded_while_the_last_rows_are_under_way(runs: Runs, backend: str) -> None:
    """Where there is room for both; a row waits here until the next model is there. A finished one is not loaded."""
    runs.install("roomypkg", {"roomy": "roomypkg:Roomy"}, roomypkg=ROOMY)
    runs.write(eval_it=DRAINING)
    arguments = ("--eval-experiment", "it", "--eval-backend", backend)
    result = runs.run(*arguments)
    assert_clean(result, passed=3)
    assert counts(result)["roomy"]["opens"] == 3
    result = runs.run(*arguments)
    assert_clean(result, passed=3)
    assert "roomy" not in counts(result)


NEXT_IS_ANSWERED = """
import pytest
from doteval import foreach, Result

@pytest.mark.parametrize("roomy_client", ["a", "b"], indirect=True)
@foreach("number", range(3))
async def eval_it(number, roomy_client):
    return Result(number)
"""


def test_the_next_model_is_not_loaded_where_nothing_is_to_be_run_on_it(runs: Runs) -> None:
    """Its results are in the store."""
    runs.install("roomypkg", {"roomy": "roomypkg:Roomy"}, roomypkg=ROOMY)
    runs.write(eval_it=NEXT_IS_ANSWERED)
    assert counts(runs.run("--eval-experiment", "it", "-k", "b]"))["roomy"]["opens"] == 1
    result = runs.run("--eval-experiment", "it")
    assert_clean(result, passed=2)
    assert counts(result)["roomy"]["opens"] == 1


def test_workers_keep_the_results_of_a_run_together(runs: Runs) -> None:
    """Also where the run has no name, and the controller prints them all."""
    runs.write(eval_a=ROWS, eval_b=ROWS)
    result = runs.run("-n", "2", "-k", "good", plugins="anyio doteval xdist", strict=False)
    assert_clean(result, passed=2)
    result.stdout.fnmatch_lines_random(["eval_a.py::eval_good*", "eval_b.py::eval_good*"])


# ------------------------------------------------------------------ progress


def test_progress_in_words() -> None:
    """Rows, rate, errors, tokens, time left; what is not known is left out."""
    assert described(Progress(total=1000, done=100, errors=2, tokens=12345), 10.0) == (
        "100 of 1,000 rows, 10.0/s, 2 errors, 12,345 tokens, 1 min 30 s left"
    )
    assert described(Progress(done=70, known=50, wasted=3), 10.0) == (
        "70 rows, 2.0/s, 50 from before, 3 calls made again"
    )
    assert described(Progress(total=10, done=5, epochs=2), 10.0) == "5 of 10 samples, 0.5/s, 10 s left"
    assert described(Progress(total=100_000, done=10), 10.0).endswith("27 h 46 min left")


def test_progress_without_a_terminal_is_a_line_now_and_then() -> None:
    """Not one for each row."""
    lines: list[str] = []
    now = 0.0
    progress = Progress(total=100)
    display = PlainDisplay("eval_it", progress, lines.append, lambda: now)
    for row in range(100):
        now = row / 4
        progress.done = row
        display.update()
    assert lines == [
        "eval_it: 40 of 100 rows, 4.0/s, 15 s left",
        "eval_it: 80 of 100 rows, 4.0/s, 5 s left",
    ]


def test_progress_on_a_terminal_is_drawn_ten_times_a_second() -> None:
    """However many rows there are."""
    drawn: list[str] = []
    now = 1.0
    progress = Progress(total=10)
    display = MovingDisplay("eval_it", progress, drawn.append, lambda: now)
    for row in range(1000):
        now = 1.0 + row / 1000
        progress.done = row // 100
        display.update()
    assert 9 <= len(drawn) <= 11
    assert drawn[5].startswith("eval_it  ██████████░░░░░░░░░░  5 of 10 rows")


def test_progress_on_a_terminal_leaves_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    """rich draws it and takes it away again."""
    with moving_display("eval_it", Progress(total=2), nullcontext) as display:
        display.update()
    assert "Traceback" not in capsys.readouterr().out


FORMS = {
    "names": '["asyncio", "trio"]',
    "tuples": '[("asyncio", {"use_uvloop": False}), ("trio", {})]',
    "params": 'pytest.param("asyncio"), pytest.param("trio")',
    "params with ids": 'pytest.param(("asyncio", {"use_uvloop": False}), id="a"), pytest.param(("trio", {}), id="t")',
    "one param with a mark": 'pytest.param(("asyncio", {}), id="a", marks=pytest.mark.slow)',
}


@pytest.mark.parametrize("backend", ["", "trio"])
@pytest.mark.parametrize("form", FORMS)
def test_the_backends_of_a_suite_may_be_given_in_any_form(runs: Runs, form: str, backend: str) -> None:
    """As in anyio's own documentation; the evaluation runs on the first, or on the one that was asked for."""
    params = FORMS[form] if FORMS[form].startswith("[") else f"[{FORMS[form]}]"
    runs.write(
        conftest=f"""
        import pytest

        def pytest_configure(config):
            config.addinivalue_line("markers", "slow: takes its time")

        @pytest.fixture(params={params})
        def anyio_backend(request):
            return request.param
        """,
        eval_it="""
        import sniffio
        from doteval import foreach, Result

        @foreach("a", [1])
        async def eval_it(a):
            assert sniffio.current_async_library() == BACKEND
            return Result(a)
        """.replace("BACKEND", repr(backend or "asyncio")),
    )
    # Pytest tells nobody of a mark that it does not know yet, in a process that has not run it before.
    options = [f"--eval-backend={backend}"] if backend else []
    assert_clean(runs.run(*options, process="mark" in form), passed=1)


def test_nothing_that_is_printed_has_what_a_terminal_would_obey(runs: Runs) -> None:
    """Not the message of an evaluation that failed, not the table below it, not what is said of the rest."""
    runs.write(
        test_it="""
            from doteval import foreach, Result

            EVIL = "\\x1b]0;t\\x07\\x9b31m\\u202eabc"

            @foreach("q", ["a", "b", "c"])
            async def eval_it(q):
                if q == "b":
                    raise ValueError(EVIL)
                return Result(EVIL, scores={EVIL: q == "a"})

            @foreach("q", ["a"], passes={"good": 0.5})
            async def eval_gated(q):
                return Result(EVIL, scores={"good": False, EVIL: True})
        """
    )
    experiment = "x\x1b]0;t\x07\u202ey"
    for style in ("auto", "short", "line"):
        result = runs.run("--doteval-eval-experiment", experiment, f"--tb={style}", "--color=no", "test_it.py")
        result.assert_outcomes(failed=2)
        output = result.stdout.str() + result.stderr.str()
        assert "\\x1b]0;t\\x07\\x9b31m\\u202eabc" in output
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & {*output}
