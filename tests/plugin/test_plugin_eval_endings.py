"""What ends an evaluation from outside of its rows: the handler of a signal, as pytest-timeout's, and Ctrl-C."""

from __future__ import annotations

import signal
import sys
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

import pytest
from tests.plugin.runs import Runs, assert_clean

from doteval.evals import Record, Store
from doteval.pytest_plugin._evals import ending

if TYPE_CHECKING:
    from sys import _TraceFunction as TraceFunction


class Way(NamedTuple):
    """How an evaluation is run.

    Args:
        mark: Its mark.
        backend: The event loop of those without one.
        plugins: What is loaded.
        options: What else is on the command line.
    """

    mark: str
    backend: str
    plugins: str
    options: tuple[str, ...] = ()


WAYS = {
    "unmarked": Way("", "asyncio", "anyio doteval"),
    "uvloop": Way("", "uvloop", "anyio doteval"),
    "trio": Way("", "trio", "anyio doteval"),
    "marked anyio": Way("@pytest.mark.anyio", "", "anyio doteval"),
    "marked asyncio": Way(
        "@pytest.mark.asyncio", "", "asyncio anyio doteval", ("-o", "asyncio_default_fixture_loop_scope=function")
    ),
    "marked trio": Way("@pytest.mark.trio", "", "doteval trio anyio"),
}
ON_ASYNCIO = ["unmarked", "uvloop", "marked anyio", "marked asyncio"]

HANDLER = """
import signal
import pytest

def late(*_):
    RAISED

@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol():
    before = signal.signal(signal.SIGALRM, late)
    try:
        return (yield)
    finally:
        assert signal.getsignal(signal.SIGALRM) is late
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
        signal.signal(signal.SIGALRM, before)
"""
HEAD = """
import asyncio
import os
import signal
import sys
import threading
from pathlib import Path
import pytest
from anyio.lowlevel import checkpoint
from doteval import foreach, Result

state, asked = Path(__file__).with_suffix(".state"), Path(__file__).with_suffix(".asked")

def is_first():
    before, _ = state.exists(), state.touch()
    return not before

def protected(number):
    import trio
    trio.lowlevel.enable_ki_protection(lambda: signal.raise_signal(number))()

def alarm():
    signal.raise_signal(signal.SIGALRM)

async def reply(client, n):
    with asked.open("a") as file:
        file.write(f"{n}\\n")
    for _ in range(100):  # as long as it takes to close the client, where that is done meanwhile
        await checkpoint()
    return Result(await client.generate("hi"), scores={"a": 1})
"""
EVALUATION = """
MARK
@pytest.mark.parametrize("echo_client", ["a"], indirect=True)
@foreach("n", range(30), concurrency=4)
async def eval_many(n, echo_client):
    if n == 9 and is_first():
        HOW
    return await reply(echo_client, n)

MARK
@foreach("n", range(3))
async def eval_next(n):
    return Result(n)
"""
HOW = {
    "row": "alarm()",
    "swallowing": "try:\n            [alarm(), alarm()]\n        except BaseException: pass",
    "stuck": "[alarm(), alarm()]",
    "callback": "asyncio.get_running_loop().call_soon(alarm)",
    "thread": "threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGALRM)).start()",
}


def write(runs: Runs, way: Way, hows: dict[str, str], raised: str = "pytest.fail('Timeout (>3.0s)')") -> None:
    """Write evaluations in whose tenth row something happens the first time, and the handler of a signal."""
    source = HEAD + EVALUATION.replace("MARK", way.mark)
    runs.write(conftest=HANDLER.replace("RAISED", raised))
    runs.write(**{f"eval_{name}": source.replace("HOW", how) for name, how in hows.items()})


def run(runs: Runs, way: Way, *more: str, process: bool = False) -> pytest.RunResult:
    """Run them; rows may fail."""
    backend = ("--eval-backend", way.backend) if way.backend else ()
    options = ("--eval-experiment", "it", "--eval-max-errors", "9", *backend, *way.options, *more)
    return runs.run(*options, plugins=way.plugins, process=process)


def asked(runs: Runs, name: str) -> list[int]:
    """The rows that have begun."""
    return [int(line) for line in (runs.pytester.path / f"eval_{name}.asked").read_text().split()]


def kept(runs: Runs) -> list[Record]:
    """All rows that are in the store."""
    with Store(runs.pytester.path / ".doteval" / "results.db") as store:
        return [record for evaluation in store.evaluations("it") for record in store.records(evaluation)]


def errors(runs: Runs) -> list[str]:
    """What those have failed with that have."""
    return [record.error for record in kept(runs) if record.error is not None]


def outputs(runs: Runs) -> list[object]:
    """What they have said."""
    return [record.output for record in kept(runs)]


@pytest.mark.parametrize(
    ("way", "raised", "told"),
    [
        *((way, "pytest.fail('Timeout (>3.0s)')", "Failed: Timeout (>3.0s)") for way in WAYS),
        *((way, "raise SystemExit(7)", "SystemExit: 7") for way in ("unmarked", "trio", "marked trio")),
    ],
)
def test_a_time_limit_that_comes_by_a_signal_ends_the_evaluation(runs: Runs, way: str, raised: str, told: str) -> None:
    """As pytest-timeout's: wherever it strikes, no row takes it for its own, and none goes on or is kept as failed."""
    hows = {name: how for name, how in HOW.items() if name != "callback" or way in ON_ASYNCIO}
    write(runs, WAYS[way], hows, raised)
    result = run(runs, WAYS[way])
    assert_clean(result, failed=len(hows), passed=len(hows))
    for name in hows:
        result.stdout.fnmatch_lines([f"FAILED eval_{name}.py::eval_many* - {told}"])
        assert len(asked(runs, name)) < 20
    assert errors(runs) == []
    assert_clean(run(runs, WAYS[way]), passed=2 * len(hows))
    for name in hows:
        assert {*asked(runs, name)} == {*range(30)}
    assert errors(runs) == []


@pytest.mark.parametrize("way", WAYS)
def test_no_row_begins_when_the_evaluation_is_to_end(runs: Runs, way: str) -> None:
    """Also where rows block the event loop, which cancels them in its next turn."""
    write(runs, WAYS[way], {"it": "alarm()\n        return Result(n)"})
    path = runs.pytester.path / "eval_it.py"
    source = path.read_text().replace("range(100)", "()").replace('await client.generate("hi")', '"hi"')
    path.write_text(source)
    assert_clean(run(runs, WAYS[way]), failed=1, passed=1)
    assert asked(runs, "it") == [*range(9)]
    assert_clean(run(runs, WAYS[way]), passed=2)
    assert [9, *asked(runs, "it")[9:]] == [9, *range(9, 30)]


@pytest.mark.parametrize("way", ["unmarked", "marked trio"])
def test_a_row_that_never_returns_is_broken_off(runs: Runs, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment after the time limit."""
    monkeypatch.setattr(ending, "_STUCK", 0.01)
    write(runs, WAYS[way], {"it": "alarm()\n        while True: pass"})
    result = run(runs, WAYS[way])
    assert_clean(result, failed=1, passed=1)
    assert result.duration < 20  # no other alarm has done it
    assert errors(runs) == []


@pytest.mark.parametrize("way", ON_ASYNCIO)
def test_nothing_is_recorded_once_the_test_of_an_evaluation_has_been_left(runs: Runs, way: str) -> None:
    """Whatever has left the event loop, in which rows go on while the fixtures close what they use."""
    leave = "asyncio.get_running_loop().call_soon(sys.exit, 'enough')"
    late = "await checkpoint()\n        return Result('late')"  # in the turn after the one that was left
    write(runs, WAYS[way], {"exit": f"{leave}\n        {late}"})
    result = run(runs, WAYS[way])
    assert_clean(result, failed=1, passed=1)
    result.stdout.fnmatch_lines(["FAILED eval_exit.py::eval_many* - SystemExit: enough"])
    assert len(asked(runs, "exit")) < 20
    assert errors(runs) == []
    if way == "marked asyncio":  # anyio goes on in the event loop itself, to cancel, before it leaves the test
        assert "late" not in outputs(runs)
    assert_clean(run(runs, WAYS[way]), passed=2)
    assert {9, *asked(runs, "exit")} == {*range(30)}
    assert errors(runs) == []


def test_what_a_row_says_of_itself_is_its_own(runs: Runs) -> None:
    """It may fail as a test does, and have an alarm of its own, whose handler it sets, or whose error it expects."""
    hows = {
        "own": """
        try:
            alarm()
        except ArithmeticError:
            signal.signal(signal.SIGALRM, lambda *_: pytest.fail("too late"))
            try:
                alarm()
            finally:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)""",
        "fail": "pytest.fail('on purpose')",
    }
    handler = "raise ArithmeticError('stop')"
    write(runs, WAYS["unmarked"], hows, handler)
    conftest = runs.pytester.path / "conftest.py"
    conftest.write_text(conftest.read_text().replace("        assert signal.getsignal(signal.SIGALRM) is late\n", ""))
    assert_clean(run(runs, WAYS["unmarked"]), passed=4)
    assert sorted(error.partition("\n")[0] for error in errors(runs)) == ["Failed: on purpose", "Failed: too late"]


@pytest.mark.anyio
async def test_a_signal_reaches_whoever_listened_before_at_any_moment(request: pytest.FixtureRequest) -> None:
    """In each line of what listens and what does so no more; and after, of whoever has kept the handler meanwhile."""
    raised, heard = 0, 0

    def hear(*_: object) -> None:
        nonlocal heard
        heard += 1

    def trace(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        nonlocal raised
        if frame.f_code.co_filename != ending.__file__ or frame.f_code.co_name == "_handle":
            return None
        if event == "line":
            raised += 1
            signal.raise_signal(signal.SIGUSR1)
        return trace

    request.addfinalizer(partial(signal.signal, signal.SIGUSR1, signal.signal(signal.SIGUSR1, hear)))
    request.addfinalizer(partial(sys.settrace, sys.gettrace()))
    kept = []
    for _ in range(2):
        sys.settrace(trace)
        with ending.Ending().around():
            kept.append(signal.getsignal(signal.SIGUSR1))
        sys.settrace(None)
        assert raised == heard > 10
        assert signal.getsignal(signal.SIGUSR1) is hear
    for handler in kept:
        signal.signal(signal.SIGUSR1, handler)
        with ending.Ending().around():
            signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR1)
        assert signal.getsignal(signal.SIGUSR1) == handler
    assert heard == raised + 4


INTERRUPTS = {
    "Ctrl-C in a row": "signal.raise_signal(signal.SIGINT)",
    "Ctrl-C between": "protected(signal.SIGINT)",
    "SIGTERM between": "protected(signal.SIGTERM)",
    "a handler's exit": "alarm()",
}


@pytest.mark.process
@pytest.mark.parametrize("how", INTERRUPTS)
def test_an_interrupt_of_pytest_trio_ends_the_run(runs: Runs, how: str) -> None:
    """Also where trio has raised it in the task of pytest-trio, which tells of it in a group."""
    write(runs, WAYS["marked trio"], {"it": INTERRUPTS[how]}, "pytest.exit('enough')")
    result = run(runs, WAYS["marked trio"], process=True)
    assert result.ret == (128 + signal.SIGTERM if "SIGTERM" in how else pytest.ExitCode.INTERRUPTED)
    result.stdout.fnmatch_lines(["Interrupted: what is done is kept; go on with it: --doteval-eval-experiment it"])
    result.stdout.no_fnmatch_line("*eval_next*")
    assert len(asked(runs, "it")) < 20
    assert errors(runs) == []
