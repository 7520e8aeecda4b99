"""Sides that are measured by turns, and one row of the table for each comparison.

pyperf and pytest-benchmark measure one function at a time, and neither turns by turn with another one or on trio; a
ratio of two things that were measured minutes apart says little on a machine that others use, too. Hence this module.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio

RUNS = 7
BACKENDS = ("asyncio", "trio")
RESULTS = "DOTEVAL_BENCH_RESULTS"
"""The environment variable that names the directory to which the rows are written as JSON."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        what: What was measured.
        against: What it was compared with.
        backend: The event loop, or nothing where there is none.
        measured: The ratio, or the figure in `unit`.
        low: The lower quartile of the runs.
        high: The upper quartile of the runs.
        target: The limit, in the same unit; `None` where the figure is only reported.
        unit: What the figures are in; `x` for a ratio.
        at_least: Whether the target is a lower limit.
        note: What the ratio was made of.
    """

    what: str
    against: str
    backend: str
    measured: float
    low: float
    high: float
    target: float | None
    unit: str = "x"
    at_least: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.measured >= self.target if self.at_least else self.measured <= self.target

    def cells(self) -> tuple[str, ...]:
        sign = ">=" if self.at_least else "<="
        target = "" if self.target is None else f"{sign} {self.target:g} {self.unit}"
        verdict = {None: "", True: "yes", False: "NO"}[self.met]
        spread = f"{self.low:.2f} to {self.high:.2f}"
        return (self.what, self.against, self.backend, target, f"{self.measured:.2f} {self.unit}", spread, verdict)


HEADINGS = ("what", "against", "backend", "target", "measured", "quartiles", "met")


def table(rows: Sequence[Row]) -> str:
    """The rows as a table in Markdown, which is also readable as it is."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def report(rows: Sequence[Row]) -> None:
    """Print the rows, and write them where the bench session collects them."""
    print(table(rows), flush=True)
    for row in rows:
        if row.note:
            print(f"  {row.what}, {row.against}, {row.backend or 'no loop'}: {row.note}")
    directory = os.environ.get(RESULTS)
    if directory:
        path = Path(directory, f"{Path(sys.argv[0]).stem}.json")
        path.write_text(json.dumps([asdict(row) for row in rows], indent=1), "utf-8")


def by_turns(sides: Mapping[str, Callable[[], float]], runs: int = RUNS) -> dict[str, list[float]]:
    """Measure every side `runs` times; who comes first changes from turn to turn. The first turn is not counted."""
    figures: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for turn in range(runs + 1):
        for name in names if turn % 2 else reversed(names):
            gc.collect()
            figure = sides[name]()
            if turn:
                figures[name].append(figure)
    return figures


def ratio_row(
    what: str,
    against: str,
    backend: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    target: float | None,
    **more: Any,
) -> Row:
    """The ratio of the medians; the spread is that of the ratios turn by turn."""
    ratio = statistics.median(ours) / statistics.median(theirs)
    low, _, high = statistics.quantiles([one / other for one, other in zip(ours, theirs, strict=True)], n=4)
    more.setdefault("note", f"{_seconds(ours)} against {_seconds(theirs)}, medians of {len(ours)}")
    return Row(what, against, backend, ratio, low, high, target, **more)


def figure_row(what: str, against: str, backend: str, figures: Sequence[float], target: float | None, unit: str) -> Row:
    """The median of figures that are no ratios."""
    low, median, high = statistics.quantiles(figures, n=4)
    return Row(what, against, backend, median, low, high, target, unit)


def _seconds(figures: Sequence[float]) -> str:
    median = statistics.median(figures)
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if median >= size:
            return f"{median / size:.3g} {unit}"
    return f"{median / 1e-6:.3g} µs"


def running(backend: str, function: Callable[..., Awaitable[float]], *arguments: Any) -> Callable[[], float]:
    """A side that runs in an event loop of its own and returns its figure."""
    return lambda: anyio.run(function, *arguments, backend=backend)


async def timed(function: Callable[[], Awaitable[object]]) -> float:
    """Seconds that one call takes, without the collector."""
    gc.disable()
    try:
        start = time.perf_counter()
        await function()
        return time.perf_counter() - start
    finally:
        gc.enable()


@asynccontextmanager
async def opened_model(spec: str):
    """What all sides open: an object, after one checkpoint."""
    await anyio.lowlevel.checkpoint()
    yield Model(spec)


class Model:
    """What is leased: as good as nothing."""

    def __init__(self, spec: str = "") -> None:
        self.spec = spec


class CachingManager:
    """The usual one, by hand: what is open, under a lock, with a count of users."""

    def __init__(self) -> None:
        self._cache: dict[Any, Model] = {}
        self._users: dict[Any, int] = {}
        self._lock = anyio.Lock()

    async def get_client(self, **kwargs: Any) -> Model:
        key = tuple(sorted(kwargs.items()))
        async with self._lock:
            if key not in self._cache:
                await anyio.lowlevel.checkpoint()
                self._cache[key] = Model()
            self._users[key] = self._users.get(key, 0) + 1
        return self._cache[key]

    async def release(self, **kwargs: Any) -> None:
        key = tuple(sorted(kwargs.items()))
        async with self._lock:
            self._users[key] -= 1
