"""``doteval show``: what the evaluations of an experiment say, and the rows that failed."""

from __future__ import annotations

import argparse
import sys
from itertools import islice

from .._tables import Table
from ..evals._results.tables import HEAD, NUMBERS, summary_rows
from ._results import chosen, opened

_LONGEST = 300


def run(options: argparse.Namespace) -> int:
    """Print the table, and the first rows that failed."""
    store = opened(options)
    found = chosen(store, options.name)
    rows = summary_rows((stored.name, store.summary(stored)) for stored in found)
    print("\n".join(Table(rows, HEAD, right=NUMBERS).texts_for(sys.stdout)))
    for stored in found:
        if stored.finished is None:
            print(f"\n{stored.name} is not finished: {stored.stored:,} rows are there")
        for record in islice(store.records(stored, failed=True), options.errors):
            print(f"\n{stored.name}, row {record.number}: {short(record.error or '')}")
            print(f"  inputs: {short(str(record.inputs))}")
        if stored.errors > options.errors:
            print(f"\n... {stored.errors - options.errors:,} more of {stored.name}: --errors N shows N of them")
    return 0


def short(text: str) -> str:
    """A text of which only the beginning is shown where it is long, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
