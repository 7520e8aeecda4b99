"""What the samples of each row say together: ``pass@k``, ``pass^k`` and the majority.

They are for scores that are 0 or 1. A row has ``n`` samples with the score, of which ``c`` are right.

- ``pass@k``: how probable it is that at least one of ``k`` samples is right; 1 - C(n - c, k) / C(n, k).
- ``pass^k``: how probable it is that all ``k`` are; C(c, k) / C(n, k).
- ``majority``: whether more than half of the samples are right. Half of them are no majority.

Both estimates are unbiased for every `k` up to `n`: they are the mean over all ways to choose ``k`` of the ``n``
samples. The first is from Chen et al. (2021), "Evaluating Large Language Models Trained on Code". A row with fewer than
``k`` samples, as others failed, says nothing.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from typing import TypeAlias

from .intervals import wilson
from .moments import Moments, Running

REDUCED = re.compile(r"(?P<score>.+)\.(?:pass[@^](?P<of>[1-9][0-9]*)|majority)")
"""A score and what is made of the samples of each row."""
Counts: TypeAlias = Mapping[Hashable, Mapping[tuple[int, int], int]]
"""How many rows there are of each number of samples and of right ones, by cluster."""


class Tallies:
    """How many samples of each row have a score, and how many of these are right."""

    def __init__(self) -> None:
        self._rows: dict[str, list[int]] = {}
        self._clusters: dict[str, Hashable] = {}

    def add(self, key: str, is_right: bool, cluster: Hashable) -> None:
        """One sample.

        Args:
            key: What its row is known by.
            is_right: Whether it is right.
            cluster: What the row belongs to with other rows; `None`: nothing.
        """
        row = self._rows.setdefault(key, [0, 0])
        row[0] += 1
        row[1] += is_right
        if cluster is not None:
            self._clusters[key] = cluster

    def counted(self) -> Counts:
        """How many rows there are of each number of samples and of right ones, by cluster."""
        found: dict[Hashable, Counter[tuple[int, int]]] = {}
        for key, (count, right) in self._rows.items():
            found.setdefault(self._clusters.get(key), Counter())[count, right] += 1
        return found


def names(most: int) -> Iterator[str]:
    """The reducers, for up to so many samples."""
    for number in range(1, most + 1):
        yield f"pass@{number}"
        yield f"pass^{number}"
    yield "majority"


def reduced(counts: Counts, name: str, *, is_boolean: bool) -> Moments:
    """The numbers that the rows have.

    Args:
        counts: How many rows there are of each number of samples, and of right ones.
        name: Of the reducer.
        is_boolean: Whether the score is a boolean.
    """
    moments = Moments(largest=1.0, is_boolean=is_boolean)
    for cluster, rows in counts.items():
        together = Running()
        for (count, right), times in rows.items():
            value = value_of(name, count, right)
            if value is None:
                continue
            moments.is_binary = moments.is_binary and value in (0, 1)
            moments.sum(times * value)
            moments.take(value, times)
            together.take(value, times)
        if cluster is not None and together.count:
            moments.clusters[cluster] = together
    return moments


def value_of(name: str, count: int, right: int) -> float | None:
    """What the samples of one row say together; `None` where they are too few.

    Args:
        name: Of the reducer.
        count: How many samples there are.
        right: How many of them are right.
    """
    if name == "majority":
        return float(2 * right > count)
    number = int(name[5:])
    if count < number:
        return None
    chosen, all_ways = right if name[4] == "^" else count - right, math.comb(count, number)
    share = math.comb(chosen, number) / all_ways
    return share if name[4] == "^" else 1 - share


def interval(moments: Moments, samples: int) -> tuple[float, float, float]:
    """The standard error of a mean of numbers from 0 to 1, and the ends of its 95 % interval.

    It is Wilson's, for as many rows whose numbers are 0 or 1 as would say as much about the mean: numbers in between
    vary less. They are at least as many as there are, and at most as many as there are samples.

    Args:
        moments: The numbers of the rows.
        samples: How many samples they are made of.
    """
    spread, mean = moments.spread(), min(1.0, max(0.0, moments.middle))
    count = spread.least
    if moments.is_binary:
        count = moments.effective_count()
    elif spread.error > 0:
        count = moments.as_many_shares(spread, spread.evenness, samples)
    return spread.error, *wilson(mean, count)
