"""``doteval compare``: how much two experiments, or two models in one, differ."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from typing import Any

from .._printed import say
from .._tables import Table
from ..evals._results.compare import Comparison, Difference, compare, pairs
from ..evals._results.tables import number, shown_score
from ._json import print_json
from ._problem import Problem
from ._results import chosen, opened


def run(options: argparse.Namespace) -> int:
    """Print the paired differences of every score."""
    with opened(options) as results:
        found = [
            compare(results, before, after)
            for before, after in pairs(chosen(results, options.before), chosen(results, options.after))
        ]
    if not found:
        raise Problem(
            f"no evaluation of {options.before!r} belongs to one of {options.after!r}: choose one of each with "
            "EXPERIMENT@PART-OF-ITS-NAME"
        )
    if options.json:
        print_json(_for_programs(comparison) for comparison in found)
    else:
        _print(found, options.before, options.after)
    return 1 if options.fail_if is not None and any(_fails(each, options.fail_if) for each in found) else 0


def _fails(comparison: Comparison, how: str) -> bool:
    """Whether a score is worse, or different, by more than its interval; or no score can be compared."""
    clear = [difference for difference in comparison.differences if difference.is_clear]
    return not comparison.differences or any(how == "different" or difference.mean < 0 for difference in clear)


def _print(found: Sequence[Comparison], before: str, after: str) -> None:
    head = ("evaluation", "score", "rows", before, after, "difference", "95 %", "")
    rows: list[tuple[str, ...]] = []
    for comparison in found:
        one, other = comparison.before.name, comparison.after.name
        name = one if one == other else f"{one} -> {other}"
        for difference in comparison.differences:
            rows.append((name, *_cells(difference)))
            name = ""
        if not comparison.differences:
            rows.append((name, "no score in common", "0", "", "", "", "", ""))
    say(*Table(rows, head, right={2, 3, 4, 5, 6}).texts_for(sys.stdout))
    for comparison in found:
        if comparison.unmatched:
            names = ", ".join(map(shown_score, comparison.unmatched))
            say(f"\nonly one side of {comparison.before.name} has these scores: {names}")
    unpaired = sum(comparison.unpaired for comparison in found)
    if unpaired:
        say(f"\n{unpaired:,} rows are left out: they failed, have other values, or only one side has them")


def _for_programs(comparison: Comparison) -> dict[str, Any]:
    return {
        "before": {"experiment": comparison.before.experiment, "evaluation": comparison.before.name},
        "after": {"experiment": comparison.after.experiment, "evaluation": comparison.after.name},
        "unpaired": comparison.unpaired,
        "unmatched": comparison.unmatched,
        "scores": {
            difference.score: {
                "count": difference.count,
                "before": difference.before,
                "after": difference.after,
                "difference": difference.mean,
                "low": difference.low,
                "high": difference.high,
                "is_binary": difference.is_binary,
                "clusters": difference.clusters,
            }
            for difference in comparison.differences
        },
    }


def _cells(difference: Difference) -> tuple[str, ...]:
    low, high = number(difference.low, signed=True), number(difference.high, signed=True)
    interval = "-" if not math.isfinite(difference.high - difference.low) else f"{low} to {high}"
    verdict = ("higher" if difference.mean > 0 else "lower") if difference.is_clear else "no clear difference"
    return (
        shown_score(difference.score),
        f"{difference.count:,}",
        number(difference.before),
        number(difference.after),
        number(difference.mean, signed=True),
        interval,
        verdict,
    )
