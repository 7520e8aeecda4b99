"""What results were run with, as ``list`` and ``show`` tell it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..evals import Snapshot, Stored
from ..evals._results.tables import run_line


def tags_of(results: Snapshot, found: Sequence[Stored]) -> dict[str, list[str]]:
    """What users have noted of evaluations, by name: of each the last note, and of several all that differ."""
    tags: dict[str, list[str]] = {}
    for stored in found:
        last = {name: value for run in results.runs(stored) for name, value in run.tags.items()}
        for name, value in last.items():
            values = tags.setdefault(name, [])
            if value not in values:
                values.append(value)
    return tags


def runs_for_programs(results: Snapshot, stored: Stored) -> list[dict[str, Any]]:
    """All that is noted of each run."""
    return [{"started": run.started, **run.about} for run in results.runs(stored)]


def lines(results: Snapshot, found: Sequence[Stored]) -> list[str]:
    """What evaluations were last run with, in a line for those that have it in common."""
    by_line: dict[str, list[str]] = {}
    for stored in found:
        for run in results.runs(stored)[-1:]:
            by_line.setdefault(run_line(run), []).append(stored.name)
    if len(by_line) < 2:
        return [*by_line]
    return [f"{', '.join(names)}: {line}" for line, names in by_line.items()]
