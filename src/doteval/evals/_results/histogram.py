"""Counts numbers in ranges."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def histogram(values: Sequence[float], bins: int = 20) -> list[tuple[float, float, int]]:
    """How many values are in each of some equally wide ranges: from, to, count."""
    if not values:
        return []
    low, high = min(values), max(values)
    if low == high:
        return [(low, high, len(values))]
    width = (high - low) / bins
    edges = [low + number * width for number in range(bins)] + [high]
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int((value - low) / width))] += 1
    return [(start, end, count) for (start, end), count in zip(pairwise(edges), counts, strict=True)]
