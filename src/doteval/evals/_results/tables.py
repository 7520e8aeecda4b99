"""Summaries as the cells of a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from .pricing import Prices
from .runs import StoredRun
from .statistics import Aggregate, Summary
from .usage import ModelUsage

HEAD = ("evaluation", "rows", "errors", "score", "mean", "95 %", "p50", "p95", "tokens")
NUMBERS = {1, 2, 4, 5, 6, 7, 8}
"""Which columns are numbers."""
USAGE_HEAD = (
    "evaluation", "model", "role", "requests", "failed", "input", "cached", "written", "output", "reasoning",
)  # fmt: skip
USAGE_NUMBERS = {3, 4, 5, 6, 7, 8, 9}
COST = "cost"
"""One column more, on the right, where there are prices."""
_LONGEST_SCORE = 40
_MOST_DIGITS = 13
_ROUNDING = 1e-12


def summary_cells(name: str, summary: Summary) -> Iterator[tuple[str, ...]]:
    """The rows of one evaluation in a table below `HEAD`: one, and one for each further score.

    Args:
        name: Its name.
        summary: What its rows say.
    """
    scores: list[tuple[str, Aggregate | None]] = [*scores_of(summary)] or [("", None)]
    epochs = f" x {summary.epochs:,}" if summary.epochs > 1 else ""
    for number, (score, aggregate) in enumerate(scores):
        is_first = number == 0
        yield (
            name if is_first else "",
            f"{summary.rows:,}{epochs}" if is_first else "",
            f"{summary.errors:,}" if is_first else "",
            shown_score(score) + ("" if aggregate is None else _rows_of(score, aggregate, summary)),
            "" if aggregate is None else shown_mean(aggregate),
            "" if aggregate is None else shown_interval(aggregate),
            shown_seconds(summary.p50) if is_first else "",
            shown_seconds(summary.p95) if is_first else "",
            shown_tokens([summary]) if is_first else "",
        )


def summary_rows(summaries: Iterable[tuple[str, Summary]], prices: Prices | None = None) -> list[tuple[str, ...]]:
    """The rows of several evaluations in one table, below `HEAD`; with prices, and `COST`.

    Args:
        summaries: Names and summaries.
        prices: What tokens cost.
    """
    rows: list[tuple[str, ...]] = []
    for name, summary in summaries:
        for number, cells in enumerate(summary_cells(name, summary)):
            cost = str(prices.cost(summary.usage_by_model)) if prices and number == 0 else ""
            rows.append((*cells, cost) if prices else cells)
    return rows


def usage_rows(summaries: Iterable[tuple[str, Summary]], prices: Prices | None = None) -> list[tuple[str, ...]]:
    """What the evaluations asked of each model, in a table below `USAGE_HEAD`; with prices, and `COST`.

    Args:
        summaries: Names and summaries.
        prices: What tokens cost.
    """
    rows: list[tuple[str, ...]] = []
    for name, summary in summaries:
        for number, usage in enumerate(summary.usage_by_model):
            is_all = not usage.unknown
            told = shown_count(usage.input_tokens, is_all=is_all), shown_count(usage.output_tokens, is_all=is_all)
            asked, failed, cached, written, reasoning = map(
                "{:,}".format,
                (usage.requests, usage.failed, usage.cached_tokens, usage.cache_write_tokens, usage.reasoning_tokens),
            )
            names = (name if number == 0 else "", usage.model or "-", usage.role or "")
            rows.append((*names, asked, failed, told[0], cached, written, told[1], reasoning, *_cost(usage, prices)))
    return rows


def gone_lines(summaries: Iterable[tuple[str, Summary]], prices: Prices | None = None) -> list[str]:
    """What was paid for results that are not there any more, a line for each evaluation of which there were any.

    Args:
        summaries: Names and summaries.
        prices: What tokens cost.
    """
    lines: list[str] = []
    for name, summary in summaries:
        usages = [usage for usage in summary.gone if usage.is_to_pay]
        if usages:
            requests, is_all = sum(usage.requests for usage in usages), not any(usage.unknown for usage in usages)
            given, made = (
                shown_count(sum(counts), is_all=is_all)
                for counts in ([usage.input_tokens for usage in usages], [usage.output_tokens for usage in usages])
            )
            if not (requests or given.strip("≥ 0") or made.strip("≥ 0")):
                lines.append(f"{name}: and what a run has cost that was killed, which nobody knows")
                continue
            cost = f", cost {prices.cost(usages)}" if prices else ""
            asked = shown_count(requests, is_all=all(usage.unknown <= usage.requests for usage in usages))
            noun = "request" if asked == "1" else "requests"
            lines.append(f"{name}: and {asked} {noun} of results that are gone: {given} tokens in, {made} out{cost}")
    return lines


def _cost(usage: ModelUsage, prices: Prices | None) -> Iterator[str]:
    if prices:
        yield "no price" if prices.price_of(usage.model) is None else str(prices.cost([usage]))


def shown_tokens(summaries: Iterable[Summary]) -> str:
    """What prompts and replies had together, and whether that is all."""
    found = list(summaries)
    total = sum(summary.input_tokens + summary.output_tokens for summary in found)
    is_all = not any(usage.unknown for summary in found for usage in summary.usage_by_model)
    return shown_count(total, is_all=is_all)


def shown_count(count: int, *, is_all: bool) -> str:
    """A number of tokens, and whether that is all."""
    return f"{count:,}" if is_all else f"≥ {count:,}"


def shown_score(name: str) -> str:
    """A score's name; of a long one, the beginning, as it would push all others off the screen."""
    return name if len(name) <= _LONGEST_SCORE else f"{name[: _LONGEST_SCORE - 1]}…"


def scores_of(summary: Summary) -> Iterator[tuple[str, Aggregate]]:
    """The scores, each with what all samples of a row say together, where there are several."""
    for name, aggregate in summary.scores.items():
        yield name, aggregate
        for reducer in (f"pass@{summary.epochs}", f"pass^{summary.epochs}", "majority"):
            if (reduced := summary.reduced.get(f"{name}.{reducer}")) is not None:
                yield f"{name}.{reducer}", reduced


def _rows_of(name: str, aggregate: Aggregate, summary: Summary) -> str:
    """How many rows, or samples of these, have a score, where that is not all that could."""
    is_of_rows = summary.epochs == 1 or name not in summary.scores
    if aggregate.count == (summary.rows if is_of_rows and summary.epochs > 1 else summary.samples - summary.errors):
        return ""
    noun = "row" if is_of_rows else "sample"
    return f" ({aggregate.count:,} {noun}{'' if aggregate.count == 1 else 's'})"


def shown_mean(aggregate: Aggregate) -> str:
    """The mean; of booleans, in percent."""
    return f"{_percent(aggregate.mean)}%" if aggregate.is_boolean else number(aggregate.mean)


def shown_interval(aggregate: Aggregate) -> str:
    """The interval; of booleans, in percent."""
    if not aggregate.has_interval:
        return "-"
    if aggregate.is_boolean:
        return f"{_percent(aggregate.low)} to {_percent(aggregate.high)}%"
    return f"{number(aggregate.low)} to {number(aggregate.high)}"


def shown_seconds(seconds: float | None) -> str:
    """A time in a unit that suits it."""
    if seconds is None:
        return "-"
    if seconds < 0.9995:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 119.5:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 120 else f"{minutes // 60:,} h {minutes % 60} min"


def number(value: float, *, signed: bool = False) -> str:
    """A number as a person writes it: four digits, all of those before the point, and no exponent unless it is huge.

    It has more digits where it would look like a whole number and is none.
    """
    sign = "+" if signed else ""
    if 1000 <= abs(value) < 1e12:
        return f"{value:{sign},.1f}"
    texts = [f"{value:{sign}.{digits}g}" for digits in range(4, _MOST_DIGITS)]
    return next((text for text in texts if not _looks_certain(text, value)), texts[0])


def _percent(share: float) -> str:
    """A share in percent, with as many digits as tell it from none and from all."""
    texts = [f"{100 * share:.{digits}f}" for digits in range(1, _MOST_DIGITS)]
    is_told = (not (float(text) in (0, 100) and _looks_certain(text, 100 * share)) for text in texts)
    return next((text for text, told in zip(texts, is_told, strict=True) if told), texts[0])


def _looks_certain(text: str, value: float) -> bool:
    """Whether a number looks like a whole one and is none, not even but for rounding."""
    shown = float(text)
    return shown.is_integer() and not math.isclose(shown, value, rel_tol=_ROUNDING, abs_tol=_ROUNDING)


def run_line(run: StoredRun) -> str:
    """What a run was run with, in a line."""
    about = run.about
    commit = str(about.get("commit") or "")[:10]
    parts = [
        f"doteval {about.get('doteval')}, Python {about.get('python')}",
        f"commit {commit}{' with changes' if about.get('dirty') else ''}" if commit else "",
        f"scored by {about['scorer']}" if about.get("scorer") else "",
        *(f"{name}={value}" for name, value in run.tags.items()),
    ]
    return ", ".join(part for part in parts if part)
