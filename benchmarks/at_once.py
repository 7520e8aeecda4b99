"""What a request costs, by how many are under way at once.

Question: how much of the processor does `model.generate` take where the raw SDK, with a limiter, takes 1, and how does
that grow with the connections? The same of streams, when their first piece comes, and the memory of open requests.
Method: the same server on loopback, which answers after 20 ms; as many requests as are under way at once, at least
300; the sides by turns. Only this process counts, not the server's.
Units: processor time over processor time, medians of 3. Noise: some per cent, more where others use the machine.

    python benchmarks/at_once.py [PLOT]

PLOT is where the picture of the cost goes.
"""

from __future__ import annotations

import gc
import os
import statistics
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import anyio
from _harness import BACKENDS, RESULTS, Row, by_turns, ratio_row, report, running
from _loopback import model_server
from _requests import CLIENTS, PROVIDERS, TEXT_OF, raw_ask, raw_stream

TARGETS = {"OpenAI": {20: 0.95, 200: 0.65, 900: 0.5}, "Anthropic": {20: 0.95, 200: 0.7, 900: 0.6}}
MANY = 5_000
STREAMS_AT_ONCE = 200
OPEN = 1_000
LONG = 300.0


@asynccontextmanager
async def doteval(url: str, sdk: str, at_once: int, *, is_streamed: bool = False):
    """A function that asks once, and returns when the first piece came."""
    make = PROVIDERS[sdk]
    async with make(base_url=url, api_key="no-key", max_retries=0, timeout=LONG, max_concurrency=at_once) as provider:
        async with provider.setup("m") as handle:

            async def stream() -> float:
                async with handle.model.stream("Hello") as pieces:
                    await anext(pieces)
                    began = time.perf_counter()
                    async for _ in pieces:
                        pass
                return began

            yield stream if is_streamed else partial(handle.model.generate, "Hello")


@asynccontextmanager
async def raw(url: str, sdk: str, at_once: int, *, is_streamed: bool = False):
    limiter = anyio.CapacityLimiter(at_once)
    async with CLIENTS[sdk](base_url=url, api_key="no-key", max_retries=0, timeout=LONG) as client:

        async def ask() -> None:
            async with limiter:
                await raw_ask(client)

        async def stream() -> float:
            async with limiter, await raw_stream(client) as events:
                began = None
                async for event in events:
                    if TEXT_OF[sdk](event) and began is None:
                        began = time.perf_counter()
            assert began is not None
            return began

        yield stream if is_streamed else ask


SIDES = {"doteval": doteval, "raw": raw}


async def processor(side: Any, url: str, sdk: str, at_once: int) -> float:
    """The processor time of a request, in seconds."""
    requests = max(300, at_once)
    async with side(url, sdk, at_once) as ask:
        await ask()
        before = time.process_time()
        async with anyio.create_task_group() as task_group:
            for _ in range(requests):
                task_group.start_soon(ask)
        return (time.process_time() - before) / requests


async def streaming(side: Any, url: str, sdk: str, waits: list[float]) -> float:
    """The processor time of a stream, in seconds; when the first piece comes goes to `waits`, as a mean."""
    first: list[float] = []
    async with side(url, sdk, STREAMS_AT_ONCE, is_streamed=True) as ask:
        await ask()
        began, before = time.perf_counter(), time.process_time()

        async def timed() -> None:
            first.append(await ask() - began)

        async with anyio.create_task_group() as task_group:
            for _ in range(STREAMS_AT_ONCE):
                task_group.start_soon(timed)
        waits.append(statistics.mean(first))
        return (time.process_time() - before) / STREAMS_AT_ONCE


async def memory(side: Any, url: str, sdk: str) -> float:
    """Of an open request, in KiB."""
    async with side(url, sdk, OPEN) as ask:
        gc.collect()
        tracemalloc.start()
        try:
            async with anyio.create_task_group() as task_group:
                for _ in range(OPEN):
                    task_group.start_soon(ask)
                await anyio.sleep(10)
                gc.collect()
                used = tracemalloc.get_traced_memory()[0] / OPEN / 1024
                task_group.cancel_scope.cancel()
        finally:
            tracemalloc.stop()
    return used


def address_of(sdk: str, url: str) -> str:
    """The address that an SDK takes of a server whose API is at `url`."""
    return url if sdk == "OpenAI" else url.removesuffix("/v1")


def sides(backend: str, measured: Callable[..., Awaitable[float]], *arguments: Any) -> dict[str, Callable[[], float]]:
    return {name: running(backend, measured, side, *arguments) for name, side in SIDES.items()}


def main() -> None:
    rows: list[Row] = []
    costs: dict[tuple[str, str, str], dict[int, float]] = {}

    def found(row: Row) -> None:
        rows.append(row)
        print(" ".join(row.cells()), row.note, flush=True)

    with model_server() as url:
        for sdk, targets in TARGETS.items():
            address = address_of(sdk, url)
            for backend in BACKENDS:
                for at_once, target in targets.items():
                    figures = by_turns(sides(backend, processor, address, sdk, at_once), runs=3)
                    what = f"a request, {at_once} at once, processor"
                    found(ratio_row(what, f"raw SDK, {sdk}", backend, figures["doteval"], figures["raw"], target))
                    for name, values in figures.items():
                        costs.setdefault((sdk, backend, name), {})[at_once] = statistics.median(values)
                if sdk != "OpenAI":
                    continue  # the connections are the same
                counts = {str(n): running(backend, processor, doteval, address, sdk, n) for n in (MANY, 20)}
                figures = by_turns(counts, runs=2)
                what = f"a request, {MANY} at once, processor"
                found(ratio_row(what, f"20 at once, {sdk}", backend, figures[str(MANY)], figures["20"], 1.2))
                costs[sdk, backend, "doteval"][MANY] = statistics.median(figures[str(MANY)])
        for sdk, backend in product(TARGETS, BACKENDS):
            address, against, at_once = address_of(sdk, url), f"raw SDK, {sdk}", f"{STREAMS_AT_ONCE} at once"
            waits: dict[str, list[float]] = {name: [] for name in SIDES}
            figures = by_turns(
                {name: running(backend, streaming, side, address, sdk, waits[name]) for name, side in SIDES.items()},
                runs=3,
            )
            ours, theirs = (waits[name][1:] for name in ("doteval", "raw"))
            found(ratio_row(f"stream, {at_once}, first piece", against, backend, ours, theirs, 0.8))
            ours, theirs = figures["doteval"], figures["raw"]
            found(ratio_row(f"stream, {at_once}, processor", against, backend, ours, theirs, 1.0))
    with model_server(60.0) as url:
        for sdk, backend in product(TARGETS, BACKENDS):
            figures = by_turns(sides(backend, memory, address_of(sdk, url), sdk), runs=2)
            note = f"{min(figures['doteval']):.1f} KiB against {min(figures['raw']):.1f} KiB"
            ours, theirs = figures["doteval"], figures["raw"]
            found(ratio_row(f"memory of {OPEN} requests", f"raw SDK, {sdk}", backend, ours, theirs, 1.0, note=note))
    report(rows)
    if directory := os.environ.get(RESULTS):
        plot(costs, Path(directory, "at_once.svg"))
    if len(sys.argv) > 1:
        plot(costs, Path(sys.argv[1]))


def plot(costs: dict[tuple[str, str, str], dict[int, float]], path: Path) -> None:
    """The cost of a request against how many are under way, for each SDK."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "doteval"
    mpl.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(TARGETS), figsize=(9, 3.4), sharey=True)
    for (sdk, backend, side), found in costs.items():
        axes = panels[list(TARGETS).index(sdk)]
        style = "-" if backend == "asyncio" else "--"
        colour = "#4c72b0" if side == "doteval" else "#c44e52"
        label = f"{'doteval' if side == 'doteval' else 'the SDK'}, {backend}"
        axes.plot(list(found), [1000 * cost for cost in found.values()], style, marker="o", color=colour, label=label)
    for sdk, axes in zip(TARGETS, panels, strict=True):
        axes.set_title(sdk, fontsize=10)
        axes.set_xscale("log")
        axes.set_xticks([20, 200, 900, MANY], ["20", "200", "900", f"{MANY:,}"])
        axes.minorticks_off()
        axes.set_xlabel("requests at once")
        axes.set_ylim(bottom=0)
        axes.grid(linewidth=0.3)
    panels[0].set_ylabel("ms of the processor a request")
    panels[0].legend(fontsize=8, frameon=False)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    main()
