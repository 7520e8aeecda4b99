"""One page of HTML about an experiment, with nothing outside of it: to be opened anywhere, sent, and kept.

It holds no script: details open by themselves, pictures are SVG, colours follow what the reader prefers. So it is the
same on a phone, in the dark, and in ten years.
"""

from __future__ import annotations

import html
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from .histogram import histogram
from .record import Record
from .statistics import Aggregate, Summary, percentile
from .store import Store, Stored
from .tables import HEAD, shown_mean, shown_seconds, summary_cells

_MOST_FAILED = 50
_LONGEST = 2000
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5a6675; --line: #d9dfe6; --card: #fff; --page: #f5f7f9;
  --mark: #2563a8; --bad: #b3261e; --bar: #7aa7d6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ef; --soft: #9aa7b5; --line: #333d49; --card: #1b222b;
  --page: #12171d; --mark: #7db5f0; --bad: #ff8a80; --bar: #3f6f9f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; margin: .5rem 0 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
p { margin: .25rem 0; } .soft { color: var(--soft); } .bad { color: var(--bad); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: 1rem; margin: .75rem 0; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .35rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; font-size: .85rem; } th:first-child, td:first-child { text-align: left; }
td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 11rem; } tr:last-child td { border: 0; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr)); gap: 1rem; }
figure { margin: 0; min-width: 0; } figcaption { color: var(--soft); font-size: .85rem; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg .soft { fill: var(--soft); } svg .axis { stroke: var(--line); } svg .bar { fill: var(--bar); }
svg .reach { stroke: var(--mark); stroke-width: 2; } svg .dot { fill: var(--mark); }
details { border-top: 1px solid var(--line); padding: .5rem 0; } summary { cursor: pointer; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--page); padding: .6rem; border-radius: .3rem;
  font-size: .85rem; margin: .25rem 0 .75rem; }
@media (max-width: 40rem) { thead { display: none; } table, tbody, tr, td { display: block; width: 100%; }
  tr { padding: .5rem 0; border-bottom: 1px solid var(--line); } td, td:first-child { border: 0; padding: .15rem 0;
  text-align: right; display: flex; justify-content: space-between; gap: 1rem; white-space: normal; min-width: 0; }
  td::before { content: attr(data-name); color: var(--soft); } td:empty { display: none; }
  td:first-child { font-weight: 600; text-align: left; } td:first-child::before { content: none; } }
"""


@dataclass(slots=True)
class _Evaluation:
    stored: Stored
    summary: Summary
    scores: dict[str, list[float]] = field(default_factory=dict[str, "list[float]"])
    seconds: list[float] = field(default_factory=list[float])
    wrong: list[Record] = field(default_factory=list[Record])
    failed: list[Record] = field(default_factory=list[Record])


def page(store: Store, evaluations: Sequence[Stored], title: str) -> str:
    """The page.

    Args:
        store: Where the results are.
        evaluations: Which ones.
        title: What it is called.
    """
    found = [_read(store, stored) for stored in evaluations]
    return "".join(
        (
            "<!doctype html><html lang=en><meta charset=utf-8>",
            '<meta name=viewport content="width=device-width, initial-scale=1">',
            f"<title>{_text(title)}</title><style>{_STYLE}</style><main>",
            *_head(found, title),
            *_table(found),
            *_models(found),
            *_distributions(found),
            *_latencies(found),
            *_failures(found),
            "</main></html>\n",
        )
    )


def _read(store: Store, stored: Stored) -> _Evaluation:
    evaluation = _Evaluation(stored, store.summary(stored))
    for record in store.records(stored):
        if not record.failed:
            evaluation.seconds.append(record.seconds)
            for name, score in (record.scores or {}).items():
                evaluation.scores.setdefault(name, []).append(float(score))
            if len(evaluation.wrong) < _MOST_FAILED and any(score is False for score in (record.scores or {}).values()):
                evaluation.wrong.append(record)
    evaluation.failed = list(islice(store.records(stored, failed=True), _MOST_FAILED))
    return evaluation


def _head(found: Sequence[_Evaluation], title: str) -> Iterator[str]:
    rows = sum(evaluation.summary.rows for evaluation in found)
    errors = sum(evaluation.summary.errors for evaluation in found)
    tokens = sum(evaluation.summary.input_tokens + evaluation.summary.output_tokens for evaluation in found)
    began = min((evaluation.stored.started for evaluation in found), default=0.0)
    unfinished = sum(evaluation.stored.finished is None for evaluation in found)
    yield f"<h1>{_text(title)}</h1><p class=soft>{_count(len(found), 'evaluation')}, {_count(rows, 'row')}, "
    yield f"<span class={'bad' if errors else 'soft'}>{_count(errors, 'error')}</span>, {tokens:,} tokens; "
    yield f"begun {time.strftime('%Y-%m-%d %H:%M', time.localtime(began))}"
    yield f"; {unfinished} not finished</p>" if unfinished else "</p>"


def _table(found: Sequence[_Evaluation]) -> Iterator[str]:
    yield "<h2>Results</h2><div class='card scroll'><table><thead><tr>"
    yield "".join(f"<th>{name}</th>" for name in HEAD)
    yield "</tr></thead><tbody>"
    for evaluation in found:
        for cells in summary_cells(evaluation.stored.name, evaluation.summary):
            yield "<tr>"
            for name, cell in zip(HEAD, cells, strict=True):
                yield f"<td data-name='{name}'>{_text(cell)}</td>"
            yield "</tr>"
    yield "</tbody></table></div>"


def _models(found: Sequence[_Evaluation]) -> Iterator[str]:
    """A picture for each score that several evaluations or models have: means with their intervals."""
    names = sorted({name for evaluation in found for name in evaluation.summary.scores})
    charts = [
        (name, [(_label(evaluation, found), evaluation.summary.scores[name]) for evaluation in found
                if name in evaluation.summary.scores])
        for name in names
    ]  # fmt: skip
    if not charts:
        return
    yield "<h2>Compared</h2><div class=card><div class=charts>"
    for name, means in charts:
        yield f"<figure><figcaption>{_text(name)}: mean and 95 % interval</figcaption>{_means(means)}</figure>"
    yield "</div></div>"


def _distributions(found: Sequence[_Evaluation]) -> Iterator[str]:
    if not any(evaluation.scores for evaluation in found):
        return
    yield "<h2>Scores</h2><div class=card><div class=charts>"
    for evaluation in found:
        for name, values in sorted(evaluation.scores.items()):
            is_boolean = evaluation.summary.scores[name].is_boolean
            if is_boolean:
                right = round(sum(values))
                bars = _bars([("no", len(values) - right), ("yes", right)])
            else:
                bars = _intervals(histogram(values), "{:.3g}".format)
            yield f"<figure>{bars}"
            yield f"<figcaption>{_text(name)}: {_text(_label(evaluation, found))}</figcaption></figure>"
    yield "</div></div>"


def _latencies(found: Sequence[_Evaluation]) -> Iterator[str]:
    if not any(evaluation.seconds for evaluation in found):
        return
    yield "<h2>Latency</h2><div class=card><div class=charts>"
    for evaluation in found:
        if evaluation.seconds:
            most = percentile(sorted(evaluation.seconds), 99) or math.inf  # a few slow ones would hide all others
            counts = histogram([min(seconds, most) for seconds in evaluation.seconds])
            p50, p95 = shown_seconds(evaluation.summary.p50), shown_seconds(evaluation.summary.p95)
            yield f"<figure>{_intervals(counts, shown_seconds)}<figcaption>{_text(_label(evaluation, found))}: "
            yield f"half within {p50}, 95 % within {p95}; the last bar is that and longer</figcaption></figure>"
    yield "</div></div>"


def _failures(found: Sequence[_Evaluation]) -> Iterator[str]:
    yield from _rows("Rows that failed", [(evaluation, evaluation.failed) for evaluation in found])
    yield from _rows("Rows with a score of no", [(evaluation, evaluation.wrong) for evaluation in found])


def _rows(title: str, found: Sequence[tuple[_Evaluation, Sequence[Record]]]) -> Iterator[str]:
    """Rows to be opened one by one, of each evaluation."""
    if not any(records for _, records in found):
        return
    yield f"<h2>{title}</h2>"
    for evaluation, records in found:
        if not records:
            continue
        yield f"<div class=card><h3>{_text(evaluation.stored.name)}</h3>"
        if len(records) == _MOST_FAILED:
            yield f"<p class=soft>The first {_MOST_FAILED}.</p>"
        for record in records:
            yield f"<details><summary>row {record.number:,}: "
            if record.failed:
                yield f"<span class=bad>{_short(record.error, 200)}</span></summary>"
            else:
                no = ", ".join(name for name, score in (record.scores or {}).items() if score is False)
                yield f"{_short(record.output, 120)} <span class=soft>{_text(no)}</span></summary>"
            for name, value in (
                ("inputs", record.inputs),
                ("prompt", record.prompt),
                ("output", record.output),
                ("scores", record.scores),
                ("traceback", record.traceback),
            ):
                if value is not None:
                    yield f"<p class=soft>{name}</p><pre>{_short(value)}</pre>"
            yield "</details>"
        yield "</div>"


# ------------------------------------------------------------------ pictures


def _means(means: Sequence[tuple[str, Aggregate]]) -> str:
    """Points with their intervals, one below the other, on one axis."""
    numbers = [n for _, a in means for n in (a.mean, a.low, a.high) if not math.isnan(n)]
    low, high = min(numbers), max(numbers)
    if all(aggregate.is_boolean for _, aggregate in means):
        low, high = 0.0, 1.0
    room = (high - low) or abs(high) or 1.0
    low, high = (low, high) if high - low == 1 else (low - room / 20, high + room / 20)
    width, step, top = 360, 40, 6

    def place(number: float) -> float:
        return 10 + (width - 20) * (number - low) / (high - low)

    parts: list[str] = []
    for index, (label, aggregate) in enumerate(means):
        y = top + index * step
        shown = shown_mean(aggregate)
        parts.append(f"<text x=10 y={y + 12}>{_short(label, 44)}</text>")
        parts.append(f"<text class=soft x={width - 10} y={y + 12} text-anchor=end>{_text(shown)}</text>")
        if not math.isnan(aggregate.low):
            start, end = place(aggregate.low), place(aggregate.high)
            parts.append(f"<line class=reach x1={start:.1f} x2={end:.1f} y1={y + 24} y2={y + 24} />")
        parts.append(f"<circle class=dot cx={place(aggregate.mean):.1f} cy={y + 24} r=4 />")
    bottom = top + len(means) * step
    axis_low, axis_high = (f"{low:.0%}", f"{high:.0%}") if (low, high) == (0.0, 1.0) else (f"{low:.3g}", f"{high:.3g}")
    parts.append(f"<line class=axis x1=10 x2={width - 10} y1={bottom} y2={bottom} />")
    parts.append(f"<text class=soft x=10 y={bottom + 15}>{axis_low}</text>")
    parts.append(f"<text class=soft x={width - 10} y={bottom + 15} text-anchor=end>{axis_high}</text>")
    return f"<svg viewBox='0 0 {width} {bottom + 20}' role=img>{''.join(parts)}</svg>"


def _intervals(counts: Sequence[tuple[float, float, int]], shown: Callable[[float], str]) -> str:
    """A histogram of numbers; its ends are written below."""
    bars = [(f"{shown(low)} to {shown(high)}", count) for low, high, count in counts]
    return _bars(bars, (shown(counts[0][0]), shown(counts[-1][1])))


def _bars(bars: Sequence[tuple[str, int]], ends: tuple[str, str] | None = None) -> str:
    """A bar for each label; below there are all labels with their counts, or what is at the ends."""
    width, height = 360, 120
    most = max(count for _, count in bars) or 1
    step = (width - 20) / len(bars)
    parts: list[str] = []
    for index, (label, count) in enumerate(bars):
        tall = (height - 20) * count / most
        x = 10 + index * step
        parts.append(
            f"<rect class=bar x={x + 1:.1f} y={height - tall:.1f} width={max(1, step - 2):.1f} height={tall:.1f}>"
            f"<title>{_text(label)}: {count:,}</title></rect>"
        )
        if ends is None:
            parts.append(_below(x + step / 2, height, "middle", f"{label}: {count:,}"))
    if ends is not None:
        parts += [_below(10, height, "start", ends[0]), _below(width - 10, height, "end", ends[1])]
    parts.append(f"<line class=axis x1=10 x2={width - 10} y1={height} y2={height} />")
    return f"<svg viewBox='0 0 {width} {height + 20}' role=img>{''.join(parts)}</svg>"


def _below(x: float, height: int, anchor: str, text: str) -> str:
    return f"<text class=soft x={x:.1f} y={height + 15} text-anchor={anchor}>{_text(text)}</text>"


# ------------------------------------------------------------------ text


def _label(evaluation: _Evaluation, found: Sequence[_Evaluation]) -> str:
    """What an evaluation is called in a picture: its model, where all are of the same function."""
    functions = {other.stored.name.partition("[")[0] for other in found}
    models = [other.stored.model for other in found]
    if len(functions) == 1 and len(set(models)) == len(models) and evaluation.stored.model:
        return evaluation.stored.model
    return evaluation.stored.name.rpartition("::")[2]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _short(value: Any, most: int = _LONGEST) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)
    return _text(text if len(text) <= most else text[: most - 1] + "…")


def _text(text: str) -> str:
    return html.escape(text)
