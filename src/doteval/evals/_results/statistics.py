"""What many rows say together: means with their intervals, and how long rows took."""

from __future__ import annotations

import math
from array import array
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from .._result import Score
from .intervals import wilson
from .moments import Moments, cluster_of
from .record import Record
from .reducers import REDUCED, Counts, Tallies, interval, names, reduced
from .usage import ModelUsage, UsageSums


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One score over all rows that have it, or what their samples say together.

    Args:
        count: How many these are; of a score with several samples of each row, how many samples.
        mean: The mean; of booleans, the share that is true.
        error: The standard error of the mean, as it is estimated; not a number where there is no interval.
        low: The lower end of the 95 % interval; not a number where there is none.
        high: The upper end.
        is_boolean: Whether all are `True` or `False`; they are then shown in percent.
        is_binary: Whether all are 0 or 1, `True` and `False` included. The interval is Wilson's where all are from 0 to
            1, else Student's.
        clusters: How many clusters there are: of rows, where the dataset has a column ``cluster``, or of the samples of
            each row; what is in one cluster does not count as independent. Else `None`.
    """

    count: int
    mean: float
    error: float
    low: float
    high: float
    is_boolean: bool
    is_binary: bool
    clusters: int | None = None

    @property
    def has_interval(self) -> bool:
        """Whether there is one.

        There is none around a single number that is neither 0 nor 1, around such numbers that are all the same, and
        where numbers are so large that it has no end.
        """
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True, slots=True)
class Summary:
    """What the rows of an evaluation say together.

    Args:
        rows: How many there are.
        errors: How many of these raised; with several samples of each row, how many samples.
        scores: The scores, by name. Of several samples of a row each counts.
        p50: The median of the seconds that a row took; rows that raised do not count.
        p95: 95 % of the rows took no longer, in seconds.
        input_tokens: Tokens of the prompts, as far as they are known.
        output_tokens: Tokens of the replies, as far as they are known.
        attempts: How often rows were run; more than there are rows where some were run again.
        requests: How many requests were sent to models, as far as they are counted.
        cached_tokens: Tokens of the prompts that were read from a cache.
        cache_write_tokens: Tokens of the prompts that were written into a cache.
        reasoning_tokens: Tokens that models thought with.
        usage_by_model: What each model was asked, and what that cost.
        epochs: How many samples of each row count.
        samples: How many there are of all rows together.
        reduced: What the samples of each row say together, where there are several, for scores that are 0 or 1:
            ``"exact.pass@2"``, ``"exact.pass^2"``, for every number of samples that there are of a row, and
            ``"exact.majority"``.
        gone: What results have cost that others have taken the place of, as of rows that failed and were run again, or
            that the dataset has no more; it is in no other number here. Only a store knows that.
    """

    rows: int
    errors: int
    scores: Mapping[str, Aggregate]
    p50: float | None
    p95: float | None
    input_tokens: int
    output_tokens: int
    attempts: int
    requests: int
    cached_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    usage_by_model: Sequence[ModelUsage]
    epochs: int
    samples: int
    reduced: Mapping[str, Aggregate]
    gone: Sequence[ModelUsage] = ()


def aggregate(moments: Moments) -> Aggregate:
    """What the numbers of one score say together."""
    count, mean, clusters = moments.count, moments.middle, moments.cluster_count
    if moments.is_binary:
        error = math.sqrt(max(0.0, mean * (1 - mean)) / count) if clusters is None else moments.spread().error
        low, high = wilson(mean, moments.effective_count())
    else:
        error, low, high = moments.bounded_interval() if moments.is_bounded else moments.interval()
    return Aggregate(count, mean, error, low, high, moments.is_boolean, moments.is_binary, clusters)


class Reduced(Mapping[str, Aggregate]):
    """What the samples of each row say together, by names such as ``"exact.pass@3"``; computed when it is looked at.

    Args:
        epochs: How many samples there are of each row, at most.
        scores: The scores that are 0 or 1.
        counts: How many rows there are of each number of samples and of right ones, by score and cluster.
    """

    def __init__(self, epochs: int, scores: Mapping[str, Aggregate], counts: Mapping[str, Counts]) -> None:
        self._epochs = epochs
        self._scores = scores
        self._counts = counts

    def __getitem__(self, name: str) -> Aggregate:
        score, _, reducer = name.rpartition(".")
        if score not in self._counts or REDUCED.fullmatch(name) is None:
            raise KeyError(name)
        of = self._scores[score]
        moments = reduced(self._counts[score], reducer, is_boolean=of.is_boolean)
        if not moments.count:
            raise KeyError(name)
        error, low, high = interval(moments, of.count)
        flags = moments.is_boolean, moments.is_binary
        return Aggregate(moments.count, moments.middle, error, low, high, *flags, moments.cluster_count)

    def __iter__(self) -> Iterator[str]:
        for score, counts in self._counts.items():
            most = max((count for rows in counts.values() for count, _ in rows), default=0)
            yield from (f"{score}.{name}" for name in names(most))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<Reduced {', '.join(self._counts) or 'nothing'} of {self._epochs}>"


def _no_moments() -> dict[str, Moments]:
    return {}


def _no_tallies() -> dict[str, Tallies]:
    return {}


def _no_keys() -> set[str]:
    return set()


def _no_seconds() -> array[float]:
    return array("d")


@dataclass(slots=True)
class Summing:
    """Adds up records as they come; keeps eight bytes of each, for the latencies.

    Args:
        epochs: How many samples there are of each row, at most.
    """

    epochs: int = 1
    samples: int = 0
    errors: int = 0
    moments: dict[str, Moments] = field(default_factory=_no_moments)
    seconds: array[float] = field(default_factory=_no_seconds)
    input_tokens: int = 0
    output_tokens: int = 0
    attempts: int = 0
    usage: UsageSums = field(default_factory=UsageSums)
    gone: UsageSums = field(default_factory=UsageSums)
    keys: set[str] = field(default_factory=_no_keys)
    tallies: dict[str, Tallies] = field(default_factory=_no_tallies)

    def add(
        self,
        key: str,
        scores: Mapping[str, Score] | None,
        failed: bool,
        cluster: Hashable,
        seconds: float,
        input_tokens: int | None,
        output_tokens: int | None,
        attempts: int,
        usage: Sequence[ModelUsage] = (),
    ) -> None:
        """One more."""
        self.samples += 1
        self.usage.add(usage)
        self.attempts += attempts
        self.input_tokens += input_tokens or 0
        self.output_tokens += output_tokens or 0
        if self.epochs > 1:
            self.keys.add(key)
        if failed:
            self.errors += 1
            return
        self.seconds.append(seconds)
        if self.epochs > 1:
            for name, score in (scores or {}).items():
                self.tallies.setdefault(name, Tallies()).add(key, score == 1, cluster)
            cluster = ("row", key) if cluster is None else cluster
        for name, score in (scores or {}).items():
            self.moments.setdefault(name, Moments()).add(score, cluster)

    def summary(self) -> Summary:
        """What they say together."""
        ordered = sorted(self.seconds)
        by_model = self.usage.by_model()
        scores = {name: aggregate(moments) for name, moments in sorted(self.moments.items())}
        counts = {
            name: tallies.counted() for name, tallies in sorted(self.tallies.items()) if self.moments[name].is_binary
        }
        return Summary(
            rows=len(self.keys) if self.epochs > 1 else self.samples,
            errors=self.errors,
            scores=scores,
            p50=median(ordered) if ordered else None,
            p95=percentile(ordered, 95),
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            attempts=self.attempts,
            requests=sum(usage.requests for usage in by_model),
            cached_tokens=sum(usage.cached_tokens for usage in by_model),
            cache_write_tokens=sum(usage.cache_write_tokens for usage in by_model),
            reasoning_tokens=sum(usage.reasoning_tokens for usage in by_model),
            usage_by_model=by_model,
            epochs=self.epochs,
            samples=self.samples,
            reduced=Reduced(self.epochs, scores, counts),
            gone=self.gone.by_model(),
        )


def summarise(records: Iterable[Record]) -> Summary:
    """What records say together."""
    found = [_part(record) for record in records]  # what is large is not kept
    summing = Summing(max((sample for sample, _ in found), default=1))
    for _, part in found:
        summing.add(*part)
    return summing.summary()


def _part(record: Record) -> tuple[int, tuple[Any, ...]]:
    return record.sample, (
        record.key,
        record.scores,
        record.failed,
        cluster_of(record.inputs),
        record.seconds,
        record.input_tokens,
        record.output_tokens,
        record.attempts,
        record.usage_by_model,
    )


def percentile(ordered: list[float], percent: float) -> float | None:
    """The smallest value that `percent` of the values do not exceed."""
    if not ordered:
        return None
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
