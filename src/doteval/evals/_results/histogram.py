"""Counts numbers in ranges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise


def histogram(values: Sequence[float], bins: int, ends: tuple[float, float]) -> list[tuple[float, float, int]]:
    """How many values are in each of some equally wide ranges: from, to, count.

    Args:
        values: The values.
        bins: How many ranges.
        ends: Where the first one begins and the last one ends; no value is outside.
    """
    low, high = ends
    if low == high:
        return [(low, high, len(values))]
    inner = [between(low, high, number / bins) for number in range(1, bins)]
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, int(bins * share(low, high, value)))] += 1
    return [(start, end, count) for (start, end), count in zip(pairwise([low, *inner, high]), counts, strict=True)]


def share(low: float, high: float, value: float) -> float:
    """Where a value is between two others, from 0 to 1; of finite numbers always finite, however large or small."""
    width = high - low
    return (value - low) / width if math.isfinite(width) else (value / 2 - low / 2) / (high / 2 - low / 2)


def between(low: float, high: float, share: float) -> float:
    """The value that has this share."""
    return low * (1 - share) + high * share
