"""Compares the results of two sides, row by row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .reading import Results, Stored
from .record import Record
from .statistics import Moments


@dataclass(frozen=True, slots=True)
class Difference:
    """How much one score differs, over the rows that both sides have.

    Args:
        score: Its name.
        count: How many rows these are.
        before: The mean of the first side.
        after: The mean of the second side.
        mean: The mean of the differences, second side less first.
        low: The lower end of its 95 % interval.
        high: The upper end.
    """

    score: str
    count: int
    before: float
    after: float
    mean: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves no room for no difference."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two evaluations, compared.

    Args:
        before: The first side.
        after: The second side.
        differences: The scores that both have.
        unpaired: How many rows could not be compared: only one side has them, they raised, or have other values.
    """

    before: Stored
    after: Stored
    differences: tuple[Difference, ...]
    unpaired: int


def pairs(before: Sequence[Stored], after: Sequence[Stored]) -> Iterator[tuple[Stored, Stored]]:
    """Which evaluations belong together: those of the same name, else of the same function, else the only ones."""
    if len(before) == len(after) == 1:
        yield before[0], after[0]
        return
    for key in (_name, _function):
        there = {key(stored): stored for stored in after}
        if len(there) == len(after) and len({key(stored) for stored in before}) == len(before):
            found = [(stored, there[key(stored)]) for stored in before if key(stored) in there]
            if found:
                yield from found
                return


def _name(stored: Stored) -> str:
    return stored.name


def _function(stored: Stored) -> str:
    return stored.name.partition("[")[0]


def compare(results: Results, before: Stored, after: Stored) -> Comparison:
    """Compare two evaluations, row by row; rows are the same where their number and their values are."""
    differences: dict[str, tuple[Moments, Moments, Moments]] = {}
    paired = rows = 0
    for one, other in _joined(results.records(before), results.records(after)):
        rows += 1
        if one is None or other is None or one.digest != other.digest or one.failed or other.failed:
            continue
        paired += 1
        for name, score in (one.scores or {}).items():
            value = (other.scores or {}).get(name)
            if value is not None:
                moments = differences.setdefault(name, (Moments(), Moments(), Moments()))
                for moment, number in zip(moments, (score, value, value - score), strict=True):
                    moment.add(float(number))
    return Comparison(
        before,
        after,
        tuple(_difference(name, *moments) for name, moments in sorted(differences.items())),
        rows - paired,
    )


def _difference(name: str, one: Moments, other: Moments, difference: Moments) -> Difference:
    count, mean = difference.count, difference.total / difference.count
    reach = difference.reach if count > 1 else math.inf
    return Difference(name, count, one.mean, other.mean, mean, mean - reach, mean + reach)


def _joined(before: Iterator[Record], after: Iterator[Record]) -> Iterator[tuple[Record | None, Record | None]]:
    one, other = next(before, None), next(after, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one.number < other.number):
            yield one, None
            one = next(before, None)
        elif one is None or other.number < one.number:
            yield None, other
            other = next(after, None)
        else:
            yield one, other
            one, other = next(before, None), next(after, None)
