"""``doteval list``: the experiments in the store."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from .._printed import say
from .._tables import Table
from ..evals import Stored
from ._about import tags_of
from ._json import print_json
from ._results import opened

_HEAD = ("experiment", "begun", "evaluations", "rows", "errors", "", "tags")


def run(options: argparse.Namespace) -> int:
    """Print a line for each experiment, oldest first."""
    experiments: dict[str, list[Stored]] = {}
    with opened(options) as results:
        for stored in results.evaluations():
            experiments.setdefault(stored.experiment, []).append(stored)
        found = [
            {**_experiment(name, evaluations), "tags": tags_of(results, evaluations)}
            for name, evaluations in experiments.items()
        ]
    if options.json:
        print_json(found)
    else:
        columns = len(_HEAD) - (not any(each["tags"] for each in found))
        rows = [_row(each)[:columns] for each in found]
        say(*Table(rows, _HEAD[:columns], right={2, 3, 4}).texts_for(sys.stdout))
    return 0


def _experiment(name: str, found: list[Stored]) -> dict[str, Any]:
    return {
        "experiment": name,
        "started": min(stored.started for stored in found),
        "evaluations": len(found),
        "unfinished": sum(stored.finished is None for stored in found),
        "rows": sum(stored.stored for stored in found),
        "errors": sum(stored.errors for stored in found),
    }


def _row(experiment: dict[str, Any]) -> tuple[str, ...]:
    unfinished = experiment["unfinished"]
    return (
        experiment["experiment"],
        time.strftime("%Y-%m-%d %H:%M", time.localtime(experiment["started"])),
        str(experiment["evaluations"]),
        f"{experiment['rows']:,}",
        f"{experiment['errors']:,}",
        f"{unfinished} not finished" if unfinished else "",
        ", ".join(f"{name}={'|'.join(map(str, values))}" for name, values in experiment["tags"].items()),
    )
