"""The results that gates with a baseline compare with: how they differ, or why there are none."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches

from .compare import Comparison, compare
from .plain import storable
from .reading import Results, Stored

_SHOWN = 5


def beside_baseline(
    results: Results, experiment: str, stored: Stored, selection: str, reduced: Collection[str] = ()
) -> Comparison | str:
    """How an evaluation differs from the same one in another experiment; or why there is no such, as half a sentence.

    Args:
        results: Where both are.
        experiment: The other experiment; may be nothing.
        stored: The evaluation.
        selection: What its name says of the rows that are run, where these are not all.
        reduced: What the samples of rows say together that is compared as well.
    """
    if not experiment:
        return "name an experiment, with --doteval-eval-baseline in pytest or baseline= of run"
    if storable(experiment) == stored.experiment:
        return (
            f"'{experiment}' is the experiment of this run itself; name another one, or run it without this gate where "
            "it is to become the baseline"
        )
    before = results.find(experiment, stored.name)
    if before is not None:
        return compare(results, before, stored, reduced)
    there = [each.name for each in results.evaluations(experiment)]
    if not there:
        known = [each.experiment for each in results.evaluations()]
        others = [*dict.fromkeys(name for name in known if name != stored.experiment)]
        return f"there is no experiment '{experiment}'; {_listed(experiment, others)}"
    whole = stored.name.removesuffix(selection)
    other_rows = [name for name in there if name == whole or name.startswith(f"{whole} (")]
    if other_rows:
        return (
            f"'{experiment}' has '{other_rows[0]}', and this is '{stored.name}'; run both with the same limit, sample "
            "and row"
        )
    return f"'{experiment}' has no '{stored.name}'; {_listed(stored.name, there)}"


def coverage(comparison: Comparison) -> str:
    """What is to be said where not all rows are compared; nothing where all are."""
    left_out = comparison.unpaired.told("the baseline", "this run")
    if not left_out:
        return ""
    return (
        f"The gates of '{comparison.after.name}' with a baseline are decided by {comparison.paired:,} of the "
        f"{comparison.results:,} rows that '{comparison.before.experiment}' has results of; others are left out: "
        f"{left_out}."
    )


def _listed(wanted: str, names: Sequence[str]) -> str:
    """Which names there are, the nearest first."""
    if not names:
        return "there is no other one"
    near = get_close_matches(wanted, names, 1)
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    is_meant = f", and '{near[0]}' may be meant" if near else ""
    return f"there are {', '.join(names[-_SHOWN:])}{more}{is_meant}"
