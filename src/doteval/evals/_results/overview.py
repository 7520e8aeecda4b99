"""What a page says of evaluations as wholes: tables, and pictures of means, scores and latencies.

What it says is found here; where things are in its pictures, in `pictures`.
"""

from __future__ import annotations

import math
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .histogram import histogram
from .pictures import Bars, Means, choices, intervals, means
from .pricing import Prices
from .reading import Results, Stored
from .statistics import Summary, percentile
from .tables import (
    COST,
    HEAD,
    USAGE_HEAD,
    gone_lines,
    number,
    run_line,
    scores_of,
    shown_seconds,
    shown_tokens,
    summary_rows,
    usage_rows,
)

_LONGEST_LABEL = 40
_BINS = 10


def _numbers() -> array[float]:
    return array("d")


@dataclass(slots=True)
class _Evaluation:
    stored: Stored
    label: str
    summary: Summary
    scores: dict[str, array[float]] = field(default_factory=dict[str, "array[float]"])
    seconds: array[float] = field(default_factory=_numbers)


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture and what stands beside it.

    Args:
        caption: What it shows.
        picture: What is where in it.
    """

    caption: str
    picture: Means | Bars


def overview(results: Results, evaluations: Sequence[Stored], prices: Prices) -> dict[str, Any]:
    """What the template ``overview.html`` is given.

    Args:
        results: Where they are; what is written while it is made must not be seen.
        evaluations: Which ones.
        prices: What tokens cost.
    """
    found = [_read(results, stored, label) for stored, label in zip(evaluations, labels(evaluations), strict=True)]
    summaries = [evaluation.summary for evaluation in found]
    names = full_names(evaluations)
    named = list(zip(names, summaries, strict=True))
    began = min((stored.started for stored in evaluations), default=0.0)
    usages = [usage for summary in summaries for usage in summary.usage_by_model]
    return {
        "found": found,
        "rows": sum(summary.rows for summary in summaries),
        "errors": sum(summary.errors for summary in summaries),
        "tokens": shown_tokens(summaries),
        "cost": prices.cost(usages) if prices else None,
        "begun": time.strftime("%Y-%m-%d %H:%M", time.localtime(began)),
        "unfinished": sum(stored.finished is None for stored in evaluations),
        "runs": dict.fromkeys(run_line(run) for stored in evaluations for run in results.runs(stored)[-1:]),
        "head": HEAD,
        "table": summary_rows(named),
        "usage_head": (*USAGE_HEAD, COST) if prices else USAGE_HEAD,
        "usage": usage_rows(named, prices),
        "gone": gone_lines(named, prices),
        "means": _means(found),
        "scores": _scores(found),
        "latencies": _latencies(found),
    }


def full_names(evaluations: Sequence[Stored]) -> list[str]:
    """The names of evaluations; with their experiments, where these are several."""
    if len({stored.experiment for stored in evaluations}) < 2:
        return [stored.name for stored in evaluations]
    return [f"{stored.experiment}: {stored.name}" for stored in evaluations]


def labels(evaluations: Sequence[Stored]) -> list[str]:
    """What evaluations are called in pictures: short, and each differently.

    By their models, where all are of the same function; with the experiments, where these are several. Of a long one
    the middle is left out, as names of models mostly differ at their ends; what is still the same is numbered.
    """
    functions = {stored.name.partition("[")[0] for stored in evaluations}
    experiments = {stored.experiment for stored in evaluations}
    by_model = len(functions) == 1 and all(stored.model for stored in evaluations)
    if by_model:
        pairs = {(stored.experiment, stored.model) for stored in evaluations}
        by_model = len(pairs) == len(evaluations)
    told = [stored.model if by_model else stored.name.rpartition("::")[2] or stored.name for stored in evaluations]
    if len(experiments) > 1:
        told = [f"{stored.experiment}: {label}" for stored, label in zip(evaluations, told, strict=True)]
    short = [_without_middle(label) for label in told]
    counts, seen = Counter(short), Counter[str]()
    for place, label in enumerate(short):
        if counts[label] > 1:
            seen[label] += 1
            short[place] = f"{label} ({seen[label]})"
    return short


def _without_middle(label: str) -> str:
    if len(label) <= _LONGEST_LABEL:
        return label
    end = _LONGEST_LABEL // 2
    return f"{label[: _LONGEST_LABEL - end - 1]}…{label[-end:]}"


def _read(results: Results, stored: Stored, label: str) -> _Evaluation:
    evaluation = _Evaluation(stored, label, results.summary(stored))
    for scores, seconds in results.scores(stored):
        evaluation.seconds.append(seconds)
        for name, score in scores.items():
            evaluation.scores.setdefault(name, _numbers()).append(float(score))
    return evaluation


def _means(found: Sequence[_Evaluation]) -> list[Figure]:
    """A picture for each score, with all evaluations that have it."""
    scores = [(evaluation.label, dict(scores_of(evaluation.summary))) for evaluation in found]
    names = sorted({name for _, having in scores for name in having})
    figures: list[Figure] = []
    for name in names:
        picture = means([(label, having[name]) for label, having in scores if name in having])
        figures.append(Figure(f"{name}: mean and 95 % interval", picture))
    return figures


def _scores(found: Sequence[_Evaluation]) -> list[Figure]:
    """A picture for each score and evaluation; those of one score have the same axes."""
    figures: list[Figure] = []
    for name in sorted({name for evaluation in found for name in evaluation.scores}):
        having = [evaluation for evaluation in found if name in evaluation.scores]
        if all(evaluation.summary.scores[name].is_boolean for evaluation in having):
            counted = [_choices(evaluation.scores[name]) for evaluation in having]
            most = max(count for each in counted for _, count in each)
            pictures = [choices(each, most) for each in counted]
        else:
            pictures = _histograms([evaluation.scores[name] for evaluation in having], number)
        figures += [
            Figure(f"{name}: {evaluation.label}", picture) for evaluation, picture in zip(having, pictures, strict=True)
        ]
    return figures


def _choices(values: Sequence[float]) -> list[tuple[str, int]]:
    right = round(sum(values))
    return [("no", len(values) - right), ("yes", right)]


def _histograms(values: Sequence[Sequence[float]], shown: Callable[[float], str]) -> list[Bars]:
    """Histograms with the same axes."""
    ends = min(map(min, values)), max(map(max, values))
    counted = [histogram(each, _BINS, ends) for each in values]
    most = max(count for counts in counted for _, _, count in counts)
    return [intervals(counts, shown, most) for counts in counted]


def _latencies(found: Sequence[_Evaluation]) -> list[Figure]:
    having = [evaluation for evaluation in found if evaluation.seconds]
    if not having:
        return []
    # A few slow ones would hide all others.
    most = max(percentile(sorted(evaluation.seconds), 99) or math.inf for evaluation in having)
    values = [array("d", (min(seconds, most) for seconds in evaluation.seconds)) for evaluation in having]
    captions = [
        f"{evaluation.label}: half within {shown_seconds(evaluation.summary.p50)}, "
        f"95 % within {shown_seconds(evaluation.summary.p95)}; the last bar is that and longer"
        for evaluation in having
    ]
    return [
        Figure(caption, picture) for caption, picture in zip(captions, _histograms(values, shown_seconds), strict=True)
    ]
