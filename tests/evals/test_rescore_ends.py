"""How scoring again ends: by whoever cancels it, by Ctrl-C, and not by what a scorer lets escape."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from signal import SIGINT
from typing import Any

import anyio
import pytest
from anyio import to_thread
from anyio.lowlevel import checkpoint

from doteval import Result, foreach
from doteval.cli import main
from doteval.evals import Store, rename, rescore, run

pytestmark = pytest.mark.anyio

ROWS = 20


def stored_in(path: Path, rows: int = ROWS) -> Path:
    @foreach("n", range(rows))
    async def eval_numbers(n: int) -> Result:
        return Result(n, scores={"before": 1})

    anyio.run(partial(run, eval_numbers, store=path, experiment="main", name="it"))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return stored_in(tmp_path / "results.db")


def is_as_before(path: Path) -> bool:
    store = Store(path)
    (stored,) = store.evaluations()
    return stored.experiment == "main" and {*store.summary(stored).scores} == {"before"}


class Plain:
    """A scorer that is in its first row until it is let go."""

    def __init__(self) -> None:
        self.calls = 0
        self.has_begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self, output: int) -> int:
        self.calls += 1
        self.has_begun.set()
        self.may_end.wait(30)
        return output


class Async(Plain):
    """One that awaits what never comes."""

    async def __call__(self, output: int) -> int:  # type: ignore[override]
        self.calls += 1
        self.has_begun.set()
        await anyio.sleep_forever()
        return output


@pytest.mark.parametrize("kind", [Plain, Async])
async def test_a_cancelled_scope_ends_the_scoring(path: Path, kind: Callable[[], Plain]) -> None:
    """After the row that it is at; whoever waits for it waits for its thread, and nothing is written."""
    scorer = kind()
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(partial(rescore, "main", scorer, store=path, into="main", overwrite=True, concurrency=1))
        await to_thread.run_sync(scorer.has_begun.wait)
        task_group.cancel_scope.cancel()
        scorer.may_end.set()
    assert scorer.calls == 1
    assert is_as_before(path)


@pytest.mark.parametrize("kind", [Plain, Async])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancelled_task_ends_the_scoring(path: Path, kind: Callable[[], Plain]) -> None:
    """As by `asyncio.timeout`, and by Ctrl-C, which cancel the task and no scope."""
    scorer = kind()
    task = asyncio.create_task(rescore("main", scorer, store=path, into="main", overwrite=True, concurrency=1))
    await to_thread.run_sync(scorer.has_begun.wait)
    task.cancel()
    await anyio.wait_all_tasks_blocked()
    if kind is Plain:
        assert not task.done()  # it waits for its thread
    scorer.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert scorer.calls == 1
    assert is_as_before(path)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("error", [SystemExit(), SystemExit(3), GeneratorExit(), asyncio.CancelledError()])
async def test_what_a_scorer_lets_escape_is_the_failure_of_its_row(
    path: Path, is_async: bool, error: BaseException
) -> None:
    """Also what would end a program, a coroutine or a task."""

    def plain(output: int) -> int:
        if output == 2:
            raise error
        return 1

    async def waits(output: int) -> int:
        await checkpoint()
        return plain(output)

    (stored,) = await rescore("main", waits if is_async else plain, store=path)
    assert (stored.stored, stored.errors) == (ROWS, 1)
    (failed,) = [record for record in Store(path).records(stored) if record.failed]
    assert failed.number == 2
    assert type(error).__name__ in str(failed.error)


async def test_nothing_is_left_of_calls_that_nobody_awaits(path: Path) -> None:
    """Where one that is not async ends it before they are."""

    async def waits() -> int:
        return 1

    def either(output: int) -> Any:
        if output == 2:
            raise KeyboardInterrupt
        return waits()

    with pytest.raises(KeyboardInterrupt):
        await rescore("main", either, store=path, into="main", overwrite=True)
    gc.collect()
    assert is_as_before(path)


@pytest.mark.parametrize("is_async", [False, True])
async def test_an_interrupt_ends_it_wherever_it_comes(path: Path, is_async: bool) -> None:
    def plain(output: int) -> int:
        if output == 2:
            raise KeyboardInterrupt
        return 1

    async def waits(output: int) -> int:
        await checkpoint()
        return plain(output)

    with pytest.raises(KeyboardInterrupt):
        await rescore("main", waits if is_async else plain, store=path, into="main", overwrite=True)
    assert is_as_before(path)


async def test_a_scorer_names_what_it_takes(path: Path) -> None:
    """What it takes by place alone, too; what it takes without a name is refused."""

    def by_place(output: int, /, n: int) -> bool:
        return output == n

    def without_names(*values: Any) -> int:
        return len(values)

    (stored,) = await rescore("main", by_place, store=path)
    assert Store(path).summary(stored).scores["by_place"].mean == 1.0
    with pytest.raises(TypeError, match=r"without_names\(\) takes '\*values'"):
        await rescore("main", without_names, store=path, into="other")


@pytest.mark.parametrize("name", ["", " \n"])
async def test_an_experiment_has_a_name(path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """However it is made."""

    @foreach("n", [1])
    async def eval_it(n: int) -> Result:
        return Result(n)

    with pytest.raises(ValueError, match="an experiment needs a name"):
        await run(eval_it, store=path, experiment=name)
    with pytest.raises(ValueError, match="an experiment needs a name"):
        await rescore("main", Plain(), store=path, into=name)
    with pytest.raises(ValueError, match="an experiment needs a name"):
        rename("main", name, store=path)
    words = [["rename", "main", name], ["rescore", "main", f"{__file__}:is_as_before", "--as", name]]
    for each in words:
        assert await to_thread.run_sync(main, [*each, "--store", str(path)]) == 2
        assert "an experiment needs a name" in capsys.readouterr().err
    assert is_as_before(path)


SCORER = """
import sys

def score(output):
    print("begun", file=sys.__stdout__, flush=True)  # prints of a scorer go to stderr
    sys.stdin.readline()
    return 1
"""


@pytest.mark.process
@pytest.mark.parametrize("into", ["main", "new"])
def test_ctrl_c_ends_the_command_and_writes_nothing(tmp_path: Path, into: str) -> None:
    """At the row that it comes in, and not after the last."""
    path = stored_in(tmp_path / "results.db", 2000)
    file = tmp_path / "waiting.py"
    file.write_text(SCORER)
    words = ["rescore", "main", f"{file}:score", "--as", into, "--overwrite", "--store", str(path)]
    command = [sys.executable, "-m", "doteval", *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(SIGINT)
        calls = 1
        while True:
            process.stdin.write("\n")
            process.stdin.flush()
            if not process.stdout.readline():
                break
            calls += 1
    assert process.returncode == 130
    assert calls < 2000
    assert is_as_before(path)
