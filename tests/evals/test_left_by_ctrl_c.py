"""Ctrl-C in a console that has one event loop for all that is awaited there, as IPython has: it ends runs."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from doteval import PooledProvider, Result, foreach
from doteval.evals import ConcurrentRunError, Evaluation, Store, rescore, run

SIGINT = signal.SIGINT


class Console:
    """Awaits one thing after the other in one loop, without a handler of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def cell(self, awaited: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(awaited)

    def press(self) -> None:
        """Ctrl-C, soon."""
        self.loop.call_soon_threadsafe(signal.raise_signal, SIGINT)


@pytest.fixture
def console() -> Iterator[Console]:
    before = signal.signal(SIGINT, signal.default_int_handler)
    console = Console()
    try:
        yield console
        assert signal.getsignal(SIGINT) is signal.default_int_handler
    finally:
        signal.signal(SIGINT, before)
        for _ in range(3):  # what is due when tasks are done, as that their worker threads end
            console.cell(asyncio.sleep(0))
        console.loop.close()


def asking(do: Callable[[int], Awaitable[object]]) -> Evaluation:
    @foreach("id", range(6), concurrency=2)
    async def ask(id: int) -> Result:  # noqa: A002
        await do(id)
        return Result(id, scores={"good": True})

    return ask


async def nothing(row: int) -> None:
    """It is done."""


def test_a_run_ends_and_is_gone_on_with(console: Console, tmp_path: Path) -> None:
    """What is done is kept, and whatever is awaited next runs nothing of it."""
    rows: list[int] = []

    async def wait(row: int) -> None:
        rows.append(row)
        if row == 3:
            console.press()
        if row >= 2:
            await asyncio.Event().wait()

    store = tmp_path / "r.db"
    with pytest.raises(KeyboardInterrupt):
        console.cell(run(asking(wait), store=store))
    assert not asyncio.all_tasks(console.loop)
    assert rows == [0, 1, 2, 3]
    outcome = console.cell(run(asking(nothing), store=store, changed="keep"))
    assert (outcome.known, outcome.calls) == (2, 4)


def test_code_that_blocks_the_loop_is_waited_for(console: Console) -> None:
    """As in `asyncio.run`."""

    async def block(row: int) -> None:
        if row == 0:
            signal.raise_signal(SIGINT)
        rows.append(row)

    rows: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        console.cell(run(asking(block)))
    assert len(rows) < 6


def test_code_of_a_provider_that_blocks_is_waited_for(console: Console) -> None:
    """Its `open()` runs in a task of its own, and may import an SDK, or read weights."""

    class Blocking(PooledProvider[str]):
        @asynccontextmanager
        async def open(self, spec: str, /) -> AsyncGenerator[str]:
            signal.raise_signal(SIGINT)
            opened.append(spec)
            yield spec

    @foreach("id", range(6))
    async def ask(id: int, model: str) -> Result:  # noqa: A002
        return Result(id)

    async def cell() -> None:
        async with Blocking() as provider:
            await run(ask, model=lambda: provider.setup("m"))

    opened: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        console.cell(cell())
    assert opened == ["m"]
    assert not asyncio.all_tasks(console.loop)


@pytest.mark.parametrize("how", ["in the loop", "in a row"])
def test_after_a_second_one_the_run_has_ended_before_another_begins(console: Console, tmp_path: Path, how: str) -> None:
    """In the next cell, where the loop was left, and without a word to whoever awaits something else there."""
    release = asyncio.Event()

    async def cling(row: int) -> None:
        if row == 1:
            console.press()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if row == 1 and how == "in a row":
                signal.raise_signal(SIGINT)
            if row == 1:
                console.press()
            await release.wait()
            raise

    store = tmp_path / "r.db"
    with pytest.raises(KeyboardInterrupt):
        console.cell(run(asking(cling), store=store))
    assert bool(asyncio.all_tasks(console.loop)) is (how == "in the loop")

    async def others_wait() -> None:
        console.loop.call_soon(release.set)
        outcome = await run(asking(nothing), store=store, changed="keep")
        assert (outcome.known, outcome.calls) == (0, 6)

    console.cell(others_wait())
    assert not asyncio.all_tasks(console.loop)


def test_runs_at_once_all_end(console: Console, tmp_path: Path) -> None:
    async def wait(row: int) -> None:
        waiting.append(row)
        if len(waiting) == 4:
            console.press()
        await asyncio.Event().wait()

    waiting: list[int] = []

    async def both() -> list[object]:
        made = (run(asking(wait), store=tmp_path / "r.db", experiment=name) for name in "ab")
        return await asyncio.gather(*made, return_exceptions=True)

    with pytest.raises(KeyboardInterrupt):
        console.cell(both())
    console.cell(asyncio.sleep(0))


def test_rescoring_ends_and_writes_nothing(console: Console, tmp_path: Path) -> None:
    store = tmp_path / "r.db"
    console.cell(run(asking(nothing), store=store))

    async def score(output: int) -> dict[str, bool]:
        if output == 0:
            console.press()
        await asyncio.Event().wait()
        return {}

    with pytest.raises(KeyboardInterrupt):
        console.cell(rescore("default", score, store=store))
    assert [each.experiment for each in Store(store).evaluations()] == ["default"]


def test_whoever_handles_ctrl_c_goes_on_to(console: Console) -> None:
    """A handler of somebody's own is left alone, and so is `asyncio.run`'s."""
    pressed: list[int] = []
    signal.signal(SIGINT, lambda number, _: pressed.append(number))

    async def press(row: int) -> None:
        if row == 2:
            signal.raise_signal(SIGINT)

    assert console.cell(run(asking(press))).summary.rows == 6
    assert pressed == [SIGINT]
    signal.signal(SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(run(asking(press)))


def test_in_another_thread_ctrl_c_is_the_main_threads(console: Console) -> None:
    outcomes: list[Any] = []
    thread = threading.Thread(target=lambda: outcomes.append(asyncio.run(run(asking(nothing)))))
    thread.start()
    thread.join()
    assert outcomes[0].summary.rows == 6


def test_what_else_is_interrupted_leaves_runs_alone(console: Console) -> None:
    """While a cell without `await` is run, say, and a run waits in its task."""
    go = asyncio.Event()

    async def wait(row: int) -> None:
        begun.set()
        await go.wait()

    begun = asyncio.Event()
    task = console.loop.create_task(run(asking(wait)))
    console.cell(begun.wait())
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(SIGINT)
    go.set()
    assert console.cell(task).summary.rows == 6


def test_a_run_of_this_process_says_how_to_end_it(console: Console, tmp_path: Path) -> None:
    async def again(row: int) -> None:
        if row == 0:
            with pytest.raises(ConcurrentRunError, match=r"(?s)which is this one.*await it, or cancel it"):
                await run(asking(nothing), store=tmp_path / "r.db", changed="keep")

    assert console.cell(run(asking(again), store=tmp_path / "r.db")).summary.errors == 0
