"""What is where in the pictures of a page: means with their intervals, and bars."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .histogram import share
from .statistics import Aggregate
from .tables import shown_mean

_WIDTH, _MARGIN = 360, 10
_STEP, _TOP = 40, 6
_HEIGHT, _ROOM = 120, 20


@dataclass(frozen=True, slots=True)
class Point:
    """A mean.

    Args:
        label: What it is the mean of.
        shown: The mean in words.
        y: Where its line begins.
        x: Where it is.
        reach: From where to where its interval reaches, if it has one.
    """

    label: str
    shown: str
    y: int
    x: float
    reach: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Means:
    """Means, one below the other, on one axis.

    Args:
        points: The means.
        bottom: Where the axis is.
        low: What is at its left end.
        high: What is at its right end.
        width: How wide the picture is.
    """

    points: Sequence[Point]
    bottom: int
    low: str
    high: str
    width: int = _WIDTH


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar.

    Args:
        x: Its left end.
        y: Its top.
        width: How wide it is.
        height: How high it is.
        label: What it stands for, and how much.
        count: How much, as short as there is room for.
    """

    x: float
    y: float
    width: float
    height: float
    label: str
    count: str


@dataclass(frozen=True, slots=True)
class Note:
    """A text below bars.

    Args:
        x: Where it is.
        anchor: What of it is there: its ``"start"``, ``"middle"`` or ``"end"``.
        text: What it says.
    """

    x: float
    anchor: str
    text: str


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars beside each other.

    Args:
        bars: The bars.
        notes: What stands below them.
        width: How wide the picture is.
        height: How high the highest bar may reach.
    """

    bars: Sequence[Bar]
    notes: Sequence[Note]
    width: int = _WIDTH
    height: int = _HEIGHT


def means(named: Sequence[tuple[str, Aggregate]]) -> Means:
    """Points with their intervals; the axis of shares is that from 0 to 1, any other one has what is to be seen."""
    numbers = [n for _, a in named for n in (a.mean, a.low, a.high) if math.isfinite(n)] or [0.0]
    low, high = min(numbers), max(numbers)
    if all(aggregate.is_boolean for _, aggregate in named):
        low, high = 0.0, 1.0
    if high - low != 1:
        room = max(high / 20 - low / 20, math.ulp(high)) if high > low else abs(high) / 20 or 1.0
        low, high = max(low - room, -sys.float_info.max), min(high + room, sys.float_info.max)

    def place(number: float) -> float:
        return round(_MARGIN + (_WIDTH - 2 * _MARGIN) * share(low, high, number), 1)

    points = [
        Point(
            label,
            shown_mean(aggregate),
            _TOP + index * _STEP,
            place(aggregate.mean),
            (place(aggregate.low), place(aggregate.high)) if aggregate.has_interval else None,
        )
        for index, (label, aggregate) in enumerate(named)
    ]
    shown = "{:.0%}" if (low, high) == (0.0, 1.0) else "{:.3g}"
    return Means(points, _TOP + len(named) * _STEP, shown.format(low), shown.format(high))


def intervals(
    counts: Sequence[tuple[float, float, int]], shown: Callable[[float], str], most: int | None = None
) -> Bars:
    """A histogram of numbers; its ends are written below.

    Args:
        counts: The ranges: from, to, how many.
        shown: Writes a number.
        most: What the highest bar that may be there counts; that of these where it is `None`.
    """
    bars = _bars([(f"{shown(low)} to {shown(high)}", count) for low, high, count in counts], most)
    ends = Note(_MARGIN, "start", shown(counts[0][0])), Note(_WIDTH - _MARGIN, "end", shown(counts[-1][1]))
    return Bars(bars, ends)


def choices(counts: Sequence[tuple[str, int]], most: int | None = None) -> Bars:
    """A bar for each of a few choices, with its label below.

    Args:
        counts: What may be chosen, and how many have.
        most: What the highest bar that may be there counts; that of these where it is `None`.
    """
    bars = _bars(counts, most)
    step = (_WIDTH - 2 * _MARGIN) / len(bars)
    notes = [Note(round(_MARGIN + (index + 0.5) * step, 1), "middle", label) for index, (label, _) in enumerate(counts)]
    return Bars(bars, notes)


def _bars(counts: Sequence[tuple[str, int]], most: int | None) -> list[Bar]:
    highest = most or max(count for _, count in counts) or 1
    step = (_WIDTH - 2 * _MARGIN) / len(counts)
    bars: list[Bar] = []
    for index, (label, count) in enumerate(counts):
        height = (_HEIGHT - _ROOM) * count / highest
        x, width = _MARGIN + index * step + 1, max(1, step - 2)
        place = round(x, 1), round(_HEIGHT - height, 1), round(width, 1), round(height, 1)
        bars.append(Bar(*place, f"{label}: {count:,}", short_count(count) if count else ""))
    return bars


def short_count(count: int) -> str:
    """A count in at most five letters."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= max(10_000, size):
            return f"{count // size:,}{unit}" if count >= 100 * size else f"{count / size:.3g}{unit}"
    return f"{count:,}"
