"""What it costs to have very many resources open.

Question: how long does it take to open and close 10,000 resources, and how much memory does an idle one take?
Method: all are opened one after the other and closed together; an `AsyncExitStack` does the same. doteval has a task
for each, which the exit stack has not; tasks that do nothing else show how much of the difference that is. Memory is
what tracemalloc sees, in a run of its own that is not timed. Half as many and all of them, to see how the time grows.
Units: time over time, medians of 7; KiB a resource. Noise: some per cent.
"""

from __future__ import annotations

import tracemalloc
from contextlib import AsyncExitStack

import anyio
from _harness import BACKENDS, by_turns, figure_row, opened_model, ratio_row, report, running, timed
from warm_lease import Provider

RESOURCES = 10_000


async def doteval(count: int, memory: bool = False) -> float:
    bytes_before = tracemalloc.get_traced_memory()[0] if memory else 0
    taken = 0.0

    async def open_and_close() -> None:
        nonlocal taken
        async with Provider() as provider:
            for number in range(count):
                await (await provider.setup(f"m{number}")).teardown()
            taken = (tracemalloc.get_traced_memory()[0] - bytes_before) / count if memory else 0.0

    seconds = await timed(open_and_close)
    return taken if memory else seconds


async def exit_stack(count: int, memory: bool = False) -> float:
    bytes_before = tracemalloc.get_traced_memory()[0] if memory else 0
    taken = 0.0

    async def open_and_close() -> None:
        nonlocal taken
        models = {}
        async with AsyncExitStack() as stack:
            for number in range(count):
                models[f"m{number}"] = await stack.enter_async_context(opened_model(f"m{number}"))
            taken = (tracemalloc.get_traced_memory()[0] - bytes_before) / count if memory else 0.0

    seconds = await timed(open_and_close)
    return taken if memory else seconds


async def tasks(count: int) -> float:
    """No more than what a resource needs to be entered and left in one task, whoever asks."""

    async def live(spec: str, opened: anyio.Event, wake: anyio.Event) -> None:
        with anyio.CancelScope(shield=True):
            async with opened_model(spec):
                opened.set()
                await wake.wait()

    async def open_and_close() -> None:
        wakes = []
        async with anyio.create_task_group() as task_group:
            for number in range(count):
                opened, wake = anyio.Event(), anyio.Event()
                task_group.start_soon(live, f"m{number}", opened, wake)
                await opened.wait()
                wakes.append(wake)
            for wake in wakes:
                wake.set()

    return await timed(open_and_close)


def main() -> None:
    rows = []
    for backend in BACKENDS:
        half = RESOURCES // 2
        figures = by_turns(
            {
                "doteval": running(backend, doteval, RESOURCES),
                "stack": running(backend, exit_stack, RESOURCES),
                "tasks": running(backend, tasks, RESOURCES),
                "doteval, half": running(backend, doteval, half),
            }
        )
        what = "10,000 resources"
        rows.append(ratio_row(what, "AsyncExitStack", backend, figures["doteval"], figures["stack"], 4.0))
        rows.append(ratio_row(what, "a bare task each", backend, figures["doteval"], figures["tasks"], None))
        twice = [seconds * 2 for seconds in figures["doteval, half"]]
        growth = ratio_row(what, "twice 5,000", backend, figures["doteval"], twice, 1.3)
        rows.append(growth)
        tracemalloc.start()
        ours, theirs = (running(backend, side, RESOURCES, True)() for side in (doteval, exit_stack))
        above = [(ours - theirs) / 1024] * 2  # counted, not timed: the same in every run
        tracemalloc.stop()
        rows.append(figure_row("memory of an idle resource", "above AsyncExitStack", backend, above, 10.0, "KiB"))
    report(rows)


if __name__ == "__main__":
    main()
