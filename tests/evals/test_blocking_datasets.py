"""Datasets that block: no row waits for the next one, and who is cancelled waits for nobody."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import CancelScope, create_task_group, to_thread

from doteval import Result, foreach
from doteval.evals import Store, run

anyio_test = pytest.mark.anyio
PATIENCE = 60.0
"""For what never comes where something is wrong."""


@anyio_test
@pytest.mark.parametrize("concurrency", [1, 10])
@pytest.mark.parametrize("epochs", [1, 2])
async def test_a_row_begins_before_the_next_one_is_there(concurrency: int, epochs: int) -> None:
    """So a generator may wait for what becomes of it, as an adaptive test does."""
    done = threading.Semaphore(0)

    def rows() -> Iterator[int]:
        for number in range(5):
            yield number
            for _ in range(epochs):
                assert done.acquire(timeout=PATIENCE), "the row has not begun"

    @foreach("number", rows, epochs=epochs)
    async def eval_it(number: int) -> Result:
        done.release()
        return Result(number)

    outcome = await run(eval_it, concurrency=concurrency)
    assert [record.output for record in outcome.records] == [number for number in range(5) for _ in range(epochs)]


class Blocked:
    """Where a dataset blocks, until the test is over."""

    def __init__(self) -> None:
        self.blocks = threading.Event()
        self.release = threading.Event()
        self.closed = threading.Event()

    def block(self) -> None:
        self.blocks.set()
        self.release.wait()

    def after_a_row(self) -> Iterator[int]:
        try:
            yield 0
            self.block()
            yield 1
        finally:
            self.closed.set()

    def before_a_row(self) -> Iterator[int]:
        try:
            self.block()
            yield 0
        finally:
            self.closed.set()

    def in_a_function(self) -> list[int]:
        self.block()
        self.closed.set()
        return [0]


class Iterating:
    """Blocks where it begins."""

    def __init__(self, blocked: Blocked) -> None:
        self.blocked = blocked

    def __iter__(self) -> Iterator[int]:
        self.blocked.block()
        self.blocked.closed.set()
        return iter([0])


DATASETS: dict[str, Callable[[Blocked], Any]] = {
    "after a row": lambda blocked: blocked.after_a_row,
    "before a row": lambda blocked: blocked.before_a_row,
    "in a function": lambda blocked: blocked.in_a_function,
    "where it begins": Iterating,
}


@anyio_test
@pytest.mark.parametrize("dataset", DATASETS)
async def test_a_cancellation_waits_for_no_dataset(dataset: str, tmp_path: Path) -> None:
    """The thread is left behind, and ends when the dataset lets it; what was done is kept."""
    blocked = Blocked()
    ends_early = anyio.Event()

    async def eval_it(number: int) -> Result:
        return Result(number)

    evaluation = foreach("number", DATASETS[dataset](blocked))(eval_it)
    scope = CancelScope()

    async def running() -> None:
        with scope:
            await run(evaluation, store=tmp_path / "results.db", name="it", on_record=lambda _: ends_early.set())

    try:
        async with create_task_group() as task_group:
            task_group.start_soon(running)
            assert await to_thread.run_sync(blocked.blocks.wait, PATIENCE)
            if dataset == "after a row":
                await ends_early.wait()
            scope.cancel()
        assert scope.cancelled_caught
        assert not blocked.closed.is_set()
    finally:
        blocked.release.set()
    assert await to_thread.run_sync(blocked.closed.wait, PATIENCE)
    with Store(tmp_path / "results.db") as store:
        assert sum(stored.stored for stored in store.evaluations()) == (dataset == "after a row")


@anyio_test
async def test_a_cancellation_waits_for_no_dataset_that_is_compared(tmp_path: Path) -> None:
    """Where all results are there, it is read to find out whether they are those of its rows."""
    blocked = Blocked()
    blocked.release.set()

    @foreach("number", blocked.after_a_row)
    async def eval_it(number: int) -> Result:
        return Result(number)

    await run(eval_it, store=tmp_path / "results.db")
    assert (await run(eval_it, store=tmp_path / "results.db")).answered
    for event in (blocked.blocks, blocked.release, blocked.closed):
        event.clear()
    try:
        async with create_task_group() as task_group:
            task_group.start_soon(lambda: run(eval_it, store=tmp_path / "results.db"))
            assert await to_thread.run_sync(blocked.blocks.wait, PATIENCE)
            task_group.cancel_scope.cancel()
        assert not blocked.closed.is_set()
    finally:
        blocked.release.set()
    assert await to_thread.run_sync(blocked.closed.wait, PATIENCE)


@anyio_test
@pytest.mark.parametrize("how", ["limit", "error", "read up"])
async def test_a_generator_that_does_not_block_is_closed_when_the_run_ends(how: str) -> None:
    """Also where not all of it is read."""
    closed: list[int] = []

    def rows() -> Iterator[int]:
        try:
            yield from range(100)
            if how == "error":
                raise ValueError("no more")
        finally:
            closed.append(1)

    async def eval_it(number: int) -> Result:
        return Result(number)

    evaluation = foreach("number", rows)(eval_it)
    if how == "error":
        with pytest.raises(ValueError, match="no more"):
            await run(evaluation)
    else:
        await run(evaluation, limit=3 if how == "limit" else None)
    assert closed == [1]


@anyio_test
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
async def test_what_closing_raises_is_raised(error: type[BaseException]) -> None:
    """It is not lost."""

    def rows() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            raise error("cannot be closed")

    async def eval_it(number: int) -> Result:
        return Result(number)

    with pytest.raises(error, match="cannot be closed"):
        await run(foreach("number", rows)(eval_it), limit=3)


@anyio_test
async def test_no_more_is_read_than_is_waited_for() -> None:
    """But for the rows of one chunk: a dataset that gives its rows away, such as a queue, keeps the others."""
    read: list[int] = []

    def rows() -> Iterator[int]:
        for number in range(1000):
            read.append(number)
            yield number

    @foreach("number", rows)
    async def eval_it(number: int) -> Result:
        return Result(len(read) - number)

    outcome = await run(eval_it, concurrency=1)
    assert len(outcome.records) == 1000
    assert max(record.output for record in outcome.records) <= 65


BLOCKING = """
import sys, threading, anyio
from doteval import Result, foreach
from doteval.evals import run

def rows():
    yield 0
    print("blocks", flush=True)
    threading.Event().wait()

@foreach("number", rows)
async def eval_it(number):
    return Result(number)

async def main():
    await run(eval_it, store=sys.argv[1])

options = {"use_uvloop": True} if sys.argv[2] == "uvloop" else {}
anyio.run(main, backend="trio" if sys.argv[2] == "trio" else "asyncio", backend_options=options)
"""


@pytest.mark.process
@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_ctrl_c_ends_a_program_whose_dataset_blocks(loop: str, tmp_path: Path) -> None:
    """No thread keeps it."""
    pytest.importorskip(loop)
    command = [sys.executable, "-c", BLOCKING, str(tmp_path / "results.db"), loop]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "blocks\n"
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode in (1, -signal.SIGINT), errors
    assert errors.rstrip().endswith("KeyboardInterrupt")
