"""``doteval show``: what the evaluations of an experiment say, and the rows that failed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from typing import Any

from .._printed import say
from .._tables import Table
from ..evals import Record, Snapshot, Stored
from ..evals._results.pricing import Prices
from ..evals._results.tables import COST, HEAD, NUMBERS, USAGE_HEAD, USAGE_NUMBERS, gone_lines, summary_rows, usage_rows
from ._about import lines as about
from ._about import runs_for_programs
from ._json import print_json
from ._prices import cost_for_programs, prices_of
from ._results import chosen, opened
from ._show_rows import show_rows

_LONGEST = 300


def run(options: argparse.Namespace) -> int:
    """Print the table, and the first rows that failed."""
    prices = prices_of(options)
    with opened(options) as results:
        found = chosen(results, options.name)
        if options.row is not None or options.failed:
            return show_rows(options, results, found, prices)
        if options.json:
            print_json(_for_programs(results, stored, options.errors, prices) for stored in found)
        else:
            _print(results, found, options.errors, prices)
    return 0


def _print(results: Snapshot, found: Sequence[Stored], errors: int, prices: Prices) -> None:
    summaries = [(stored.name, results.summary(stored)) for stored in found]
    cost = [COST] if prices else []
    say(*Table(summary_rows(summaries, prices), (*HEAD, *cost), right={*NUMBERS, len(HEAD)}).texts_for(sys.stdout))
    if usage := usage_rows(summaries, prices):
        say("")
        numbers = {*USAGE_NUMBERS, len(USAGE_HEAD)}
        say(*Table(usage, (*USAGE_HEAD, *cost), right=numbers).texts_for(sys.stdout))
    for line in gone_lines(summaries, prices):
        say(f"\n{line}")
    if prices and len(summaries) > 1:
        say(f"\ncost of all: {prices.cost(usage for _, summary in summaries for usage in summary.usage_by_model)}")
    for line in about(results, found):
        say(f"\n{line}")
    for stored in found:
        if stored.finished is None:
            noun = "rows" if stored.epochs == 1 else "samples"
            say(f"\n{stored.name} is not finished: {stored.stored:,} {noun} are there")
        for record in _failed(results, stored, errors):
            say(f"\n{stored.name}, {record.place}: {short(record.error or '')}")
            say(f"  inputs: {short(str(record.inputs))}")
        if stored.errors > errors:
            say(f"\n... {stored.errors - errors:,} more of {stored.name}: --errors N shows N of them")


def _for_programs(results: Snapshot, stored: Stored, errors: int, prices: Prices) -> dict[str, Any]:
    found = results.summary(stored)
    reduced = {name: asdict(aggregate) for name, aggregate in found.reduced.items()}
    summary = asdict(found) | {
        "reduced": reduced,
        "usage_by_model": [usage._asdict() for usage in found.usage_by_model],
        "gone": [usage._asdict() for usage in found.gone],
    }
    return {
        "experiment": stored.experiment,
        "evaluation": stored.name,
        "model": stored.model,
        "started": stored.started,
        "finished": stored.finished,
        **summary,
        **cost_for_programs(prices, found.usage_by_model),
        **cost_for_programs(prices, found.gone, "cost_of_gone"),
        "runs": runs_for_programs(results, stored),
        "failed": [
            {
                "row": record.number,
                "sample": record.sample,
                "error": record.error,
                "inputs": record.inputs,
                "traceback": record.traceback,
            }
            for record in _failed(results, stored, errors)
        ],
    }


def _failed(results: Snapshot, stored: Stored, errors: int) -> list[Record]:
    return list(islice(results.records(stored, failed=True), errors))


def short(text: str) -> str:
    """A text of which only the beginning is shown where it is long, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
