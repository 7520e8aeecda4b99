"""``doteval list``: the experiments in the store."""

from __future__ import annotations

import argparse
import sys
import time

from .._tables import Table
from ..evals import Stored
from ._results import opened

_HEAD = ("experiment", "begun", "evaluations", "rows", "errors", "")


def run(options: argparse.Namespace) -> int:
    """Print a line for each experiment, oldest first."""
    experiments: dict[str, list[Stored]] = {}
    for stored in opened(options).evaluations():
        experiments.setdefault(stored.experiment, []).append(stored)
    rows: list[tuple[str, ...]] = []
    for name, found in experiments.items():
        unfinished = sum(stored.finished is None for stored in found)
        rows.append(
            (
                name,
                time.strftime("%Y-%m-%d %H:%M", time.localtime(min(stored.started for stored in found))),
                str(len(found)),
                f"{sum(stored.stored for stored in found):,}",
                f"{sum(stored.errors for stored in found):,}",
                f"{unfinished} not finished" if unfinished else "",
            )
        )
    print("\n".join(Table(rows, _HEAD, right={2, 3, 4}).texts_for(sys.stdout)))
    return 0
