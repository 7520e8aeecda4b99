"""Adds up numbers that come one after the other, of which some may belong together."""

from __future__ import annotations

import json
import math
import operator
import sys
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._result import Score
from .intervals import chance_of_mean, normal, student, wilson
from .plain import says_nothing

_ROUNDING = 8 * sys.float_info.epsilon
_EXACT = 2.0**53
"""Up to this, a float tells whole numbers apart."""


def cluster_of(inputs: Mapping[str, Any]) -> Hashable:
    """Which cluster a row belongs to: what its column `cluster` holds; `None` where it is on its own.

    Args:
        inputs: The row's values, as they are kept.
    """
    value = inputs.get("cluster")
    if says_nothing(value):
        return None
    return value if isinstance(value, str) else (json.dumps(value, sort_keys=True),)  # no text, so not the same as one


@dataclass(slots=True)
class Running:
    """Count, mean and squared deviations of numbers that come one after the other (Welford)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def take(self, number: float, times: int = 1) -> None:
        """One more, or several that are the same."""
        self.count += times
        delta = number - self.mean
        # Huge numbers of either sign are further apart than any number is large.
        is_finite = math.isfinite(delta)
        self.mean += delta * times / self.count if is_finite else number / self.count - self.mean / self.count
        self.squares += times * delta * (number - self.mean)


@dataclass(frozen=True, slots=True)
class Spread:
    """How far off a mean may be.

    Args:
        error: Its standard error; not a number where the numbers do not say.
        corrected: The same, with what large clusters lack in it, as they pull the mean towards themselves.
        freedom: The degrees of freedom of the error.
        evenness: The same, where that counts how few clusters the error stands on.
        least: How many rows say as much if rows of a cluster say all the same.
    """

    error: float
    corrected: float
    freedom: float
    evenness: float
    least: float


def _no_clusters() -> dict[Hashable, Running]:
    return {}


@dataclass(slots=True)
class Moments(Running):
    """What numbers say together, of which those of a cluster are not independent of each other.

    Args:
        total: Their sum.
        rest: What rounding has left out of it (Neumaier).
        largest: The largest that went into one of them, whatever its sign.
        is_boolean: Whether all are `True` or `False`.
        is_binary: Whether all are 0 or 1.
        is_exact: Whether all are whole numbers as they were given, which differ where they do not look the same.
        is_bounded: Whether all are from 0 to 1.
        clusters: The numbers of each cluster.
    """

    total: float = 0.0
    rest: float = 0.0
    largest: float = 0.0
    is_boolean: bool = True
    is_binary: bool = True
    is_exact: bool = True
    is_bounded: bool = True
    clusters: dict[Hashable, Running] = field(default_factory=_no_clusters)

    def add(self, score: Score, cluster: Hashable = None, largest: float = 0.0) -> None:
        """One more.

        Args:
            score: The number.
            cluster: What it belongs to; `None`: it is independent of all others.
            largest: The largest number that it was computed from.
        """
        self.is_boolean = self.is_boolean and isinstance(score, bool)
        self.is_binary = self.is_binary and score in (0, 1)
        number = float(score)
        self.is_exact = self.is_exact and not largest and number.is_integer() and abs(number) <= _EXACT
        self.is_bounded = self.is_bounded and 0 <= number <= 1
        self.sum(number)
        self.largest = max(self.largest, abs(number), largest)
        self.take(number)
        if cluster is not None:
            self.clusters.setdefault(cluster, Running()).take(number)

    def sum(self, number: float) -> None:
        """Add to the total."""
        total = self.total + number
        large, small = (self.total, number) if abs(self.total) >= abs(number) else (number, self.total)
        self.rest += (large - total) + small
        self.total = total

    @property
    def middle(self) -> float:
        """The mean; of whole numbers, exact, and of others, but for the last digit that a float has."""
        mean = (self.total + self.rest) / self.count
        return mean if math.isfinite(mean) else self.mean

    @property
    def cluster_count(self) -> int | None:
        """How many independent parts there are; `None` where each row is one."""
        if not self.clusters:
            return None
        return len(self.clusters) + self.count - sum(cluster.count for cluster in self.clusters.values())

    def spread(self) -> Spread:
        """How far off the mean may be.

        It is the cluster-robust error (CR1), which is the usual one where no two rows belong together. Where clusters
        are of different sizes it is too small, and what is corrected (CR2) has as many degrees of freedom as Bell and
        McCaffrey (2002) say: simulated, that holds means of such in 0.93 of all runs and more, and CR1 in 0.91 and
        more. Where clusters are of one size, both are the same, and the degrees of freedom are clusters less one.
        Where the error stands on few clusters it is known no better than from those few (Satterthwaite).
        """
        number = self.cluster_count
        if number is None:
            freedom = self.count - 1.0
            variance = self.squares / freedom / self.count if freedom else math.nan
            error = _root(variance)
            return Spread(error, error, freedom, freedom, self.count)
        clusters = self.clusters.values()
        alone = self.count - sum(cluster.count for cluster in clusters)
        rest = sum(cluster.squares + cluster.count * _square(cluster.mean - self.mean) for cluster in clusters)
        of_alone = max(0.0, self.squares - rest) if alone else 0.0
        squares = [_square(cluster.count * (cluster.mean - self.mean)) for cluster in clusters]
        sizes = [(cluster.count, 1) for cluster in clusters] + [(1, alone)] * bool(alone)
        least = self.count**2 / sum(size * size * times for size, times in sizes)
        if number == 1:
            return Spread(math.nan, math.nan, 1.0, 1.0, least)
        total = sum(squares) + of_alone
        error = _root(number / (number - 1) * total / self.count**2)
        pulls = [1 / (1 - size / self.count) for size, _ in sizes]
        corrected = sum(map(operator.mul, pulls, [*squares, of_alone])) / self.count**2
        weights = [size * size * pull for (size, _), pull in zip(sizes, pulls, strict=True)]
        once = sum(weight * times for weight, (_, times) in zip(weights, sizes, strict=True))
        twice = sum(_square(weight) * times for weight, (_, times) in zip(weights, sizes, strict=True))
        freedom = max(1.0, self.count**2 / (self.count**2 / least + (_square(once) - twice) / self.count**2))
        fourth = sum(map(_square, squares)) + (_square(of_alone) / alone if alone else 0.0)
        tails = number * fourth / _square(total) - 1 if _square(total) > 0 else 0.0
        evenness = max(1.0, min(freedom, 2 * number / tails)) if tails > 0 else freedom
        return Spread(error, _root(corrected), freedom, evenness, least)

    def interval(self) -> tuple[float, float, float]:
        """The standard error, and the ends of Student's 95 % interval.

        They are not a number where there is only one number or cluster, and where all are the same: that nothing varied
        among a few rows does not say that nothing can.
        """
        spread, mean = self.spread(), self.middle
        noise = 0.0 if self.is_exact and not self.clusters else _ROUNDING * self.largest
        if not spread.error * math.sqrt(self.count) > noise:
            return math.nan, math.nan, math.nan
        reach = student(spread.freedom) * spread.corrected
        return spread.error, mean - reach, mean + reach

    def chance(self) -> float:
        """How probable a mean is that is so far from zero by chance alone; not a number where there is no interval."""
        if math.isnan(self.interval()[0]):
            return math.nan
        spread = self.spread()
        return chance_of_mean(abs(self.middle) / spread.corrected, spread.freedom)

    def bounded_interval(self) -> tuple[float, float, float]:
        """The same of numbers from 0 to 1: Wilson's interval, for as many rows that are 0 or 1 as would say as much.

        Numbers that pile up at one end vary less the nearer their mean comes to it. Student's interval takes for known
        how much they vary, and holds the mean of five such in 0.89 of all runs; this one, which is no wider in most
        cases, in 0.93. In the middle both are the same.
        """
        error, low, high = self.interval()
        if math.isnan(error):
            return error, low, high
        spread, mean = self.spread(), min(1.0, max(0.0, self.middle))
        return error, *wilson(mean, self.as_many_shares(spread, spread.freedom))

    def as_many_shares(self, spread: Spread, freedom: float, most: float = math.inf) -> float:
        """How many rows that are 0 or 1 say as much about a mean from 0 to 1 as these numbers, which vary less.

        Args:
            spread: How far off the mean may be.
            freedom: The degrees of freedom that count.
            most: How many they are at most.
        """
        mean = min(1.0, max(0.0, self.middle))
        as_many = mean * (1 - mean) / _square(spread.corrected) + 1
        return min(max(as_many * _square(normal() / student(freedom)), spread.least), most)

    def effective_count(self) -> float:
        """How many independent rows say as much about the mean of what can be counted, such as shares.

        Where rows vary as they would on their own it is their number, less what is lost as the error is not known but
        estimated; at least as many as if rows of a cluster say all the same, which is what there is to go by where no
        two rows differ.
        """
        if not self.clusters:
            return self.count
        spread = self.spread()
        if self.squares == 0 or math.isnan(spread.error):
            return spread.least
        if spread.error == 0:
            return self.count
        as_many = self.squares / self.count / _square(spread.corrected) + 1  # squares lack what the mean itself varies
        known = _square(normal() / student(spread.evenness))
        return min(max(as_many * known, spread.least), self.count)


def _square(number: float) -> float:
    return number * number  # infinite where it is too large; ** raises


def _root(variance: float) -> float:
    return math.sqrt(variance) if variance >= 0 else math.nan  # huge scores overflow
