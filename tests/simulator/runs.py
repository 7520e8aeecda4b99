"""Runs of the simulator: ``python -m tests.simulator.runs 1000`` runs that many on every loop."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import random
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any

import anyio
import sniffio
import trio
import trio.testing
from anyio import get_cancelled_exc_class
from tests.virtual_time import VirtualTimeLoop

from doteval import DotevalError, ModelProviders

from .program import Run, Worker
from .scenario import BreakError, Clock, Scenario, SimulatedProvider
from .world import HISTORY, Books, ViolationError

PATIENCE = {True: 100_000.0, False: 10.0}
"""How long a run may take, in seconds, virtual or real."""
LOOPS = ("asyncio", "uvloop", "trio")


def backend(loop: str) -> dict[str, Any]:
    match loop:
        case "asyncio":
            return {"backend": "asyncio", "backend_options": {"loop_factory": VirtualTimeLoop}}
        case "uvloop":
            return {"backend": "asyncio", "backend_options": {"use_uvloop": True}}
    return {"backend": "trio", "backend_options": {"clock": trio.testing.MockClock(autojump_threshold=0)}}


def simulate(seed: int, loop: str) -> Counter[str]:
    """One run; the same seed is the same run, but for the order in which uvloop, whose time is real, wakes tasks.

    Returns:
        How often what happened.

    Raises:
        ViolationError: Something does not hold; its message has the seed and what happened last.
    """
    scenario = Scenario(seed, Clock(loop != "uvloop"))
    try:
        with nothing_is_said(scenario.history), repeatable(seed):
            result = anyio.run(run, scenario, loop, **backend(loop))
    except Exception as error:
        scenario.history.append(f"!! {error!r}")
        if os.environ.get("SIMULATOR_TRACE"):
            traceback.print_exception(error)
        wrong = failure(seed, loop, scenario)
        raise wrong from None
    if any(line.startswith("!!") for line in scenario.history):
        raise failure(seed, loop, scenario)
    return result


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Chance, that of trio's scheduler too, is what the seed says."""
    state, trio_run = random.getstate(), vars(trio._core._run)  # type: ignore[attr-defined]
    trio_state, sorts = trio_run["_r"].getstate(), trio_run["_ALLOW_DETERMINISTIC_SCHEDULING"]
    random.seed(seed)
    trio_run["_r"].seed(seed)
    trio_run["_ALLOW_DETERMINISTIC_SCHEDULING"] = True
    try:
        yield
    finally:
        random.setstate(state)
        trio_run["_r"].setstate(trio_state)
        trio_run["_ALLOW_DETERMINISTIC_SCHEDULING"] = sorts


def failure(seed: int, loop: str, scenario: Scenario) -> ViolationError:
    """What is raised: the seed, and what happened up to the first thing that was wrong."""
    wrong = [number for number, line in enumerate(scenario.history) if line.startswith("!!")]
    history = scenario.history[max(0, wrong[0] - HISTORY) : wrong[0] + 1]
    told = "\n".join([*history, *(scenario.history[number] for number in wrong[1:5])])
    return ViolationError(f"seed {seed} on {loop}: capacity={scenario.capacity} {scenario.options}\n{told}")


@contextmanager
def nothing_is_said(history: list[str]) -> Iterator[None]:
    """Warnings, errors in the log and what Python cannot raise are violations."""
    log, hook = Told(history), sys.unraisablehook
    logger = logging.getLogger("doteval")
    logger.addHandler(log)
    propagates, logger.propagate = logger.propagate, False
    sys.unraisablehook = lambda what: history.append(f"!! unraisable: {what.exc_value!r}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    finally:
        sys.unraisablehook = hook
        logger.removeHandler(log)
        logger.propagate = propagates


class Told(logging.Handler):
    """Writes down what is wrong in the log, but for closings that fail and health checks that raise on purpose."""

    def __init__(self, history: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._history = history

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        raised = record.exc_info[1] if record.exc_info else None
        on_purpose = text.startswith("SimulatedProvider: healthy()") and isinstance(raised, BreakError)
        if not on_purpose and not (": closing '" in text and "failed" in text):
            self._history.append(f"!! logged: {text}")


async def run(scenario: Scenario, loop: str) -> Counter[str]:
    """One run, in an event loop of its own."""
    before = tasks()
    if loop != "trio":
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: scenario.history.append(f"!! the loop says: {context}")
        )
    books = Books("outer", scenario.slots, scenario.capacity, scenario.history)
    inner_books = Books("inner", scenario.slots, None, scenario.history)
    inner = SimulatedProvider(inner_books, scenario, scenario.inner_options)
    provider = SimulatedProvider(books, scenario, scenario.options, inner if scenario.nested else None)
    with anyio.move_on_after(PATIENCE[loop != "uvloop"]) as patience:
        await with_inner(scenario, provider, inner)
    if patience.cancelled_caught:
        raise books.fail(f"somebody waits for ever: {provider!r} {inner!r} {list(books.waiting)}")
    await settle()
    books.check(tasks() <= before, f"{tasks()} tasks, {before} before")
    books.compare_at_end(provider.statistics())
    if scenario.nested:
        inner_books.compare_at_end(inner.statistics())
    return Counter(books.events) + Counter(books.endings) + Counter(runs=1, granted=books.granted)


async def settle() -> None:
    """Let all tasks do what they can do in this moment."""
    for _ in range(3):
        await anyio.lowlevel.checkpoint()


def tasks() -> int:
    if sniffio.current_async_library() == "trio":
        return trio.lowlevel.current_statistics().tasks_living
    return len(asyncio.all_tasks())


async def with_inner(scenario: Scenario, provider: SimulatedProvider, inner: SimulatedProvider) -> None:
    async with entered(Run(scenario, inner, None)) if scenario.nested else nullcontext():
        await with_provider(scenario, provider)


@asynccontextmanager
async def entered(program: Run) -> AsyncIterator[None]:
    """The block of its provider: closing may raise there what it may anywhere, and what the block raises comes out."""
    try:
        async with program.provider:
            yield
            program.is_closing = True
    except Exception as error:
        if not program.is_closing:
            raise
        program.expect_closing(error)


async def with_provider(scenario: Scenario, provider: SimulatedProvider) -> None:
    """Enter the provider, let the tasks run in there, and leave it, in the middle of it or afterwards."""
    providers = ModelProviders({"sim": provider}, discover=False) if scenario.through_all else None
    whole = providers if providers is not None else provider
    program = Run(scenario, provider, providers)
    async with anyio.create_task_group() as task_group:
        await whole.start()
        if providers is not None:
            await providers.enter("sim")
        try:
            async with anyio.create_task_group() as workers:
                for number in range(scenario.workers):
                    workers.start_soon(Worker(program, f"w{number}").work)
                workers.start_soon(cancel_some, program)
                if scenario.leaves_early:
                    await scenario.clock.pause(scenario.rng.randint(0, 12))
                    await leave(program, whole)
        finally:
            program.is_closing = True
        for held in program.mailbox:
            await program.give_back(held, "main")
        if not scenario.leaves_early and not scenario.nested:
            await nobody_leases(program)
        if scenario.start_and_close:
            task_group.start_soon(leave, program, whole)
        else:
            await leave(program, whole)


async def nobody_leases(program: Run) -> None:
    """All tasks are over: what is leased yet was opened ahead a moment ago, and is leased by nobody in the next."""
    await program.scenario.clock.pause(1)
    before = program.provider.statistics().leases
    await settle()
    now = program.provider.statistics()
    is_recent = now.opening or now.leases > before
    program.books.check(is_recent or not now.active_leases, f"nobody leases anything: {now}")


async def cancel_some(program: Run) -> None:
    scenario = program.scenario
    rng = random.Random(f"{scenario.seed} cancellation")
    while program.tasks or not program.cancelled:
        await scenario.clock.pause(rng.randint(0, 3))
        if not program.tasks:
            return
        if rng.random() < scenario.cancels:
            name = rng.choice(sorted(program.tasks))
            program.books.say(f"{name} is cancelled")
            program.cancelled.add(name)
            program.tasks.pop(name).cancel()


async def leave(program: Run, whole: Any) -> None:
    """Close the provider, sometimes while cancelled; the cancellation comes when all is closed."""
    program.is_closing = True
    program.books.say("closes")
    rng = random.Random(f"{program.scenario.seed} leaving")
    units = program.scenario.clock.unit
    try:
        if rng.random() < 0.5:
            await whole.aclose()
        elif program.is_asyncio and rng.random() < 0.5:
            try:
                async with asyncio.timeout(rng.randint(0, 3) * units):
                    await whole.aclose()
            except TimeoutError as error:
                if isinstance(error, DotevalError):
                    raise
        else:
            with anyio.move_on_after(rng.randint(0, 3) * units):
                await whole.aclose()
    except get_cancelled_exc_class():
        raise
    except BaseException as error:
        program.expect_closing(error)
    program.books.check(not program.books.live, f"left, and still open: {list(program.books.live)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=int, nargs="?", default=1000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--loop", choices=LOOPS, action="append")
    parser.add_argument("--most", type=int, default=5, help="stop a loop after so many violations")
    arguments = parser.parse_args()
    wrong = 0
    for loop in arguments.loop or LOOPS:
        counts: Counter[str] = Counter()
        began, failed = time.perf_counter(), 0
        for seed in range(arguments.first, arguments.first + arguments.runs):
            try:
                counts += simulate(seed, loop)
                continue
            except ViolationError as violation:
                failed += 1
                print(violation, "\n", flush=True)
            with nothing_is_said([]):  # out of the traceback's reach
                gc.collect()  # what the run has left open is told now, and not in the next one
            if failed >= arguments.most:
                break
        print(f"{loop}: {failed} violations, {time.perf_counter() - began:.1f} s, {dict(counts)}", flush=True)
        wrong += failed
    sys.exit(bool(wrong))


if __name__ == "__main__":
    os.environ.pop("PYTHONDEVMODE", None)
    main()
