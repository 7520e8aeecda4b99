"""What many rows say together: means with their intervals, and how long rows took."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .._result import Score
from .intervals import student, wilson
from .record import Record
from .usage import ModelUsage, UsageSums


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One score over all rows that have it.

    Args:
        count: How many these are.
        mean: The mean; of booleans, the share that is true.
        error: The standard error of the mean.
        low: The lower end of the 95 % interval.
        high: The upper end.
        is_boolean: Whether the score is `True` or `False`; the interval is then Wilson's, else Student's.
    """

    count: int
    mean: float
    error: float
    low: float
    high: float
    is_boolean: bool

    @property
    def has_interval(self) -> bool:
        """Whether there is one: not around a single number, and not where numbers are so large that it has no end."""
        return math.isfinite(self.low) and math.isfinite(self.high)


@dataclass(frozen=True, slots=True)
class Summary:
    """What the rows of an evaluation say together.

    Args:
        rows: How many there are.
        errors: How many of these raised.
        scores: The scores, by name.
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


@dataclass(slots=True)
class Moments:
    """Count, mean and variance of numbers that come one after the other (Welford)."""

    count: int = 0
    total: float = 0
    mean: float = 0.0
    squares: float = 0.0
    is_boolean: bool = True

    def add(self, score: Score) -> None:
        """One more."""
        self.is_boolean = self.is_boolean and isinstance(score, bool)
        self.count += 1
        self.total += score
        delta = score - self.mean
        # Huge numbers of either sign are further apart than any number is large.
        self.mean += delta / self.count if math.isfinite(delta) else score / self.count - self.mean / self.count
        self.squares += delta * (score - self.mean)

    @property
    def error(self) -> float:
        """The standard error of the mean; one number alone has none."""
        variance = self.squares / (self.count - 1) / self.count if self.count > 1 else math.nan
        return math.sqrt(variance) if variance >= 0 else math.nan  # huge scores overflow

    @property
    def reach(self) -> float:
        """How far Student's 95 % interval reaches to either side of the mean; around one number there is none."""
        return student(self.count - 1) * self.error if self.count > 1 else math.nan

    def aggregate(self) -> Aggregate:
        """What they say together."""
        count, mean = self.count, self.total / self.count  # of booleans, exact
        if not math.isfinite(mean):
            mean = self.mean
        if self.is_boolean:
            error = math.sqrt(max(0.0, mean * (1 - mean)) / count)
            return Aggregate(count, mean, error, *wilson(mean, count), is_boolean=True)
        return Aggregate(count, mean, self.error, mean - self.reach, mean + self.reach, is_boolean=False)


def _no_moments() -> dict[str, Moments]:
    return {}


def _no_seconds() -> array[float]:
    return array("d")


@dataclass(slots=True)
class Summing:
    """Adds up records as they come; keeps eight bytes of each, for the latencies."""

    rows: int = 0
    errors: int = 0
    moments: dict[str, Moments] = field(default_factory=_no_moments)
    seconds: array[float] = field(default_factory=_no_seconds)
    input_tokens: int = 0
    output_tokens: int = 0
    attempts: int = 0
    usage: UsageSums = field(default_factory=UsageSums)

    def add(
        self,
        scores: Mapping[str, Score] | None,
        failed: bool,
        seconds: float,
        input_tokens: int | None,
        output_tokens: int | None,
        attempts: int,
        usage: Sequence[ModelUsage] = (),
    ) -> None:
        """One more."""
        self.rows += 1
        self.usage.add(usage)
        self.attempts += attempts
        self.input_tokens += input_tokens or 0
        self.output_tokens += output_tokens or 0
        if failed:
            self.errors += 1
            return
        self.seconds.append(seconds)
        for name, score in (scores or {}).items():
            self.moments.setdefault(name, Moments()).add(score)

    def summary(self) -> Summary:
        """What they say together."""
        ordered = sorted(self.seconds)
        by_model = self.usage.by_model()
        return Summary(
            rows=self.rows,
            errors=self.errors,
            scores={name: moments.aggregate() for name, moments in sorted(self.moments.items())},
            p50=percentile(ordered, 50),
            p95=percentile(ordered, 95),
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            attempts=self.attempts,
            requests=sum(usage.requests for usage in by_model),
            cached_tokens=sum(usage.cached_tokens for usage in by_model),
            cache_write_tokens=sum(usage.cache_write_tokens for usage in by_model),
            reasoning_tokens=sum(usage.reasoning_tokens for usage in by_model),
            usage_by_model=by_model,
        )


def summarise(records: Iterable[Record]) -> Summary:
    """What records say together."""
    summing = Summing()
    for record in records:
        summing.add(
            record.scores,
            record.failed,
            record.seconds,
            record.input_tokens,
            record.output_tokens,
            record.attempts,
            record.usage_by_model,
        )
    return summing.summary()


def percentile(ordered: list[float], percent: float) -> float | None:
    """The smallest value that `percent` of the values do not exceed."""
    if not ordered:
        return None
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
