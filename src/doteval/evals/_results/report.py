"""One page of HTML about an experiment, with nothing outside of it: to be opened anywhere, sent, and kept.

It holds no script: details open by themselves, pictures are SVG, colours follow what the reader prefers. So it is the
same on a phone, in the dark, and in ten years. What it says is found here, where things are in its pictures in
`pictures`, and how it looks in the templates of the directory ``page``, which escape all that they are given.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .histogram import histogram
from .pictures import Bars, Means, choices, intervals, means
from .reading import Results, Stored
from .record import Record
from .statistics import Summary, percentile
from .tables import HEAD, USAGE_HEAD, shown_seconds, shown_tokens, summary_rows, usage_rows

_MOST_FAILED = 50
_LONGEST = 2000


@dataclass(slots=True)
class _Evaluation:
    stored: Stored
    summary: Summary
    scores: dict[str, list[float]] = field(default_factory=dict[str, "list[float]"])
    seconds: list[float] = field(default_factory=list[float])
    wrong: list[Record] = field(default_factory=list[Record])
    failed: list[Record] = field(default_factory=list[Record])


@dataclass(frozen=True, slots=True)
class _Figure:
    caption: str
    picture: Means | Bars


@dataclass(frozen=True, slots=True)
class _Group:
    """Rows to be opened one by one, of each evaluation that has some."""

    title: str
    evaluations: Sequence[tuple[str, Sequence[Record]]]


def page(results: Results, evaluations: Sequence[Stored], title: str) -> str:
    """The page.

    Args:
        results: Where they are; what is written while the page is made must not be seen.
        evaluations: Which ones.
        title: What it is called.
    """
    found = [_read(results, stored) for stored in evaluations]
    summaries = [evaluation.summary for evaluation in found]
    began = min((evaluation.stored.started for evaluation in found), default=0.0)
    return (
        _templates()
        .get_template("page.html")
        .render(
            title=title,
            found=found,
            rows=sum(summary.rows for summary in summaries),
            errors=sum(summary.errors for summary in summaries),
            tokens=shown_tokens(summaries),
            begun=time.strftime("%Y-%m-%d %H:%M", time.localtime(began)),
            unfinished=sum(evaluation.stored.finished is None for evaluation in found),
            head=HEAD,
            table=summary_rows((evaluation.stored.name, evaluation.summary) for evaluation in found),
            usage_head=USAGE_HEAD,
            usage=usage_rows((evaluation.stored.name, evaluation.summary) for evaluation in found),
            means=_means(found),
            scores=_scores(found),
            latencies=_latencies(found),
            groups=(
                _group("Rows that failed", [(evaluation, evaluation.failed) for evaluation in found]),
                _group("Rows with a score of no", [(evaluation, evaluation.wrong) for evaluation in found]),
            ),
            most=_MOST_FAILED,
        )
    )


def _templates() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("page")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Any] = templates.filters  # jinja2 says that they all are like its own
    filters.update(counted=_counted, false_scores=_false_scores, shortened=_shortened)
    return templates


def _read(results: Results, stored: Stored) -> _Evaluation:
    evaluation = _Evaluation(stored, results.summary(stored))
    for record in results.records(stored):
        if not record.failed:
            evaluation.seconds.append(record.seconds)
            for name, score in (record.scores or {}).items():
                evaluation.scores.setdefault(name, []).append(float(score))
            if len(evaluation.wrong) < _MOST_FAILED and _false_scores(record):
                evaluation.wrong.append(record)
    evaluation.failed = list(islice(results.records(stored, failed=True), _MOST_FAILED))
    return evaluation


def _means(found: Sequence[_Evaluation]) -> list[_Figure]:
    """A picture for each score, with all evaluations that have it."""
    names = sorted({name for evaluation in found for name in evaluation.summary.scores})
    return [
        _Figure(
            f"{name}: mean and 95 % interval",
            means(
                [
                    (_label(evaluation, found), evaluation.summary.scores[name])
                    for evaluation in found
                    if name in evaluation.summary.scores
                ]
            ),
        )
        for name in names
    ]


def _scores(found: Sequence[_Evaluation]) -> list[_Figure]:
    figures: list[_Figure] = []
    for evaluation in found:
        for name, values in sorted(evaluation.scores.items()):
            if evaluation.summary.scores[name].is_boolean:
                right = round(sum(values))
                picture = choices([("no", len(values) - right), ("yes", right)])
            else:
                picture = intervals(histogram(values), "{:.3g}".format)
            figures.append(_Figure(f"{name}: {_label(evaluation, found)}", picture))
    return figures


def _latencies(found: Sequence[_Evaluation]) -> list[_Figure]:
    figures: list[_Figure] = []
    for evaluation in found:
        if evaluation.seconds:
            most = percentile(sorted(evaluation.seconds), 99) or math.inf  # a few slow ones would hide all others
            counts = histogram([min(seconds, most) for seconds in evaluation.seconds])
            p50, p95 = shown_seconds(evaluation.summary.p50), shown_seconds(evaluation.summary.p95)
            caption = f"half within {p50}, 95 % within {p95}; the last bar is that and longer"
            figures.append(_Figure(f"{_label(evaluation, found)}: {caption}", intervals(counts, shown_seconds)))
    return figures


def _group(title: str, found: Sequence[tuple[_Evaluation, Sequence[Record]]]) -> _Group:
    return _Group(title, [(evaluation.stored.name, records) for evaluation, records in found if records])


def _label(evaluation: _Evaluation, found: Sequence[_Evaluation]) -> str:
    """What an evaluation is called in a picture: its model, where all are of the same function."""
    functions = {other.stored.name.partition("[")[0] for other in found}
    models = [other.stored.model for other in found]
    if len(functions) == 1 and len(set(models)) == len(models) and evaluation.stored.model:
        return evaluation.stored.model
    return evaluation.stored.name.rpartition("::")[2]


def _false_scores(record: Record) -> list[str]:
    return [name for name, score in (record.scores or {}).items() if score is False]


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _shortened(value: Any, most: int = _LONGEST) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)
    return text if len(text) <= most else text[: most - 1] + "…"
